//! `wasi:keyvalue`: small values under names, with atomic counters and batches.
//!
//! [`Backend`] is the seam: guests, the wRPC server and the tests call it; NATS, Redis, memory and
//! the wRPC client implement it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use proto::id::LinkName;

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

mod counter;
mod memory;
mod nats;
mod nats_key;
mod provider;
mod redis;
#[cfg(test)]
mod tests;
mod wit;

pub use memory::MemoryStore;
pub use nats::{NatsBucket, NatsStore};
pub use provider::factories;
pub use redis::{RedisSettings, RedisStore};

/// The interfaces served, without version.
pub const INTERFACES: &[&str] = &[STORE, ATOMICS, BATCH];

const STORE: &str = "wasi:keyvalue/store";
const ATOMICS: &str = "wasi:keyvalue/atomics";
const BATCH: &str = "wasi:keyvalue/batch";

/// Longest key a store takes, in bytes: with its escapes it still fits a NATS subject.
pub const KEY_BYTES_MAX: usize = 1024;

/// Most keys in one answer of [`Backend::list_keys`].
pub const PAGE_KEYS_MAX: usize = 1000;

/// Why an operation on a store did not happen, in the interface's own cases.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store knows no bucket of that name.
    #[error("no such store")]
    NoSuchStore,
    /// The component has no link that grants this interface.
    #[error("access denied")]
    AccessDenied,
    /// Anything else, in words for the developer of the component.
    #[error("{0}")]
    Other(String),
}

/// One answer of [`Backend::list_keys`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPage {
    /// The keys, in no particular order.
    pub keys: Vec<String>,
    /// Where the next page starts; `None` after the last one.
    pub cursor: Option<u64>,
}

/// A value as it was read, for a later [`Backend::swap`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Current {
    /// The value, if there was one.
    pub value: Option<Bytes>,
    /// The backend's mark of this state of the key; what it means is the backend's business.
    pub revision: u64,
}

/// A key-value store. `bucket` is the name the guest opened, checked by [`Linked::open`]; only a
/// remote provider looks at it again.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Whether the store can be reached now and has what it needs.
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Reads a value; `None` where there is none.
    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error>;

    /// Writes a value over whatever was there.
    async fn set(&self, bucket: &str, key: &str, value: Bytes) -> Result<(), Error>;

    /// Removes a value; no error where there is none.
    async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error>;

    /// Whether the key has a value.
    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, Error>;

    /// Lists keys from `cursor` on (`None`: from the start), page by page.
    async fn list_keys(&self, bucket: &str, cursor: Option<u64>) -> Result<KeyPage, Error>;

    /// Adds `delta` to the decimal number at `key` (0 where there is none), returns the sum.
    async fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64, Error>;

    /// [`Backend::increment`] with a sign, as `0.2.0-draft2` has it.
    async fn add(&self, bucket: &str, key: &str, delta: i64) -> Result<i64, Error> {
        let Ok(delta) = u64::try_from(delta) else {
            return Err(Error::Other("this store cannot count down".into()));
        };
        let sum = self.increment(bucket, key, delta).await?;
        i64::try_from(sum).map_err(|_| too_large())
    }

    /// Reads several values; each answer stands where its key stood.
    async fn get_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Bytes)>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = self.get(bucket, &key).await?;
            values.push(value.map(|value| (key, value)));
        }
        Ok(values)
    }

    /// Writes several values; stops at the first that fails.
    async fn set_many(&self, bucket: &str, values: Vec<(String, Bytes)>) -> Result<(), Error> {
        for (key, value) in values {
            self.set(bucket, &key, value).await?;
        }
        Ok(())
    }

    /// Removes several values; stops at the first that fails.
    async fn delete_many(&self, bucket: &str, keys: Vec<String>) -> Result<(), Error> {
        for key in keys {
            self.delete(bucket, &key).await?;
        }
        Ok(())
    }

    /// Reads a value together with what [`Backend::swap`] needs to know about it.
    async fn current(&self, bucket: &str, key: &str) -> Result<Current, Error> {
        let value = self.get(bucket, key).await?;
        Ok(Current { value, revision: 0 })
    }

    /// Writes `value` if the key is still as it was `seen`; `false` where it is not.
    async fn swap(
        &self,
        bucket: &str,
        key: &str,
        seen: &Current,
        value: Bytes,
    ) -> Result<bool, Error> {
        let _ = (bucket, key, seen, value);
        Err(Error::Other(
            "this store has no compare-and-swap; run its provider on this host".into(),
        ))
    }
}

/// A store as one link shows it to one component: what a link of `wasi:keyvalue` is bound to.
#[derive(Clone)]
pub struct Linked {
    /// Swapped when the provider's settings change.
    store: Arc<ArcSwap<Arc<dyn Backend>>>,
    /// The link's name, where the store knows only one bucket.
    only: Option<LinkName>,
}

impl Linked {
    /// A store that takes every bucket name: Redis, as upstream's provider does, and a remote
    /// provider, which judges for itself.
    pub fn any(store: Arc<dyn Backend>) -> Self {
        Self {
            store: Arc::new(ArcSwap::from_pointee(store)),
            only: None,
        }
    }

    /// A store with one bucket, under the names `""`, `default` and the link's.
    pub fn only(name: LinkName, store: Arc<dyn Backend>) -> Self {
        Self {
            only: Some(name),
            ..Self::any(store)
        }
    }

    /// The store, if it knows `bucket`.
    ///
    /// # Errors
    /// [`Error::NoSuchStore`] if it does not.
    pub fn open(&self, bucket: &str) -> Result<Arc<dyn Backend>, Error> {
        match &self.only {
            Some(name) if !["", "default", name.as_str()].contains(&bucket) => {
                Err(Error::NoSuchStore)
            }
            _ => Ok(Arc::clone(&self.store.load())),
        }
    }

    /// Leads to another store from the next call on, here and in every clone.
    pub(crate) fn lead_to(&self, store: Arc<dyn Backend>) {
        self.store.store(Arc::new(store));
    }
}

/// `wasi:keyvalue` for components: over a built-in provider on this host, or a remote one.
pub struct Keyvalue;

impl Capability for Keyvalue {
    fn name(&self) -> &'static str {
        "wasi:keyvalue"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        INTERFACES
    }

    fn add_to_linker(&self, linker: &mut wasmtime::component::Linker<Ctx>) -> wasmtime::Result<()> {
        wit::add_to_linker(linker)
    }

    fn bind(
        &self,
        link: &ResolvedLink,
        peer: Option<&Arc<dyn BuiltinProvider>>,
        _remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError> {
        // A call that leaves the host takes its own trace along, so it makes its own client.
        peer.map_or_else(|| Ok(Binding::none()), |peer| peer.backend(link))
    }
}

/// Refuses a key that no store here takes.
fn check_key(key: &str) -> Result<(), Error> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::Other(format!(
        "a key of {} bytes is too long; {KEY_BYTES_MAX} is the most",
        key.len()
    )))
}

/// The error of a counter that would leave its range.
fn too_large() -> Error {
    Error::Other("the sum is outside the range of the counter".into())
}
