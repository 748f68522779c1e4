//! What kind of thing is pushed, and how a registry names it.

use std::collections::BTreeMap;

use oci_distribution::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Layer of a component.
const COMPONENT_LAYER: &str = "application/wasm";
/// Layers of components that others pushed.
const COMPONENT_LAYERS: [&str; 3] = [
    COMPONENT_LAYER,
    "application/vnd.module.wasm.content.layer.v1+wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];
const COMPONENT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const PROVIDER_LAYER: &str = "application/vnd.wasmcloud.provider.archive.layer.v1+par";
const PROVIDER_CONFIG: &str = "application/vnd.wasmcloud.provider.archive.config";
/// What either kind may come as.
const ANY_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A component or a provider archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A WebAssembly component (or module).
    Component,
    /// A tar archive with a provider's binaries.
    Provider,
}

/// `sha256:` and the hash.
pub fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Kind {
    /// Tells from the first bytes: Wasm, gzip, or a tar header.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(b"\0asm") {
            return Some(Self::Component);
        }
        let is_tar = bytes.get(257..262) == Some(b"ustar");
        (bytes.starts_with(&[0x1f, 0x8b]) || is_tar).then_some(Self::Provider)
    }

    /// Tells from a layer's media type; `None` when either is possible.
    pub fn of_layer(media_type: &str) -> Result<Option<Self>, ()> {
        match media_type {
            PROVIDER_LAYER => Ok(Some(Self::Provider)),
            ANY_LAYER => Ok(None),
            other if COMPONENT_LAYERS.contains(&other) => Ok(Some(Self::Component)),
            _ => Err(()),
        }
    }

    /// What a file of this kind is called.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Component => "wasm",
            Self::Provider => "par.gz",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Component => COMPONENT_LAYER,
            Self::Provider => PROVIDER_LAYER,
        }
    }
}

/// Everything that goes to the registry beside the artifact itself.
pub struct Wrapping {
    /// The config blob.
    pub config: Vec<u8>,
    /// The manifest that names both blobs.
    pub manifest: OciImageManifest,
}

/// Wraps an artifact as upstream does.
pub fn wrap(
    kind: Kind,
    bytes: &[u8],
    config: Option<Vec<u8>>,
    annotations: BTreeMap<String, String>,
) -> Wrapping {
    let layer = descriptor(kind.layer(), bytes);
    let (config_type, config) = match kind {
        Kind::Component => {
            let made = || {
                component_config(bytes, &layer.digest)
                    .to_string()
                    .into_bytes()
            };
            (COMPONENT_CONFIG, config.unwrap_or_else(made))
        }
        Kind::Provider => (PROVIDER_CONFIG, config.unwrap_or_else(|| b"{}".to_vec())),
    };
    let manifest = OciImageManifest {
        schema_version: 2,
        media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
        config: descriptor(config_type, &config),
        layers: vec![layer],
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..OciImageManifest::default()
    };
    Wrapping { config, manifest }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> OciDescriptor {
    OciDescriptor {
        media_type: media_type.into(),
        digest: digest_of(bytes),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        ..OciDescriptor::default()
    }
}

/// The Wasm config: what a registry can show of a component without fetching it.
fn component_config(bytes: &[u8], layer_digest: &str) -> Value {
    let surface = crate::wit::surface(bytes).ok();
    json!({
        "created": now(),
        "author": null,
        "architecture": "wasm",
        "os": if surface.is_some() { "wasip2" } else { "wasip1" },
        "layerDigests": [layer_digest],
        "component": surface.map(|surface| json!({
            "exports": surface.exports,
            "imports": surface.imports,
            "target": null,
        })),
    })
}

fn now() -> String {
    time::OffsetDateTime::now_utc()
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_bytes() {
        assert_eq!(Kind::of_bytes(b"\0asm\x0d\0\x01\0"), Some(Kind::Component));
        assert_eq!(Kind::of_bytes(&[0x1f, 0x8b, 8]), Some(Kind::Provider));
        let mut header = vec![0u8; 512];
        header[257..262].copy_from_slice(b"ustar");
        assert_eq!(Kind::of_bytes(&header), Some(Kind::Provider));
        assert_eq!(Kind::of_bytes(b"hello"), None);
    }

    #[test]
    fn the_manifest_names_what_upstream_names() {
        let wrapping = wrap(
            Kind::Provider,
            b"par",
            None,
            BTreeMap::from([("a".into(), "b".into())]),
        );
        let json = serde_json::to_value(&wrapping.manifest).unwrap();
        assert_eq!(json["layers"][0]["mediaType"], PROVIDER_LAYER);
        assert_eq!(json["config"]["mediaType"], PROVIDER_CONFIG);
        assert_eq!(json["annotations"]["a"], "b");
        assert_eq!(wrapping.config, b"{}");
    }
}
