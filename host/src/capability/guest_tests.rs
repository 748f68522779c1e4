//! Capabilities as a guest sees them: `examples/toolbox` with built-in providers behind it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use proto::id::{ComponentId, Lattice, LinkName};
use proto::link::Link;
use proto::provider::SecretValue;
use tempfile::TempDir;

use super::testing::Server;
use super::{BuiltinContext, BuiltinProvider, Builtins, HttpIngress, Remote};
use crate::directory::Directory;
use crate::link::{BoundLink, LinkTable, ResolvedLink, Secrets};
use crate::rpc::{Client, ClientOptions, Transport};
use crate::runtime::{
    Artifact, ArtifactSource, CallContext, ComponentSpec, ConfigHandle, Limits, RunningComponent,
    Runtime, RuntimeOptions,
};

/// Longest wait for something that happens in the background.
const WITHIN: Duration = Duration::from_secs(20);

/// A component, the providers it is linked to, and a NATS server.
struct Bench {
    builtins: Builtins,
    cx: BuiltinContext,
    component: Arc<RunningComponent>,
    links: Vec<Arc<BoundLink>>,
    providers: Vec<Arc<dyn BuiltinProvider>>,
    _data: TempDir,
    server: Server,
}

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).expect("an id")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn wasm() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/toolbox/toolbox.wasm")
}

impl Bench {
    async fn new() -> Self {
        let server = Server::nats();
        let nats = async_nats::connect(server.address()).await.expect("nats");
        let lattice = Lattice::new("bench").expect("a lattice");
        let transport = Transport::new(nats.clone()).await.expect("transport");
        let options = ClientOptions {
            deadline: Duration::from_secs(5),
            ..Default::default()
        };
        let remote: Arc<dyn Remote> = Arc::new(Client::new(transport, lattice.clone(), options));
        let directory = Arc::new(Directory::new());
        let data = TempDir::new().expect("a folder");
        let cx = BuiltinContext {
            id: id("unset"),
            lattice,
            config: BTreeMap::new(),
            secrets: Secrets::new(),
            nats,
            js_domain: None,
            directory: Arc::clone(&directory),
            remote: Arc::clone(&remote),
            data_dir: data.path().to_owned(),
            http: HttpIngress::new(Arc::clone(&directory), Arc::clone(&remote)),
        };
        let builtins = Builtins::standard();
        let options = RuntimeOptions {
            pool_instances: Some(8),
            ..Default::default()
        };
        let runtime = Runtime::new(options, builtins.capabilities()).expect("a runtime");
        let artifact = Artifact {
            digest: "sha256:toolbox".into(),
            source: ArtifactSource::File(wasm()),
        };
        let compiled = runtime.compile(&artifact).await.expect("compiled");
        let component = runtime.start(ComponentSpec {
            id: id("box"),
            image_ref: "file://toolbox.wasm".into(),
            compiled,
            max_instances: 8,
            limits: Limits::default(),
            annotations: Default::default(),
            config: Arc::new(ConfigHandle::new(map(&[("greeting", "hello")]))),
            secrets: Arc::new(Secrets::new()),
            links: LinkTable::default(),
            remote,
            directory: Arc::clone(&directory),
        });
        directory.insert_component(Arc::clone(&component));
        let (links, providers) = (Vec::new(), Vec::new());
        Self {
            builtins,
            cx,
            component,
            links,
            providers,
            _data: data,
            server,
        }
    }

    /// Starts a built-in provider under the name of its kind.
    async fn provide(&mut self, kind: &str) -> Arc<dyn BuiltinProvider> {
        let cx = BuiltinContext {
            id: id(kind),
            ..self.cx.clone()
        };
        let provider = self.builtins.start(kind, cx).await.expect("a provider");
        self.cx
            .directory
            .insert_builtin(id(kind), Arc::clone(&provider));
        self.providers.push(Arc::clone(&provider));
        provider
    }

    /// Starts a provider of this kind and links the component to it.
    async fn link(&mut self, name: &str, package: &str, interfaces: &[&str], kind: &str) {
        let provider = match self.cx.directory.builtin(&id(kind)) {
            Some(provider) => provider,
            None => self.provide(kind).await,
        };
        let (namespace, package) = package.split_once(':').expect("a package");
        let mut link = Link::new(
            id("box"),
            id(kind),
            namespace,
            package,
            interfaces.iter().copied(),
        );
        link.name = LinkName::new(name).expect("a name");
        let link = Arc::new(ResolvedLink::plain(link));
        provider.put_link(Arc::clone(&link)).await.expect("put");
        let binding = self
            .builtins
            .bind(&link, Some(&provider), &self.cx.remote)
            .expect("bound");
        self.links.push(Arc::new(BoundLink { link, binding }));
        self.component
            .set_links(LinkTable::new(self.links.iter().cloned()));
    }

