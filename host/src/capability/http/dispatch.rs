//! One request: handed to its component here or elsewhere, and answered whatever happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use proto::id::{ComponentId, LinkName};
use proto::names::san;

use super::routes::{Entry, Unmatched};
use crate::capability::{HttpBody, HttpError, Remote, RemoteTarget};
use crate::directory::{Directory, HttpTarget};
use crate::runtime::{CallContext, CallError, RunningComponent, TraceHeaders};

/// Headers that carry trace context.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Hands requests to components.
pub(super) struct Dispatch {
    pub(super) directory: Arc<Directory>,
    pub(super) remote: Arc<dyn Remote>,
}

impl Dispatch {
    /// Handles a request that a route took.
    pub(super) async fn routed(
        &self,
        entry: &Entry,
        request: Request<HttpBody>,
    ) -> Response<HttpBody> {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let early = entry.policy.answer(request.method(), request.headers());
        let mut response = match early {
            Some(StatusCode::OK) => {
                let mut response = respond(StatusCode::OK, String::new());
                entry.policy.finish_preflight(&mut response);
                response
            }
            Some(status) => respond(
                status,
                format!("only GET and HEAD are allowed here ({status})"),
            ),
            None => self.within(entry, request).await,
        };
        entry.policy.finish(origin.as_ref(), &mut response);
        response
    }

    async fn within(&self, entry: &Entry, request: Request<HttpBody>) -> Response<HttpBody> {
        let answer = self.to_id(&entry.target, &entry.source, &entry.link_name, request);
        match entry.policy.timeout {
            None => answer.await,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .unwrap_or_else(|_| {
                    let id = &entry.target;
                    respond(
                        StatusCode::REQUEST_TIMEOUT,
                        format!("`{id}` did not answer within {limit:?}"),
                    )
                }),
        }
    }

    /// Handles a request for a component that the default ingress serves: `component.application`.
    pub(super) async fn by_host_name(&self, request: Request<HttpBody>) -> Response<HttpBody> {
        let authority = request.uri().host().unwrap_or_default();
        let Some((component, application)) = two_labels(authority) else {
            return respond(
                StatusCode::NOT_FOUND,
                "this address serves components by host name: \
                 <component>.<application>.<anything>, e.g. web.shop.localhost"
                    .into(),
            );
        };
        let name = format!("{component}.{application}");
        if let Some(running) = self.directory.by_http_name(&name)
            && !self.directory.is_http_linked(running.id())
        {
            return self.to_local(&running, request).await;
        }
        let absent = || {
            let text = format!(
                "no component `{component}` of an application `{application}` is served here"
            );
            respond(StatusCode::NOT_FOUND, text)
        };
        let Ok(id) = ComponentId::new(format!("{application}-{component}")) else {
            return absent();
        };
        if self.directory.is_http_linked(&id) {
            return absent();
        }
        match self
            .to_remote(&id, &id, &LinkName::default(), request)
            .await
        {
            Err(HttpError::DestinationUnavailable | HttpError::DestinationNotFound) => absent(),
            answer => answer.unwrap_or_else(|error| remote_failed(&id, &error)),
        }
    }

    async fn to_id(
        &self,
        id: &ComponentId,
        source: &ComponentId,
        link_name: &LinkName,
        request: Request<HttpBody>,
    ) -> Response<HttpBody> {
        match self.directory.http_target(id) {
            HttpTarget::Local(component) => self.to_local(&component, request).await,
            HttpTarget::Remote(id) => {
                let answer = self.to_remote(&id, source, link_name, request).await;
                answer.unwrap_or_else(|error| remote_failed(&id, &error))
            }
        }
    }

    async fn to_local(
        &self,
        component: &RunningComponent,
        request: Request<HttpBody>,
    ) -> Response<HttpBody> {
        let cx = CallContext {
            trace: trace(request.headers()),
            depth: 0,
        };
        component
            .http(cx, request)
            .await
            .unwrap_or_else(|error| call_failed(&error))
    }

    async fn to_remote(
        &self,
        id: &ComponentId,
        source: &ComponentId,
        link_name: &LinkName,
        request: Request<HttpBody>,
    ) -> Result<Response<HttpBody>, HttpError> {
        let to = RemoteTarget {
            source: source.clone(),
            target: id.clone(),
            link_name: link_name.clone(),
            trace: trace(request.headers()),
        };
        self.remote.http(&to, request, false).await
    }
}

/// The first two labels of a host name, if more follow, in the form that they have in ids.
fn two_labels(host: &str) -> Option<(String, String)> {
    if host.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let mut labels = host.split('.');
    let (first, second, _third) = (labels.next()?, labels.next()?, labels.next()?);
    Some((san(first), san(second)))
}

fn trace(headers: &HeaderMap) -> TraceHeaders {
    let found = TRACE_HEADERS.iter().filter_map(|name| {
        Some((
            (*name).to_owned(),
            headers.get(*name)?.to_str().ok()?.to_owned(),
        ))
    });
    TraceHeaders(found.collect())
}

