//! Keeps what is stored at hand, and tells each lattice's actor what changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use proto::id::Lattice;
use proto::manifest::Manifest;
use proto::subject::wadm::parse_retired_key;
use serde::Deserialize as _;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Lattices, Revision, store_input};
use crate::core::Input;
use crate::store::{AppKey, Followed, Hear, Manifests, Retired, Stored, follow};
use crate::task::{Task, TaskError};

/// Follows the manifests.
pub struct FollowManifests {
    manifests: Manifests,
    lattices: Lattices,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashSet<String>,
    apps: HashMap<String, (Lattice, String)>,
}

impl FollowManifests {
    /// Passes on to `lattices` what is deployed.
    pub fn new(manifests: Manifests, lattices: Lattices) -> Self {
        Self {
            manifests,
            lattices,
            state: Mutex::default(),
        }
    }

    async fn put(
        &self,
        apps: &mut HashMap<String, (Lattice, String)>,
        key: String,
        value: &Bytes,
        revision: u64,
    ) {
        // Lists of names are arrays; only applications are objects.
        if value.first() != Some(&b'{') {
            return;
        }
        let app: Stored = match serde_json::from_slice(value) {
            Ok(app) => app,
            Err(error) => {
                tracing::warn!(key, %error, "a stored application is not readable, left as it runs");
                return;
            }
        };
        let Some((lattice, name)) = AppKey::lattice_of(&key, &app) else {
            return;
        };
        apps.insert(key, (lattice.clone(), name.clone()));
        match app.deployed().map(Manifest::deserialize).transpose() {
            Ok(deployed) => {
                let deployed = deployed.map(Arc::new);
                let revision = Revision::Told(revision);
                self.lattices
                    .deployed_is(&lattice, &name, deployed, revision)
                    .await;
            }
            Err(error) => {
                tracing::warn!(%lattice, name, %error, "a deployed manifest is not readable, left as it runs");
            }
        }
    }
}

#[async_trait::async_trait]
impl Task for FollowManifests {
    const NAME: &'static str = "manifests";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut state = self.state.lock().await;
        let State { known, apps } = &mut *state;
        let mut ear = ManifestEar { task: self, apps };
        follow(self.manifests.bucket(), known, &mut ear, stop).await
    }
}

struct ManifestEar<'a> {
    task: &'a FollowManifests,
    apps: &'a mut HashMap<String, (Lattice, String)>,
}

#[async_trait::async_trait]
impl Hear for ManifestEar<'_> {
    async fn hear(&mut self, heard: Followed) {
        match heard {
            Followed::Put(key, value, revision) => {
                self.task.put(self.apps, key, &value, revision).await
            }
            Followed::Gone(key) => {
                if let Some((lattice, name)) = self.apps.remove(&key) {
                    self.task
                        .lattices
                        .deployed_is(&lattice, &name, None, Revision::Gone)
                        .await;
                }
            }
            Followed::Whole => {
                self.task
                    .lattices
                    .whole(|inner| inner.manifests_whole = true)
                    .await
            }
        }
    }
}

/// Follows the record of removals.
pub struct FollowRetired {
    bucket: async_nats::jetstream::kv::Store,
    lattices: Lattices,
    known: Mutex<HashSet<String>>,
}

impl FollowRetired {
    /// Passes on to `lattices` what was removed.
    pub fn new(bucket: async_nats::jetstream::kv::Store, lattices: Lattices) -> Self {
        Self {
            bucket,
            lattices,
            known: Mutex::default(),
        }
    }

    async fn put(&self, key: &str, manifests: Vec<Arc<Manifest>>) {
        let Some((lattice, name)) = parse_retired_key(key) else {
            return;
        };
        let whole = {
            let mut inner = self.lattices.lock();
            let stored = inner.stored.entry(lattice.clone()).or_default();
            if stored
                .retired
                .insert(name.clone(), manifests.clone())
                .as_ref()
                == Some(&manifests)
            {
                return;
            }
            inner.manifests_whole && inner.retired_whole
        };
        if whole {
            self.lattices
                .tell(&lattice, Input::Retired { name, manifests })
                .await;
        }
    }
}

#[async_trait::async_trait]
impl Task for FollowRetired {
    const NAME: &'static str = "removals";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut known = self.known.lock().await;
        follow(&self.bucket, &mut known, &mut RetiredEar(self), stop).await
    }
}

struct RetiredEar<'a>(&'a FollowRetired);

#[async_trait::async_trait]
impl Hear for RetiredEar<'_> {
    async fn hear(&mut self, heard: Followed) {
        match heard {
            Followed::Put(key, value, _) => self.0.put(&key, Retired::read(&value)).await,
            Followed::Gone(key) => self.0.put(&key, Vec::new()).await,
            Followed::Whole => {
                self.0
                    .lattices
                    .whole(|inner| inner.retired_whole = true)
                    .await
            }
        }
    }
}

impl Lattices {
    /// The deployed manifests of a lattice; none while not everything is known yet.
    pub(crate) fn deployed(&self, lattice: &Lattice) -> Option<BTreeMap<String, Arc<Manifest>>> {
        let inner = self.lock();
        let known = inner.manifests_whole && inner.retired_whole;
        known.then(|| {
            let stored = inner.stored.get(lattice);
            stored
                .map(|stored| stored.deployed.clone())
                .unwrap_or_default()
        })
    }

    /// What should run of an application, as it was written or told.
    pub(crate) async fn deployed_is(
        &self,
        lattice: &Lattice,
        name: &str,
        deployed: Option<Arc<Manifest>>,
        revision: Revision,
    ) {
        let whole = {
            let mut inner = self.lock();
            let stored = inner.stored.entry(lattice.clone()).or_default();
            if !stored.is_new(name, revision) {
                return;
            }
            let before = match &deployed {
                Some(manifest) => stored.deployed.insert(name.to_owned(), manifest.clone()),
                None => stored.deployed.remove(name),
            };
            if before == deployed {
                return;
            }
            inner.manifests_whole && inner.retired_whole
        };
        if whole {
            let name = name.to_owned();
            self.tell(lattice, Input::Application { name, deployed })
                .await;
        }
    }

    /// One of the buckets was read whole. When both are, every lattice gets what is stored of it;
    /// from then on each change is told.
    async fn whole(&self, which: fn(&mut super::Inner)) {
        let (stored, inboxes) = {
            let mut inner = self.lock();
            if inner.manifests_whole && inner.retired_whole {
                return;
            }
            which(&mut inner);
            if !(inner.manifests_whole && inner.retired_whole) {
                return;
            }
            (inner.stored.clone(), inner.inboxes.clone())
        };
        for (lattice, inbox) in &inboxes {
            let input = store_input(stored.get(lattice).cloned().unwrap_or_default());
            let _ = inbox.send(super::Message::Hear(Box::new(input))).await;
        }
        // Lattices that only the store knows: their actors start now, and ask their hosts.
        for lattice in stored
            .keys()
            .filter(|lattice| !inboxes.contains_key(*lattice))
        {
            if let Err(error) = self.inbox(lattice) {
                tracing::warn!(%lattice, %error, "a lattice is left alone");
            }
        }
    }
}
