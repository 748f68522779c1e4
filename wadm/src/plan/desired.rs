//! What an application wants, in the lattice's terms: a manifest with every name resolved that the
//! manifest alone can resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::Annotations;
use proto::ctl::ScaleComponentCommand;
use proto::id::{ComponentId, ConfigName, LinkName};
use proto::link::Link;
use proto::manifest::{
    self, Component, ComponentKind, ConfigProperty, LinkTrait, Manifest, Rollout, Scaling,
    SecretProperty,
};
use proto::names::{self, ScalerKind};
use proto::record::SecretReference;
use proto::reference::without_scheme;

use crate::view::{ConfigValue, Instance, Kind};

/// One application, compiled.
#[derive(Clone, Debug)]
pub struct AppDesired {
    /// Its name; empty for the shared built-ins.
    pub name: String,
    /// The deployed version.
    pub version: Option<String>,
    /// Components and providers.
    pub workloads: Vec<Workload>,
    /// Links.
    pub links: Vec<LinkWant>,
    /// Configs and secret references that wadm owns.
    pub configs: BTreeMap<ConfigName, ConfigValue>,
    /// Components that stand for another application's.
    pub shared: Vec<SharedUse>,
    /// What could not be compiled, for the status.
    pub problems: Vec<String>,
}

/// A component that stands for another application's.
#[derive(Clone, Debug)]
pub struct SharedUse {
    /// The other application.
    pub application: String,
    /// The component's name there.
    pub component: String,
}

/// A component or provider that should run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name in the manifest.
    pub name: String,
    /// Its id on the lattice.
    pub id: ComponentId,
    /// Component or provider.
    pub kind: Kind,
    /// Its image.
    pub image: String,
    /// Configs, then secrets.
    pub config: Vec<ConfigName>,
    /// Limits in the wire's words.
    pub limits: Option<BTreeMap<String, String>>,
    /// Whether every fitting host gets it.
    pub daemon: bool,
    /// Where it goes, at least one.
    pub spreads: Vec<SpreadWant>,
    /// The scaler's id.
    pub scaler: String,
    /// The id that the other kind of scaler would have: it differs in nothing that runs.
    pub other_scaler: String,
    /// How a new image replaces the old one.
    pub rollout: Rollout,
    /// The application in its marks; none for a shared built-in.
    pub application: Option<String>,
    /// Only our hosts can run it.
    pub ours_only: bool,
}

/// A share of the instances and the hosts it is for.
#[derive(Clone, Debug)]
pub struct SpreadWant {
    /// Its name.
    pub name: String,
    /// Labels a host must have.
    pub requirements: Arc<BTreeMap<String, String>>,
    /// Instances in all (for a daemon: on each host; for a provider: hosts).
    pub count: u32,
    /// Instead of labels: exactly these hosts, where a built-in follows its users.
    pub hosts: Option<Arc<BTreeSet<proto::id::HostId>>>,
}

/// A link that should be there.
#[derive(Clone, Debug)]
pub struct LinkWant {
    /// The source's id.
    pub source: ComponentId,
    /// Where it leads.
    pub target: LinkTo,
    /// The link without its target.
    pub name: LinkName,
    /// Namespace.
    pub namespace: String,
    /// Package.
    pub package: String,
    /// Interfaces.
    pub interfaces: Vec<String>,
    /// Configs of the source's end.
    pub source_config: Vec<ConfigName>,
    /// Configs of the target's end.
    pub target_config: Vec<ConfigName>,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkTo {
    /// A component of this file.
    Declared(ComponentId),
    /// A component of another application.
    Shared {
        /// The application.
        application: String,
        /// The component's name there.
        component: String,
    },
    /// A name that the file does not declare.
    Open(String),
}

impl LinkWant {
    /// The link, leading to `target`.
    #[must_use]
    pub fn to(&self, target: ComponentId) -> Link {
        let mut link = Link::new(
            self.source.clone(),
            target,
            &self.namespace,
            &self.package,
            self.interfaces.iter().cloned(),
        );
        link.name = self.name.clone();
        link.source_config.clone_from(&self.source_config);
        link.target_config.clone_from(&self.target_config);
        link
    }
}

impl Workload {
    /// What an instance in this spread is marked with.
    #[must_use]
    pub fn annotations(&self, spread: &str) -> Annotations {
        let mut marks = names::annotations(
            self.application.as_deref().unwrap_or_default(),
            &self.scaler,
            spread,
        );
        if self.application.is_none() {
            marks.remove(names::APP_SPEC);
        }
        marks
    }