/// Writes scheme and authority into the request's URI: guests and remote hosts read them there.
pub(super) fn absolute<B>(request: &mut Request<B>, tls: bool) -> Result<(), &'static str> {
    if request.uri().authority().is_some() {
        return Ok(());
    }
    let host = request
        .headers()
        .get(header::HOST)
        .ok_or("the request has no host header")?;
    let authority = host
        .as_bytes()
        .try_into()
        .map_err(|_| "the host header is not a host name")?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if tls {
        http::uri::Scheme::HTTPS
    } else {
        http::uri::Scheme::HTTP
    });
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    *request.uri_mut() =
        Uri::from_parts(parts).map_err(|_| "the request's target is not a path")?;
    Ok(())
}

/// A short answer in plain text.
pub(super) fn respond(status: StatusCode, mut text: String) -> Response<HttpBody> {
    if !text.is_empty() {
        text.push('\n');
    }
    let body = Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn busy(text: String, retry_after: Duration) -> Response<HttpBody> {
    let mut response = respond(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = HeaderValue::from(retry_after.as_secs().max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

fn call_failed(error: &CallError) -> Response<HttpBody> {
    let text = error.to_string();
    match error {
        // Expected under load, and many at a time: the client is told, the log is not.
        CallError::Overloaded { .. } | CallError::Stopping { .. } => {
            tracing::debug!("an HTTP request was refused: {text}");
        }
        _ => tracing::warn!("an HTTP request failed: {text}"),
    }
    match error {
        CallError::Overloaded { retry_after, .. } => busy(text, *retry_after),
        CallError::Stopping { .. } => busy(text, Duration::from_secs(1)),
        CallError::Deadline { .. } => respond(StatusCode::GATEWAY_TIMEOUT, text),
        CallError::NoSuchExport { .. } => respond(StatusCode::NOT_FOUND, text),
        CallError::TooDeep { .. } => respond(StatusCode::LOOP_DETECTED, text),
        CallError::Memory { .. } | CallError::Trap { .. } | CallError::Http { .. } => {
            respond(StatusCode::BAD_GATEWAY, text)
        }
    }
}

fn remote_failed(id: &ComponentId, error: &HttpError) -> Response<HttpBody> {
    tracing::warn!(target_id = %id, "an HTTP request to another host failed: {error}");
    match error {
        HttpError::DestinationUnavailable | HttpError::DestinationNotFound => busy(
            format!("no instance of `{id}` runs on this lattice"),
            Duration::from_secs(1),
        ),
        HttpError::ConnectionLimitReached => busy(
            format!("`{id}` is at its limit of calls at one time"),
            Duration::from_secs(1),
        ),
        HttpError::ConnectionTimeout
        | HttpError::ConnectionReadTimeout
        | HttpError::ConnectionWriteTimeout
        | HttpError::HttpResponseTimeout => respond(
            StatusCode::GATEWAY_TIMEOUT,
            format!("`{id}` did not answer in time"),
        ),
        other => respond(StatusCode::BAD_GATEWAY, format!("`{id}` failed: {other}")),
    }
}

/// The answer to a request that no route takes.
pub(super) fn unmatched(why: Unmatched) -> Response<HttpBody> {
    match why {
        Unmatched::NoRoutes => respond(
            StatusCode::NOT_FOUND,
            "no component is linked to this address".into(),
        ),
        Unmatched::Path => respond(StatusCode::NOT_FOUND, "path not found".into()),
        Unmatched::Host => respond(StatusCode::NOT_FOUND, "host not found".into()),
        Unmatched::MissingHost => respond(StatusCode::BAD_REQUEST, "missing host header".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_names_component_and_application() {
        for (host, expected) in [
            ("web.shop.localhost", Some(("web", "shop"))),
            ("Web.Shop.example.org", Some(("web", "shop"))),
            (
                "http-handler.edge-gateway.localhost",
                Some(("http_handler", "edge_gateway")),
            ),
            ("shop.localhost", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            let found = two_labels(host);
            let found = found.as_ref().map(|(c, a)| (c.as_str(), a.as_str()));
            assert_eq!(found, expected, "{host}");
        }
    }

    #[test]
    fn the_uri_becomes_absolute() {
        for (uri, host, expected) in [
            ("/a?b=c", Some("x.y:80"), Ok("http://x.y:80/a?b=c")),
            ("http://other/a", Some("x"), Ok("http://other/a")),
            ("/a", None, Err("the request has no host header")),
            ("/a", Some("a b"), Err("the host header is not a host name")),
        ] {
            let mut request = Request::builder().uri(uri);
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let mut request = request.body(()).unwrap();
            let done = absolute(&mut request, false);
            assert_eq!(
                done.map(|()| request.uri().to_string()),
                expected.map(str::to_owned)
            );
        }
    }
}
