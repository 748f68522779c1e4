//! The built-in providers `keyvalue-nats`, `keyvalue-redis` and `keyvalue-memory`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proto::id::ComponentId;
use proto::link::LinkKey;

use super::{
    Backend, INTERFACES, Linked, MemoryStore, NatsBucket, NatsStore, RedisSettings, RedisStore,
};
use crate::capability::nats::{LazyClient, NatsSettings};
use crate::capability::settings::{Own, Settings};
use crate::capability::{BuiltinContext, BuiltinFactory, BuiltinProvider};
use crate::link::{Binding, LinkError, ResolvedLink, Secrets};

/// The factories of all key-value providers.
pub fn factories() -> [Arc<dyn BuiltinFactory>; 3] {
    [
        Arc::new(KeyvalueFactory::<Nats>::new()),
        Arc::new(KeyvalueFactory::<Redis>::new()),
        Arc::new(KeyvalueFactory::<Memory>::new()),
    ]
}

/// What tells one key-value provider from another.
pub trait StoreKind: Send + Sync + Sized + 'static {
    /// The provider's name.
    const KIND: &'static str;
    /// Whether a store lives on when no link leads to it.
    const OUTLIVES_LINKS: bool = false;
    /// Whether a store knows only one bucket.
    const ONE_BUCKET: bool;
    /// What tells one store from another. Links with equal settings share a store.
    type Settings: Ord + Clone + Send + Sync;

    /// Takes what it needs to open stores.
    fn new(cx: &BuiltinContext) -> Self;
    /// Reads and checks a link's settings.
    fn settings(&self, settings: &Settings) -> Result<Self::Settings, LinkError>;
    /// Opens a store, without I/O.
    fn open(&self, settings: &Self::Settings) -> Result<Arc<dyn Backend>, LinkError>;
}

/// Starts key-value providers of one kind.
pub struct KeyvalueFactory<K>(std::marker::PhantomData<fn() -> K>);

impl<K> KeyvalueFactory<K> {
    const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

#[async_trait]
impl<K: StoreKind> BuiltinFactory for KeyvalueFactory<K> {
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
    links: BTreeMap<LinkKey, (ResolvedLink, Linked)>,
    stores: BTreeMap<K::Settings, Arc<dyn Backend>>,
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
    ) -> Result<Arc<dyn Backend>, LinkError> {
        let own = Own {
            config: &state.config,
            secrets: &self.secrets,
        };
        let settings = self.kind.settings(&Settings::as_target(own, link))?;
        if let Some(store) = state.stores.get(&settings) {
            return Ok(Arc::clone(store));
        }
        let store = self.kind.open(&settings)?;
        state.stores.insert(settings, Arc::clone(&store));
        Ok(store)
    }

    fn linked(&self, link: &ResolvedLink) -> Result<Linked, LinkError> {
        if let Some(interface) = link
            .interfaces()
            .find(|name| !INTERFACES.contains(&name.as_str()))
        {
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
                linked.lead_to(store);
                linked.clone()
            }
            None if K::ONE_BUCKET => Linked::only(link.link.name.clone(), store),
            None => Linked::any(store),
        };
        state
            .links
            .insert(link.link.key(), (link.clone(), linked.clone()));
        state.forget_unused();
        Ok(linked)
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
        self.linked(link).map(Binding::new)
    }

    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        if link.link.target != self.id {
            return Ok(());
        }
        let store = self
            .linked(&link)?
            .open("")
            .map_err(|error| self.unreachable(&error))?;
        store
            .ready()
            .await
            .map_err(|error| self.unreachable(&error))
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
                Ok(store) => linked.lead_to(store),
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

impl<K: StoreKind> Provider<K> {
    fn unreachable(&self, error: &super::Error) -> LinkError {
        LinkError::Unreachable {
            what: format!("the store of `{}`", self.id),
            reason: error.to_string(),
        }
    }
}

/// `keyvalue-nats`.
struct Nats {
    own: async_nats::Client,
    js_domain: Option<String>,
    /// The bucket of links that name none: one of the provider's own.
    bucket: String,
}

