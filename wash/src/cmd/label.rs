//! `wash label`: labels of a host, set and removed while it runs.

use proto::ctl::HostLabel;
use serde_json::{Map, Value, json};

use super::up::parse_label;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{UsageError, WashError};
use crate::lattice::{LatticeOps, NatsLattice, find_host};
use crate::output::{Answer, Style, keys};

/// `wash label`.
#[derive(Debug, clap::Args)]
pub struct LabelCommand {
    /// Host, by id, start of the id, or part of its name
    pub host_id: String,
    /// Labels, key=value; with --delete, keys
    #[arg(required = true, value_delimiter = ',', value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Remove them
    #[arg(long)]
    pub delete: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// What was set or removed.
pub struct Labelled {
    host: String,
    deleted: bool,
    processed: Vec<(String, String)>,
}

impl Answer for Labelled {
    fn text(&self, _: &Style) -> String {
        let each = self
            .processed
            .iter()
            .map(|(key, value)| match self.deleted {
                true => key.clone(),
                false => format!("{key}={value}"),
            });
        let verb = if self.deleted { "Removed" } else { "Set" };
        format!(
            "{verb} {} on {}",
            each.collect::<Vec<_>>().join(", "),
            self.host
        )
    }

    fn json(&self) -> Map<String, Value> {
        keys([
            ("deleted", self.deleted.into()),
            ("processed", json!(self.processed)),
        ])
    }
}

impl LabelCommand {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let labels = self.read()?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let host = find_host(&lattice, &self.host_id).await?;
        for (key, value) in &labels {
            if self.delete {
                lattice.delete_label(&host, key).await?;
            } else {
                lattice
                    .put_label(
                        &host,
                        &HostLabel {
                            key: key.clone(),
                            value: value.clone(),
                        },
                    )
                    .await?;
            }
        }
        Ok(Labelled {
            host: host.to_string(),
            deleted: self.delete,
            processed: labels,
        }
        .into())
    }

    fn read(&self) -> Result<Vec<(String, String)>, UsageError> {
        let read = |text: &String| match (self.delete, text.split_once('=')) {
            (true, Some((key, value))) => Ok((key.to_owned(), value.to_owned())),
            (true, None) => Ok((text.clone(), String::new())),
            (false, _) => parse_label(text).map_err(|message| {
                UsageError::new(
                    message,
                    "write it as key=value, e.g. zone=us-east; remove one with --delete KEY",
                )
            }),
        };
        self.labels.iter().map(read).collect()
    }
}
