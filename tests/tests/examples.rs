//! The examples do what their READMEs say.

use std::time::Duration;

use harness::lattice::{http, http_answers};
use harness::{Lattice, Registry, eventually, repository};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// The images of the examples, pushed to a registry that stands in for `localhost:5000`.
async fn push_examples(lattice: &Lattice, registry: &Registry) -> anyhow::Result<String> {
    for (name, file) in [
        ("http-hello", "http-hello/http-hello.wasm"),
        ("kv-counter", "kv-counter/kv-counter.wasm"),
        ("edge-gateway/gateway", "edge-gateway/gateway.wasm"),
        ("edge-gateway/auth", "edge-gateway/auth.wasm"),
        ("edge-gateway/users", "edge-gateway/users.wasm"),
        ("edge-gateway/search", "edge-gateway/search.wasm"),
    ] {
        let reference = format!("{}/{name}:0.1.0", registry.address());
        let file = repository("examples").join(file).display().to_string();
        lattice
            .wash_ok(&["push", &reference, &file, "--insecure"])
            .await?;
    }
    Ok(format!("localhost:5000={}", registry.address()))
}

async fn deploy(lattice: &Lattice, example: &str) -> anyhow::Result<()> {
    let manifest = repository("examples").join(example).join("app.wadm.yaml");
    let manifest = manifest.display().to_string();
    lattice
        .wash_ok(&["app", "deploy", &manifest, "--wait", "--timeout", "60s"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_counter_outlives_the_host_that_counted() -> anyhow::Result<()> {
    let registry = Registry::start().await?;
    let mut lattice = Lattice::start().await?;
    let mirror = push_examples(&lattice, &registry).await?;
    let more = ["--registry-mirror", mirror.as_str()];
    lattice.start_wadm()?;
    let first = lattice.start_host_with(&["zone=a"], &more).await?;
    let second = lattice.start_host_with(&["zone=b"], &more).await?;
    deploy(&lattice, "kv-counter").await?;

    let name = "counter.kv-counter.localhost";
    let port = lattice.hosts[first].http_port;
    http_answers(port, name, "/", 200, SOON).await?;
    for expected in 1..=3 {
        let (status, body) = http(port, name, "POST", "/", "").await?;
        assert_eq!((status, count(&body)?), (200, expected), "{body}");
    }
    lattice.hosts[first].process.kill();
    let port = lattice.hosts[second].http_port;
    let body = http_answers(port, name, "/", 200, SOON).await?;
    assert_eq!(count(&body)?, 3, "{body}");
    Ok(())
}

fn count(body: &str) -> anyhow::Result<u64> {
    let value: Value = serde_json::from_str(body)?;
    value["count"]
        .as_u64()
        .ok_or_else(|| anyhow::anyhow!("no count in {body}"))
}

#[tokio::test]
async fn the_gateway_reaches_every_service_and_survives_a_host() -> anyhow::Result<()> {
    let registry = Registry::start().await?;
    let mut lattice = Lattice::start().await?;
    let mirror = push_examples(&lattice, &registry).await?;
    let more = ["--registry-mirror", mirror.as_str()];
    lattice.start_wadm()?;
    let east = lattice.start_host_with(&["zone=us-east"], &more).await?;
    let west = lattice.start_host_with(&["zone=us-west"], &more).await?;
    lattice.start_host_with(&["zone=eu-central"], &more).await?;
    deploy(&lattice, "edge-gateway").await?;

    let name = "gateway.edge-gateway.localhost";
    let port = lattice.hosts[west].http_port;
    http_answers(port, name, "/health", 200, SOON).await?;
    let (status, body) = http(port, name, "PUT", "/api/users/ada", "Ada Lovelace").await?;
    assert_eq!(status, 200, "{body}");
    let (status, body) = http(port, name, "GET", "/api/search?q=lovelace", "").await?;
    assert_eq!((status, body.trim()), (200, r#"{"found":["ada"]}"#));
    let (status, body) = http(port, name, "POST", "/api/auth/login?user=ada", "").await?;
    assert_eq!(status, 200, "{body}");
    let (status, body) = http(port, name, "POST", "/api/auth/login?user=nobody", "").await?;
    assert_eq!(status, 404, "{body}");

    lattice.hosts[east].process.kill();
    let body = eventually("the second login", SOON, || async {
        let (status, body) = http(port, name, "POST", "/api/auth/login?user=ada", "").await?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        Ok(body)
    })
    .await?;
    let session: Value = serde_json::from_str(&body)?;
    assert!(
        session["logins"].as_u64() >= Some(2),
        "the counter went on: {body}"
    );
    Ok(())
}
