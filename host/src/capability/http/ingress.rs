//! The host's HTTP listeners: one per address, shared by all components on it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use proto::link::LinkKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatch::{Dispatch, absolute, respond, unmatched};
use super::routes::{Matcher, Route, RouteTable};
use crate::capability::{HttpBody, HttpError, Remote};
use crate::directory::Directory;
use crate::link::LinkError;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Header fields of one request.
const HEADERS_MAX: usize = 128;
/// Bytes of a request's header section.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to send a request's header section.
const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Requests at one time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long open requests of a listener that nobody needs any more may take.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// The host's HTTP listeners: one per address, shared by all components on it.
pub struct HttpIngress {
    dispatch: Arc<Dispatch>,
    listeners: Mutex<HashMap<SocketAddr, Arc<Listener>>>,
}

struct Listener {
    /// As bound: with the port that the system chose where none was asked for.
    address: SocketAddr,
    tls: bool,
    routes: Mutex<Vec<Route>>,
    table: ArcSwap<RouteTable>,
    /// Serves components without a link by host name, too.
    by_host_name: AtomicBool,
    dispatch: Arc<Dispatch>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl HttpIngress {
    /// No listeners yet.
    pub fn new(directory: Arc<Directory>, remote: Arc<dyn Remote>) -> Arc<Self> {
        let dispatch = Arc::new(Dispatch { directory, remote });
        Arc::new(Self {
            dispatch,
            listeners: Mutex::default(),
        })
    }

    /// Serves components without an HTTP link on `address`, by host name; the bound address is
    /// returned.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn serve_default(&self, address: SocketAddr) -> Result<SocketAddr, LinkError> {
        let listener = self.listener(address, None)?;
        listener.by_host_name.store(true, Ordering::Release);
        Ok(listener.address)
    }

    /// Adds a route on `address`, and a listener if there is none yet; the bound address is
    /// returned. A route of the same link on this address is replaced.
    pub(super) fn add_route(
        &self,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        route: Route,
    ) -> Result<SocketAddr, LinkError> {
        let listener = self.listener(address, tls)?;
        let added = listener.add(route);
        self.close_unused(&listener);
        added.map(|()| listener.address)
    }

    /// Opens a listener that routes will be added to.
    pub(super) fn open(&self, address: SocketAddr) -> Result<SocketAddr, LinkError> {
        self.listener(address, None)
            .map(|listener| listener.address)
    }

    /// Removes a link's routes; listeners without any are closed, but for those at `keep`.
    pub(super) fn remove_route(&self, key: &LinkKey, keep: Option<SocketAddr>) {
        let listeners: Vec<_> = self.lock().values().cloned().collect();
        for listener in listeners {
            if listener.remove(key) && Some(listener.address) != keep {
                self.close_unused(&listener);
            }
        }
    }

    /// Removes a link's route from the address it had before it moved to another.
    pub(super) fn move_route(&self, key: &LinkKey, from: SocketAddr) {
        let listener = self.lock().get(&from).cloned();
        if let Some(listener) = listener
            && listener.remove(key)
        {
            self.close_unused(&listener);
        }
    }

    /// Closes a listener that has no routes.
    pub(super) fn close_if_unused(&self, address: SocketAddr) {
        let listener = self.lock().get(&address).cloned();
        if let Some(listener) = listener {
            self.close_unused(&listener);
        }
    }

    /// Takes no new connections and ends those there are, at most within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let listeners: Vec<_> = self.lock().drain().map(|(_, listener)| listener).collect();
        for listener in &listeners {
            listener.stop.cancel();
        }
        let ended = async {
            for listener in &listeners {
                listener.tasks.wait().await;
            }
        };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!("HTTP requests were cut off at the end of the grace time");
        }
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The listener for an address: one that covers it already, or a new one.
    fn listener(
        &self,
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
    ) -> Result<Arc<Listener>, LinkError> {
        let mut listeners = self.lock();
        if let Some(there) = listeners
            .values()
            .find(|there| covers(there.address, address))
        {
            if there.tls != tls.is_some() {
                let what = format!("address {address} (with and without TLS)");
                return Err(LinkError::Conflict {
                    what,
                    owner: there.owner(),
                });
            }
            return Ok(Arc::clone(there));
        }
        let socket = bind(address)?;
        let bound = socket.local_addr().unwrap_or(address);
        let listener = Arc::new(Listener {
            address: bound,
            tls: tls.is_some(),
            routes: Mutex::default(),
            table: ArcSwap::default(),
            by_host_name: AtomicBool::new(false),
            dispatch: Arc::clone(&self.dispatch),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        listener
            .tasks
            .spawn(Arc::clone(&listener).accept(socket, tls));
        listener.tasks.close();
        listeners.insert(bound, Arc::clone(&listener));
        tracing::info!(address = %bound, tls = listener.tls, "serving HTTP");
        Ok(listener)
    }

    fn close_unused(&self, listener: &Arc<Listener>) {
        let mut listeners = self.lock();
        let by_name = listener.by_host_name.load(Ordering::Acquire);
        if by_name || !listener.lock().is_empty() {
            return;
        }
        listeners.remove(&listener.address);
        listener.stop.cancel();
        tracing::info!(address = %listener.address, "HTTP listener closed: no routes are left");
    }
}

/// Whether a listener takes what another address asks for: the same port, on the same interface or
/// on all of them. Bound to one interface, it is the best there is for all: the port is taken.
fn covers(there: SocketAddr, wanted: SocketAddr) -> bool {
    wanted.port() != 0
        && there.port() == wanted.port()
        && (there.ip() == wanted.ip()
            || there.ip().is_unspecified()
            || wanted.ip().is_unspecified())
}

fn bind(address: SocketAddr) -> Result<TcpListener, LinkError> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => LinkError::Conflict {
            what: format!("address {address}"),
            owner: "another program on this machine".into(),
        },
        _ => LinkError::Unreachable {
            what: format!("address {address}"),
            reason: error.to_string(),
        },
    })
}

