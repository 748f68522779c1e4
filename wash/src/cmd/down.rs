//! `wash down`: stops what `wash up` started, and leaves nothing of it.

use std::time::Duration;

use nix::sys::signal::Signal;
use proto::subject::{bucket, wadm};
use serde_json::{Map, Value};

use super::up::state::{Place, State};
use crate::connect::ConnectOptions;
use crate::dirs::Dirs;
use crate::error::{Advice, WashError};
use crate::lattice::{Lattice, LatticeOps, NatsLattice, find_host};
use crate::output::{Answer, Printer, Style, keys};

/// How long the supervisor may take to end everything in order.
const GRACE: Duration = Duration::from_secs(25);
/// How long a part that was left over may take.
const PART_GRACE: Duration = Duration::from_secs(3);

/// `wash down`.
#[derive(Debug, clap::Args)]
pub struct DownCommand {
    /// Stop this host of the lattice, by id, start of the id, or part of its name
    #[arg(long, value_name = "HOST")]
    pub host_id: Option<String>,
    /// Stop all hosts of the lattice, wherever they run, and every lattice that `wash up` started here
    #[arg(long)]
    pub all: bool,
    /// Delete what is stored in JetStream
    #[arg(long, alias = "flush-jetstream", value_enum, default_value = "none")]
    pub purge_jetstream: Purge,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// What to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purge {
    /// Nothing
    None,
    /// Applications, links and configurations
    All,
    /// Applications
    Wadm,
    /// Links and configurations
    Wasmcloud,
}

/// Nothing was there to stop.
#[derive(Debug, thiserror::Error)]
#[error("`wash up` started nothing that still runs{}", port.map(|port| format!(" on port {port}")).unwrap_or_default())]
pub struct NothingUp {
    port: Option<u16>,
}

impl Advice for NothingUp {
    fn hint(&self) -> Option<String> {
        Some("stop hosts that were started otherwise with --all or --host-id; choose another lattice with --ctl-port".into())
    }
}

/// What was stopped.
#[derive(Debug, Default)]
pub struct Stopped {
    hosts: Vec<String>,
    nats: bool,
    wadm: bool,
    purged: Vec<String>,
}

impl Answer for Stopped {
    fn text(&self, _: &Style) -> String {
        let mut lines = vec![format!("Stopped {} host(s)", self.hosts.len())];
        lines.extend(self.hosts.iter().map(|host| format!("  {host}")));
        if self.wadm {
            lines.push("Stopped wadm".into());
        }
        if self.nats {
            lines.push("Stopped NATS".into());
        }
        lines.extend(self.purged.iter().map(|name| format!("Deleted {name}")));
        lines.join("\n")
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("hosts_stopped", self.hosts.clone().into()),
            ("nats_stopped", self.nats.into()),
            ("wadm_stopped", self.wadm.into()),
            ("jetstream_purged", self.purged.clone().into()),
        ])
    }
}

impl DownCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Stopped, WashError> {
        let dirs = Dirs::from_env()?;
        let mut stopped = Stopped::default();
        if let Some(term) = &self.host_id {
            let lattice = NatsLattice::connect(&self.connect).await?;
            let host = find_host(&lattice, term).await?;
            lattice.stop_host(&host, None).await?;
            stopped.hosts.push(host.to_string());
            return Ok(stopped);
        }
        let places = self.places(&dirs)?;
        if self.purge_jetstream != Purge::None {
            stopped.purged = self.purge().await?;
        }
        if self.all {
            self.stop_everybody(&mut stopped).await?;
        }
        let progress = printer.progress("stopping hosts, wadm and NATS");
        for (place, state) in &places {
            stop(place, state).await;
            let ours = state.hosts.iter().map(|host| host.id.clone());
            stopped.hosts.extend(ours);
            stopped.nats |= state.nats.is_some();
            stopped.wadm |= state.wadm.is_some();
        }
        drop(progress);
        stopped.hosts.sort();
        stopped.hosts.dedup();
        if places.is_empty() && stopped.hosts.is_empty() && stopped.purged.is_empty() {
            return Err(NothingUp {
                port: self.connect.ctl_port,
            }
            .into());
        }
        Ok(stopped)
    }

    /// What was started here: on the port that was asked for, else all of it if it is one.
    fn places(&self, dirs: &Dirs) -> Result<Vec<(Place, State)>, WashError> {
        let port = match self.connect.ctl_port {
            Some(port) => Some(port),
            None if self.connect.context.is_some() => Some(self.connect.chosen_context()?.ctl_port),
            None => None,
        };
        let known: Vec<(Place, State)> = Place::all(&dirs.up())
            .into_iter()
            .filter_map(|place| place.read().map(|state| (place, state)))
            .collect();
        Ok(match port {
            Some(port) => known
                .into_iter()
                .filter(|(place, _)| place.port() == Some(port))
                .collect(),
            None if self.all => known,
            None => {
                let context = self.connect.chosen_context()?;
                let usual: Vec<u16> = known.iter().filter_map(|(place, _)| place.port()).collect();
                // With one lattice here there is no doubt which is meant.
                let single = usual.iter().all(|port| usual.first() == Some(port));
                let wanted = if single {
                    usual.first().copied()
                } else {
                    Some(context.ctl_port)
                };
                known
                    .into_iter()
                    .filter(|(place, _)| place.port() == wanted)
                    .collect()
            }
        })
    }

    async fn stop_everybody(&self, stopped: &mut Stopped) -> Result<(), WashError> {
        let lattice = match NatsLattice::connect(&self.connect).await {
            Ok(lattice) => lattice,
            // Without NATS there is nobody to ask; what runs here is stopped below.
            Err(error) if error.exit() == crate::exit::Exit::Unreachable => return Ok(()),
            Err(error) => return Err(error),
        };
        for host in lattice.ping_hosts(lattice.timeout()).await? {
            lattice.stop_host(&host.id, None).await?;
            stopped.hosts.push(host.id.to_string());
        }
        Ok(())
    }

    async fn purge(&self) -> Result<Vec<String>, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        let jetstream = lattice.jetstream();
        let mut buckets = Vec::new();
        let mut streams: Vec<&str> = Vec::new();
        if matches!(self.purge_jetstream, Purge::All | Purge::Wasmcloud) {
            buckets.push(bucket::lattice_data(lattice.name()));
            buckets.push(bucket::config_data(lattice.name()));
        }
        if matches!(self.purge_jetstream, Purge::All | Purge::Wadm) {
            let ours = [
                wadm::MANIFEST_BUCKET,
                wadm::STATE_BUCKET,
                wadm::CONTROL_BUCKET,
            ];
            buckets.extend(ours.map(str::to_owned));
            streams.extend(wadm::UPSTREAM_STREAMS);
        }
        let mut purged = Vec::new();
        for name in buckets {
            if jetstream.delete_key_value(&name).await.is_ok() {
                purged.push(name);
            }
        }
        for name in streams {
            if jetstream.delete_stream(name).await.is_ok() {
                purged.push(name.to_owned());
            }
        }
        Ok(purged)
    }
}

/// Ends one `up`: its supervisor does it in order; what is left after that is ended here.
async fn stop(place: &Place, state: &State) {
    state.supervisor.signal(Signal::SIGTERM);
    if !state.supervisor.gone_within(GRACE).await {
        state.supervisor.signal(Signal::SIGKILL);
        state.supervisor.gone_within(PART_GRACE).await;
    }
    for process in state.children() {
        if process.is_alive() {
            process.end(PART_GRACE).await;
        }
    }
    place.clear();
}
