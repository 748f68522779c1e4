//! HTTP requests that share instances: always for `wasi:http@0.3`, whose guests are made for it, and
//! on request for 0.2.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, Instance, InstantiationError, Proxy, ProxyHandler, ShouldAccept,
    WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::{WasiHttpView as _, p2, p3};

use crate::capability::{HttpBody, HttpError};

use super::compiled::{CompiledComponent, HttpHandler};
use super::ctx::Ctx;
use super::engine::Ticking;
use super::error::CallError;
use super::gate::Pass;
use super::shared::{Running, Shared};
use super::spec::CallContext;

/// How long an instance without work is kept.
const IDLE: Duration = Duration::from_secs(5);
/// Requests that one 0.3 instance handles at one time.
const CONCURRENT_MAX: usize = 64;
/// Requests after which an instance is replaced, so that leaks in guests stay small.
const REQUESTS_MAX: usize = 100_000;

/// Instances of one component that live from request to request.
pub(super) struct Workers(ProxyHandler<Factory>);

struct Factory {
    shared: Arc<Shared>,
    compiled: Arc<CompiledComponent>,
}

impl Workers {
    pub(super) fn new(shared: Arc<Shared>, compiled: Arc<CompiledComponent>) -> Self {
        Self(ProxyHandler::new(Factory { shared, compiled }))
    }

    /// Handles a request in an instance that has room, or in a new one.
    pub(super) async fn http(
        &self,
        shared: &Shared,
        running: Running,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> Result<http::Response<HttpBody>, CallError> {
        let answer = self.0.handle(cx, request).await;
        let response = answer.map_err(|error| failed(shared, error))?;
        Ok(response.map(|body| {
            http_body_util::BodyExt::boxed_unsync(Held {
                body,
                _running: running,
            })
        }))
    }
}

/// Works out what a failed request is to its caller.
fn failed(shared: &Shared, error: wasmtime::Error) -> CallError {
    if error.is::<ExpirationError>() {
        return shared.too_slow();
    }
    if let Some(InstantiationError { error, .. }) =
        error.downcast_ref::<InstantiationError<CallContext>>()
    {
        return match error.downcast_ref::<NoSlot>() {
            Some(NoSlot(retry_after)) => CallError::Overloaded {
                component: shared.id.clone(),
                limit: shared.slots.limit(),
                retry_after: *retry_after,
            },
            None => shared.trapped(error),
        };
    }
    match answered(error) {
        Ok(error) => CallError::Http {
            component: shared.id.clone(),
            error,
        },
        Err(error) => shared.trapped(&error),
    }
}

/// The error code that a handler answered with, in either of WASI's two forms; else the failure
/// as it came.
fn answered(error: wasmtime::Error) -> Result<HttpError, wasmtime::Error> {
    let error = match error.downcast::<p2::bindings::http::types::ErrorCode>() {
        Ok(code) => return Ok(code.into()),
        Err(error) => error,
    };
    let error = match error.downcast::<p3::bindings::http::types::ErrorCode>() {
        Ok(code) => return Ok(code.into()),
        Err(error) => error,
    };
    error.downcast::<HttpError>()
}

/// The host has no room for another instance.
#[derive(Debug, thiserror::Error)]
#[error("no room for another instance; retry in {0:?}")]
struct NoSlot(Duration);

impl HandlerState for Factory {
    type StoreData = Ctx;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Ctx, Expiration, Worker>> {
        let slot = match self.shared.slot().await {
            Ok(slot) => slot,
            Err(_) => return Err(NoSlot(Duration::from_secs(1)).into()),
        };
        let mut store = self.shared.store(CallContext::default());
        let (proxy, concurrent) = match self.compiled.http() {
            Some(HttpHandler::P2(pre)) => (Proxy::P2(pre.instantiate_async(&mut store).await?), 1),
            Some(HttpHandler::P3(pre)) => (
                Proxy::P3(pre.instantiate_async(&mut store).await?),
                CONCURRENT_MAX,
            ),
            None => wasmtime::bail!("it exports no HTTP handler"),
        };
        let clock = Arc::new(Clock {
            shared: Arc::clone(&self.shared),
            ticking: Mutex::default(),
        });
        clock.set_busy(true);
        let expiration = Expiration {
            clock: Arc::clone(&clock),
            sleep: None,
        };
        let state = Worker {
            shared: Arc::clone(&self.shared),
            clock,
            concurrent,
            _slot: slot,
        };
        Ok(Instance {
            store,
            proxy,
            view: |ctx| ctx.http(),
            expiration,
            state,
        })
    }
}

/// Keeps the epoch going while this instance has work.
struct Clock {
    shared: Arc<Shared>,
    ticking: Mutex<Option<Ticking>>,
}

impl Clock {
    fn set_busy(&self, busy: bool) {
        let mut ticking = self.ticking.lock().unwrap_or_else(PoisonError::into_inner);
        if busy {
            ticking.get_or_insert_with(|| self.shared.ticker.enter());
        } else {
            *ticking = None;
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    clock: Arc<Clock>,
    concurrent: usize,
    _slot: Pass,
}

impl WorkerState for Worker {
    type StoreData = Ctx;
    type RequestData = CallContext;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= REQUESTS_MAX {
            ShouldAccept::Never
        } else if concurrent < self.concurrent {
            ShouldAccept::Yes
        } else {
            ShouldAccept::No
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, Ctx>,
        cx: CallContext,
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        self.clock.set_busy(true);
        // The instance may be older than its links: give it those of now.
        let grants = &mut store.data_mut().grants;
        grants.links = self.shared.links.load_full();
        grants.chosen.clear();
        grants.call = cx;
        Box::pin(tokio::time::sleep(self.shared.time_max))
    }

    fn drop(&self, store: Store<Ctx>, result: Result<(), wasmtime::Error>) {
        match result {
            Ok(()) => store.data().outgoing.confirm(),
            Err(error) => {
                let error = self.shared.failed(&error, store.data());
                tracing::warn!(component = %self.shared.id, "an instance ended: {error}");
            }
        }
    }
}

/// Ends instances that have nothing to do, or that work on one thing for too long.
struct Expiration {
    clock: Arc<Clock>,
    sleep: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let end = match status {
            WorkerStatus::Idle => {
                self.clock.set_busy(false);
                start + IDLE
            }
            WorkerStatus::Requests | WorkerStatus::PostReturn => start + self.clock.shared.time_max,
        };
        match &mut self.sleep {
            Some((until, _)) if *until == end => {}
            Some((until, sleep)) => {
                *until = end;
                sleep.as_mut().reset(end.into());
            }
            none => *none = Some((end, Box::pin(tokio::time::sleep_until(end.into())))),
        }
        match &mut self.sleep {
            Some((_, sleep)) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

/// A response body that counts as a running call until it has been sent.
struct Held {
    body: HttpBody,
    _running: Running,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, HttpError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_of_both_versions_are_answers_and_anything_else_is_a_failure() {
        let old = p2::bindings::http::types::ErrorCode::HttpRequestDenied;
        let new = p3::bindings::http::types::ErrorCode::HttpRequestDenied;
        for (version, error) in [
            ("0.2", wasmtime::Error::from(old)),
            ("0.3", wasmtime::Error::from(new)),
            (
                "the host's own",
                wasmtime::Error::from(HttpError::HttpRequestDenied),
            ),
        ] {
            assert!(
                matches!(answered(error), Ok(HttpError::HttpRequestDenied)),
                "{version}"
            );
        }
        assert!(answered(wasmtime::format_err!("unreachable")).is_err());
    }
}
