//! A JetStream bucket of the lattice: made if missing, read at start, followed live.

use std::time::Duration;

use async_nats::jetstream::kv::{Config, Entry, Operation, Store};
use async_nats::jetstream::{self, context::KeyValueErrorKind};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::Connection;
use crate::oci::error_chain;
use crate::task::{OnFailure, Task, TaskError};

/// Without any message from the server for so long, the watch is begun anew.
const SILENCE: Duration = Duration::from_secs(900);

/// A bucket cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BucketError {
    /// It is not there and cannot be made.
    #[error("bucket `{bucket}` is not usable: {reason}; {hint}")]
    Open {
        /// The bucket.
        bucket: String,
        /// What JetStream said.
        reason: String,
        /// What to look at.
        hint: &'static str,
    },
    /// A key could not be read.
    #[error("cannot read `{key}` from bucket `{bucket}`: {reason}")]
    Read {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What JetStream said.
        reason: String,
    },
    /// A key could not be written.
    #[error("cannot write `{key}` to bucket `{bucket}`: {reason}")]
    Write {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
        /// What JetStream said.
        reason: String,
    },
}

/// Access to one bucket.
#[derive(Clone)]
pub struct Bucket {
    connection: Connection,
    js: jetstream::Context,
    name: String,
}

impl Bucket {
    pub(super) fn new(connection: Connection, domain: Option<&str>, name: String) -> Self {
        let client = connection.client().clone();
        let js = match domain {
            Some(domain) => jetstream::with_domain(client, domain),
            None => jetstream::new(client),
        };
        Self {
            connection,
            js,
            name,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.is_up()
    }

    /// The bucket, made if it is missing; one that is there is used as it is.
    pub(super) async fn open(&self) -> Result<Store, BucketError> {
        match self.js.get_key_value(self.name.as_str()).await {
            Ok(store) => return Ok(store),
            Err(error) if error.kind() == KeyValueErrorKind::InvalidStoreName => {
                return Err(self.closed(
                    &error,
                    "choose a lattice name of letters, digits, `-` and `_`",
                ));
            }
            Err(error) => tracing::debug!(bucket = self.name, %error, "not there yet"),
        }
        let config = Config {
            bucket: self.name.clone(),
            history: 1,
            ..Config::default()
        };
        match self.js.create_key_value(config).await {
            Ok(store) => Ok(store),
            Err(error) => {
                // Another host may have made it in the meantime.
                if let Ok(store) = self.js.get_key_value(self.name.as_str()).await {
                    return Ok(store);
                }
                Err(self.closed(
                    &error,
                    "JetStream must be on, the JetStream domain right, and this user allowed to use `$JS.API.>`",
                ))
            }
        }
    }

    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry>, BucketError> {
        let store = self.open().await?;
        let entry = store.entry(key).await.map_err(|error| BucketError::Read {
            bucket: self.name.clone(),
            key: key.to_owned(),
            reason: error_chain(&error),
        })?;
        Ok(entry.filter(|entry| entry.operation == Operation::Put))
    }

    pub(super) fn write_error(&self, key: &str, error: &dyn std::error::Error) -> BucketError {
        BucketError::Write {
            bucket: self.name.clone(),
            key: key.to_owned(),
            reason: error_chain(error),
        }
    }

    fn closed(&self, error: &dyn std::error::Error, hint: &'static str) -> BucketError {
        BucketError::Open {
            bucket: self.name.clone(),
            reason: error_chain(error),
            hint,
        }
    }
}

/// The revision of what the host's own disk remembers: older than anything in a bucket.
pub(super) const FROM_DISK: u64 = 0;

/// What takes a bucket's content in.
pub trait Sink: Send + Sync + 'static {
    /// What following it is called in the log.
    const NAME: &'static str;

    /// The bucket.
    fn bucket(&self) -> &Bucket;

    /// A key has this value now; `None` when it was removed.
    fn take(&self, key: &str, revision: u64, value: Option<&[u8]>);

    /// Everything that was in the bucket has been taken.
    fn current(&self);
}

/// Follows a bucket for ever.
pub struct Follow<S>(pub S);

impl<S: Sink> Task for Follow<S> {
    const NAME: &'static str = S::NAME;
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let bucket = self.0.bucket();
        loop {
            let number = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                number = bucket.connection.up() => number,
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // A new connection may lead to a server that forgot the watch.
                () = bucket.connection.not(number) => {}
                end = self.follow() => end?,
            }
        }
    }
}

impl<S: Sink> Follow<S> {
    async fn follow(&self) -> Result<(), TaskError> {
        let bucket = self.0.bucket();
        let failed = |error: &dyn std::error::Error| TaskError::from_error(error);
        let store = bucket.open().await.map_err(|error| failed(&error))?;
        let mut watch = store
            .watch_with_history(">")
            .await
            .map_err(|error| failed(&error))?;
        let messages = store
            .status()
            .await
            .map_err(|error| failed(&error))?
            .values();
        if messages == 0 {
            self.0.current();
        }
        loop {
            let next = tokio::time::timeout(SILENCE, watch.next()).await;
            let Ok(next) = next else {
                // No message is no fault, but a consumer that is gone says nothing either.
                return Ok(());
            };
            let Some(entry) = next else {
                return Err(TaskError("the watch ended".into()));
            };
            let entry = entry.map_err(|error| failed(&error))?;
            let value = (entry.operation == Operation::Put).then_some(entry.value.as_ref());
            self.0.take(&entry.key, entry.revision, value);
            if entry.delta == 0 {
                self.0.current();
            }
        }
    }
}
