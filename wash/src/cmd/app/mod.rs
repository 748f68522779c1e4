//! `wash app`: applications, as wadm keeps them running.

mod deploy;
mod list;
mod plan;
mod remove;
pub mod source;
mod status;
mod validate;

use std::path::Path;

use proto::manifest::Manifest;

use source::{Source, SourceError};

use crate::cli::Outcome;
use crate::error::WashError;
use crate::lattice::{Lattice, LatticeError, WadmOps};
use crate::output::Printer;

/// Deploy applications and see how they do.
#[derive(Debug, clap::Subcommand)]
pub enum AppCommand {
    /// Deploy an application: a file, standard input, a URL, or a stored name
    Deploy(deploy::Deploy),
    /// See how an application does: per component and host, with reasons
    Status(status::AppStatus),
    /// List the applications
    List(list::List),
    /// Store a manifest without deploying it
    Put(deploy::Put),
    /// Print a stored manifest
    Get(list::Get),
    /// List the stored versions of an application
    History(list::History),
    /// Stop an application; its manifest stays stored
    Undeploy(remove::Undeploy),
    /// Delete an application, or one version of it
    #[command(alias = "del")]
    Delete(remove::Delete),
    /// Check a manifest without a lattice
    Validate(validate::Validate),
    /// Show what a deploy would change; exit code 2 when it would
    Plan(plan::PlanApp),
    /// Try again now what has failed, without waiting for the next attempt
    Retry(plan::Retry),
    /// Print the JSON Schema of manifests, for editors
    Schema,
}

impl AppCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Deploy(deploy) => deploy.run(printer).await,
            Self::Status(status) => status.run(printer).await,
            Self::List(list) => list.run(printer).await,
            Self::Put(put) => put.run().await,
            Self::Get(get) => get.run(printer).await,
            Self::History(history) => history.run().await,
            Self::Undeploy(undeploy) => undeploy.run().await,
            Self::Delete(delete) => delete.run().await,
            Self::Validate(validate) => validate.run(printer).await,
            Self::Plan(plan) => plan.run().await,
            Self::Retry(retry) => retry.run().await,
            Self::Schema => Ok(validate::Schema.into()),
        }
    }
}

/// A manifest as wadm gets it: strict JSON.
fn to_json(manifest: &Manifest) -> Result<Vec<u8>, LatticeError> {
    serde_json::to_vec(manifest).map_err(|source| LatticeError::Unreadable {
        what: "the manifest".into(),
        source,
    })
}

/// The name of an application that was given by name or by its manifest's file.
async fn name_of(given: &str) -> Result<String, SourceError> {
    match Source::of(Some(given)) {
        Source::Name(name) => Ok(name),
        source => Ok(source.manifest().await?.metadata.name),
    }
}

/// Puts and deploys the manifest of `wash up --wadm-manifest`.
pub async fn deploy_at_start<L: Lattice>(lattice: &L, file: &Path) -> Result<(), StartError> {
    let manifest = Source::File(file.to_owned()).manifest().await?;
    let (name, version) = deploy::put_or_known(lattice, &manifest).await?;
    lattice.deploy(&name, Some(&version)).await?;
    Ok(())
}

/// Why the manifest of `wash up` was not deployed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// wadm refused it.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
}

impl crate::error::Advice for StartError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lattice(error) => error.hint(),
        }
    }
}
