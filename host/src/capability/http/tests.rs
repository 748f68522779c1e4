//! Requests over real sockets: listeners, routes, and what answers when nothing fits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proto::id::{ComponentId, LinkName};
use proto::link::Link;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::capability::{BuiltinProvider, HttpBody};
use crate::link::{Binding, BoundLink, LinkError, LinkTable, ResolvedLink};
use crate::runtime::CallContext;
use crate::runtime::tests::http::HELLO;
use crate::runtime::tests::{Elsewhere, Host, OPS};

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct World {
    host: Host,
    ingress: Arc<HttpIngress>,
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
}

impl World {
    fn new() -> Self {
        let host = Host::new();
        let ingress = HttpIngress::new(Arc::clone(&host.directory), Arc::new(Elsewhere));
        Self {
            host,
            ingress,
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    async fn application(&mut self, application: &str) {
        self.host
            .annotations
            .insert(proto::names::APP_SPEC.into(), application.into());
        let id = format!("{}-web", proto::names::san(application));
        self.host.start(&id, HELLO, &[]).await;
    }

    async fn server(&self, config: &[(&str, &str)]) -> Arc<dyn BuiltinProvider> {
        let cx = server::Start {
            id: ComponentId::new("server").unwrap(),
            config: map(config),
            ingress: Arc::clone(&self.ingress),
        };
        server::start(cx).unwrap()
    }

    async fn get(&self, address: SocketAddr, host: &str, path: &str) -> (StatusCode, String) {
        let request = Request::get(format!("http://{address}{path}")).header("host", host);
        read(
            self.client
                .request(request.body(Full::default()).unwrap())
                .await
                .unwrap(),
        )
        .await
    }
}

async fn read<B>(response: Response<B>) -> (StatusCode, String)
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn http_link(name: &str, target: &str, config: &[(&str, &str)]) -> Arc<ResolvedLink> {
    let id = |text| ComponentId::new(text).unwrap();
    let mut link = Link::new(
        id("server"),
        id(target),
        "wasi",
        "http",
        ["incoming-handler"],
    );
    link.name = LinkName::new(name).unwrap();
    let mut link = ResolvedLink::plain(link);
    link.source_config = map(config);
    Arc::new(link)
}

/// A port that is free now.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind(ANY_PORT)
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test]
async fn components_without_a_link_are_served_by_host_name() {
    let mut world = World::new();
    world.application("edge-gateway").await;
    let address = world.ingress.serve_default(ANY_PORT).unwrap();
    for (host, status, text) in [
        ("web.edge-gateway.localhost:8000", 200, "healthy"),
        ("WEB.Edge-Gateway.example", 200, "healthy"),
        (
            "web.other.localhost",
            404,
            "no component `web` of an application `other`",
        ),
        ("localhost", 404, "<component>.<application>.<anything>"),
        ("127.0.0.1", 404, "<component>.<application>.<anything>"),
    ] {
        let (found, body) = world.get(address, host, "/health").await;
        assert_eq!(found.as_u16(), status, "{host}: {body}");
        assert!(body.contains(text), "{host}: {body}");
    }
    let linked = ComponentId::new("edge_gateway-web").unwrap();
    world.host.directory.set_http_linked([linked].into());
    let (status, _) = world
        .get(address, "web.edge-gateway.localhost", "/health")
        .await;
    assert_eq!(
        status, 404,
        "a linked component is served by its link alone"
    );
    world.ingress.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn many_components_share_one_port_by_path() {
    let world = World::new();
    world.host.start("one", HELLO, &[]).await;
    let address = free_address();
    let text = address.to_string();
    let server = world
        .server(&[("routing_mode", "path"), ("default_address", &text)])
        .await;
    assert_eq!(
        world.get(address, "x", "/health").await.0,
        404,
        "no routes yet"
    );
    server
        .put_link(http_link("a", "one", &[("path", "/health")]))
        .await
        .unwrap();
    server
        .put_link(http_link("b", "gone", &[("path", "/gone/*")]))
        .await
        .unwrap();
    assert_eq!(world.get(address, "x", "/health").await.0, 200);
    let (status, body) = world.get(address, "x", "/gone/far").await;
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (503, "no instance of `gone` runs on this lattice\n")
    );
    assert_eq!(
        world.get(address, "x", "/other").await,
        (StatusCode::NOT_FOUND, "path not found\n".into())
    );

    let taken = server
        .put_link(http_link("c", "thief", &[("path", "/health")]))
        .await
        .unwrap_err();
    assert!(
        matches!(&taken, LinkError::Conflict { owner, .. } if owner == "one"),
        "{taken}"
    );
    let moved = http_link("a", "one", &[("path", "/")]);
    server.put_link(Arc::clone(&moved)).await.unwrap();
    assert_eq!(world.get(address, "x", "/").await.0, 200);
    assert_eq!(world.get(address, "x", "/health").await.0, 404);
    server.delete_link(&moved.link.key()).await;
    assert_eq!(world.get(address, "x", "/").await.0, 404);
    server.shutdown(Duration::from_secs(1)).await;
    assert!(world.ingress.addresses().is_empty());
}

#[tokio::test]
async fn links_of_their_own_address_come_and_go() {
    let world = World::new();
    world.host.start("one", HELLO, &[]).await;
    let (first, second) = (free_address(), free_address());
    let server = world.server(&[]).await;
    let at =
        |address: SocketAddr| http_link("default", "one", &[("ADDRESS", &address.to_string())]);
    server.put_link(at(first)).await.unwrap();
    assert_eq!(world.get(first, "x", "/health").await.0, 200);
    server.put_link(at(second)).await.unwrap();
    assert_eq!(world.get(second, "x", "/health").await.0, 200);
    assert_eq!(world.ingress.addresses(), [second], "the link has moved");
    let other = http_link("more", "two", &[("address", &second.to_string())]);
    let taken = server.put_link(other).await.unwrap_err().to_string();
    assert!(taken.contains("is taken by `one`"), "{taken}");
    server.delete_link(&at(second).link.key()).await;
    assert!(world.ingress.addresses().is_empty());
}

#[tokio::test]
async fn a_links_settings_hold_for_its_requests() {
    let world = World::new();
    world.host.start("one", HELLO, &[]).await;
    let address = free_address();
    let server = world
        .server(&[("default_address", &address.to_string())])
        .await;
    let settings = [
        ("readonly_mode", "true"),
        ("cache_control", "max-age=60"),
        ("cors_allowed_origins", r#"["https://a.example"]"#),
    ];
    server
        .put_link(http_link("default", "one", &settings))
        .await
        .unwrap();
    let ask = async |method: &str, origin: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{address}/health"));
        let request = request
            .header("origin", origin)
            .header("access-control-request-method", "PUT");
        world
            .client
            .request(request.body(Full::default()).unwrap())
            .await
            .unwrap()
    };
    let response = ask("GET", "https://a.example").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "max-age=60");
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "https://a.example"
    );
    let response = ask("GET", "https://b.example").await;
    assert!(
        !response
            .headers()
            .contains_key("access-control-allow-origin")
    );
    assert_eq!(ask("POST", "https://a.example").await.status(), 405);
    let preflight = ask("OPTIONS", "https://a.example").await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-max-age"], "300");
}

