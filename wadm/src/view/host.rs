//! One host as it is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use proto::id::{ComponentId, HostId};
use proto::names::{self, CORDON_LABEL, DRAIN_LABEL};
use proto::{Annotations, Labels};

use crate::core::Time;

/// Component or provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Wasm, counted in instances.
    Component,
    /// A capability provider, one to a host.
    Provider,
}

/// What health checks say of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No check was heard of.
    #[default]
    Unknown,
    /// The last one passed.
    Passed,
    /// The last one failed.
    Failed,
}

/// A component or provider on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Component or provider.
    pub kind: Kind,
    /// The image, without scheme for providers.
    pub image: String,
    /// Most concurrent instances; 1 for a provider.
    pub count: u32,
    /// Marks.
    pub annotations: Annotations,
    /// Providers only.
    pub health: Health,
    /// When it was first seen like this.
    pub since: Time,
    /// How often its host had to start it again, by the host's own count. Providers only.
    pub restarts: u32,
    /// When that was last noticed.
    pub restarted_at: Option<Time>,
}

impl Instance {
    /// Something seen for the first time.
    #[must_use]
    pub fn new(
        kind: Kind,
        image: impl Into<String>,
        count: u32,
        annotations: Annotations,
        since: Time,
    ) -> Self {
        Self {
            kind,
            image: image.into(),
            count,
            annotations,
            health: Health::Unknown,
            since,
            restarts: 0,
            restarted_at: None,
        }
    }

    /// The application in the marks; the empty name for what wadm manages for no one application.
    #[must_use]
    pub fn application(&self) -> Option<&str> {
        let managed = self
            .annotations
            .get(names::MANAGED_BY)
            .is_some_and(|by| by == names::MANAGER);
        managed.then(|| {
            self.annotations
                .get(names::APP_SPEC)
                .map_or("", String::as_str)
        })
    }

    /// The scaler id in the marks.
    #[must_use]
    pub fn scaler(&self) -> Option<&str> {
        self.annotations.get(names::SCALER).map(String::as_str)
    }
}

/// A host.
#[derive(Clone, Debug)]
pub struct HostView {
    /// Its id.
    pub id: HostId,
    /// What people call it.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its program's version.
    pub version: String,
    /// What it runs.
    pub instances: BTreeMap<ComponentId, Instance>,
    /// When it was first heard of, or heard of again after it was lost.
    pub(super) appeared: Time,
    /// The last sign of life.
    pub last_seen: Time,
    /// Since when it counts as lost.
    pub lost_since: Option<Time>,
    pub(super) known: bool,
    pub(super) pulse: Option<PulseState>,
    pub(super) digest: Option<String>,
    pub(super) uptime: u64,
    pub(super) asked: Option<Time>,
    pub(super) no_responders: Vec<Time>,
    /// When it was last noticed to have started anew.
    pub(super) restarted: Option<Time>,
    /// Times the host put on its last events, by subject.
    pub(super) event_times: BTreeMap<ComponentId, Time>,
    pub(super) heartbeat_time: Option<Time>,
}

#[derive(Clone, Debug)]
pub(super) struct PulseState {
    pub interval: Duration,
    pub sequence: u64,
    pub digest: Option<String>,
}

impl HostView {
    pub(super) fn new(id: HostId, now: Time) -> Self {
        Self {
            id,
            name: String::new(),
            labels: Labels::new(),
            version: String::new(),
            instances: BTreeMap::new(),
            appeared: now,
            last_seen: now,
            lost_since: None,
            known: false,
            pulse: None,
            digest: None,
            uptime: 0,
            asked: None,
            no_responders: Vec::new(),
            restarted: None,
            event_times: BTreeMap::new(),
            heartbeat_time: None,
        }
    }

    /// Notes that it started anew; false when that was noted just before, by another sign of it.
    pub(super) fn restart(&mut self, now: Time) -> bool {
        let again = self
            .restarted
            .is_none_or(|at| now.since(at) >= Duration::from_secs(3));
        if let Some(pulse) = &mut self.pulse {
            pulse.sequence = 0;
        }
        if again {
            self.restarted = Some(now);
            self.known = false;
            self.digest = None;
            self.uptime = 0;
            self.heartbeat_time = None;
            self.event_times.clear();
        }
        again
    }

    /// Whether it is alive and its inventory is known.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.known && self.lost_since.is_none()
    }

    /// Whether it is one of ours: it sends pulses, updates components rightly, has built-ins.
    #[must_use]
    pub fn ours(&self) -> bool {
        self.pulse.is_some()
    }

    /// Whether it has all of these labels.
    #[must_use]
    pub fn has(&self, requirements: &BTreeMap<String, String>) -> bool {
        requirements
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Whether it gets nothing new.
    #[must_use]
    pub fn cordoned(&self) -> bool {
        self.marked(CORDON_LABEL) || self.draining()
    }

    /// Whether what it runs is to move away.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.marked(DRAIN_LABEL)
    }

    fn marked(&self, label: &str) -> bool {
        self.labels.get(label).is_some_and(|value| value != "false")
    }

    /// What people call it, or its id.
    #[must_use]
    pub fn display(&self) -> &str {
        if self.name.is_empty() {
            self.id.as_str()
        } else {
            &self.name
        }
    }
}
