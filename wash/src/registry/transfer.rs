//! Bytes to and from a registry, with progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use oci_distribution::RegistryOperation;
use oci_distribution::client::Client;
use oci_distribution::errors::OciDistributionError;
use oci_distribution::manifest::OciDescriptor;

use super::artifact::{Kind, digest_of, wrap};
use super::{Image, RegistryError, RegistryOptions};
use crate::output::Printer;

/// How long a registry may take to accept a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long no byte may move. A slow link is fine, a dead one is not.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest artifact we take into memory.
const BYTES_MAX: u64 = 1 << 30;
/// A registry's chunks are one request each: few and large.
const CHUNK: usize = 8 * 1024 * 1024;

/// What was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The whole reference.
    pub url: String,
    /// The manifest's digest.
    pub digest: String,
    /// The tag.
    pub tag: Option<String>,
}

/// What was pulled.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The artifact.
    pub bytes: Bytes,
    /// The manifest's digest.
    pub digest: String,
    /// What it is.
    pub kind: Kind,
}

/// Pushes an artifact.
pub async fn push(
    image: &Image,
    options: &RegistryOptions,
    artifact: Bytes,
    config: Option<Vec<u8>>,
    annotations: BTreeMap<String, String>,
    monolithic: bool,
    printer: &Printer,
) -> Result<Pushed, RegistryError> {
    let name = image.reference.whole();
    let failed = |source| RegistryError::transfer("push", &name, source);
    let kind =
        Kind::of_bytes(&artifact).ok_or_else(|| RegistryError::NotAnArtifact(name.clone()))?;
    let wrapping = wrap(kind, &artifact, config, annotations);
    let client = options.client(image, monolithic)?;
    let auth = options.auth(image)?;
    client
        .auth(&image.reference, &auth, RegistryOperation::Push)
        .await
        .map_err(failed)?;
    client
        .store_auth_if_needed(image.reference.resolve_registry(), &auth)
        .await;

    for layer in &wrapping.manifest.layers {
        push_layer(&client, image, layer, artifact.clone(), printer)
            .await
            .map_err(failed)?;
    }
    client
        .push_blob(
            &image.reference,
            wrapping.config,
            &wrapping.manifest.config.digest,
        )
        .await
        .map_err(failed)?;
    let body = serde_json::to_vec(&wrapping.manifest).map_err(|source| failed(source.into()))?;
    let digest = digest_of(&body);
    let content_type =
        http::HeaderValue::from_static(oci_distribution::manifest::OCI_IMAGE_MEDIA_TYPE);
    client
        .push_manifest_raw(&image.reference, body, content_type)
        .await
        .map_err(failed)?;
    Ok(Pushed {
        url: name.clone(),
        digest,
        tag: image.reference.tag().map(str::to_owned),
    })
}

async fn push_layer(
    client: &Client,
    image: &Image,
    layer: &OciDescriptor,
    data: Bytes,
    printer: &Printer,
) -> Result<(), OciDistributionError> {
    if client
        .blob_exists(&image.reference, &layer.digest)
        .await
        .unwrap_or(false)
    {
        return Ok(());
    }
    let size = data.len() as u64;
    let shown = Arc::new(printer.bytes(format!("pushing {}", image.short_name()), Some(size)));
    // In one request the pieces show progress; in chunks each piece would be a request.
    let piece = if size as usize <= CHUNK {
        data.len().max(1)
    } else {
        CHUNK
    };
    let pieces: Vec<Bytes> = (0..data.len())
        .step_by(piece)
        .map(|start| data.slice(start..data.len().min(start + piece)))
        .collect();
    let stream = futures::stream::iter(pieces).flat_map(move |piece| {
        shown.add(piece.len() as u64);
        futures::stream::once(async move { Ok(piece) })
    });
    client
        .push_blob_stream(&image.reference, stream, &layer.digest, Some(size))
        .await
        .map(drop)
}

