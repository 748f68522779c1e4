//! HTTP requests to components and providers elsewhere.

use ::http::header::HOST;
use ::http::uri::Scheme;
use ::http::{Request, Response, request};
use tokio_util::task::AbortOnDropHandle;

use super::{Client, Function, LINK_NAME, SOURCE_ID, TARGET_ID};
use crate::capability::{HttpBody, HttpError, RemoteTarget};
use crate::rpc::body::{BodyError, BodySource, receive_body, send_body};
use crate::rpc::codec::{Path, encode_to_vec};
use crate::rpc::exchange::{Source, exchange};
use crate::rpc::http_types::{self as types, ErrorCode, Fields, HANDLE, INCOMING, Now, OUTGOING};
use crate::rpc::transport::{Call, Invocation, RpcError};

/// Index path of the body, in parameters and results.
fn body_path() -> Path {
    Path::from(&[0, 0][..])
}

/// Index path of the trailers, in parameters and results.
fn trailers_path() -> Path {
    Path::from(&[0, 1][..])
}

impl Client {
    /// Sends a request to the target's `outgoing-handler` if it is `outgoing` and someone serves
    /// that, else to its `incoming-handler`.
    pub(super) async fn send_http(
        &self,
        to: &RemoteTarget,
        request: Request<HttpBody>,
        outgoing: bool,
    ) -> Result<Response<HttpBody>, HttpError> {
        let (parts, body) = request.into_parts();
        let head = head(&parts);
        // The body waits here until somebody has answered the call: it can be sent only once.
        let mut body = Some(body);
        if outgoing {
            let mut params = encode_to_vec(&head);
            params.push(0); // no request options
            match self.try_http(to, OUTGOING, params, &mut body).await {
                Err(RpcError::NoResponders { .. }) if body.is_some() => {}
                answer => return answer.unwrap_or_else(|e| Err(http_error(&e))),
            }
        }
        let params = encode_to_vec(&head);
        let answer = self.try_http(to, INCOMING, params, &mut body).await;
        answer.unwrap_or_else(|e| Err(http_error(&e)))
    }

    async fn try_http(
        &self,
        to: &RemoteTarget,
        instance: &'static str,
        params: Vec<u8>,
        body: &mut Option<HttpBody>,
    ) -> Result<Result<Response<HttpBody>, HttpError>, RpcError> {
        let function = Function {
            to,
            instance,
            name: HANDLE,
        };
        let paths = [body_path(), trailers_path()];
        let invocation = self.http_invocation(function, params, &paths);
        let mut upload = None;
        let started = |call: &mut Call| {
            let (data, trailers) = (call.param(&paths[0])?, call.param(&paths[1])?);
            let body = body.take().unwrap_or_default();
            let subject = call.subject().to_owned();
            upload = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                if let Err(error) = send_body(body, data, trailers).await {
                    log_upload(&subject, &error);
                }
            })));
            Ok(())
        };
        let exchanged = exchange(
            &self.transport,
            invocation,
            started,
            async |subject, reader| {
                let mut source = Source {
                    reader,
                    subject,
                    pause_max: None,
                };
                source.typed::<Result<types::Response, ErrorCode>>().await
            },
        );
        let (answer, call) = self.within(function, exchanged).await?;
        Ok(match answer {
            Err(ErrorCode(error)) => {
                call.finish();
                Err(error)
            }
            Ok(response) => Ok(receive(response, call, upload)),
        })
    }

    fn http_invocation(
        &self,
        function: Function<'_>,
        params: Vec<u8>,
        paths: &[Path],
    ) -> Invocation {
        let mut invocation = self.invocation(function, params, paths);
        if function.instance == INCOMING {
            // As a provider calls a component: it names both ends, and no link.
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(SOURCE_ID, function.to.source.as_ref());
            headers.insert(TARGET_ID, function.to.target.as_ref());
            for (name, values) in invocation.headers.iter() {
                let name: &str = name.as_ref();
                if name != SOURCE_ID && name != LINK_NAME {
                    values
                        .iter()
                        .for_each(|value| headers.append(name, value.clone()));
                }
            }
            invocation.headers = headers;
        }
        invocation
    }
}

/// What keeps an HTTP call going while its response is read.
struct Keep {
    call: Call,
    upload: Option<AbortOnDropHandle<()>>,
}

fn receive(
    response: types::Response,
    call: Call,
    upload: Option<AbortOnDropHandle<()>>,
) -> Response<HttpBody> {
    let types::Response {
        body,
        trailers,
        status,
        headers: Fields(headers),
    } = response;
    let data = call.result(&body_path());
    let trailer = call.result(&trailers_path());
    let source = BodySource {
        body,
        data,
        trailers,
        trailer,
    };
    let body = receive_body(source, broken_response, Keep { call, upload }, |keep| {
        keep.call.finish();
        // The request's body may still be on its way to a peer that answered early.
        if let Some(upload) = keep.upload {
            drop(upload.detach());
        }
    });
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

fn head(parts: &request::Parts) -> types::Request {
    let uri = &parts.uri;
    let host = || {
        parts
            .headers
            .get(HOST)
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned)
    };
    types::Request {
        body: Now::Pending,
        trailers: Now::Pending,
        method: parts.method.clone(),
        path: uri.path_and_query().map(|p| p.as_str().to_owned()),
        scheme: Some(uri.scheme().cloned().unwrap_or(Scheme::HTTP)),
        authority: uri.authority().map(|a| a.as_str().to_owned()).or_else(host),
        headers: Fields(parts.headers.clone()),
    }
}

fn log_upload(subject: &str, error: &BodyError) {
    match error {
        // The peer answered without reading all of the request, or nobody wants the answer.
        BodyError::Peer(error) => tracing::debug!(subject, %error, "a request body was not sent"),
        BodyError::Source(error) => tracing::debug!(subject, %error, "a request body broke off"),
    }
}

/// A transport's failure as an HTTP error, before the response has begun.
fn http_error(error: &RpcError) -> HttpError {
    match error {
        RpcError::NoResponders { .. } => HttpError::DestinationUnavailable,
        RpcError::Disconnected | RpcError::Silent(_) | RpcError::Gone => {
            HttpError::ConnectionTerminated
        }
        RpcError::Timeout { what: "answer", .. } => HttpError::ConnectionTimeout,
        RpcError::Timeout { .. } => HttpError::HttpResponseTimeout,
        other => HttpError::InternalError(Some(other.to_string())),
    }
}

/// A transport's failure as an HTTP error, inside a response.
fn broken_response(error: &RpcError) -> HttpError {
    match error {
        RpcError::Disconnected | RpcError::Silent(_) | RpcError::Gone => {
            HttpError::ConnectionTerminated
        }
        _ => HttpError::HttpResponseIncomplete,
    }
}
