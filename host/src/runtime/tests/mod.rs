//! Components of a few lines, called in every way.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use proto::Annotations;
use proto::id::ComponentId;
use proto::link::Link;
use wasmtime::component::Val;

use super::*;
use crate::capability::pipe::Message;
use crate::capability::{
    Builtins, FunctionType, HttpBody, HttpError, Remote, RemoteError, RemoteTarget, blobstore,
    keyvalue, messaging,
};
use crate::directory::Directory;
use crate::link::{Binding, BoundLink, LinkTable, ResolvedLink};

mod calls;
mod compile;
pub(crate) mod http;

/// One runtime for all tests: its pool reserves much address space.
pub(crate) fn runtime() -> &'static Arc<Runtime> {
    static RUNTIME: OnceLock<Arc<Runtime>> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let options = RuntimeOptions {
            pool_instances: Some(100),
            queue_timeout: std::time::Duration::from_millis(50),
            ..RuntimeOptions::default()
        };
        Runtime::new(options, Builtins::standard().capabilities()).unwrap()
    })
}

/// A lattice on which `far` answers every call with 42 and nobody else answers.
pub(crate) struct Elsewhere;

#[async_trait]
impl Remote for Elsewhere {
    async fn call(
        &self,
        to: &RemoteTarget,
        _instance: &str,
        _function: &str,
        _params: Message,
        _types: &FunctionType,
    ) -> Result<Message, RemoteError> {
        match to.target.as_str() {
            "far" => Ok(vec![Val::U32(42)].into()),
            _ => Err(RemoteError::NoResponder {
                target: to.target.clone(),
            }),
        }
    }

    async fn http(
        &self,
        _to: &RemoteTarget,
        _request: ::http::Request<HttpBody>,
        _outgoing: bool,
    ) -> Result<::http::Response<HttpBody>, HttpError> {
        Err(HttpError::DestinationUnavailable)
    }

    async fn handle_message(
        &self,
        _to: &RemoteTarget,
        _message: messaging::Message,
    ) -> Result<(), messaging::Error> {
        unreachable!("no test here needs it")
    }

    fn keyvalue(&self, _to: RemoteTarget) -> Arc<dyn keyvalue::Backend> {
        unreachable!("no test here needs it")
    }

    fn blobstore(&self, _to: RemoteTarget) -> Arc<dyn blobstore::Backend> {
        unreachable!("no test here needs it")
    }

    fn messaging(&self, _to: RemoteTarget) -> Arc<dyn messaging::Backend> {
        unreachable!("no test here needs it")
    }
}

/// Starts components on a host of their own.
pub(crate) struct Host {
    pub(crate) directory: Arc<Directory>,
    pub(crate) limits: Limits,
    pub(crate) max_instances: u32,
    pub(crate) annotations: Annotations,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            directory: Arc::new(Directory::new()),
            limits: Limits::default(),
            max_instances: u32::MAX,
            annotations: Annotations::new(),
        }
    }

    /// Starts a component; `links` as `interface -> target`.
    pub(crate) async fn start(
        &self,
        id: &str,
        wasm: &'static [u8],
        links: &[(&str, &str)],
    ) -> Arc<RunningComponent> {
        let compiled = runtime()
            .compile(&Artifact::from_bytes(wasm))
            .await
            .unwrap();
        let spec = ComponentSpec {
            id: ComponentId::new(id).unwrap(),
            image_ref: format!("file:///{id}.wasm"),
            compiled,
            max_instances: self.max_instances,
            limits: self.limits,
            annotations: self.annotations.clone(),
            config: Arc::default(),
            secrets: Arc::default(),
            links: LinkTable::new(links.iter().map(|(interface, to)| link(id, interface, to))),
            remote: Arc::new(Elsewhere),
            directory: Arc::clone(&self.directory),
        };
        let running = runtime().start(spec);
        self.directory.insert_component(Arc::clone(&running));
        running
    }
}

/// A link for one interface, `namespace:package/interface`.
pub(crate) fn link(source: &str, interface: &str, target: &str) -> Arc<BoundLink> {
    let (namespace, rest) = interface.split_once(':').unwrap();
    let (package, interface) = rest.split_once('/').unwrap();
    let id = |text| ComponentId::new(text).unwrap();
    let link = Link::new(id(source), id(target), namespace, package, [interface]);
    Arc::new(BoundLink {
        link: Arc::new(ResolvedLink::plain(link)),
        binding: Binding::none(),
    })
}

/// Components of a few lines; each lies beside its text form, of which it is made.
pub(crate) const OPS: &[u8] = include_bytes!("fixtures/ops.wasm");
const CALLER: &[u8] = include_bytes!("fixtures/caller.wasm");
const ASKER: &[u8] = include_bytes!("fixtures/asker.wasm");
const RING: &[u8] = include_bytes!("fixtures/ring.wasm");
