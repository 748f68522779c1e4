//! What runs on a host, and the indexes over it.

use std::collections::BTreeMap;

use proto::ctl::HostInventory;
use proto::id::{ComponentId, HostId};
use proto::reference::without_scheme;

use super::apply::Source;
use super::host::{HostView, Instance, Kind};
use super::{Changes, View};
use crate::core::Time;

impl View {
    /// Puts, replaces or removes one instance and keeps the indexes.
    pub(super) fn set_instance(
        &mut self,
        host_id: &HostId,
        id: &ComponentId,
        instance: Option<Instance>,
        now: Time,
        changes: &mut Changes,
    ) {
        let Some(host) = self.hosts.get_mut(host_id) else {
            return;
        };
        let before = host.instances.remove(id);
        let instance = instance.map(|mut instance| {
            if let Some(before) = before.as_ref().filter(|before| same(before, &instance)) {
                instance.since = before.since;
                instance.health = before.health;
            }
            if let Some(before) = &before {
                let again = instance.restarts > before.restarts;
                instance.restarted_at = if again {
                    Some(now)
                } else {
                    before.restarted_at
                };
            }
            instance
        });
        if before == instance {
            host.instances
                .extend(instance.map(|instance| (id.clone(), instance)));
            return;
        }
        changes.workloads.insert((host_id.clone(), id.clone()));
        let key = (host_id.clone(), id.clone());
        if let Some(app) = before.as_ref().and_then(Instance::application) {
            changes.applications.insert(app.to_owned());
            if let Some(marked) = self.by_app.get_mut(app) {
                marked.remove(&key);
                if marked.is_empty() {
                    self.by_app.remove(app);
                }
            }
        }
        match instance {
            Some(instance) => {
                if let Some(app) = instance.application() {
                    changes.applications.insert(app.to_owned());
                    self.by_app.entry(app.to_owned()).or_default().insert(key);
                }
                self.by_id
                    .entry(id.clone())
                    .or_default()
                    .insert(host_id.clone());
                host.instances.insert(id.clone(), instance);
            }
            None => {
                if let Some(hosts) = self.by_id.get_mut(id) {
                    hosts.remove(host_id);
                    if hosts.is_empty() {
                        self.by_id.remove(id);
                    }
                }
            }
        }
    }
}

impl View {
    pub(crate) fn pretend_instance(
        &mut self,
        host: &HostId,
        id: &ComponentId,
        instance: Option<Instance>,
        now: Time,
    ) {
        let mut changes = Changes::default();
        self.set_instance(host, id, instance, now, &mut changes);
    }
}

impl HostView {
    /// Whether an event may have told something newer than an inventory asked for at `asked`.
    pub(super) fn changed_since(
        &self,
        id: &ComponentId,
        asked: Option<Time>,
        from: Source,
    ) -> bool {
        match from {
            Source::Heartbeat(Some(sent)) => {
                self.event_times.get(id).is_some_and(|told| *told > sent)
            }
            Source::Heartbeat(None) => false,
            Source::Answer => {
                let since = self.instances.get(id).map(|instance| instance.since);
                matches!((since, asked), (Some(since), Some(asked)) if since > asked)
            }
        }
    }
}

/// Whether nothing that matters differs.
fn same(a: &Instance, b: &Instance) -> bool {
    a.kind == b.kind && a.image == b.image && a.count == b.count && a.annotations == b.annotations
}

pub(super) fn instances(inventory: &HostInventory, now: Time) -> BTreeMap<ComponentId, Instance> {
    let components = inventory
        .components
        .iter()
        .filter(|component| component.max_instances > 0)
        .map(|component| {
            let instance = Instance::new(
                Kind::Component,
                component.image_ref.clone(),
                component.max_instances,
                component.annotations.clone().unwrap_or_default(),
                now,
            );
            (component.id.clone(), instance)
        });
    let providers = inventory.providers.iter().map(|provider| {
        let image = provider
            .image_ref
            .as_deref()
            .map(without_scheme)
            .unwrap_or_default();
        let annotations = provider.annotations.clone().unwrap_or_default();
        let instance = Instance {
            restarts: provider.restarts.unwrap_or_default(),
            ..Instance::new(Kind::Provider, image, 1, annotations, now)
        };
        (provider.id.clone(), instance)
    });
    components.chain(providers).collect()
}
