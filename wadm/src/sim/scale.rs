//! How large a lattice one controller carries: many hosts, many applications, no faults.

use std::fmt;
use std::time::{Duration, Instant};

use proto::id::HostId;
use serde_json::json;

use super::faults::{Fault, ZONES};
use super::host::SimHost;
use super::world::{Action, World};
use crate::core::Timing;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Hosts.
    pub hosts: usize,
    /// Applications.
    pub apps: usize,
    /// Instances of each.
    pub instances: u32,
    /// The seed.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct SizeReport {
    /// What was simulated.
    pub size: Size,
    /// Lattice time from the deploy to the last placement.
    pub converged_in: Option<Duration>,
    /// Commands sent for it.
    pub commands: u64,
    /// Controller time for it.
    pub deploy_cpu: Duration,
    /// The longest single step.
    pub worst_step: Duration,
    /// Share of a core that the controller took afterwards, while nothing happened.
    pub steady_share: f64,
    /// Commands sent meanwhile.
    pub steady_commands: u64,
    /// Controller time for one host that was lost, and for what it ran.
    pub lost_cpu: Duration,
    /// Lattice time until its work ran elsewhere.
    pub replaced_in: Option<Duration>,
    /// Peak memory of this process, in bytes, where the system tells.
    pub memory: Option<u64>,
}

/// When everything is deployed.
const DEPLOY_AT: u64 = 10_000;
/// The longest that converging is waited for.
const CONVERGE_MAX: u64 = 120_000;
/// How long the steady state is watched.
const STEADY: u64 = 20_000;

/// Runs it.
#[must_use]
pub fn simulate(size: &Size) -> SizeReport {
    let mut world = World::new(size.seed, Timing::default());
    for number in 0..size.hosts {
        let Ok(id) = HostId::new(format!("N{number:06}")) else {
            continue;
        };
        let labels = [("zone".to_owned(), ZONES[number % ZONES.len()].to_owned())].into();
        world.add_host(SimHost::new(id, labels, true, 1000));
    }
    world.add_controller();
    world.run_until(DEPLOY_AT - 1);
    world.measure = true;
    for number in 0..size.apps {
        let manifest = application(number, size.instances);
        world.at(
            DEPLOY_AT,
            Action::Fault(Fault::Deploy(format!("app{number}"), manifest)),
        );
    }
    let converged = converge(&mut world, DEPLOY_AT);
    let (commands, deploy_cpu, worst_step) = (
        world.tally.commands,
        world.tally.step_time,
        world.tally.worst_step,
    );
    world.run_until(world.now + 10_000);
    let before = (world.tally.commands, world.tally.step_time);
    world.run_until(world.now + STEADY);
    let steady_share = (world.tally.step_time - before.1).as_secs_f64()
        / Duration::from_millis(STEADY).as_secs_f64();
    let steady_commands = world.tally.commands - before.0;
    let (at, cpu) = (world.now, world.tally.step_time);
    world.at(at, Action::Fault(Fault::CrashHost(0)));
    world.run_until(at + 1);
    let replaced = converge(&mut world, at);
    SizeReport {
        size: *size,
        converged_in: converged,
        commands,
        deploy_cpu,
        worst_step,
        steady_share,
        steady_commands,
        lost_cpu: world.tally.step_time - cpu,
        replaced_in: replaced,
        memory: peak_memory(),
    }
}

/// Runs on until everything is as it should be.
fn converge(world: &mut World, from: u64) -> Option<Duration> {
    let limit = Instant::now() + Duration::from_secs(600);
    while world.now < from + CONVERGE_MAX && Instant::now() < limit {
        world.run_until(world.now + 500);
        let quiet = world.tally.last_command > from && world.now > world.tally.last_command + 1000;
        if quiet && world.differences().is_empty() {
            return Some(Duration::from_millis(
                world.tally.last_change.max(from) - from,
            ));
        }
    }
    None
}

fn application(number: usize, instances: u32) -> Option<std::sync::Arc<proto::manifest::Manifest>> {
    let spread: Vec<_> = ZONES
        .iter()
        .take(1 + number % 3)
        .map(|zone| json!({"name": zone, "requirements": {"zone": zone}}))
        .collect();
    let manifest = json!({
        "apiVersion": "v", "kind": "Application",
        "metadata": {"name": format!("app{number}"), "annotations": {}},
        "spec": {"components": [
            {"name": "web", "type": "component", "properties": {"image": "web:1"}, "traits": [
                {"type": "spreadscaler", "properties": {"instances": instances, "spread": spread}},
                {"type": "link", "properties": {
                    "namespace": "acme", "package": "thing", "interfaces": ["api"], "target": {"name": "api"}}}
            ]},
            {"name": "api", "type": "component", "properties": {"image": "api:1"}, "traits": [
                {"type": "spreadscaler", "properties": {"instances": 1}}]}
        ]}
    });
    serde_json::from_value(manifest)
        .ok()
        .map(std::sync::Arc::new)
}

fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

impl fmt::Display for SizeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Option<Duration>| match time {
            Some(time) => format!("{:.1} s", time.as_secs_f64()),
            None => "not in time".to_owned(),
        };
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        let placements = self.size.apps as u64 * u64::from(self.size.instances);
        let rows = [
            ("hosts", self.size.hosts.to_string()),
            ("applications", self.size.apps.to_string()),
            ("instances", placements.to_string()),
            (
                "deploy until all runs (lattice time)",
                seconds(self.converged_in),
            ),
            ("commands for it", self.commands.to_string()),
            ("controller time for it", millis(self.deploy_cpu)),
            ("longest pass", millis(self.worst_step)),
            (
                "steady state, share of a core",
                format!("{:.1} %", self.steady_share * 100.0),
            ),
            ("commands in steady state", self.steady_commands.to_string()),
            (
                "a host lost until its work runs elsewhere",
                seconds(self.replaced_in),
            ),
            ("controller time for it", millis(self.lost_cpu)),
            (
                "peak memory, hosts included",
                self.memory
                    .map_or("?".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
            ),
        ];
        for (index, (name, value)) in rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{name:<44}{value:>14}")?;
        }
        Ok(())
    }
}