#[tokio::test]
async fn wrong_settings_name_the_key() {
    let world = World::new();
    let server = world
        .server(&[("default_address", &free_address().to_string())])
        .await;
    for (key, value) in [
        ("address", "nowhere"),
        ("timeout_ms", "soon"),
        ("readonly_mode", "maybe"),
        ("config_json", "{"),
        ("cors_allowed_origins", "*"),
        ("tls_cert_file", "/nowhere.pem"),
    ] {
        let link = http_link("default", "one", &[(key, value)]);
        let error = server.put_link(link).await.unwrap_err().to_string();
        let names = if key == "tls_cert_file" {
            "tls_priv_key_file"
        } else {
            key
        };
        assert!(error.contains(names), "{key}: {error}");
    }
}

#[tokio::test]
async fn http_1_and_2_are_spoken_and_nonsense_is_refused() {
    let mut world = World::new();
    world.application("app").await;
    let address = world.ingress.serve_default(ANY_PORT).unwrap();
    let http2: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::get(format!(
        "http://web.app.localhost:{}/health",
        address.port()
    ));
    // The name resolves to this machine wherever localhost does; else there is nothing to see.
    if let Ok(response) = http2.request(request.body(Full::default()).unwrap()).await {
        assert_eq!(response.status(), 200);
    }
    for (sent, expected) in [
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "HTTP/1.0 400"),
        ("nonsense\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a.b.c\r\nx: {}\r\n\r\n",
                "y".repeat(100_000)
            ),
            "HTTP/1.1 431",
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(sent.as_bytes()).await;
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected);
    }
}

