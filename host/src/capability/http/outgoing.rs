//! A guest's own HTTP requests: the link decides where each goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response, Uri};
use wasmtime::component::Linker;
use wasmtime_wasi_http::{RequestOptions, WasiHttpHooks};

use super::HttpClient;
use crate::capability::{BuiltinProvider, Capability, HttpBody, HttpError, Remote, RemoteTarget};
use crate::link::{Binding, BoundLink, LinkError, ResolvedLink};
use crate::runtime::{CallContext, CallError, Ctx, Grants};

/// The imports that send requests: of WASI 0.2, and of 0.3.
const INTERFACES: [&str; 2] = ["wasi:http/outgoing-handler", "wasi:http/client"];

/// `wasi:http`: types, and outgoing requests over links.
///
/// A request goes over the link whose name the guest chose with `wasmcloud:bus`, else over the one
/// whose name or whose target's id is the request's host, else over the one named `default`.
pub struct OutgoingHttp;

impl Capability for OutgoingHttp {
    fn name(&self) -> &'static str {
        "wasi:http"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &INTERFACES
    }

    fn add_to_linker(&self, linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
        wasmtime_wasi_http::p3::add_to_linker(linker)
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

type Sent<T> = Box<dyn Future<Output = Result<T, HttpError>> + Send>;

impl WasiHttpHooks for Grants {
    fn send_request(
        &mut self,
        request: Request<HttpBody>,
        options: Option<RequestOptions>,
        _response_error: Sent<()>,
    ) -> Sent<(Response<HttpBody>, Sent<()>)> {
        let Some(link) = choose(self, request.uri()) else {
            self.missing_link(INTERFACES[0]);
            return Box::new(async { Err(HttpError::HttpRequestDenied) });
        };
        let route = Route::over(&link, self);
        Box::new(async move {
            let response = route.send(request, options.unwrap_or_default()).await?;
            Ok((response, Box::new(async { Ok(()) }) as Sent<()>))
        })
    }
}

fn choose(grants: &Grants, uri: &Uri) -> Option<Arc<BoundLink>> {
    for interface in INTERFACES {
        if grants.has_chosen(interface) {
            return grants.link(interface);
        }
    }
    let host = uri.host().unwrap_or_default();
    let named = |link: &&Arc<BoundLink>| {
        let link = &link.link.link;
        link.name == *host || link.target == *host
    };
    INTERFACES
        .iter()
        .find_map(|interface| grants.links_for(interface).iter().find(named).cloned())
        .or_else(|| {
            INTERFACES
                .iter()
                .find_map(|interface| grants.link(interface))
        })
}

/// Where a request goes, worked out when it is made.
enum Route {
    Client(HttpClient),
    Component {
        to: RemoteTarget,
        call: CallContext,
        grants: Reach,
    },
}

/// What is needed of the grants once the guest waits.
struct Reach {
    directory: Arc<crate::directory::Directory>,
    remote: Arc<dyn Remote>,
}

impl Route {
    fn over(link: &BoundLink, grants: &Grants) -> Self {
        if let Some(client) = link.binding.get::<HttpClient>() {
            return Self::Client(client.clone());
        }
        Self::Component {
            to: grants.remote_target(link),
            call: grants.nested_call(),
            grants: Reach {
                directory: Arc::clone(grants.directory()),
                remote: Arc::clone(grants.remote()),
            },
        }
    }

    async fn send(
        self,
        request: Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<Response<HttpBody>, HttpError> {
        let (to, call, reach) = match self {
            Self::Client(client) => return client.send(request, options).await,
            Self::Component { to, call, grants } => (to, call, grants),
        };
        let wait = options.first_byte_timeout;
        let answer: Pin<Box<dyn Future<Output = _> + Send>> =
            match reach.directory.component(&to.target) {
                Some(component) => Box::pin(async move {
                    component
                        .http(call, request)
                        .await
                        .map_err(|error| into_http(&error))
                }),
                None => Box::pin(async move { reach.remote.http(&to, request, true).await }),
            };
        match wait {
            None => answer.await,
            Some(wait) => tokio::time::timeout(wait, answer)
                .await
                .unwrap_or(Err(HttpError::HttpResponseTimeout)),
        }
    }
}

/// A failed call of a component, as the requesting guest sees it.
pub(super) fn into_http(error: &CallError) -> HttpError {
    tracing::debug!("a request to a component failed: {error}");
    match error {
        CallError::Overloaded { .. } => HttpError::ConnectionLimitReached,
        CallError::Deadline { .. } => HttpError::HttpResponseTimeout,
        CallError::NoSuchExport { .. } => HttpError::DestinationNotFound,
        CallError::Stopping { .. } => HttpError::DestinationUnavailable,
        CallError::TooDeep { .. } => HttpError::LoopDetected,
        CallError::Memory { .. } | CallError::Trap { .. } | CallError::Http { .. } => {
            HttpError::InternalError(Some(error.to_string()))
        }
    }
}
