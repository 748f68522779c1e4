//! Wires what runs here to its links and configs, again at every change.
//!
//! Level-triggered: each round reads everything and changes what differs, so that a lost or doubled
//! wake-up costs nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use proto::id::{ComponentId, ConfigName};
use proto::link::{Link, LinkKey};
use tokio_util::sync::CancellationToken;

use super::Workloads;
use super::provider::ProviderEnd;
use crate::capability::BuiltinProvider;
use crate::lattice::Entity;
use crate::link::{Binding, BoundLink, LinkTable, ResolvedLink, Secrets};
use crate::task::{OnFailure, Task, TaskError};

/// A link that a provider refused is offered again after this time.
const RESYNC: Duration = Duration::from_secs(15);
/// How long a built-in provider may take over one link.
const LINK_WAIT: Duration = Duration::from_secs(10);

/// What was wired, so that only changes are made.
#[derive(Default)]
pub(super) struct Links {
    /// Bound links of components, by component and link.
    bound: Mutex<BTreeMap<ComponentId, BTreeMap<LinkKey, Made>>>,
    /// Links that providers know, by provider and link.
    known: Mutex<BTreeMap<ComponentId, BTreeMap<LinkKey, Arc<ResolvedLink>>>>,
}

#[derive(Clone)]
struct Made {
    link: Arc<ResolvedLink>,
    peer: Option<Arc<dyn BuiltinProvider>>,
    bound: Arc<BoundLink>,
    /// It could not be bound and is tried again.
    failed: bool,
}

impl Made {
    fn fits(&self, link: &ResolvedLink, peer: Option<&Arc<dyn BuiltinProvider>>) -> bool {
        let same_peer = match (&self.peer, peer) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        !self.failed && same_peer && equal(&self.link, link)
    }
}

fn equal(a: &ResolvedLink, b: &ResolvedLink) -> bool {
    a.link == b.link
        && a.source_config == b.source_config
        && a.target_config == b.target_config
        && a.source_secrets == b.source_secrets
        && a.target_secrets == b.target_secrets
}

impl Links {
    /// Drops what is known of a component or provider that is gone.
    pub(super) fn forget(&self, id: &ComponentId) {
        self.bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id);
    }
}

/// Keeps everything wired.
pub struct Wiring(pub Arc<Workloads>);

impl Task for Wiring {
    const NAME: &'static str = "wiring";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let own = &self.0;
        let mut configs = own.parts.configs.changed();
        let mut records = own.parts.records.changed();
        loop {
            own.wire().await;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = own.rewire.notified() => {}
                _ = configs.changed() => {}
                _ = records.changed() => {}
                () = tokio::time::sleep(RESYNC) => {}
            }
            own.dirty.notify_one();
        }
    }
}

/// Offers a link to a provider; says whether it took it.
async fn offer(id: &ComponentId, provider: &ProviderEnd, resolved: &Arc<ResolvedLink>) -> bool {
    match tokio::time::timeout(LINK_WAIT, provider.put_link(resolved.clone())).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            let Link {
                source_id,
                target,
                name,
                ..
            } = &resolved.link;
            tracing::warn!(provider = %id, source = %source_id, %target, %name, %error, "the provider refused a link");
            false
        }
        Err(_) => {
            tracing::warn!(provider = %id, waited = ?LINK_WAIT, "the provider did not take a link in time");
            false
        }
    }
}

impl Workloads {
    async fn wire(self: &Arc<Self>) {
        self.note_http_links();
        self.update_component_configs();
        self.update_provider_configs().await;
        let providers: Vec<_> =
            self.inventory(|now| now.providers().map(|(id, _)| id.clone()).collect());
        join_all(providers.iter().map(|id| self.wire_provider(id))).await;
        for component in self.parts.directory.components() {
            let token = self.token(component.id());
            component.set_links(self.link_table(component.id(), token.as_deref()).await);
        }
    }

    /// Components that some HTTP server links to are not on the default ingress.
    fn note_http_links(&self) {
        let is_http = |link: &Link| {
            link.wit_namespace == "wasi"
                && link.wit_package == "http"
                && link.interfaces.iter().any(|i| i == "incoming-handler")
        };
        let linked: HashSet<_> = self
            .parts
            .records
            .links()
            .into_iter()
            .filter(is_http)
            .map(|link| link.target)
            .collect();
        let mut noted = self
            .noted_http
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *noted != linked {
            self.parts.directory.set_http_linked(linked.clone());
            *noted = linked;
        }
    }

    fn update_component_configs(&self) {
        let wanted: Vec<_> = self.inventory(|now| {
            now.components()
                .map(|(id, component)| (id.clone(), component.config.clone()))
                .collect()
        });
        for (id, names) in wanted {
            let Some(component) = self.running_component(&id) else {
                continue;
            };
            let config = self.parts.configs.merged(&names).config;
            if *component.config().load() != config {
                tracing::info!(component = %id, "config changed");
                component.config().store(config);
            }
        }
    }

