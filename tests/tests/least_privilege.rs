//! `deploy/nats/lattice.conf` lets every part do its work, and nothing else.

use std::time::Duration;

use harness::lattice::{http, http_answers};
use harness::{Lattice, Nats, repository};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(30);

/// A connection with a provider's credentials, and what the server says to it.
async fn provider(
    nats: &Nats,
) -> anyhow::Result<(async_nats::Client, mpsc::UnboundedReceiver<String>)> {
    let (said, hears) = mpsc::unbounded_channel();
    let client = nats
        .login("provider")
        .event_callback(move |event| {
            let said = said.clone();
            async move {
                // The test may have ended and stopped listening.
                let _ = said.send(event.to_string());
            }
        })
        .connect(nats.url())
        .await?;
    Ok((client, hears))
}

/// Waits until the server refuses this subject.
async fn refused(
    hears: &mut mpsc::UnboundedReceiver<String>,
    doing: &str,
    subject: &str,
) -> anyhow::Result<()> {
    let wait = async {
        while let Some(said) = hears.recv().await {
            let said = said.to_lowercase();
            if said.contains("permissions violation") && said.contains(&subject.to_lowercase()) {
                return Ok(());
            }
        }
        anyhow::bail!("the connection ended")
    };
    match tokio::time::timeout(SOON, wait).await {
        Ok(done) => done,
        Err(_) => anyhow::bail!("a provider may {doing} {subject}"),
    }
}

#[tokio::test]
async fn an_application_runs_with_every_part_on_its_own_credentials() -> anyhow::Result<()> {
    let mut lattice = Lattice::on(Nats::start_secured().await?)?;
    lattice.name = "default".to_owned();
    lattice.start_wadm()?;
    let first = lattice.start_host(&["zone=a"]).await?;
    lattice.start_host(&["zone=b"]).await?;
    let image = repository("examples/kv-counter/kv-counter.wasm").canonicalize()?;
    let manifest = std::fs::read_to_string(repository("examples/kv-counter/app.wadm.yaml"))?
        .replace(
            "localhost:5000/kv-counter:0.1.0",
            &format!("file://{}", image.display()),
        );
    let file = lattice.folder().join("app.wadm.yaml");
    std::fs::write(&file, manifest)?;
    let file = file.display().to_string();
    lattice
        .wash_ok(&["app", "deploy", &file, "--wait", "--timeout", "60s"])
        .await?;

    let port = lattice.hosts[first].http_port;
    let name = "counter.kv-counter.localhost";
    http_answers(port, name, "/", 200, SOON).await?;
    let (status, body) = http(port, name, "POST", "/", "").await?;
    assert_eq!(
        (status, body.trim()),
        (200, r#"{"count":1,"counter":"visits"}"#)
    );
    Ok(())
}

#[tokio::test]
async fn a_provider_can_neither_command_hosts_nor_hear_others() -> anyhow::Result<()> {
    let nats = Nats::start_secured().await?;
    let (client, mut hears) = provider(&nats).await?;
    for subject in [
        "wasmbus.ctl.v1.default.link.put",
        "wasmbus.ctl.v1.default.host.stop.N",
        "wasmbus.evt.default.host_stopped",
        "wadm.api.default.model.list",
        "$KV.CONFIGDATA_default.secret",
        "other.web.wrpc.0.0.1.a:b/c.d",
    ] {
        client.publish(subject, "{}".into()).await?;
        refused(&mut hears, "publish", subject).await?;
    }
    for subject in [
        "wasmbus.ctl.v1.default.>",
        "wasmbus.rpc.other.>",
        "other.>",
        "wadm.>",
        "$KV.CONFIGDATA_default.>",
    ] {
        let _subscription = client.subscribe(subject).await?;
        refused(&mut hears, "subscribe to", subject).await?;
    }
    // Its own work it may do.
    let mut own = client.subscribe("default.kv.wrpc.0.0.1.a:b/c.d").await?;
    client
        .publish("default.kv.wrpc.0.0.1.a:b/c.d", "x".into())
        .await?;
    let heard = tokio::time::timeout(SOON, futures::StreamExt::next(&mut own)).await?;
    assert!(heard.is_some());
    Ok(())
}
