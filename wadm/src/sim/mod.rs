//! A simulated lattice: the real controller, planner and view, with hosts, NATS and time made up.
//!
//! Everything comes from a seed: the lattice, the applications, what goes wrong and when. A run that
//! breaks a rule shows its seed and its trace, and the seed alone repeats it. See `README.md` in
//! this folder for what is covered and what is not.

mod check;
mod faults;
mod host;
mod rng;
mod scale;
mod store;
#[cfg(test)]
mod tests;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proto::id::HostId;

use crate::core::Timing;
use faults::{Fault, ZONES, manifest};
use host::SimHost;
use world::{Action, World};

pub use scale::{Size, SizeReport, simulate};

/// `wadm simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Hosts of the simulated lattice
    #[arg(long, default_value_t = 1000)]
    pub hosts: usize,
    /// Applications, deployed all at once
    #[arg(long, default_value_t = 500)]
    pub apps: usize,
    /// Instances of each application
    #[arg(long, default_value_t = 10)]
    pub instances: u32,
    /// Runs this many seeds of the fault simulation instead, and shows the first that fails
    #[arg(long)]
    pub seeds: Option<u64>,
    /// The seed (with `--seeds`: the first one)
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Runs `wadm simulate` and prints what came of it.
#[must_use]
pub fn run(args: &SimulateArgs) -> std::process::ExitCode {
    if let Some(seeds) = args.seeds {
        if let Err(failure) = soak(args.seed..args.seed.saturating_add(seeds)) {
            eprintln!("{failure}");
            return std::process::ExitCode::FAILURE;
        }
        println!(
            "{seeds} seeds from {} on: all settled, no rule broken",
            args.seed
        );
        return std::process::ExitCode::SUCCESS;
    }
    let size = Size {
        hosts: args.hosts,
        apps: args.apps,
        instances: args.instances,
        seed: args.seed,
    };
    println!("{}", simulate(&size));
    std::process::ExitCode::SUCCESS
}

/// Runs these seeds on all processors, and says now and then how far it is.
fn soak(seeds: std::ops::Range<u64>) -> Result<(), String> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut told = Instant::now();
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            if let Err(failure) = chaos(seed, false) {
                failed.store(true, Ordering::Relaxed);
                return Err(failure);
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                eprintln!(
                    "{} of {} seeds",
                    seed - seeds.start,
                    seeds.end - seeds.start
                );
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = workers.into_iter().map(|worker| {
            let crashed = |_| Err("a seed panicked, see above".to_owned());
            worker.join().unwrap_or_else(crashed)
        });
        ended.collect()
    })
}

/// How often a soak says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// When faults begin and end.
const FAULTS: (u64, u64) = (8_000, 36_000);
/// When everything works again.
const HEALED: u64 = 38_000;
/// By then nobody takes one of our hosts that died for alive any more.
const GHOSTS_GONE: u64 = 6_000;
/// How long it may take until all is as it should be: the longest pause between two attempts that
/// so many seconds of faults can lead to, twice.
const SETTLE: u64 = 75_000;
/// How often is looked whether it is.
const LOOK_EVERY: u64 = 2_500;
/// How long nothing may be sent after that: more than a resync and a few heartbeats.
const SILENCE: u64 = 25_000;

/// Runs one seed with faults.
///
/// # Errors
/// Tells the rule that was broken, the seed, and what happened before.
pub fn chaos(seed: u64, trace: bool) -> Result<(), String> {
    let mut world = scenario(seed);
    world.tracing = trace;
    let outcome = live(&mut world);
    match outcome {
        Ok(()) => Ok(()),
        // Once more, with a trace: the same seed does the same.
        Err(_) if !trace => chaos(seed, true),
        Err(what) => Err(format!(
            "seed {seed}: {what}\n\nwhat happened:\n{}\n\nrerun alone: SIM_SEED={seed} cargo test -p lattice-wadm --lib sim",
            world.trace()
        )),
    }
}

fn live(world: &mut World) -> Result<(), String> {
    world.run_until(HEALED);
    world.heal();
    world.run_until(HEALED + GHOSTS_GONE);
    let ghosts = world.ghosts();
    if !ghosts.is_empty() && world.tally.broken.is_none() {
        return Err(format!("hosts of earlier lives count as alive: {ghosts:?}"));
    }
    let mut differences = Vec::new();
    for _ in 0..SETTLE / LOOK_EVERY {
        world.run_until(world.now + LOOK_EVERY);
        differences = world.differences();
        if differences.is_empty() || world.tally.broken.is_some() {
            break;
        }
    }
    if let Some(broken) = world.tally.broken.take() {
        return Err(broken);
    }
    if !differences.is_empty() {
        return Err(format!(
            "{} s after the last fault: {}",
            SETTLE / 1000,
            differences.join("; ")
        ));
    }
    let settled = world.now;
    world.run_until(settled + SILENCE);
    match world.tally.broken.take() {
        Some(broken) => Err(broken),
        None if world.tally.last_command > settled => Err(format!(
            "a command at {:.1} s, though all was as it should be at {:.1} s",
            world.tally.last_command as f64 / 1000.0,
            settled as f64 / 1000.0
        )),
        None => Ok(()),
    }
}

fn scenario(seed: u64) -> World {
    let timing = Timing {
        heartbeat_lost_after: Duration::from_secs(12),
        resync_every: Duration::from_secs(20),
    };
    let mut world = World::new(seed, timing);
    world.heartbeat_ms = 5000;
    let hosts = world.rng.between(2, 6);
    let upstream = world.rng.percent(30);
    for number in 0..hosts {
        let ours = !(upstream && world.rng.percent(40));
        let zone = ZONES[world.rng.index(ZONES.len())];
        let pulse = world.rng.between(1000, 1500);
        // Letters and digits are a host id whatever the number.
        let Ok(id) = HostId::new(format!("N{number}")) else {
            continue;
        };
        let labels = [("zone".to_owned(), zone.to_owned())].into();
        let mut host = SimHost::new(id, labels, ours, pulse);
        host.keeps_id = world.rng.percent(30);
        world.add_host(host);
    }
    for _ in 0..world.rng.between(1, 3) {
        world.add_controller();
    }
    let apps: Vec<String> = (0..world.rng.between(1, 4))
        .map(|number| format!("app{number}"))
        .collect();
    for app in &apps {
        let at = world.rng.between(0, 6000);
        let first = manifest(app, &mut world.rng);
        world.at(at, Action::Fault(Fault::Deploy(app.clone(), Some(first))));
    }
    let faults = world.rng.between(0, 12);
    world.plan_faults(FAULTS.0, FAULTS.1, faults, &apps);
    world
}
