//! The manifest that the project was started from deploys to the letter.

use std::time::Duration;

use harness::lattice::{http, http_answers};
use harness::{Lattice, Registry, repository};

/// The article's manifest, as it stands.
const MANIFEST: &str = "tests/seed/app.wadm.yaml";

#[tokio::test]
async fn the_seed_manifest_deploys_unchanged_and_answers_http() -> anyhow::Result<()> {
    let registry = Registry::start().await?;
    let mut lattice = Lattice::start().await?;
    let address = registry.address();
    let component = repository("examples/http-hello/http-hello.wasm");
    let reference = format!("{address}/myorg/http-handler:v1");
    lattice
        .wash_ok(&[
            "push",
            &reference,
            &component.display().to_string(),
            "--insecure",
        ])
        .await?;

    lattice.start_wadm()?;
    let mirror = format!("ghcr.io/myorg={address}/myorg");
    let more = ["--registry-mirror", mirror.as_str()];
    let host = lattice.start_host_with(&["zone=us-east"], &more).await?;

    let manifest = repository(MANIFEST).display().to_string();
    lattice
        .wash_ok(&["app", "deploy", &manifest, "--wait", "--timeout", "60s"])
        .await?;

    let port = lattice.hosts[host].http_port;
    let name = "http-handler.edge-gateway.localhost";
    let body = http_answers(port, name, "/health", 200, Duration::from_secs(10)).await?;
    assert_eq!(body, r#"{"status": "healthy", "version": "1.0.0"}"#);
    assert_eq!(
        http(port, name, "GET", "/", "").await?,
        (200, "Hello from Wasm!".to_owned())
    );
    assert_eq!(
        http(port, name, "POST", "/echo", "again").await?,
        (200, "again".to_owned())
    );
    assert_eq!(
        http(port, name, "GET", "/nothing", "").await?,
        (404, "Not Found".to_owned())
    );

    // Nobody declared `keyvalue-store`: wadm started the built-in under that name, and says so.
    let inventory = lattice.wash_json(&["get", "inventory"]).await?;
    let text = inventory.to_string();
    assert!(
        text.contains("keyvalue-store"),
        "no such provider: {inventory}"
    );
    let status = lattice
        .wash_json(&["app", "status", "edge-gateway"])
        .await?
        .to_string();
    assert!(
        status.contains("keyvalue-store"),
        "the status is silent about it: {status}"
    );
    Ok(())
}
