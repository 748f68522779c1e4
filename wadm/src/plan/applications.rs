//! What should run: deployed applications, and what may remain of others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{ComponentId, ConfigName};
use proto::link::LinkKey;
use proto::manifest::Manifest;

use super::desired::{AppDesired, LinkTo, Workload, compile};

/// One application.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// What should run; none when undeployed.
    pub deployed: Option<Arc<Manifest>>,
    /// Earlier manifests whose links, configs and workloads may remain.
    pub retired: Vec<Arc<Manifest>>,
    desired: Option<Arc<AppDesired>>,
    leftovers: Vec<Arc<AppDesired>>,
}

impl Application {
    /// What should run, compiled.
    #[must_use]
    pub fn desired(&self) -> Option<&Arc<AppDesired>> {
        self.desired.as_ref()
    }

    /// What may remain of earlier manifests, compiled; the newest last.
    #[must_use]
    pub fn leftovers(&self) -> &[Arc<AppDesired>] {
        &self.leftovers
    }
}

/// All applications of a lattice.
#[derive(Clone, Debug, Default)]
pub struct Applications {
    apps: BTreeMap<String, Application>,
    /// Who wants an id to run: deployed applications, and those whose component others still use.
    owners: BTreeMap<ComponentId, String>,
    /// Who wants a link.
    links: BTreeMap<LinkKey, BTreeSet<String>>,
    /// Who names a config, owned or not.
    configs: BTreeMap<ConfigName, BTreeSet<String>>,
    /// Who refers to a component of another application.
    shared: BTreeMap<(String, String), BTreeSet<String>>,
    /// Who has links to a target that his manifest does not declare.
    open: BTreeMap<String, BTreeSet<String>>,
}

