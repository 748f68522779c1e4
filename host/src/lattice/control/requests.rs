//! What each control request does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use proto::Labels;
use proto::ctl::{
    ComponentAuctionAck, ComponentAuctionRequest, CtlResponse, DeleteLinkRequest, HostLabel,
    HostLabelIdentifier, ProviderAuctionAck, ProviderAuctionRequest, RegistryCredential,
    ScaleComponentCommand, StartProviderCommand, StopHostCommand, StopProviderCommand,
    UpdateComponentCommand, is_builtin_label,
};
use proto::event::{
    ConfigDeleted, ConfigSet, LabelsChanged, LinkdefDeleted, LinkdefSet, LinkdefSetFailed,
};
use proto::id::ConfigName;
use proto::link::{InterfaceLinkDefinition, Link};
use proto::subject::{Ctl, ProviderRequest, ProviderSubject};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Inner;
use crate::inventory::Command;
use crate::lattice::{Deleted, LinkPutError};
use crate::oci::{Credential, error_chain};

/// An answer to come; none where the host keeps silent.
type Answer = BoxFuture<'static, Option<CtlResponse>>;

fn now(answer: CtlResponse) -> Answer {
    std::future::ready(Some(answer)).boxed()
}

fn value(response: impl Serialize) -> CtlResponse {
    match serde_json::to_value(response) {
        Ok(value) => CtlResponse::with(value),
        Err(error) => CtlResponse::error(format!("the answer could not be written: {error}")),
    }
}

/// Reads a body; `what` completes upstream's sentence.
fn read<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, CtlResponse> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::warn!(%error, "failed to deserialize {what}");
        CtlResponse::error(format!("failed to deserialize {what}"))
    })
}

impl Inner {
    /// Begins to work on a request: whatever must happen in order of arrival happens in here,
    /// the rest in the answer.
    pub(super) fn begin(self: Arc<Self>, request: Ctl, body: Bytes) -> Answer {
        let begun = match request {
            Ctl::PingHosts => Ok(now(value(self.parts.identity.describe()))),
            Ctl::Inventory(_) => Ok(now(value(self.parts.workloads.describe()))),
            Ctl::StopHost(_) => self.stop_host(&body),
            Ctl::AuctionComponent => self.auction_component(&body),
            Ctl::AuctionProvider => self.auction_provider(&body),
            Ctl::ScaleComponent(_) => self.scale(&body),
            Ctl::UpdateComponent(_) => self.update(&body),
            Ctl::StartProvider(_) => self.start_provider(&body),
            Ctl::StopProvider(_) => self.stop_provider(&body),
            Ctl::PutLabel(_) => self.put_label(&body),
            Ctl::DeleteLabel(_) => self.delete_label(&body),
            Ctl::PutLink => read(&body, "wrpc link definition")
                .map(|link| async move { Some(self.put_link(link).await) }.boxed()),
            Ctl::DeleteLink => read(&body, "wrpc link definition")
                .map(|request| async move { Some(self.delete_link(request).await) }.boxed()),
            Ctl::GetLinks => Ok(now(value(self.parts.records.links()))),
            Ctl::GetClaims => Ok(now(value(self.parts.records.claims()))),
            Ctl::PutConfig(name) => {
                Ok(async move { Some(self.put_config(name, &body).await) }.boxed())
            }
            Ctl::GetConfig(name) => Ok(async move { Some(self.get_config(name).await) }.boxed()),
            Ctl::DeleteConfig(name) => {
                Ok(async move { Some(self.delete_config(name).await) }.boxed())
            }
            Ctl::PutRegistries => self.put_registries(&body),
        };
        begun.unwrap_or_else(now)
    }

    fn stop_host(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: StopHostCommand = if body.is_empty() {
            StopHostCommand::default()
        } else {
            read(body, "stop command")?
        };
        let own = self.parts.identity.id.as_str();
        if !request.host_id.is_empty() && request.host_id != own {
            return Err(CtlResponse::error(format!(
                "invalid host_id [{}]",
                request.host_id
            )));
        }
        let stop = self.parts.stop_host.clone();
        stop(request.timeout.map(Duration::from_millis));
        Ok(now(CtlResponse::ok("successfully handled stop host")))
    }

    fn fits(&self, constraints: &BTreeMap<String, String>) -> bool {
        let labels = self.parts.identity.labels.load();
        constraints
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }

    fn auction_component(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: ComponentAuctionRequest = read(body, "component auction command")?;
        let running = self
            .parts
            .workloads
            .inventory(|now| now.component(&request.component_id).is_some());
        if running || !self.fits(&request.constraints) {
            return Ok(std::future::ready(None).boxed());
        }
        Ok(now(value(ComponentAuctionAck {
            component_ref: request.component_ref,
            component_id: request.component_id.to_string(),
            host_id: self.parts.identity.id.to_string(),
            constraints: request.constraints,
        })))
    }

