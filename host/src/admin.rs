//! `/livez` and `/readyz`, for whoever watches the process.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::oci::error_chain;
use crate::task::{OnFailure, Task, TaskError};

/// Connections at one time.
const CONNECTIONS_MAX: usize = 64;

/// Serves the two paths.
pub struct Admin {
    listener: TcpListener,
    ready: watch::Receiver<bool>,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// What the system said.
    pub async fn bind(address: SocketAddr, ready: watch::Receiver<bool>) -> std::io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            ready,
        })
    }
}

impl Task for Admin {
    const NAME: &'static str = "http admin";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = self.listener.accept() => accepted,
            };
            let (stream, _) = accepted.map_err(|error| TaskError::from_error(&error))?;
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (ready, stop) = (self.ready.clone(), stop.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, *ready.borrow()));
                let server = auto::Builder::new(TokioExecutor::new());
                let connection = server.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = connection => if let Err(error) = ended {
                        tracing::debug!(error = error_chain(error.as_ref()), "admin connection");
                    }
                }
                drop(place);
            });
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    ready: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.uri().path(), request.method()) {
        ("/livez" | "/readyz", method) if method != Method::GET && method != Method::HEAD => {
            (StatusCode::METHOD_NOT_ALLOWED, "")
        }
        ("/readyz", _) if !ready => (StatusCode::INTERNAL_SERVER_ERROR, r#"{"status":"failure"}"#),
        ("/livez" | "/readyz", _) => (StatusCode::OK, r#"{"status":"ok"}"#),
        _ => (StatusCode::NOT_FOUND, ""),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}
