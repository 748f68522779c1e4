//! The whole controller against stand-in hosts over a real NATS server: what is deployed runs where
//! it should, and nothing is sent that need not be.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may unwrap")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::standin::StandIns;
use harness::{Nats, eventually, until};
use proto::id::Lattice;
use proto::subject::{Ctl, WadmApi};
use serde_json::Value;
use support::{DEADLINE, Wadm, ask, deploy, manifest, spread};

struct Fixture {
    nats: Nats,
    client: async_nats::Client,
    lattice: Lattice,
    hosts: StandIns,
}

impl Fixture {
    /// One host for each zone named.
    async fn start(zones: &[&str]) -> Self {
        let nats = Nats::start().await.unwrap();
        let client = nats.connect().await.unwrap();
        let lattice = Lattice::default();
        let labels = zones
            .iter()
            .map(|zone| BTreeMap::from([("zone".to_owned(), (*zone).to_owned())]));
        let hosts = StandIns::start(client.clone(), &lattice, labels)
            .await
            .unwrap();
        Self {
            nats,
            client,
            lattice,
            hosts,
        }
    }

    async fn deploy(&self, manifest: &str) {
        deploy(&self.client, &self.lattice, manifest).await;
    }

    async fn status(&self, app: &str) -> Value {
        ask(&self.client, &self.lattice, WadmApi::Status(app.into()), "").await["status"].clone()
    }

