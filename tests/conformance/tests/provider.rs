//! A provider built with the published SDK, run as an archive under our host.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use conformance::{Lab, Record, Result, SETTLED, counter, pack};
use harness::{Access, Lattice, Nats, Operator, Permissions, Who, until};
use serde_json::Value;
use wasmcloud_control_interface::Link;

const PROVIDER: &str = "mem";
const COMPONENT: &str = "visits";

/// A host with the provider and the counter component on it.
struct Rig {
    lab: Lab,
    reports: Record,
    archive: String,
}

fn link(
    source: &str,
    target: &str,
    package: &str,
    interfaces: &[&str],
) -> wasmcloud_control_interface::LinkBuilder {
    Link::builder()
        .source_id(source)
        .target(target)
        .name("default")
        .wit_namespace("wasi")
        .wit_package(package)
        .interfaces(
            interfaces
                .iter()
                .map(|&interface| interface.to_owned())
                .collect(),
        )
}

impl Rig {
    async fn start() -> Result<Self> {
        Self::on(Lab::start(&[&[]]).await?).await
    }

    async fn on(lab: Lab) -> Result<Self> {
        let subject = format!("conformance.{}.{PROVIDER}", lab.lattice.name);
        let reports = Record::start(&lab.nats, subject).await?;
        let executable = PathBuf::from(env!("CARGO_BIN_EXE_memory-provider"));
        let archive = pack(lab.lattice.folder(), &executable).await?;
        let rig = Self {
            lab,
            reports,
            archive,
        };
        let config = HashMap::from([("colour".to_owned(), "red".to_owned())]);
        rig.lab.control.put_config("mem-config", config).await?;
        rig.start_provider().await?;
        Ok(rig)
    }

    async fn start_provider(&self) -> Result {
        let config = vec!["mem-config".to_owned()];
        let answer = self
            .lab
            .control
            .start_provider(self.lab.host(0), &self.archive, PROVIDER, None, config)
            .await?;
        assert!(answer.succeeded(), "{}", answer.message());
        assert_eq!(answer.message(), "successfully started provider");
        Ok(())
    }

    async fn start_component(&self) -> Result {
        let control = &self.lab.control;
        control
            .scale_component(
                self.lab.host(0),
                &counter(),
                COMPONENT,
                4,
                None,
                vec![],
                false,
            )
            .await?;
        self.lab
            .event("component_scaled", |data| data["max_instances"] == 4)
            .await?;
        Ok(())
    }

    /// Waits for the provider's n-th report of something; what it said.
    async fn report(&self, what: &str, count: usize) -> Result<Value> {
        self.reports
            .wait_for(what, count, |report| report["what"] == what)
            .await
    }

    async fn put(&self, link: wasmcloud_control_interface::LinkBuilder) -> Result {
        let answer = self.lab.control.put_link(link.build()?).await?;
        assert!(answer.succeeded(), "{}", answer.message());
        Ok(())
    }

    /// Has the provider send the component a request; the answer.
    async fn ask(&self, name: &str, method: &str, count: usize) -> Result<Value> {
        let config = HashMap::from([
            ("method".to_owned(), method.to_owned()),
            ("path".to_owned(), "/front".to_owned()),
        ]);
        self.lab.control.put_config(name, config).await?;
        // The SDK ignores a link it knows, so each request has a link of its own name.
        let http = link(PROVIDER, COMPONENT, "http", &["incoming-handler"]);
        self.put(http.name(name).source_config(vec![name.to_owned()]))
            .await?;
        Ok(self.report("http", count).await?["data"].clone())
    }
}

