//! Light stand-ins for hosts: they speak the real control interface, events, heartbeats and signs
//! of life over a real NATS server, and run nothing. A thousand of them fit in one process.
//!
//! They keep every command they got, with its time, so that a test can say what may not be sent.

mod answer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::Client;
use futures::StreamExt;
use proto::ctl::{ComponentDescription, Host, HostInventory, ProviderDescription};
use proto::event::{CloudEvent, Event, HostStarted, HostStopped, LabelsChanged};
use proto::id::{ComponentId, HostId, Lattice};
use proto::link::Link;
use proto::pulse::{Pulse, inventory_digest};
use proto::subject::{Ctl, CtlSubject, PulseSubject, ctl};
use tokio::task::JoinHandle;

/// How often a stand-in shows that it lives.
const PULSE_EVERY: Duration = Duration::from_secs(1);

/// Pulses between two heartbeats, as upstream's default.
const PULSES_PER_HEARTBEAT: u64 = 30;

/// The version that stand-ins say they have; semver, or upstream's wadm would not read it.
const VERSION: &str = "1.9.2";

/// A command that a stand-in got.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// What, and for which host.
    pub request: Ctl,
    /// Its body.
    pub body: serde_json::Value,
}

/// One host.
#[derive(Clone, Debug, Default)]
pub(crate) struct StandIn {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) components: BTreeMap<ComponentId, ComponentDescription>,
    pub(crate) providers: BTreeMap<ComponentId, ProviderDescription>,
    alive: bool,
    sequence: u64,
    digest: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) hosts: BTreeMap<HostId, StandIn>,
    pub(crate) links: Vec<Link>,
    pub(crate) configs: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) failing: BTreeMap<String, String>,
    received: Vec<Received>,
}

pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) lattice: Lattice,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn emit(&self, source: &HostId, event: Event) {
        let subject = event.subject(&self.lattice).to_string();
        let bytes = CloudEvent::now(source.clone(), event).to_bytes();
        // The server may be down: then the event is lost, as a host's would be.
        let _ = self.client.publish(subject, bytes.into()).await;
    }
}

