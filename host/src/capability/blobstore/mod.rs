//! `wasi:blobstore`: objects of any size in named containers, read and written as streams.

use std::pin::Pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

mod fs;
mod nats;
mod provider;
mod streams;
#[cfg(test)]
mod tests;
mod wit;

pub use fs::FsStore;
pub use nats::{NatsStore, NatsStoreSettings};
pub use provider::factories;

/// The interface under which links are looked up.
const BLOBSTORE: &str = "wasi:blobstore/blobstore";

/// The interfaces served, without version.
const INTERFACES: &[&str] = &[
    BLOBSTORE,
    "wasi:blobstore/container",
    "wasi:blobstore/types",
];

/// Why an operation did not happen: the interface knows only text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// An object's bytes as they arrive; ends after the first error.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// Names of objects as they arrive; ends after the first error.
pub type NameStream = Pin<Box<dyn Stream<Item = Result<String, Error>> + Send>>;

/// An object's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectId {
    /// The container it is in.
    pub container: String,
    /// Its name there.
    pub object: String,
}

/// What is known of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerInfo {
    /// When it was made, in seconds since 1970; 0 where the store does not know.
    pub created_at: u64,
}

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectInfo {
    /// When it was made, in seconds since 1970; 0 where the store does not know.
    pub created_at: u64,
    /// Its length in bytes.
    pub size: u64,
}

/// A store of blobs, as one link shows it to one component; the functions are those of
/// `wrpc:blobstore/blobstore@0.2.0`.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Whether the store can be reached now.
    async fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
    /// Removes all objects of a container.
    async fn clear_container(&self, container: &str) -> Result<(), Error>;
    /// Whether there is such a container.
    async fn container_exists(&self, container: &str) -> Result<bool, Error>;
    /// Makes an empty container.
    async fn create_container(&self, container: &str) -> Result<(), Error>;
    /// Removes a container with all its objects.
    async fn delete_container(&self, container: &str) -> Result<(), Error>;
    /// Describes a container.
    async fn container_info(&self, container: &str) -> Result<ContainerInfo, Error>;
    /// Names the objects of a container, skipping `offset` and giving at most `limit`.
    async fn list_objects(
        &self,
        container: &str,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<NameStream, Error>;
    /// Copies an object over whatever was at `dest`.
    async fn copy_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error>;
    /// Moves an object over whatever was at `dest`.
    async fn move_object(&self, src: &ObjectId, dest: &ObjectId) -> Result<(), Error> {
        self.copy_object(src, dest).await?;
        if src == dest {
            return Ok(());
        }
        self.delete_object(src).await
    }
    /// Removes an object; no error where there is none.
    async fn delete_object(&self, id: &ObjectId) -> Result<(), Error>;
    /// Removes several objects of one container.
    async fn delete_objects(&self, container: &str, objects: Vec<String>) -> Result<(), Error> {
        for object in objects {
            let container = container.to_owned();
            self.delete_object(&ObjectId { container, object }).await?;
        }
        Ok(())
    }
    /// Whether there is such an object.
    async fn has_object(&self, id: &ObjectId) -> Result<bool, Error>;
    /// Describes an object.
    async fn object_info(&self, id: &ObjectId) -> Result<ObjectInfo, Error>;
    /// The bytes of an object from `start` to `end`, both included; an `end` past the last byte
    /// means the last byte.
    async fn get_data(&self, id: &ObjectId, start: u64, end: u64) -> Result<ByteStream, Error>;
    /// Writes an object; done once the store has all of `data`. An error in `data` leaves what
    /// was there before.
    async fn write_data(&self, id: &ObjectId, data: ByteStream) -> Result<(), Error>;
}

/// A store as one link shows it to one component: what a link of `wasi:blobstore` is bound to.
#[derive(Clone)]
pub struct Linked {
    /// Swapped when the provider's settings change.
    store: Arc<ArcSwap<Arc<dyn Backend>>>,
}

impl Linked {
    /// Leads to this store.
    pub fn new(store: Arc<dyn Backend>) -> Self {
        Self {
            store: Arc::new(ArcSwap::from_pointee(store)),
        }
    }

    /// The store.
    pub fn store(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.store.load())
    }

    /// Leads to another store from the next call on, here and in every clone.
    pub(crate) fn lead_to(&self, store: Arc<dyn Backend>) {
        self.store.store(Arc::new(store));
    }
}

/// `wasi:blobstore` for components: over a built-in provider on this host, or a remote one.
pub struct Blobstore;

impl Capability for Blobstore {
    fn name(&self) -> &'static str {
        "wasi:blobstore"
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