/// Sends a request as a component with these links would.
async fn send(world: &World, links: Vec<Arc<BoundLink>>, uri: &str) -> Result<u16, HttpErrorText> {
    let source = world.host.start("source", OPS, &[]).await;
    source.set_links(LinkTable::new(links));
    let body = Empty::new()
        .map_err(|never: std::convert::Infallible| match never {})
        .boxed_unsync();
    let request: Request<HttpBody> = Request::get(uri).header("host", "x").body(body).unwrap();
    let sent = source.send_request(CallContext::default(), request);
    match sent.await {
        Ok(response) => Ok(response.status().as_u16()),
        Err(error) => Err(format!("{error:?}")),
    }
}

type HttpErrorText = String;

fn out(name: &str, target: &str, binding: Binding) -> Arc<BoundLink> {
    let id = |text| ComponentId::new(text).unwrap();
    let mut link = Link::new(
        id("source"),
        id(target),
        "wasi",
        "http",
        ["outgoing-handler"],
    );
    link.name = LinkName::new(name).unwrap();
    Arc::new(BoundLink {
        link: Arc::new(ResolvedLink::plain(link)),
        binding,
    })
}

#[tokio::test]
async fn outgoing_requests_go_where_links_lead() {
    let world = World::new();
    world.host.start("one", HELLO, &[]).await;
    let plain = Binding::none;
    for (case, links, uri, expected) in [
        (
            "no link",
            vec![],
            "http://one/health",
            Err("HttpRequestDenied"),
        ),
        (
            "by link name",
            vec![out("api", "one", plain())],
            "http://api/health",
            Ok(200),
        ),
        (
            "by target",
            vec![out("api", "one", plain())],
            "http://one/health",
            Ok(200),
        ),
        (
            "neither",
            vec![out("api", "one", plain())],
            "http://two/health",
            Err("HttpRequestDenied"),
        ),
        (
            "the default",
            vec![out("default", "one", plain())],
            "http://any.where/nowhere",
            Ok(404),
        ),
        (
            "not here",
            vec![out("default", "gone", plain())],
            "http://x/",
            Err("DestinationUnavailable"),
        ),
    ] {
        let sent = send(&world, links, uri).await;
        assert_eq!(
            sent.as_ref().map_err(String::as_str),
            expected.as_ref().map_err(|e| *e),
            "{case}"
        );
    }
}

#[tokio::test]
async fn the_client_reaches_what_its_link_allows() {
    let mut world = World::new();
    world.application("app").await;
    let address = world.ingress.serve_default(ANY_PORT).unwrap();
    let provider = client::start(ComponentId::new("client").unwrap(), BTreeMap::new()).unwrap();
    let bound = |allowed: &str| {
        let mut link =
            ResolvedLink::plain(out("default", "client", Binding::none()).link.link.clone());
        link.target_config = map(&[("allowed_hosts", allowed)]);
        out("default", "client", provider.backend(&link).unwrap())
    };
    let uri = format!("http://{address}/health");
    assert_eq!(
        send(&world, vec![bound("127.0.0.1")], &uri).await,
        Ok(404),
        "the host header is x"
    );
    let denied = send(&world, vec![bound("example.com")], &uri)
        .await
        .unwrap_err();
    assert_eq!(denied, "HttpRequestDenied");
    let metadata = send(&world, vec![bound("*")], "http://169.254.169.254/latest")
        .await
        .unwrap_err();
    assert_eq!(metadata, "DestinationIpProhibited");
    let closed = format!("http://{}/", free_address());
    assert_eq!(
        send(&world, vec![bound("*")], &closed).await.unwrap_err(),
        "ConnectionRefused"
    );
}
