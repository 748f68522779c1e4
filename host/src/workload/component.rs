//! Components: fetched, permitted, compiled, wired, served.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use proto::claims::{self, SignedComponent};
use proto::ctl::ScaleComponentCommand;
use proto::id::ComponentId;
use proto::names::APP_SPEC;
use proto::policy::{PolicyAction, PolicyClaims, PolicyComponent};

use super::{DRAIN, Workloads};
use crate::inventory::{Command, Component};
use crate::lattice::{ConfigError, Entity, PolicyError, SecretsError};
use crate::oci::{self, ArtifactKind, FetchError, error_chain};
use crate::rpc::{RpcError, ServeHandle};
use crate::runtime::{
    Artifact, ArtifactSource, ComponentSpec, ConfigHandle, Limits, RunningComponent, RuntimeError,
};

/// The part of the grace time that calls from other hosts get; the rest is for calls of this host.
const SERVING_SHARE: f32 = 0.7;

/// A component that runs, and what belongs to it.
pub(super) struct Running {
    pub(super) component: Arc<RunningComponent>,
    /// Its exports, as other hosts reach them.
    pub(super) serving: ServeHandle,
    /// Its claims token, for secrets.
    pub(super) token: Option<Arc<str>>,
}

impl Running {
    /// Ends it: nobody else calls it any more, and what is under way may finish. Says if all did.
    pub(super) async fn end(self, grace: Duration) -> bool {
        // Calls that other hosts have sent already are answered before the component closes.
        let deadline = tokio::time::Instant::now() + grace;
        let served = self.serving.stop(grace.mul_f32(SERVING_SHARE)).await;
        let drained = self
            .component
            .drain(deadline.saturating_duration_since(tokio::time::Instant::now()))
            .await;
        served && drained
    }
}

