//! A host that is cut off from its lattice.

use proto::names::{APP_SPEC, MANAGED_BY, MANAGER};
use proto::subject::{Ctl, WadmApi, WadmApiSubject, bucket};
use serde_json::json;
use tempfile::TempDir;

use super::harness::{Client, Nats, eventually, example, get, host, joined};

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_comes_back_without_the_lattice() {
    let mut nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let first = host(&nats, dir.path(), &[]).await;
    joined(&first).await;
    client
        .scale(
            first.id(),
            "app-hello",
            &example("http-hello/http-hello.wasm"),
            4,
        )
        .await;
    client.event("component_scaled").await;
    let saved = dir.path().join("state.json");
    eventually(true, async || {
        std::fs::read_to_string(&saved).is_ok_and(|text| text.contains("app-hello"))
    })
    .await;
    nats.kill();
    let address = first.http_addr().expect("an address");
    assert_eq!(
        get(address, "hello.app.localhost", "/health").await.0,
        200,
        "cut off, it goes on serving"
    );
    first.stop().await.expect("a clean end");

    let second = host(&nats, dir.path(), &[]).await;
    let address = second.http_addr().expect("an address");
    eventually(200, async || {
        get(address, "hello.app.localhost", "/health").await.0
    })
    .await;
    nats.run();
    joined(&second).await;
    let client = Client::of(&nats).await;
    eventually("app-hello*4".to_owned(), async || {
        client.components(second.id()).await
    })
    .await;
    assert_eq!(get(address, "hello.app.localhost", "/health").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_lattice_a_host_starts_empty() {
    let nats = Nats::start();
    let mut client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let first = host(&nats, dir.path(), &[]).await;
    joined(&first).await;
    client
        .scale(
            first.id(),
            "app-hello",
            &example("http-hello/http-hello.wasm"),
            4,
        )
        .await;
    client.event("component_scaled").await;
    let saved = dir.path().join("state.json");
    eventually(true, async || {
        std::fs::read_to_string(&saved).is_ok_and(|text| text.contains("app-hello"))
    })
    .await;
    first.stop().await.expect("a clean end");
    let second = host(&nats, dir.path(), &[]).await;
    joined(&second).await;
    assert_eq!(client.components(second.id()).await, "");
}

/// Scales a component as a controller would.
async fn manage(client: &Client, host: &crate::Host, id: &str, count: u32) {
    let body = json!({
        "component_id": id, "component_ref": example("http-hello/http-hello.wasm"), "count": count,
        "annotations": {APP_SPEC: "app", MANAGED_BY: MANAGER},
    });
    let request = Ctl::ScaleComponent(host.id().clone());
    let answer = client.ask(request, body).await;
    assert!(answer.success, "{}", answer.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_commanded_meanwhile_is_not_restored() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let dir = TempDir::new().expect("a directory");
    let first = host(&nats, dir.path(), &[]).await;
    joined(&first).await;
    let old = || "old".parse().expect("a name");
    let answer = client.ask(Ctl::PutConfig(old()), json!({"a": "b"})).await;
    assert!(answer.success, "{}", answer.message);
    for id in ["app-a", "app-b", "app-c"] {
        manage(&client, &first, id, 4).await;
    }
    let saved = dir.path().join("state.json");
    eventually(true, async || {
        std::fs::read_to_string(&saved).is_ok_and(|text| {
            let all = ["app-a", "app-b", "app-c", "\"old\""];
            all.iter().all(|part| text.contains(part))
        })
    })
    .await;
    first.stop().await.expect("a clean end");
    let js = async_nats::jetstream::new(client.nats().clone());
    let configs = bucket::config_data(&proto::Lattice::default());
    let configs = js.get_key_value(configs).await.expect("a bucket");
    configs.purge("old").await.expect("purged");

    // A controller that hears and does not answer: the host waits for it, then helps itself.
    let list = WadmApiSubject::new(proto::Lattice::default(), WadmApi::List).to_string();
    let _deaf = client.nats().subscribe(list).await.expect("subscribed");
    client.nats().flush().await.expect("a connection");
    let second = host(&nats, dir.path(), &[]).await;
    joined(&second).await;
    manage(&client, &second, "app-a", 1).await;
    manage(&client, &second, "app-b", 0).await;
    let components = async || client.components(second.id()).await;
    eventually("app-a*1 app-c*4".to_owned(), components).await;
    // Time enough for everything else that was restored, had there been anything.
    for count in 5..10 {
        manage(&client, &second, "app-c", count).await;
        let counts = async || components().await.split(' ').next_back().map(str::to_owned);
        eventually(Some(format!("app-c*{count}")), counts).await;
    }
    assert_eq!(components().await, "app-a*1 app-c*9");
    let answer = client.send(Ctl::GetConfig(old()), Vec::new()).await;
    assert_eq!(answer.message, "Configuration not found");
}
