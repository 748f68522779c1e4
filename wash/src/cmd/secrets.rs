//! `wash secrets`: references to secrets. The secrets themselves never pass through here.

use std::collections::BTreeMap;

use proto::ConfigName;
use proto::record::SecretReference;

use super::config::{ConfigMap, NotFound, OneConfig, key_values};
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{LatticeError, LatticeOps, NatsLattice};
use crate::output::Done;

const PREFIX: &str = "SECRET_";

/// References to secrets.
#[derive(Debug, clap::Subcommand)]
pub enum SecretsCommand {
    /// Write a reference
    #[command(alias = "create")]
    Put(PutSecret),
    /// Read a reference
    Get(OneConfig),
    /// Delete a reference
    #[command(alias = "delete")]
    Del(OneConfig),
}

/// `wash secrets put`.
#[derive(Debug, clap::Args)]
pub struct PutSecret {
    /// Name under which components ask for it
    pub name: String,
    /// Backend that holds it
    pub backend: String,
    /// Key in the backend
    pub key: String,
    /// Field of the backend's entry
    #[arg(long)]
    pub field: Option<String>,
    /// Version in the backend
    #[arg(short = 'v', long = "version", value_name = "VERSION")]
    pub secret_version: Option<String>,
    /// Property for the backend, key=value; repeat for more
    #[arg(long = "property", value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

fn full_name(name: &str) -> Result<ConfigName, LatticeError> {
    let name = if name.starts_with(PREFIX) {
        name.to_owned()
    } else {
        format!("{PREFIX}{name}")
    };
    Ok(ConfigName::new(name)?)
}

impl SecretsCommand {
    /// Does it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        match self {
            Self::Put(put) => put.run().await,
            Self::Get(get) => {
                let name = full_name(&get.name)?;
                let lattice = NatsLattice::connect(&get.connect).await?;
                let found = lattice.config(&name).await?;
                let values = found.ok_or_else(|| NotFound {
                    name: get.name.clone(),
                    make: "wash secrets put",
                })?;
                Ok(ConfigMap::new(values, true).into())
            }
            Self::Del(del) => {
                let name = full_name(&del.name)?;
                let lattice = NatsLattice::connect(&del.connect).await?;
                lattice.delete_config(&name).await?;
                Ok(
                    Done::new(format!("Deleted secret reference `{}`", del.name))
                        .with(
                            "message",
                            format!("Secret {} deleted successfully.", del.name),
                        )
                        .into(),
                )
            }
        }
    }
}

impl PutSecret {
    async fn run(self) -> Result<Outcome, WashError> {
        let name = full_name(&self.name)?;
        let properties = key_values(&self.properties)?;
        let reference = SecretReference {
            name: self.name.clone(),
            backend: self.backend,
            key: self.key,
            field: self.field,
            version: self.secret_version,
            policy: SecretReference::policy_text(&properties),
            kind: SecretReference::TYPE.to_owned(),
        };
        let lattice = NatsLattice::connect(&self.connect).await?;
        lattice.put_config(&name, &as_map(&reference)).await?;
        Ok(Done::new(format!("Put secret reference `{}`", self.name))
            .with("message", format!("Secret {} put successfully.", self.name))
            .into())
    }
}

/// A reference is stored as a map of strings; fields without a value are left out.
fn as_map(reference: &SecretReference) -> BTreeMap<String, String> {
    let value = serde_json::to_value(reference).unwrap_or_default();
    let fields = value.as_object().cloned().unwrap_or_default();
    fields
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_map_of_strings() {
        let reference = SecretReference {
            name: "db".into(),
            backend: "nats-kv".into(),
            key: "prod/db".into(),
            field: None,
            version: Some("3".into()),
            policy: "{}".into(),
            kind: SecretReference::TYPE.into(),
        };
        let map = as_map(&reference);
        assert_eq!(
            map.get("type").map(String::as_str),
            Some(SecretReference::TYPE)
        );
        assert_eq!(map.get("version").map(String::as_str), Some("3"));
        assert!(!map.contains_key("field"));
    }

    #[test]
    fn the_prefix_is_put_on_once() {
        assert_eq!(full_name("db").unwrap(), "SECRET_db");
        assert_eq!(full_name("SECRET_db").unwrap(), "SECRET_db");
    }
}
