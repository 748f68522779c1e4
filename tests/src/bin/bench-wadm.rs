//! `make bench-wadm`: the controller against a thousand light hosts over a real NATS server.
//!
//! The hosts are stand-ins in this process that speak the real protocol (`harness::standin`); the
//! controller is the `wadm` program beside this one, unchanged, at default settings.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt};
use harness::standin::StandIns;
use harness::{Nats, Process, eventually, program, until};
use proto::id::Lattice;
use proto::subject::{WadmApi, WadmApiSubject};
use serde_json::Value;

/// Deploys that run at once, as from a few people's scripts.
const DEPLOYS_AT_ONCE: usize = 8;

/// How long an API request may take; one to a controller that was just killed is lost.
const ANSWER: Duration = Duration::from_secs(2);

/// How long the steady state is watched.
const STEADY: Duration = Duration::from_secs(30);

/// How long attempts at an image that always fails are listed.
const BACK_OFF: Duration = Duration::from_secs(70);

/// Hosts killed one after the other.
const KILLS: usize = 10;

/// The longest that any phase may take before the bench gives up.
const GIVE_UP: Duration = Duration::from_secs(300);

struct Size {
    hosts: usize,
    apps: usize,
    instances: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let number = |name: &str, default: usize| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let size = Size {
        hosts: number("HOSTS", 1000),
        apps: number("APPS", 250),
        instances: number("INSTANCES", 20),
    };
    println!("{}", machine());
    println!(
        "{} hosts, {} applications of {} instances each",
        size.hosts, size.apps, size.instances
    );
    run(&size).await
}

async fn run(size: &Size) -> anyhow::Result<()> {
    let nats = Nats::start().await?;
    let client = nats.connect().await?;
    let lattice = Lattice::default();
    let labels =
        (0..size.hosts).map(|n| BTreeMap::from([("zone".to_owned(), format!("z{}", n % 4))]));
    let hosts = StandIns::start(client.clone(), &lattice, labels).await?;
    let folder = tempfile::TempDir::new()?;
    let mut command = std::process::Command::new(program("wadm")?);
    command.args(["--nats-server", &nats.url()]);
    let wadm = Process::start("wadm", folder.path(), &mut command)?;
    let bench = Bench {
        client,
        lattice,
        hosts,
        wadm,
    };
    bench.ready().await?;

    let (took, cpu) = bench.deploy(size).await?;
    print(
        "full deploy",
        format!(
            "{:.1} s, {:.1} s of processor time",
            took.as_secs_f64(),
            cpu
        ),
    );
    print("commands sent", format!("{}", bench.hosts.received_count()));
    let (load, commands) = bench.steady().await?;
    print(
        "steady state",
        format!(
            "{:.1} % of a core, {commands} commands in {STEADY:?}",
            load * 100.0
        ),
    );
    print(
        "memory",
        format!("{} MiB resident", memory_mib(bench.wadm.id())?),
    );
    let (mut times, cost) = bench.kill_hosts(size).await?;
    times.sort();
    print(
        "killed host replaced",
        format!(
            "median {:.1} s, slowest {:.1} s of {KILLS}",
            times[KILLS / 2].as_secs_f64(),
            times[KILLS - 1].as_secs_f64()
        ),
    );
    print(
        "work per killed host",
        format!("{:.0} ms of processor time", cost * 1000.0),
    );
    let took = bench.change_one().await?;
    print(
        "one application scaled",
        format!("{:.0} ms until it runs", took.as_secs_f64() * 1000.0),
    );
    bench.back_off().await?;
    let (took, commands) = bench.restart_silently(folder.path(), &nats).await?;
    print(
        "controller restarted",
        format!(
            "ready after {:.1} s, {commands} commands",
            took.as_secs_f64()
        ),
    );
    Ok(())
}

struct Bench {
    client: async_nats::Client,
    lattice: Lattice,
    hosts: StandIns,
    wadm: Process,
}

