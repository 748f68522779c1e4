//! A host that is cut off from its lattice.

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
