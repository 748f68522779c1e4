//! `wash app undeploy` and `delete`.

use serde_json::json;

use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{UsageError, WashError};
use crate::lattice::{NatsLattice, WadmOps};
use crate::output::{Done, value};

/// `wash app undeploy`.
#[derive(Debug, clap::Args)]
pub struct Undeploy {
    /// Name of the application, or its manifest's file
    pub name: Option<String>,
    /// Undeploy all applications
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash app delete`.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Name of the application, or its manifest's file
    pub name: Option<String>,
    /// Version [default: all of them]
    pub version: Option<String>,
    /// Delete every application that is not deployed
    #[arg(long, conflicts_with = "name")]
    pub all_undeployed: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl Undeploy {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let names = match (&self.name, self.all) {
            (Some(name), _) => Some(vec![super::name_of(name).await?]),
            (None, true) => None,
            (None, false) => {
                return Err(UsageError::new(
                    "no application was named",
                    "name one (`wash app list` shows them), or add --all",
                )
                .into());
            }
        };
        let lattice = NatsLattice::connect(&self.connect).await?;
        let names = match names {
            Some(names) => names,
            None => {
                let all = lattice.applications().await?;
                all.into_iter()
                    .filter(|app| app.deployed_version.is_some())
                    .map(|app| app.name)
                    .collect()
            }
        };
        let mut results = Vec::new();
        for name in &names {
            results.push(value(&lattice.undeploy(name).await?));
        }
        let text = match names.as_slice() {
            [] => "No application is deployed".to_owned(),
            names => format!("Undeployed {}", names.join(", ")),
        };
        Ok(Done::new(text)
            .with("results", results)
            .with("undeployed_application_names", names)
            .into())
    }
}

impl Delete {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let Some(name) = &self.name else {
            if self.all_undeployed {
                return self.all_undeployed().await;
            }
            return Err(UsageError::new(
                "no application was named",
                "name one (`wash app list` shows them), or add --all-undeployed",
            )
            .into());
        };
        let name = super::name_of(name).await?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let (deleted, message) = lattice.delete(&name, self.version.as_deref()).await?;
        Ok(Done::new(message.clone())
            .with("deleted", deleted)
            .with("message", message)
            .into())
    }

    async fn all_undeployed(&self) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        let all = lattice.applications().await?;
        let mut deleted = Vec::new();
        for application in all
            .into_iter()
            .filter(|application| application.deployed_version.is_none())
        {
            lattice.delete(&application.name, None).await?;
            deleted.push(
                json!({"model_name": application.name, "model_version": application.version}),
            );
        }
        let text = format!("Deleted {} application(s)", deleted.len());
        Ok(Done::new(text).with("deleted_applications", deleted).into())
    }
}
