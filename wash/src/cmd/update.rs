//! `wash update component`.

use proto::ComponentId;
use proto::ctl::UpdateComponentCommand;

use super::stop::locate;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{LatticeError, LatticeOps, NatsLattice, image_reference};
use crate::output::Done;

/// Change the image of a component that runs.
#[derive(Debug, clap::Subcommand)]
pub enum UpdateCommand {
    /// Update a component on one host
    Component(UpdateComponent),
}

/// `wash update component`.
#[derive(Debug, clap::Args)]
pub struct UpdateComponent {
    /// Id on the lattice
    pub component_id: String,
    /// Image reference or file
    pub new_component_ref: String,
    /// Host, by id, start of the id, or part of its name [default: the one it runs on]
    #[arg(long, value_name = "HOST")]
    pub host_id: Option<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl UpdateCommand {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let Self::Component(update) = self;
        let id = ComponentId::new(update.component_id).map_err(LatticeError::from)?;
        let lattice = NatsLattice::connect(&update.connect).await?;
        let host = locate(&lattice, "component", &id, update.host_id.as_deref())
            .await?
            .host;
        let command = UpdateComponentCommand {
            component_id: id,
            host_id: host.to_string(),
            new_component_ref: image_reference(&update.new_component_ref),
            annotations: None,
            fence: None,
        };
        let message = lattice.update(&host, &command).await?;
        Ok(Done::new(message.clone()).with("result", message).into())
    }
}
