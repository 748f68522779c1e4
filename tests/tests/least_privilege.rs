//! `deploy/nats/lattice.conf` lets every part do its work, and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use harness::lattice::{http, http_answers};
use harness::{Lattice, Nats, eventually, repository};
use serde_json::Value;
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(30);

/// A connection of one part, and what the server says to it.
async fn watched(
    options: async_nats::ConnectOptions,
    nats: &Nats,
) -> anyhow::Result<(async_nats::Client, mpsc::UnboundedReceiver<String>)> {
    let (said, hears) = mpsc::unbounded_channel();
    let client = options
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
    let quoted = format!("\"{}\"", subject.to_lowercase());
    let wait = async {
        while let Some(said) = hears.recv().await {
            let said = said.to_lowercase();
            if said.contains("permissions violation") && said.contains(&quoted) {
                return Ok(());
            }
        }
        anyhow::bail!("the connection ended")
    };
    match tokio::time::timeout(SOON, wait).await {
        Ok(done) => done,
        Err(_) => anyhow::bail!("may {doing} {subject}"),
    }
}

/// What the server refused anybody so far, line by line.
fn violations(nats: &Nats) -> Vec<String> {
    let refused = |line: &&str| line.to_lowercase().contains("violation");
    nats.log()
        .lines()
        .filter(refused)
        .map(str::to_owned)
        .collect()
}

/// The manifest of an example, its images read from the repository.
fn manifest(lattice: &Lattice, example: &str) -> anyhow::Result<String> {
    let folder = repository("examples").canonicalize()?;
    let text = std::fs::read_to_string(folder.join(example).join("app.wadm.yaml"))?;
    let mut lines = Vec::new();
    for line in text.lines() {
        let image = line.split_once("image: localhost:5000/");
        let local = image.and_then(|(indent, image)| Some((indent, image.strip_suffix(":0.1.0")?)));
        lines.push(match local {
            Some((indent, name)) => {
                let in_folder = if name.contains('/') {
                    format!("{name}.wasm")
                } else {
                    format!("{name}/{name}.wasm")
                };
                format!("{indent}image: file://{}", folder.join(in_folder).display())
            }
            None => line.to_owned(),
        });
    }
    let file = lattice.folder().join(format!("{example}.yaml"));
    std::fs::write(&file, lines.join("\n"))?;
    Ok(file.display().to_string())
}

async fn secured() -> anyhow::Result<Lattice> {
    let mut lattice = Lattice::on(Nats::start_secured().await?)?;
    lattice.name = "default".to_owned();
    Ok(lattice)
}