    /// Whether `instance` runs the right image.
    #[must_use]
    pub fn has_image(&self, instance: &Instance) -> bool {
        instance.kind == self.kind && without_scheme(&instance.image) == without_scheme(&self.image)
    }

    /// Whether `instance` was started with the very settings wanted.
    #[must_use]
    pub fn has_settings(&self, instance: &Instance) -> bool {
        instance
            .scaler()
            .is_some_and(|scaler| scaler == self.scaler || scaler == self.other_scaler)
    }
}

/// Compiles a manifest.
#[must_use]
pub fn compile(manifest: &Manifest) -> AppDesired {
    let mut app = AppDesired {
        name: manifest.metadata.name.clone(),
        version: manifest.version().map(str::to_owned),
        workloads: Vec::new(),
        links: Vec::new(),
        configs: BTreeMap::new(),
        shared: Vec::new(),
        problems: Vec::new(),
    };
    for component in &manifest.spec.components {
        if let Some(shared) = &component.properties.application {
            app.shared.push(SharedUse {
                application: shared.name.clone(),
                component: shared.component.clone(),
            });
        }
        if let Some(workload) = app.workload(manifest, component) {
            app.workloads.push(workload);
        }
    }
    for component in &manifest.spec.components {
        for link in component.links() {
            if let Some(link) = app.link(manifest, component, link) {
                app.links.push(link);
            }
        }
    }
    app
}

/// The id of a component of `app`.
#[must_use]
pub fn id_of(app: &str, component: &Component) -> String {
    match (&component.properties.id, &component.properties.application) {
        (Some(id), _) => id.clone(),
        (None, Some(shared)) => names::component_id(&shared.name, &shared.component),
        (None, None) => names::component_id(app, &component.name),
    }
}

impl AppDesired {
    fn id(&mut self, text: &str) -> Option<ComponentId> {
        ComponentId::new(text)
            .map_err(|error| self.problems.push(error.to_string()))
            .ok()
    }

    fn config(&mut self, config: &ConfigProperty) -> Option<ConfigName> {
        let name = match &config.properties {
            Some(_) => names::config_name(&self.name, &config.name),
            None => config.name.clone(),
        };
        let name = ConfigName::new(name)
            .map_err(|error| self.problems.push(error.to_string()))
            .ok()?;
        if let Some(properties) = &config.properties {
            self.configs.insert(name.clone(), properties.clone());
        }
        Some(name)
    }

