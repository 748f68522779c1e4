//! `wash start`: a component or a provider by hand, without an application.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::ctl::{
    ComponentAuctionRequest, ProviderAuctionRequest, ScaleComponentCommand, StartProviderCommand,
};
use proto::event::Event;
use proto::{ComponentId, HostId};

use super::config::key_values;
use super::link::config_names;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, WashError};
use crate::exit::Exit;
use crate::lattice::{
    Lattice, LatticeError, LatticeOps, NatsLattice, Watching, find_host, image_reference, wait_for,
};
use crate::output::{Done, Printer};

/// How long a component may take to start unless told otherwise.
pub const COMPONENT_WAIT: Duration = Duration::from_secs(10);
/// How long a provider may take to start.
const PROVIDER_WAIT: Duration = Duration::from_secs(60);

/// Start a component or a provider.
#[derive(Debug, clap::Subcommand)]
pub enum StartCommand {
    /// Start a component
    Component(StartComponent),
    /// Start a provider
    Provider(StartProvider),
}

/// Where to start something.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// Host, by id, start of the id, or part of its name [default: any that fits]
    #[arg(long, value_name = "HOST")]
    pub host_id: Option<String>,
    /// Label the host must have, key=value; repeat for more
    #[arg(short = 'c', long = "constraint", value_name = "LABEL")]
    pub constraints: Vec<String>,
    /// Milliseconds to wait for hosts to offer themselves
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub auction_timeout_ms: u64,
    /// Do not wait until it runs
    #[arg(long)]
    pub skip_wait: bool,
}

