//! The record of removals: what ran once for an application and may not all be gone yet. It lets a
//! new leader finish what an old one began to take down.

use std::sync::Arc;

use async_nats::jetstream::kv;
use proto::id::Lattice;
use proto::manifest::Manifest;
use proto::subject::wadm::retired_key;

use serde::Deserialize as _;

use super::StoreError;

/// The records of all lattices.
#[derive(Clone, Debug)]
pub struct Retired {
    kv: Arc<kv::Store>,
}

impl Retired {
    /// Records in `kv`.
    pub fn new(kv: kv::Store) -> Self {
        Self { kv: Arc::new(kv) }
    }

    /// Writes one record; only a leader does, so the last one wins. With no manifests the name
    /// alone is kept.
    ///
    /// # Errors
    /// When JetStream did not store it.
    pub async fn put(
        &self,
        lattice: &Lattice,
        name: &str,
        manifests: &[Arc<Manifest>],
    ) -> Result<(), StoreError> {
        let key = retired_key(lattice, name);
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::JetStream {
            what: "write",
            bucket: self.kv.name.clone(),
            key: key.clone(),
            source,
        };
        let manifests: Vec<&Manifest> = manifests.iter().map(Arc::as_ref).collect();
        let bytes = serde_json::to_vec(&manifests).map_err(|error| failed(Box::new(error)))?;
        self.kv
            .put(&key, bytes.into())
            .await
            .map_err(|error| failed(Box::new(error)))?;
        Ok(())
    }

    /// The manifests in a record; what is not readable is left out.
    pub fn read(value: &[u8]) -> Vec<Arc<Manifest>> {
        let values: Vec<serde_json::Value> = serde_json::from_slice(value).unwrap_or_default();
        values
            .iter()
            .filter_map(|value| Manifest::deserialize(value).ok())
            .map(Arc::new)
            .collect()
    }
}