fn gone(pid: &Value) -> bool {
    let pid = pid.as_u64().unwrap_or_default();
    let Ok(status) = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
    else {
        return true;
    };
    // A zombie that its parent has not asked about yet has ended, too.
    status
        .rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_starts_with_its_config_and_is_found_well() -> Result {
    let rig = Rig::start().await?;
    let started = rig
        .lab
        .event("provider_started", |data| data["provider_id"] == PROVIDER)
        .await?;
    assert_eq!(
        started["image_ref"],
        rig.archive.trim_start_matches("file://")
    );
    assert_eq!(started["claims"]["name"], "memory-provider");
    assert_eq!(started["claims"]["tags"], Value::Null);
    let report = rig.report("started", 1).await?;
    assert_eq!(report["data"]["id"], PROVIDER);
    assert_eq!(report["data"]["config"]["colour"], "red");
    rig.lab
        .event("health_check_passed", |data| {
            data["provider_id"] == PROVIDER
        })
        .await?;
    let inventory = rig.lab.control.get_host_inventory(rig.lab.host(0)).await?;
    let inventory = inventory.into_data().expect("an inventory");
    let provider = &inventory.providers()[0];
    assert_eq!(
        (provider.id(), provider.name(), provider.revision()),
        (PROVIDER, Some("memory-provider"), 1)
    );
    let again = rig
        .lab
        .control
        .start_provider(rig.lab.host(0), &rig.archive, PROVIDER, None, vec![])
        .await?;
    assert!(!again.succeeded());
    assert_eq!(again.message(), "provider with that ID is already running");
    let acks = rig
        .lab
        .control
        .perform_provider_auction(&rig.archive, PROVIDER, [])
        .await?;
    assert!(
        acks.is_empty(),
        "its host stays silent in an auction for it"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_serves_keyvalue_and_sends_requests_over_wrpc() -> Result {
    let rig = Rig::start().await?;
    rig.report("started", 1).await?;
    // A link put before the provider has answered once is told again, and the SDK, which knows one
    // link a peer, would ask again.
    rig.lab
        .event("health_check_passed", |data| {
            data["provider_id"] == PROVIDER
        })
        .await?;
    rig.start_component().await?;
    let config = HashMap::from([("bucket".to_owned(), "b".to_owned())]);
    rig.lab.control.put_config("mem-link", config).await?;
    let store = link(COMPONENT, PROVIDER, "keyvalue", &["store", "atomics"]);
    rig.put(store.target_config(vec!["mem-link".into()]))
        .await?;
    let linked = rig.report("linked as target", 1).await?;
    assert_eq!(linked["data"]["source"], COMPONENT);
    assert_eq!(linked["data"]["config"]["bucket"], "b");

    let answer = rig.ask("first", "POST", 1).await?;
    assert_eq!(answer["status"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())?;
    assert_eq!(body["count"], 1);
    let answer = rig.ask("second", "POST", 2).await?;
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())?;
    assert_eq!(body["count"], 2);
    let answer = rig.ask("third", "GET", 3).await?;
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())?;
    assert_eq!(body["count"], 2, "reading does not count");
    Ok(())
}

/// A lattice on a NATS that knows everybody by JWT, with the permissions of
/// `deploy/nats/lattice.conf`. The host hands its providers credentials of their own.
async fn secured_lab() -> Result<Lab> {
    let operator = Operator::new()?;
    let mut lattice = Lattice::on(Nats::start_with(Some(operator.config())).await?)?;
    lattice.name = "default".to_owned();
    let folder = lattice.folder();
    let part = |name: &str, permissions: &Permissions| {
        operator
            .credentials(folder, name, permissions)
            .map(|(file, _)| file)
    };
    let host = part("host", &Permissions::of_the_config("host")?)?;
    let wash = part("wash", &Permissions::of_the_config("wash")?)?;
    let everything = part("test", &Permissions::default())?;
    let mut provider = Permissions::of_the_config("provider")?;
    // Its reports to this test. The host may not publish there, so they come by the provider's own
    // credentials.
    provider.publish.push("conformance.>".to_owned());
    let provider = part("provider", &provider)?.display().to_string();
    lattice.nats.set_access(Access {
        host: Who::Credentials(host),
        wash: Who::Credentials(wash),
        own_inboxes: true,
        ..Access::default()
    });
    let nats = async_nats::ConnectOptions::with_credentials_file(everything)
        .await?
        .connect(lattice.nats.url())
        .await?;
    let more = ["--provider-nats-creds", provider.as_str()];
    lattice.start_host_with(&[], &more).await?;
    Lab::on(lattice, nats).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_works_with_the_permissions_of_a_provider() -> Result {
    let rig = Rig::on(secured_lab().await?).await?;
    rig.report("started", 1).await?;
    rig.lab
        .event("health_check_passed", |data| {
            data["provider_id"] == PROVIDER
        })
        .await?;
    rig.start_component().await?;
    let config = HashMap::from([("bucket".to_owned(), "b".to_owned())]);
    rig.lab.control.put_config("mem-link", config).await?;
    let store = link(COMPONENT, PROVIDER, "keyvalue", &["store", "atomics"]);
    rig.put(store.target_config(vec!["mem-link".into()]))
        .await?;
    rig.report("linked as target", 1).await?;
    // The provider calls the component, and that the provider.
    let answer = rig.ask("first", "POST", 1).await?;
    assert_eq!(answer["status"], 200, "{answer}");
    let stopped = rig
        .lab
        .control
        .stop_provider(rig.lab.host(0), PROVIDER)
        .await?;
    assert!(stopped.succeeded(), "{}", stopped.message());
    rig.lab
        .event("provider_stopped", |data| data["provider_id"] == PROVIDER)
        .await?;
    let log = rig.lab.lattice.nats.log();
    assert!(!log.contains("Violation"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_hears_of_links_and_configs_while_it_runs() -> Result {
    let rig = Rig::start().await?;
    rig.report("started", 1).await?;
    let config = HashMap::from([("colour".to_owned(), "blue".to_owned())]);
    rig.lab.control.put_config("mem-config", config).await?;
    rig.reports
        .wait("the new config", |report| {
            report["what"] == "config" && report["data"]["colour"] == "blue"
        })
        .await?;
    rig.put(link(COMPONENT, PROVIDER, "keyvalue", &["store"]))
        .await?;
    rig.report("linked as target", 1).await?;
    rig.lab
        .control
        .delete_link(COMPONENT, "default", "wasi", "keyvalue")
        .await?;
    let unlinked = rig.report("unlinked as target", 1).await?;
    assert_eq!(unlinked["data"]["source"], COMPONENT);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_provider_is_back_with_its_links_and_config() -> Result {
    let rig = Rig::start().await?;
    let first = rig.report("started", 1).await?;
    rig.put(link(COMPONENT, PROVIDER, "keyvalue", &["store", "atomics"]))
        .await?;
    rig.report("linked as target", 1).await?;
    let config = HashMap::from([("colour".to_owned(), "green".to_owned())]);
    rig.lab.control.put_config("mem-config", config).await?;
    let pid = first["pid"].as_u64().unwrap_or_default().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status()?;
    assert!(killed.success());
    let second = rig.report("started", 2).await?;
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(second["data"]["config"]["colour"], "green");
    rig.report("linked as target", 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_told_to_end_and_ends() -> Result {
    let rig = Rig::start().await?;
    let started = rig.report("started", 1).await?;
    let answer = rig
        .lab
        .control
        .stop_provider(rig.lab.host(0), PROVIDER)
        .await?;
    assert!(answer.succeeded());
    assert_eq!(answer.message(), "successfully stopped provider");
    rig.report("shutdown", 1).await?;
    let stopped = rig
        .lab
        .event("provider_stopped", |data| data["provider_id"] == PROVIDER)
        .await?;
    assert_eq!(stopped["reason"], "stop");
    until("the end of the process", SETTLED, || {
        std::future::ready(gone(&started["pid"]))
    })
    .await?;
    rig.start_provider().await?;
    rig.report("started", 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_leaves_no_provider_behind() -> Result {
    let mut rig = Rig::start().await?;
    let started = rig.report("started", 1).await?;
    rig.lab.lattice.hosts[0].process.kill();
    until("the end of the process", SETTLED, || {
        std::future::ready(gone(&started["pid"]))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_was_changed_is_refused() -> Result {
    let rig = Rig::start().await?;
    let file = rig.archive.trim_start_matches("file://");
    let mut bytes = std::fs::read(file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let broken = rig.lab.lattice.folder().join("broken.par.gz");
    std::fs::write(&broken, bytes)?;
    let image = format!("file://{}", broken.display());
    rig.lab
        .control
        .start_provider(rig.lab.host(0), &image, "broken", None, vec![])
        .await?;
    let failed = rig
        .lab
        .event("provider_start_failed", |data| {
            data["provider_id"] == "broken"
        })
        .await?;
    assert_eq!(failed["provider_ref"], image);
    Ok(())
}
