//! Links are never lost, whoever writes them at the same time.

use futures::StreamExt as _;
use harness::{Lattice, eventually};
use proto::subject::{Ctl, CtlSubject};
use serde_json::{Value, json};
use std::time::Duration;

const WRITERS: usize = 100;
const SOON: Duration = Duration::from_secs(30);

async fn links(lattice: &Lattice) -> anyhow::Result<Vec<Value>> {
    let answer = lattice.wash_json(&["get", "links"]).await?;
    Ok(answer["links"].as_array().cloned().unwrap_or_default())
}

/// Sends all requests at once; every one must be answered with success.
async fn all_at_once(
    client: &async_nats::Client,
    subject: &CtlSubject,
    bodies: Vec<Value>,
) -> anyhow::Result<()> {
    let replies = futures::stream::iter(bodies.into_iter().map(|body| {
        let request = async_nats::Request::new()
            .payload(body.to_string().into())
            .timeout(Some(SOON));
        client.send_request(subject.to_string(), request)
    }))
    .buffer_unordered(WRITERS)
    .collect::<Vec<_>>()
    .await;
    for reply in replies {
        let reply: Value = serde_json::from_slice(&reply?.payload)?;
        anyhow::ensure!(reply["success"] == true, "{reply}");
    }
    Ok(())
}

#[tokio::test]
async fn a_hundred_concurrent_puts_and_deletes_lose_none() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    // Three hosts share the work of the link queue, so writers meet on different hosts.
    for _ in 0..3 {
        lattice.start_host(&[]).await?;
    }
    let client = lattice.nats.connect().await?;
    let name = proto::id::Lattice::new(lattice.name.clone())?;
    let link = |number: usize| {
        json!({
            "source_id": "web", "name": format!("link-{number}"), "target": format!("kv-{number}"),
            "wit_namespace": "wasi", "wit_package": "keyvalue", "interfaces": ["store"],
            "source_config": [], "target_config": [],
        })
    };
    let puts = (0..WRITERS).map(link).collect();
    all_at_once(&client, &CtlSubject::new(name.clone(), Ctl::PutLink), puts).await?;
    eventually("all links", SOON, || async {
        let are = links(&lattice).await?.len();
        anyhow::ensure!(are == WRITERS, "{are} of {WRITERS}");
        Ok(())
    })
    .await?;

    let deletes = (0..WRITERS).map(link).collect();
    all_at_once(&client, &CtlSubject::new(name, Ctl::DeleteLink), deletes).await?;
    eventually("no link", SOON, || async {
        let are = links(&lattice).await?.len();
        anyhow::ensure!(are == 0, "{are} are left");
        Ok(())
    })
    .await
}
