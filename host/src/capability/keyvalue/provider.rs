//! The built-in providers `keyvalue-nats`, `keyvalue-redis` and `keyvalue-memory`.

use std::sync::Arc;

use super::{
    Backend, INTERFACES, Linked, MemoryStore, NatsBucket, NatsStore, RedisSettings, RedisStore,
};
use crate::capability::nats::{LazyClient, NatsSettings};
use crate::capability::settings::Settings;
use crate::capability::stores::{StoreFactory, StoreKind};
use crate::capability::{BuiltinContext, BuiltinFactory};
use crate::link::{LinkError, ResolvedLink};

/// The factories of all key-value providers.
pub fn factories() -> [Arc<dyn BuiltinFactory>; 3] {
    [
        Arc::new(StoreFactory::<Nats>::new()),
        Arc::new(StoreFactory::<Redis>::new()),
        Arc::new(StoreFactory::<Memory>::new()),
    ]
}

/// What all kinds say alike: how a link shows its store is all that differs.
macro_rules! keyvalue_kind {
    ($kind:literal, $link:expr) => {
        const KIND: &'static str = $kind;
        const INTERFACES: &'static [&'static str] = INTERFACES;
        type Backend = dyn Backend;
        type Linked = Linked;

        fn link(link: &ResolvedLink, store: Arc<dyn Backend>) -> Linked {
            $link(link, store)
        }

        fn lead_to(linked: &Linked, store: Arc<dyn Backend>) {
            linked.lead_to(store);
        }

        async fn ready(store: Arc<dyn Backend>) -> Result<(), String> {
            store.ready().await.map_err(|error| error.to_string())
        }
    };
}

fn one_bucket(link: &ResolvedLink, store: Arc<dyn Backend>) -> Linked {
    Linked::only(link.link.name.clone(), store)
}

fn any_bucket(_link: &ResolvedLink, store: Arc<dyn Backend>) -> Linked {
    Linked::any(store)
}

/// `keyvalue-nats`.
struct Nats {
    own: async_nats::Client,
    js_domain: Option<String>,
    /// The bucket of links that name none: one of the provider's own.
    bucket: String,
}

impl StoreKind for Nats {
    keyvalue_kind!("keyvalue-nats", one_bucket);
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

    fn settings(&self, settings: &Settings, _: &ResolvedLink) -> Result<Self::Settings, LinkError> {
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
    keyvalue_kind!("keyvalue-redis", any_bucket);
    type Settings = RedisSettings;

    fn new(_cx: &BuiltinContext) -> Self {
        Self
    }

    fn settings(&self, settings: &Settings, _: &ResolvedLink) -> Result<Self::Settings, LinkError> {
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
    keyvalue_kind!("keyvalue-memory", one_bucket);
    const OUTLIVES_LINKS: bool = true;
    /// `bucket`: links that name the same one share their values.
    type Settings = String;

    fn new(_cx: &BuiltinContext) -> Self {
        Self
    }

    fn settings(&self, settings: &Settings, _: &ResolvedLink) -> Result<Self::Settings, LinkError> {
        Ok(settings.get("bucket").unwrap_or("default").to_owned())
    }

    fn open(&self, _bucket: &Self::Settings) -> Result<Arc<dyn Backend>, LinkError> {
        Ok(Arc::new(MemoryStore::new()))
    }
}
