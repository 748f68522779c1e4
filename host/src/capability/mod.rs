//! What components may be given: one folder per capability, and the built-in providers behind them.
//!
//! A [`Capability`] adds imports to the linker and turns a link into a [`Binding`] that guest calls
//! use without I/O of their own. A [`BuiltinProvider`] is the other end of such a link when it runs
//! in this process; [`Remote`] is the other end when it does not.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proto::id::{ComponentId, Lattice};
use proto::link::LinkKey;

use crate::directory::Directory;
use crate::link::{Binding, LinkError, ResolvedLink, Secrets};
use crate::runtime::Ctx;

pub mod blobstore;
pub mod config;
#[cfg(test)]
mod guest_tests;
pub mod http;
pub mod keyvalue;
pub mod logging;
pub mod messaging;
pub mod nats;
pub mod pipe;
mod remote;
pub mod secrets;
pub(crate) mod settings;
mod stores;
#[cfg(test)]
pub(crate) mod testing;

pub use http::HttpIngress;
pub use remote::{FunctionType, HttpBody, HttpError, Remote, RemoteError, RemoteTarget};

/// A family of interfaces that a component may import, e.g. `wasi:keyvalue`.
pub trait Capability: Send + Sync + 'static {
    /// The family's name, e.g. `wasi:keyvalue`.
    fn name(&self) -> &'static str;

    /// The imports served, without version, e.g. `wasi:keyvalue/store`.
    fn interfaces(&self) -> &'static [&'static str];

    /// Adds the imports; once, at start-up.
    ///
    /// # Errors
    /// Whatever the linker reports, e.g. a name that is defined twice.
    fn add_to_linker(&self, linker: &mut wasmtime::component::Linker<Ctx>) -> wasmtime::Result<()>;

    /// Checks a link and turns it into something a guest call can use without I/O.
    ///
    /// `peer` is the built-in provider with the target's id on this host, if there is one;
    /// otherwise calls go through `remote`.
    ///
    /// # Errors
    /// The settings are wrong, or the peer does not serve this interface.
    fn bind(
        &self,
        link: &ResolvedLink,
        peer: Option<&Arc<dyn BuiltinProvider>>,
        remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError>;
}

/// A provider that runs inside the host (`wasmcloud+builtin://…` or a mapped upstream image).
#[async_trait]
pub trait BuiltinProvider: Send + Sync + Any {
    /// Its name, e.g. `keyvalue-nats`.
    fn kind(&self) -> &'static str;

    /// The backend for calls of the link's source over `link` (whose target this provider is), as
    /// the capability's binding type.
    ///
    /// # Errors
    /// The link's settings are wrong, or this provider serves no such interface.
    fn backend(&self, link: &ResolvedLink) -> Result<Binding, LinkError>;

    /// A link with this provider as source or target was put. The same link may come again.
    ///
    /// # Errors
    /// The link cannot be served: wrong settings, or a route that something else has.
    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError>;

    /// A link is gone.
    async fn delete_link(&self, key: &LinkKey);

    /// The provider's own settings, whole, whenever they change.
    async fn update_config(&self, config: BTreeMap<String, String>);

    /// Stops taking work and ends within `grace`.
    async fn shutdown(&self, grace: Duration);
}

/// Starts built-in providers of one kind.
#[async_trait]
pub trait BuiltinFactory: Send + Sync {
    /// The kind it starts, e.g. `keyvalue-nats`.
    fn kind(&self) -> &'static str;

    /// Starts one.
    ///
    /// # Errors
    /// The provider's settings are wrong, or what it needs is out of reach.
    async fn start(&self, cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError>;
}

/// What a built-in provider gets when it starts.
#[derive(Clone)]
pub struct BuiltinContext {
    /// The provider's id on the lattice.
    pub id: ComponentId,
    /// The lattice.
    pub lattice: Lattice,
    /// The provider's own settings.
    pub config: BTreeMap<String, String>,
    /// The provider's own secrets.
    pub secrets: Secrets,
    /// The host's connection for calls and data.
    pub nats: async_nats::Client,
    /// The JetStream domain, if the host was given one.
    pub js_domain: Option<String>,
    /// What runs on this host.
    pub directory: Arc<Directory>,
    /// The way to what does not.
    pub remote: Arc<dyn Remote>,
    /// Where a provider may keep files.
    pub data_dir: PathBuf,
    /// The host's HTTP listeners.
    pub http: Arc<HttpIngress>,
}

/// Every built-in provider and capability of this host.
#[derive(Clone)]
pub struct Builtins {
    factories: Vec<Arc<dyn BuiltinFactory>>,
    capabilities: Vec<Arc<dyn Capability>>,
}

impl Builtins {
    /// All that this program has.
    pub fn standard() -> Self {
        let mut factories: Vec<Arc<dyn BuiltinFactory>> = vec![
            Arc::new(http::HttpServerFactory),
            Arc::new(http::HttpClientFactory),
        ];
        factories.extend(keyvalue::factories());
        factories.extend(blobstore::factories());
        factories.push(Arc::new(messaging::MessagingNatsFactory));
        let capabilities: Vec<Arc<dyn Capability>> = vec![
            Arc::new(http::OutgoingHttp),
            Arc::new(keyvalue::Keyvalue),
            Arc::new(blobstore::Blobstore),
            Arc::new(messaging::Messaging),
            Arc::new(config::Config),
            Arc::new(logging::Logging),
            Arc::new(secrets::SecretStore),
        ];
        Self {
            factories,
            capabilities,
        }
    }

    /// The capabilities, for [`crate::runtime::Runtime::new`].
    pub fn capabilities(&self) -> Vec<Arc<dyn Capability>> {
        self.capabilities.clone()
    }

    /// The capability that serves `interface` (`namespace:package/interface`), if one does.
    pub fn capability_for(&self, interface: &str) -> Option<&Arc<dyn Capability>> {
        self.capabilities
            .iter()
            .find(|c| c.interfaces().contains(&interface))
    }

    /// Binds a link by the capability of its interfaces; plain component links bind to nothing.
    ///
    /// # Errors
    /// As [`Capability::bind`].
    pub fn bind(
        &self,
        link: &ResolvedLink,
        peer: Option<&Arc<dyn BuiltinProvider>>,
        remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError> {
        match link
            .interfaces()
            .find_map(|name| self.capability_for(&name))
        {
            Some(capability) => capability.bind(link, peer, remote),
            None => Ok(Binding::none()),
        }
    }

    /// The names of all built-in providers.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.factories.iter().map(|factory| factory.kind())
    }

    /// Starts a built-in provider by name.
    ///
    /// # Errors
    /// No such built-in, or as [`BuiltinFactory::start`].
    pub async fn start(
        &self,
        kind: &str,
        cx: BuiltinContext,
    ) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        match self.factories.iter().find(|factory| factory.kind() == kind) {
            Some(factory) => factory.start(cx).await,
            None => Err(LinkError::UnknownBuiltin {
                kind: kind.to_owned(),
                known: self.kinds().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}
