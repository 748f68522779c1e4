//! What JetStream keeps: manifests, the record of removals, links, configs, the lease.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::ctl::Fence;
use proto::id::{ComponentId, ConfigName};
use proto::link::Link;
use proto::manifest::Manifest;

use crate::plan::Command;

/// The lease of the one leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease {
    pub holder: Option<usize>,
    pub term: u64,
    pub expires: u64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    pub deployed: BTreeMap<String, Arc<Manifest>>,
    pub retired: BTreeMap<String, Vec<Arc<Manifest>>>,
    /// When an application was undeployed.
    pub undeployed_at: BTreeMap<String, u64>,
    pub links: BTreeMap<ComponentId, Vec<Link>>,
    pub configs: BTreeMap<ConfigName, BTreeMap<String, String>>,
    pub lease: Lease,
}

impl Store {
    /// Deploys or undeploys as the API does: the removal is recorded first.
    pub(super) fn deploy(&mut self, name: &str, manifest: Option<Arc<Manifest>>, now: u64) {
        let before = self.deployed.remove(name);
        if let Some(before) = before.filter(|before| Some(before) != manifest.as_ref()) {
            let retired = self.retired.entry(name.to_owned()).or_default();
            if !retired.contains(&before) {
                retired.push(before);
            }
        }
        match manifest {
            Some(manifest) => {
                self.undeployed_at.remove(name);
                self.deployed.insert(name.to_owned(), manifest);
            }
            None => {
                self.undeployed_at.insert(name.to_owned(), now);
            }
        }
    }

    /// Carries out a command about a record; false when it changes nothing or is refused.
    pub(super) fn apply(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::PutLink(link) => {
                for name in link.config_names() {
                    if !self.configs.contains_key(name) {
                        return Err(format!("Configuration {name} not found in config store. "));
                    }
                }
                let links = self.links.entry(link.source_id.clone()).or_default();
                if links.iter().any(|other| other.conflicts_with(link)) {
                    return Err("link already exists with different target".to_owned());
                }
                links.retain(|other| !other.is_replaced_by(link));
                links.push(link.clone());
            }
            Command::DeleteLink(key) => {
                if let Some(links) = self.links.get_mut(&key.source)
                    && let Some(at) = links.iter().position(|link| link.is(key))
                {
                    links.remove(at);
                }
            }
            Command::PutConfig { name, properties } => {
                self.configs.insert(name.clone(), properties.clone());
            }
            Command::DeleteConfig(name) => {
                self.configs.remove(name);
            }
            Command::Scale { .. }
            | Command::StartProvider { .. }
            | Command::StopProvider { .. } => {}
        }
        Ok(())
    }

    /// Takes or renews the lease.
    pub(super) fn claim(&mut self, controller: usize, now: u64, length: u64) -> Option<Fence> {
        let lease = &mut self.lease;
        if lease.holder != Some(controller) || lease.expires <= now {
            if lease.expires > now {
                return None;
            }
            lease.holder = Some(controller);
            lease.term += 1;
        }
        lease.expires = now + length;
        Some(Fence {
            controller: format!("wadm{controller}"),
            term: lease.term,
        })
    }
}
