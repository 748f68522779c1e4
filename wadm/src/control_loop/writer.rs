//! Writes what the controller wants kept: statuses and the record of removals. The last value of a
//! key wins; what fails is written again until it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proto::id::Lattice;
use proto::manifest::Manifest;
use proto::wadm_api::Status;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::status::Statuses;
use crate::store::Retired;

/// Most writes at once.
const WRITES_MAX: usize = 16;

/// Pause before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is written.
#[derive(Clone, Debug)]
pub(super) enum Record {
    Status(Box<Status>),
    Retired(Vec<Arc<Manifest>>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Status(String),
    Retired(String),
}

/// Writes for one lattice.
pub(super) struct Writer {
    lattice: Lattice,
    statuses: Statuses,
    retired: Retired,
    waiting: BTreeMap<Key, Record>,
    busy: BTreeSet<Key>,
    writes: JoinSet<(Key, Record, bool)>,
    not_before: Option<Instant>,
}

impl Writer {
    pub(super) fn new(lattice: Lattice, statuses: Statuses, retired: Retired) -> Self {
        Self {
            lattice,
            statuses,
            retired,
            waiting: BTreeMap::new(),
            busy: BTreeSet::new(),
            writes: JoinSet::new(),
            not_before: None,
        }
    }

    /// Takes a record to write; it replaces an older one that still waits.
    pub(super) fn take(&mut self, app: String, record: Record) {
        let key = match &record {
            Record::Status(_) => Key::Status(app),
            Record::Retired(_) => Key::Retired(app),
        };
        self.waiting.insert(key, record);
        self.begin();
    }

    /// Forgets what is not written yet: another controller leads now.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// When [`Writer::begin`] should be called again although nothing was written.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            None
        } else {
            self.not_before
        }
    }

    /// Starts as many writes as may run.
    pub(super) fn begin(&mut self) {
        if self
            .not_before
            .is_some_and(|moment| Instant::now() < moment)
        {
            return;
        }
        self.not_before = None;
        while self.writes.len() < WRITES_MAX {
            let Some(key) = self
                .waiting
                .keys()
                .find(|key| !self.busy.contains(*key))
                .cloned()
            else {
                return;
            };
            let Some(record) = self.waiting.remove(&key) else {
                return;
            };
            self.busy.insert(key.clone());
            let (lattice, statuses, retired) = (
                self.lattice.clone(),
                self.statuses.clone(),
                self.retired.clone(),
            );
            self.writes.spawn(async move {
                let done = write(&lattice, &statuses, &retired, &key, &record).await;
                (key, record, done)
            });
        }
    }

    /// Waits for one write to end; never, when none runs.
    pub(super) async fn next(&mut self) {
        let Some(ended) = self.writes.join_next().await else {
            return std::future::pending().await;
        };
        let Ok((key, record, done)) = ended else {
            return;
        };
        self.busy.remove(&key);
        if !done {
            self.waiting.entry(key).or_insert(record);
            self.not_before = Some(Instant::now() + RETRY_PAUSE);
        }
        self.begin();
    }

    /// Writes what is left, once.
    pub(super) async fn finish(&mut self) {
        while !self.writes.is_empty() {
            self.next().await;
        }
    }
}

async fn write(
    lattice: &Lattice,
    statuses: &Statuses,
    retired: &Retired,
    key: &Key,
    record: &Record,
) -> bool {
    let (Key::Status(app) | Key::Retired(app)) = key;
    let done = match record {
        Record::Status(status) => statuses
            .publish(lattice, app, status)
            .await
            .map_err(anyhow::Error::new),
        Record::Retired(manifests) => retired
            .put(lattice, app, manifests)
            .await
            .map_err(anyhow::Error::new),
    };
    if let Err(error) = &done {
        tracing::warn!(%lattice, app, error = format!("{error:#}"), "cannot write yet, trying again");
    }
    done.is_ok()
}
