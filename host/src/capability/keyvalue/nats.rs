//! `keyvalue-nats`: values in a bucket of JetStream.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{
    CreateKeyValueErrorKind, GetStreamError, GetStreamErrorKind, KeyValueError, KeyValueErrorKind,
};
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use rand::Rng;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::{Backend, Current, Error, KeyPage, PAGE_KEYS_MAX, check_key, counter, nats_key};
use crate::capability::nats::LazyClient;

/// How long an increment competes with other writers before it fails.
const INCREMENT_WITHIN: Duration = Duration::from_secs(5);

/// Longest pause between two attempts of an increment.
const INCREMENT_PAUSE_MAX_MS: u64 = 40;

/// Which bucket, and what to do where there is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatsBucket {
    /// The bucket's name.
    pub name: String,
    /// Make it at first use.
    pub create: bool,
    /// The JetStream domain it is in.
    pub js_domain: Option<String>,
}

/// A bucket of JetStream, opened at the first call.
pub struct NatsStore {
    client: LazyClient,
    bucket: NatsBucket,
    store: OnceCell<kv::Store>,
}

impl NatsStore {
    /// A store that connects and opens its bucket at the first call.
    pub fn lazy(client: LazyClient, bucket: NatsBucket) -> Self {
        Self {
            client,
            bucket,
            store: OnceCell::new(),
        }
    }

    /// The open bucket.
    ///
    /// # Errors
    /// [`Error::NoSuchStore`] if there is no such bucket and none may be made,
    /// [`Error::Other`] if NATS says otherwise or nothing.
    pub async fn opened(&self) -> Result<&kv::Store, Error> {
        self.store.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<kv::Store, Error> {
        let client = self
            .client
            .get()
            .await
            .map_err(|error| Error::Other(error.to_string()))?;
        let js = match &self.bucket.js_domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        };
        match js.get_key_value(&self.bucket.name).await {
            Ok(store) => return Ok(store),
            Err(error) if error.kind() == KeyValueErrorKind::InvalidStoreName => {
                return Err(Error::Other(format!(
                    "`{}` is no bucket name",
                    self.bucket.name
                )));
            }
            Err(error) if !is_absent(&error) => {
                tracing::warn!(
                    bucket = self.bucket.name,
                    %error,
                    "cannot open a keyvalue bucket; is JetStream there, and may this host use the bucket's subjects?"
                );
                return Err(refused(error));
            }
            Err(error) if !self.bucket.create => {
                tracing::warn!(
                    bucket = self.bucket.name,
                    %error,
                    "no such keyvalue bucket; make it, or set `enable_bucket_auto_create` on the link"
                );
                return Err(Error::NoSuchStore);
            }
            Err(_) => {}
        }
        let config = kv::Config {
            bucket: self.bucket.name.clone(),
            history: 1,
            ..Default::default()
        };
        match js.create_key_value(config).await {
            // Another host may have made it, with settings of its own, a moment ago.
            Err(error) if error.kind() == CreateKeyValueErrorKind::BucketCreate => js
                .get_key_value(&self.bucket.name)
                .await
                .map_err(|_| refused(error)),
            result => result.map_err(refused),
        }
    }

    async fn entry(&self, key: &str) -> Result<Option<kv::Entry>, Error> {
        check_key(key)?;
        self.opened()
            .await?
            .entry(nats_key::encode(key))
            .await
            .map_err(refused)
    }

    /// Writes what `next` makes of the value, as often as another writer comes between.
    async fn update<N: ToString + Send>(
        &self,
        key: &str,
        next: impl Fn(Option<&[u8]>) -> Result<N, Error> + Send + Sync,
    ) -> Result<N, Error> {
        let give_up = Instant::now() + INCREMENT_WITHIN;
        let mut pause_max = 2;
        loop {
            let seen = self.current("", key).await?;
            let sum = next(seen.value.as_deref())?;
            if self.swap("", key, &seen, sum.to_string().into()).await? {
                return Ok(sum);
            }
            if Instant::now() > give_up {
                return Err(Error::Other(format!(
                    "`{key}` is written by too many at a time"
                )));
            }
            let pause = rand::rng().random_range(0..pause_max);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            pause_max = (pause_max * 2).min(INCREMENT_PAUSE_MAX_MS);
        }
    }
}

