//! The built-in providers `blobstore-fs` and `blobstore-nats`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, FsStore, INTERFACES, Linked, NatsStore, NatsStoreSettings};
use crate::capability::nats::{LazyClient, NatsSettings};
use crate::capability::settings::Settings;
use crate::capability::stores::{StoreFactory, StoreKind};
use crate::capability::{BuiltinContext, BuiltinFactory};
use crate::link::{LinkError, ResolvedLink};

/// The factories of all blob-store providers.
pub fn factories() -> [Arc<dyn BuiltinFactory>; 2] {
    [
        Arc::new(StoreFactory::<Fs>::new()),
        Arc::new(StoreFactory::<Nats>::new()),
    ]
}

/// What both kinds say alike.
macro_rules! blobstore_kind {
    ($kind:literal) => {
        const KIND: &'static str = $kind;
        const INTERFACES: &'static [&'static str] = INTERFACES;
        type Backend = dyn Backend;
        type Linked = Linked;

        fn link(_link: &ResolvedLink, store: Arc<dyn Backend>) -> Linked {
            Linked::new(store)
        }

        fn lead_to(linked: &Linked, store: Arc<dyn Backend>) {
            linked.lead_to(store);
        }

        async fn ready(store: Arc<dyn Backend>) -> Result<(), String> {
            store.ready().await.map_err(|error| error.to_string())
        }
    };
}

/// `blobstore-fs`.
struct Fs {
    /// Where links without `ROOT` keep their containers, a folder for each source.
    data_dir: PathBuf,
}

impl StoreKind for Fs {
    blobstore_kind!("blobstore-fs");
    type Settings = PathBuf;

    fn new(cx: &BuiltinContext) -> Self {
        Self {
            data_dir: cx.data_dir.join("blobs").join(cx.id.as_str()),
        }
    }

    fn settings(&self, settings: &Settings, link: &ResolvedLink) -> Result<PathBuf, LinkError> {
        match settings.get("root").map(PathBuf::from) {
            None => Ok(self.data_dir.join(link.link.source_id.as_str())),
            Some(root) if root.is_absolute() => Ok(root),
            Some(_) => Err(settings.bad("root", "expected an absolute path")),
        }
    }

    fn open(&self, root: &PathBuf) -> Result<Arc<dyn Backend>, LinkError> {
        Ok(Arc::new(FsStore::new(root.clone())))
    }
}

/// `blobstore-nats`.
struct Nats {
    own: async_nats::Client,
    js_domain: Option<String>,
}

impl StoreKind for Nats {
    blobstore_kind!("blobstore-nats");
    type Settings = (Option<NatsSettings>, NatsStoreSettings);

    fn new(cx: &BuiltinContext) -> Self {
        Self {
            own: cx.nats.clone(),
            js_domain: cx.js_domain.clone(),
        }
    }

    fn settings(&self, settings: &Settings, _: &ResolvedLink) -> Result<Self::Settings, LinkError> {
        let system = NatsSettings::read(settings)?;
        // The host's domain is one of the host's NATS system.
        let own_domain = self.js_domain.clone().filter(|_| system.is_none());
        let in_memory = match settings
            .get("storage_type")
            .map(str::to_lowercase)
            .as_deref()
        {
            None | Some("file" | "0") => false,
            Some("memory" | "1") => true,
            Some(_) => return Err(settings.bad("storage_type", "expected `file` or `memory`")),
        };
        let seconds = |key, default| -> Result<Duration, LinkError> {
            let seconds = settings.parsed(key, "a whole number of seconds")?;
            Ok(Duration::from_secs(seconds.unwrap_or(default)))
        };
        let store = NatsStoreSettings {
            js_domain: settings
                .get("js_domain")
                .map(ToOwned::to_owned)
                .or(own_domain),
            write_within: seconds("max_write_wait", 30)?,
            max_age: seconds("max_age", 0)?,
            in_memory,
            replicas: settings
                .parsed("num_replicas", "a whole number")?
                .unwrap_or(1),
            compression: settings.is_true("compression"),
        };
        Ok((system, store))
    }

    fn open(&self, (system, store): &Self::Settings) -> Result<Arc<dyn Backend>, LinkError> {
        let client = LazyClient::new(system.clone(), &self.own);
        Ok(Arc::new(NatsStore::lazy(client, store.clone())))
    }
}
