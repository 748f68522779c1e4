//! `wash get`: what is there.

use std::collections::BTreeMap;

use proto::ctl::{Host, HostInventory, is_builtin_label};
use proto::link::Link;
use serde_json::{Map, Value};

use super::watch::Watch;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::WashError;
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice, find_host};
use crate::output::table::{Rows, or_dash, pairs};
use crate::output::{Answer, Paint, Printer, Style, keys, value};

/// See hosts, what runs on them, links and claims.
#[derive(Debug, clap::Subcommand)]
pub enum GetCommand {
    /// List the hosts
    Hosts(GetHosts),
    /// List what runs on each host
    #[command(alias = "inventories")]
    Inventory(GetInventory),
    /// List the links
    Links(GetLinks),
    /// List the claims of signed components and providers
    Claims(GetClaims),
}

/// `wash get hosts`.
#[derive(Debug, clap::Args)]
pub struct GetHosts {
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash get inventory`.
#[derive(Debug, clap::Args)]
pub struct GetInventory {
    /// Host, by id, start of the id, or part of its name [default: all hosts]
    pub host_id: Option<String>,
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash get links`, also `wash link query`.
#[derive(Debug, clap::Args)]
pub struct GetLinks {
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash get claims`.
#[derive(Debug, clap::Args)]
pub struct GetClaims {
    #[command(flatten)]
    pub watch: Watch,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl GetCommand {
    /// Asks and shows.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Hosts(get) => {
                let lattice = NatsLattice::connect(&get.connect).await?;
                get.watch.run(printer, async || hosts(&lattice).await).await
            }
            Self::Inventory(get) => {
                let lattice = NatsLattice::connect(&get.connect).await?;
                let term = get.host_id.as_deref();
                get.watch
                    .run(printer, async || inventory(&lattice, term).await)
                    .await
            }
            Self::Links(get) => get.run(printer).await,
            Self::Claims(get) => {
                let lattice = NatsLattice::connect(&get.connect).await?;
                get.watch
                    .run(printer, async || {
                        Ok(Claims {
                            claims: lattice.claims().await?,
                        })
                    })
                    .await
            }
        }
    }
}

impl GetLinks {
    /// Asks and shows.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let lattice = NatsLattice::connect(&self.connect).await?;
        self.watch
            .run(printer, async || {
                Ok(Links {
                    links: lattice.links().await?,
                })
            })
            .await
    }
}

/// The hosts of a lattice; none is an answer, not an error.
pub async fn hosts<L: Lattice>(lattice: &L) -> Result<Hosts, WashError> {
    Ok(Hosts {
        hosts: lattice.ping_hosts(lattice.timeout()).await?,
    })
}

/// What runs on one host, or on each.
pub async fn inventory<L: Lattice>(
    lattice: &L,
    term: Option<&str>,
) -> Result<Inventories, WashError> {
    let mut inventories = match term {
        Some(term) => vec![lattice.inventory(&find_host(lattice, term).await?).await?],
        None => match lattice.inventories().await {
            Err(LatticeError::NoHosts { .. }) => Vec::new(),
            other => other?,
        },
    };
    inventories.sort_by(|a, b| (&a.friendly_name, &a.host_id).cmp(&(&b.friendly_name, &b.host_id)));
    Ok(Inventories { inventories })
}

/// The hosts of a lattice.
pub struct Hosts {
    hosts: Vec<Host>,
}

impl Answer for Hosts {
    fn text(&self, style: &Style) -> String {
        let empty = "No hosts. Start one with `wash up`.";
        let mut rows = Rows::new(style, ["HOST", "NAME", "VERSION", "UP", "LABELS"], empty);
        for host in &self.hosts {
            rows.row([
                host.id.to_string(),
                host.friendly_name.clone(),
                or_dash(host.version.clone().unwrap_or_default()),
                or_dash(host.uptime_human.clone().unwrap_or_default()),
                own_labels(&host.labels),
            ]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("hosts", value(&self.hosts))])
    }
}

/// What runs on hosts.
pub struct Inventories {
    inventories: Vec<HostInventory>,
}

/// The labels somebody chose; those every host has by itself would drown them.
fn own_labels(labels: &proto::Labels) -> String {
    pairs(labels.iter().filter(|(key, _)| !is_builtin_label(key)))
}

/// How a person reads a limit on instances.
pub fn instances(max: u32) -> String {
    if max == u32::MAX {
        "no limit".into()
    } else {
        max.to_string()
    }
}

fn one_inventory(inventory: &HostInventory, style: &Style) -> String {
    let name = style.paint(Paint::Strong, &inventory.friendly_name);
    let mut text = format!(
        "{name}  {}  {}",
        inventory.host_id,
        own_labels(&inventory.labels)
    );
    let mut rows = Rows::new(
        style,
        ["  KIND", "ID", "INSTANCES", "IMAGE"],
        "  (nothing runs here)",
    );
    for component in &inventory.components {
        let count = instances(component.max_instances);
        rows.row([
            "  component".into(),
            component.id.to_string(),
            count,
            component.image_ref.clone(),
        ]);
    }
    for provider in &inventory.providers {
        let image = provider.image_ref.clone().unwrap_or_default();
        let restarts = match provider.restarts {
            Some(count) if count > 0 => format!("restarted {count}x"),
            _ => "-".into(),
        };
        rows.row([
            "  provider".into(),
            provider.id.to_string(),
            restarts,
            or_dash(image),
        ]);
    }
    text.push('\n');
    text.push_str(&rows.finish());
    text
}

impl Answer for Inventories {
    fn text(&self, style: &Style) -> String {
        if self.inventories.is_empty() {
            return "No hosts. Start one with `wash up`.".into();
        }
        let each: Vec<String> = self
            .inventories
            .iter()
            .map(|one| one_inventory(one, style))
            .collect();
        each.join("\n\n")
    }

    fn json(&self) -> Map<String, Value> {
        keys([("inventories", value(&self.inventories))])
    }
}

/// Links.
pub struct Links {
    links: Vec<Link>,
}

impl Answer for Links {
    fn text(&self, style: &Style) -> String {
        let mut rows = Rows::new(
            style,
            ["SOURCE", "TARGET", "INTERFACES", "NAME", "CONFIG"],
            "No links.",
        );
        for link in &self.links {
            let configs: Vec<&str> = link.config_names().map(AsRef::as_ref).collect();
            rows.row([
                link.source_id.to_string(),
                link.target.to_string(),
                format!(
                    "{}:{}/{}",
                    link.wit_namespace,
                    link.wit_package,
                    link.interfaces.join(",")
                ),
                link.name.to_string(),
                or_dash(configs.join(", ")),
            ]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("links", value(&self.links))])
    }
}

/// Claims.
pub struct Claims {
    claims: Vec<BTreeMap<String, String>>,
}

impl Answer for Claims {
    fn text(&self, style: &Style) -> String {
        let mut rows = Rows::new(
            style,
            ["SUBJECT", "NAME", "VERSION", "REVISION", "ISSUER"],
            "No claims.",
        );
        for claims in &self.claims {
            let get = |key: &str, old: &str| {
                or_dash(
                    claims
                        .get(key)
                        .or_else(|| claims.get(old))
                        .cloned()
                        .unwrap_or_default(),
                )
            };
            rows.row([
                get("subject", "sub"),
                get("name", "name"),
                get("version", "version"),
                get("revision", "rev"),
                get("issuer", "iss"),
            ]);
        }
        rows.finish()
    }

    fn json(&self) -> Map<String, Value> {
        keys([("claims", value(&self.claims))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_reads_like_a_list() {
        let inventory = serde_json::json!({
            "components": [{"id": "web", "image_ref": "ghcr.io/acme/web:1", "max_instances": 4, "revision": 0}],
            "providers": [{"id": "kv", "image_ref": "ghcr.io/acme/kv:1", "revision": 0}],
            "host_id": "NDQQ", "friendly_name": "black-ladybug-2424", "labels": {"zone": "a"},
            "version": "1.0.0", "uptime_human": "1m", "uptime_seconds": 60
        });
        let inventories = Inventories {
            inventories: vec![serde_json::from_value(inventory).unwrap()],
        };
        insta::assert_snapshot!(inventories.text(&Style::new(false)));
    }
}
