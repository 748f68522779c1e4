//! `wash config`: named maps of settings.

use std::collections::BTreeMap;

use proto::ConfigName;
use serde_json::{Map, Value};

use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, UsageError, WashError};
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice};
use crate::output::table::Rows;
use crate::output::{Answer, Done, Style};

/// Named configurations.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Write a configuration
    #[command(alias = "create")]
    Put(PutConfig),
    /// Read a configuration
    Get(OneConfig),
    /// Delete a configuration
    #[command(alias = "delete")]
    Del(OneConfig),
}

/// `wash config put`.
#[derive(Debug, clap::Args)]
pub struct PutConfig {
    /// Name
    pub name: String,
    /// Settings, key=value
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub values: Vec<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash config get` and `del`.
#[derive(Debug, clap::Args)]
pub struct OneConfig {
    /// Name
    pub name: String,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// There is no such configuration or secret reference.
#[derive(Debug, thiserror::Error)]
#[error("Configuration not found: `{name}`")]
pub struct NotFound {
    /// Its name.
    pub name: String,
    /// How one is made.
    pub make: &'static str,
}

impl Advice for NotFound {
    fn hint(&self) -> Option<String> {
        Some(format!("write it with `{} {} …`", self.make, self.name))
    }
}

/// Reads `key=value` pairs.
pub fn key_values(pairs: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    pairs
        .iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(UsageError::new(
                format!("`{pair}` is no setting"),
                "write it as key=value",
            )),
        })
        .collect()
}

/// A configuration as it is.
pub struct ConfigMap {
    values: BTreeMap<String, String>,
    marks_success: bool,
}

impl ConfigMap {
    /// Shows a map.
    pub fn new(values: BTreeMap<String, String>, marks_success: bool) -> Self {
        Self {
            values,
            marks_success,
        }
    }
}

impl Answer for ConfigMap {
    fn text(&self, style: &Style) -> String {
        let mut rows = Rows::new(style, ["KEY", "VALUE"], "(empty)");
        for (key, value) in &self.values {
            rows.row([key.clone(), value.clone()]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        self.values
            .iter()
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .collect()
    }

    fn marks_success(&self) -> bool {
        self.marks_success
    }
}

impl ConfigCommand {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        match self {
            Self::Put(put) => {
                let name = plain_name(&put.name)?;
                let values = key_values(&put.values)?;
                let lattice = NatsLattice::connect(&put.connect).await?;
                lattice.put_config(&name, &values).await?;
                Ok(Done::new(format!("Put configuration `{name}`"))
                    .with("message", format!("Config {name} put successfully."))
                    .into())
            }
            Self::Get(get) => {
                let lattice = NatsLattice::connect(&get.connect).await?;
                let values = read(&lattice, &get.name, "wash config put").await?;
                Ok(ConfigMap::new(values, false).into())
            }
            Self::Del(del) => {
                let lattice = NatsLattice::connect(&del.connect).await?;
                let name = ConfigName::new(del.name).map_err(LatticeError::from)?;
                lattice.delete_config(&name).await?;
                Ok(Done::new(format!("Deleted configuration `{name}`"))
                    .with("message", format!("Config {name} deleted successfully."))
                    .into())
            }
        }
    }
}

fn plain_name(text: &str) -> Result<ConfigName, WashError> {
    let name = ConfigName::new(text).map_err(LatticeError::from)?;
    if name.is_secret() {
        return Err(UsageError::new(
            format!("`{text}` starts like a secret reference"),
            "choose another name, or use `wash secrets put`",
        )
        .into());
    }
    Ok(name)
}

/// Reads a configuration that must be there.
pub async fn read<L: Lattice>(
    lattice: &L,
    name: &str,
    make: &'static str,
) -> Result<BTreeMap<String, String>, WashError> {
    let config = ConfigName::new(name).map_err(LatticeError::from)?;
    let found = lattice.config(&config).await?;
    found.ok_or_else(|| {
        NotFound {
            name: name.to_owned(),
            make,
        }
        .into()
    })
}
