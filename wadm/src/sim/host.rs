//! A simulated host: obeys commands as the protocol says a host does, and tells of it in the
//! protocol's events.

use std::collections::{BTreeMap, BTreeSet};

use proto::ctl::{ComponentDescription, Fence, HostInventory, ProviderDescription};
use proto::event::{
    ComponentScaleFailed, ComponentScaled, Event, HostStarted, ProviderStartFailed,
    ProviderStarted, ProviderStopped,
};
use proto::id::{ComponentId, ConfigName, HostId, LinkName};
use proto::pulse::{Pulse, inventory_digest};
use proto::reference::without_scheme;
use proto::{Annotations, Labels};

use crate::core::Reply;
use crate::plan::Command;

/// A component as the host has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub image: String,
    pub count: u32,
    pub annotations: Annotations,
    pub config: Vec<ConfigName>,
}

/// Work that takes a while after it was accepted.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Component { id: ComponentId, wanted: Running },
    Provider { id: ComponentId, wanted: Running },
}

/// A host.
#[derive(Clone, Debug)]
pub(super) struct SimHost {
    pub id: HostId,
    /// Comes back under the same id, as a host with a seed of its own does; others get a new one.
    pub keeps_id: bool,
    /// Ids of earlier lives.
    pub former: Vec<HostId>,
    pub labels: Labels,
    /// Sends pulses and updates rightly; otherwise as upstream's.
    pub ours: bool,
    pub up: bool,
    /// Cut off from NATS.
    pub cut: bool,
    /// Grows with each start, so that work of an earlier life is dropped.
    pub life: u32,
    pub components: BTreeMap<ComponentId, Running>,
    pub providers: BTreeMap<ComponentId, Running>,
    starting: BTreeSet<ComponentId>,
    /// Images that do not start here.
    pub failing: BTreeSet<String>,
    /// Refuses every command.
    pub refuses: bool,
    term: u64,
    sequence: u64,
    pub pulse_ms: u64,
    started_at: u64,
}

impl SimHost {
    pub(super) fn new(id: HostId, labels: Labels, ours: bool, pulse_ms: u64) -> Self {
        Self {
            id,
            keeps_id: false,
            former: Vec::new(),
            labels,
            ours,
            up: true,
            cut: false,
            life: 0,
            components: BTreeMap::new(),
            providers: BTreeMap::new(),
            starting: BTreeSet::new(),
            failing: BTreeSet::new(),
            refuses: false,
            term: 0,
            sequence: 0,
            pulse_ms,
            started_at: 0,
        }
    }

    /// Ends at once, or stays down; nothing of it remains.
    pub(super) fn crash(&mut self) {
        self.up = false;
        self.life += 1;
        self.components.clear();
        self.providers.clear();
        self.starting.clear();
        self.term = 0;
        self.sequence = 0;
    }

    pub(super) fn boot(&mut self, now: u64) -> Event {
        self.up = true;
        self.life += 1;
        self.started_at = now;
        if self.life > 1 && !self.keeps_id {
            self.take_new_id();
        }
        Event::HostStarted(HostStarted {
            friendly_name: self.id.to_string(),
            labels: self.labels.clone(),
            uptime_seconds: 0,
            version: "1.0.0".to_owned(),
        })
    }

    fn take_new_id(&mut self) {
        let first = self.former.first().unwrap_or(&self.id);
        // Letters and digits are a host id whatever the number.
        if let Ok(id) = HostId::new(format!("{first}X{}", self.life)) {
            self.former.push(std::mem::replace(&mut self.id, id));
        }
    }

    pub(super) fn reachable(&self) -> bool {
        self.up && !self.cut
    }

    pub(super) fn inventory(&self, now: u64) -> HostInventory {
        let components = self
            .components
            .iter()
            .map(|(id, running)| ComponentDescription {
                id: id.clone(),
                image_ref: running.image.clone(),
                name: None,
                annotations: Some(running.annotations.clone()),
                revision: 0,
                max_instances: running.count,
                limits: None,
            });
        let providers = self
            .providers
            .iter()
            .map(|(id, running)| ProviderDescription {
                id: id.clone(),
                image_ref: Some(without_scheme(&running.image).to_owned()),
                name: None,
                revision: 0,
                annotations: Some(running.annotations.clone()),
                restarts: None,
            });
        HostInventory {
            components: components.collect(),
            providers: providers.collect(),
            host_id: self.id.to_string(),
            friendly_name: self.id.to_string(),
            labels: self.labels.clone(),
            version: "1.0.0".to_owned(),
            uptime_human: String::new(),
            uptime_seconds: (now - self.started_at) / 1000,
        }
    }

    pub(super) fn pulse(&mut self, now: u64) -> Pulse {
        self.sequence += 1;
        Pulse {
            host_id: self.id.clone(),
            sequence: self.sequence,
            interval_ms: self.pulse_ms,
            inventory_digest: Some(inventory_digest(&self.inventory(now))),
        }
    }

    /// Whether the command comes from a controller that no longer leads.
    pub(super) fn is_fenced(&mut self, fence: &Fence) -> bool {
        if self.ours && fence.term < self.term {
            return true;
        }
        self.term = self.term.max(fence.term);
        false
    }

