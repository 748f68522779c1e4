//! What must survive the controller: manifests with their versions, in upstream's layout.
//!
//! Every write names the revision it was decided on; whoever loses the race reads again and decides
//! again. Manifests are kept as the JSON they were stored as, so that what another version or
//! upstream wrote comes back unchanged.

mod follow;
mod layout;
mod retired;
mod setup;

use std::sync::Arc;

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use proto::id::Lattice;

pub use follow::{Followed, Hear, follow};
pub use layout::{AppKey, Stored};
pub use retired::Retired;
pub use setup::{Bucket, SetupError, ensure_bucket, ensure_status_stream};

/// How often a compare-and-set is tried before giving up.
const ATTEMPTS_MAX: u32 = 20;

/// How many reads run at once when an answer needs many keys.
const READS_AT_ONCE: usize = 32;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Someone else changed the key first; read again and decide again.
    #[error("`{key}` was changed by someone else at the same moment; try again")]
    Conflict {
        /// The key.
        key: String,
    },
    /// A value that is not what the layout says.
    #[error("the value of `{key}` in bucket `{bucket}` is not readable")]
    Malformed {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// JetStream did not do it.
    #[error("cannot {what} `{key}` in bucket `{bucket}`")]
    JetStream {
        /// What was attempted.
        what: &'static str,
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What JetStream says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A value with the revision it was read at.
#[derive(Clone, Debug)]
pub struct Versioned<T> {
    /// The value; none when the key never was, or was deleted.
    pub value: Option<T>,
    /// What a write has to name.
    pub revision: u64,
}

/// The manifests of all lattices.
#[derive(Clone, Debug)]
pub struct Manifests {
    kv: Arc<kv::Store>,
}

impl Manifests {
    /// The manifests in `kv`.
    pub fn new(kv: kv::Store) -> Self {
        Self { kv: Arc::new(kv) }
    }

    /// The bucket.
    pub fn bucket(&self) -> &kv::Store {
        &self.kv
    }

    /// One application.
    pub async fn get(
        &self,
        lattice: &Lattice,
        name: &str,
    ) -> Result<Versioned<Stored>, StoreError> {
        self.read(AppKey::new(lattice, name).as_str()).await
    }

    /// Writes one application, whose name is in the list afterwards; returns its new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the application is no longer at `revision`.
    pub async fn put(
        &self,
        lattice: &Lattice,
        name: &str,
        app: &Stored,
        revision: u64,
    ) -> Result<u64, StoreError> {
        // The list first: a name without an application is skipped by readers, an application
        // without its name would be forgotten.
        self.change_names(lattice, |names| {
            match names.binary_search_by(|n| n.as_str().cmp(name)) {
                Ok(_) => false,
                Err(at) => {
                    names.insert(at, name.to_owned());
                    true
                }
            }
        })
        .await?;
        self.write(AppKey::new(lattice, name).as_str(), app, revision)
            .await
    }

    /// Removes one application and its name.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the application is no longer at `revision`.
    pub async fn remove(
        &self,
        lattice: &Lattice,
        name: &str,
        revision: u64,
    ) -> Result<(), StoreError> {
        let key = AppKey::new(lattice, name);
        self.kv
            .purge_expect_revision(key.as_str(), Some(revision))
            .await
            .map_err(|error| self.refused("delete", key.as_str(), error))?;
        self.change_names(lattice, |names| {
            let before = names.len();
            names.retain(|n| n != name);
            names.len() != before
        })
        .await
    }

    /// The names of a lattice's applications, sorted.
    pub async fn names(&self, lattice: &Lattice) -> Result<Vec<String>, StoreError> {
        Ok(self
            .read::<Vec<String>>(lattice.as_ref())
            .await?
            .value
            .unwrap_or_default())
    }

    /// All applications of a lattice, by name.
    pub async fn all(&self, lattice: &Lattice) -> Result<Vec<(String, Stored)>, StoreError> {
        let names = self.names(lattice).await?;
        futures::stream::iter(names)
            .map(|name| async move {
                let app = self.get(lattice, &name).await?.value;
                Ok(app.map(|app| (name, app)))
            })
            .buffered(READS_AT_ONCE)
            .try_filter_map(|app| std::future::ready(Ok(app)))
            .try_collect()
            .await
    }

    async fn change_names(
        &self,
        lattice: &Lattice,
        change: impl Fn(&mut Vec<String>) -> bool,
    ) -> Result<(), StoreError> {
        let mut attempt = 1;
        loop {
            let Versioned { value, revision } = self.read::<Vec<String>>(lattice.as_ref()).await?;
            let mut names = value.unwrap_or_default();
            names.sort();
            if !change(&mut names) {
                return Ok(());
            }
            match self.write(lattice.as_ref(), &names, revision).await {
                Err(StoreError::Conflict { .. }) if attempt < ATTEMPTS_MAX => attempt += 1,
                done => return done.map(|_| ()),
            }
        }
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Versioned<T>, StoreError> {
        let entry = self
            .kv
            .entry(key)
            .await
            .map_err(|error| self.failed("read", key, error))?;
        let Some(entry) = entry else {
            return Ok(Versioned {
                value: None,
                revision: 0,
            });
        };
        let value = match entry.operation {
            Operation::Put => Some(serde_json::from_slice(&entry.value).map_err(|source| {
                StoreError::Malformed {
                    bucket: self.kv.name.clone(),
                    key: key.to_owned(),
                    source,
                }
            })?),
            Operation::Delete | Operation::Purge => None,
        };
        Ok(Versioned {
            value,
            revision: entry.revision,
        })
    }

    async fn write<T: serde::Serialize>(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<u64, StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Malformed {
            bucket: self.kv.name.clone(),
            key: key.to_owned(),
            source,
        })?;
        self.kv
            .update(key, Bytes::from(bytes), revision)
            .await
            .map_err(|error| self.refused("write", key, error))
    }

    fn refused(&self, what: &'static str, key: &str, error: kv::UpdateError) -> StoreError {
        match error.kind() {
            UpdateErrorKind::WrongLastRevision => StoreError::Conflict {
                key: key.to_owned(),
            },
            _ => self.failed(what, key, error),
        }
    }

    fn failed(
        &self,
        what: &'static str,
        key: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> StoreError {
        StoreError::JetStream {
            what,
            bucket: self.kv.name.clone(),
            key: key.to_owned(),
            source: Box::new(source),
        }
    }
}
