//! What is deployed, and whether that is what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use harness::{Lattice, eventually, repository};
use proto::ctl::{CtlResponse, HostInventory};
use proto::id::HostId;
use proto::link::Link;
use proto::names::component_id;
use proto::subject::{Ctl, CtlSubject, WadmApi, WadmApiSubject};
use serde_json::Value;

use crate::ZONES;

/// How long one request may take before it is tried again.
const ANSWER: Duration = Duration::from_secs(3);

/// How long the API may be away: NATS and controllers restart meanwhile.
const API_DEADLINE: Duration = Duration::from_secs(60);

/// Where an application's instances belong.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Evenly on all hosts.
    Anywhere,
    /// On every host of a zone.
    Daemon,
    /// Two thirds in zone 0, one third in zone 1.
    Weighted,
    /// Evenly on all hosts, with a key-value provider on each.
    Stateful,
}

struct App {
    name: String,
    shape: Shape,
    instances: u32,
    version: u32,
    deployed: bool,
}

pub struct Apps {
    apps: Vec<App>,
    image: String,
}

impl Apps {
    pub fn new(_: &Lattice, count: usize) -> anyhow::Result<Self> {
        let image = repository("examples/http-hello/http-hello.wasm").canonicalize()?;
        let shapes = [
            Shape::Anywhere,
            Shape::Daemon,
            Shape::Weighted,
            Shape::Stateful,
        ];
        let apps = (0..count).map(|number| App {
            name: format!("app{number}"),
            shape: shapes[number % shapes.len()],
            instances: 3 + u32::try_from(number % 4).unwrap_or(0),
            version: 0,
            deployed: false,
        });
        Ok(Self {
            apps: apps.collect(),
            image: format!("file://{}", image.display()),
        })
    }

    pub fn len(&self) -> usize {
        self.apps.len()
    }

    pub async fn deploy_all(&mut self, lattice: &Lattice) -> anyhow::Result<()> {
        for number in 0..self.apps.len() {
            self.deploy(lattice, number).await?;
        }
        Ok(())
    }

    /// Deploys a new version with another number of instances.
    pub async fn change(&mut self, lattice: &Lattice, number: usize) -> anyhow::Result<()> {
        let app = &mut self.apps[number];
        app.instances = 1 + (app.instances + 2) % 9;
        self.deploy(lattice, number).await
    }

    /// Undeploys what is deployed, and the other way round.
    pub async fn toggle(&mut self, lattice: &Lattice, number: usize) -> anyhow::Result<()> {
        if !self.apps[number].deployed {
            return self.deploy(lattice, number).await;
        }
        let name = self.apps[number].name.clone();
        ask(
            lattice,
            WadmApi::Undeploy(name),
            String::new(),
            "acknowledged",
        )
        .await?;
        self.apps[number].deployed = false;
        Ok(())
    }

    async fn deploy(&mut self, lattice: &Lattice, number: usize) -> anyhow::Result<()> {
        let image = self.image.clone();
        let app = &mut self.apps[number];
        app.version += 1;
        let (name, manifest) = (app.name.clone(), app.manifest(&image));
        app.deployed = true;
        // A put whose answer was lost is answered "already exists" when it is sent again.
        let put = ask(lattice, WadmApi::Put, manifest, "").await?;
        let stored = put["result"] != "error"
            || put["message"]
                .as_str()
                .is_some_and(|m| m.contains("already exists"));
        anyhow::ensure!(stored, "put: {put}");
        ask(
            lattice,
            WadmApi::Deploy(name),
            String::new(),
            "acknowledged",
        )
        .await?;
        Ok(())
    }