    /// Waits until the counts per host, in the order of joining, are these.
    async fn runs(&self, component: &str, wanted: &[u32]) {
        eventually("the placement", DEADLINE, || async {
            let found = self.hosts.instances(component);
            let counts: Vec<u32> = self
                .hosts
                .ids()
                .iter()
                .map(|id| found.get(id).copied().unwrap_or_default())
                .collect();
            anyhow::ensure!(counts == wanted, "{counts:?}, not {wanted:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    async fn status_is(&self, app: &str, wanted: &str) -> Value {
        eventually("the status", DEADLINE, || async {
            let status = self.status(app).await;
            anyhow::ensure!(status["status"]["type"] == wanted, "{status}");
            Ok(status)
        })
        .await
        .unwrap()
    }

    /// Fails when a command comes within `time`.
    async fn silent_for(&self, time: Duration) {
        let (before, started) = (self.hosts.received_count(), Instant::now());
        until("silence", time * 2, || async { started.elapsed() >= time })
            .await
            .unwrap();
        let new = &self.hosts.received()[before..];
        assert!(new.is_empty(), "commands: {new:?}");
    }
}

fn zones(a: u32, b: u32) -> String {
    format!(
        "{{type: spreadscaler, properties: {{instances: 6, spread: [\
         {{name: a, requirements: {{zone: a}}, weight: {a}}}, {{name: b, requirements: {{zone: b}}, weight: {b}}}]}}}}"
    )
}

#[tokio::test]
async fn instances_follow_weights_labels_and_deaths_and_a_restart_sends_nothing() {
    let lattice = Fixture::start(&["a", "b", "c"]).await;
    let wadm = Wadm::start(&lattice.nats, &[]);
    lattice
        .deploy(&manifest("shop", "v1", "a:1", &zones(2, 1)))
        .await;
    lattice.runs("shop-web", &[4, 2, 0]).await;
    lattice.status_is("shop", "deployed").await;

    // A label changes: its share moves within the group.
    let ids = lattice.hosts.ids();
    lattice.hosts.label(&ids[2], "zone", "a").await;
    lattice.runs("shop-web", &[2, 2, 2]).await;
    lattice.status_is("shop", "deployed").await;

    // Stopped and started again: everything is as it should be, so nothing is sent.
    wadm.stop().await;
    let wadm = Wadm::start(&lattice.nats, &[]);
    lattice.silent_for(Duration::from_secs(8)).await;

    // A host dies: its share goes to the other of its group, within seconds.
    lattice.hosts.kill(&ids[0]);
    let started = Instant::now();
    lattice.runs("shop-web", &[0, 2, 4]).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
    lattice.hosts.restart(&ids[0]).await;
    lattice.runs("shop-web", &[2, 2, 2]).await;

    let undeployed = ask(
        &lattice.client,
        &lattice.lattice,
        WadmApi::Undeploy("shop".into()),
        "",
    )
    .await;
    assert_eq!(undeployed["result"], "acknowledged");
    lattice.runs("shop-web", &[0, 0, 0]).await;
    lattice.status_is("shop", "undeployed").await;
    wadm.stop().await;
}

#[tokio::test]
async fn the_leaders_death_is_bridged_by_a_standby_that_sends_nothing_twice() {
    let lattice = Fixture::start(&["a", "b"]).await;
    let first = Wadm::start(&lattice.nats, &["--lease-seconds", "4"]);
    lattice
        .deploy(&manifest("shop", "v1", "a:1", &spread(4)))
        .await;
    lattice.runs("shop-web", &[2, 2]).await;
    lattice.status_is("shop", "deployed").await;
    let standby = Wadm::start(&lattice.nats, &["--lease-seconds", "4"]);
    lattice.silent_for(Duration::from_secs(3)).await;
    drop(first); // without a word

    lattice
        .deploy(&manifest("shop", "v2", "a:1", &spread(6)))
        .await;
    let started = Instant::now();
    lattice.runs("shop-web", &[3, 3]).await;
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "took {:?}",
        started.elapsed()
    );
    let scales = lattice.hosts.received();
    assert_eq!(scales.len(), 4, "two to start, two to scale: {scales:?}");
    let terms: Vec<u64> = scales
        .iter()
        .map(|sent| sent.body["fence"]["term"].as_u64().unwrap())
        .collect();
    assert!(
        terms[0] == terms[1] && terms[1] < terms[2] && terms[2] == terms[3],
        "{terms:?}"
    );
    standby.stop().await;
}

#[tokio::test]
async fn what_fails_backs_off_and_says_so_until_it_is_mended() {
    let lattice = Fixture::start(&["a"]).await;
    let _wadm = Wadm::start(&lattice.nats, &[]);
    lattice
        .hosts
        .fail("a:1", Some("registry says: 401 unauthorized"));
    lattice
        .deploy(&manifest("shop", "v1", "a:1", &spread(1)))
        .await;
    let status = lattice.status_is("shop", "failed").await;
    let detail = &status["detail"]["components"][0]["hosts"][0];
    assert_eq!(
        detail["error"], "registry says: 401 unauthorized",
        "{status}"
    );
    assert!(detail["next_retry"].is_string(), "{status}");
    // 1, 2, 4 seconds with jitter: a handful of attempts, not a storm.
    let started = Instant::now();
    until("some back-off", DEADLINE, || async {
        started.elapsed() > Duration::from_secs(5)
    })
    .await
    .unwrap();
    let scales = lattice.hosts.received();
    let attempts = scales
        .iter()
        .filter(|sent| matches!(sent.request, Ctl::ScaleComponent(_)))
        .count();
    assert!((2..=5).contains(&attempts), "{attempts} attempts");
    // Mended, and told so: at once.
    lattice.hosts.fail("a:1", None);
    let retried = ask(
        &lattice.client,
        &lattice.lattice,
        WadmApi::Retry("shop".into()),
        "",
    )
    .await;
    assert_eq!(retried["result"], "acknowledged");
    lattice.runs("shop-web", &[1]).await;
    lattice.status_is("shop", "deployed").await;
}

#[tokio::test]
async fn a_plan_tells_the_changes_and_none_after_the_deploy() {
    let lattice = Fixture::start(&["a", "b"]).await;
    let _wadm = Wadm::start(&lattice.nats, &[]);
    let text = manifest("shop", "v1", "a:1", &spread(2));
    eventually("the plan sees the hosts", DEADLINE, || async {
        let plan = ask(&lattice.client, &lattice.lattice, WadmApi::Plan, &text).await;
        anyhow::ensure!(
            plan["changes"]
                .as_array()
                .is_some_and(|changes| changes.len() == 2),
            "{plan}"
        );
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(lattice.hosts.received_count(), 0, "a plan changes nothing");
    lattice.deploy(&text).await;
    lattice.status_is("shop", "deployed").await;
    let plan = ask(&lattice.client, &lattice.lattice, WadmApi::Plan, &text).await;
    assert_eq!(plan["changes"], serde_json::json!([]), "{plan}");
}

#[tokio::test]
async fn nats_comes_back_and_work_goes_on() {
    let mut lattice = Fixture::start(&["a", "b"]).await;
    let _wadm = Wadm::start(&lattice.nats, &[]);
    lattice
        .deploy(&manifest("shop", "v1", "a:1", &spread(2)))
        .await;
    lattice.status_is("shop", "deployed").await;
    lattice.nats.restart().await.unwrap();
    lattice
        .deploy(&manifest("shop", "v2", "a:1", &spread(4)))
        .await;
    lattice.runs("shop-web", &[2, 2]).await;
    lattice.status_is("shop", "deployed").await;
}

#[tokio::test]
async fn without_a_host_the_status_says_which_requirement_is_unmet() {
    let lattice = Fixture::start(&["c"]).await;
    let _wadm = Wadm::start(&lattice.nats, &[]);
    lattice
        .deploy(&manifest("shop", "v1", "a:1", &zones(1, 1)))
        .await;
    let status = eventually("the reason", DEADLINE, || async {
        let status = lattice.status("shop").await;
        anyhow::ensure!(status.to_string().contains("zone=a"), "{status}");
        Ok(status)
    })
    .await
    .unwrap();
    assert_ne!(status["status"]["type"], "deployed");
}
