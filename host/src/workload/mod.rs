//! Carries out what the inventory decides: starts, changes and stops what runs here.
//!
//! One command per id at a time, in order of arrival; different ids run side by side. What runs is
//! wired to its links and configs by [`Wiring`], again whenever one of them changes.

mod component;
mod links;
mod provider;
mod rotation;
mod saved;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use proto::ctl::HostInventory;
use proto::id::ComponentId;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::capability::{BuiltinProvider, Builtins, HttpIngress, Remote};
use crate::directory::Directory;
use crate::inventory::{Command, Effect, Inventory};
use crate::lattice::{
    Configs, Connection, Events, Identity, Policy, Records, SecretsClient, Turns,
};
use crate::oci::Fetcher;
use crate::provider::ProviderContext;
use crate::rpc::Server;
use crate::runtime::{RunningComponent, Runtime};
use crate::task::Tasks;

pub use links::Wiring;
pub use rotation::Rotation;
pub use saved::{Saved, Saver, StateFile};

/// How long the calls of a component that was stopped or replaced may go on.
const DRAIN: Duration = Duration::from_secs(30);

/// What workloads are made with.
pub struct Parts {
    /// Who this host is.
    pub identity: Arc<Identity>,
    /// The ctl connection.
    pub ctl: Connection,
    /// The rpc connection.
    pub rpc: Connection,
    /// Where events go.
    pub events: Events,
    /// Links and claims.
    pub records: Records,
    /// Configs.
    pub configs: Configs,
    /// Where secrets come from.
    pub secrets: SecretsClient,
    /// Who permits.
    pub policy: Policy,
    /// Where artifacts come from.
    pub fetcher: Fetcher,
    /// What runs components.
    pub runtime: Arc<Runtime>,
    /// What providers and capabilities are built in.
    pub builtins: Builtins,
    /// What runs here, for requests.
    pub directory: Arc<Directory>,
    /// The way to what runs elsewhere.
    pub remote: Arc<dyn Remote>,
    /// The way from elsewhere to what runs here.
    pub server: Server,
    /// What external providers have in common.
    pub external: ProviderContext,
    /// HTTP listeners.
    pub http: Arc<HttpIngress>,
    /// Official provider images run as built-ins.
    pub map_images: bool,
    /// How long a provider may take to shut down.
    pub provider_grace: Duration,
    /// Where providers keep files.
    pub data_dir: PathBuf,
    /// The supervisor of everything that is spawned.
    pub tasks: Tasks,
}

/// What runs on this host.
pub struct Workloads {
    parts: Parts,
    inventory: Mutex<Inventory>,
    turns: Turns,
    components: Mutex<BTreeMap<ComponentId, component::Running>>,
    providers: Mutex<BTreeMap<ComponentId, provider::Running>>,
    links: links::Links,
    noted_http: Mutex<HashSet<ComponentId>>,
    /// Something that is to be on disk changed.
    dirty: Notify,
    /// Something that links depend on changed.
    rewire: Notify,
    /// Artifacts come from disk as long as they are there: the host is bringing back what ran.
    from_disk: AtomicBool,
    /// What was commanded since the host started, as long as something may still be restored.
    commanded: Mutex<Option<BTreeSet<ComponentId>>>,
    /// A command was carried out: what is on disk from before counts no more.
    touched: AtomicBool,
    stopping: CancellationToken,
}