    fn auction_provider(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: ProviderAuctionRequest = read(body, "provider auction command")?;
        let running = self
            .parts
            .workloads
            .inventory(|now| now.provider(&request.provider_id).is_some());
        if running || !self.fits(&request.constraints) {
            return Ok(std::future::ready(None).boxed());
        }
        Ok(now(value(ProviderAuctionAck {
            host_id: self.parts.identity.id.to_string(),
            provider_ref: request.provider_ref,
            provider_id: request.provider_id.to_string(),
            constraints: request.constraints,
        })))
    }

    fn scale(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: ScaleComponentCommand = read(body, "component scale command")?;
        let workloads = &self.parts.workloads;
        let reply = workloads.inventory(|now| {
            now.admit(request.fence.as_ref())
                .map_err(|error| CtlResponse::error(error.to_string()))?;
            Ok(now.scale_reply(&request))
        })?;
        workloads.note_command(&request.component_id);
        workloads.submit(request.component_id.clone(), Command::Scale(request));
        Ok(now(reply))
    }

    fn update(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: UpdateComponentCommand = read(body, "component update command")?;
        let workloads = &self.parts.workloads;
        let reply = workloads.inventory(|now| {
            now.admit(request.fence.as_ref())
                .map_err(|error| CtlResponse::error(error.to_string()))?;
            Ok(now.update_reply(&request))
        })?;
        workloads.note_command(&request.component_id);
        if reply.success {
            workloads.submit(request.component_id.clone(), Command::Update(request));
        }
        Ok(now(reply))
    }

    fn start_provider(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: StartProviderCommand = read(body, "provider start command")?;
        let workloads = &self.parts.workloads;
        let reply = workloads.inventory(|now| {
            now.admit(request.fence.as_ref())
                .map_err(|error| CtlResponse::error(error.to_string()))?;
            Ok(now.start_provider(&request))
        })?;
        workloads.note_command(&request.provider_id);
        if reply.success {
            workloads.submit(request.provider_id.clone(), Command::StartProvider(request));
        }
        Ok(now(reply))
    }

    fn stop_provider(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let request: StopProviderCommand = read(body, "provider stop command")?;
        let workloads = &self.parts.workloads;
        let runs = workloads.inventory(|now| {
            now.admit(request.fence.as_ref())
                .map_err(|error| CtlResponse::error(error.to_string()))?;
            Ok(now.provider(&request.provider_id).is_some())
        })?;
        workloads.note_command(&request.provider_id);
        if !runs {
            return Err(CtlResponse::error("provider with that ID is not running"));
        }
        let done = workloads.submit(
            request.provider_id.clone(),
            Command::StopProvider(request.provider_id),
        );
        Ok(async move {
            // An error means that the work ended without a word, which is an end, too.
            let _ = done.await;
            Some(CtlResponse::ok("successfully stopped provider"))
        }
        .boxed())
    }

    /// Changes the labels and tells the lattice; the change is made before this answers.
    fn relabel(self: Arc<Self>, message: &'static str, edit: impl Fn(&mut Labels)) -> Answer {
        self.parts.identity.labels.rcu(|labels| {
            let mut labels = Labels::clone(labels);
            edit(&mut labels);
            labels
        });
        let labels = Labels::clone(&self.parts.identity.labels.load());
        async move {
            let host_id = self.parts.identity.id.clone();
            self.parts
                .events
                .publish(LabelsChanged { host_id, labels })
                .await;
            Some(CtlResponse::ok(message))
        }
        .boxed()
    }

    fn put_label(self: Arc<Self>, body: &[u8]) -> Result<Answer, CtlResponse> {
        let HostLabel { key, value } = read(body, "put label request")?;
        if is_builtin_label(&key) {
            return Err(CtlResponse::error(
                "hostcore.* labels cannot be set dynamically",
            ));
        }
        Ok(self.relabel("successfully put label", |labels| {
            labels.insert(key.clone(), value.clone());
        }))
    }

    fn delete_label(self: Arc<Self>, body: &[u8]) -> Result<Answer, CtlResponse> {
        let HostLabelIdentifier { key } = read(body, "delete label request")?;
        if is_builtin_label(&key) {
            return Err(CtlResponse::error(
                "hostcore.* labels cannot be set dynamically",
            ));
        }
        if !self.parts.identity.labels.load().contains_key(&key) {
            return Ok(now(CtlResponse::ok(
                "successfully deleted label (no such label)",
            )));
        }
        Ok(self.relabel("successfully deleted label", |labels| {
            labels.remove(&key);
        }))
    }

