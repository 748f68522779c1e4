//! What the built-in providers of stores have in common: one store per distinct set of settings,
//! shared by the links that agree, replaced under its links when settings change.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::id::ComponentId;
use proto::link::LinkKey;

use super::settings::{Own, Settings};
use super::{BuiltinContext, BuiltinFactory, BuiltinProvider};
use crate::link::{Binding, LinkError, ResolvedLink, Secrets};

/// What tells one provider of stores from another.
pub(crate) trait StoreKind: Send + Sync + Sized + 'static {
    /// The provider's name.
    const KIND: &'static str;
    /// The interfaces it serves, without version.
    const INTERFACES: &'static [&'static str];
    /// Whether a store lives on when no link leads to it.
    const OUTLIVES_LINKS: bool = false;
    /// The capability's backend trait.
    type Backend: ?Sized + Send + Sync + 'static;
    /// What the capability binds links to.
    type Linked: Clone + Send + Sync + 'static;
    /// What tells one store from another. Links with equal settings share a store.
    type Settings: Ord + Clone + Send + Sync;

    /// Takes what it needs to open stores.
    fn new(cx: &BuiltinContext) -> Self;
    /// Reads and checks a link's settings.
    fn settings(
        &self,
        settings: &Settings,
        link: &ResolvedLink,
    ) -> Result<Self::Settings, LinkError>;
    /// Opens a store, without I/O.
    fn open(&self, settings: &Self::Settings) -> Result<Arc<Self::Backend>, LinkError>;
    /// Gives a link its store.
    fn link(link: &ResolvedLink, store: Arc<Self::Backend>) -> Self::Linked;
    /// Gives a link another store.
    fn lead_to(linked: &Self::Linked, store: Arc<Self::Backend>);
    /// Whether the store can be reached now; otherwise why not.
    fn ready(store: Arc<Self::Backend>) -> impl Future<Output = Result<(), String>> + Send;
}

/// Starts providers of one kind.
pub(crate) struct StoreFactory<K>(PhantomData<fn() -> K>);

impl<K> StoreFactory<K> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

#[async_trait]
impl<K: StoreKind> BuiltinFactory for StoreFactory<K> {
    fn kind(&self) -> &'static str {
        K::KIND
    }

    async fn start(&self, cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        Ok(Arc::new(Provider {
            kind: K::new(&cx),
            id: cx.id,
            secrets: cx.secrets,
            state: Mutex::new(State {
                config: cx.config,
                links: BTreeMap::new(),
                stores: BTreeMap::new(),
            }),
        }))
    }
}

struct Provider<K: StoreKind> {
    kind: K,
    id: ComponentId,
    secrets: Secrets,
    state: Mutex<State<K>>,
}

struct State<K: StoreKind> {
    config: BTreeMap<String, String>,
    links: BTreeMap<LinkKey, (ResolvedLink, K::Linked)>,
    stores: BTreeMap<K::Settings, Arc<K::Backend>>,
}

impl<K: StoreKind> Provider<K> {
    /// The state; every change to it is whole, so a panic elsewhere does no harm.
    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(
        &self,
        state: &mut State<K>,
        link: &ResolvedLink,
    ) -> Result<Arc<K::Backend>, LinkError> {
        let own = Own {
            config: &state.config,
            secrets: &self.secrets,
        };
        let settings = self.kind.settings(&Settings::as_target(own, link), link)?;
        if let Some(store) = state.stores.get(&settings) {
            return Ok(Arc::clone(store));
        }
        let store = self.kind.open(&settings)?;
        state.stores.insert(settings, Arc::clone(&store));
        Ok(store)
    }

    /// The link's binding and its store. A link that is known keeps its binding, so that whoever
    /// holds it follows.
    fn linked(&self, link: &ResolvedLink) -> Result<(K::Linked, Arc<K::Backend>), LinkError> {
        let served = |name: &String| K::INTERFACES.contains(&name.as_str());
        if let Some(interface) = link.interfaces().find(|name| !served(name)) {
            let (target, kind) = (self.id.to_string(), K::KIND.to_owned());
            return Err(LinkError::WrongTarget {
                target,
                kind,
                interface,
            });
        }
        let mut state = self.state();
        let store = self.store(&mut state, link)?;
        let linked = match state.links.get(&link.link.key()) {
            Some((_, linked)) => {
                K::lead_to(linked, Arc::clone(&store));
                linked.clone()
            }
            None => K::link(link, Arc::clone(&store)),
        };
        state
            .links
            .insert(link.link.key(), (link.clone(), linked.clone()));
        state.forget_unused();
        Ok((linked, store))
    }
}

impl<K: StoreKind> State<K> {
    /// Closes the connections of stores that no link leads to any more.
    fn forget_unused(&mut self) {
        if !K::OUTLIVES_LINKS {
            self.stores.retain(|_, store| Arc::strong_count(store) > 1);
        }
    }
}

#[async_trait]
impl<K: StoreKind> BuiltinProvider for Provider<K> {
    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn backend(&self, link: &ResolvedLink) -> Result<Binding, LinkError> {
        self.linked(link).map(|(linked, _)| Binding::new(linked))
    }

    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        if link.link.target != self.id {
            return Ok(());
        }
        let (_, store) = self.linked(&link)?;
        let what = || format!("the store of `{}`", self.id);
        K::ready(store)
            .await
            .map_err(|reason| LinkError::Unreachable {
                what: what(),
                reason,
            })
    }

    async fn delete_link(&self, key: &LinkKey) {
        let mut state = self.state();
        state.links.remove(key);
        state.forget_unused();
    }

    async fn update_config(&self, config: BTreeMap<String, String>) {
        let mut state = self.state();
        if state.config == config {
            return;
        }
        state.config = config;
        for (link, linked) in state.links.values().cloned().collect::<Vec<_>>() {
            match self.store(&mut state, &link) {
                Ok(store) => K::lead_to(&linked, store),
                Err(error) => tracing::warn!(
                    provider = %self.id,
                    source = %link.link.source_id,
                    %error,
                    "the link keeps its old settings"
                ),
            }
        }
        state.forget_unused();
    }

    async fn shutdown(&self, _grace: Duration) {
        let mut state = self.state();
        state.links.clear();
        state.stores.clear();
    }
}
