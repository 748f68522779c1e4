//! Providers: built in, or processes of their own.

use std::str::FromStr as _;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use proto::event::{Event, HealthCheckFailed, HealthCheckPassed, HealthCheckStatus};
use proto::id::ComponentId;
use proto::link::LinkKey;
use proto::policy::{PolicyAction, PolicyProvider};
use proto::reference::{Reference, ReferenceError};

use super::Workloads;
use super::component::policy_claims;
use crate::capability::{BuiltinContext, BuiltinProvider};
use crate::inventory::{Command, Provider};
use crate::lattice::{ConfigError, ConfigMap, Entity, Named, PolicyError, SecretsError};
use crate::link::{LinkError, ResolvedLink, Secrets};
use crate::oci::{ArtifactKind, FetchError, error_chain};
use crate::provider::{
    ArchiveError, EventSink, ProviderError, ProviderEvent, ProviderProcess, ProviderSpec, Settings,
    Unpacked, archive,
};
use crate::rpc::{BuiltinHandle, RpcError};

/// Where built-in providers keep their files, within the data directory.
const FILES: &str = "providers";

/// A provider that runs, and the config it was given last.
pub(super) struct Running {
    end: ProviderEnd,
    config: ConfigMap,
    /// The token of its archive, for secrets.
    token: Option<Arc<str>>,
}

/// The host's end of a provider.
#[derive(Clone)]
pub(super) enum ProviderEnd {
    /// In this process, and served to other hosts.
    Builtin(Arc<dyn BuiltinProvider>, Arc<BuiltinHandle>),
    /// A process of its own.
    Process(Arc<ProviderProcess>),
}

impl ProviderEnd {
    pub(super) async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        match self {
            Self::Builtin(provider, _) => provider.put_link(link).await,
            Self::Process(process) => {
                process.put_link(link);
                Ok(())
            }
        }
    }

    pub(super) async fn delete_link(&self, key: &LinkKey) {
        match self {
            Self::Builtin(provider, _) => provider.delete_link(key).await,
            Self::Process(process) => process.delete_link(key),
        }
    }

    /// Says over which links others may call it.
    pub(super) fn serve_links(&self, links: &[Arc<ResolvedLink>]) {
        if let Self::Builtin(_, serving) = self {
            serving.set_links(links);
        }
    }

    async fn set_config(&self, config: ConfigMap) {
        match self {
            Self::Builtin(provider, _) => provider.update_config(config).await,
            Self::Process(process) => process.set_config(config),
        }
    }
}