    /// What a component's imports lead to. What was bound before and fits still is used again.
    pub(super) async fn link_table(&self, id: &ComponentId, token: Option<&str>) -> LinkTable {
        let old = {
            let bound = self
                .links
                .bound
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            bound.get(id).cloned().unwrap_or_default()
        };
        let mut new = BTreeMap::new();
        let mut order = Vec::new();
        for link in self.parts.records.links_from(id) {
            let key = link.key();
            let resolved = self.resolve(link, token).await;
            let peer = self.peer(&resolved.link.target);
            let made = match old.get(&key) {
                Some(made) if made.fits(&resolved, peer.as_ref()) => made.clone(),
                _ => self.bind(resolved, peer),
            };
            order.push(made.bound.clone());
            new.insert(key, made);
        }
        self.links
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), new);
        LinkTable::new(order)
    }

    fn bind(&self, link: ResolvedLink, peer: Option<Arc<dyn BuiltinProvider>>) -> Made {
        let link = Arc::new(link);
        let bound = self
            .parts
            .builtins
            .bind(&link, peer.as_ref(), &self.parts.remote);
        let failed = bound.is_err();
        let binding = bound.unwrap_or_else(|error| {
            let Link {
                source_id,
                target,
                name,
                ..
            } = &link.link;
            tracing::warn!(source = %source_id, %target, %name, %error, "this link cannot be used");
            Binding::none()
        });
        Made {
            bound: Arc::new(BoundLink {
                link: link.clone(),
                binding,
            }),
            link,
            peer,
            failed,
        }
    }

    /// Gives a provider the links it does not know yet, and takes away those that are gone.
    pub(super) async fn wire_provider(&self, id: &ComponentId) {
        let Some(provider) = self.provider_end(id) else {
            return;
        };
        let old = {
            let known = self
                .links
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            known.get(id).cloned().unwrap_or_default()
        };
        let mut new = BTreeMap::new();
        for resolved in self.provider_links(id).await {
            let key = resolved.link.key();
            if let Some(known) = old.get(&key).filter(|known| equal(known, &resolved)) {
                new.insert(key, known.clone());
            } else if offer(id, &provider, &resolved).await {
                new.insert(key, resolved);
            }
        }
        for key in old.keys().filter(|key| !new.contains_key(*key)) {
            if !self
                .parts
                .records
                .links_of(id)
                .iter()
                .any(|link| link.is(key))
            {
                provider.delete_link(key).await;
            }
        }
        let changed = new.len() != old.len()
            || new
                .iter()
                .any(|(key, link)| !old.get(key).is_some_and(|o| Arc::ptr_eq(o, link)));
        if changed {
            provider.serve_links(&new.values().cloned().collect::<Vec<_>>());
        }
        self.links
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), new);
    }

    /// Notes the links that a provider was started with.
    pub(super) fn note_links(&self, id: &ComponentId, links: &[Arc<ResolvedLink>]) {
        let known = links
            .iter()
            .map(|link| (link.link.key(), link.clone()))
            .collect();
        self.links
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), known);
    }

    /// Every link with this provider at one end, resolved.
    pub(super) async fn provider_links(&self, id: &ComponentId) -> Vec<Arc<ResolvedLink>> {
        let mut links = Vec::new();
        for link in self.parts.records.links_of(id) {
            let token = self.token(&link.source_id);
            links.push(Arc::new(self.resolve(link, token.as_deref()).await));
        }
        links
    }

    /// A link with its configs merged and its secrets fetched. What cannot be had is left out.
    async fn resolve(&self, link: Link, token: Option<&str>) -> ResolvedLink {
        let source = self.parts.configs.merged(&link.source_config);
        let target = self.parts.configs.merged(&link.target_config);
        let source_secrets = self
            .link_secrets(&link, &link.source_config, source.secrets, token)
            .await;
        let target_secrets = self
            .link_secrets(&link, &link.target_config, target.secrets, token)
            .await;
        ResolvedLink {
            link,
            source_config: source.config,
            target_config: target.config,
            source_secrets,
            target_secrets,
        }
    }

    async fn link_secrets(
        &self,
        link: &Link,
        names: &[ConfigName],
        references: Vec<proto::record::SecretReference>,
        token: Option<&str>,
    ) -> Secrets {
        if !names.iter().any(ConfigName::is_secret) {
            return Secrets::new();
        }
        let entity = Entity {
            id: link.source_id.as_str(),
            token,
            application: None,
        };
        match self.parts.secrets.fetch(&references, entity).await {
            Ok(secrets) => secrets,
            Err(error) => {
                let error = crate::oci::error_chain(&error);
                tracing::warn!(source = %link.source_id, target = %link.target, error, "a link goes without its secrets");
                Secrets::new()
            }
        }
    }
}
