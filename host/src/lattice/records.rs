//! Component records, links and claims: the lattice's first bucket, kept in memory.
//!
//! Links are written with compare-and-swap on the record's revision: concurrent writers on any
//! number of hosts lose nothing. Fields that this program does not know are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv::{CreateErrorKind, Store, UpdateErrorKind};
use proto::id::{ComponentId, ConfigName, Lattice};
use proto::link::{Link, LinkKey};
use proto::record::{ClaimsRecord, ComponentRecord};
use proto::subject::{RecordKey, bucket};
use tokio::sync::watch;

use super::bucket::{Bucket, BucketError, FROM_DISK, Sink};
use super::{Connection, Follow, Turns};

/// How often a write is tried again after somebody else wrote first.
const CONFLICTS_MAX: u32 = 200;
/// Longest pause after such a conflict.
const CONFLICT_PAUSE_MAX: u64 = 40;

/// Why a link was not put.
#[derive(Debug, thiserror::Error)]
pub enum LinkPutError {
    /// Configs or secret references it names do not exist.
    #[error("Failed to validate configuration and secrets. {}", missing(names))]
    Names {
        /// The missing names.
        names: Vec<ConfigName>,
    },
    /// Another target has the link.
    #[error(
        "link already exists with different target, consider deleting the existing link or using a different link name"
    )]
    OtherTarget,
    /// The record could not be read or written.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A config could not be read.
    #[error(transparent)]
    Config(#[from] super::ConfigError),
    /// Others kept writing the same record.
    #[error("the links of `{0}` are being changed by too many others at once; try again")]
    Contended(ComponentId),
}

fn missing(names: &[ConfigName]) -> String {
    let one = |name: &ConfigName| {
        let kind = if name.is_secret() {
            "Secret reference"
        } else {
            "Configuration"
        };
        format!("{kind} {name} not found in config store. ")
    };
    names.iter().map(one).collect()
}

/// The records of the lattice.
#[derive(Clone)]
pub struct Records(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    ready: watch::Sender<bool>,
    turns: Turns,
}

#[derive(Default)]
struct State {
    components: BTreeMap<ComponentId, (u64, ComponentRecord)>,
    claims: BTreeMap<String, (u64, ClaimsRecord)>,
}

impl Records {
    /// Nothing known yet.
    pub fn new(connection: Connection, domain: Option<&str>, lattice: &Lattice) -> Self {
        Self(Arc::new(Inner {
            bucket: Bucket::new(connection, domain, bucket::lattice_data(lattice)),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            ready: watch::Sender::new(false),
            turns: Turns::default(),
        }))
    }

    /// The task that keeps this up to date.
    pub fn follow(&self) -> Follow<Self> {
        Follow(self.clone())
    }

    /// Ticks at every change of a component record.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// True once everything was read.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Every link of the lattice, as far as known here.
    pub fn links(&self) -> Vec<Link> {
        self.lock()
            .components
            .values()
            .flat_map(|(_, record)| record.links.iter().cloned())
            .collect()
    }

    /// The links with this source.
    pub fn links_from(&self, source: &ComponentId) -> Vec<Link> {
        self.lock()
            .components
            .get(source)
            .map(|(_, record)| record.links.clone())
            .unwrap_or_default()
    }

    /// The links with this source or target.
    pub fn links_of(&self, id: &ComponentId) -> Vec<Link> {
        let state = self.lock();
        let all = state
            .components
            .values()
            .flat_map(|(_, record)| &record.links);
        all.filter(|link| link.source_id == *id || link.target == *id)
            .cloned()
            .collect()
    }

    /// Claims, as `claims get` lists them.
    pub fn claims(&self) -> Vec<BTreeMap<String, String>> {
        self.lock()
            .claims
            .values()
            .map(|(_, claims)| claims.to_listing())
            .collect()
    }

    /// Every component record, for the host's own disk.
    pub fn snapshot(&self) -> BTreeMap<ComponentId, ComponentRecord> {
        self.lock()
            .components
            .iter()
            .map(|(id, (_, record))| (id.clone(), record.clone()))
            .collect()
    }