    /// Takes a command: the answer, what is told at once, and work that takes a while.
    pub(super) fn take(&mut self, command: &Command) -> (Reply, Vec<Event>, Option<Job>) {
        if self.refuses {
            return (
                Reply::Refused("the host has other plans".to_owned()),
                Vec::new(),
                None,
            );
        }
        let accepted = Reply::Accepted(String::new());
        match command {
            Command::Scale {
                id,
                image,
                count,
                annotations,
                config,
                update,
                ..
            } => {
                let wanted = Running {
                    image: image.clone(),
                    count: *count,
                    annotations: annotations.clone(),
                    config: config.clone(),
                };
                let (events, job) = self.scale(id, wanted, *update);
                (accepted, events, job)
            }
            Command::StartProvider {
                id,
                image,
                annotations,
                config,
                ..
            } => {
                if self.providers.contains_key(id) || !self.starting.insert(id.clone()) {
                    let message = "provider with that ID is already running".to_owned();
                    return (Reply::Refused(message), Vec::new(), None);
                }
                let wanted = Running {
                    image: image.clone(),
                    count: 1,
                    annotations: annotations.clone(),
                    config: config.clone(),
                };
                (
                    accepted,
                    Vec::new(),
                    Some(Job::Provider {
                        id: id.clone(),
                        wanted,
                    }),
                )
            }
            Command::StopProvider { id, .. } => match self.providers.remove(id) {
                None => (
                    Reply::Refused("provider with that ID is not running".to_owned()),
                    Vec::new(),
                    None,
                ),
                Some(running) => {
                    let event = Event::ProviderStopped(ProviderStopped {
                        host_id: self.id.clone(),
                        provider_id: id.clone(),
                        annotations: running.annotations,
                        reason: "stop".to_owned(),
                        instance_id: id.to_string(),
                        public_key: id.to_string(),
                        link_name: LinkName::default(),
                    });
                    (accepted, vec![event], None)
                }
            },
            // Records are the lattice's, not a host's.
            Command::PutLink(_)
            | Command::DeleteLink(_)
            | Command::PutConfig { .. }
            | Command::DeleteConfig(_) => (accepted, Vec::new(), None),
        }
    }

    fn scale(
        &mut self,
        id: &ComponentId,
        wanted: Running,
        update: bool,
    ) -> (Vec<Event>, Option<Job>) {
        let job = |wanted| {
            Some(Job::Component {
                id: id.clone(),
                wanted,
            })
        };
        match self.components.get(id).cloned() {
            None if wanted.count == 0 => (vec![self.scaled(id, &wanted)], None),
            None => (Vec::new(), job(wanted)),
            Some(mut running) if wanted.count == 0 => {
                self.components.remove(id);
                running.count = 0;
                (vec![self.scaled(id, &running)], None)
            }
            Some(running) if running.image != wanted.image && update && self.ours => {
                let _ = running;
                (Vec::new(), job(wanted))
            }
            Some(running) if running.count != wanted.count || running.config != wanted.config => {
                // The image stays, the marks are taken over, the event shows those of before.
                let now = Running {
                    image: running.image.clone(),
                    ..wanted
                };
                let shown = Running {
                    annotations: running.annotations,
                    ..now.clone()
                };
                self.components.insert(id.clone(), now);
                (vec![self.scaled(id, &shown)], None)
            }
            Some(running) => (vec![self.scaled(id, &running)], None),
        }
    }

    /// Work is done: what is told of it. `missing` is a config that does not exist.
    pub(super) fn finish(&mut self, job: Job, missing: Option<ConfigName>) -> Vec<Event> {
        let error = |image: &str, failing: &BTreeSet<String>| match missing {
            Some(ref name) => Some(format!(
                "Unable to fetch requested config: Config {name} does not exist"
            )),
            None => failing
                .contains(image)
                .then(|| format!("cannot fetch {image}: 401 denied")),
        };
        match job {
            Job::Component { id, wanted } => {
                if let Some(error) = error(&wanted.image, &self.failing) {
                    return vec![Event::ComponentScaleFailed(ComponentScaleFailed {
                        public_key: None,
                        annotations: wanted.annotations,
                        host_id: self.id.clone(),
                        image_ref: wanted.image,
                        max_instances: wanted.count,
                        component_id: id,
                        error,
                    })];
                }
                let event = self.scaled(&id, &wanted);
                let fresh = self.components.insert(id, wanted).is_none();
                if fresh {
                    vec![event.clone(), event]
                } else {
                    vec![event]
                }
            }
            Job::Provider { id, wanted } => {
                self.starting.remove(&id);
                let image = without_scheme(&wanted.image).to_owned();
                if let Some(error) = error(&wanted.image, &self.failing) {
                    return vec![Event::ProviderStartFailed(ProviderStartFailed {
                        provider_ref: wanted.image,
                        provider_id: id,
                        host_id: self.id.clone(),
                        error,
                        link_name: LinkName::default(),
                    })];
                }
                let event = Event::ProviderStarted(ProviderStarted {
                    host_id: self.id.clone(),
                    image_ref: image,
                    provider_id: id.clone(),
                    annotations: wanted.annotations.clone(),
                    claims: None,
                    instance_id: id.to_string(),
                    public_key: id.to_string(),
                    link_name: LinkName::default(),
                });
                self.providers.insert(id, wanted);
                vec![event]
            }
        }
    }

    fn scaled(&self, id: &ComponentId, running: &Running) -> Event {
        Event::ComponentScaled(ComponentScaled {
            public_key: None,
            claims: None,
            annotations: running.annotations.clone(),
            host_id: self.id.clone(),
            image_ref: running.image.clone(),
            max_instances: running.count,
            component_id: id.clone(),
        })
    }
}
