//! The loop around the pure controller: one [`lattice::Actor`] per lattice feeds it what is heard
//! and carries out what it wants. Nothing is decided here.

mod lattice;
mod lead;
mod listen;
mod mirror;
mod wire;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::id::Lattice;
use proto::manifest::Manifest;
use proto::subject::wadm::RetrySubject;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::core::{Input, Preview};
use crate::task::{Task, TaskError};

pub use lattice::Settings;
pub use listen::Listen;
pub use mirror::{FollowManifests, FollowRetired};

/// Most lattices one process looks after; further ones are left to other controllers.
const LATTICES_MAX: usize = 1024;

/// Messages that may wait for one lattice's actor.
const INBOX_MAX: usize = 8192;

/// How long the question what a deploy would change may take.
const PLAN_DEADLINE: Duration = Duration::from_secs(8);

/// Pause before an actor that ended by a panic is started anew.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Why a lattice's controller did not answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Too many lattices.
    #[error(
        "this controller already looks after {LATTICES_MAX} lattices; start another one for more"
    )]
    TooMany,
    /// It took too long, or is stopping.
    #[error("the controller of lattice `{0}` did not answer in time; try again")]
    Silent(Lattice),
}

/// What an actor is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something for the controller.
    Hear(Box<Input>),
    /// Messages were dropped because the actor was busy: what they said has to be asked for.
    Missed,
    /// What would a deploy of this change?
    Plan(Box<Manifest>, oneshot::Sender<Preview>),
}

/// What is stored of one lattice, as far as it concerns the controller.
#[derive(Clone, Debug, Default)]
struct Stored {
    deployed: BTreeMap<String, Arc<Manifest>>,
    retired: BTreeMap<String, Vec<Arc<Manifest>>>,
    /// The revisions of applications as last written here, until the bucket's watch tells them.
    written: HashMap<String, u64>,
    /// The revisions of applications as the bucket's watch last told them.
    told: HashMap<String, u64>,
}

/// Where news of an application came from, with its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// This process wrote it.
    Written(u64),
    /// The bucket's watch told it.
    Told(u64),
    /// It is not in the bucket.
    Gone,
}

