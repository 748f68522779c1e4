//! Calls from this host to components and providers elsewhere.

mod blobstore;
mod http;
mod keyvalue;
mod messaging;

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use proto::id::Lattice;
use proto::subject::InvocationSubject;
use wasmtime::component::Val;

use super::codec::{Encoder, FuncTy, Limits, Path, Wire, encode_to_vec};
use super::exchange::{Source, exchange};
use super::pipes::{Downloads, Uploads};
use super::store_types::{HANDLE_MESSAGE, HANDLER};
use super::transport::{Call, Invocation, RpcError, Transport};
use crate::capability::pipe::Message;
use crate::capability::{
    FunctionType, HttpBody, HttpError, Remote, RemoteError, RemoteTarget, blobstore as blobs,
    keyvalue as kv, messaging as msg,
};

/// Settings of a [`Client`].
#[derive(Debug, Clone, Copy)]
pub struct ClientOptions {
    /// How long a call may take until its results are there (streams may go on).
    pub deadline: Duration,
    /// What the results of one call may cost.
    pub limits: Limits,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(600),
            limits: Limits::default(),
        }
    }
}

/// Calls over one lattice's rpc connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
    lattice: Lattice,
    options: ClientOptions,
}

/// A function somewhere on the lattice, as one caller sees it.
#[derive(Debug, Clone, Copy)]
struct Function<'a> {
    to: &'a RemoteTarget,
    /// The interface with its version; empty for a root function.
    instance: &'a str,
    name: &'a str,
}

impl Client {
    /// A client of `lattice` over a transport.
    #[must_use]
    pub fn new(transport: Transport, lattice: Lattice, options: ClientOptions) -> Self {
        Self {
            transport,
            lattice,
            options,
        }
    }

    /// Calls a function of plain values, with types known from anywhere.
    ///
    /// # Errors
    /// [`RpcError`], within the deadline.
    pub async fn call_values(
        &self,
        to: &RemoteTarget,
        instance: &str,
        function: &str,
        params: &[Val],
        types: &FuncTy,
    ) -> Result<Vec<Val>, RpcError> {
        let function = Function {
            to,
            instance,
            name: function,
        };
        let called = self.call_message(function, params.to_vec().into(), types);
        called.await.map(|results| results.values)
    }

    /// Calls a function of any values. Streams and futures go on after this has answered, for as
    /// long as somebody reads or writes them.
    async fn call_message(
        &self,
        function: Function<'_>,
        params: Message,
        types: &FuncTy,
    ) -> Result<Message, RpcError> {
        let codec = |source| RpcError::Codec {
            subject: self.subject(function),
            source,
        };
        let mut encoder = Encoder::default();
        encoder
            .tuple(&types.params, &params.values)
            .map_err(codec)?;
        let paths: Vec<_> = encoder
            .pending
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        let invocation = self.invocation(function, encoder.bytes, &paths);
        let (mut pipes, limits) = (params.pipes, self.options.limits);
        let mut uploads = Uploads::default();
        let exchanged = exchange(
            &self.transport,
            invocation,
            |call| {
                for (path, ty) in encoder.pending {
                    let at = pipes.iter().position(|pipe| pipe.path == path.0);
                    let pipe = at.map(|at| pipes.swap_remove(at));
                    uploads.begin(pipe, ty, call.param(&path)?);
                }
                Ok(())
            },
            async |subject, reader| {
                Source {
                    reader,
                    subject,
                    pause_max: None,
                }
                .values(&types.results, limits)
                .await
            },
        );
        let ((values, pending), call) = self.within(function, exchanged).await?;
        if paths.is_empty() && pending.is_empty() {
            call.finish();
            return Ok(values.into());
        }
        let (downloads, pipes) = Downloads::begin(pending, limits, |path| call.result(path));
        let watch = call.watch();
        tokio::spawn(async move {
            tokio::select! {
                () = uploads.ended() => {}
                // Nobody reads them any more. What has come is still read.
                _ = watch.failed() => {}
            }
            if downloads.ended().await {
                call.finish();
            }
        });
        Ok(Message { values, pipes })
    }

    /// Calls a function whose types this host knows.
    async fn invoke<P: Wire, R: Wire>(
        &self,
        function: Function<'_>,
        params: &P,
    ) -> Result<R, RpcError> {
        let (value, call) = self.begin(function, params, &[], |_| Ok(())).await?;
        call.finish();
        Ok(value)
    }

    /// As [`Self::invoke`], for functions with streams or futures: `started` opens those of the
    /// parameters, and the call is handed back for those of the results.
    async fn begin<P: Wire, R: Wire>(
        &self,
        function: Function<'_>,
        params: &P,
        async_params: &[Path],
        started: impl FnOnce(&mut Call) -> Result<(), RpcError>,
    ) -> Result<(R, Call), RpcError> {
        let invocation = self.invocation(function, encode_to_vec(params), async_params);
        let exchanged = exchange(
            &self.transport,
            invocation,
            started,
            async |subject, reader| {
                Source {
                    reader,
                    subject,
                    pause_max: None,
                }
                .typed::<R>()
                .await
            },
        );
        self.within(function, exchanged).await
    }

