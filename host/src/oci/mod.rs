//! Artifacts: fetched from OCI registries or files, kept on disk by digest.
//!
//! What is cached starts without its registry: a pinned digest never asks it, a tag asks it first
//! and falls back to the digest the tag had when it was last seen. Nothing here retries; when to
//! try again is the controller's decision.

mod auth;
mod error;
mod image;
mod manifest;
mod offline;
mod registry;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use oci_distribution::Reference;
use oci_distribution::manifest::{OciDescriptor, OciImageManifest};

pub use error::{FetchError, RegistryError, chain as error_chain};
pub use image::{Image, Mirror, MirrorError};
pub use settings::{Credential, FetchOptions};
pub use store::{files as cached_files, forget_gone};

use manifest::Manifest;
use registry::Registry;
use store::Store;

/// Layers one artifact may consist of; there is normally one.
const LAYERS_MAX: usize = 16;

/// What an artifact is to be used as; decides the accepted layer types and the size limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactKind {
    /// A WebAssembly component.
    Component,
    /// A provider archive (`.par`, `.par.gz`).
    Provider,
}

impl ArtifactKind {
    fn accepts(self, media_type: &str) -> bool {
        let accepted: &[&str] = match self {
            Self::Component => &[
                "application/wasm",
                "application/vnd.module.wasm.content.layer.v1+wasm",
                "application/vnd.oci.image.layer.v1.tar",
            ],
            Self::Provider => &[
                "application/vnd.wasmcloud.provider.archive.layer.v1+par",
                "application/vnd.oci.image.layer.v1.tar",
            ],
        };
        accepted.contains(&media_type)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Provider => "provider archive",
        }
    }
}

/// An artifact that lies on this machine's disk.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The reference that was asked for.
    pub reference: String,
    /// `sha256:…` of the bytes in `path`.
    pub digest: String,
    /// Digest of the image manifest the bytes came from; none for files.
    pub image_digest: Option<String>,
    /// Where the bytes are.
    pub path: PathBuf,
}

impl Artifact {
    /// Reads the artifact and checks that it still has its digest.
    ///
    /// # Errors
    /// [`FetchError::File`] when it cannot be read, [`FetchError::Changed`] when the bytes changed.
    pub async fn read(&self) -> Result<Bytes, FetchError> {
        let bytes = tokio::fs::read(&self.path)
            .await
            .map_err(|source| FetchError::File {
                path: self.path.clone(),
                source,
            })?;
        if store::digest_of(&bytes) != self.digest {
            return Err(FetchError::Changed {
                path: self.path.clone(),
                digest: self.digest.clone(),
            });
        }
        Ok(bytes.into())
    }
}

type Pull = Shared<BoxFuture<'static, Result<Artifact, Arc<FetchError>>>>;
type WeakPull = WeakShared<BoxFuture<'static, Result<Artifact, Arc<FetchError>>>>;

/// Fetches artifacts; concurrent requests for one reference share one pull.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
    pulls: Arc<Mutex<HashMap<(String, ArtifactKind), WeakPull>>>,
}

struct Inner {
    options: FetchOptions,
    registry: Registry,
    store: Store,
}

impl Fetcher {
    /// A fetcher that caches under `dir`.
    ///
    /// # Errors
    /// [`FetchError::Setup`] when the cache directory or a CA file cannot be used.
    pub fn new(options: FetchOptions, dir: &Path) -> Result<Self, FetchError> {
        let store = Store::open(dir).map_err(|source| FetchError::File {
            path: dir.to_owned(),
            source,
        })?;
        let registry = Registry::new(&options)?;
        let inner = Inner {
            options,
            registry,
            store,
        };
        Ok(Self {
            inner: Arc::new(inner),
            pulls: Arc::default(),
        })
    }

    /// Sets or replaces the credentials of a registry from now on.
    pub fn set_credential(&self, registry: &str, credential: Credential) {
        self.inner.registry.set_credential(registry, credential);
    }

    /// The artifact `reference` names, from disk where the rules allow it, else from its registry.
    ///
    /// # Errors
    /// A [`FetchError`] that says what failed on which reference, with the registry's own words.
    pub async fn fetch(
        &self,
        reference: &str,
        kind: ArtifactKind,
    ) -> Result<Artifact, Arc<FetchError>> {
        self.pull(reference, kind).await
    }

