//! Components from request to answer.

use proto::event::Event;
use proto::subject::Ctl;
use serde_json::json;
use tempfile::TempDir;

use super::harness::{Client, Nats, eventually, example, get, host, joined};

const HELLO: &str = "http-hello/http-hello.wasm";

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_scaled_served_and_stopped() {
    let nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let (id, address) = (host.id().clone(), host.http_addr().expect("an address"));
    assert!(
        client
            .scale(&id, "app-hello", &example(HELLO), 4)
            .await
            .success
    );
    for _ in 0..2 {
        let Event::ComponentScaled(event) = client.event("component_scaled").await else {
            panic!("another event")
        };
        assert_eq!((event.max_instances, event.image_ref), (4, example(HELLO)));
    }
    let (status, body) = get(address, "hello.app.localhost", "/health").await;
    assert_eq!(status, 200, "{body}");
    assert!(
        client
            .scale(&id, "app-hello", &example(HELLO), 0)
            .await
            .success
    );
    let Event::ComponentScaled(event) = client.event("component_scaled").await else {
        panic!("another event")
    };
    assert_eq!(event.max_instances, 0);
    assert_eq!(
        event
            .annotations
            .get("wasmcloud.dev/appspec")
            .map(String::as_str),
        Some("app")
    );
    assert_eq!(get(address, "hello.app.localhost", "/health").await.0, 404);
    host.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_requests_settle_in_order_of_arrival() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let id = host.id().clone();
    let image = example(HELLO);
    for count in [3, 0, 5, 1, 0, 2, 9, 0, 7] {
        assert!(client.scale(&id, "app-hello", &image, count).await.success);
    }
    eventually("app-hello*7".to_owned(), async || {
        client.components(&id).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_says_why() {
    let nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let text = dir.path().join("text.wasm");
    std::fs::write(&text, "not Wasm").expect("a write");
    for (image, config, expected) in [
        (
            "file:///no/such.wasm".to_owned(),
            json!([]),
            "cannot use the file `/no/such.wasm`: No such file",
        ),
        (
            "r.example/a:latest".to_owned(),
            json!([]),
            "fetching images tagged 'latest' is currently prohibited",
        ),
        (
            format!("file://{}", text.display()),
            json!([]),
            "not a component",
        ),
        (
            example(HELLO),
            json!(["none"]),
            "Unable to fetch requested config: Config none does not exist",
        ),
        (
            "127.0.0.1:9/a:1".to_owned(),
            json!([]),
            "failed to fetch `127.0.0.1:9/a:1`: no answer from",
        ),
    ] {
        let body =
            json!({"component_id": "x", "component_ref": image, "count": 1, "config": config});
        assert!(
            client
                .ask(Ctl::ScaleComponent(host.id().clone()), body)
                .await
                .success
        );
        let Event::ComponentScaleFailed(event) = client.event("component_scale_failed").await
        else {
            panic!("another")
        };
        assert!(event.error.contains(expected), "{}", event.error);
        assert!(!event.error.contains('\n'), "one line");
    }
    assert_eq!(client.components(host.id()).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_keeps_its_state_in_a_builtin_provider() {
    let nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &[]).await;
    joined(&host).await;
    let (id, address) = (host.id().clone(), host.http_addr().expect("an address"));
    let put = Ctl::PutConfig("kv".parse().expect("a name"));
    assert!(
        client
            .ask(
                put,
                json!({"bucket": "app", "enable_bucket_auto_create": "true"})
            )
            .await
            .success
    );
    // The link comes first: order does not matter.
    let link = json!({"source_id": "app-counter", "target": "kv", "wit_namespace": "wasi", "wit_package": "keyvalue",
        "interfaces": ["store", "atomics"], "target_config": ["kv"]});
    assert!(client.ask(Ctl::PutLink, link).await.success);
    client
        .scale(
            &id,
            "app-counter",
            &example("kv-counter/kv-counter.wasm"),
            4,
        )
        .await;
    client.event("component_scaled").await;
    assert_ne!(
        get(address, "counter.app.localhost", "/").await.0,
        200,
        "nobody keeps the state yet"
    );
    // The official image's name stands for the built-in.
    let start =
        json!({"provider_id": "kv", "provider_ref": "ghcr.io/wasmcloud/keyvalue-nats:0.4.1"});
    let answer = client
        .ask(Ctl::StartProvider(id.clone()), start.clone())
        .await;
    assert_eq!(
        (answer.success, answer.message.as_str()),
        (true, "successfully started provider")
    );
    let Event::ProviderStarted(event) = client.event("provider_started").await else {
        panic!("another event")
    };
    assert_eq!(
        (event.image_ref.as_str(), event.claims),
        ("ghcr.io/wasmcloud/keyvalue-nats:0.4.1", None)
    );
    let answer = client.ask(Ctl::StartProvider(id.clone()), start).await;
    assert_eq!(
        (answer.success, answer.message.as_str()),
        (false, "provider with that ID is already running")
    );
    eventually(200, async || {
        get(address, "counter.app.localhost", "/").await.0
    })
    .await;
    let answer = client
        .ask(
            Ctl::StopProvider(id.clone()),
            json!({"provider_id": "kv", "host_id": id.as_str()}),
        )
        .await;
    assert_eq!(
        (answer.success, answer.message.as_str()),
        (true, "successfully stopped provider")
    );
    let Event::ProviderStopped(event) = client.event("provider_stopped").await else {
        panic!("another event")
    };
    assert_eq!(event.reason, "stop");
}
