//! Placement over real processes: weights, labels that change, hosts that die, wadm restarted.

use std::time::Duration;

use futures::StreamExt as _;
use harness::{Lattice, eventually, repository};

/// Long enough for the slowest machine; nothing here waits that long in the good case.
const SOON: Duration = Duration::from_secs(30);
/// No message for so long: everything that was sent has arrived.
const QUIET: Duration = Duration::from_millis(1500);

/// The manifest of an application `name` with six instances, two to one over two zones.
fn app(lattice: &Lattice, name: &str) -> anyhow::Result<String> {
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    let manifest = format!(
        "apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: {name}
spec:
  components:
    - name: web
      type: component
      properties:
        image: file://{}
      traits:
        - type: spreadscaler
          properties:
            instances: 6
            spread:
              - {{name: east, requirements: {{zone: us-east}}, weight: 2}}
              - {{name: west, requirements: {{zone: us-west}}, weight: 1}}
",
        image.display()
    );
    let file = lattice.folder().join(format!("{name}.wadm.yaml"));
    std::fs::write(&file, manifest)?;
    Ok(file.display().to_string())
}

async fn placed(lattice: &Lattice, wanted: &[(&str, u64)]) -> anyhow::Result<()> {
    let wanted: Vec<(String, u64)> = wanted
        .iter()
        .map(|&(zone, count)| (zone.to_owned(), count))
        .collect();
    eventually(&format!("{wanted:?}"), SOON, || async {
        let are = lattice.instances("spread-web").await?;
        anyhow::ensure!(are == wanted, "are {are:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn placement_follows_weights_labels_and_the_death_of_hosts() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let east = lattice.start_host(&["zone=us-east"]).await?;
    let west = lattice.start_host(&["zone=us-west"]).await?;
    let spare = lattice.start_host(&["zone=spare"]).await?;
    lattice
        .wash_ok(&[
            "app",
            "deploy",
            &app(&lattice, "spread")?,
            "--wait",
            "--timeout",
            "60s",
        ])
        .await?;
    placed(&lattice, &[("us-east", 4), ("us-west", 2)]).await?;

    // A label changes: the placement follows.
    let spare_id = lattice.hosts[spare].id.clone();
    let west_id = lattice.hosts[west].id.clone();
    lattice
        .wash_ok(&["label", &spare_id, "zone=us-west"])
        .await?;
    lattice
        .wash_ok(&["label", &west_id, "zone=us-north"])
        .await?;
    placed(&lattice, &[("us-east", 4), ("us-west", 2)]).await?;
    let inventory = lattice.wash_json(&["get", "inventory", &west_id]).await?;
    assert!(
        !inventory.to_string().contains("spread-web"),
        "still on the old host: {inventory}"
    );

    // A host dies: its instances come back on another that fits.
    let north = lattice.hosts[west].id.clone();
    lattice.wash_ok(&["label", &north, "zone=us-east"]).await?;
    placed(&lattice, &[("us-east", 2), ("us-east", 2), ("us-west", 2)]).await?;
    lattice.hosts[east].process.kill();
    placed(&lattice, &[("us-east", 4), ("us-west", 2)]).await?;
    Ok(())
}

#[tokio::test]
async fn a_restarted_wadm_sends_nothing_to_a_lattice_that_agrees() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    lattice.start_host(&["zone=us-east"]).await?;
    lattice.start_host(&["zone=us-west"]).await?;
    lattice
        .wash_ok(&[
            "app",
            "deploy",
            &app(&lattice, "spread")?,
            "--wait",
            "--timeout",
            "60s",
        ])
        .await?;

    let client = lattice.nats.connect().await?;
    let everything = proto::subject::ctl::every_request(
        proto::subject::ctl::DEFAULT_PREFIX,
        &proto::id::Lattice::new(lattice.name.clone())?,
    );
    let mut requests = client.subscribe(everything).await?;
    client.flush().await?;
    lattice.wadm.clear();
    lattice.start_wadm()?;
    lattice.status_is("spread", "deployed", SOON).await?;

    // Whatever the new controller would change it sends before it gets to a later deployment.
    lattice
        .wash_ok(&["app", "deploy", &app(&lattice, "marker")?, "--wait"])
        .await?;
    let mut changed = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(QUIET, requests.next()).await {
        let subject = message.subject.to_string();
        let body = String::from_utf8_lossy(&message.payload).into_owned();
        let changes = ["scale", "update", "start", "stop", "put", "del"]
            .iter()
            .any(|verb| subject.split('.').any(|token| token == *verb));
        if changes {
            changed.push(format!("{subject} {body}"));
        }
    }
    assert!(
        changed.iter().any(|change| change.contains("marker-web")),
        "{changed:?}"
    );
    changed.retain(|change| !change.contains("marker"));
    assert!(changed.is_empty(), "sent {changed:?}");
    Ok(())
}