    fn pull(&self, reference: &str, kind: ArtifactKind) -> Pull {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        pulls.retain(|_, pull| pull.upgrade().is_some_and(|pull| pull.peek().is_none()));
        let key = (reference.to_owned(), kind);
        if let Some(pull) = pulls.get(&key).and_then(WeakShared::upgrade) {
            return pull;
        }
        let inner = self.inner.clone();
        let reference = reference.to_owned();
        let pull = async move { inner.fetch(&reference, kind).await.map_err(Arc::new) }
            .boxed()
            .shared();
        if let Some(weak) = pull.downgrade() {
            pulls.insert(key, weak);
        }
        pull
    }
}

impl Inner {
    async fn fetch(&self, reference: &str, kind: ArtifactKind) -> Result<Artifact, FetchError> {
        match Image::parse(reference)? {
            Image::File(path) => self.load_file(reference, &path, kind).await,
            Image::Oci(image) => {
                if Image::is_latest(reference) && !self.options.allow_latest {
                    return Err(FetchError::LatestProhibited);
                }
                self.load_image(reference, &image, kind).await
            }
        }
    }

    async fn load_file(
        &self,
        reference: &str,
        path: &Path,
        kind: ArtifactKind,
    ) -> Result<Artifact, FetchError> {
        if !self.options.allow_file_load {
            return Err(FetchError::FileLoadingDisabled);
        }
        let failed = |source| FetchError::File {
            path: path.to_owned(),
            source,
        };
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        self.check_size(reference, size, kind)?;
        let bytes = tokio::fs::read(path).await.map_err(failed)?;
        // A copy by content: the file may change or vanish while the artifact is in use.
        let digest = self.store.put(bytes).await.map_err(failed)?;
        Ok(Artifact {
            reference: reference.to_owned(),
            path: self.store.blob_path(&digest),
            digest,
            image_digest: None,
        })
    }

    async fn load_image(
        &self,
        reference: &str,
        image: &Reference,
        kind: ArtifactKind,
    ) -> Result<Artifact, FetchError> {
        let place = image::rewrite(&self.options.mirrors, image);
        if let Some(digest) = image.digest()
            && let Some(manifest) = self.store.manifest(digest).await
        {
            match self.assemble(reference, &place, &manifest, kind).await {
                Ok(artifact) => return Ok(artifact),
                Err(error) => tracing::debug!(reference, %error, "cached image is not complete"),
            }
        }
        let manifest = match self.registry.manifest(&place).await {
            Ok(manifest) => manifest,
            Err(source) => return self.cached(reference, &place, kind, source).await,
        };
        let manifest = self.for_this_machine(reference, &place, manifest).await?;
        self.keep_manifest(image, &manifest).await;
        let artifact = self.assemble(reference, &place, &manifest, kind).await?;
        self.store.remember(&image.whole(), &manifest.digest).await;
        Ok(artifact)
    }

    /// What the tag meant when it was last seen, if the registry gave no definite answer.
    async fn cached(
        &self,
        reference: &str,
        place: &Reference,
        kind: ArtifactKind,
        source: RegistryError,
    ) -> Result<Artifact, FetchError> {
        let failed = |source| FetchError::Registry {
            image: reference.to_owned(),
            place: place.whole(),
            source,
        };
        if source.is_definite() {
            return Err(failed(source));
        }
        let Ok(Image::Oci(image)) = Image::parse(reference) else {
            return Err(failed(source));
        };
        let Some(digest) = self.store.recall(&image.whole()).await else {
            return Err(failed(source));
        };
        let Some(manifest) = self.store.manifest(&digest).await else {
            return Err(failed(source));
        };
        match self.assemble(reference, place, &manifest, kind).await {
            Ok(artifact) => {
                let cause = error::chain(&source);
                tracing::warn!(
                    reference,
                    digest,
                    cause,
                    "registry gave no answer; using the cached image"
                );
                Ok(artifact)
            }
            Err(_) => Err(failed(source)),
        }
    }

    async fn keep_manifest(&self, image: &Reference, manifest: &Manifest) {
        if let Err(error) = self.store.put(manifest.bytes.to_vec()).await {
            tracing::warn!(image = image.whole(), %error, "cannot cache the manifest");
        }
    }

    /// The image manifest itself, or the entry of an index that fits this machine.
    async fn for_this_machine(
        &self,
        reference: &str,
        place: &Reference,
        manifest: Manifest,
    ) -> Result<Manifest, FetchError> {
        let Some(digest) =
            manifest
                .entry_for_this_machine()
                .map_err(|source| FetchError::Registry {
                    image: reference.to_owned(),
                    place: place.whole(),
                    source,
                })?
        else {
            return Ok(manifest);
        };
        // The index stays in the cache too: a reference pinned to it resolves offline.
        self.keep_manifest(place, &manifest).await;
        self.store.remember(&manifest.digest, &digest).await;
        let entry = place.clone_with_digest(digest);
        self.registry
            .manifest(&entry)
            .await
            .map_err(|source| FetchError::Registry {
                image: reference.to_owned(),
                place: entry.whole(),
                source,
            })
    }