/// Asks the gateway on a host, and expects an answer with this status.
async fn ask(port: u16, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
    let (status, body) = http(port, "gateway.edge-gateway.localhost", method, path, body).await?;
    anyhow::ensure!(status == 200, "{method} {path}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

/// Requests that go through the gateway to every service and its bucket.
async fn use_the_services(port: u16, logins: u64) -> anyhow::Result<()> {
    let user = ask(port, "PUT", "/api/users/ada", "Ada Lovelace").await?;
    assert_eq!(user["name"], "Ada Lovelace");
    let user = ask(port, "GET", "/api/users/ada", "").await?;
    assert_eq!(user["id"], "ada");
    let found = ask(port, "GET", "/api/search?q=lovelace", "").await?;
    assert_eq!(found["found"][0], "ada");
    // auth asks users in its turn, by HTTP, before it opens a session.
    let session = ask(port, "POST", "/api/auth/login?user=ada", "").await?;
    assert_eq!(session["logins"], logins, "{session}");
    Ok(())
}

#[tokio::test]
async fn the_demo_runs_with_every_part_on_its_own_credentials() -> anyhow::Result<()> {
    let mut lattice = secured().await?;
    lattice.start_wadm()?;
    let east = lattice.start_host(&["zone=us-east"]).await?;
    let west = lattice.start_host(&["zone=us-west"]).await?;
    lattice.start_host(&["zone=eu-central"]).await?;
    let file = manifest(&lattice, "edge-gateway")?;
    let deploy = ["app", "deploy", &file, "--wait", "--timeout", "60s"];
    let deployed = lattice.wash_ok(&deploy).await;
    if let Err(error) = deployed {
        return Err(error.context(violations(&lattice.nats).join("\n")));
    }

    let name = "gateway.edge-gateway.localhost";
    for (host, logins) in [(east, 1), (west, 2)] {
        let port = lattice.hosts[host].http_port;
        http_answers(port, name, "/health", 200, SOON).await?;
        use_the_services(port, logins).await?;
    }
    let auth = lattice.instances("edge_gateway-auth").await?;
    assert!(
        auth.iter().all(|(zone, _)| zone != "us-east") && !auth.is_empty(),
        "the login on us-east crossed hosts: {auth:?}"
    );

    wash_does_its_work(&lattice).await?;
    let refused = violations(&lattice.nats);
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

/// What people do with wash, by its own user.
async fn wash_does_its_work(lattice: &Lattice) -> anyhow::Result<()> {
    let hosts = lattice.wash_json(&["get", "hosts"]).await?;
    assert_eq!(hosts["hosts"].as_array().map(Vec::len), Some(3));
    let links = lattice.wash_ok(&["get", "links"]).await?;
    assert!(links.contains("edge_gateway-search"), "{links}");
    let called = lattice
        .wash_ok(&[
            "call",
            "edge_gateway-search",
            "edge:api/search@0.1.0.find",
            "\"lovelace\"",
        ])
        .await?;
    assert!(called.contains("ada"), "{called}");
    lattice
        .wash_ok(&["config", "put", "least", "colour=red"])
        .await?;
    let config = lattice.wash_ok(&["config", "get", "least"]).await?;
    assert!(config.contains("red"), "{config}");
    lattice.wash_ok(&["app", "history", "edge-gateway"]).await?;
    lattice.wash_ok(&["app", "retry", "edge-gateway"]).await?;

    lattice
        .wash_ok(&["app", "undeploy", "edge-gateway"])
        .await?;
    for part in ["gateway", "auth", "users", "search"] {
        let id = format!("edge_gateway-{part}");
        eventually(&format!("{part} to stop"), SOON, || async {
            let left = lattice.instances(&id).await?;
            anyhow::ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
    }
    lattice.wash_ok(&["app", "delete", "edge-gateway"]).await?;
    let host = lattice.hosts[0].id.clone();
    lattice.wash_ok(&["stop", "host", &host]).await?;
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_the_config_does_not_name_is_refused_and_the_log_says_so()
-> anyhow::Result<()> {
    let mut lattice = secured().await?;
    lattice.start_wadm()?;
    let host = lattice.start_host(&["zone=a"]).await?;
    let file = manifest(&lattice, "kv-counter")?;
    let named = std::fs::read_to_string(&file)?;
    std::fs::write(
        &file,
        named.replace("bucket: kv-counter", "bucket: elsewhere"),
    )?;
    let deploy = ["app", "deploy", &file, "--wait", "--timeout", "60s"];
    lattice.wash_ok(&deploy).await?;
    let port = lattice.hosts[host].http_port;
    let name = "counter.kv-counter.localhost";
    // The host waits for JetStream, which is not asked at all.
    eventually("the refusal in the host's log", 2 * SOON, || async {
        let (status, _) = http(port, name, "POST", "/", "").await?;
        anyhow::ensure!(status >= 500, "{status}");
        let log = lattice.hosts[host].process.log();
        anyhow::ensure!(log.contains("KV_elsewhere"), "{log}");
        Ok(())
    })
    .await?;
    Ok(())
}

/// An archive whose program writes down what the host told it.
async fn telltale(lattice: &Lattice, told: &Path) -> anyhow::Result<String> {
    let program = lattice.folder().join("telltale.sh");
    let text = format!(
        "#!/bin/sh\nread -r line\nprintf %s \"$line\" > '{0}.part'\nmv '{0}.part' '{0}'\nexec sleep 600\n",
        told.display()
    );
    std::fs::write(&program, text)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let archive = lattice.folder().join("telltale.par");
    let (program, archive) = (program.display().to_string(), archive.display().to_string());
    let keys = lattice.folder().join("keys").display().to_string();
    lattice
        .wash_ok(&[
            "par",
            "create",
            "--vendor",
            "tests",
            "--name",
            "telltale",
            "--binary",
            &program,
            "--destination",
            &archive,
            "--directory",
            &keys,
        ])
        .await?;
    Ok(format!("file://{archive}"))
}

#[tokio::test]
async fn a_provider_gets_its_own_credentials_and_none_of_the_hosts() -> anyhow::Result<()> {
    let mut lattice = secured().await?;
    let login = [
        "--provider-nats-user",
        "provider",
        "--provider-nats-password",
        "change-me-provider",
    ];
    lattice.start_host_with(&[], &login).await?;
    let told = lattice.folder().join("told");
    let archive = telltale(&lattice, &told).await?;
    lattice
        .wash_ok(&["start", "provider", &archive, "telltale", "--skip-wait"])
        .await?;
    let line = eventually("what the provider is told", SOON, || async {
        Ok(std::fs::read_to_string(&told)?)
    })
    .await?;
    let data: Value = {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim())?;
        serde_json::from_slice(&bytes)?
    };
    let url = data["lattice_rpc_url"].as_str().unwrap_or_default();
    let port = lattice.nats.port();
    assert_eq!(
        url,
        format!("nats://provider:change-me-provider@127.0.0.1:{port}")
    );
    assert!(!data.to_string().contains("change-me-host"), "{data}");
    Ok(())
}

#[tokio::test]
async fn a_provider_can_neither_command_hosts_nor_hear_others() -> anyhow::Result<()> {
    let nats = Nats::start_secured().await?;
    let (client, mut hears) = watched(nats.access().as_provider().await?, &nats).await?;
    for subject in [
        "wasmbus.ctl.v1.default.link.put",
        "wasmbus.ctl.v1.default.host.stop.N",
        "wasmbus.evt.default.host_stopped",
        "wadm.api.default.model.list",
        "$KV.CONFIGDATA_default.secret",
        "other.web.wrpc.0.0.1.a:b/c.d",
        "_INBOX_wadm.guessed",
    ] {
        client.publish(subject, "{}".into()).await?;
        refused(&mut hears, "a provider publishes", subject).await?;
    }
    for subject in [
        ">",
        "wasmbus.ctl.v1.default.>",
        "wasmbus.rpc.other.>",
        "other.>",
        "wadm.>",
        "$KV.CONFIGDATA_default.>",
        "_INBOX_host.>",
        "_INBOX_wadm.>",
        "_INBOX_wash.>",
    ] {
        let _subscription = client.subscribe(subject).await?;
        refused(&mut hears, "a provider subscribes to", subject).await?;
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

#[tokio::test]
async fn no_part_hears_the_answers_to_another() -> anyhow::Result<()> {
    let nats = Nats::start_secured().await?;
    let parts = ["host", "wadm", "wash"];
    for part in parts {
        let options = async_nats::ConnectOptions::new()
            .user_and_password(part.to_owned(), format!("change-me-{part}"));
        let (client, mut hears) = watched(options, &nats).await?;
        let _own = client.subscribe(format!("_INBOX_{part}.>")).await?;
        let others = parts.iter().filter(|&&other| other != part);
        let inboxes = others.map(|other| format!("_INBOX_{other}.>"));
        for inbox in inboxes.chain(["_INBOX.>".to_owned(), ">".to_owned()]) {
            let _subscription = client.subscribe(inbox.clone()).await?;
            refused(&mut hears, &format!("{part} subscribes to"), &inbox).await?;
        }
    }
    for refused in violations(&nats) {
        for part in parts {
            let own = refused.contains(&format!("user:{part}\""))
                && refused.contains(&format!("\"_INBOX_{part}."));
            assert!(!own, "its own inboxes a part may hear: {refused}");
        }
    }
    Ok(())
}
