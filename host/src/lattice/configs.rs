//! Configs and secret references: the lattice's second bucket, kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use proto::id::{ConfigName, Lattice};
use proto::record::SecretReference;
use proto::subject::bucket;
use tokio::sync::watch;

use super::bucket::{Bucket, BucketError, FROM_DISK, Sink};
use super::{Connection, Follow};

/// Text values by key.
pub type Map = BTreeMap<String, String>;

/// What a list of config names leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The named maps merged left to right.
    pub config: Map,
    /// The secret references among the names.
    pub secrets: Vec<SecretReference>,
}

/// A config cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    /// It does not exist.
    #[error("Config {0} does not exist")]
    Missing(ConfigName),
    /// It holds something else.
    #[error("Config {name} does not hold {wanted}; put it again")]
    Malformed {
        /// Its name.
        name: ConfigName,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// The configs of the lattice.
#[derive(Clone)]
pub struct Configs(Arc<Inner>);

struct Inner {
    bucket: Bucket,
    values: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    changed: watch::Sender<u64>,
    ready: watch::Sender<bool>,
}

impl Configs {
    /// Nothing known yet.
    pub fn new(connection: Connection, domain: Option<&str>, lattice: &Lattice) -> Self {
        Self(Arc::new(Inner {
            bucket: Bucket::new(connection, domain, bucket::config_data(lattice)),
            values: Mutex::default(),
            changed: watch::Sender::new(0),
            ready: watch::Sender::new(false),
        }))
    }

    /// The task that keeps this up to date.
    pub fn follow(&self) -> Follow<Self> {
        Follow(self.clone())
    }

    /// Ticks at every change.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// True once everything was read.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Everything, for the host's own disk.
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        let values = self.lock();
        let text = |(key, (_, value)): (&String, &(u64, Vec<u8>))| {
            Some((key.clone(), String::from_utf8(value.clone()).ok()?))
        };
        values.iter().filter_map(text).collect()
    }

    /// Takes what the host's own disk remembers, unless the bucket was read: it knows better, and
    /// what it does not hold is gone.
    pub fn restore(&self, saved: BTreeMap<String, String>) {
        let mut values = self.lock();
        if *self.0.ready.borrow() {
            return;
        }
        for (key, value) in saved {
            values.entry(key).or_insert((FROM_DISK, value.into_bytes()));
        }
        drop(values);
        self.0.changed.send_modify(|number| *number += 1);
    }

    /// The bytes of a config as they are known here.
    pub fn known(&self, name: &ConfigName) -> Option<Vec<u8>> {
        self.lock()
            .get(name.as_str())
            .map(|(_, value)| value.clone())
    }

    /// A config as a map: from memory, else from the bucket.
    ///
    /// # Errors
    /// [`ConfigError`] when the bucket cannot be read or holds something else.
    pub async fn get(&self, name: &ConfigName) -> Result<Option<Map>, ConfigError> {
        let Some(bytes) = self.bytes(name).await? else {
            return Ok(None);
        };
        read_map(name, &bytes).map(Some)
    }

    /// True if the name exists, as config or secret reference.
    ///
    /// # Errors
    /// [`ConfigError`] when the bucket cannot be read.
    pub async fn exists(&self, name: &ConfigName) -> Result<bool, ConfigError> {
        Ok(self.bytes(name).await?.is_some())
    }

    /// What a list of names leads to; every one must exist.
    ///
    /// # Errors
    /// [`ConfigError`] names the config that is missing or malformed.
    pub async fn resolve(&self, names: &[ConfigName]) -> Result<Named, ConfigError> {
        let mut named = Named::default();
        for name in names {
            let bytes = self
                .bytes(name)
                .await?
                .ok_or_else(|| ConfigError::Missing(name.clone()))?;
            add(&mut named, name, &bytes)?;
        }
        Ok(named)
    }

    /// What a list of names leads to now; a name that is gone or malformed counts as empty.
    pub fn merged(&self, names: &[ConfigName]) -> Named {
        let mut named = Named::default();
        for name in names {
            let Some(bytes) = self.known(name) else {
                continue;
            };
            if let Err(error) = add(&mut named, name, &bytes) {
                tracing::warn!(%error, "a config counts as empty");
            }
        }
        named
    }

    /// Stores the bytes under the name, as they are.
    ///
    /// # Errors
    /// [`BucketError::Write`] with JetStream's words.
    pub async fn put(&self, name: &ConfigName, bytes: Vec<u8>) -> Result<(), BucketError> {
        let store = self.0.bucket.open().await?;
        let put = store.put(name.as_str(), bytes.clone().into()).await;
        let revision = put.map_err(|error| self.0.bucket.write_error(name.as_str(), &error))?;
        self.take(name.as_str(), revision, Some(&bytes));
        Ok(())
    }

    /// Removes the name.
    ///
    /// # Errors
    /// [`BucketError::Write`] with JetStream's words.
    pub async fn delete(&self, name: &ConfigName) -> Result<(), BucketError> {
        let store = self.0.bucket.open().await?;
        store
            .purge(name.as_str())
            .await
            .map_err(|error| self.0.bucket.write_error(name.as_str(), &error))?;
        self.lock().remove(name.as_str());
        self.0.changed.send_modify(|number| *number += 1);
        Ok(())
    }

    async fn bytes(&self, name: &ConfigName) -> Result<Option<Vec<u8>>, BucketError> {
        if let Some(known) = self.known(name) {
            return Ok(Some(known));
        }
        if !self.0.bucket.is_up() {
            return Ok(None);
        }
        Ok(self
            .0
            .bucket
            .entry(name.as_str())
            .await?
            .map(|entry| entry.value.to_vec()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (u64, Vec<u8>)>> {
        self.0.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Configs {
    const NAME: &'static str = "configs";

    fn bucket(&self) -> &Bucket {
        &self.0.bucket
    }

    fn take(&self, key: &str, revision: u64, value: Option<&[u8]>) {
        let mut values = self.lock();
        let known = values.get(key).map_or(0, |(revision, _)| *revision);
        if revision <= known {
            return;
        }
        let changed = match value {
            Some(value) => {
                let old = values.insert(key.to_owned(), (revision, value.to_vec()));
                old.is_none_or(|(_, old)| old != value)
            }
            None => values.remove(key).is_some(),
        };
        drop(values);
        if changed {
            self.0.changed.send_modify(|number| *number += 1);
        }
    }

    fn current(&self) {
        let mut values = self.lock();
        let before = values.len();
        values.retain(|_, (revision, _)| *revision != FROM_DISK);
        let changed = values.len() != before;
        self.0.ready.send_replace(true);
        drop(values);
        if changed {
            self.0.changed.send_modify(|number| *number += 1);
        }
    }
}

fn add(named: &mut Named, name: &ConfigName, bytes: &[u8]) -> Result<(), ConfigError> {
    if name.is_secret() {
        let wanted = "a secret reference";
        let reference = serde_json::from_slice(bytes).map_err(|_| ConfigError::Malformed {
            name: name.clone(),
            wanted,
        })?;
        named.secrets.push(reference);
    } else {
        named.config.extend(read_map(name, bytes)?);
    }
    Ok(())
}

fn read_map(name: &ConfigName, bytes: &[u8]) -> Result<Map, ConfigError> {
    let wanted = "a map of string to string";
    serde_json::from_slice(bytes).map_err(|_| ConfigError::Malformed {
        name: name.clone(),
        wanted,
    })
}
