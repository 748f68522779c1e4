//! How each message changes the view.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::Labels;
use proto::ctl::{Host, HostInventory};
use proto::event::{ComponentScaled, Event, ProviderStarted};
use proto::id::{ComponentId, ConfigName, HostId};
use proto::pulse::{Pulse, inventory_digest};

use super::host::{Health, HostView, Instance, Kind, PulseState};
use super::instances::instances;
use super::{Changes, StartFailure, View};
use crate::core::Time;

/// Where an inventory came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A heartbeat, with the host's time.
    Heartbeat(Option<Time>),
    /// An answer to our question.
    Answer,
}

impl View {
    /// A host's event; `sent` is the host's own time.
    pub fn apply_event(
        &mut self,
        source: &HostId,
        event: &Event,
        sent: Option<Time>,
        now: Time,
    ) -> Changes {
        let mut changes = Changes::default();
        match event {
            Event::HostStarted(data) => {
                self.started(source, &data.labels, &data.friendly_name, now, &mut changes)
            }
            Event::HostHeartbeat(data) => {
                self.inventory(source, data, Source::Heartbeat(sent), now, &mut changes);
            }
            Event::HostStopped(_) => self.remove_host(source, &mut changes),
            Event::ComponentScaled(data) => self.scaled(source, data, sent, now, &mut changes),
            Event::ComponentScaleFailed(data) => {
                self.touch(source, now, &mut changes);
                changes.failures.push(StartFailure {
                    host: source.clone(),
                    id: data.component_id.clone(),
                    image: data.image_ref.clone(),
                    error: data.error.clone(),
                });
            }
            Event::ProviderStarted(data) => {
                self.provider_started(source, data, sent, now, &mut changes)
            }
            Event::ProviderStartFailed(data) => {
                self.touch(source, now, &mut changes);
                changes.failures.push(StartFailure {
                    host: source.clone(),
                    id: data.provider_id.clone(),
                    image: data.provider_ref.clone(),
                    error: data.error.clone(),
                });
            }
            Event::ProviderStopped(data) => {
                self.touch(source, now, &mut changes);
                if self.is_new(source, &data.provider_id, sent) {
                    self.set_instance(source, &data.provider_id, None, now, &mut changes);
                }
            }
            Event::HealthCheckPassed(data) => {
                self.health(source, &data.provider_id, Health::Passed, now, &mut changes)
            }
            Event::HealthCheckFailed(data) => {
                self.health(source, &data.provider_id, Health::Failed, now, &mut changes)
            }
            Event::HealthCheckStatus(_) | Event::LinkdefSetFailed(_) => {
                self.touch(source, now, &mut changes)
            }
            Event::LinkdefSet(_) | Event::LinkdefDeleted(_) => {
                self.touch(source, now, &mut changes);
                changes.links_stale = true;
            }
            Event::ConfigSet(data) => {
                self.config_touched(source, &data.config_name, now, &mut changes)
            }
            Event::ConfigDeleted(data) => {
                self.config_touched(source, &data.config_name, now, &mut changes)
            }
            Event::LabelsChanged(data) => {
                self.touch(source, now, &mut changes);
                self.set_labels(source, &data.labels, &mut changes);
                self.stale(source);
            }
        }
        changes
    }

    /// A pulse.
    pub fn apply_pulse(&mut self, pulse: &Pulse, now: Time) -> Changes {
        let mut changes = Changes::default();
        self.touch(&pulse.host_id, now, &mut changes);
        let Some(host) = self.hosts.get_mut(&pulse.host_id) else {
            return changes;
        };
        let first = host.pulse.is_none();
        // A late pulse is no restart: only one that begins again is.
        let again = host
            .pulse
            .as_ref()
            .is_some_and(|last| pulse.sequence <= 2 && last.sequence > pulse.sequence + 5);
        let late = host
            .pulse
            .as_ref()
            .is_some_and(|last| pulse.sequence < last.sequence)
            && !again;
        if !late {
            let interval = Duration::from_millis(pulse.interval_ms.clamp(50, 60_000));
            host.pulse = Some(PulseState {
                interval,
                sequence: pulse.sequence,
                digest: pulse.inventory_digest.clone(),
            });
        }
        if again && host.restart(now) {
            host.asked = None;
            changes.restarted.insert(pulse.host_id.clone());
            changes.hosts.insert(pulse.host_id.clone());
            self.membership += 1;
        }
        if first {
            changes.hosts.insert(pulse.host_id.clone());
            self.membership += 1;
        }
        self.ask_if_stale(&pulse.host_id, now, &mut changes);
        changes
    }

