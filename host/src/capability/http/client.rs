//! The built-in `http-client`: requests of guests to the world outside, within what is allowed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proto::id::ComponentId;
use proto::link::LinkKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Sleep;
use wasmtime_wasi_http::RequestOptions;

use super::policy::{Settings, bad};
use crate::capability::{BuiltinContext, BuiltinFactory, BuiltinProvider, HttpBody, HttpError};
use crate::link::{Binding, LinkError, ResolvedLink};

const KIND: &str = "http-client";
/// How long a guest waits where it sets no limit of its own: for a connection, the first byte, and
/// between two pieces of a body.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// Our name, where the guest gives none.
const USER_AGENT: &str = concat!("lattice/", env!("CARGO_PKG_VERSION"));

type Connector = HttpsConnector<HttpConnector<Guarded>>;

/// Sends requests of one link.
#[derive(Clone)]
pub struct HttpClient(Arc<Parts>);

struct Parts {
    client: Client<Connector, HttpBody>,
    allowed: AllowList,
}

impl HttpClient {
    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// The destination is not allowed, cannot be reached, or does not answer in time.
    pub async fn send(
        &self,
        mut request: Request<HttpBody>,
        options: RequestOptions,
    ) -> Result<Response<HttpBody>, HttpError> {
        self.check(request.uri())?;
        let headers = request.headers_mut();
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT));
        let connect = options.connect_timeout.unwrap_or(PATIENCE);
        let first_byte = options.first_byte_timeout.unwrap_or(PATIENCE);
        let between = options.between_bytes_timeout.unwrap_or(PATIENCE);
        let answer = tokio::time::timeout(
            connect.saturating_add(first_byte),
            self.0.client.request(request),
        );
        let response = match answer.await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(explain(&error)),
            Err(_) => return Err(HttpError::ConnectionReadTimeout),
        };
        Ok(response.map(|body| {
            Patient {
                body,
                between,
                sleep: Box::pin(tokio::time::sleep(between)),
            }
            .boxed_unsync()
        }))
    }

    fn check(&self, uri: &Uri) -> Result<(), HttpError> {
        let host = uri.host().ok_or(HttpError::HttpRequestUriInvalid)?;
        let default = if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        if !self
            .0
            .allowed
            .allows(host, uri.port_u16().unwrap_or(default))
        {
            tracing::warn!(
                host,
                "request refused: the host is not in the link's `allowed_hosts`"
            );
            return Err(HttpError::HttpRequestDenied);
        }
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        if literal.is_ok_and(is_forbidden) {
            return Err(HttpError::DestinationIpProhibited);
        }
        Ok(())
    }
}

/// Hosts that a link's requests may go to.
#[derive(Debug, Default)]
struct AllowList(Option<Vec<Allowed>>);

#[derive(Debug, PartialEq, Eq)]
struct Allowed {
    /// In lower case; `*.example.com` is kept as `.example.com`, `*` as nothing.
    host: String,
    any_below: bool,
    port: Option<u16>,
}

impl AllowList {
    /// Reads `host`, `host:port`, `*.host` and `*`, separated by commas.
    fn parse(text: &str) -> Result<Self, LinkError> {
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(Allowed::parse)
            .collect::<Result<Vec<_>, _>>()
            .map(|list| Self(Some(list)))
    }

    fn allows(&self, host: &str, port: u16) -> bool {
        let Some(list) = &self.0 else { return true };
        let host = host.to_ascii_lowercase();
        list.iter().any(|allowed| allowed.matches(&host, port))
    }
}

impl Allowed {
    fn parse(entry: &str) -> Result<Self, LinkError> {
        let wrong = || {
            bad(
                "allowed_hosts",
                entry,
                "it must be `host`, `host:port` or `*.host`",
            )
        };
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong())?))
            }
            _ => (entry, None),
        };
        let (any_below, host) = match host.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, host),
        };
        if host.contains('*') || (any_below && !host.is_empty() && !host.starts_with('.')) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            any_below,
            port,
        })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        let name = if self.any_below {
            host.ends_with(&self.host)
        } else {
            host == self.host
        };
        name && self.port.is_none_or(|wanted| wanted == port)
    }
}

