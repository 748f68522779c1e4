//! Values that change under what runs.

use std::path::Path;
use std::process::Command;

use nkeys::KeyPair;
use proto::claims::{self, Claims};
use proto::provider::{HostData, SecretValue};
use proto::subject::Ctl;
use serde_json::json;
use tempfile::TempDir;

use super::harness::{Client, Nats, eventually, example, get, host, joined};
use crate::capability::secrets::tests::{TOPIC, backend, reference};
use crate::provider::archive::tests::archive_of;
use crate::provider::tests::SCRIPT;

async fn put(client: &Client, name: &str, value: serde_json::Value) {
    let request = Ctl::PutConfig(name.parse().expect("a name"));
    let answer = client.ask(request, value).await;
    assert!(answer.success, "{}", answer.message);
}

fn secret_reference() -> serde_json::Value {
    serde_json::to_value(reference("prod/db")).expect("JSON")
}

/// The toolbox with a signature, as a reference.
fn signed(dir: &Path) -> String {
    let path = example("toolbox/toolbox.wasm");
    let path = path.trim_start_matches("file://");
    let wasm = std::fs::read(path).expect("a built example");
    let about = Claims::new(
        KeyPair::new_module().public_key(),
        1,
        claims::Component::default(),
    );
    let wasm = claims::sign_component(&wasm, about, &KeyPair::new_account()).expect("signed");
    let file = dir.join("signed.wasm");
    std::fs::write(&file, wasm).expect("a write");
    format!("file://{}", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_sees_new_secrets_and_configs_without_a_restart() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let secrets = backend(client.nats().clone()).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &["--secrets-topic", TOPIC]).await;
    joined(&host).await;
    put(&client, "SECRET_db", secret_reference()).await;
    put(&client, "colour", json!({"colour": "red"})).await;
    let body = json!({
        "component_id": "app-toolbox", "component_ref": signed(dir.path()), "count": 1,
        "annotations": {"wasmcloud.dev/appspec": "app"}, "config": ["SECRET_db", "colour"],
    });
    let answer = client
        .ask(Ctl::ScaleComponent(host.id().clone()), body)
        .await;
    assert!(answer.success, "{}", answer.message);
    let address = host.http_addr().expect("an address");
    let ask = async |path| get(address, "toolbox.app.localhost", path).await.1;
    let length = async || {
        let answer = ask("/secret/db-password").await;
        answer
            .split("\"length\":")
            .nth(1)
            .map(|rest| rest[..1].to_owned())
    };
    eventually(Some("4".to_owned()), length).await;
    let colour = async |name| ask("/config/colour").await.contains(name);
    assert!(colour("red").await);

    secrets.set("hush hush");
    put(&client, "colour", json!({"colour": "green"})).await;
    eventually(true, async || colour("green").await).await;
    eventually(Some("9".to_owned()), length).await;
}

/// What the provider was started with the `n`th time.
async fn start_up_data(dir: &Path, n: usize) -> HostData {
    let path = dir.join(format!("external/start.{n}"));
    eventually(true, async || path.exists()).await;
    let line = std::fs::read_to_string(path).expect("a line");
    HostData::from_line(&line).expect("start-up data")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_starts_again_gets_the_secrets_of_now() {
    let nats = Nats::start();
    let client = Client::of(&nats).await;
    let secrets = backend(client.nats().clone()).await;
    let dir = TempDir::new().expect("a directory");
    let host = host(&nats, dir.path(), &["--secrets-topic", TOPIC]).await;
    joined(&host).await;
    put(&client, "SECRET_db", secret_reference()).await;
    let archive = dir.path().join("kv.par");
    std::fs::write(&archive, archive_of(SCRIPT.as_bytes())).expect("a write");
    let body = json!({
        "provider_id": "kv", "provider_ref": format!("file://{}", archive.display()),
        "config": ["SECRET_db"],
    });
    let answer = client
        .ask(Ctl::StartProvider(host.id().clone()), body)
        .await;
    assert!(answer.success, "{}", answer.message);
    let secret = |data: HostData| data.secrets["db-password"].clone();
    let first = start_up_data(dir.path(), 0).await;
    assert_eq!(secret(first), SecretValue::String("hush".into()));

    secrets.set("hush, hush");
    // The second question is asked once the answer to the first has come.
    let asked = secrets.asked();
    eventually(true, async || secrets.asked() >= asked + 2).await;
    let pid = std::fs::read_to_string(dir.path().join("external/pid")).expect("a number");
    let killed = Command::new("kill").args(["-9", pid.trim()]).status();
    assert!(killed.expect("`kill`").success());
    let second = start_up_data(dir.path(), 1).await;
    assert_eq!(secret(second), SecretValue::String("hush, hush".into()));
}