impl Running {
    /// Shuts it down.
    pub(super) async fn end(self, grace: Duration) {
        match self.end {
            ProviderEnd::Builtin(provider, serving) => {
                // Dropped, it takes no more calls; those under way go on within the grace time.
                drop(serving);
                if tokio::time::timeout(grace.saturating_mul(2), provider.shutdown(grace))
                    .await
                    .is_err()
                {
                    tracing::warn!(
                        kind = provider.kind(),
                        "a built-in provider did not shut down in time"
                    );
                }
            }
            // Someone who still wires it lets go soon, which ends the process, too.
            ProviderEnd::Process(process) => match Arc::into_inner(process) {
                Some(process) => process.stop().await,
                None => tracing::debug!("the provider is ended by its last user"),
            },
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
    Fetch(Arc<FetchError>),
    #[error("the provider archive cannot be used")]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Builtin(#[from] LinkError),
    #[error(transparent)]
    Process(#[from] ProviderError),
    #[error("the provider cannot be served to other hosts")]
    Serve(#[from] RpcError),
    #[error("unpacking was cut short")]
    CutShort(#[from] tokio::task::JoinError),
}

impl Workloads {
    pub(super) async fn start_provider(
        self: &Arc<Self>,
        id: ComponentId,
        mut provider: Provider,
    ) -> Command {
        match self.bring_up_provider(&id, &mut provider).await {
            Ok(()) => {
                tracing::info!(provider = %id, image = provider.image_ref, "provider runs");
                Command::ProviderStarted { id, provider }
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(provider = %id, image = provider.image_ref, error, "provider does not start");
                Command::ProviderFailed {
                    id,
                    image_ref: provider.image_ref,
                    error,
                }
            }
        }
    }

    async fn bring_up_provider(
        self: &Arc<Self>,
        id: &ComponentId,
        provider: &mut Provider,
    ) -> Result<(), StartError> {
        let reference = Reference::from_str(&provider.image_ref)?;
        let named = self.parts.configs.resolve(&provider.config).await?;
        match self.builtin_kind(&reference) {
            Some(kind) => self.start_builtin(id, &kind, provider, named).await?,
            None => self.start_process(id, provider, named).await?,
        }
        self.ensure_record(id, proto::reference::without_scheme(&provider.image_ref))
            .await;
        self.wire_provider(id).await;
        self.rpc_settled().await;
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
                self.parts
                    .builtins
                    .kinds()
                    .any(|known| known == kind)
                    .then(|| kind.to_owned())
            }
        }
    }

    async fn start_builtin(
        &self,
        id: &ComponentId,
        kind: &str,
        provider: &Provider,
        named: Named,
    ) -> Result<(), StartError> {
        self.permit_provider(id, provider).await?;
        let secrets = self.provider_secrets(id, provider, &named, None).await?;
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
        let serving = Arc::new(self.parts.server.serve_builtin(id, started.clone()).await?);
        self.parts
            .directory
            .insert_builtin(id.clone(), started.clone());
        let end = ProviderEnd::Builtin(started, serving);
        self.keep_provider(id, end, named.config, None);
        Ok(())
    }

    async fn start_process(
        self: &Arc<Self>,
        id: &ComponentId,
        provider: &mut Provider,
        named: Named,
    ) -> Result<(), StartError> {
        let Unpacked {
            executable,
            claims,
            token,
        } = self.unpack(&provider.image_ref).await?;
        provider.claims = Some(claims);
        self.permit_provider(id, provider).await?;
        self.keep_provider_claims(id, provider).await;
        let secrets = self
            .provider_secrets(id, provider, &named, Some(&token))
            .await?;
        let links = self.provider_links(id).await;
        self.note_links(id, &links);
        let spec = ProviderSpec {
            id: id.clone(),
            executable,
            settings: Settings {
                config: named.config.clone(),
                secrets,
                links,
            },
        };
        let process =
            ProviderProcess::start(self.parts.external.clone(), spec, self.sink(id)).await?;
        let end = ProviderEnd::Process(Arc::new(process));
        self.keep_provider(id, end, named.config, Some(token.into()));
        Ok(())
    }

    fn keep_provider(
        &self,
        id: &ComponentId,
        end: ProviderEnd,
        config: ConfigMap,
        token: Option<Arc<str>>,
    ) {
        let mut providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        providers.insert(id.clone(), Running { end, config, token });
    }

    /// Fetches an archive and puts its executable on disk.
    async fn unpack(&self, image_ref: &str) -> Result<Unpacked, StartError> {
        let artifact = self
            .fetch(image_ref, ArtifactKind::Provider)
            .await
            .map_err(StartError::Fetch)?;
        let executable = self.parts.external.dir.join(archive::cache_name(image_ref));
        let now = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
        let unpack = move || archive::unpack(&artifact.path, &executable, now);
        Ok(tokio::task::spawn_blocking(unpack).await??)
    }

    async fn permit_provider(
        &self,
        id: &ComponentId,
        provider: &Provider,
    ) -> Result<(), PolicyError> {
        let request = PolicyProvider {
            provider_id: id.clone(),
            image_ref: provider.image_ref.clone(),
            annotations: provider.annotations.clone(),
            claims: provider.claims.as_ref().map(policy_claims),
        };
        self.parts
            .policy
            .check("start provider", PolicyAction::StartProvider(request))
            .await
    }

    async fn provider_secrets(
        &self,
        id: &ComponentId,
        provider: &Provider,
        named: &Named,
        token: Option<&str>,
    ) -> Result<Secrets, SecretsError> {
        let application = provider
            .annotations
            .get(proto::names::APP_SPEC)
            .map(String::as_str);
        self.parts
            .secrets
            .fetch(
                &named.secrets,
                Entity {
                    id: id.as_str(),
                    token,
                    application,
                },
            )
            .await
    }

    async fn keep_provider_claims(&self, id: &ComponentId, provider: &Provider) {
        let Some(claims) = provider.claims.as_ref().filter(|_| self.parts.ctl.is_up()) else {
            return;
        };
        if let Err(error) = self.parts.records.put_claims(&claims.for_record()).await {
            tracing::warn!(provider = %id, %error, "claims were not stored");
        }
    }

    /// Where the events of a provider's process go: to the lattice, the inventory and the log.
    fn sink(self: &Arc<Self>, id: &ComponentId) -> EventSink {
        let own = Arc::downgrade(self);
        let (host_id, provider_id) = (self.parts.identity.id.clone(), id.clone());
        Arc::new(move |event| {
            let Some(own) = own.upgrade() else { return };
            let (host_id, provider_id) = (host_id.clone(), provider_id.clone());
            let published: Event = match event {
                ProviderEvent::HealthPassed => HealthCheckPassed {
                    host_id,
                    provider_id,
                }
                .into(),
                ProviderEvent::HealthFailed => HealthCheckFailed {
                    host_id,
                    provider_id,
                }
                .into(),
                ProviderEvent::HealthStatus => HealthCheckStatus {
                    host_id,
                    provider_id,
                }
                .into(),
                ProviderEvent::Exited { status, again_in } => {
                    return tracing::warn!(provider = %provider_id, status, ?again_in, "the provider died");
                }
                ProviderEvent::RestartFailed { error, again_in } => {
                    return tracing::warn!(provider = %provider_id, error, ?again_in, "the provider did not start again");
                }
                ProviderEvent::Restarted { restarts } => {
                    tracing::info!(provider = %provider_id, restarts, "the provider runs again");
                    let restarts = u32::try_from(restarts).unwrap_or(u32::MAX);
                    own.inventory(|now| {
                        now.apply(Command::ProviderRestarted {
                            id: provider_id,
                            restarts,
                        })
                    });
                    Event::HostHeartbeat(own.describe())
                }
            };
            let events = own.parts.events.clone();
            own.parts.tasks.work(
                "provider event",
                async move { events.publish(published).await },
            );
        })
    }

    pub(super) async fn stop_provider(self: &Arc<Self>, id: &ComponentId) {
        self.parts.directory.remove_builtin(id);
        let running = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.links.forget(id);
        if let Some(running) = running {
            running.end(self.parts.provider_grace).await;
            tracing::info!(provider = %id, "provider stopped");
        }
        self.rewire.notify_one();
    }

    /// The host's end of a provider, if it runs here.
    pub(super) fn provider_end(&self, id: &ComponentId) -> Option<ProviderEnd> {
        let providers = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        providers.get(id).map(|running| running.end.clone())
    }

    /// Asks again for a provider's own secrets: its process gets the new values when it starts
    /// again. Built-in providers have none, because nothing signs them.
    pub(super) async fn refresh_provider_secrets(
        &self,
        id: &ComponentId,
        provider: &Provider,
    ) -> Result<(), SecretsError> {
        let running = {
            let providers = self
                .providers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            providers
                .get(id)
                .map(|running| (running.end.clone(), running.token.clone()))
        };
        let Some((ProviderEnd::Process(process), token)) = running else {
            return Ok(());
        };
        let named = self.parts.configs.merged(&provider.config);
        let secrets = self
            .provider_secrets(id, provider, &named, token.as_deref())
            .await?;
        process.set_secrets(secrets);
        Ok(())
    }

    /// Gives every provider whose configs changed the new values, whole.
    pub(super) async fn update_provider_configs(&self) {
        let wanted: Vec<_> = self.inventory(|now| {
            now.providers()
                .map(|(id, provider)| (id.clone(), provider.config.clone()))
                .collect()
        });
        for (id, names) in wanted {
            let config = self.parts.configs.merged(&names).config;
            let changed = {
                let mut providers = self
                    .providers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                providers
                    .get_mut(&id)
                    .filter(|running| running.config != config)
                    .map(|running| {
                        running.config.clone_from(&config);
                        running.end.clone()
                    })
            };
            if let Some(end) = changed {
                tracing::info!(provider = %id, "config changed");
                end.set_config(config).await;
            }
        }
    }
}