/// The digest of what a registry holds, without its content.
pub async fn digest(image: &Image, options: &RegistryOptions) -> Result<String, RegistryError> {
    let auth = options.auth(image)?;
    let client = options.client(image, false)?;
    client
        .fetch_manifest_digest(&image.reference, &auth)
        .await
        .map_err(|source| RegistryError::transfer("find", &image.reference.whole(), source))
}

/// Pulls an artifact and checks every byte of it.
pub async fn pull(
    image: &Image,
    options: &RegistryOptions,
    wanted: Option<&str>,
    printer: &Printer,
) -> Result<Pulled, RegistryError> {
    let name = image.reference.whole();
    let failed = |source| RegistryError::transfer("pull", &name, source);
    let client = options.client(image, false)?;
    let auth = options.auth(image)?;
    let mut progress = printer.progress(format!("asking for {name}"));
    let (manifest, digest) = client
        .pull_image_manifest(&image.reference, &auth)
        .await
        .map_err(failed)?;
    progress.say(format!("pulling {name}"));
    drop(progress);
    if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
        return Err(RegistryError::Digest {
            image: name,
            wanted: wanted.into(),
            found: digest,
        });
    }
    let kind = kind_of(&name, &manifest.layers)?;
    let size: u64 = manifest
        .layers
        .iter()
        .map(|layer| u64::try_from(layer.size).unwrap_or(0))
        .sum();
    if size > BYTES_MAX {
        return Err(RegistryError::TooLarge {
            image: name,
            size,
            max: BYTES_MAX,
        });
    }
    let shown = printer.bytes(format!("pulling {}", image.short_name()), Some(size));
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default().min(64 << 20));
    for layer in &manifest.layers {
        pull_layer(&client, image, layer, &mut bytes, |count| shown.add(count)).await?;
    }
    drop(shown);
    let kind = match kind {
        Some(kind) => kind,
        None => Kind::of_bytes(&bytes).ok_or(RegistryError::NotAnArtifact(name))?,
    };
    Ok(Pulled {
        bytes: bytes.into(),
        digest,
        kind,
    })
}

async fn pull_layer(
    client: &Client,
    image: &Image,
    layer: &OciDescriptor,
    into: &mut Vec<u8>,
    moved: impl Fn(u64),
) -> Result<(), RegistryError> {
    let name = image.reference.whole();
    let start = into.len();
    let mut stream = client
        .pull_blob_stream(&image.reference, layer)
        .await
        .map_err(|source| RegistryError::transfer("pull", &name, source))?;
    loop {
        let next = tokio::time::timeout(STALL_TIMEOUT, stream.stream.try_next()).await;
        let piece = match next {
            Err(_) => {
                return Err(RegistryError::Stalled {
                    image: name,
                    waited: STALL_TIMEOUT,
                });
            }
            Ok(Ok(None)) => break,
            Ok(Ok(Some(piece))) => piece,
            Ok(Err(source)) => return Err(RegistryError::transfer("pull", &name, source.into())),
        };
        moved(piece.len() as u64);
        into.extend_from_slice(&piece);
        if into.len() as u64 > BYTES_MAX {
            return Err(RegistryError::TooLarge {
                image: name,
                size: into.len() as u64,
                max: BYTES_MAX,
            });
        }
    }
    let found = digest_of(&into[start..]);
    if found != layer.digest {
        return Err(RegistryError::Digest {
            image: name,
            wanted: layer.digest.clone(),
            found,
        });
    }
    Ok(())
}

fn kind_of(name: &str, layers: &[OciDescriptor]) -> Result<Option<Kind>, RegistryError> {
    let other = || RegistryError::OtherKind {
        image: name.to_owned(),
        found: layers
            .iter()
            .map(|layer| layer.media_type.as_str())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut kind = None;
    for layer in layers {
        kind = kind.or(Kind::of_layer(&layer.media_type).map_err(|()| other())?);
    }
    if layers.is_empty() {
        Err(other())
    } else {
        Ok(kind)
    }
}
