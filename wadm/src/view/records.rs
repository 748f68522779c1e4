//! Links and configs as the view keeps them.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ComponentId, ConfigName};
use proto::link::Link;

use super::{Changes, ConfigValue, View};

impl View {
    /// All links.
    pub fn apply_links(&mut self, links: Vec<Link>) -> Changes {
        let mut changes = Changes::default();
        let mut by_source: BTreeMap<ComponentId, Vec<Link>> = BTreeMap::new();
        for link in links {
            by_source
                .entry(link.source_id.clone())
                .or_default()
                .push(link);
        }
        let sources: BTreeSet<ComponentId> =
            self.links.keys().chain(by_source.keys()).cloned().collect();
        for source in sources {
            if self.links.get(&source) != by_source.get(&source) || !self.links_known {
                changes.sources.insert(source);
            }
        }
        self.links = by_source;
        self.links_known = true;
        changes
    }

    /// The links of one source.
    pub fn apply_links_of(&mut self, source: &ComponentId, links: Vec<Link>) -> Changes {
        let mut changes = Changes::default();
        if self.links_of(source) != links.as_slice() {
            changes.sources.insert(source.clone());
        }
        if links.is_empty() {
            self.links.remove(source);
        } else {
            self.links.insert(source.clone(), links);
        }
        changes
    }

    /// All configs; from here on each change is told.
    pub fn apply_configs(&mut self, configs: BTreeMap<ConfigName, ConfigValue>) -> Changes {
        let mut changes = Changes::default();
        let names: BTreeSet<ConfigName> =
            self.configs.keys().chain(configs.keys()).cloned().collect();
        for name in names {
            let before = self.config(&name).flatten();
            if before != configs.get(&name) {
                changes.configs.insert(name);
            }
        }
        self.configs = configs
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect();
        self.configs_complete = true;
        changes
    }

    /// One config.
    pub fn apply_config(&mut self, name: &ConfigName, value: Option<ConfigValue>) -> Changes {
        let mut changes = Changes::default();
        if self.config(name) != Some(value.as_ref()) {
            changes.configs.insert(name.clone());
        }
        if value.is_none() && self.configs_complete {
            self.configs.remove(name);
        } else {
            self.configs.insert(name.clone(), value);
        }
        changes
    }
}