    async fn put_link(&self, link: Link) -> CtlResponse {
        match self.try_put_link(&link).await {
            Ok(()) => {
                self.parts.events.publish(LinkdefSet(link)).await;
                CtlResponse::ok("successfully set link")
            }
            Err(error) => {
                let said = error.to_string();
                tracing::warn!(source = %link.source_id, target = %link.target, error = error_chain(&error), "link refused");
                self.parts
                    .events
                    .publish(LinkdefSetFailed {
                        link,
                        error: said.clone(),
                    })
                    .await;
                CtlResponse::error(said)
            }
        }
    }

    async fn try_put_link(&self, link: &Link) -> Result<(), LinkPutError> {
        let mut names = Vec::new();
        for name in link.config_names() {
            if !self.parts.configs.exists(name).await? {
                names.push(name.clone());
            }
        }
        if !names.is_empty() {
            return Err(LinkPutError::Names { names });
        }
        self.parts.records.put_link(link).await?;
        if !link.has_secrets() {
            let mut resolved = InterfaceLinkDefinition::without_config(link);
            resolved.source_config = self.parts.configs.merged(&link.source_config).config;
            resolved.target_config = self.parts.configs.merged(&link.target_config).config;
            self.tell_ends(&resolved, ProviderRequest::PutLink).await;
        }
        Ok(())
    }

    async fn delete_link(&self, request: DeleteLinkRequest) -> CtlResponse {
        let key = request.key();
        let link = match self.parts.records.delete_link(&key).await {
            Ok(Deleted::NoRecord) => {
                return CtlResponse::ok("successfully deleted link (spec doesn't exist)");
            }
            Ok(Deleted::Link(link)) => link,
            Err(error) => return CtlResponse::error(error.to_string()),
        };
        if let Some(link) = &link {
            let resolved = InterfaceLinkDefinition::without_config(link);
            self.tell_ends(&resolved, ProviderRequest::DeleteLink).await;
        }
        self.parts
            .events
            .publish(LinkdefDeleted::new(&key, link.as_deref()))
            .await;
        CtlResponse::ok("successfully deleted link")
    }

    /// Tells both ends of a link about it, by their ids: one of them may be a provider.
    async fn tell_ends(&self, link: &InterfaceLinkDefinition, request: ProviderRequest) {
        let bytes: Bytes = match serde_json::to_vec(link) {
            Ok(bytes) => bytes.into(),
            Err(error) => return tracing::warn!(%error, "a link could not be written"),
        };
        for end in [&link.source_id, &link.target] {
            let subject =
                ProviderSubject::new(self.parts.identity.lattice.clone(), end.clone(), request);
            let sent = self
                .parts
                .rpc
                .client()
                .publish(subject.to_string(), bytes.clone())
                .await;
            if let Err(error) = sent {
                tracing::warn!(%end, %error, "the end of a link was not told of it");
            }
        }
    }

    async fn put_config(&self, name: ConfigName, body: &[u8]) -> CtlResponse {
        if serde_json::from_slice::<BTreeMap<String, String>>(body).is_err() {
            tracing::warn!(%name, "a config that is no map of strings was refused");
            return CtlResponse::error("config data should be a map of string -> string");
        }
        if let Err(error) = self.parts.configs.put(&name, body.to_vec()).await {
            return CtlResponse::error(error.to_string());
        }
        self.parts
            .events
            .publish(ConfigSet { config_name: name })
            .await;
        CtlResponse::ok("successfully put config")
    }

    async fn get_config(&self, name: ConfigName) -> CtlResponse {
        match self.parts.configs.get(&name).await {
            Ok(Some(config)) => value(config),
            Ok(None) => CtlResponse::ok("Configuration not found"),
            Err(error) => CtlResponse::error(error.to_string()),
        }
    }

    async fn delete_config(&self, name: ConfigName) -> CtlResponse {
        if let Err(error) = self.parts.configs.delete(&name).await {
            return CtlResponse::error(error.to_string());
        }
        self.parts
            .events
            .publish(ConfigDeleted { config_name: name })
            .await;
        CtlResponse::ok("successfully deleted config")
    }

    fn put_registries(&self, body: &[u8]) -> Result<Answer, CtlResponse> {
        let registries: BTreeMap<String, RegistryCredential> = read(body, "registries")?;
        for (registry, credential) in registries {
            let RegistryCredential {
                username,
                password,
                token,
                ..
            } = credential;
            self.parts
                .fetcher
                .set_credential(&registry, Credential::from_parts(username, password, token));
        }
        Ok(now(CtlResponse::ok("successfully put registries")))
    }
}
