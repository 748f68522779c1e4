//! Serving a component's HTTP handler, and an HTTP client for components elsewhere.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response, Uri};
use async_trait::async_trait;
use wasmtime_wasi_http::RequestOptions;

use super::builtin::{Links, instance};
use super::{Endpoint, Handler, Refusal, ServerOptions, trace};
use crate::capability::http::HttpClient;
use crate::capability::{HttpBody, HttpError};
use crate::rpc::body::{BodySource, receive_body, send_body};
use crate::rpc::codec::{Path, Wire, encode_to_vec};
use crate::rpc::exchange::Source;
use crate::rpc::http_types::{self as types, ErrorCode, Fields, Now};
use crate::rpc::transport::{self, RpcError};
use crate::runtime::{CallContext, CallError, RunningComponent};

/// A component's HTTP handler.
pub(super) struct Incoming {
    pub(super) component: Arc<RunningComponent>,
}

#[async_trait]
impl Handler for Incoming {
    async fn handle(
        &self,
        call: &mut transport::Incoming,
        options: &ServerOptions,
    ) -> Result<(), Refusal> {
        let request = receive_request(call, options).await?;
        let cx = CallContext {
            trace: trace(call.headers()),
            ..CallContext::default()
        };
        let answer = self.component.http(cx, request).await.map_err(http_error);
        send_answer(call, answer).await
    }
}

/// Reads the request of a call; its body is read as it comes.
pub(super) async fn receive_request(
    call: &mut transport::Incoming,
    options: &ServerOptions,
) -> Result<Request<HttpBody>, Refusal> {
    let (request, ()) = receive(call, options, |head: types::Request| (head, ())).await?;
    Ok(request)
}

/// Reads parameters that begin with a request.
async fn receive<P: Wire, R>(
    call: &mut transport::Incoming,
    options: &ServerOptions,
    split: fn(P) -> (types::Request, R),
) -> Result<(Request<HttpBody>, R), Refusal> {
    let subject = call.subject().to_owned();
    let mut reader = call.params();
    let mut source = Source {
        reader: &mut reader,
        subject: &subject,
        pause_max: Some(options.params_pause_max),
    };
    let params = source.typed::<P>().await?;
    let params = params.ok_or_else(|| Refusal("it came without parameters".into()))?;
    let (head, rest) = split(params);
    let scheme = head
        .scheme
        .ok_or_else(|| Refusal("the request has no scheme".into()))?;
    let mut uri = Uri::builder();
    // A scheme cannot stand without an authority.
    if let Some(authority) = head.authority {
        uri = uri.scheme(scheme).authority(authority);
    }
    let path = head.path.unwrap_or_else(|| "/".to_owned());
    let uri = uri.path_and_query(path).build();
    let uri = uri.map_err(|error| Refusal(format!("the request's address is bad: {error}")))?;
    let data = call.param(&Path::from(&[0, 0][..]));
    let trailer = call.param(&Path::from(&[0, 1][..]));
    let source = BodySource {
        body: head.body,
        data,
        trailers: head.trailers,
        trailer,
    };
    let mut request = Request::new(receive_body(source, broken_request, (), |()| {}));
    *request.method_mut() = head.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers.0;
    Ok((request, rest))
}

/// An HTTP client that runs here, for components elsewhere.
pub(super) struct Outgoing {
    links: Arc<Links>,
}

pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    instance(types::OUTGOING, &[types::HANDLE], |_| Outgoing {
        links: links.clone(),
    })
}

/// `request-options`, in nanoseconds.
type Options = Option<(Option<u64>, Option<u64>, Option<u64>)>;

#[async_trait]
impl Handler for Outgoing {
    async fn handle(
        &self,
        call: &mut transport::Incoming,
        options: &ServerOptions,
    ) -> Result<(), Refusal> {
        let client = self.links.find::<HttpClient>(call, "wasi:http");
        let split = |(head, limits): (types::Request, Options)| (head, limits);
        let (request, limits) = receive(call, options, split).await?;
        let answer = match client {
            Ok(client) => {
                let (connect, first, between) = limits.unwrap_or_default();
                let limits = RequestOptions {
                    connect_timeout: connect.map(Duration::from_nanos),
                    first_byte_timeout: first.map(Duration::from_nanos),
                    between_bytes_timeout: between.map(Duration::from_nanos),
                };
                client.send(request, limits).await
            }
            // The interface has a word for it; the reason is for the log of the caller.
            Err(reason) => Err(HttpError::InternalError(Some(reason))),
        };
        send_answer(call, answer).await
    }
}

/// Sends a response with its body, or the error.
pub(super) async fn send_answer(
    call: &mut transport::Incoming,
    answer: Result<Response<HttpBody>, HttpError>,
) -> Result<(), Refusal> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let answer: Result<types::Response, _> = Err(ErrorCode(error));
            call.answer(encode_to_vec(&answer).into(), &[]).await?;
            return Ok(());
        }
    };
    let (parts, body) = response.into_parts();
    let head: Result<_, ErrorCode> = Ok(types::Response {
        body: Now::Pending,
        trailers: Now::Pending,
        status: parts.status,
        headers: Fields(parts.headers),
    });
    let paths = [Path::from(&[0, 0][..]), Path::from(&[0, 1][..])];
    let senders = call.answer(encode_to_vec(&head).into(), &paths).await?;
    if let Ok([data, trailers]) = <[_; 2]>::try_from(senders)
        && let Err(error) = send_body(body, data, trailers).await
    {
        // The head is on its way; the caller sees a body cut short.
        tracing::debug!(subject = call.subject(), %error, "a response body was not sent whole");
    }
    Ok(())
}

/// What kept a component from answering, as an HTTP error: the interface has words for it.
fn http_error(error: CallError) -> HttpError {
    match error {
        CallError::Http { error, .. } => error,
        CallError::Overloaded { .. } => HttpError::ConnectionLimitReached,
        CallError::Deadline { .. } => HttpError::HttpResponseTimeout,
        CallError::TooDeep { .. } => HttpError::LoopDetected,
        CallError::Stopping { .. } => HttpError::DestinationUnavailable,
        other => HttpError::InternalError(Some(other.to_string())),
    }
}

/// A transport's failure as an HTTP error, inside a request.
fn broken_request(error: &RpcError) -> HttpError {
    match error {
        RpcError::Disconnected | RpcError::Silent(_) | RpcError::Gone | RpcError::Cancelled => {
            HttpError::ConnectionTerminated
        }
        _ => HttpError::HttpProtocolError,
    }
}