    /// Whether what runs, is linked and configured is exactly what is deployed.
    pub async fn check(&self, lattice: &Lattice) -> anyhow::Result<()> {
        let client = lattice.nats.connect().await?;
        let hosts = inventories(&client, lattice).await?;
        let mut wanted = BTreeSet::new();
        for app in self.apps.iter().filter(|app| app.deployed) {
            wanted.insert(component_id(&app.name, "web"));
            app.check(&hosts)
                .with_context(|| format!("{} ({:?} of {})", app.name, app.shape, app.instances))?;
            if matches!(app.shape, Shape::Stateful) {
                wanted.insert(component_id(&app.name, "kv"));
            }
        }
        for host in &hosts {
            let components = host
                .components
                .iter()
                .map(|component| component.id.to_string());
            let providers = host
                .providers
                .iter()
                .map(|provider| provider.id.to_string());
            for id in components.chain(providers) {
                anyhow::ensure!(
                    wanted.contains(&id),
                    "{id} runs on {} and belongs to nothing",
                    host.host_id
                );
            }
        }
        let links: CtlResponse<Vec<Link>> = control(&client, lattice, Ctl::GetLinks).await?;
        let found: BTreeSet<String> = links
            .response
            .into_iter()
            .flatten()
            .map(|link| format!("{}->{}", link.source_id, link.target))
            .collect();
        let expected: BTreeSet<String> = self
            .apps
            .iter()
            .filter(|app| app.deployed && matches!(app.shape, Shape::Stateful))
            .map(|app| {
                format!(
                    "{}->{}",
                    component_id(&app.name, "web"),
                    component_id(&app.name, "kv")
                )
            })
            .collect();
        anyhow::ensure!(found == expected, "links are {found:?}, not {expected:?}");
        Ok(())
    }

    /// Prints what hosts run and what the controller says of every application that is not as deployed.
    pub async fn explain(&self, lattice: &Lattice) -> anyhow::Result<()> {
        let client = lattice.nats.connect().await?;
        let hosts = inventories(&client, lattice).await?;
        for app in self.apps.iter().filter(|app| app.deployed) {
            let Err(wrong) = app.check(&hosts) else {
                continue;
            };
            println!(
                "--- {} ({:?} of {}): {wrong:#}",
                app.name, app.shape, app.instances
            );
            let id = component_id(&app.name, "web");
            for host in &hosts {
                let runs = host
                    .components
                    .iter()
                    .find(|component| component.id == id.as_str());
                println!("{} {:?}: {runs:?}", host.host_id, host.labels.get("zone"));
            }
            let status = WadmApi::Status(app.name.clone());
            println!("{}", ask(lattice, status, String::new(), "ok").await?);
        }
        Ok(())
    }

