//! Calls that leave this host, as the capabilities and the runtime see them.

use std::sync::Arc;

use super::pipe::Message;
use super::{blobstore, keyvalue, messaging};
use crate::runtime::TraceHeaders;
use async_trait::async_trait;
use proto::id::{ComponentId, LinkName};

/// The type of a function: its parameters and results.
pub type FunctionType = wasmtime::component::types::ComponentFunc;

/// A request or response body: streamed, with back-pressure and trailers.
pub type HttpBody = wasmtime_wasi_http::WasiBody;

/// An HTTP failure, one case for each of `wasi:http`'s error codes.
pub type HttpError = wasmtime_wasi_http::Error;

/// Whom to call, and on whose behalf.
#[derive(Clone, Debug)]
pub struct RemoteTarget {
    /// The calling component or provider.
    pub source: ComponentId,
    /// The component or provider that is called.
    pub target: ComponentId,
    /// The link over which the call goes.
    pub link_name: LinkName,
    /// Trace context to send along.
    pub trace: TraceHeaders,
}

/// Why a call to something outside this host came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody in the lattice serves it.
    #[error("nobody on the lattice serves `{target}`; is it running? (`wash get inventory`)")]
    NoResponder {
        /// Who was called.
        target: ComponentId,
    },
    /// No answer in time.
    #[error("`{target}` did not answer within {waited:?}")]
    Timeout {
        /// Who was called.
        target: ComponentId,
        /// How long the call waited.
        waited: std::time::Duration,
    },
    /// The connection to the lattice is gone.
    #[error("this host is cut off from the lattice: {reason}")]
    Disconnected {
        /// What the connection reported.
        reason: String,
    },
    /// A value cannot be sent, or the answer cannot be read.
    #[error("values do not fit: {reason}")]
    Encoding {
        /// Which value, and why.
        reason: String,
    },
    /// The other side reported a failure.
    #[error("`{target}` failed: {reason}")]
    Failed {
        /// Who was called.
        target: ComponentId,
        /// What it reported.
        reason: String,
    },
}

/// Calls that leave this host.
#[async_trait]
pub trait Remote: Send + Sync {
    /// Calls `function` of `instance` (`ns:pkg/iface@v`; empty for a root function). Streams and
    /// futures go on after this has answered.
    ///
    /// # Errors
    /// Typed, within the deadline: a remote call never hangs.
    async fn call(
        &self,
        to: &RemoteTarget,
        instance: &str,
        function: &str,
        params: Message,
        types: &FunctionType,
    ) -> Result<Message, RemoteError>;

    /// Sends an HTTP request to a component's handler or a provider.
    ///
    /// `outgoing` says that the caller linked `outgoing-handler`: the target may be an HTTP client
    /// provider (served as `wrpc:http/outgoing-handler`) or a component on another host (served as
    /// `wrpc:http/incoming-handler`); try the first, and the second when nobody serves the first.
    ///
    /// # Errors
    /// `DestinationUnavailable` when nobody serves the target, a timeout, or what it answered.
    async fn http(
        &self,
        to: &RemoteTarget,
        request: ::http::Request<HttpBody>,
        outgoing: bool,
    ) -> Result<::http::Response<HttpBody>, HttpError>;

    /// Hands a message to a component elsewhere that exports `wasmcloud:messaging/handler@0.2.0`;
    /// done once it has handled it.
    ///
    /// # Errors
    /// Nobody serves the target, it did not answer in time, or what it answered.
    async fn handle_message(
        &self,
        to: &RemoteTarget,
        message: messaging::Message,
    ) -> Result<(), messaging::Error>;

    /// A key-value store served elsewhere.
    fn keyvalue(&self, to: RemoteTarget) -> Arc<dyn keyvalue::Backend>;

    /// A store of blobs served elsewhere.
    fn blobstore(&self, to: RemoteTarget) -> Arc<dyn blobstore::Backend>;

    /// A message broker served elsewhere.
    fn messaging(&self, to: RemoteTarget) -> Arc<dyn messaging::Backend>;
}