    /// An answer to a ping: the host is there; what it runs is asked for if it is not known.
    pub fn apply_ping(&mut self, answer: &Host, now: Time) -> Changes {
        let mut changes = Changes::default();
        self.touch(&answer.id, now, &mut changes);
        if let Some(host) = self.hosts.get_mut(&answer.id) {
            host.name.clone_from(&answer.friendly_name);
            host.version = answer.version.clone().unwrap_or_default();
        }
        self.set_labels(&answer.id, &answer.labels, &mut changes);
        self.ask_if_stale(&answer.id, now, &mut changes);
        changes
    }

    /// An answer to our question for the inventory.
    pub fn apply_inventory(
        &mut self,
        id: &HostId,
        inventory: &HostInventory,
        now: Time,
    ) -> Changes {
        let mut changes = Changes::default();
        self.inventory(id, inventory, Source::Answer, now, &mut changes);
        changes
    }

    /// Any sign of life.
    fn touch(&mut self, id: &HostId, now: Time, changes: &mut Changes) {
        let membership = &mut self.membership;
        let host = self.hosts.entry(id.clone()).or_insert_with(|| {
            changes.hosts.insert(id.clone());
            *membership += 1;
            HostView::new(id.clone(), now)
        });
        host.last_seen = host.last_seen.max(now);
        host.no_responders.clear();
        if host.lost_since.take().is_some() {
            host.known = false;
            host.appeared = now;
            changes.hosts.insert(id.clone());
            *membership += 1;
        }
        if !host.known && host.asked.is_none() {
            host.asked = Some(now);
            changes.ask.insert(id.clone());
        }
    }

    fn started(
        &mut self,
        id: &HostId,
        labels: &Labels,
        name: &str,
        now: Time,
        changes: &mut Changes,
    ) {
        let young = self
            .hosts
            .get(id)
            .is_some_and(|host| host.known && host.uptime == 0 && host.instances.is_empty());
        self.touch(id, now, changes);
        self.set_labels(id, labels, changes);
        if let Some(host) = self.hosts.get_mut(id) {
            name.clone_into(&mut host.name);
            if !young && host.restart(now) {
                host.asked = Some(now);
                changes.ask.insert(id.clone());
                changes.restarted.insert(id.clone());
                changes.hosts.insert(id.clone());
                self.membership += 1;
            }
        }
    }

    pub(super) fn remove_host(&mut self, id: &HostId, changes: &mut Changes) {
        let Some(host) = self.hosts.get(id) else {
            return;
        };
        let ids: Vec<ComponentId> = host.instances.keys().cloned().collect();
        for instance in ids {
            self.set_instance(id, &instance, None, Time::default(), changes);
        }
        self.hosts.remove(id);
        changes.hosts.insert(id.clone());
        changes.restarted.insert(id.clone());
        self.membership += 1;
    }

    fn set_labels(&mut self, id: &HostId, labels: &Labels, changes: &mut Changes) {
        if let Some(host) = self.hosts.get_mut(id).filter(|host| host.labels != *labels) {
            host.labels.clone_from(labels);
            changes.hosts.insert(id.clone());
            self.membership += 1;
        }
    }