    /// The status and the body of an answer.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let body = Full::new(body.to_owned().into()).map_err(|never| match never {});
        let request = ::http::Request::builder()
            .method(method)
            .uri(format!("http://box{path}"))
            .body(body.boxed_unsync())
            .expect("a request");
        let response = self.component.http(CallContext::default(), request).await;
        let response = response.expect("no trap");
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, String::from_utf8_lossy(&body).trim_end().to_owned())
    }

    async fn ok(&self, method: &str, path: &str, body: &str) -> String {
        let (status, answer) = self.ask(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    /// Waits until the answer is as expected.
    async fn until(&self, path: &str, expected: &str) {
        let give_up = tokio::time::Instant::now() + WITHIN;
        loop {
            let (_, answer) = self.ask("GET", path, "").await;
            if answer == expected {
                return;
            }
            assert!(
                tokio::time::Instant::now() < give_up,
                "{path}: {answer}, not {expected}"
            );
            tokio::task::yield_now().await;
        }
    }
}

const KEYVALUE: &[&str] = &["store", "atomics", "batch"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_linked_answers_with_an_error_and_never_traps() {
    let bench = Bench::new().await;
    for (method, path, reason) in [
        ("GET", "/kv/default/a", "AccessDenied"),
        ("POST", "/kv/default/a", "AccessDenied"),
        ("PUT", "/cas/default/a", "AccessDenied"),
        ("PUT", "/blob/photos", "no link"),
        ("GET", "/blob/photos/a", "no link"),
        ("POST", "/publish/a", "no link"),
        ("POST", "/request/a", "no link"),
    ] {
        let (status, answer) = bench.ask(method, path, "").await;
        assert!(
            status == 503 && answer.contains(reason),
            "{path}: {status} {answer}"
        );
    }
    assert_eq!(bench.ask("GET", "/secret/none", "").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keyvalue_links_lead_to_two_stores() {
    let mut bench = Bench::new().await;
    bench
        .link("default", "wasi:keyvalue", KEYVALUE, "keyvalue-nats")
        .await;
    bench
        .link("cache", "wasi:keyvalue", KEYVALUE, "keyvalue-memory")
        .await;
    for (bucket, value) in [("default", "kept"), ("cache", "fleeting")] {
        let path = format!("/kv/{bucket}/a:b");
        assert_eq!(bench.ask("GET", &path, "").await.0, 404);
        bench.ok("PUT", &path, value).await;
        assert_eq!(bench.ok("GET", &path, "").await, value);
        for count in 1..=3 {
            let answer = bench.ok("POST", &format!("/kv/{bucket}/n"), "").await;
            assert_eq!(answer, format!(r#"{{"count":{count}}}"#));
        }
        assert_eq!(
            bench.ok("PUT", &format!("/cas/{bucket}/log"), "a").await,
            "a"
        );
        assert_eq!(
            bench.ok("PUT", &format!("/cas/{bucket}/log"), "b").await,
            "ab"
        );
        bench
            .ok("PUT", &format!("/kv/{bucket}"), r#"{"x":"1","y":"2"}"#)
            .await;
        let all = bench.ok("GET", &format!("/kv/{bucket}"), "").await;
        for pair in [r#""x":"1""#, r#""y":"2""#, r#""n":"3""#, r#""log":"ab""#] {
            assert!(all.contains(pair), "{all}");
        }
        bench.ok("DELETE", &format!("/kv/{bucket}"), "").await;
        assert_eq!(bench.ok("GET", &format!("/kv/{bucket}"), "").await, "{}");
    }
    let (status, answer) = bench.ask("GET", "/kv/elsewhere/a", "").await;
    assert!(
        status == 503 && answer.contains("NoSuchStore"),
        "{status} {answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_kept_in_files_and_in_nats() {
    for kind in ["blobstore-fs", "blobstore-nats"] {
        let mut bench = Bench::new().await;
        bench
            .link(
                "default",
                "wasi:blobstore",
                &["blobstore", "container"],
                kind,
            )
            .await;
        let large = "0123456789".repeat(5000);
        assert_eq!(bench.ask("GET", "/blob/photos", "").await.0, 503, "{kind}");
        bench.ok("PUT", "/blob/photos", "").await;
        bench.ok("PUT", "/blob/photos/cats/tom", &large).await;
        assert_eq!(
            bench.ok("GET", "/blob/photos/cats/tom", "").await,
            large,
            "{kind}"
        );
        assert_eq!(
            bench.ok("GET", "/blob/photos", "").await,
            r#"["cats/tom"]"#,
            "{kind}"
        );
        bench.ok("DELETE", "/blob/photos/cats/tom", "").await;
        assert_eq!(
            bench.ask("GET", "/blob/photos/cats/tom", "").await.0,
            404,
            "{kind}"
        );
        bench.ok("DELETE", "/blob/photos", "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn config_and_secrets_are_those_of_the_moment() {
    let bench = Bench::new().await;
    assert_eq!(bench.ok("GET", "/config/greeting", "").await, "hello");
    assert_eq!(bench.ask("GET", "/config/none", "").await.0, 404);
    bench
        .component
        .config()
        .store(map(&[("greeting", "ciao"), ("b", "2")]));
    assert_eq!(
        bench.ok("GET", "/config", "").await,
        r#"{"b":"2","greeting":"ciao"}"#
    );
    let secret = |text: &str| {
        let value = SecretValue::String(text.into());
        Arc::new(Secrets::from([("password".to_owned(), value)]))
    };
    bench.component.set_secrets(secret("hush"));
    assert_eq!(
        bench.ok("GET", "/secret/password", "").await,
        r#"{"length":4}"#
    );
    bench.component.set_secrets(secret("longer"));
    assert_eq!(
        bench.ok("GET", "/secret/password", "").await,
        r#"{"length":6}"#
    );
    bench.ok("POST", "/log/warn", "said by a test").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_components_and_their_answers_come_back() {
    let mut bench = Bench::new().await;
    bench
        .link("default", "wasi:keyvalue", KEYVALUE, "keyvalue-memory")
        .await;
    bench
        .link(
            "default",
            "wasmcloud:messaging",
            &["consumer"],
            "messaging-nats",
        )
        .await;
    let provider = bench
        .cx
        .directory
        .builtin(&id("messaging-nats"))
        .expect("running");
    let link = Link::new(
        id("messaging-nats"),
        id("box"),
        "wasmcloud",
        "messaging",
        ["handler"],
    );
    let mut link = ResolvedLink::plain(link);
    link.source_config = map(&[("subscriptions", "jobs.>|workers")]);
    let link = Arc::new(link);
    provider.put_link(Arc::clone(&link)).await.expect("put");
    provider
        .put_link(Arc::clone(&link))
        .await
        .expect("the same link again");

    // The subscription is made in the background; a request that comes early is answered by nobody.
    let give_up = tokio::time::Instant::now() + WITHIN;
    while bench.ask("POST", "/request/jobs.echo", "ping").await != (200, "ping".into()) {
        assert!(tokio::time::Instant::now() < give_up, "no answer");
    }
    for _ in 0..50 {
        bench.ok("POST", "/publish/jobs.done", "x").await;
    }
    bench.until("/kv/default/jobs.done", "50").await;

    provider.delete_link(&link.link.key()).await;
    let give_up = tokio::time::Instant::now() + WITHIN;
    loop {
        let (status, answer) = bench.ask("POST", "/request/jobs.echo", "ping").await;
        if status == 503 && answer.contains("responders") {
            break;
        }
        assert!(tokio::time::Instant::now() < give_up, "{status} {answer}");
    }
    provider.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_message_comes_again_until_it_is_handled() {
    let mut bench = Bench::new().await;
    let nats = async_nats::connect(bench.server.address())
        .await
        .expect("nats");
    let js = async_nats::jetstream::new(nats);
    let stream = async_nats::jetstream::stream::Config {
        name: "JOBS".into(),
        subjects: vec!["stored.>".into()],
        ..Default::default()
    };
    let stream = js.create_stream(stream).await.expect("a stream");
    let pull = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("worker".into()),
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(pull).await.expect("a consumer");
    for _ in 0..20 {
        js.publish("stored.job", "x".into())
            .await
            .expect("sent")
            .await
            .expect("stored");
    }
    let provider = bench.provide("messaging-nats").await;
    let link = Link::new(
        id("messaging-nats"),
        id("box"),
        "wasmcloud",
        "messaging",
        ["handler"],
    );
    let mut link = ResolvedLink::plain(link);
    link.source_config = map(&[("consumers", r#"[{"stream":"JOBS","consumer":"worker"}]"#)]);
    provider.put_link(Arc::new(link)).await.expect("put");
    // Without its store the component fails; what it failed on has to come again.
    let give_up = tokio::time::Instant::now() + WITHIN;
    while consumer.info().await.expect("info").num_redelivered == 0 {
        assert!(
            tokio::time::Instant::now() < give_up,
            "nothing was handed out twice"
        );
    }
    bench
        .link("default", "wasi:keyvalue", KEYVALUE, "keyvalue-memory")
        .await;
    bench.until("/kv/default/stored.job", "20").await;
    let give_up = tokio::time::Instant::now() + WITHIN;
    while consumer.info().await.expect("info").num_ack_pending > 0 {
        assert!(tokio::time::Instant::now() < give_up, "not acknowledged");
    }
    provider.shutdown(Duration::from_secs(5)).await;
}