/// The stand-ins of one lattice. They vanish without a word when dropped.
pub struct StandIns {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl StandIns {
    /// Starts one host per set of labels, called `{prefix}0`, `{prefix}1`, …
    ///
    /// # Errors
    /// When NATS does not take the subscription.
    pub async fn start(
        client: Client,
        lattice: &Lattice,
        hosts: impl IntoIterator<Item = BTreeMap<String, String>>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            client,
            lattice: lattice.clone(),
            state: Mutex::default(),
        });
        let all = ctl::every_request(ctl::DEFAULT_PREFIX, lattice);
        let mut requests = shared
            .client
            .subscribe(all)
            .await
            .context("subscribing to control requests")?;
        shared
            .client
            .flush()
            .await
            .context("subscribing to control requests")?;
        let answering = shared.clone();
        let tasks = vec![
            tokio::spawn(async move {
                while let Some(message) = requests.next().await {
                    answering.answer(message).await;
                }
            }),
            tokio::spawn(Shared::live(shared.clone())),
        ];
        let stand_ins = Self { shared, tasks };
        for labels in hosts {
            stand_ins.join(labels).await;
        }
        Ok(stand_ins)
    }

    /// Adds a host and returns its id.
    pub async fn join(&self, labels: BTreeMap<String, String>) -> HostId {
        let id = {
            let mut state = self.shared.lock();
            let id = host_id(state.hosts.len());
            state.hosts.insert(
                id.clone(),
                StandIn {
                    labels: labels.clone(),
                    alive: true,
                    ..StandIn::default()
                },
            );
            id
        };
        self.shared.emit(&id, started(labels)).await;
        id
    }

    /// The ids, in the order of joining.
    pub fn ids(&self) -> Vec<HostId> {
        self.shared.lock().hosts.keys().cloned().collect()
    }

    /// A host falls silent, with all it ran.
    pub fn kill(&self, host: &HostId) {
        if let Some(host) = self.shared.lock().hosts.get_mut(host) {
            host.alive = false;
        }
    }

    /// A host says goodbye and ends.
    pub async fn stop(&self, host: &HostId) {
        let labels = self
            .shared
            .lock()
            .hosts
            .get(host)
            .map(|host| host.labels.clone())
            .unwrap_or_default();
        self.shared
            .emit(host, Event::HostStopped(HostStopped { labels }))
            .await;
        self.kill(host);
    }

    /// A killed host comes back under its id, running nothing.
    pub async fn restart(&self, id: &HostId) {
        let labels = {
            let mut state = self.shared.lock();
            let Some(host) = state.hosts.get_mut(id) else {
                return;
            };
            *host = StandIn {
                labels: host.labels.clone(),
                alive: true,
                ..StandIn::default()
            };
            host.labels.clone()
        };
        self.shared.emit(id, started(labels)).await;
    }

    /// A killed host is heard again, running what it ran: it was only cut off.
    pub fn heal(&self, host: &HostId) {
        if let Some(host) = self.shared.lock().hosts.get_mut(host) {
            host.alive = true;
        }
    }

    /// Changes one label.
    pub async fn label(&self, id: &HostId, key: &str, value: &str) {
        let labels = {
            let mut state = self.shared.lock();
            let Some(host) = state.hosts.get_mut(id) else {
                return;
            };
            host.labels.insert(key.to_owned(), value.to_owned());
            host.digest = None;
            host.labels.clone()
        };
        self.shared
            .emit(
                id,
                Event::LabelsChanged(LabelsChanged {
                    host_id: id.clone(),
                    labels,
                }),
            )
            .await;
    }

    /// From now on nothing of that image starts; the reason is `error`. None lets it start again.
    pub fn fail(&self, image: &str, error: Option<&str>) {
        let failing = &mut self.shared.lock().failing;
        match error {
            Some(error) => failing.insert(image.to_owned(), error.to_owned()),
            None => failing.remove(image),
        };
    }

    /// Instances of a component per living host.
    pub fn instances(&self, component: &str) -> BTreeMap<HostId, u32> {
        let state = self.shared.lock();
        let living = state.hosts.iter().filter(|(_, host)| host.alive);
        living
            .filter_map(|(id, host)| {
                Some((id.clone(), host.components.get(component)?.max_instances))
            })
            .collect()
    }

    /// Instances of all components on living hosts.
    pub fn all_instances(&self) -> u64 {
        let state = self.shared.lock();
        let living = state.hosts.values().filter(|host| host.alive);
        living
            .flat_map(|host| host.components.values())
            .map(|c| u64::from(c.max_instances))
            .sum()
    }

    /// Components on living hosts: one for each id and host.
    pub fn placements(&self) -> usize {
        let state = self.shared.lock();
        state
            .hosts
            .values()
            .filter(|host| host.alive)
            .map(|host| host.components.len())
            .sum()
    }

    /// The living hosts that run a provider.
    pub fn providers(&self, provider: &str) -> BTreeSet<HostId> {
        let state = self.shared.lock();
        let living = state.hosts.iter().filter(|(_, host)| host.alive);
        living
            .filter(|(_, host)| host.providers.contains_key(provider))
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The links.
    pub fn links(&self) -> Vec<Link> {
        self.shared.lock().links.clone()
    }

    /// The configs.
    pub fn configs(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.shared.lock().configs.clone()
    }

    /// Every command so far; questions are not commands.
    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().received.clone()
    }

    /// How many commands came so far.
    pub fn received_count(&self) -> usize {
        self.shared.lock().received.len()
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A host id of the usual form.
fn host_id(number: usize) -> HostId {
    HostId::new(format!("N{number:0>55}")).expect("letters and digits")
}

fn started(labels: BTreeMap<String, String>) -> Event {
    Event::HostStarted(HostStarted {
        friendly_name: "stand-in".into(),
        labels,
        uptime_seconds: 0,
        version: VERSION.into(),
    })
}

impl StandIn {
    pub(crate) fn changed(&mut self) {
        self.digest = None;
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    pub(crate) fn inventory(&self, id: &HostId) -> HostInventory {
        HostInventory {
            components: self.components.values().cloned().collect(),
            providers: self.providers.values().cloned().collect(),
            host_id: id.to_string(),
            friendly_name: "stand-in".into(),
            labels: self.labels.clone(),
            version: VERSION.into(),
            uptime_human: format!("{}s", self.sequence),
            uptime_seconds: self.sequence,
        }
    }

    pub(crate) fn describe(&self, id: &HostId, lattice: &Lattice) -> Host {
        Host {
            id: id.clone(),
            friendly_name: "stand-in".into(),
            labels: self.labels.clone(),
            lattice: lattice.to_string(),
            uptime_seconds: self.sequence,
            uptime_human: None,
            version: Some(VERSION.into()),
            rpc_host: None,
            ctl_host: None,
            js_domain: None,
        }
    }

    fn pulse(&mut self, id: &HostId) -> Pulse {
        self.sequence += 1;
        if self.digest.is_none() {
            self.digest = Some(inventory_digest(&self.inventory(id)));
        }
        Pulse {
            host_id: id.clone(),
            sequence: self.sequence,
            interval_ms: u64::try_from(PULSE_EVERY.as_millis()).unwrap_or(1000),
            inventory_digest: self.digest.clone(),
        }
    }
}

impl Shared {
    /// Shows every second that the living hosts live, and now and then what they run.
    async fn live(self: Arc<Self>) {
        let mut every = tokio::time::interval(PULSE_EVERY);
        loop {
            every.tick().await;
            let (pulses, heartbeats) = self.signs_of_life();
            for pulse in pulses {
                let subject = PulseSubject {
                    lattice: self.lattice.clone(),
                    host: pulse.host_id.clone(),
                };
                let bytes = serde_json::to_vec(&pulse).unwrap_or_default();
                let _ = self.client.publish(subject.to_string(), bytes.into()).await;
            }
            for (id, inventory) in heartbeats {
                self.emit(&id, Event::HostHeartbeat(inventory)).await;
            }
        }
    }

    fn signs_of_life(&self) -> (Vec<Pulse>, Vec<(HostId, HostInventory)>) {
        let mut state = self.lock();
        let (mut pulses, mut heartbeats) = (Vec::new(), Vec::new());
        for (index, (id, host)) in state
            .hosts
            .iter_mut()
            .enumerate()
            .filter(|(_, (_, host))| host.alive)
        {
            pulses.push(host.pulse(id));
            // Spread over the interval, so that a thousand do not all speak at once.
            let offset = u64::try_from(index).unwrap_or(0) % PULSES_PER_HEARTBEAT;
            if host.sequence % PULSES_PER_HEARTBEAT == offset
                && host.sequence >= PULSES_PER_HEARTBEAT
            {
                heartbeats.push((id.clone(), host.inventory(id)));
            }
        }
        (pulses, heartbeats)
    }

    fn note(&self, request: &Ctl, body: &[u8]) {
        let body = serde_json::from_slice(body).unwrap_or_default();
        self.lock().received.push(Received {
            at: Instant::now(),
            request: request.clone(),
            body,
        });
    }

    async fn answer(&self, message: async_nats::Message) {
        let Ok(subject) = CtlSubject::parse(ctl::DEFAULT_PREFIX, &message.subject) else {
            return;
        };
        let is_command = !matches!(
            subject.request,
            Ctl::PingHosts | Ctl::Inventory(_) | Ctl::GetLinks | Ctl::GetClaims | Ctl::GetConfig(_)
        );
        let Some(answers) = self.act(&subject.request, &message.payload).await else {
            return;
        };
        if is_command {
            self.note(&subject.request, &message.payload);
        }
        if let Some(inbox) = message.reply {
            for answer in answers {
                let _ = self.client.publish(inbox.clone(), answer).await;
            }
        }
    }
}