/// Whether JetStream has said that there is no such bucket; it may have said nothing at all.
fn is_absent(error: &KeyValueError) -> bool {
    let stream = error
        .source()
        .and_then(|cause| cause.downcast_ref::<GetStreamError>());
    matches!(
        stream.map(GetStreamError::kind),
        Some(GetStreamErrorKind::JetStream(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND
    )
}

/// NATS's own words, with the cause that async-nats keeps apart.
fn refused(error: impl std::error::Error) -> Error {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    Error::Other(format!("nats: {error}{cause}"))
}

/// The entry's value, unless the entry says that the value was removed.
fn live(entry: kv::Entry) -> Option<Bytes> {
    (entry.operation == Operation::Put).then_some(entry.value)
}

#[async_trait]
impl Backend for NatsStore {
    async fn ready(&self) -> Result<(), Error> {
        self.opened().await.map(drop)
    }

    async fn get(&self, _bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.entry(key).await?.and_then(live))
    }

    async fn set(&self, _bucket: &str, key: &str, value: Bytes) -> Result<(), Error> {
        check_key(key)?;
        self.opened()
            .await?
            .put(nats_key::encode(key), value)
            .await
            .map_err(refused)?;
        Ok(())
    }

    async fn delete(&self, _bucket: &str, key: &str) -> Result<(), Error> {
        check_key(key)?;
        self.opened()
            .await?
            .delete(nats_key::encode(key))
            .await
            .map_err(refused)
    }

    async fn exists(&self, _bucket: &str, key: &str) -> Result<bool, Error> {
        Ok(self.entry(key).await?.and_then(live).is_some())
    }

    async fn list_keys(&self, _bucket: &str, cursor: Option<u64>) -> Result<KeyPage, Error> {
        let start = usize::try_from(cursor.unwrap_or(0)).unwrap_or(usize::MAX);
        let names = self.opened().await?.keys().await.map_err(refused)?;
        // One key more than a page tells whether there is a next one.
        let mut keys: Vec<_> = names
            .skip(start)
            .take(PAGE_KEYS_MAX + 1)
            .map_ok(|name| nats_key::decode(&name))
            .try_collect()
            .await
            .map_err(refused)?;
        let more = keys.len() > PAGE_KEYS_MAX;
        keys.truncate(PAGE_KEYS_MAX);
        let cursor = more.then_some(start.saturating_add(PAGE_KEYS_MAX) as u64);
        Ok(KeyPage { keys, cursor })
    }

    async fn increment(&self, _bucket: &str, key: &str, delta: u64) -> Result<u64, Error> {
        self.update(key, |stored| counter::add(stored, delta)).await
    }

    async fn add(&self, _bucket: &str, key: &str, delta: i64) -> Result<i64, Error> {
        self.update(key, |stored| counter::add_signed(stored, delta))
            .await
    }

    async fn get_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Bytes)>>, Error> {
        let reads = keys.into_iter().map(|key| async move {
            let value = self.get(bucket, &key).await?;
            Ok(value.map(|value| (key, value)))
        });
        futures::stream::iter(reads)
            .buffered(BATCH_WIDTH)
            .try_collect()
            .await
    }

    async fn set_many(&self, bucket: &str, values: Vec<(String, Bytes)>) -> Result<(), Error> {
        let writes = values
            .into_iter()
            .map(|(key, value)| async move { self.set(bucket, &key, value).await });
        // One key may be in the batch twice, so each write starts where the one before was sent.
        futures::stream::iter(writes)
            .buffered(BATCH_WIDTH)
            .try_collect()
            .await
    }

    async fn delete_many(&self, bucket: &str, keys: Vec<String>) -> Result<(), Error> {
        let removals = keys
            .into_iter()
            .map(|key| async move { self.delete(bucket, &key).await });
        futures::stream::iter(removals)
            .buffered(BATCH_WIDTH)
            .try_collect()
            .await
    }

    async fn current(&self, _bucket: &str, key: &str) -> Result<Current, Error> {
        Ok(match self.entry(key).await? {
            Some(entry) => Current {
                revision: entry.revision,
                value: live(entry),
            },
            None => Current::default(),
        })
    }

    async fn swap(
        &self,
        _bucket: &str,
        key: &str,
        seen: &Current,
        value: Bytes,
    ) -> Result<bool, Error> {
        check_key(key)?;
        let store = self.opened().await?;
        match store
            .update(nats_key::encode(key), value, seen.revision)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(false),
            Err(error) => Err(refused(error)),
        }
    }
}

/// Calls of one batch that are on the way at a time.
const BATCH_WIDTH: usize = 64;