impl Stored {
    /// Whether news with that revision are news.
    fn is_new(&mut self, name: &str, revision: Revision) -> bool {
        match revision {
            Revision::Written(now) => {
                let new = self.told.get(name).is_none_or(|told| *told < now);
                if new {
                    self.written.insert(name.to_owned(), now);
                }
                new
            }
            Revision::Told(now) => {
                self.told.insert(name.to_owned(), now);
                let late = self.written.get(name).is_some_and(|written| now < *written);
                if !late {
                    self.written.remove(name);
                }
                !late
            }
            Revision::Gone => {
                self.told.remove(name);
                self.written.remove(name);
                true
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    inboxes: HashMap<Lattice, mpsc::Sender<Message>>,
    missed: HashMap<Lattice, bool>,
    stored: HashMap<Lattice, Stored>,
    manifests_whole: bool,
    retired_whole: bool,
}

/// An actor to be started.
struct Start {
    lattice: Lattice,
    inbox: mpsc::Receiver<Message>,
}

/// The lattices that are known, and the way to their actors.
#[derive(Clone)]
pub struct Lattices {
    inner: Arc<Mutex<Inner>>,
    starts: mpsc::Sender<Start>,
    client: async_nats::Client,
}

impl Lattices {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to a lattice's actor, which is started if there is none.
    fn inbox(&self, lattice: &Lattice) -> Result<mpsc::Sender<Message>, AskError> {
        let mut inner = self.lock();
        if let Some(inbox) = inner.inboxes.get(lattice) {
            return Ok(inbox.clone());
        }
        if inner.inboxes.len() >= LATTICES_MAX {
            return Err(AskError::TooMany);
        }
        self.open(&mut inner, lattice)
    }

    fn open(
        &self,
        inner: &mut Inner,
        lattice: &Lattice,
    ) -> Result<mpsc::Sender<Message>, AskError> {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let silent = |_| AskError::Silent(lattice.clone());
        self.starts
            .try_send(Start {
                lattice: lattice.clone(),
                inbox,
            })
            .map_err(silent)?;
        if inner.manifests_whole && inner.retired_whole {
            let stored = inner.stored.get(lattice).cloned().unwrap_or_default();
            // The channel is new and empty.
            let _ = sender.try_send(Message::Hear(Box::new(store_input(stored))));
        }
        inner.inboxes.insert(lattice.clone(), sender.clone());
        Ok(sender)
    }

    /// Tells a lattice's actor what was heard on it. When the actor is too busy to take it, it is
    /// told that it missed something, and asks the lattice for everything.
    fn hear(&self, lattice: &Lattice, input: Input) {
        let Ok(inbox) = self.inbox(lattice) else {
            return;
        };
        let missed = self.lock().missed.remove(lattice).unwrap_or(false);
        if missed && inbox.try_send(Message::Missed).is_err() {
            self.lock().missed.insert(lattice.clone(), true);
        }
        if inbox.try_send(Message::Hear(Box::new(input))).is_err() {
            self.lock().missed.insert(lattice.clone(), true);
        }
    }

    /// Tells a lattice's actor something that it must not miss.
    async fn tell(&self, lattice: &Lattice, input: Input) {
        if let Ok(inbox) = self.inbox(lattice) {
            let _ = inbox.send(Message::Hear(Box::new(input))).await;
        }
    }

    /// Makes whoever leads the lattice try the application again at once.
    pub async fn retry(&self, lattice: &Lattice, app: &str) {
        let subject = RetrySubject {
            lattice: lattice.clone(),
            app: app.to_owned(),
        };
        if let Err(error) = self
            .client
            .publish(subject.to_string(), bytes::Bytes::new())
            .await
        {
            tracing::warn!(%lattice, app, %error, "cannot pass on a retry");
        }
    }

    /// What a deploy of `manifest` would change.
    ///
    /// # Errors
    /// When the lattice's actor does not answer.
    pub async fn plan(&self, lattice: &Lattice, manifest: Manifest) -> Result<Preview, AskError> {
        let (sender, answer) = oneshot::channel();
        let silent = || AskError::Silent(lattice.clone());
        let inbox = self.inbox(lattice)?;
        let asked = inbox.send(Message::Plan(Box::new(manifest), sender)).await;
        asked.map_err(|_| silent())?;
        match tokio::time::timeout(PLAN_DEADLINE, answer).await {
            Ok(Ok(preview)) => Ok(preview),
            _ => Err(silent()),
        }
    }
}

fn store_input(stored: Stored) -> Input {
    Input::Store {
        deployed: stored.deployed,
        retired: stored.retired,
    }
}

/// Runs the actors.
pub struct Fleet {
    lattices: Lattices,
    starts: tokio::sync::Mutex<mpsc::Receiver<Start>>,
    settings: Settings,
}

impl Fleet {
    /// No actors yet; they start as lattices are heard of.
    pub fn new(settings: Settings) -> (Lattices, Self) {
        let (sender, starts) = mpsc::channel(LATTICES_MAX);
        let client = settings.nats.client.clone();
        let lattices = Lattices {
            inner: Arc::default(),
            starts: sender,
            client,
        };
        let fleet = Self {
            lattices: lattices.clone(),
            starts: tokio::sync::Mutex::new(starts),
            settings,
        };
        (lattices, fleet)
    }
}

#[async_trait::async_trait]
impl Task for Fleet {
    const NAME: &'static str = "control loop";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut starts = self.starts.lock().await;
        let mut actors: JoinSet<()> = JoinSet::new();
        let mut running: HashMap<tokio::task::Id, Lattice> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(start) = starts.recv() => {
                    let lattice = start.lattice.clone();
                    let actor = lattice::Actor::new(start.lattice, start.inbox, self.settings.clone());
                    let stop = stop.clone();
                    let id = actors.spawn(async move { actor.run(&stop).await }).id();
                    running.insert(id, lattice);
                }
                Some(ended) = actors.join_next_with_id() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => error.id(),
                    };
                    let Some(lattice) = running.remove(&id) else { continue };
                    tracing::error!(%lattice, panicked = ended.is_err(), "a lattice's control loop ended, starting it anew");
                    tokio::time::sleep(RESTART_PAUSE).await;
                    let _ = self.lattices.open(&mut self.lattices.lock(), &lattice);
                }
            }
        }
        while actors.join_next().await.is_some() {}
        Ok(())
    }
}
