//! The HTTP endpoint for process managers: `/livez` and `/readyz`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::task::{Task, TaskError};

/// Most connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// Whether the controller does its work: true from when its buckets exist and its subscriptions
/// stand, until it stops.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says whether the controller does its work now.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Whether the controller does its work.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves the endpoint.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    ready: Ready,
}

impl Admin {
    /// An endpoint at `address` that tells `ready`.
    pub fn new(address: SocketAddr, ready: Ready) -> Self {
        Self { address, ready }
    }
}

#[async_trait::async_trait]
impl Task for Admin {
    const NAME: &'static str = "http admin";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let listener = TcpListener::bind(self.address)
            .await
            .with_context(|| format!("cannot listen on {} (--http-admin)", self.address))?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                    let (stream, _) = accepted.context("cannot accept a connection")?;
                    let ready = self.ready.clone();
                    connections.spawn(async move {
                        let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, ready.get()))));
                        let served = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        if let Err(error) = served {
                            tracing::debug!(%error, "admin connection ended early");
                        }
                    });
                }
            }
        }
    }
}

fn answer<B>(request: &Request<B>, ready: bool) -> Response<Full<Bytes>> {
    const OK: &str = r#"{"status":"ok"}"#;
    const FAILURE: &str = r#"{"status":"failure"}"#;
    let (status, body) = match (request.uri().path(), request.method()) {
        ("/livez", &Method::GET | &Method::HEAD) => (StatusCode::OK, OK),
        ("/readyz", &Method::GET | &Method::HEAD) if ready => (StatusCode::OK, OK),
        ("/readyz", &Method::GET | &Method::HEAD) => (StatusCode::INTERNAL_SERVER_ERROR, FAILURE),
        ("/livez" | "/readyz", _) => (StatusCode::METHOD_NOT_ALLOWED, ""),
        _ => (StatusCode::NOT_FOUND, ""),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    if !body.is_empty() {
        let json = http::HeaderValue::from_static("application/json");
        response
            .headers_mut()
            .insert(http::header::CONTENT_TYPE, json);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_answers_as_upstream_does() {
        for (method, path, ready, status) in [
            ("GET", "/livez", false, 200),
            ("GET", "/readyz", true, 200),
            ("GET", "/readyz", false, 500),
            ("POST", "/livez", true, 405),
            ("GET", "/else", true, 404),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(())
                .unwrap();
            assert_eq!(answer(&request, ready).status(), status, "{method} {path}");
        }
    }
}