    /// Takes what the host's own disk remembers, unless the bucket was read: it knows better, and
    /// what it does not hold is gone.
    pub fn restore(&self, saved: BTreeMap<ComponentId, ComponentRecord>) {
        let mut state = self.lock();
        if *self.0.ready.borrow() {
            return;
        }
        for (id, record) in saved {
            state.components.entry(id).or_insert((FROM_DISK, record));
        }
        drop(state);
        self.0.changed.send_modify(|number| *number += 1);
    }

    /// Puts a link: replaces the one it equals in source, target, package and name, else adds it.
    ///
    /// # Errors
    /// [`LinkPutError::OtherTarget`] when another target has it, else what the bucket said.
    pub async fn put_link(&self, link: &Link) -> Result<(), LinkPutError> {
        self.change(&link.source_id, |record| {
            if record.links.iter().any(|old| old.conflicts_with(link)) {
                return Err(LinkPutError::OtherTarget);
            }
            match record.links.iter_mut().find(|old| old.is_replaced_by(link)) {
                Some(old) if old == link => return Ok(Change::None),
                Some(old) => old.clone_from(link),
                None => record.links.push(link.clone()),
            }
            Ok(Change::Write)
        })
        .await?;
        Ok(())
    }

    /// Removes the first link of this key; answers it, or that there is no record at all.
    ///
    /// # Errors
    /// What the bucket said.
    pub async fn delete_link(&self, key: &LinkKey) -> Result<Deleted, LinkPutError> {
        let mut deleted = Deleted::NoRecord;
        self.change(&key.source, |record| {
            if !record.stored {
                deleted = Deleted::NoRecord;
                return Ok(Change::None);
            }
            match record.links.iter().position(|link| link.is(key)) {
                Some(at) => {
                    deleted = Deleted::Link(Some(Box::new(record.links.remove(at))));
                    Ok(Change::Write)
                }
                None => {
                    deleted = Deleted::Link(None);
                    Ok(Change::None)
                }
            }
        })
        .await?;
        Ok(deleted)
    }

    /// Makes the record of something that starts here, if it has none yet.
    ///
    /// # Errors
    /// What the bucket said.
    pub async fn ensure(&self, id: &ComponentId, url: &str) -> Result<(), LinkPutError> {
        self.change(id, |record| {
            if record.stored {
                return Ok(Change::None);
            }
            url.clone_into(&mut record.url);
            Ok(Change::Write)
        })
        .await
    }

    /// Stores claims under their subject.
    ///
    /// # Errors
    /// What the bucket said.
    pub async fn put_claims(&self, claims: &ClaimsRecord) -> Result<(), BucketError> {
        let key = RecordKey::Claims(claims.subject().to_owned()).to_string();
        if self
            .lock()
            .claims
            .get(claims.subject())
            .is_some_and(|(_, known)| known == claims)
        {
            return Ok(());
        }
        let store = self.0.bucket.open().await?;
        let bytes = serde_json::to_vec(claims).unwrap_or_default();
        store
            .put(&key, bytes.into())
            .await
            .map_err(|error| self.0.bucket.write_error(&key, &error))?;
        Ok(())
    }

    /// Reads, changes and writes one record until nobody else wrote in between.
    async fn change(
        &self,
        id: &ComponentId,
        mut edit: impl FnMut(&mut Draft) -> Result<Change, LinkPutError>,
    ) -> Result<(), LinkPutError> {
        // One writer per record on this host; only other hosts can conflict.
        let _turn = self.0.turns.ticket(id.as_str()).turn().await;
        let key = RecordKey::Component(id.clone()).to_string();
        let store = self.0.bucket.open().await?;
        for attempt in 0..CONFLICTS_MAX {
            let entry = self.0.bucket.entry(&key).await?;
            let mut draft = Draft::read(&key, entry.as_ref().map(|entry| entry.value.as_ref()));
            if edit(&mut draft)? == Change::None {
                return Ok(());
            }
            let revision = entry.map(|entry| entry.revision);
            if let Some(revision) = self.write(&store, &key, revision, &draft.record).await? {
                self.learn(id, revision, draft.record);
                return Ok(());
            }
            let pause = rand::random_range(0..=CONFLICT_PAUSE_MAX.min(u64::from(attempt) + 1));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Err(LinkPutError::Contended(id.clone()))
    }

    /// Writes a record if it is still at `revision`; answers the new revision, or none on conflict.
    async fn write(
        &self,
        store: &Store,
        key: &str,
        revision: Option<u64>,
        record: &ComponentRecord,
    ) -> Result<Option<u64>, BucketError> {
        let bytes: bytes::Bytes = serde_json::to_vec(record).unwrap_or_default().into();
        match revision {
            Some(revision) => match store.update(key, bytes, revision).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
                Err(error) => Err(self.0.bucket.write_error(key, &error)),
            },
            None => match store.create(key, bytes).await {
                Ok(revision) => Ok(Some(revision)),
                Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(self.0.bucket.write_error(key, &error)),
            },
        }
    }

