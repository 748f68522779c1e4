//! `wash stop`: a component, a provider or a host.

use std::time::Duration;

use proto::ctl::{HostInventory, ScaleComponentCommand, StopProviderCommand};
use proto::event::Event;
use proto::{ComponentId, HostId};

use super::start::{COMPONENT_WAIT, scale_and_wait, wait_limit};
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, WashError};
use crate::exit::Exit;
use crate::lattice::{
    Lattice, LatticeError, LatticeOps, NatsLattice, Watching, find_host, wait_for,
};
use crate::output::{Done, Printer};

/// How long a provider may take to stop.
const PROVIDER_WAIT: Duration = Duration::from_secs(10);

/// Stop a component, a provider or a host.
#[derive(Debug, clap::Subcommand)]
pub enum StopCommand {
    /// Stop a component
    Component(StopOne),
    /// Stop a provider
    Provider(StopOne),
    /// Stop a host
    Host(StopHost),
}

/// `wash stop component` and `wash stop provider`.
#[derive(Debug, clap::Args)]
pub struct StopOne {
    /// Id on the lattice
    pub id: String,
    /// Host, by id, start of the id, or part of its name [default: the one it runs on]
    #[arg(long, value_name = "HOST")]
    pub host_id: Option<String>,
    /// Do not wait until it has stopped
    #[arg(long)]
    pub skip_wait: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash stop host`.
#[derive(Debug, clap::Args)]
pub struct StopHost {
    /// Host, by id, start of the id, or part of its name
    pub host_id: String,
    /// Milliseconds it may take to finish calls
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub host_timeout: u64,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// Why it is not clear what to stop or update.
#[derive(Debug, thiserror::Error)]
pub enum WhereError {
    /// It runs nowhere.
    #[error("{kind} `{id}` runs on no host of the lattice")]
    Nowhere {
        /// component or provider
        kind: &'static str,
        /// Its id.
        id: String,
    },
    /// It does not run on that host.
    #[error("{kind} `{id}` does not run on host {host}")]
    NotThere {
        /// component or provider
        kind: &'static str,
        /// Its id.
        id: String,
        /// The host.
        host: HostId,
    },
    /// It runs in several places.
    #[error("{kind} `{id}` runs on several hosts: {}", hosts.join(", "))]
    Several {
        /// component or provider
        kind: &'static str,
        /// Its id.
        id: String,
        /// Each as `id (name)`.
        hosts: Vec<String>,
    },
}

impl Advice for WhereError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Nowhere { .. } | Self::NotThere { .. } => {
                "see what runs with `wash get inventory`".into()
            }
            Self::Several { .. } => "name one with --host-id".into(),
        })
    }

    fn exit(&self) -> Exit {
        Exit::Failed
    }
}

/// A component and where it runs.
pub struct Found {
    /// The host.
    pub host: HostId,
    /// Its image there.
    pub image: String,
}

fn image_on(inventory: &HostInventory, kind: &'static str, id: &ComponentId) -> Option<String> {
    if kind == "provider" {
        let provider = inventory
            .providers
            .iter()
            .find(|provider| provider.id == *id)?;
        return Some(provider.image_ref.clone().unwrap_or_default());
    }
    let component = inventory
        .components
        .iter()
        .find(|component| component.id == *id)?;
    Some(component.image_ref.clone())
}

/// Where something runs: on the host that was named, or on the only one.
pub async fn locate<L: Lattice>(
    lattice: &L,
    kind: &'static str,
    id: &ComponentId,
    host: Option<&str>,
) -> Result<Found, WashError> {
    if let Some(term) = host {
        let host = find_host(lattice, term).await?;
        let inventory = lattice.inventory(&host).await?;
        return match image_on(&inventory, kind, id) {
            Some(image) => Ok(Found { host, image }),
            None => Err(WhereError::NotThere {
                kind,
                id: id.to_string(),
                host,
            }
            .into()),
        };
    }
    let inventories = lattice.inventories().await?;
    let mut found: Vec<(&HostInventory, String)> = inventories
        .iter()
        .filter_map(|inventory| Some((inventory, image_on(inventory, kind, id)?)))
        .collect();
    match found.len() {
        0 => Err(WhereError::Nowhere {
            kind,
            id: id.to_string(),
        }
        .into()),
        1 => {
            let (inventory, image) = found.remove(0);
            Ok(Found {
                host: HostId::new(inventory.host_id.as_str()).map_err(LatticeError::from)?,
                image,
            })
        }
        _ => {
            let hosts = found
                .iter()
                .map(|(host, _)| format!("{} ({})", host.host_id, host.friendly_name));
            Err(WhereError::Several {
                kind,
                id: id.to_string(),
                hosts: hosts.collect(),
            }
            .into())
        }
    }
}

impl StopCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Component(stop) => {
                let lattice = NatsLattice::connect(&stop.connect).await?;
                Ok(stop.component(&lattice, printer).await?.into())
            }
            Self::Provider(stop) => {
                let lattice = NatsLattice::connect(&stop.connect).await?;
                Ok(stop.provider(&lattice, printer).await?.into())
            }
            Self::Host(stop) => {
                let lattice = NatsLattice::connect(&stop.connect).await?;
                let host = find_host(&lattice, &stop.host_id).await?;
                lattice.stop_host(&host, Some(stop.host_timeout)).await?;
                Ok(Done::new(format!("Host {host} is stopping"))
                    .with("result", format!("Host {host} acknowledged stop request"))
                    .into())
            }
        }
    }
}

impl StopOne {
    async fn component<L: Lattice>(
        self,
        lattice: &L,
        printer: &Printer,
    ) -> Result<Done, WashError> {
        let id = ComponentId::new(self.id).map_err(LatticeError::from)?;
        let found = locate(lattice, "component", &id, self.host_id.as_deref()).await?;
        let command = ScaleComponentCommand {
            component_ref: found.image,
            component_id: id.clone(),
            count: 0,
            annotations: None,
            component_limits: None,
            host_id: found.host.to_string(),
            config: Vec::new(),
            allow_update: false,
            fence: None,
        };
        let limit = wait_limit(&self.connect, COMPONENT_WAIT);
        scale_and_wait(
            lattice,
            &found.host,
            &command,
            self.skip_wait,
            limit,
            printer,
        )
        .await?;
        let result = format!(
            "Component {id} {}",
            if self.skip_wait {
                "stop requested"
            } else {
                "stopped"
            }
        );
        Ok(Done::new(format!("{result} on {}", found.host))
            .with("result", result)
            .with("component_id", id.as_str())
            .with("host_id", found.host.as_str()))
    }

    async fn provider<L: Lattice>(self, lattice: &L, printer: &Printer) -> Result<Done, WashError> {
        let id = ComponentId::new(self.id).map_err(LatticeError::from)?;
        let Found { host, .. } = locate(lattice, "provider", &id, self.host_id.as_deref()).await?;
        let mut watching = Watching::start(lattice, &["provider_stopped"]).await?;
        let command = StopProviderCommand {
            host_id: host.to_string(),
            provider_id: id.clone(),
            fence: None,
        };
        lattice.stop_provider(&host, &command).await?;
        if !self.skip_wait {
            let what = format!("stopping provider {id}");
            let _progress = printer.progress(what.clone());
            let limit = wait_limit(&self.connect, PROVIDER_WAIT);
            wait_for(&mut watching, &what, limit, |event| match event {
                Event::ProviderStopped(stopped)
                    if stopped.host_id == host && stopped.provider_id == id =>
                {
                    Some(Ok(()))
                }
                _ => None,
            })
            .await?;
        }
        let result = format!(
            "Provider {id} {}",
            if self.skip_wait {
                "stop requested"
            } else {
                "stopped"
            }
        );
        Ok(Done::new(format!("{result} on {host}"))
            .with("result", result)
            .with("provider_id", id.as_str())
            .with("host_id", host.as_str()))
    }
}
