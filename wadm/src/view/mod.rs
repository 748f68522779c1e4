//! What runs on the lattice, as far as messages tell: a pure fold.
//!
//! Events only hurry things along. The truth comes from inventories: a host's pulse carries a
//! digest of its inventory, and a digest that is not the one known makes the controller ask. So a
//! message that is lost, late or doubled costs at most a pulse (our hosts) or a heartbeat
//! (upstream's).

mod apply;
mod host;
mod instances;
mod liveness;
mod records;

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ComponentId, ConfigName, HostId};
use proto::link::Link;

pub use host::{Health, HostView, Instance, Kind};
pub use liveness::{HEARTBEAT_LOST_AFTER, PROBE_EVERY};

/// A config as far as it is known.
pub type ConfigValue = BTreeMap<String, String>;

/// What the lattice looks like.
#[derive(Clone, Debug, Default)]
pub struct View {
    hosts: BTreeMap<HostId, HostView>,
    links: BTreeMap<ComponentId, Vec<Link>>,
    links_known: bool,
    configs: BTreeMap<ConfigName, Option<ConfigValue>>,
    configs_complete: bool,
    by_id: BTreeMap<ComponentId, BTreeSet<HostId>>,
    by_app: BTreeMap<String, BTreeSet<(HostId, ComponentId)>>,
    membership: u64,
    heartbeat_lost_after: Option<std::time::Duration>,
}

/// What a message changed, so that only what depends on it is planned again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Hosts that came, went, or changed their labels.
    pub hosts: BTreeSet<HostId>,
    /// Hosts that started anew: nothing sent to them before counts any more.
    pub restarted: BTreeSet<HostId>,
    /// Components and providers that are now different on a host.
    pub workloads: BTreeSet<(HostId, ComponentId)>,
    /// Applications whose marks appeared or vanished somewhere.
    pub applications: BTreeSet<String>,
    /// Failed starts.
    pub failures: Vec<StartFailure>,
    /// Sources whose links changed.
    pub sources: BTreeSet<ComponentId>,
    /// Configs that changed.
    pub configs: BTreeSet<ConfigName>,
    /// Hosts whose inventory has to be asked for.
    pub ask: BTreeSet<HostId>,
    /// A link was put or deleted by someone; the links should be read again where they are not watched.
    pub links_stale: bool,
}

/// A host's word that it could not start something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// The host.
    pub host: HostId,
    /// What did not start.
    pub id: ComponentId,
    /// The image it was to be started from, without scheme.
    pub image: String,
    /// The host's own words.
    pub error: String,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both.
    pub fn merge(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.restarted.extend(other.restarted);
        self.workloads.extend(other.workloads);
        self.applications.extend(other.applications);
        self.failures.extend(other.failures);
        self.sources.extend(other.sources);
        self.configs.extend(other.configs);
        self.ask.extend(other.ask);
        self.links_stale |= other.links_stale;
    }
}

impl View {
    /// Changes the silence after which a host without pulses is lost.
    pub fn set_heartbeat_lost_after(&mut self, after: std::time::Duration) {
        self.heartbeat_lost_after = Some(after);
    }

    /// Every host that was heard of and is not forgotten, alive or not.
    pub fn hosts(&self) -> impl Iterator<Item = &HostView> {
        self.hosts.values()
    }

    /// Hosts that are alive and whose inventory is known: those that work can be given to.
    pub fn usable_hosts(&self) -> impl Iterator<Item = &HostView> {
        self.hosts.values().filter(|host| host.usable())
    }

    /// One host.
    #[must_use]
    pub fn host(&self, id: &HostId) -> Option<&HostView> {
        self.hosts.get(id)
    }

    /// One component or provider on one host, if that host is alive.
    #[must_use]
    pub fn instance(&self, host: &HostId, id: &ComponentId) -> Option<&Instance> {
        self.hosts
            .get(host)
            .filter(|host| host.usable())?
            .instances
            .get(id)
    }

    /// The hosts that run `id`, the lost ones too.
    pub fn hosts_running(&self, id: &ComponentId) -> impl Iterator<Item = &HostView> {
        self.by_id
            .get(id)
            .into_iter()
            .flatten()
            .filter_map(|host| self.hosts.get(host))
    }

    /// Everything that carries the mark of `app`, on usable hosts.
    pub fn marked_with<'a>(
        &'a self,
        app: &str,
    ) -> impl Iterator<Item = (&'a HostView, &'a ComponentId, &'a Instance)> + use<'a> {
        self.by_app
            .get(app)
            .into_iter()
            .flatten()
            .filter_map(|(host, id)| {
                let host = self.hosts.get(host).filter(|host| host.usable())?;
                Some((host, id, host.instances.get(id)?))
            })
    }

    /// The links of one source.
    #[must_use]
    pub fn links_of(&self, source: &ComponentId) -> &[Link] {
        self.links.get(source).map_or(&[], Vec::as_slice)
    }

    /// Whether the links were read whole.
    #[must_use]
    pub fn links_known(&self) -> bool {
        self.links_known
    }

    /// A config: none when it is not known whether it exists, `Some(None)` when it does not.
    #[must_use]
    pub fn config(&self, name: &ConfigName) -> Option<Option<&ConfigValue>> {
        match self.configs.get(name) {
            Some(value) => Some(value.as_ref()),
            None => self.configs_complete.then_some(None),
        }
    }

    /// Whether each change of a config is told.
    #[must_use]
    pub fn configs_watched(&self) -> bool {
        self.configs_complete
    }

    /// Grows whenever a host comes, goes, or changes its labels.
    #[must_use]
    pub fn membership(&self) -> u64 {
        self.membership
    }
}
