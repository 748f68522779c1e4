//! Providers: built in, or processes of their own.

use std::str::FromStr as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use proto::id::ComponentId;
use proto::policy::{PolicyAction, PolicyProvider};
use proto::reference::{Reference, ReferenceError};

use super::Workloads;
use crate::capability::{BuiltinContext, BuiltinProvider};
use crate::inventory::{Command, Provider};
use crate::lattice::{ConfigError, Entity, PolicyError, SecretsError};
use crate::link::LinkError;
use crate::oci::error_chain;

/// Where built-in providers keep their files, within the data directory.
const FILES: &str = "providers";

/// A provider that runs.
pub(super) enum Running {
    /// In this process.
    Builtin {
        provider: Arc<dyn BuiltinProvider>,
        /// The config it was given last.
        config: Arc<crate::lattice::ConfigMap>,
    },
}

impl Running {
    /// Shuts it down.
    pub(super) async fn end(self, grace: Duration) {
        match self {
            Self::Builtin { provider, .. } => {
                if tokio::time::timeout(grace.saturating_mul(2), provider.shutdown(grace)).await.is_err() {
                    tracing::warn!(kind = provider.kind(), "a built-in provider did not shut down in time");
                }
            }
        }
    }
}

/// Why a provider does not run.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("Unable to fetch requested config: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Builtin(#[from] LinkError),
    #[error("`{0}` is not built in, and this host runs no external providers")]
    External(String),
}

impl Workloads {
    pub(super) async fn start_provider(self: &Arc<Self>, id: ComponentId, mut provider: Provider) -> Command {
        match self.bring_up_provider(&id, &mut provider).await {
            Ok(()) => {
                tracing::info!(provider = %id, image = provider.image_ref, "provider runs");
                Command::ProviderStarted { id, provider }
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(provider = %id, image = provider.image_ref, error, "provider does not start");
                Command::ProviderFailed { id, image_ref: provider.image_ref, error }
            }
        }
    }

    async fn bring_up_provider(self: &Arc<Self>, id: &ComponentId, provider: &mut Provider) -> Result<(), StartError> {
        let reference = Reference::from_str(&provider.image_ref)?;
        match self.builtin_kind(&reference) {
            Some(kind) => self.start_builtin(id, &kind, provider).await?,
            None => return Err(StartError::External(provider.image_ref.clone())),
        }
        self.ensure_record(id, proto::reference::without_scheme(&provider.image_ref)).await;
        self.wire_provider(id).await;
        self.rewire.notify_one();
        Ok(())
    }

    /// The built-in that a reference stands for; an official image only where that is allowed.
    fn builtin_kind(&self, reference: &Reference) -> Option<String> {
        match reference {
            Reference::Builtin(kind) => Some(kind.clone()),
            _ if !self.parts.map_images => None,
            other => {
                let kind = other.builtin_kind()?;
                self.parts.builtins.kinds().any(|known| known == kind).then(|| kind.to_owned())
            }
        }
    }

    async fn start_builtin(&self, id: &ComponentId, kind: &str, provider: &Provider) -> Result<(), StartError> {
        let named = self.parts.configs.resolve(&provider.config).await?;
        self.permit_provider(id, provider).await?;
        let entity = Entity {
            id: id.as_str(),
            token: None,
            application: provider.annotations.get(proto::names::APP_SPEC).map(String::as_str),
        };
        let secrets = self.parts.secrets.fetch(&named.secrets, entity).await?;
        let context = BuiltinContext {
            id: id.clone(),
            lattice: self.parts.identity.lattice.clone(),
            config: named.config.clone(),
            secrets,
            nats: self.parts.rpc.client().clone(),
            js_domain: self.parts.identity.js_domain.clone(),
            directory: self.parts.directory.clone(),
            remote: self.parts.remote.clone(),
            data_dir: self.parts.data_dir.join(FILES).join(id.as_str()),
            http: self.parts.http.clone(),
        };
        let started = self.parts.builtins.start(kind, context).await?;
        self.parts.directory.insert_builtin(id.clone(), started.clone());
        let running = Running::Builtin { provider: started, config: Arc::new(named.config) };
        self.providers.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), running);
        Ok(())
    }

    async fn permit_provider(&self, id: &ComponentId, provider: &Provider) -> Result<(), PolicyError> {
        let request = PolicyProvider {
            provider_id: id.clone(),
            image_ref: provider.image_ref.clone(),
            annotations: provider.annotations.clone(),
            claims: None,
        };
        self.parts.policy.check("start provider", PolicyAction::StartProvider(request)).await
    }

    pub(super) async fn stop_provider(self: &Arc<Self>, id: &ComponentId) {
        self.parts.directory.remove_builtin(id);
        let running = self.providers.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.links.forget(id);
        if let Some(running) = running {
            running.end(self.parts.provider_grace).await;
            tracing::info!(provider = %id, "provider stopped");
        }
        self.rewire.notify_one();
    }

    /// Gives every provider whose configs changed the new values, whole.
    pub(super) async fn update_provider_configs(&self) {
        let wanted: Vec<_> = self.inventory(|now| {
            now.providers().map(|(id, provider)| (id.clone(), provider.config.clone())).collect()
        });
        for (id, names) in wanted {
            let config = self.parts.configs.merged(&names).config;
            let changed = {
                let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
                match providers.get_mut(&id) {
                    Some(Running::Builtin { provider, config: last }) if **last != config => {
                        *last = Arc::new(config.clone());
                        Some(provider.clone())
                    }
                    _ => None,
                }
            };
            if let Some(provider) = changed {
                tracing::info!(provider = %id, "config changed");
                provider.update_config(config).await;
            }
        }
    }
}
