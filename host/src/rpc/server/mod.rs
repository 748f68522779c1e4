//! Calls from elsewhere to components and built-in providers on this host.
//!
//! One subscription per exported function, in the queue group of the component, so that all hosts
//! that run it share the calls. Every call is taken at once and runs in a task of its own: a caller
//! that stops half way holds up nobody else.

mod blobstore;
mod builtin;
mod function;
mod http;
mod keyvalue;
mod messaging;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Subscriber};
use async_trait::async_trait;
use futures::StreamExt;
use proto::id::{ComponentId, Lattice};
use proto::subject::InvocationSubject;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use builtin::BuiltinHandle;

use super::codec::Limits;
use super::http_types::{HANDLE, INCOMING};
use super::transport::{Incoming, RpcError, Transport};
use crate::capability::BuiltinProvider;
use crate::runtime::{RunningComponent, TraceHeaders};

/// Settings of a [`Server`].
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// How long a caller may pause while it sends its parameters.
    pub params_pause_max: Duration,
    /// Calls of one component that may be under way, waiting ones included; further ones stay in
    /// the subscription's queue.
    pub accepted_max: usize,
    /// What the parameters of one call may cost.
    pub limits: Limits,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            params_pause_max: Duration::from_secs(10),
            accepted_max: 4096,
            limits: Limits::default(),
        }
    }
}

/// Serves what runs on this host to its lattice. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    transport: Transport,
    lattice: Lattice,
    options: ServerOptions,
}

/// One function that is served.
struct Endpoint {
    instance: Option<String>,
    function: String,
    handler: Arc<dyn Handler>,
}

/// What answers the calls of a function.
#[async_trait]
trait Handler: Send + Sync + 'static {
    /// Answers one call. An error is told to the caller as far as the protocol can.
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal>;
}

/// Why a call got no result, in words for the callee's log and for callers of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        Self(match error {
            RpcError::Codec { source, .. } => format!("its parameters do not fit: {source}"),
            other => other.to_string(),
        })
    }
}

impl Server {
    /// A server of `lattice` over a transport.
    #[must_use]
    pub fn new(transport: Transport, lattice: Lattice, options: ServerOptions) -> Self {
        Self {
            transport,
            lattice,
            options,
        }
    }

    /// Serves every function that a component exports.
    ///
    /// # Errors
    /// A subscription is refused.
    pub async fn serve(&self, component: Arc<RunningComponent>) -> Result<ServeHandle, RpcError> {
        let mut endpoints = function::endpoints(&component);
        if component.serves_http() {
            let handler = Arc::new(http::Incoming {
                component: component.clone(),
            });
            endpoints.push(Endpoint {
                instance: Some(INCOMING.to_owned()),
                function: HANDLE.to_owned(),
                handler,
            });
        }
        self.start(component.id(), endpoints).await
    }

    /// Serves what a built-in provider offers to components on other hosts.
    ///
    /// # Errors
    /// A subscription is refused.
    pub async fn serve_builtin(
        &self,
        id: &ComponentId,
        provider: Arc<dyn BuiltinProvider>,
    ) -> Result<BuiltinHandle, RpcError> {
        let links = Arc::new(builtin::Links::new(id.clone(), provider));
        let serving = self.start(id, builtin::endpoints(&links)).await?;
        Ok(BuiltinHandle::new(links, serving))
    }

    async fn start(
        &self,
        id: &ComponentId,
        endpoints: Vec<Endpoint>,
    ) -> Result<ServeHandle, RpcError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let handle = ServeHandle {
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        let room = Arc::new(Semaphore::new(self.options.accepted_max));
        let queue = InvocationSubject::queue(&self.lattice, id);
        for Endpoint {
            instance,
            function,
            handler,
        } in endpoints
        {
            let (lattice, id) = (self.lattice.clone(), id.clone());
            let subject = InvocationSubject::new(lattice, id, instance.as_deref(), &function);
            let calls = self
                .transport
                .subscribe(subject.to_string(), queue.clone())
                .await?;
            let accept = Accept {
                transport: self.transport.clone(),
                options: self.options,
                room: room.clone(),
                handler,
                tasks: tasks.clone(),
            };
            tasks.spawn(accept.run(calls, stop.clone()));
        }
        Ok(handle)
    }
}

/// Something being served. Dropped, it takes no more calls; those under way go on.
#[derive(Debug)]
pub struct ServeHandle {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ServeHandle {
    /// Takes no more calls, and waits until those taken have ended, at most `grace`. Says whether
    /// all ended.
    pub async fn stop(self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

impl Drop for ServeHandle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes the calls of one function.
struct Accept {
    transport: Transport,
    options: ServerOptions,
    room: Arc<Semaphore>,
    handler: Arc<dyn Handler>,
    tasks: TaskTracker,
}

impl Accept {
    async fn run(self, mut calls: Subscriber, stop: CancellationToken) {
        let mut draining = false;
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled(), if !draining => {
                    // What the server has handed over already is still answered.
                    draining = true;
                    if calls.drain().await.is_err() {
                        return;
                    }
                    continue;
                }
                message = calls.next() => message,
            };
            let Some(message) = message else { return };
            let Ok(permit) = self.room.clone().acquire_owned().await else {
                return;
            };
            let (transport, options) = (self.transport.clone(), self.options);
            let handler = self.handler.clone();
            self.tasks.spawn(async move {
                answer(&transport, message, handler.as_ref(), &options).await;
                drop(permit);
            });
        }
    }
}

async fn answer(
    transport: &Transport,
    message: async_nats::Message,
    handler: &dyn Handler,
    options: &ServerOptions,
) {
    let subject = message.subject.clone();
    let mut call = match transport.accept(message).await {
        Ok(call) => call,
        Err(error) => {
            tracing::warn!(%subject, %error, "a call was not taken");
            return;
        }
    };
    let watch = call.watch();
    let done = tokio::select! {
        done = handler.handle(&mut call, options) => done,
        error = watch.failed() => {
            tracing::debug!(%subject, %error, "the caller has gone");
            return;
        }
    };
    if let Err(refusal) = done {
        let source = call
            .header(super::client::SOURCE_ID)
            .unwrap_or("unknown")
            .to_owned();
        tracing::warn!(%subject, source, reason = %refusal, "a call was refused");
        call.refuse(refusal.0);
    }
}

/// The trace context that a caller sent.
fn trace(headers: &HeaderMap) -> TraceHeaders {
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| (name.to_owned(), value.as_str().to_owned()))
    };
    TraceHeaders(
        ["traceparent", "tracestate"]
            .into_iter()
            .filter_map(header)
            .collect(),
    )
}