/// Why a component does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("Unable to fetch requested config: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Fetch(Arc<FetchError>),
    #[error("the component's claims are not valid")]
    Claims(#[from] claims::ClaimsError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error("the component's exports cannot be served")]
    Serve(#[from] RpcError),
    #[error("`{0}` does not run here any more")]
    Gone(ComponentId),
}

impl Workloads {
    pub(super) async fn start_component(
        self: &Arc<Self>,
        id: ComponentId,
        mut component: Component,
    ) -> Command {
        let started = tokio::time::Instant::now();
        match self.bring_up(&id, &mut component).await {
            Ok(()) => {
                let (image, took) = (component.image_ref.as_str(), started.elapsed());
                tracing::info!(component = %id, image, max_instances = component.max_instances, ?took, "component runs");
                Command::Started { id, component }
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(component = %id, image = component.image_ref, error, "component does not start");
                Command::Failed {
                    id,
                    component,
                    error,
                }
            }
        }
    }

    async fn bring_up(
        self: &Arc<Self>,
        id: &ComponentId,
        component: &mut Component,
    ) -> Result<(), StartError> {
        let named = self.parts.configs.resolve(&component.config).await?;
        let artifact = self
            .fetch(&component.image_ref, ArtifactKind::Component)
            .await
            .map_err(StartError::Fetch)?;
        let signed = read_claims(&artifact).await?;
        let (token, about) = match signed {
            Some(SignedComponent { token, claims }) => (Some(Arc::from(token)), Some(claims)),
            None => (None, None),
        };
        component.claims = about;
        self.permit(id, component).await?;
        let artifact = Artifact {
            digest: artifact.digest,
            source: ArtifactSource::File(artifact.path),
        };
        let compiled = self.parts.runtime.compile(&artifact).await?;
        let entity = Entity {
            id: id.as_str(),
            token: token.as_deref(),
            application: component.annotations.get(APP_SPEC).map(String::as_str),
        };
        let secrets = self.parts.secrets.fetch(&named.secrets, entity).await?;
        let spec = ComponentSpec {
            id: id.clone(),
            image_ref: component.image_ref.clone(),
            compiled,
            max_instances: component.max_instances,
            limits: limits(component),
            annotations: component.annotations.clone(),
            config: Arc::new(ConfigHandle::new(named.config)),
            secrets: Arc::new(secrets),
            links: self.link_table(id, token.as_deref()).await,
            remote: self.parts.remote.clone(),
            directory: self.parts.directory.clone(),
        };
        let running = self.parts.runtime.start(spec);
        self.keep_records(id, component).await;
        let serving = self.parts.server.serve(running.clone()).await?;
        self.rpc_settled().await;
        self.put_in_service(
            id,
            Running {
                component: running,
                serving,
                token,
            },
        );
        Ok(())
    }

    /// The artifact, from disk without asking anyone while the host brings back what ran.
    pub(super) async fn fetch(
        &self,
        image: &str,
        kind: ArtifactKind,
    ) -> Result<oci::Artifact, Arc<FetchError>> {
        if self.from_disk.load(Ordering::SeqCst)
            && let Some(artifact) = self.parts.fetcher.cached(image, kind).await
        {
            return Ok(artifact);
        }
        self.parts.fetcher.fetch(image, kind).await
    }

    async fn permit(&self, id: &ComponentId, component: &Component) -> Result<(), PolicyError> {
        let request = PolicyComponent {
            component_id: id.clone(),
            image_ref: component.image_ref.clone(),
            max_instances: component.max_instances,
            annotations: component.annotations.clone(),
            claims: component.claims.as_ref().map(policy_claims),
        };
        self.parts
            .policy
            .check("start component", PolicyAction::StartComponent(request))
            .await
    }

    async fn keep_records(&self, id: &ComponentId, component: &Component) {
        self.ensure_record(id, &component.image_ref).await;
        let Some(claims) = component.claims.as_ref().filter(|_| self.parts.ctl.is_up()) else {
            return;
        };
        if let Err(error) = self.parts.records.put_claims(&claims.for_record()).await {
            tracing::warn!(component = %id, %error, "claims were not stored");
        }
    }

    /// The new code serves first; then the old takes no more calls and its last ones end.
    fn put_in_service(self: &Arc<Self>, id: &ComponentId, running: Running) {
        self.parts
            .directory
            .insert_component(running.component.clone());
        let old = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), running);
        if let Some(old) = old {
            self.retire(id, old);
        }
        self.rewire.notify_one();
    }

    fn retire(self: &Arc<Self>, id: &ComponentId, old: Running) {
        let id = id.clone();
        let stopping = self.stopping.clone();
        self.parts.tasks.work("drain", async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                ended = old.end(DRAIN) => if !ended {
                    tracing::warn!(component = %id, "calls of the code that was replaced or stopped were cut off");
                }
            }
        });
    }

    pub(super) async fn resize_component(
        self: &Arc<Self>,
        id: ComponentId,
        component: Component,
    ) -> Command {
        match self.change_settings(&id, component.clone()).await {
            Ok(component) => Command::Resized { id, component },
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(component = %id, error, "component was not changed");
                Command::Failed {
                    id,
                    component,
                    error,
                }
            }
        }
    }

    async fn change_settings(
        self: &Arc<Self>,
        id: &ComponentId,
        mut component: Component,
    ) -> Result<Component, StartError> {
        let before = self.inventory(|now| now.component(id).cloned());
        if before.is_some_and(|before| before.limits != component.limits) {
            // Limits belong to an instance's start: the same code starts anew with others.
            self.bring_up(id, &mut component).await?;
            return Ok(component);
        }
        let running = self
            .running_component(id)
            .ok_or_else(|| StartError::Gone(id.clone()))?;
        let named = self.parts.configs.resolve(&component.config).await?;
        let token = self.token(id);
        let entity = Entity {
            id: id.as_str(),
            token: token.as_deref(),
            application: component.annotations.get(APP_SPEC).map(String::as_str),
        };
        let secrets = self.parts.secrets.fetch(&named.secrets, entity).await?;
        running.config().store(named.config);
        running.set_secrets(Arc::new(secrets));
        running.set_max_instances(component.max_instances);
        running.set_annotations(component.annotations.clone());
        // The name on the default ingress comes from the annotations.
        self.parts.directory.insert_component(running);
        Ok(component)
    }

    pub(super) async fn stop_component(self: &Arc<Self>, id: &ComponentId) {
        self.parts.directory.remove_component(id);
        let old = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.links.forget(id);
        if let Some(old) = old {
            tracing::info!(component = %id, "component stopped");
            self.retire(id, old);
        }
    }

    pub(super) fn token(&self, id: &ComponentId) -> Option<Arc<str>> {
        let components = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        components.get(id).and_then(|running| running.token.clone())
    }
}

async fn read_claims(artifact: &oci::Artifact) -> Result<Option<SignedComponent>, StartError> {
    let bytes = artifact
        .read()
        .await
        .map_err(|error| StartError::Fetch(Arc::new(error)))?;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    match claims::read_component(&bytes, u64::try_from(now).unwrap_or(0)) {
        // What is wrong with the bytes, the runtime says better.
        Err(claims::ClaimsError::Wasm(_)) => Ok(None),
        read => Ok(read?),
    }
}

pub(super) fn policy_claims<T>(claims: &claims::Claims<T>) -> PolicyClaims {
    let now = u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
    PolicyClaims {
        public_key: claims.subject.clone(),
        issuer: claims.issuer.clone(),
        issued_at: claims.issued_at.to_string(),
        expires_at: claims.expires,
        expired: claims.check_time(now).is_err(),
    }
}

fn limits(component: &Component) -> Limits {
    let number = |key: &str| component.limits.as_ref()?.get(key)?.parse::<u64>().ok();
    Limits {
        max_memory_bytes: number(ScaleComponentCommand::MAX_MEMORY),
        max_execution_time: number(ScaleComponentCommand::MAX_TIME).map(Duration::from_secs),
    }
}
