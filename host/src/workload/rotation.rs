//! Secrets that change at their backend reach what runs here, without a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use proto::id::{ComponentId, ConfigName};
use proto::link::Link;
use proto::names::APP_SPEC;
use tokio_util::sync::CancellationToken;

use super::Workloads;
use crate::lattice::{Entity, SecretsError};
use crate::oci::error_chain;
use crate::task::{OnFailure, Task, TaskError};

/// How often backends are asked again: a new value is in use well within 5 seconds.
const EVERY: Duration = Duration::from_secs(3);

/// Tells once that something keeps its old secrets.
fn note(failing: &mut BTreeSet<ComponentId>, id: ComponentId, refreshed: Result<(), SecretsError>) {
    let Err(error) = refreshed else {
        failing.remove(&id);
        return;
    };
    if !failing.contains(&id) {
        tracing::warn!(%id, error = error_chain(&error), "it keeps its old secrets");
        failing.insert(id);
    }
}

/// A component that has secrets.
struct Holder {
    id: ComponentId,
    config: Vec<ConfigName>,
    application: Option<String>,
}

/// Asks for the secrets of everything that runs here, again and again.
pub struct Rotation(pub Arc<Workloads>);

impl Task for Rotation {
    const NAME: &'static str = "secret rotation";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        // Whose secrets could not be had: told once, not every time.
        let mut failing = BTreeSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            self.components(&mut failing).await;
            self.providers(&mut failing).await;
            if self
                .0
                .parts
                .records
                .links()
                .iter()
                .any(|link| self.concerns_us(link))
            {
                self.0.rewire.notify_one();
            }
        }
    }
}

impl Rotation {
    async fn components(&self, failing: &mut BTreeSet<ComponentId>) {
        let holders: Vec<_> = self.0.inventory(|now| {
            let all = now.components().map(|(id, component)| Holder {
                id: id.clone(),
                config: component.config.clone(),
                application: component.annotations.get(APP_SPEC).cloned(),
            });
            all.filter(|holder| holder.config.iter().any(ConfigName::is_secret))
                .collect()
        });
        let refreshed = join_all(holders.iter().map(|holder| self.refresh(holder))).await;
        for (holder, refreshed) in holders.into_iter().zip(refreshed) {
            note(failing, holder.id, refreshed);
        }
    }

    /// A provider's own secrets wait for its next start: no message of the protocol brings them.
    async fn providers(&self, failing: &mut BTreeSet<ComponentId>) {
        let holders: Vec<_> = self.0.inventory(|now| {
            let all = now.providers();
            all.filter(|(_, provider)| provider.config.iter().any(ConfigName::is_secret))
                .map(|(id, provider)| (id.clone(), provider.clone()))
                .collect()
        });
        for (id, provider) in holders {
            let refreshed = self.0.refresh_provider_secrets(&id, &provider).await;
            note(failing, id, refreshed);
        }
    }

    async fn refresh(&self, holder: &Holder) -> Result<(), SecretsError> {
        let own = &self.0;
        let Some(running) = own.running_component(&holder.id) else {
            return Ok(());
        };
        let references = own.parts.configs.merged(&holder.config).secrets;
        let token = own.token(&holder.id);
        let entity = Entity {
            id: holder.id.as_str(),
            token: token.as_deref(),
            application: holder.application.as_deref(),
        };
        let secrets = own.parts.secrets.fetch(&references, entity).await?;
        running.set_secrets(Arc::new(secrets));
        Ok(())
    }

    /// Whether the link has secrets and one of its ends runs here.
    fn concerns_us(&self, link: &Link) -> bool {
        let here = |id: &ComponentId| {
            self.0.parts.directory.component(id).is_some() || self.0.peer(id).is_some()
        };
        link.has_secrets() && (here(&link.source_id) || here(&link.target))
    }
}
