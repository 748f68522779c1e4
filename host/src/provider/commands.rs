//! What a host says to a provider over NATS.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use nkeys::XKey;
use proto::id::ComponentId;
use proto::link::InterfaceLinkDefinition;
use proto::provider::{HealthCheckResponse, HostData, SecretValue, ShutdownRequest};
use proto::subject::{ProviderRequest, ProviderSubject};

use super::{ProviderContext, ProviderError, Settings};
use crate::link::ResolvedLink;

/// How long a provider may take to say that it is well.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);

/// Speaks to the processes of one provider id.
pub(super) struct Commands {
    pub(super) cx: ProviderContext,
    pub(super) id: ComponentId,
    /// The key made for the process that runs now.
    pub(super) xkey: XKey,
}

impl Commands {
    pub(super) fn new(cx: ProviderContext, id: ComponentId) -> Self {
        Self {
            cx,
            id,
            xkey: proto::xkey::new(),
        }
    }

    fn subject(&self, provider: ComponentId, request: ProviderRequest) -> String {
        ProviderSubject::new(self.cx.lattice.clone(), provider, request).to_string()
    }

    /// The line a process reads when it starts.
    pub(super) fn start_line(&self, settings: &Settings) -> Result<String, ProviderError> {
        let failed = |e: &dyn std::error::Error| ProviderError::HostData(e.to_string());
        let links = settings.links.iter().map(|link| self.definition(link));
        let cx = &self.cx;
        let data = HostData {
            host_id: cx.host.to_string(),
            lattice_rpc_prefix: cx.lattice.to_string(),
            link_name: "default".into(),
            lattice_rpc_user_jwt: cx.rpc_jwt.clone(),
            lattice_rpc_user_seed: cx.rpc_seed.clone(),
            lattice_rpc_url: cx.rpc_url.clone(),
            provider_key: self.id.to_string(),
            env_values: BTreeMap::new(),
            instance_id: uuid::Uuid::new_v4().to_string(),
            link_definitions: links.collect::<Result<_, _>>()?,
            cluster_issuers: Vec::new(),
            config: settings.config.clone(),
            secrets: settings.secrets.clone(),
            host_xkey_public_key: cx.host_xkey.public_key(),
            provider_xkey_private_key: self.xkey.seed().map_err(|e| failed(&e))?,
            default_rpc_timeout_ms: Some(u64::try_from(cx.rpc_timeout.as_millis()).unwrap_or(2000)),
            structured_logging: cx.structured_logging,
            log_level: cx.log_level,
            otel_config: cx.otel.clone(),
        };
        data.to_line().map_err(|e| failed(&e))
    }

    /// A link as the provider receives it.
    fn definition(&self, link: &ResolvedLink) -> Result<InterfaceLinkDefinition, ProviderError> {
        let mut definition = InterfaceLinkDefinition::without_config(&link.link);
        definition.source_config = link.source_config.clone();
        definition.target_config = link.target_config.clone();
        definition.source_secrets = self.seal(&link.source_secrets)?;
        definition.target_secrets = self.seal(&link.target_secrets)?;
        Ok(definition)
    }

    fn seal(
        &self,
        secrets: &BTreeMap<String, SecretValue>,
    ) -> Result<Option<Vec<u8>>, ProviderError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let failed = |e: String| ProviderError::HostData(e);
        let clear = serde_json::to_vec(secrets).map_err(|e| failed(e.to_string()))?;
        proto::xkey::seal(&self.cx.host_xkey, &self.xkey.public_key(), &clear)
            .map(Some)
            .map_err(|e| failed(e.to_string()))
    }

    /// Tells this process, and no other of its id, of a link.
    pub(super) async fn put_link(&self, link: &ResolvedLink) {
        let definition = self.definition(link).map(|d| serde_json::to_vec(&d));
        let xkey = ComponentId::new(self.xkey.public_key());
        if let (Ok(Ok(body)), Ok(xkey)) = (definition, xkey) {
            self.publish(self.subject(xkey, ProviderRequest::PutLink), body)
                .await;
        }
    }

    /// Tells the provider of its configuration, whole.
    pub(super) async fn put_config(&self, config: &BTreeMap<String, String>) {
        if let Ok(body) = serde_json::to_vec(config) {
            let subject = self.subject(self.id.clone(), ProviderRequest::UpdateConfig);
            self.publish(subject, body).await;
        }
    }

    async fn publish(&self, subject: String, body: Vec<u8>) {
        if let Err(error) = self.cx.client.publish(subject, body.into()).await {
            tracing::warn!(provider = %self.id, %error, "the provider was not told");
        }
    }

    /// Asks whether it is well; `None` without a usable answer.
    pub(super) async fn health(&self) -> Option<bool> {
        let subject = self.subject(self.id.clone(), ProviderRequest::Health);
        let asked = self.cx.client.request(subject, Bytes::new());
        let answer = tokio::time::timeout(HEALTH_TIMEOUT, asked)
            .await
            .ok()?
            .ok()?;
        serde_json::from_slice::<HealthCheckResponse>(&answer.payload)
            .ok()
            .map(|a| a.healthy)
    }

    /// Asks it to end, and waits for its answer.
    pub(super) async fn shutdown(&self) {
        let request = ShutdownRequest {
            host_id: self.cx.host.to_string(),
        };
        let Ok(body) = serde_json::to_vec(&request) else {
            return;
        };
        let subject = self.subject(self.id.clone(), ProviderRequest::Shutdown);
        let asked = self.cx.client.request(subject, body.into());
        let _ = tokio::time::timeout(self.cx.shutdown_delay, asked).await;
    }
}
