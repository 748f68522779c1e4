//! Links, as the rest of the host sees them: resolved, checked, and bound to what serves them.
//!
//! A [`LinkTable`] says what each import of one component leads to. It is built when links or their
//! configuration change and is never written afterwards: a call reads the table it started with.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use proto::link::Link;
use proto::provider::SecretValue;

/// Secrets by the name a manifest gave them.
pub type Secrets = BTreeMap<String, SecretValue>;

/// A link whose configs and secrets are resolved: the named maps merged left to right.
#[derive(Clone, Debug)]
pub struct ResolvedLink {
    /// The link as it stands in the lattice's records.
    pub link: Link,
    /// Settings for the source's end.
    pub source_config: BTreeMap<String, String>,
    /// Settings for the target's end.
    pub target_config: BTreeMap<String, String>,
    /// Secrets for the source's end.
    pub source_secrets: Secrets,
    /// Secrets for the target's end.
    pub target_secrets: Secrets,
}

impl ResolvedLink {
    /// A link that names no configs and no secrets.
    pub fn plain(link: Link) -> Self {
        Self {
            link,
            source_config: BTreeMap::new(),
            target_config: BTreeMap::new(),
            source_secrets: Secrets::new(),
            target_secrets: Secrets::new(),
        }
    }

    /// The interfaces of the link, each as `namespace:package/interface`.
    pub fn interfaces(&self) -> impl Iterator<Item = String> + '_ {
        let Link {
            wit_namespace,
            wit_package,
            ..
        } = &self.link;
        self.link
            .interfaces
            .iter()
            .map(move |name| format!("{wit_namespace}:{wit_package}/{name}"))
    }
}

/// Why a link cannot be used, or a built-in provider cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A setting is missing.
    #[error("setting `{key}` is missing; {hint}")]
    MissingSetting {
        /// The setting's key.
        key: &'static str,
        /// Where to put it, and an example.
        hint: String,
    },
    /// A setting has a value that nobody can work with.
    #[error("setting `{key}` is `{value}`: {reason}")]
    BadSetting {
        /// The setting's key.
        key: String,
        /// The value found; never a secret.
        value: String,
        /// What is wrong with it and what it may hold.
        reason: String,
    },
    /// Something else has the address, route or name already.
    #[error("{what} is taken by `{owner}`; choose another, or remove that link first")]
    Conflict {
        /// What both want, e.g. ``path `/api` on 0.0.0.0:8000``.
        what: String,
        /// Who has it.
        owner: String,
    },
    /// The provider on the other end does not serve this interface.
    #[error("`{target}` is a {kind} and does not serve `{interface}`")]
    WrongTarget {
        /// The link's target.
        target: String,
        /// The built-in's kind.
        kind: String,
        /// The interface that was asked of it.
        interface: String,
    },
    /// No such built-in provider.
    #[error("there is no built-in provider `{kind}`; this host has {known}")]
    UnknownBuiltin {
        /// What was asked for.
        kind: String,
        /// Names, comma separated.
        known: String,
    },
    /// The service behind the provider cannot be reached or refuses.
    #[error("cannot reach {what}: {reason}")]
    Unreachable {
        /// What was to be reached, e.g. an address.
        what: String,
        /// What it answered.
        reason: String,
    },
}

/// What a capability made of a link, for its own use: the runtime only carries it.
#[derive(Clone, Default)]
pub struct Binding(Option<Arc<dyn Any + Send + Sync>>);

impl Binding {
    /// Wraps what guest calls over the link will need.
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// A link that needs nothing but its target's id, e.g. one to another component.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The wrapped value, if it is of this type.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Binding(..)"
        } else {
            "Binding"
        })
    }
}

/// A link, ready to be called over.
#[derive(Clone, Debug)]
pub struct BoundLink {
    /// The link and its settings.
    pub link: Arc<ResolvedLink>,
    /// What the capability of the link's interface made of it.
    pub binding: Binding,
}

/// What one component's imports lead to. Immutable; swapped whole.
#[derive(Clone, Debug, Default)]
pub struct LinkTable {
    /// By `namespace:package/interface`, without version; the links of one interface differ by name.
    by_interface: HashMap<String, Vec<Arc<BoundLink>>>,
}

impl LinkTable {
    /// Builds a table. Where two links have the same name and interface, the later one wins.
    pub fn new(links: impl IntoIterator<Item = Arc<BoundLink>>) -> Self {
        let mut table = Self::default();
        for bound in links {
            for interface in bound.link.interfaces() {
                let slot = table.by_interface.entry(interface).or_default();
                slot.retain(|other| other.link.link.name != bound.link.link.name);
                slot.push(Arc::clone(&bound));
            }
        }
        table
    }

    /// The link of this name for `interface` (`namespace:package/interface`, without version).
    pub fn get(&self, name: impl AsRef<str>, interface: &str) -> Option<&Arc<BoundLink>> {
        let name = name.as_ref();
        self.all_for(interface)
            .iter()
            .find(|bound| bound.link.link.name == *name)
    }

    /// The first link for `interface`, whatever its name.
    pub fn first_for(&self, interface: &str) -> Option<&Arc<BoundLink>> {
        self.all_for(interface).first()
    }

    /// Every link for `interface`.
    pub fn all_for(&self, interface: &str) -> &[Arc<BoundLink>] {
        self.by_interface.get(interface).map_or(&[], Vec::as_slice)
    }

    /// Every (interface, link) pair; a link with several interfaces comes several times.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<BoundLink>)> {
        self.by_interface
            .iter()
            .flat_map(|(interface, links)| links.iter().map(move |link| (interface.as_str(), link)))
    }
}
