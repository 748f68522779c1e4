//! `wash link`: who may call whom, over what.

use proto::ctl::DeleteLinkRequest;
use proto::link::{Link, LinkKey};
use proto::{ComponentId, ConfigName, LinkName};

use super::get::GetLinks;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, UsageError, WashError};
use crate::exit::Exit;
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice};
use crate::output::{Done, Printer};

/// Link components and providers.
#[derive(Debug, clap::Subcommand)]
pub enum LinkCommand {
    /// List the links
    #[command(alias = "get")]
    Query(GetLinks),
    /// Put a link
    Put(PutLink),
    /// Delete a link
    #[command(alias = "delete")]
    Del(DeleteLink),
}

/// `wash link put`.
#[derive(Debug, clap::Args)]
pub struct PutLink {
    /// The component or provider that calls
    pub source_id: String,
    /// The component or provider that is called
    pub target: String,
    /// WIT namespace, e.g. wasi
    pub wit_namespace: String,
    /// WIT package, e.g. keyvalue
    pub wit_package: String,
    /// Interface, e.g. store; repeat for more
    #[arg(
        long = "interface",
        alias = "interfaces",
        required = true,
        value_delimiter = ','
    )]
    pub interfaces: Vec<String>,
    /// Named configuration for the source; repeat for more
    #[arg(long, value_name = "NAME")]
    pub source_config: Vec<String>,
    /// Named configuration for the target; repeat for more
    #[arg(long, value_name = "NAME")]
    pub target_config: Vec<String>,
    /// Name that tells several links of one source on one interface apart
    #[arg(short = 'l', long, default_value = "default")]
    pub link_name: String,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash link del`.
#[derive(Debug, clap::Args)]
pub struct DeleteLink {
    /// The component or provider that calls
    pub source_id: Option<String>,
    /// WIT namespace, e.g. wasi
    pub wit_namespace: Option<String>,
    /// WIT package, e.g. keyvalue
    pub wit_package: Option<String>,
    /// Name of the link
    #[arg(short = 'l', long)]
    pub link_name: Option<String>,
    /// Delete all links of the lattice
    #[arg(long)]
    pub all: bool,
    /// Do not ask
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// Why a link was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing fits.
    #[error("no link fits {0}")]
    None(String),
    /// More than one fits.
    #[error("More than one similar link found, please specify link name explicitly: {}", .0.join(", "))]
    Several(Vec<String>),
    /// Nobody confirmed.
    #[error("{0} link(s) were not deleted: nobody confirmed")]
    Unconfirmed(usize),
}

impl Advice for LinkError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::None(_) => "list the links with `wash get links`".into(),
            Self::Several(_) => "add --link-name NAME".into(),
            Self::Unconfirmed(_) => "add --force".into(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::None(_) | Self::Unconfirmed(_) => Exit::Failed,
            Self::Several(_) => Exit::Usage,
        }
    }
}

/// Reads configuration names.
pub fn config_names(names: &[String]) -> Result<Vec<ConfigName>, LatticeError> {
    names
        .iter()
        .map(|name| Ok(ConfigName::new(name.as_str())?))
        .collect()
}

impl LinkCommand {
    /// Does it.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        match self {
            Self::Query(query) => query.run(printer).await,
            Self::Put(put) => {
                let lattice = NatsLattice::connect(&put.connect).await?;
                Ok(put.run(&lattice).await?.into())
            }
            Self::Del(delete) => {
                let lattice = NatsLattice::connect(&delete.connect).await?;
                Ok(delete.run(&lattice, printer).await?.into())
            }
        }
    }
}

impl PutLink {
    async fn run<L: Lattice>(self, lattice: &L) -> Result<Done, WashError> {
        if self
            .interfaces
            .iter()
            .any(|interface| interface.contains([':', '/', '@']))
        {
            return Err(UsageError::new(
                format!("`{}` is no interface name", self.interfaces.join(",")),
                "give namespace and package as arguments and the bare name here: \
                 wash link put SOURCE TARGET wasi keyvalue --interface store",
            )
            .into());
        }
        let link = Link {
            source_id: ComponentId::new(self.source_id).map_err(LatticeError::from)?,
            target: ComponentId::new(self.target).map_err(LatticeError::from)?,
            name: LinkName::new(self.link_name).map_err(LatticeError::from)?,
            wit_namespace: self.wit_namespace,
            wit_package: self.wit_package,
            interfaces: self.interfaces,
            source_config: config_names(&self.source_config)?,
            target_config: config_names(&self.target_config)?,
            extra: proto::Extra::new(),
        };
        lattice.put_link(&link).await?;
        let text = format!(
            "Linked {} -> {} on {}:{}/{} ({})",
            link.source_id,
            link.target,
            link.wit_namespace,
            link.wit_package,
            link.interfaces.join(","),
            link.name
        );
        Ok(Done::new(text)
            .with("source_id", link.source_id.as_str())
            .with("target", link.target.as_str()))
    }
}

impl DeleteLink {
    async fn run<L: Lattice>(self, lattice: &L, printer: &Printer) -> Result<Done, WashError> {
        if self.all {
            return self.all(lattice, printer).await;
        }
        let Some(source) = self.source_id.clone() else {
            return Err(UsageError::new(
                "no link was named",
                "name one: wash link del SOURCE NAMESPACE PACKAGE, or add --all",
            )
            .into());
        };
        let key = match (&self.wit_namespace, &self.wit_package, &self.link_name) {
            (Some(namespace), Some(package), Some(name)) => LinkKey {
                source: ComponentId::new(source).map_err(LatticeError::from)?,
                name: LinkName::new(name.as_str()).map_err(LatticeError::from)?,
                namespace: namespace.clone(),
                package: package.clone(),
            },
            _ => self.find(&source, lattice).await?,
        };
        lattice.delete_link(&DeleteLinkRequest::from(&key)).await?;
        let text = format!(
            "Deleted link {} of {} on {}:{}",
            key.name, key.source, key.namespace, key.package
        );
        Ok(Done::new(text)
            .with("source_id", key.source.as_str())
            .with("wit_namespace", key.namespace)
            .with("wit_package", key.package)
            .with("link_name", key.name.as_str()))
    }

    /// The one link that fits what was given.
    async fn find<L: Lattice>(&self, source: &str, lattice: &L) -> Result<LinkKey, WashError> {
        let fits = |given: &Option<String>, found: &str| {
            given.as_deref().is_none_or(|given| given == found)
        };
        let links = lattice.links().await?;
        let found: Vec<&Link> = links
            .iter()
            .filter(|link| {
                link.source_id == *source
                    && fits(&self.wit_namespace, &link.wit_namespace)
                    && fits(&self.wit_package, &link.wit_package)
                    && fits(&self.link_name, link.name.as_str())
            })
            .collect();
        match found.as_slice() {
            [link] => Ok(link.key()),
            [] => {
                let wanted = [
                    Some(source),
                    self.wit_namespace.as_deref(),
                    self.wit_package.as_deref(),
                ];
                let wanted: Vec<&str> = wanted.into_iter().flatten().collect();
                Err(LinkError::None(format!("`{}`", wanted.join(" "))).into())
            }
            several => Err(LinkError::Several(
                several
                    .iter()
                    .map(|link| format!("{} -> {}", link.name, link.target))
                    .collect(),
            )
            .into()),
        }
    }

    async fn all<L: Lattice>(&self, lattice: &L, printer: &Printer) -> Result<Done, WashError> {
        let links = lattice.links().await?;
        let question = format!(
            "Delete all {} links of lattice `{}`?",
            links.len(),
            lattice.name()
        );
        if !links.is_empty() && !self.force && !printer.confirm(&question) {
            return Err(LinkError::Unconfirmed(links.len()).into());
        }
        for link in &links {
            lattice
                .delete_link(&DeleteLinkRequest::from(&link.key()))
                .await?;
        }
        Ok(Done::new(format!("Deleted {} link(s)", links.len())).with("deleted", links.len()))
    }
}
