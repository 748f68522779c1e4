//! `wash host cordon|uncordon|drain`: a host that gets nothing new, or gives up what it has, and stays up.

use std::ffi::OsString;
use std::time::Duration;

use proto::HostId;
use proto::ctl::{HostInventory, HostLabel};
use proto::names::{CORDON_LABEL, DRAIN_LABEL, MANAGED_BY, MANAGER};

use super::watch::interval;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, WashError};
use crate::exit::Exit;
use crate::lattice::{LatticeOps, NatsLattice, find_host};
use crate::output::{Done, Printer};

/// How often the host is asked what is left.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Whether what stands after `wash host` is one of these commands; anything else is the daemon's.
pub fn asked(arguments: &[OsString]) -> bool {
    let operation = arguments.get(2).and_then(|argument| argument.to_str());
    operation.is_some_and(<HostCommand as clap::Subcommand>::has_subcommand)
}

/// Cordon and drain a host.
#[derive(Debug, clap::Subcommand)]
pub enum HostCommand {
    /// Let a host have nothing new; what it runs stays
    Cordon(HostName),
    /// Let a host have new work again, after cordon or drain
    Uncordon(HostName),
    /// Move what a host runs to other hosts, which start it first; the host stays up
    Drain(DrainHost),
}

/// `wash host cordon` and `wash host uncordon`.
#[derive(Debug, clap::Args)]
pub struct HostName {
    /// Host, by id, start of the id, or part of its name
    pub host_id: String,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash host drain`.
#[derive(Debug, clap::Args)]
pub struct DrainHost {
    /// Host, by id, start of the id, or part of its name
    pub host_id: String,
    /// How long to wait until it is empty; 0s waits not at all
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = deadline)]
    pub deadline: Duration,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

fn deadline(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" {
        return Ok(Duration::ZERO);
    }
    interval(text)
}

/// It did not become empty in time.
#[derive(Debug, thiserror::Error)]
#[error("host {host} still runs {} after {waited:?}", left.join(", "))]
pub struct NotEmpty {
    host: HostId,
    left: Vec<String>,
    waited: Duration,
}

impl Advice for NotEmpty {
    fn hint(&self) -> Option<String> {
        Some(
            "see with `wash app status` what has nowhere to go; what can, goes on moving until \
             `wash host uncordon`"
                .into(),
        )
    }

    fn exit(&self) -> Exit {
        Exit::NotReached
    }
}

impl HostCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Cordon(name) => {
                let (lattice, host) = name.find().await?;
                mark(&lattice, &host, CORDON_LABEL).await?;
                Ok(done(&host, "gets nothing new; what it runs stays", "cordoned").into())
            }
            Self::Uncordon(name) => {
                let (lattice, host) = name.find().await?;
                for label in [DRAIN_LABEL, CORDON_LABEL] {
                    lattice.delete_label(&host, label).await?;
                }
                Ok(done(&host, "takes new work again", "uncordoned").into())
            }
            Self::Drain(drain) => drain.run(printer).await,
        }
    }
}

impl HostName {
    async fn find(&self) -> Result<(NatsLattice, HostId), WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        let host = find_host(&lattice, &self.host_id).await?;
        Ok((lattice, host))
    }
}

impl DrainHost {
    async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        let host = find_host(&lattice, &self.host_id).await?;
        mark(&lattice, &host, DRAIN_LABEL).await?;
        if self.deadline.is_zero() {
            return Ok(done(&host, "gives up what it runs", "draining").into());
        }
        let _progress = printer.progress(format!("moving what host {host} runs"));
        let end = tokio::time::Instant::now() + self.deadline;
        loop {
            let left = managed(&lattice.inventory(&host).await?);
            if left.is_empty() {
                return Ok(done(&host, "is empty, and stays up", "drained").into());
            }
            if tokio::time::Instant::now() >= end {
                let waited = self.deadline;
                return Err(NotEmpty { host, left, waited }.into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn mark(lattice: &NatsLattice, host: &HostId, label: &str) -> Result<(), WashError> {
    let label = HostLabel {
        key: label.to_owned(),
        value: "true".to_owned(),
    };
    lattice.put_label(host, &label).await?;
    Ok(())
}

fn done(host: &HostId, what: &str, state: &str) -> Done {
    Done::new(format!("Host {host} {what}"))
        .with("host_id", host.as_str())
        .with("state", state)
}

/// What the controller put on the host: that is what it moves.
fn managed(inventory: &HostInventory) -> Vec<String> {
    let ours = |annotations: Option<&proto::Annotations>| {
        annotations
            .and_then(|marks| marks.get(MANAGED_BY))
            .is_some_and(|by| by == MANAGER)
    };
    let components = inventory.components.iter();
    let components = components
        .filter(|component| ours(component.annotations.as_ref()))
        .map(|component| component.id.to_string());
    let providers = inventory.providers.iter();
    let providers = providers
        .filter(|provider| ours(provider.annotations.as_ref()))
        .map(|provider| provider.id.to_string());
    components.chain(providers).collect()
}