impl StoreKind for Nats {
    const KIND: &'static str = "keyvalue-nats";
    const ONE_BUCKET: bool = true;
    type Settings = (Option<NatsSettings>, NatsBucket);

    fn new(cx: &BuiltinContext) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '_'
            }
        };
        Self {
            own: cx.nats.clone(),
            js_domain: cx.js_domain.clone(),
            bucket: cx.id.as_str().chars().map(plain).collect(),
        }
    }

    fn settings(&self, settings: &Settings) -> Result<Self::Settings, LinkError> {
        let system = NatsSettings::read(settings)?;
        let named = settings.get("bucket");
        let name = named.unwrap_or(&self.bucket).to_owned();
        if name
            .chars()
            .any(|c| !c.is_ascii_alphanumeric() && !"-_".contains(c))
        {
            return Err(settings.bad("bucket", "a bucket's name has letters, digits, `-` and `_`"));
        }
        let create = named.is_none() || settings.is_true("enable_bucket_auto_create");
        // The host's domain is one of the host's NATS system.
        let own_domain = self.js_domain.clone().filter(|_| system.is_none());
        let js_domain = settings
            .get("js_domain")
            .map(ToOwned::to_owned)
            .or(own_domain);
        Ok((
            system,
            NatsBucket {
                name,
                create,
                js_domain,
            },
        ))
    }

    fn open(&self, (system, bucket): &Self::Settings) -> Result<Arc<dyn Backend>, LinkError> {
        let client = LazyClient::new(system.clone(), &self.own);
        Ok(Arc::new(NatsStore::lazy(client, bucket.clone())))
    }
}

/// `keyvalue-redis`.
struct Redis;

impl StoreKind for Redis {
    const KIND: &'static str = "keyvalue-redis";
    const ONE_BUCKET: bool = false;
    type Settings = RedisSettings;

    fn new(_cx: &BuiltinContext) -> Self {
        Self
    }

    fn settings(&self, settings: &Settings) -> Result<Self::Settings, LinkError> {
        let default = RedisSettings::default();
        let url = match settings.get("url") {
            Some(url) => url.to_owned(),
            None if settings.has("disable_default_connection") => {
                let hint = "the provider has no default connection; give the link a `URL`".into();
                return Err(LinkError::MissingSetting { key: "URL", hint });
            }
            None => default.url,
        };
        Ok(RedisSettings {
            url,
            reconnect_retries: settings
                .parsed("backend_reconnect_num_retries", "a whole number")?
                .unwrap_or(default.reconnect_retries),
            reconnect_delay_max: settings.millis(
                "backend_reconnect_max_delay_ms",
                default.reconnect_delay_max,
            )?,
            connection_timeout: settings
                .millis("backend_connection_timeout_ms", default.connection_timeout)?,
            response_timeout: settings
                .millis("backend_response_timeout_ms", default.response_timeout)?,
        })
    }

    fn open(&self, settings: &Self::Settings) -> Result<Arc<dyn Backend>, LinkError> {
        let store = RedisStore::lazy(settings).map_err(|error| LinkError::BadSetting {
            key: "URL".into(),
            value: "(not shown: it may hold a password)".into(),
            reason: format!("{error}; expected e.g. `redis://host:6379/`"),
        })?;
        Ok(Arc::new(store))
    }
}

/// `keyvalue-memory`.
struct Memory;

impl StoreKind for Memory {
    const KIND: &'static str = "keyvalue-memory";
    const OUTLIVES_LINKS: bool = true;
    const ONE_BUCKET: bool = true;
    /// `bucket`: links that name the same one share their values.
    type Settings = String;

    fn new(_cx: &BuiltinContext) -> Self {
        Self
    }

    fn settings(&self, settings: &Settings) -> Result<Self::Settings, LinkError> {
        Ok(settings.get("bucket").unwrap_or("default").to_owned())
    }

    fn open(&self, _bucket: &Self::Settings) -> Result<Arc<dyn Backend>, LinkError> {
        Ok(Arc::new(MemoryStore::new()))
    }
}