    /// Brings the layers of an image together, from disk or registry.
    async fn assemble(
        &self,
        reference: &str,
        place: &Reference,
        manifest: &Manifest,
        kind: ArtifactKind,
    ) -> Result<Artifact, FetchError> {
        let image = manifest.image().map_err(|source| FetchError::Registry {
            image: reference.to_owned(),
            place: place.whole(),
            source,
        })?;
        self.check_layers(reference, &image, kind)?;
        for layer in &image.layers {
            self.layer(reference, place, layer).await?;
        }
        let digest = match image.layers.as_slice() {
            [only] => only.digest.clone(),
            several => self.concatenate(several).await?,
        };
        Ok(Artifact {
            reference: reference.to_owned(),
            path: self.store.blob_path(&digest),
            digest,
            image_digest: Some(manifest.digest.clone()),
        })
    }

    async fn layer(
        &self,
        reference: &str,
        place: &Reference,
        layer: &OciDescriptor,
    ) -> Result<(), FetchError> {
        if self.store.is_intact(&layer.digest).await {
            return Ok(());
        }
        let failed = |source| FetchError::Registry {
            image: reference.to_owned(),
            place: place.whole(),
            source,
        };
        let size = u64::try_from(layer.size).unwrap_or(0);
        let mut draft = self
            .store
            .draft()
            .map_err(|source| failed(RegistryError::Disk { source }))?;
        self.registry
            .blob(place, &layer.digest, size, &mut draft)
            .await
            .map_err(failed)?;
        draft
            .keep(&layer.digest)
            .await
            .map_err(|source| failed(RegistryError::Disk { source }))
    }

    async fn concatenate(&self, layers: &[OciDescriptor]) -> Result<String, FetchError> {
        let mut whole = Vec::new();
        for layer in layers {
            let path = self.store.blob_path(&layer.digest);
            let bytes = tokio::fs::read(&path)
                .await
                .map_err(|source| FetchError::File {
                    path: path.clone(),
                    source,
                })?;
            whole.extend_from_slice(&bytes);
        }
        let dir = self.store.dir().to_owned();
        self.store
            .put(whole)
            .await
            .map_err(|source| FetchError::File { path: dir, source })
    }

    fn check_layers(
        &self,
        reference: &str,
        image: &OciImageManifest,
        kind: ArtifactKind,
    ) -> Result<(), FetchError> {
        let wrong = |reason: String| FetchError::NotA {
            image: reference.to_owned(),
            kind: kind.name(),
            reason,
        };
        let layers = &image.layers;
        if layers.is_empty() {
            return Err(wrong("it has no layers".into()));
        }
        if layers.len() > LAYERS_MAX {
            return Err(wrong(format!(
                "it has {} layers, at most {LAYERS_MAX} are taken",
                layers.len()
            )));
        }
        if layers.len() > 1 && image.config.media_type == "application/vnd.wasm.config.v0+json" {
            return Err(wrong(format!(
                "a Wasm image has one layer, this one has {}",
                layers.len()
            )));
        }
        if let Some(layer) = layers.iter().find(|layer| !kind.accepts(&layer.media_type)) {
            return Err(wrong(format!(
                "it has a layer of type `{}`",
                layer.media_type
            )));
        }
        if let Some(layer) = layers.iter().find(|layer| !store::is_digest(&layer.digest)) {
            return Err(wrong(format!("`{}` is not a sha256 digest", layer.digest)));
        }
        let sizes = layers
            .iter()
            .map(|layer| u64::try_from(layer.size).unwrap_or(u64::MAX));
        self.check_size(reference, sizes.fold(0, u64::saturating_add), kind)
    }

    fn check_size(
        &self,
        reference: &str,
        bytes: u64,
        kind: ArtifactKind,
    ) -> Result<(), FetchError> {
        let bytes_max = match kind {
            ArtifactKind::Component => self.options.component_bytes_max,
            ArtifactKind::Provider => self.options.provider_bytes_max,
        };
        if bytes > bytes_max {
            return Err(FetchError::TooLarge {
                image: reference.to_owned(),
                kind: kind.name(),
                bytes,
                bytes_max,
            });
        }
        Ok(())
    }
}
