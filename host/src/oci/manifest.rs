//! Image manifests and indexes.

use bytes::Bytes;
use oci_distribution::manifest::{OciImageIndex, OciImageManifest};
use serde::Deserialize;

use super::{RegistryError, store};

/// A manifest as it came, and its digest.
pub struct Manifest {
    /// The bytes.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: String,
    /// Where they came from; empty when from the cache.
    pub url: String,
}

impl Manifest {
    /// The manifest of one image.
    pub fn image(&self) -> Result<OciImageManifest, RegistryError> {
        serde_json::from_slice(&self.bytes).map_err(|error| self.fault(error.to_string()))
    }

    /// The digest to go on with if this is an index of images.
    pub fn entry_for_this_machine(&self) -> Result<Option<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Probe {
            manifests: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe =
            serde_json::from_slice(&self.bytes).map_err(|error| self.fault(error.to_string()))?;
        if probe.manifests.is_none() {
            return Ok(None);
        }
        let index: OciImageIndex =
            serde_json::from_slice(&self.bytes).map_err(|error| self.fault(error.to_string()))?;
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let fits = |wanted_arch: &str| {
            index.manifests.iter().find(|entry| {
                entry.platform.as_ref().is_some_and(|platform| {
                    serde_json::to_value(&platform.architecture)
                        .is_ok_and(|value| value == wanted_arch)
                })
            })
        };
        let only = || {
            index
                .manifests
                .first()
                .filter(|_| index.manifests.len() == 1)
        };
        let entry = fits("wasm").or_else(|| fits(arch)).or_else(only);
        match entry {
            Some(entry) if store::is_digest(&entry.digest) => Ok(Some(entry.digest.clone())),
            _ => Err(self.fault(format!("the index has no image for `wasm` or `{arch}`"))),
        }
    }

    fn fault(&self, reason: String) -> RegistryError {
        let url = if self.url.is_empty() {
            self.digest.clone()
        } else {
            self.url.clone()
        };
        RegistryError::Manifest { url, reason }
    }
}
