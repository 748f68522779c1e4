//! `wash host drain` and `cordon`: a host is emptied, or left alone, without a failed request.

use std::time::Duration;

use harness::lattice::{http, http_answers};
use harness::{Lattice, eventually, repository};

const SOON: Duration = Duration::from_secs(30);

/// Instances on the hosts in zones a and b.
async fn counts(lattice: &Lattice) -> anyhow::Result<[u64; 2]> {
    let instances = lattice.instances("hello-web").await?;
    let of = |zone: &str| {
        let found = instances.iter().find(|(of, _)| of == zone);
        found.map_or(0, |(_, count)| *count)
    };
    Ok([of("a"), of("b")])
}

async fn settles_at(lattice: &Lattice, wanted: [u64; 2]) -> anyhow::Result<()> {
    eventually(&format!("instances to be {wanted:?}"), SOON, || async {
        let counts = counts(lattice).await?;
        anyhow::ensure!(counts == wanted, "{counts:?}");
        Ok(())
    })
    .await
}

async fn deploy(lattice: &Lattice, instances: u32) -> anyhow::Result<()> {
    let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
    let manifest = format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {{name: hello}}\nspec:\n  components:\n    \
         - {{name: web, type: component, properties: {{image: 'file://{}'}}, traits: [{{type: spreadscaler, \
         properties: {{instances: {instances}}}}}]}}\n",
        image.display()
    );
    let file = lattice.folder().join("hello.yaml");
    std::fs::write(&file, manifest)?;
    lattice
        .wash_ok(&["app", "deploy", &file.display().to_string(), "--wait"])
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_drained_host_is_emptied_and_takes_work_again_when_it_may() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let first = lattice.start_host(&["zone=a"]).await?;
    let second = lattice.start_host(&["zone=b"]).await?;
    deploy(&lattice, 4).await?;
    settles_at(&lattice, [2, 2]).await?;
    let (leaving, staying) = (
        lattice.hosts[first].id.clone(),
        lattice.hosts[second].http_port,
    );
    http_answers(staying, "web.hello.localhost", "/", 200, SOON).await?;

    let command = ["host", "drain", &leaving];
    let drain = lattice.wash_ok(&command);
    tokio::pin!(drain);
    let mut asked = 0;
    let said = loop {
        tokio::select! {
            said = &mut drain => break said?,
            answer = http(staying, "web.hello.localhost", "GET", "/", "") => {
                assert_eq!(answer?.0, 200, "after {asked} requests");
                asked += 1;
            }
        }
    };
    assert!(said.contains("is empty, and stays up"), "{said}");
    assert!(asked > 0);
    assert_eq!(counts(&lattice).await?, [0, 4]);

    lattice.wash_ok(&["host", "uncordon", &leaving]).await?;
    settles_at(&lattice, [2, 2]).await
}

#[tokio::test]
async fn a_cordoned_host_keeps_what_it_has_and_gets_nothing_new() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let first = lattice.start_host(&["zone=a"]).await?;
    deploy(&lattice, 2).await?;
    let second = lattice.start_host(&["zone=b"]).await?;
    let id = lattice.hosts[second].id.clone();
    settles_at(&lattice, [1, 1]).await?;
    let kept = lattice.hosts[first].id.clone();
    lattice.wash_ok(&["host", "cordon", &id]).await?;
    deploy(&lattice, 4).await?;
    settles_at(&lattice, [3, 1]).await?;

    lattice.wash_ok(&["host", "uncordon", &id]).await?;
    settles_at(&lattice, [2, 2]).await?;
    lattice.wash_ok(&["host", "cordon", &kept]).await?;
    lattice.wash_ok(&["app", "undeploy", "hello"]).await?;
    settles_at(&lattice, [0, 0]).await?;
    deploy(&lattice, 2).await?;
    settles_at(&lattice, [0, 2]).await
}

#[tokio::test]
async fn a_drain_with_nowhere_to_go_says_what_is_left() -> anyhow::Result<()> {
    let mut lattice = Lattice::start().await?;
    lattice.start_wadm()?;
    let only = lattice.start_host(&["zone=a"]).await?;
    deploy(&lattice, 1).await?;
    let id = lattice.hosts[only].id.clone();
    let output = lattice
        .wash(&["host", "drain", &id, "--deadline", "500ms"])
        .await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("still runs hello-web"), "{said}");
    assert!(said.contains("wash host uncordon"), "{said}");
    Ok(())
}
