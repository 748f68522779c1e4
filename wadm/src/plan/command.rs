//! What a plan asks hosts to do.

use std::collections::BTreeMap;
use std::fmt;

use proto::Annotations;
use proto::id::{ComponentId, ConfigName, HostId};
use proto::link::{Link, LinkKey};

/// One order. Each is idempotent: sent twice or late it leaves the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// So many instances of a component on a host; 0 stops it.
    Scale {
        /// The host.
        host: HostId,
        /// The component.
        id: ComponentId,
        /// Its image.
        image: String,
        /// Most instances at once.
        count: u32,
        /// Marks.
        annotations: Annotations,
        /// Configs and secrets, merged left to right.
        config: Vec<ConfigName>,
        /// Memory and time limits in the wire's words.
        limits: Option<BTreeMap<String, String>>,
        /// Whether a running component takes the image too; only our hosts do that rightly.
        update: bool,
    },
    /// A provider starts on a host.
    StartProvider {
        /// The host.
        host: HostId,
        /// The provider.
        id: ComponentId,
        /// Its image.
        image: String,
        /// Marks.
        annotations: Annotations,
        /// Configs and secrets, merged left to right.
        config: Vec<ConfigName>,
    },
    /// A provider stops on a host.
    StopProvider {
        /// The host.
        host: HostId,
        /// The provider.
        id: ComponentId,
    },
    /// A link is set.
    PutLink(Link),
    /// A link is removed.
    DeleteLink(LinkKey),
    /// A config is set.
    PutConfig {
        /// Its name.
        name: ConfigName,
        /// Its content.
        properties: BTreeMap<String, String>,
    },
    /// A config is removed.
    DeleteConfig(ConfigName),
}

/// What a command is about: at most one command is under way for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A component or provider on a host.
    Workload(HostId, ComponentId),
    /// A link.
    Link(LinkKey),
    /// A config.
    Config(ConfigName),
}

impl Command {
    /// What the command is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Scale { host, id, .. }
            | Self::StartProvider { host, id, .. }
            | Self::StopProvider { host, id } => Subject::Workload(host.clone(), id.clone()),
            Self::PutLink(link) => Subject::Link(link.key()),
            Self::DeleteLink(key) => Subject::Link(key.clone()),
            Self::PutConfig { name, .. } | Self::DeleteConfig(name) => {
                Subject::Config(name.clone())
            }
        }
    }

    /// The host it goes to; none when any host may take it.
    #[must_use]
    pub fn host(&self) -> Option<&HostId> {
        match self {
            Self::Scale { host, .. }
            | Self::StartProvider { host, .. }
            | Self::StopProvider { host, .. } => Some(host),
            Self::PutLink(_)
            | Self::DeleteLink(_)
            | Self::PutConfig { .. }
            | Self::DeleteConfig(_) => None,
        }
    }

    /// Whether it makes something run, which can fail and needs back-off.
    #[must_use]
    pub fn starts(&self) -> bool {
        match self {
            Self::Scale { count, .. } => *count > 0,
            Self::StartProvider { .. } => true,
            Self::StopProvider { .. }
            | Self::PutLink(_)
            | Self::DeleteLink(_)
            | Self::PutConfig { .. }
            | Self::DeleteConfig(_) => false,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale {
                host,
                id,
                count,
                image,
                update,
                ..
            } => {
                write!(f, "{host} {id}={count}")?;
                if *update {
                    write!(f, "@{image}")
                } else {
                    Ok(())
                }
            }
            Self::StartProvider { host, id, .. } => write!(f, "{host} +{id}"),
            Self::StopProvider { host, id } => write!(f, "{host} -{id}"),
            Self::PutLink(link) => write!(
                f,
                "link {}-{}:{}->{}",
                link.source_id, link.wit_namespace, link.wit_package, link.target
            ),
            Self::DeleteLink(key) => {
                write!(f, "unlink {}-{}:{}", key.source, key.namespace, key.package)
            }
            Self::PutConfig { name, .. } => write!(f, "config {name}"),
            Self::DeleteConfig(name) => write!(f, "unconfig {name}"),
        }
    }
}