    fn secret(&mut self, manifest: &Manifest, secret: &SecretProperty) -> Option<ConfigName> {
        let name = names::secret_name(&self.name, &secret.name);
        let name = ConfigName::new(name)
            .map_err(|error| self.problems.push(error.to_string()))
            .ok()?;
        let policy = manifest.policy(&secret.properties.policy)?;
        let mut rest = policy.properties.clone();
        let backend = rest.remove("backend").unwrap_or_default();
        let mut record = BTreeMap::from([
            ("name".to_owned(), secret.name.clone()),
            ("backend".to_owned(), backend),
            ("key".to_owned(), secret.properties.key.clone()),
            ("policy".to_owned(), SecretReference::policy_text(&rest)),
            ("type".to_owned(), SecretReference::TYPE.to_owned()),
        ]);
        let optional = [
            ("field", &secret.properties.field),
            ("version", &secret.properties.version),
        ];
        record.extend(
            optional
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))),
        );
        self.configs.insert(name.clone(), record);
        Some(name)
    }

    fn settings(
        &mut self,
        manifest: &Manifest,
        configs: &[ConfigProperty],
        secrets: &[SecretProperty],
    ) -> Vec<ConfigName> {
        let mut names: Vec<ConfigName> = configs
            .iter()
            .filter_map(|config| self.config(config))
            .collect();
        names.extend(
            secrets
                .iter()
                .filter_map(|secret| self.secret(manifest, secret)),
        );
        names
    }

    fn workload(&mut self, manifest: &Manifest, component: &Component) -> Option<Workload> {
        let scaling = component.scaling()?;
        let image = component.properties.image.clone()?;
        let id = self.id(&id_of(&self.name.clone(), component))?;
        let config = self.settings(
            manifest,
            &component.properties.config,
            &component.properties.secrets,
        );
        let scaler = |kind| {
            names::scaler_id(
                kind,
                &self.name,
                &component.name,
                id.as_str(),
                &image,
                &config,
            )
        };
        let (spread, daemon) = (scaler(ScalerKind::Spread), scaler(ScalerKind::Daemon));
        let (scaler, other_scaler) = if scaling.daemon {
            (daemon, spread)
        } else {
            (spread, daemon)
        };
        let kind = match component.kind {
            ComponentKind::Component => Kind::Component,
            ComponentKind::Capability => Kind::Provider,
        };
        Some(Workload {
            name: component.name.clone(),
            id,
            kind,
            image,
            config,
            limits: limits(component),
            daemon: scaling.daemon,
            spreads: spreads(&scaling, kind),
            scaler,
            other_scaler,
            rollout: component.rollout().cloned().unwrap_or_default(),
            application: Some(self.name.clone()),
            ours_only: false,
        })
    }

    fn link(
        &mut self,
        manifest: &Manifest,
        component: &Component,
        link: &LinkTrait,
    ) -> Option<LinkWant> {
        let target = match manifest.component(&link.target.name) {
            Some(target)
                if component.kind == ComponentKind::Capability
                    && target.kind == ComponentKind::Capability =>
            {
                self.problems.push(format!(
                    "the link from {} to {} is left out: a provider cannot be linked to a provider",
                    component.name, target.name
                ));
                return None;
            }
            Some(target) => match &target.properties.application {
                Some(shared) => LinkTo::Shared {
                    application: shared.name.clone(),
                    component: shared.component.clone(),
                },
                None => LinkTo::Declared(self.id(&id_of(&self.name.clone(), target))?),
            },
            None => LinkTo::Open(link.target.name.clone()),
        };
        let source = self.id(&id_of(&self.name.clone(), component))?;
        let name = LinkName::new(link.link_name())
            .map_err(|error| self.problems.push(error.to_string()))
            .ok()?;
        Some(LinkWant {
            source,
            target,
            name,
            namespace: link.namespace.clone(),
            package: link.package.clone(),
            interfaces: link.interfaces.clone(),
            source_config: self.settings(manifest, link.source_config(), link.source_secrets()),
            target_config: self.settings(manifest, &link.target.config, &link.target.secrets),
        })
    }
}

fn limits(component: &Component) -> Option<BTreeMap<String, String>> {
    let limits = component.limits()?;
    let pairs = [
        (ScaleComponentCommand::MAX_MEMORY, limits.memory_bytes),
        (ScaleComponentCommand::MAX_TIME, limits.execution_seconds),
    ];
    Some(
        pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_string())))
            .collect(),
    )
}

/// The counts of each spread: in proportion to the weights, rounded down, what is left one each
/// from the heaviest on.
fn spreads(scaling: &Scaling<'_>, kind: Kind) -> Vec<SpreadWant> {
    let each = if scaling.daemon && kind == Kind::Provider {
        1
    } else {
        scaling.instances
    };
    let want = |name: &str, requirements: &BTreeMap<String, String>, count| SpreadWant {
        name: name.to_owned(),
        requirements: Arc::new(requirements.clone()),
        count,
        hosts: None,
    };
    if scaling.spread.is_empty() {
        return vec![want(manifest::DEFAULT_SPREAD_NAME, &BTreeMap::new(), each)];
    }
    let counts = if scaling.daemon {
        vec![each; scaling.spread.len()]
    } else {
        let weights: Vec<u32> = scaling
            .spread
            .iter()
            .map(|spread| spread.weight.unwrap_or(manifest::DEFAULT_WEIGHT))
            .collect();
        divide(each, &weights)
    };
    scaling
        .spread
        .iter()
        .zip(counts)
        .map(|(spread, count)| want(&spread.name, &spread.requirements, count))
        .collect()
}

/// Divides `total` by weight; the rest goes out one each from the heaviest on, in the file's order.
#[must_use]
pub fn divide(total: u32, weights: &[u32]) -> Vec<u32> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let share = |weight: u32| u64::from(total) * u64::from(weight) / sum;
    // Each share is at most `total`, which is a u32.
    let mut counts: Vec<u32> = weights
        .iter()
        .map(|weight| u32::try_from(share(*weight)).unwrap_or(total))
        .collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(weights[*index]));
    let rest = total - counts.iter().sum::<u32>();
    for index in order.into_iter().cycle().take(rest as usize) {
        counts[index] += 1;
    }
    counts
}
