//! The rules for providers.

use proto::ctl::{CtlResponse, StartProviderCommand};
use proto::event::{ProviderStartFailed, ProviderStarted, ProviderStopped};
use proto::id::{ComponentId, LinkName};

use super::{Effect, Inventory, Provider};

impl Inventory {
    /// Answers a start request at once, and notes that the provider is being started.
    pub fn start_provider(&mut self, request: &StartProviderCommand) -> CtlResponse {
        let id = &request.provider_id;
        if self.providers.contains_key(id) || !self.starting.insert(id.clone()) {
            return CtlResponse::error("provider with that ID is already running");
        }
        CtlResponse::ok("successfully started provider")
    }

    pub(super) fn begin_provider(&mut self, request: StartProviderCommand) -> Vec<Effect> {
        let provider = Provider {
            image_ref: request.provider_ref,
            annotations: request.annotations.unwrap_or_default(),
            config: request.config,
            claims: None,
            restarts: 0,
        };
        vec![Effect::StartProvider {
            id: request.provider_id,
            provider,
        }]
    }

    pub(super) fn provider_started(&mut self, id: ComponentId, provider: Provider) -> Vec<Effect> {
        self.starting.remove(&id);
        let started = ProviderStarted {
            host_id: self.host.clone(),
            image_ref: proto::reference::without_scheme(&provider.image_ref).to_owned(),
            provider_id: id.clone(),
            annotations: provider.annotations.clone(),
            claims: provider.claims.as_ref().map(|claims| claims.for_event()),
            instance_id: id.to_string(),
            public_key: id.to_string(),
            link_name: LinkName::default(),
        };
        self.providers.insert(id, provider);
        vec![Effect::Publish(started.into())]
    }

    pub(super) fn provider_failed(
        &mut self,
        id: ComponentId,
        image_ref: String,
        error: String,
    ) -> Vec<Effect> {
        self.starting.remove(&id);
        let failed = ProviderStartFailed {
            provider_ref: image_ref,
            provider_id: id,
            host_id: self.host.clone(),
            error,
            link_name: LinkName::default(),
        };
        vec![Effect::Publish(failed.into())]
    }

    pub(super) fn stop_provider(&mut self, id: ComponentId) -> Vec<Effect> {
        let Some(provider) = self.providers.remove(&id) else {
            return Vec::new();
        };
        let stopped = ProviderStopped {
            host_id: self.host.clone(),
            provider_id: id.clone(),
            annotations: provider.annotations,
            reason: "stop".into(),
            instance_id: id.to_string(),
            public_key: id.to_string(),
            link_name: LinkName::default(),
        };
        vec![Effect::StopProvider(id), Effect::Publish(stopped.into())]
    }
}