    /// Whether every status says what the check found.
    pub async fn status_agrees(&self, lattice: &Lattice) -> anyhow::Result<()> {
        for app in &self.apps {
            let wanted = if app.deployed {
                "deployed"
            } else {
                "undeployed"
            };
            eventually(
                &format!("{} to be {wanted}", app.name),
                Duration::from_secs(10),
                || async {
                    let answer = ask(
                        lattice,
                        WadmApi::Status(app.name.clone()),
                        String::new(),
                        "ok",
                    )
                    .await?;
                    let is = &answer["status"]["status"]["type"];
                    anyhow::ensure!(is == wanted, "{answer}");
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }
}

impl App {
    fn manifest(&self, image: &str) -> String {
        let Self {
            name,
            instances,
            version,
            ..
        } = self;
        let head = format!(
            "apiVersion: core.oam.dev/v1beta1\nkind: Application\n\
             metadata: {{name: {name}, annotations: {{version: v{version}}}}}\nspec:\n  components:\n"
        );
        let web = |traits: &str| {
            format!(
                "    - {{name: web, type: component, properties: {{image: '{image}'}}, traits: [{traits}]}}\n"
            )
        };
        let spread = format!("{{type: spreadscaler, properties: {{instances: {instances}}}}}");
        let body = match self.shape {
            Shape::Anywhere => web(&spread),
            Shape::Daemon => web(&format!(
                "{{type: daemonscaler, properties: {{instances: {instances}, \
                 spread: [{{name: d, requirements: {{zone: z0}}}}]}}}}"
            )),
            Shape::Weighted => web(&format!(
                "{{type: spreadscaler, properties: {{instances: {instances}, spread: [\
                 {{name: a, requirements: {{zone: z0}}, weight: 2}}, {{name: b, requirements: {{zone: z1}}, weight: 1}}]}}}}"
            )),
            Shape::Stateful => {
                let link = format!(
                    "{{type: link, properties: {{namespace: wasi, package: keyvalue, interfaces: [store], target: \
                     {{name: kv, config: [{{name: bucket, properties: {{bucket: {name}}}}}]}}}}}}"
                );
                web(&format!("{spread}, {link}"))
                    + "    - {name: kv, type: capability, \
                       properties: {image: 'wasmcloud+builtin://keyvalue-nats'}, \
                       traits: [{type: daemonscaler, properties: {instances: 1}}]}\n"
            }
        };
        head + &body
    }

    fn check(&self, hosts: &[HostInventory]) -> anyhow::Result<()> {
        let id = component_id(&self.name, "web");
        let mut zones: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for host in hosts {
            let running = host
                .components
                .iter()
                .find(|component| component.id == id.as_str());
            let zone = host.labels.get("zone").cloned().unwrap_or_default();
            zones
                .entry(zone)
                .or_default()
                .push(running.map_or(0, |component| component.max_instances));
        }
        anyhow::ensure!(zones.len() == ZONES, "zones: {zones:?}");
        match self.shape {
            Shape::Anywhere => even(zones.values().flatten(), self.instances),
            Shape::Daemon => {
                let right = zones.iter().all(|(zone, counts)| {
                    counts
                        .iter()
                        .all(|count| *count == if zone == "z0" { self.instances } else { 0 })
                });
                anyhow::ensure!(right, "{zones:?}");
                Ok(())
            }
            Shape::Weighted => {
                let (two, one) = (self.instances * 2 / 3, self.instances / 3);
                let rest = self.instances - two - one;
                even(&zones["z0"], two + rest)?;
                even(&zones["z1"], one)?;
                even(&zones["z2"], 0)
            }
            Shape::Stateful => {
                even(zones.values().flatten(), self.instances)?;
                let kv = component_id(&self.name, "kv");
                let with = hosts
                    .iter()
                    .filter(|host| host.providers.iter().any(|p| p.id == kv.as_str()))
                    .count();
                anyhow::ensure!(with == hosts.len(), "the provider runs on {with} hosts");
                Ok(())
            }
        }
    }
}

fn even<'a>(counts: impl IntoIterator<Item = &'a u32>, wanted: u32) -> anyhow::Result<()> {
    let counts: Vec<u32> = counts.into_iter().copied().collect();
    let (least, most) = (
        counts.iter().min().unwrap_or(&0),
        counts.iter().max().unwrap_or(&0),
    );
    anyhow::ensure!(
        counts.iter().sum::<u32>() == wanted && most - least <= 1,
        "{counts:?}, not {wanted} evenly"
    );
    Ok(())
}

async fn inventories(
    client: &async_nats::Client,
    lattice: &Lattice,
) -> anyhow::Result<Vec<HostInventory>> {
    let mut hosts = Vec::new();
    for host in &lattice.hosts {
        let request = Ctl::Inventory(HostId::new(host.id.clone())?);
        let answer: CtlResponse<HostInventory> = control(client, lattice, request).await?;
        hosts.push(answer.response.context("no inventory")?);
    }
    Ok(hosts)
}

async fn control<T: serde::de::DeserializeOwned>(
    client: &async_nats::Client,
    lattice: &Lattice,
    request: Ctl,
) -> anyhow::Result<CtlResponse<T>> {
    let subject =
        CtlSubject::new(proto::id::Lattice::new(lattice.name.clone())?, request).to_string();
    let request = async_nats::Request::new().timeout(Some(ANSWER));
    let answer = client.send_request(subject, request).await?;
    Ok(serde_json::from_slice(&answer.payload)?)
}

/// Asks the API until it answers; any result will do when none is `wanted`.
async fn ask(
    lattice: &Lattice,
    request: WadmApi,
    body: String,
    wanted: &str,
) -> anyhow::Result<Value> {
    let name = proto::id::Lattice::new(lattice.name.clone())?;
    let subject = WadmApiSubject::new(name, request).to_string();
    eventually(&format!("an answer on {subject}"), API_DEADLINE, || async {
        let client = lattice.nats.connect().await?;
        let request = async_nats::Request::new()
            .payload(body.clone().into())
            .timeout(Some(ANSWER));
        let answer = client.send_request(subject.clone(), request).await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        anyhow::ensure!(wanted.is_empty() || answer["result"] == wanted, "{answer}");
        let storage = answer["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Internal storage error"));
        anyhow::ensure!(!storage, "{answer}");
        Ok(answer)
    })
    .await
}