    fn learn(&self, id: &ComponentId, revision: u64, record: ComponentRecord) {
        let mut state = self.lock();
        if state
            .components
            .get(id)
            .is_some_and(|(known, _)| *known >= revision)
        {
            return;
        }
        let old = state
            .components
            .insert(id.clone(), (revision, record.clone()));
        drop(state);
        if old.is_none_or(|(_, old)| old.links != record.links) {
            self.0.changed.send_modify(|number| *number += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a delete found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The source has no record.
    NoRecord,
    /// The link that was removed, if there was one.
    Link(Option<Box<Link>>),
}

#[derive(PartialEq, Eq)]
enum Change {
    None,
    Write,
}

/// A record being changed.
struct Draft {
    record: ComponentRecord,
    stored: bool,
}

impl Draft {
    fn read(key: &str, bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else {
            return Self {
                record: ComponentRecord::default(),
                stored: false,
            };
        };
        let record = serde_json::from_slice(bytes).unwrap_or_else(|error| {
            tracing::warn!(key, %error, "a record that nobody can read is written anew");
            ComponentRecord::default()
        });
        Self {
            record,
            stored: true,
        }
    }
}

impl std::ops::Deref for Draft {
    type Target = ComponentRecord;
    fn deref(&self) -> &ComponentRecord {
        &self.record
    }
}

impl std::ops::DerefMut for Draft {
    fn deref_mut(&mut self) -> &mut ComponentRecord {
        &mut self.record
    }
}

impl Sink for Records {
    const NAME: &'static str = "records";

    fn bucket(&self) -> &Bucket {
        &self.0.bucket
    }

    fn take(&self, key: &str, revision: u64, value: Option<&[u8]>) {
        match (RecordKey::from_key(key), value) {
            (RecordKey::Component(id), Some(value)) => match serde_json::from_slice(value) {
                Ok(record) => self.learn(&id, revision, record),
                Err(error) => tracing::warn!(key, %error, "not a component record; ignored"),
            },
            // Links stay: they belong to a record, and only a new record changes them.
            (RecordKey::Component(_), None) => {
                tracing::warn!(key, "a component record was deleted; its links stay")
            }
            (RecordKey::Claims(subject), Some(value)) => match serde_json::from_slice(value) {
                Ok(claims) => {
                    self.lock().claims.insert(subject, (revision, claims));
                }
                Err(error) => tracing::warn!(key, %error, "not a claims record; ignored"),
            },
            (RecordKey::Claims(subject), None) => {
                self.lock().claims.remove(&subject);
            }
            (RecordKey::Other(_), _) => {
                tracing::debug!(key, "not a record of this protocol; ignored")
            }
        }
    }

    fn current(&self) {
        let mut state = self.lock();
        let before = state.components.len();
        state
            .components
            .retain(|_, (revision, _)| *revision != FROM_DISK);
        let changed = state.components.len() != before;
        self.0.ready.send_replace(true);
        drop(state);
        if changed {
            self.0.changed.send_modify(|number| *number += 1);
        }
    }
}

/// Reading a key never fails.
trait FromKey {
    fn from_key(key: &str) -> Self;
}

impl FromKey for RecordKey {
    fn from_key(key: &str) -> Self {
        key.parse()
            .unwrap_or_else(|never: std::convert::Infallible| match never {})
    }
}