impl Workloads {
    /// Nothing runs yet.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            inventory: Mutex::new(Inventory::new(parts.identity.id.clone())),
            parts,
            turns: Turns::default(),
            components: Mutex::default(),
            providers: Mutex::default(),
            links: links::Links::default(),
            noted_http: Mutex::default(),
            dirty: Notify::new(),
            rewire: Notify::new(),
            from_disk: AtomicBool::new(false),
            commanded: Mutex::new(Some(BTreeSet::new())),
            touched: AtomicBool::new(false),
            stopping: CancellationToken::new(),
        })
    }

    /// What workloads are made with.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Calls running now.
    pub fn in_flight(&self) -> usize {
        self.parts
            .directory
            .components()
            .iter()
            .map(|component| component.in_flight())
            .sum()
    }

    /// Other hosts' calls go elsewhere from now on.
    pub async fn stop_serving(&self) {
        self.stopping.cancel();
    }

    /// Looks at, or changes, the inventory.
    pub fn inventory<R>(&self, look: impl FnOnce(&mut Inventory) -> R) -> R {
        look(
            &mut self
                .inventory
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// True if anything runs here.
    pub fn has_any(&self) -> bool {
        self.inventory(|now| now.components().next().is_some() || now.providers().next().is_some())
    }

    /// The references of everything that runs here.
    pub fn images(&self) -> Vec<String> {
        self.inventory(|now| {
            let components = now.components().map(|(_, component)| &component.image_ref);
            let providers = now.providers().map(|(_, provider)| &provider.image_ref);
            components.chain(providers).cloned().collect()
        })
    }

    /// The host's inventory, as others see it.
    pub fn describe(&self) -> HostInventory {
        let labels = proto::Labels::clone(&self.parts.identity.labels.load());
        let mut inventory = self.inventory(|now| now.describe(labels));
        self.parts.identity.sign(&mut inventory);
        inventory
    }

    /// Puts a command in the line of `id`; the receiver hears when it has been carried out.
    pub fn submit(self: &Arc<Self>, id: ComponentId, command: Command) -> oneshot::Receiver<()> {
        let (done, heard) = oneshot::channel();
        if self.stopping.is_cancelled() {
            tracing::info!(%id, "not done: this host is stopping");
            return heard;
        }
        let ticket = self.turns.ticket(id.as_str());
        let own = self.clone();
        self.parts.tasks.work("workload", async move {
            let work = async {
                let _turn = ticket.turn().await;
                own.carry_out(command).await;
            };
            tokio::select! {
                () = own.stopping.cancelled() => {}
                () = work => {}
            }
            // Whoever asked may be gone.
            let _ = done.send(());
        });
        heard
    }

    /// The host is part of its lattice (again): what runs here gets its records.
    pub async fn joined(self: &Arc<Self>) {
        self.from_disk.store(false, Ordering::SeqCst);
        let urls: Vec<_> = self.inventory(|now| {
            let components = now
                .components()
                .map(|(id, component)| (id.clone(), component.image_ref.clone()));
            let providers = now.providers().map(|(id, provider)| {
                (
                    id.clone(),
                    proto::reference::without_scheme(&provider.image_ref).to_owned(),
                )
            });
            components.chain(providers).collect()
        });
        for (id, url) in urls {
            self.ensure_record(&id, &url).await;
        }
    }

    async fn carry_out(self: &Arc<Self>, command: Command) {
        let mut effects = VecDeque::from(self.inventory(|now| now.apply(command)));
        while let Some(effect) = effects.pop_front() {
            let Some(outcome) = self.perform(effect).await else {
                continue;
            };
            for effect in self.inventory(|now| now.apply(outcome)).into_iter().rev() {
                effects.push_front(effect);
            }
            self.dirty.notify_one();
        }
        self.touched.store(true, Ordering::SeqCst);
        self.dirty.notify_one();
    }

    async fn perform(self: &Arc<Self>, effect: Effect) -> Option<Command> {
        match effect {
            Effect::Publish(event) => {
                self.parts.events.publish(event).await;
                None
            }
            Effect::Start { id, component } => Some(self.start_component(id, component).await),
            Effect::Resize { id, component } => Some(self.resize_component(id, component).await),
            Effect::Stop(id) => {
                self.stop_component(&id).await;
                None
            }
            Effect::StartProvider { id, provider } => Some(self.start_provider(id, provider).await),
            Effect::StopProvider(id) => {
                self.stop_provider(&id).await;
                None
            }
        }
    }

    /// Waits until the NATS server knows of new subscriptions; cut off, there is nothing to wait for.
    async fn rpc_settled(&self) {
        if self.parts.rpc.is_up() && !self.parts.rpc.settled().await {
            tracing::warn!(
                "NATS has not confirmed the subscriptions of what was started; calls may come late"
            );
        }
    }

    /// Makes the lattice's record of something that runs here. It can wait where NATS cannot.
    async fn ensure_record(&self, id: &ComponentId, url: &str) {
        if !self.parts.ctl.is_up() {
            return;
        }
        if let Err(error) = self.parts.records.ensure(id, url).await {
            tracing::warn!(%id, error = crate::oci::error_chain(&error), "the record could not be made");
        }
    }

    /// Takes no more commands, lets the calls of components end and shuts providers down.
    pub async fn shutdown(self: &Arc<Self>, grace: Duration) {
        self.stopping.cancel();
        let components = std::mem::take(
            &mut *self
                .components
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        join_all(components.into_iter().map(|(id, running)| {
            let own = self.clone();
            async move {
                if !running.end(grace).await {
                    tracing::warn!(%id, "calls did not end in time and were cut off");
                }
                own.parts.directory.remove_component(&id);
            }
        }))
        .await;
        let providers = std::mem::take(
            &mut *self
                .providers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        join_all(providers.into_iter().map(|(id, running)| {
            let own = self.clone();
            async move {
                running.end(own.parts.provider_grace).await;
                own.parts.directory.remove_builtin(&id);
            }
        }))
        .await;
    }

    /// The built-in provider of this id, if it runs here.
    fn peer(&self, id: &ComponentId) -> Option<Arc<dyn BuiltinProvider>> {
        self.parts.directory.builtin(id)
    }

    fn running_component(&self, id: &ComponentId) -> Option<Arc<RunningComponent>> {
        let components = self
            .components
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        components.get(id).map(|running| running.component.clone())
    }
}