impl Bench {
    async fn ask(&self, request: WadmApi, body: String) -> anyhow::Result<Value> {
        let subject = WadmApiSubject::new(self.lattice.clone(), request).to_string();
        let request = async_nats::Request::new()
            .payload(body.into())
            .timeout(Some(ANSWER));
        let reply = self.client.send_request(subject, request).await?;
        Ok(serde_json::from_slice(&reply.payload)?)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        eventually("wadm to answer", GIVE_UP, || {
            self.ask(WadmApi::List, String::new())
        })
        .await?;
        Ok(())
    }

    /// Puts and deploys everything; how long until all of it runs, and the controller's time.
    async fn deploy(&self, size: &Size) -> anyhow::Result<(Duration, f64)> {
        let (started, cpu) = (Instant::now(), cpu_seconds(self.wadm.id())?);
        futures::stream::iter(0..size.apps)
            .map(|app| self.deploy_one(app, size.instances, 1))
            .buffer_unordered(DEPLOYS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        print(
            "deploys acknowledged",
            format!("{:.1} s", started.elapsed().as_secs_f64()),
        );
        let wanted = size.apps * size.instances;
        self.until_instances(wanted as u64).await?;
        Ok((started.elapsed(), cpu_seconds(self.wadm.id())? - cpu))
    }

    async fn deploy_one(&self, app: usize, instances: usize, version: u32) -> anyhow::Result<()> {
        let name = format!("app-{app}");
        let put = self
            .ask(WadmApi::Put, manifest(&name, instances, version))
            .await?;
        anyhow::ensure!(put["name"] == name.as_str(), "put refused: {put}");
        let deployed = self.ask(WadmApi::Deploy(name), String::new()).await?;
        anyhow::ensure!(
            deployed["result"] == "acknowledged",
            "deploy refused: {deployed}"
        );
        Ok(())
    }

    async fn until_instances(&self, wanted: u64) -> anyhow::Result<()> {
        eventually("all instances to run", GIVE_UP, || async {
            let found = self.hosts.all_instances();
            anyhow::ensure!(
                found == wanted,
                "{found} of {wanted} instances; {}",
                self.wadm.log()
            );
            Ok(())
        })
        .await
    }

    /// The controller's load while nothing happens, and the commands it sent all the same.
    async fn steady(&self) -> anyhow::Result<(f64, usize)> {
        // Let statuses and the first heartbeats settle.
        self.quiet(Duration::from_secs(3)).await?;
        let (cpu, commands, started) = (
            cpu_seconds(self.wadm.id())?,
            self.hosts.received_count(),
            Instant::now(),
        );
        until("the steady state", STEADY * 2, || async {
            started.elapsed() >= STEADY
        })
        .await?;
        let load = (cpu_seconds(self.wadm.id())? - cpu) / started.elapsed().as_secs_f64();
        Ok((load, self.hosts.received_count() - commands))
    }

    /// Waits until no command came for so long.
    async fn quiet(&self, time: Duration) -> anyhow::Result<()> {
        let mut last = (self.hosts.received_count(), Instant::now());
        eventually("commands to end", GIVE_UP, || {
            let now = self.hosts.received_count();
            if now != last.0 {
                last = (now, Instant::now());
            }
            let quiet = last.1.elapsed() >= time;
            async move {
                if quiet {
                    Ok(())
                } else {
                    anyhow::bail!("{now} commands")
                }
            }
        })
        .await
    }

    /// Kills hosts one by one; how long each took to be replaced, and the controller's time.
    async fn kill_hosts(&self, size: &Size) -> anyhow::Result<(Vec<Duration>, f64)> {
        let wanted = (size.apps * size.instances) as u64;
        let ids = self.hosts.ids();
        let mut times = Vec::new();
        let cpu = cpu_seconds(self.wadm.id())?;
        for id in ids.iter().step_by((ids.len() / KILLS).max(1)).take(KILLS) {
            self.hosts.kill(id);
            let started = Instant::now();
            self.until_instances(wanted).await?;
            times.push(started.elapsed());
        }
        Ok((times, (cpu_seconds(self.wadm.id())? - cpu) / KILLS as f64))
    }

    async fn change_one(&self) -> anyhow::Result<Duration> {
        let wanted = self.hosts.all_instances() + 5;
        let id = proto::names::component_id("app-0", "web");
        let now: u32 = self.hosts.instances(&id).values().sum();
        let instances = usize::try_from(now)? + 5;
        let started = Instant::now();
        self.deploy_one(0, instances, 2).await?;
        self.until_instances(wanted).await?;
        Ok(started.elapsed())
    }

    /// Deploys an image that always fails, and lists when it was tried.
    async fn back_off(&self) -> anyhow::Result<()> {
        let broken = "registry.example/broken:1";
        self.hosts.fail(broken, Some("401 Unauthorized"));
        let before = self.hosts.received_count();
        // One host alone fits, so the times are those of one component on one host. The first ones
        // were killed.
        let host = self.hosts.ids().pop().context("no hosts")?;
        self.hosts.label(&host, "only", "here").await;
        let manifest = manifest("broken", 1, 1).replace(
            "{instances: 1}",
            "{instances: 1, spread: [{name: one, requirements: {only: here}}]}",
        );
        self.ask(WadmApi::Put, manifest).await?;
        self.ask(WadmApi::Deploy("broken".to_owned()), String::new())
            .await?;
        let started = Instant::now();
        until("some attempts", BACK_OFF * 2, || async {
            started.elapsed() >= BACK_OFF
        })
        .await?;
        let received = self.hosts.received();
        let attempts: Vec<String> = received[before..]
            .iter()
            .map(|sent| {
                format!(
                    "{:.1}",
                    sent.at.saturating_duration_since(started).as_secs_f64()
                )
            })
            .collect();
        anyhow::ensure!(!attempts.is_empty(), "the bad image was never tried");
        print(
            "attempts at a bad image",
            format!(
                "{} in {BACK_OFF:?}, at {} s",
                attempts.len(),
                attempts.join(", ")
            ),
        );
        self.ask(WadmApi::Undeploy("broken".to_owned()), String::new())
            .await?;
        Ok(())
    }

    /// Ends the controller and starts another; until it answers for the lattice, and what it sent.
    async fn restart_silently(
        self,
        folder: &std::path::Path,
        nats: &Nats,
    ) -> anyhow::Result<(Duration, usize)> {
        self.quiet(Duration::from_secs(3)).await?;
        let commands = self.hosts.received_count();
        let Self {
            client,
            lattice,
            hosts,
            wadm,
        } = self;
        drop(wadm);
        let started = Instant::now();
        let mut command = std::process::Command::new(program("wadm")?);
        command.args(["--nats-server", &nats.url()]);
        let wadm = Process::start("wadm-2", folder, &mut command)?;
        let bench = Self {
            client,
            lattice,
            hosts,
            wadm,
        };
        bench.ready().await?;
        let ready = started.elapsed();
        // Longer than a lease, a round of inventories and a resync.
        until("a take-over", GIVE_UP, || async {
            started.elapsed() >= Duration::from_secs(45)
        })
        .await?;
        Ok((ready, bench.hosts.received_count() - commands))
    }
}

fn manifest(name: &str, instances: usize, version: u32) -> String {
    format!(
        "apiVersion: core.oam.dev/v1beta1\nkind: Application\n\
         metadata: {{name: {name}, annotations: {{version: v{version}}}}}\n\
         spec:\n  components:\n    - name: web\n      type: component\n\
         \x20     properties: {{image: 'registry.example/{name}:1'}}\n      traits:\n\
         \x20       - {{type: spreadscaler, properties: {{instances: {instances}}}}}\n"
    )
}

fn print(what: &str, value: String) {
    println!("{what:<24} {value}");
}

/// The processor time that a process has used.
fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the controller is gone")?;
    // The name in parentheses may hold spaces; the times are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // USER_HZ, which Linux fixes at 100.
    Ok(ticks as f64 / 100.0)
}

fn memory_mib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no VmRSS")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .context("no number")?;
    Ok(kib / 1024)
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    format!(
        "machine: {cpus} cores,{}",
        model
            .trim_start_matches([' ', '\t', ':'])
            .split('@')
            .next()
            .map_or_else(String::new, |m| format!(" {}", m.trim()))
    )
}