impl Applications {
    /// All applications by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Application)> {
        self.apps.iter()
    }

    /// One application.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Application> {
        self.apps.get(name)
    }

    /// Whether the name was ever deployed here: only then its marks are ours to clean up.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.apps.contains_key(name)
    }

    /// Deploys, redeploys or undeploys. Tells whether the record of removals changed.
    pub fn set(&mut self, name: &str, deployed: Option<Arc<Manifest>>) -> bool {
        let app = self.apps.entry(name.to_owned()).or_default();
        let before = std::mem::replace(&mut app.deployed, deployed);
        let mut retired = false;
        if let Some(before) = before
            && app.deployed.as_ref() != Some(&before)
            && !app.retired.contains(&before)
        {
            app.retired.push(before);
            retired = true;
        }
        if let Some(now) = &app.deployed {
            let length = app.retired.len();
            app.retired.retain(|manifest| manifest != now);
            retired |= length != app.retired.len();
        }
        app.desired = app
            .deployed
            .as_ref()
            .map(|manifest| Arc::new(compile(manifest)));
        app.leftovers = app
            .retired
            .iter()
            .map(|manifest| Arc::new(compile(manifest)))
            .collect();
        self.index();
        retired
    }

    /// Takes over a record of removals. Tells whether anything is new.
    pub fn retire(&mut self, name: &str, manifests: Vec<Arc<Manifest>>) -> bool {
        let app = self.apps.entry(name.to_owned()).or_default();
        let before = app.retired.len();
        for manifest in manifests {
            if !app.retired.contains(&manifest) && app.deployed.as_ref() != Some(&manifest) {
                app.retired.push(manifest);
            }
        }
        app.leftovers = app
            .retired
            .iter()
            .map(|manifest| Arc::new(compile(manifest)))
            .collect();
        self.index();
        before != self.apps.get(name).map_or(0, |app| app.retired.len())
    }

    /// Nothing remains of the earlier manifests of `name`.
    pub fn cleaned(&mut self, name: &str) {
        if let Some(app) = self.apps.get_mut(name) {
            app.retired.clear();
            app.leftovers.clear();
            self.index();
        }
    }

    /// Loads everything at once.
    pub fn load(
        &mut self,
        deployed: BTreeMap<String, Arc<Manifest>>,
        retired: BTreeMap<String, Vec<Arc<Manifest>>>,
    ) {
        self.apps.clear();
        for (name, manifest) in deployed {
            let desired = Some(Arc::new(compile(&manifest)));
            self.apps.insert(
                name,
                Application {
                    deployed: Some(manifest),
                    desired,
                    ..Application::default()
                },
            );
        }
        for (name, manifests) in retired {
            let app = self.apps.entry(name).or_default();
            app.retired = manifests
                .into_iter()
                .filter(|manifest| app.deployed.as_ref() != Some(manifest))
                .collect();
            app.leftovers = app
                .retired
                .iter()
                .map(|manifest| Arc::new(compile(manifest)))
                .collect();
        }
        self.index();
    }

    fn index(&mut self) {
        self.owners.clear();
        self.links.clear();
        self.configs.clear();
        self.shared.clear();
        self.open.clear();
        for (name, app) in &self.apps {
            let Some(desired) = &app.desired else {
                continue;
            };
            for shared in &desired.shared {
                let key = (shared.application.clone(), shared.component.clone());
                self.shared.entry(key).or_default().insert(name.clone());
            }
            for workload in &desired.workloads {
                self.owners.insert(workload.id.clone(), name.clone());
                for config in &workload.config {
                    self.configs
                        .entry(config.clone())
                        .or_default()
                        .insert(name.clone());
                }
            }
            for link in &desired.links {
                let key = LinkKey {
                    source: link.source.clone(),
                    name: link.name.clone(),
                    namespace: link.namespace.clone(),
                    package: link.package.clone(),
                };
                self.links.entry(key).or_default().insert(name.clone());
                for config in link.source_config.iter().chain(&link.target_config) {
                    self.configs
                        .entry(config.clone())
                        .or_default()
                        .insert(name.clone());
                }
                if let LinkTo::Open(target) = &link.target {
                    self.open
                        .entry(target.clone())
                        .or_default()
                        .insert(name.clone());
                }
            }
        }
        self.hold();
    }

    /// Components of undeployed applications that others still refer to are still wanted.
    fn hold(&mut self) {
        let mut held = Vec::new();
        for ((app, component), users) in &self.shared {
            if users.is_empty() || self.apps.get(app).is_none_or(|app| app.deployed.is_some()) {
                continue;
            }
            held.extend(
                self.held_workload(app, component)
                    .map(|workload| (app.clone(), workload.clone())),
            );
        }
        for (app, workload) in held {
            for config in &workload.config {
                self.configs
                    .entry(config.clone())
                    .or_default()
                    .insert(app.clone());
            }
            self.owners.insert(workload.id, app);
        }
    }

    fn held_workload(&self, app: &str, component: &str) -> Option<&Workload> {
        let newest = self.apps.get(app)?.leftovers.last()?;
        newest
            .workloads
            .iter()
            .find(|workload| workload.name == component)
    }

    /// Who still refers to a component of `app`.
    #[must_use]
    pub fn users_of(&self, app: &str, component: &str) -> Option<&BTreeSet<String>> {
        self.shared.get(&(app.to_owned(), component.to_owned()))
    }

    /// What should run of `app`: what is deployed, or what others still use of it.
    #[must_use]
    pub fn wanted(&self, name: &str) -> Option<Arc<AppDesired>> {
        let app = self.apps.get(name)?;
        if let Some(desired) = &app.desired {
            return Some(Arc::clone(desired));
        }
        let newest = app.leftovers.last()?;
        let held = |workload: &&Workload| {
            self.users_of(name, &workload.name)
                .is_some_and(|users| !users.is_empty())
        };
        let workloads: Vec<Workload> = newest.workloads.iter().filter(held).cloned().collect();
        if workloads.is_empty() {
            return None;
        }
        let used: BTreeSet<&ConfigName> = workloads
            .iter()
            .flat_map(|workload| &workload.config)
            .collect();
        let configs = newest
            .configs
            .iter()
            .filter(|(name, _)| used.contains(name));
        Some(Arc::new(AppDesired {
            name: name.to_owned(),
            version: newest.version.clone(),
            configs: configs
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            workloads: workloads.clone(),
            links: Vec::new(),
            shared: Vec::new(),
            problems: Vec::new(),
        }))
    }

    /// The application that wants `id` to run.
    #[must_use]
    pub fn owner(&self, id: &ComponentId) -> Option<&str> {
        self.owners.get(id).map(String::as_str)
    }

    /// Whether any application wants this link.
    #[must_use]
    pub fn wants_link(&self, key: &LinkKey) -> bool {
        self.links.contains_key(key)
    }

    /// The applications that name this config.
    #[must_use]
    pub fn config_users(&self, name: &ConfigName) -> Option<&BTreeSet<String>> {
        self.configs.get(name)
    }

    /// Targets that are linked to without being declared, with the applications that do.
    #[must_use]
    pub fn open_targets(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.open
    }

    /// A component of a deployed (or still used) application, by name.
    #[must_use]
    pub fn shared_component(&self, app: &str, component: &str) -> Option<ComponentId> {
        let wanted = self.wanted(app)?;
        wanted
            .workloads
            .iter()
            .find(|workload| workload.name == component)
            .map(|workload| workload.id.clone())
    }

    /// Ids of components with this name in other deployed applications.
    #[must_use]
    pub fn by_component_name(&self, component: &str, except: &str) -> Vec<(String, ComponentId)> {
        let others = self.apps.iter().filter(|(name, _)| *name != except);
        others
            .filter_map(|(name, app)| Some((name, app.desired.as_ref()?)))
            .flat_map(|(name, desired)| {
                let named = desired
                    .workloads
                    .iter()
                    .filter(|workload| workload.name == component);
                named.map(|workload| (name.clone(), workload.id.clone()))
            })
            .collect()
    }

    /// Applications that anything about `names` may concern, those themselves included.
    #[must_use]
    pub fn related(&self, name: &str) -> BTreeSet<String> {
        let mut related = BTreeSet::from([name.to_owned()]);
        for ((app, _), users) in &self.shared {
            if app == name {
                related.extend(users.iter().cloned());
            }
            if users.contains(name) {
                related.insert(app.clone());
            }
        }
        related
    }
}