    async fn within<T>(
        &self,
        function: Function<'_>,
        call: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let waited = self.options.deadline;
        tokio::time::timeout(waited, call)
            .await
            .unwrap_or_else(|_| {
                Err(RpcError::Timeout {
                    what: "results",
                    subject: self.subject(function),
                    waited,
                })
            })
    }

    fn subject(&self, function: Function<'_>) -> String {
        let instance = Some(function.instance).filter(|i| !i.is_empty());
        let target = function.to.target.clone();
        InvocationSubject::new(self.lattice.clone(), target, instance, function.name).to_string()
    }

    fn invocation(
        &self,
        function: Function<'_>,
        params: Vec<u8>,
        async_params: &[Path],
    ) -> Invocation {
        let mut headers = HeaderMap::new();
        headers.insert(SOURCE_ID, function.to.source.as_ref());
        headers.insert(LINK_NAME, function.to.link_name.as_ref());
        for (name, value) in &function.to.trace.0 {
            // Trace context comes from outside; what is no header stays behind.
            if let Ok(value) = value.parse::<async_nats::HeaderValue>()
                && let Ok(name) = name.parse::<async_nats::HeaderName>()
            {
                headers.insert(name, value);
            }
        }
        Invocation {
            subject: self.subject(function),
            headers,
            params: params.into(),
            async_params: async_params.to_vec(),
        }
    }
}

/// The header that names the caller.
pub(super) const SOURCE_ID: &str = "source-id";
/// The header that names the callee, in calls of providers to components.
pub(super) const TARGET_ID: &str = "target-id";
/// The header that names the link.
pub(super) const LINK_NAME: &str = "link-name";

#[async_trait]
impl Remote for Client {
    async fn call(
        &self,
        to: &RemoteTarget,
        instance: &str,
        function: &str,
        params: Message,
        types: &FunctionType,
    ) -> Result<Message, RemoteError> {
        let encoding = |reason: String| RemoteError::Encoding { reason };
        let types = FuncTy::from_component(types).map_err(|e| encoding(e.to_string()))?;
        if types.has_resource() {
            return Err(encoding(format!(
                "`{function}` of `{instance}` takes or returns a resource, which only the standard \
                 interfaces carry between hosts"
            )));
        }
        let function = Function {
            to,
            instance,
            name: function,
        };
        let called = self.call_message(function, params, &types).await;
        called.map_err(|error| remote_error(to, error))
    }

    async fn http(
        &self,
        to: &RemoteTarget,
        request: ::http::Request<HttpBody>,
        outgoing: bool,
    ) -> Result<::http::Response<HttpBody>, HttpError> {
        self.send_http(to, request, outgoing).await
    }

    async fn handle_message(
        &self,
        to: &RemoteTarget,
        message: msg::Message,
    ) -> Result<(), msg::Error> {
        let function = Function {
            to,
            instance: HANDLER,
            name: HANDLE_MESSAGE,
        };
        let answer: Result<Result<(), String>, _> = self.invoke(function, &message).await;
        match answer {
            Ok(answer) => answer.map_err(msg::Error),
            Err(error) => Err(msg::Error(error_text(to, error))),
        }
    }

    fn keyvalue(&self, to: RemoteTarget) -> Arc<dyn kv::Backend> {
        Arc::new(keyvalue::Remote {
            client: self.clone(),
            to,
        })
    }

    fn blobstore(&self, to: RemoteTarget) -> Arc<dyn blobs::Backend> {
        Arc::new(blobstore::Remote {
            client: self.clone(),
            to,
        })
    }

    fn messaging(&self, to: RemoteTarget) -> Arc<dyn msg::Backend> {
        Arc::new(messaging::Remote {
            client: self.clone(),
            to,
        })
    }
}

/// The error as capabilities and the runtime know it.
fn remote_error(to: &RemoteTarget, error: RpcError) -> RemoteError {
    let target = to.target.clone();
    match error {
        RpcError::NoResponders { .. } => RemoteError::NoResponder { target },
        RpcError::Timeout { waited, .. } => RemoteError::Timeout { target, waited },
        RpcError::Disconnected | RpcError::Nats { .. } => RemoteError::Disconnected {
            reason: error.to_string(),
        },
        RpcError::Codec { source, .. } => RemoteError::Encoding {
            reason: source.to_string(),
        },
        RpcError::Failed { reason, .. } => RemoteError::Failed { target, reason },
        other => RemoteError::Failed {
            target,
            reason: other.to_string(),
        },
    }
}

/// The error as text, for the interfaces that know nothing else.
fn error_text(to: &RemoteTarget, error: RpcError) -> String {
    remote_error(to, error).to_string()
}
