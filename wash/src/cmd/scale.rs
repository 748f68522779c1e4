//! `wash scale component`.

use proto::ComponentId;
use proto::ctl::ScaleComponentCommand;

use super::config::key_values;
use super::get::instances;
use super::link::config_names;
use super::start::{COMPONENT_WAIT, scale_and_wait, wait_limit};
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{LatticeError, NatsLattice, find_host, image_reference};
use crate::output::{Done, Printer};

/// Change how many instances of a component run.
#[derive(Debug, clap::Subcommand)]
pub enum ScaleCommand {
    /// Scale a component on one host
    Component(ScaleComponent),
}

/// `wash scale component`.
#[derive(Debug, clap::Args)]
pub struct ScaleComponent {
    /// Host, by id, start of the id, or part of its name
    pub host_id: String,
    /// Image reference or file
    pub component_ref: String,
    /// Id on the lattice
    pub component_id: String,
    /// How many instances may run at once [default: no limit]; 0 stops it
    #[arg(short = 'c', long, aliases = ["max-concurrent", "max", "count"], default_value_t = u32::MAX, hide_default_value = true)]
    pub max_instances: u32,
    /// Annotation, key=value; repeat for more
    #[arg(short = 'a', long, value_name = "KEY=VALUE")]
    pub annotations: Vec<String>,
    /// Named configuration; repeat for more
    #[arg(long, value_name = "NAME")]
    pub config: Vec<String>,
    /// Do not wait until it is done
    #[arg(long)]
    pub skip_wait: bool,
    /// Milliseconds to wait until it is done
    #[arg(long, value_name = "MS")]
    pub wait_timeout_ms: Option<u64>,
    /// Change the image if it runs with another
    #[arg(long)]
    pub allow_update: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl ScaleCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let Self::Component(scale) = self;
        let id = ComponentId::new(scale.component_id).map_err(LatticeError::from)?;
        let reference = image_reference(&scale.component_ref);
        let annotations = key_values(&scale.annotations)?;
        let config = config_names(&scale.config)?;
        let lattice = NatsLattice::connect(&scale.connect).await?;
        let host = find_host(&lattice, &scale.host_id).await?;
        let command = ScaleComponentCommand {
            component_ref: reference.clone(),
            component_id: id.clone(),
            count: scale.max_instances,
            annotations: (!annotations.is_empty()).then_some(annotations),
            component_limits: None,
            host_id: host.to_string(),
            config,
            allow_update: scale.allow_update,
            fence: None,
        };
        let usual = scale
            .wait_timeout_ms
            .map_or(COMPONENT_WAIT, std::time::Duration::from_millis);
        let limit = wait_limit(&scale.connect, usual);
        let result =
            scale_and_wait(&lattice, &host, &command, scale.skip_wait, limit, printer).await?;
        let text = match scale.max_instances {
            0 => format!("{id} stopped on {host}"),
            count => format!("{id} on {host}: instances at once: {}", instances(count)),
        };
        Ok(Done::new(text)
            .with("host_id", host.as_str())
            .with("component_id", id.as_str())
            .with("component_ref", reference)
            .with("result", result)
            .into())
    }
}
