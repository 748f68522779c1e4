//! `wash app list`, `get` and `history`: what wadm has stored.

use proto::wadm_api::{ModelSummary, VersionInfo};
use serde_json::{Map, Value};

use crate::cli::Outcome;
use crate::cmd::watch::Watch;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{NatsLattice, WadmOps};
use crate::output::table::{Rows, or_dash};
use crate::output::{Answer, Printer, Style, keys, value};

/// `wash app list`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash app get`.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// Name of the application [default: list all]
    pub name: Option<String>,
    /// Version [default: the newest]
    pub version: Option<String>,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash app history`.
#[derive(Debug, clap::Args)]
pub struct History {
    /// Name of the application
    pub name: String,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// Applications.
pub struct Applications {
    applications: Vec<ModelSummary>,
}

impl Answer for Applications {
    fn text(&self, style: &Style) -> String {
        let empty = "No applications. Deploy one with `wash app deploy FILE`.";
        let headings = [
            "NAME",
            "DEPLOYED",
            "NEWEST",
            "STATUS",
            "DESCRIPTION",
            "MESSAGE",
        ];
        let mut rows = Rows::new(style, headings, empty);
        for application in &self.applications {
            rows.row([
                application.name.clone(),
                or_dash(application.deployed_version.clone().unwrap_or_default()),
                application.version.clone(),
                application.status.to_string(),
                or_dash(application.description.clone().unwrap_or_default()),
                or_dash(application.status_message.clone().unwrap_or_default()),
            ]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("applications", value(&self.applications))])
    }
}

/// A stored manifest.
pub struct Stored {
    application: Value,
}

impl Answer for Stored {
    fn text(&self, _: &Style) -> String {
        serde_yaml::to_string(&self.application)
            .unwrap_or_default()
            .trim_end()
            .to_owned()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("application", self.application.clone())])
    }
}

/// The versions of an application.
pub struct Versions {
    revisions: Vec<VersionInfo>,
}

impl Answer for Versions {
    fn text(&self, style: &Style) -> String {
        let mut rows = Rows::new(style, ["VERSION", "DEPLOYED"], "No versions.");
        for revision in &self.revisions {
            let deployed = if revision.deployed { "yes" } else { "-" };
            rows.row([revision.version.clone(), deployed.into()]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("revisions", value(&self.revisions))])
    }
}

async fn list(
    lattice: &NatsLattice,
    watch: &Watch,
    printer: &Printer,
) -> Result<Outcome, WashError> {
    watch
        .run(printer, async || {
            Ok(Applications {
                applications: lattice.applications().await?,
            })
        })
        .await
}

impl List {
    /// Asks and shows.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        list(&lattice, &self.watch, printer).await
    }
}

impl Get {
    /// Asks and shows.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        match &self.name {
            None => list(&lattice, &self.watch, printer).await,
            Some(name) => {
                let application = lattice.manifest(name, self.version.as_deref()).await?;
                Ok(Stored { application }.into())
            }
        }
    }
}

impl History {
    /// Asks and shows.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        Ok(Versions {
            revisions: lattice.versions(&self.name).await?,
        }
        .into())
    }
}