impl Listener {
    fn lock(&self) -> MutexGuard<'_, Vec<Route>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self) -> String {
        self.lock().first().map_or_else(
            || "the host".to_owned(),
            |route| route.entry.target.to_string(),
        )
    }

    fn add(&self, route: Route) -> Result<(), LinkError> {
        let mut routes = self.lock();
        let taken = |other: &&Route| other.key != route.key && other.matcher == route.matcher;
        if let Some(other) = routes.iter().find(taken) {
            let what = match &route.matcher {
                Matcher::Any => format!("address {}", self.address),
                matcher => format!("{} on {}", matcher.describe(), self.address),
            };
            return Err(LinkError::Conflict {
                what,
                owner: other.entry.target.to_string(),
            });
        }
        routes.retain(|other| other.key != route.key);
        routes.push(route);
        self.table.store(Arc::new(RouteTable::new(&routes)));
        Ok(())
    }

    fn remove(&self, key: &LinkKey) -> bool {
        let mut routes = self.lock();
        let before = routes.len();
        routes.retain(|route| route.key != *key);
        if routes.len() == before {
            return false;
        }
        self.table.store(Arc::new(RouteTable::new(&routes)));
        true
    }

    async fn accept(self: Arc<Self>, socket: TcpListener, tls: Option<TlsAcceptor>) {
        let graceful = GracefulShutdown::new();
        let builder = Arc::new(builder());
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Answers are small and complete: waiting to fill a packet only delays them.
            let _ = stream.set_nodelay(true);
            let (listener, builder) = (Arc::clone(&self), Arc::clone(&builder));
            let (tls, watcher) = (tls.clone(), graceful.watcher());
            self.tasks.spawn(async move {
                match tls {
                    None => listener.connection(&builder, stream, watcher).await,
                    Some(tls) => {
                        match tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await {
                            Ok(Ok(stream)) => listener.connection(&builder, stream, watcher).await,
                            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                            Err(_) => tracing::debug!("TLS handshake took too long"),
                        }
                    }
                }
            });
        }
        drop(socket);
        if tokio::time::timeout(CLOSE_GRACE, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(address = %self.address, "open requests were left behind");
        }
    }

    async fn connection<S>(
        self: Arc<Self>,
        builder: &auto::Builder<TokioExecutor>,
        stream: S,
        watcher: hyper_util::server::graceful::Watcher,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = hyper::service::service_fn(move |request| {
            let listener = Arc::clone(&self);
            async move { Ok::<_, Infallible>(listener.handle(request).await) }
        });
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn handle(&self, mut request: Request<Incoming>) -> Response<HttpBody> {
        if let Err(reason) = absolute(&mut request, self.tls) {
            return respond(StatusCode::BAD_REQUEST, reason.to_owned());
        }
        let request = request.map(|body| body.map_err(HttpError::from).boxed_unsync());
        let table = self.table.load();
        let uri = request.uri();
        let authority = uri.authority().map(http::uri::Authority::as_str);
        match table
            .find(uri.path(), authority, request.headers())
            .map(Arc::clone)
        {
            Ok(entry) => {
                drop(table);
                self.dispatch.routed(&entry, request).await
            }
            Err(why) => {
                drop(table);
                if self.by_host_name.load(Ordering::Acquire) {
                    return self.dispatch.by_host_name(request).await;
                }
                unmatched(why)
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32);
    builder
}