/// Addresses that no guest may reach: they hand out the credentials of the machine.
fn is_forbidden(address: IpAddr) -> bool {
    const METADATA: [IpAddr; 3] = [
        IpAddr::V4(std::net::Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(std::net::Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    ];
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    link_local || METADATA.contains(&address)
}

/// Resolves names, and leaves out the addresses that no guest may reach.
#[derive(Clone)]
struct Guarded(GaiResolver);

#[derive(Debug, thiserror::Error)]
#[error("every address of the host is prohibited")]
struct Prohibited;

#[derive(Debug, thiserror::Error)]
#[error("cannot resolve the host's name: {0}")]
struct Unresolved(std::io::Error);

impl tower_service::Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.0.call(name);
        Box::pin(async move {
            let found = found.await.map_err(Unresolved)?;
            let allowed: Vec<_> = found
                .filter(|address| !is_forbidden(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(Prohibited.into());
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Finds the cause of a failed request among the errors that led to it.
fn explain(error: &ClientError) -> HttpError {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<Prohibited>() {
            return HttpError::DestinationIpProhibited;
        }
        if cause.is::<Unresolved>() {
            return HttpError::DnsError {
                rcode: Some(cause.to_string()),
                info_code: None,
            };
        }
        if cause.is::<rustls::Error>() {
            return HttpError::TlsCertificateError;
        }
        if let Some(guest) = cause.downcast_ref::<HttpError>() {
            return HttpError::InternalError(Some(guest.to_string()));
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            let inner = io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match (io.kind(), inner) {
                (_, Some(_)) => return HttpError::TlsCertificateError,
                (std::io::ErrorKind::ConnectionRefused, _) => return HttpError::ConnectionRefused,
                (std::io::ErrorKind::TimedOut, _) => return HttpError::ConnectionTimeout,
                (
                    std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable,
                    _,
                ) => {
                    return HttpError::DestinationIpUnroutable;
                }
                _ => {}
            }
        }
        next = cause.source();
    }
    tracing::debug!("an outgoing request failed: {error:?}");
    if error.is_connect() {
        HttpError::DestinationUnavailable
    } else {
        HttpError::ConnectionTerminated
    }
}

/// A response body that must not pause for too long.
struct Patient {
    body: hyper::body::Incoming,
    between: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let again = tokio::time::Instant::now() + self.between;
                self.sleep.as_mut().reset(again);
                Poll::Ready(frame.map(|frame| frame.map_err(HttpError::from)))
            }
            Poll::Pending => match self.sleep.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Starts `http-client`.
pub struct HttpClientFactory;

#[async_trait]
impl BuiltinFactory for HttpClientFactory {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn start(&self, cx: BuiltinContext) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
        start(cx.id, cx.config)
    }
}

pub(super) fn start(
    id: ComponentId,
    config: BTreeMap<String, String>,
) -> Result<Arc<dyn BuiltinProvider>, LinkError> {
    let client = client(&Settings::read(&config)?)?;
    let config = ArcSwap::from_pointee(config);
    Ok(Arc::new(Provider { id, client, config }))
}

fn client(settings: &Settings) -> Result<Client<Connector, HttpBody>, LinkError> {
    let mut roots = rustls::RootCertStore::empty();
    let switch = "it must be `true` or `false`";
    let system = settings.parse("load_native_certs", switch)? != Some(false)
        || settings.parse("load_webpki_certs", switch)? != Some(false);
    if system {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(file) = settings.get("ssl_certs_file") {
        let certs: Vec<_> = CertificateDer::pem_file_iter(Path::new(file))
            .and_then(Iterator::collect)
            .map_err(|error| {
                bad(
                    "ssl_certs_file",
                    file,
                    &format!("it must be a PEM file: {error}"),
                )
            })?;
        roots.add_parsable_certificates(certs);
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .map_err(|error| LinkError::Unreachable {
        what: "TLS".into(),
        reason: error.to_string(),
    })?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut http = HttpConnector::new_with_resolver(Guarded(GaiResolver::new()));
    http.enforce_http(false);
    http.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector))
}

struct Provider {
    id: ComponentId,
    client: Client<Connector, HttpBody>,
    config: ArcSwap<BTreeMap<String, String>>,
}

#[async_trait]
impl BuiltinProvider for Provider {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn backend(&self, link: &ResolvedLink) -> Result<Binding, LinkError> {
        if let Some(other) = link
            .interfaces()
            .find(|name| !name.starts_with("wasi:http/"))
        {
            return Err(LinkError::WrongTarget {
                target: self.id.to_string(),
                kind: KIND.into(),
                interface: other,
            });
        }
        // The nearer setting wins: the link's, then the provider's.
        let link = Settings::read(&link.target_config)?;
        let own = Settings::read(&self.config.load())?;
        let allowed = match link.get("allowed_hosts").or(own.get("allowed_hosts")) {
            Some(text) => AllowList::parse(text)?,
            None => AllowList::default(),
        };
        let client = self.client.clone();
        Ok(Binding::new(HttpClient(Arc::new(Parts {
            client,
            allowed,
        }))))
    }

    async fn put_link(&self, link: Arc<ResolvedLink>) -> Result<(), LinkError> {
        if link.link.target == self.id {
            self.backend(&link).map(drop)
        } else {
            Ok(())
        }
    }

    async fn delete_link(&self, _key: &LinkKey) {}

    async fn update_config(&self, config: BTreeMap<String, String>) {
        self.config.store(Arc::new(config));
    }

    async fn shutdown(&self, _grace: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_on_the_list_are_reached() {
        let list = AllowList::parse("api.x.com:443, *.y.org, Z.net").unwrap();
        for (host, port, allowed) in [
            ("api.x.com", 443, true),
            ("API.x.com", 443, true),
            ("api.x.com", 80, false),
            ("x.com", 443, false),
            ("a.b.y.org", 8080, true),
            ("y.org", 443, false),
            ("evily.org", 443, false),
            ("z.net", 1, true),
        ] {
            assert_eq!(list.allows(host, port), allowed, "{host}:{port}");
        }
        assert!(AllowList::default().allows("anything", 1));
        assert!(
            !AllowList::parse("").unwrap().allows("anything", 1),
            "an empty list allows nothing"
        );
        for wrong in ["a*b", "*x.com", "host:port"] {
            assert!(AllowList::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metadata_addresses_are_forbidden() {
        for (address, forbidden) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("100.100.100.200", true),
            ("0.0.0.0", true),
            ("127.0.0.1", false),
            ("10.0.0.1", false),
            ("2606:4700::1111", false),
        ] {
            assert_eq!(
                is_forbidden(address.parse().unwrap()),
                forbidden,
                "{address}"
            );
        }
    }
}