    /// What is known of the host's inventory may no longer be true.
    fn stale(&mut self, id: &HostId) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.digest = None;
        }
    }

    fn ask_if_stale(&mut self, id: &HostId, now: Time, changes: &mut Changes) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        let told = host.pulse.as_ref().and_then(|pulse| pulse.digest.as_ref());
        let stale = !host.known || told.is_some_and(|digest| host.digest.as_ref() != Some(digest));
        let waiting = host
            .asked
            .is_some_and(|asked| now.since(asked) < Duration::from_millis(700));
        if stale && !waiting {
            host.asked = Some(now);
            changes.ask.insert(id.clone());
        }
    }

    fn inventory(
        &mut self,
        id: &HostId,
        inventory: &HostInventory,
        from: Source,
        now: Time,
        changes: &mut Changes,
    ) {
        if let (Source::Heartbeat(Some(sent)), Some(host)) = (from, self.hosts.get_mut(id)) {
            if host.heartbeat_time.is_some_and(|last| sent < last) {
                self.touch(id, now, changes);
                return;
            }
            host.heartbeat_time = Some(sent);
        }
        self.touch(id, now, changes);
        self.set_labels(id, &inventory.labels, changes);
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.name.clone_from(&inventory.friendly_name);
        host.version.clone_from(&inventory.version);
        if inventory.uptime_seconds + 1 < host.uptime && host.restart(now) {
            changes.restarted.insert(id.clone());
        }
        host.uptime = inventory.uptime_seconds;
        // What changed by an event after the question was asked may be newer than the answer.
        let asked = if from == Source::Answer {
            host.asked
        } else {
            None
        };
        let mut fresh = true;
        let was_known = std::mem::replace(&mut host.known, true);
        let listed = instances(inventory, now);
        let all: BTreeSet<ComponentId> = host
            .instances
            .keys()
            .chain(listed.keys())
            .cloned()
            .collect();
        let changed_since: Vec<ComponentId> = all
            .iter()
            .filter(|instance| was_known && host.changed_since(instance, asked, from))
            .cloned()
            .collect();
        for instance in all {
            if changed_since.contains(&instance) {
                fresh = false;
                continue;
            }
            self.set_instance(id, &instance, listed.get(&instance).cloned(), now, changes);
        }
        if let Some(host) = self.hosts.get_mut(id) {
            host.digest = fresh.then(|| inventory_digest(inventory));
            if from == Source::Answer {
                host.asked = None;
            }
            if !was_known {
                changes.hosts.insert(id.clone());
                changes.workloads.extend(
                    host.instances
                        .keys()
                        .map(|instance| (id.clone(), instance.clone())),
                );
                changes.applications.extend(
                    host.instances
                        .values()
                        .filter_map(|i| i.application().map(str::to_owned)),
                );
                self.membership += 1;
            }
        }
    }

    /// Whether an event is news: not older than what the host told before.
    fn is_new(&mut self, host: &HostId, id: &ComponentId, sent: Option<Time>) -> bool {
        let (Some(host), Some(sent)) = (self.hosts.get_mut(host), sent) else {
            return true;
        };
        if host.heartbeat_time.is_some_and(|last| sent < last) {
            return false;
        }
        match host.event_times.get(id) {
            Some(last) if sent < *last => false,
            _ => {
                host.event_times.insert(id.clone(), sent);
                true
            }
        }
    }

    fn scaled(
        &mut self,
        id: &HostId,
        data: &ComponentScaled,
        sent: Option<Time>,
        now: Time,
        changes: &mut Changes,
    ) {
        self.touch(id, now, changes);
        self.stale(id);
        if !self.is_new(id, &data.component_id, sent) {
            return;
        }
        if data.max_instances == 0 {
            // After an update upstream says 0 of the new image, though it runs. So a 0 counts only
            // for the image that was known; else the inventory has to tell.
            let known = self
                .hosts
                .get(id)
                .and_then(|host| host.instances.get(&data.component_id));
            if known.is_some_and(|known| known.image != data.image_ref || known.since == now) {
                changes.ask.insert(id.clone());
                return;
            }
            self.set_instance(id, &data.component_id, None, now, changes);
            return;
        }
        let instance = Instance::new(
            Kind::Component,
            data.image_ref.clone(),
            data.max_instances,
            data.annotations.clone(),
            now,
        );
        // An event of a running component shows the marks as they were before; only the inventory
        // shows them as they are.
        if self
            .hosts
            .get(id)
            .is_some_and(|host| host.instances.contains_key(&data.component_id))
        {
            changes.ask.insert(id.clone());
        }
        self.set_instance(id, &data.component_id, Some(instance), now, changes);
    }

    fn provider_started(
        &mut self,
        id: &HostId,
        data: &ProviderStarted,
        sent: Option<Time>,
        now: Time,
        changes: &mut Changes,
    ) {
        self.touch(id, now, changes);
        self.stale(id);
        if self.is_new(id, &data.provider_id, sent) {
            let instance = Instance::new(
                Kind::Provider,
                data.image_ref.clone(),
                1,
                data.annotations.clone(),
                now,
            );
            self.set_instance(id, &data.provider_id, Some(instance), now, changes);
        }
    }

    fn health(
        &mut self,
        id: &HostId,
        provider: &ComponentId,
        health: Health,
        now: Time,
        changes: &mut Changes,
    ) {
        self.touch(id, now, changes);
        let instance = self
            .hosts
            .get_mut(id)
            .and_then(|host| host.instances.get_mut(provider));
        if let Some(instance) = instance.filter(|instance| instance.health != health) {
            instance.health = health;
            changes.workloads.insert((id.clone(), provider.clone()));
        }
    }

    fn config_touched(
        &mut self,
        source: &HostId,
        name: &ConfigName,
        now: Time,
        changes: &mut Changes,
    ) {
        self.touch(source, now, changes);
        if !self.configs_complete {
            self.configs.remove(name);
            changes.configs.insert(name.clone());
        }
    }
}