/// `wash start component`.
#[derive(Debug, clap::Args)]
pub struct StartComponent {
    /// Image reference or file
    pub component_ref: String,
    /// Id on the lattice
    pub component_id: String,
    /// How many instances may run at once
    #[arg(long, aliases = ["max-concurrent", "max", "count"], default_value_t = 1)]
    pub max_instances: u32,
    /// Named configuration; repeat for more
    #[arg(long, value_name = "NAME")]
    pub config: Vec<String>,
    /// Change the image if it runs with another
    #[arg(long)]
    pub allow_update: bool,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash start provider`.
#[derive(Debug, clap::Args)]
pub struct StartProvider {
    /// Image reference, file, or wasmcloud+builtin://NAME
    pub provider_ref: String,
    /// Id on the lattice
    pub provider_id: String,
    /// Accepted for upstream's scripts; links have names, providers have none
    #[arg(short = 'l', long, default_value = "default", hide = true)]
    pub link_name: String,
    /// Named configuration; repeat for more
    #[arg(long, value_name = "NAME")]
    pub config: Vec<String>,
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// No host offered itself.
#[derive(Debug, thiserror::Error)]
pub enum AuctionError {
    /// There is no host at all.
    #[error("no host answers on lattice `{0}`")]
    NoHosts(proto::Lattice),
    /// Hosts there are, but none that fits.
    #[error(
        "none of {hosts} host(s) can run `{id}`{}",
        constraints_text(constraints)
    )]
    NoneFits {
        /// How many hosts there are.
        hosts: usize,
        /// What was to be started.
        id: String,
        /// What was asked of the host.
        constraints: BTreeMap<String, String>,
    },
}

fn constraints_text(constraints: &BTreeMap<String, String>) -> String {
    let each: Vec<String> = constraints
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if each.is_empty() {
        String::new()
    } else {
        format!(" with {}", each.join(", "))
    }
}

impl Advice for AuctionError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoHosts(_) => {
                "start one with `wash up`, or name another lattice with --lattice".into()
            }
            Self::NoneFits { .. } => {
                "see labels with `wash get hosts` and what runs already with `wash get inventory`"
                    .into()
            }
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NoHosts(_) => Exit::Unreachable,
            Self::NoneFits { .. } => Exit::Failed,
        }
    }
}

impl StartCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Component(start) => {
                let lattice = NatsLattice::connect(&start.connect).await?;
                Ok(start.run(&lattice, printer).await?.into())
            }
            Self::Provider(start) => {
                let lattice = NatsLattice::connect(&start.connect).await?;
                Ok(start.run(&lattice, printer).await?.into())
            }
        }
    }
}

/// How long to wait for the event: as long as asked for, else as long as usual.
pub fn wait_limit(connect: &ConnectOptions, usual: Duration) -> Duration {
    connect.timeout_ms.map_or(usual, Duration::from_millis)
}

/// Says that nobody could, after asking how many were asked.
async fn nobody<L: Lattice>(
    lattice: &L,
    id: &ComponentId,
    constraints: BTreeMap<String, String>,
) -> Result<HostId, WashError> {
    let hosts = lattice.ping_hosts(lattice.timeout()).await?.len();
    Err(match hosts {
        0 => AuctionError::NoHosts(lattice.name().clone()),
        hosts => AuctionError::NoneFits {
            hosts,
            id: id.to_string(),
            constraints,
        },
    }
    .into())
}

impl StartComponent {
    async fn host<L: Lattice>(&self, lattice: &L, id: &ComponentId) -> Result<HostId, WashError> {
        if let Some(term) = &self.place.host_id {
            return Ok(find_host(lattice, term).await?);
        }
        let constraints = key_values(&self.place.constraints)?;
        let request = ComponentAuctionRequest {
            component_ref: image_reference(&self.component_ref),
            component_id: id.clone(),
            constraints: constraints.clone(),
        };
        let wait = Duration::from_millis(self.place.auction_timeout_ms);
        match lattice
            .auction_component(&request, wait)
            .await?
            .into_iter()
            .next()
        {
            Some(ack) => Ok(HostId::new(ack.host_id).map_err(LatticeError::from)?),
            None => nobody(lattice, id, constraints).await,
        }
    }

    async fn run<L: Lattice>(self, lattice: &L, printer: &Printer) -> Result<Done, WashError> {
        let id = ComponentId::new(self.component_id.as_str()).map_err(LatticeError::from)?;
        let reference = image_reference(&self.component_ref);
        let host = self.host(lattice, &id).await?;
        let command = ScaleComponentCommand {
            component_ref: reference.clone(),
            component_id: id.clone(),
            count: self.max_instances,
            annotations: None,
            component_limits: None,
            host_id: host.to_string(),
            config: config_names(&self.config)?,
            allow_update: self.allow_update,
            fence: None,
        };
        let result = scale_and_wait(
            lattice,
            &host,
            &command,
            self.place.skip_wait,
            wait_limit(&self.connect, COMPONENT_WAIT),
            printer,
        )
        .await?;
        let text = match self.place.skip_wait {
            true => format!("Start of {id} requested on {host}"),
            false => format!(
                "{id} runs on {host}, at most {} instance(s) at once",
                self.max_instances
            ),
        };
        Ok(Done::new(text)
            .with("result", result)
            .with("component_ref", reference)
            .with("component_id", id.as_str())
            .with("host_id", host.as_str()))
    }
}

/// Sends a scale request and waits for the event that tells how it went.
pub async fn scale_and_wait<L: Lattice>(
    lattice: &L,
    host: &HostId,
    command: &ScaleComponentCommand,
    skip_wait: bool,
    limit: Duration,
    printer: &Printer,
) -> Result<String, WashError> {
    let mut watching =
        Watching::start(lattice, &["component_scaled", "component_scale_failed"]).await?;
    let remark = lattice.scale(host, command).await?;
    if !remark.is_empty() {
        printer.warn(&remark);
    }
    if skip_wait {
        return Ok("Scale command accepted".into());
    }
    let what = format!("scaling {} to {}", command.component_id, command.count);
    let _progress = printer.progress(what.clone());
    wait_for(&mut watching, &what, limit, |event| match event {
        Event::ComponentScaled(scaled)
            if scaled.host_id == *host && scaled.component_id == command.component_id =>
        {
            Some(Ok(()))
        }
        Event::ComponentScaleFailed(failed)
            if failed.host_id == *host && failed.component_id == command.component_id =>
        {
            Some(Err(failed.error.clone()))
        }
        _ => None,
    })
    .await?;
    Ok(format!(
        "Component {} scaled to {}",
        command.component_id, command.count
    ))
}

impl StartProvider {
    async fn host<L: Lattice>(&self, lattice: &L, id: &ComponentId) -> Result<HostId, WashError> {
        if let Some(term) = &self.place.host_id {
            return Ok(find_host(lattice, term).await?);
        }
        let constraints = key_values(&self.place.constraints)?;
        let request = ProviderAuctionRequest {
            provider_ref: image_reference(&self.provider_ref),
            provider_id: id.clone(),
            constraints: constraints.clone(),
        };
        let wait = Duration::from_millis(self.place.auction_timeout_ms);
        match lattice
            .auction_provider(&request, wait)
            .await?
            .into_iter()
            .next()
        {
            Some(ack) => Ok(HostId::new(ack.host_id).map_err(LatticeError::from)?),
            None => nobody(lattice, id, constraints).await,
        }
    }

    async fn run<L: Lattice>(self, lattice: &L, printer: &Printer) -> Result<Done, WashError> {
        let id = ComponentId::new(self.provider_id.as_str()).map_err(LatticeError::from)?;
        let reference = image_reference(&self.provider_ref);
        let host = self.host(lattice, &id).await?;
        let command = StartProviderCommand {
            provider_id: id.clone(),
            provider_ref: reference.clone(),
            host_id: host.to_string(),
            config: config_names(&self.config)?,
            annotations: None,
            fence: None,
        };
        let mut watching =
            Watching::start(lattice, &["provider_started", "provider_start_failed"]).await?;
        lattice.start_provider(&host, &command).await?;
        if !self.place.skip_wait {
            let what = format!("starting provider {id}");
            let _progress = printer.progress(what.clone());
            let limit = wait_limit(&self.connect, PROVIDER_WAIT);
            wait_for(&mut watching, &what, limit, |event| match event {
                Event::ProviderStarted(started)
                    if started.host_id == host && started.provider_id == id =>
                {
                    Some(Ok(()))
                }
                Event::ProviderStartFailed(failed)
                    if failed.host_id == host && failed.provider_id == id =>
                {
                    Some(Err(failed.error.clone()))
                }
                _ => None,
            })
            .await?;
        }
        let result = if self.place.skip_wait {
            "start requested"
        } else {
            "started"
        };
        Ok(Done::new(format!("Provider {id} {result} on {host}"))
            .with("result", format!("Provider {id} {result}"))
            .with("provider_ref", reference)
            .with("provider_id", id.as_str())
            .with("link_name", self.link_name)
            .with("host_id", host.as_str()))
    }
}
