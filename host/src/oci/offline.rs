//! What is known of images without asking anybody.

use super::{Artifact, ArtifactKind, Fetcher, Image};

impl Fetcher {
    /// The artifact as it was last seen, if it is on disk; asks nobody.
    pub async fn cached(&self, reference: &str, kind: ArtifactKind) -> Option<Artifact> {
        let Ok(Image::Oci(image)) = Image::parse(reference) else {
            return None;
        };
        let inner = &self.inner;
        let digest = match image.digest() {
            Some(digest) => digest.to_owned(),
            None => inner.store.recall(&image.whole()).await?,
        };
        let manifest = inner.store.manifest(&digest).await?;
        let layers = manifest.image().ok()?.layers;
        for layer in &layers {
            if !inner.store.is_intact(&layer.digest).await {
                return None;
            }
        }
        inner
            .assemble(reference, &image, &manifest, kind)
            .await
            .ok()
    }

    /// The digests of all that is on disk of an image: its manifests and its layers.
    pub async fn digests(&self, reference: &str) -> Vec<String> {
        let Ok(Image::Oci(image)) = Image::parse(reference) else {
            return Vec::new();
        };
        let store = &self.inner.store;
        let first = match image.digest() {
            Some(digest) => Some(digest.to_owned()),
            None => store.recall(&image.whole()).await,
        };
        let Some(first) = first else {
            return Vec::new();
        };
        let mut digests = vec![first.clone()];
        if let Some(manifest) = store.manifest(&first).await {
            let image = manifest.image().ok();
            digests.extend(
                image
                    .into_iter()
                    .flat_map(|image| image.layers)
                    .map(|layer| layer.digest),
            );
            digests.push(manifest.digest);
        }
        digests
    }
}
