//! References to images: where the bytes of a component or provider are to be had.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A reference, by where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A file on the host's machine.
    File(PathBuf),
    /// An image in a registry: `registry/name:tag`, `…@sha256:…`, without scheme.
    Oci(String),
    /// A provider inside the host, by its name.
    Builtin(String),
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing is there.
    #[error("the image reference is empty")]
    Empty,
    /// A file's path does not start at the root.
    #[error("`{0}` must name an absolute path, as in file:///dir/file.wasm")]
    RelativeFile(String),
    /// The text holds spaces or control characters.
    #[error("`{0}` is no image reference: it holds spaces or control characters")]
    Characters(String),
}

const BUILTIN: &str = "wasmcloud+builtin://";

/// The last part of an upstream provider's image name, and the built-in that replaces it.
const OFFICIAL: [(&str, &str); 8] = [
    ("http-server", "http-server"),
    ("http-client", "http-client"),
    ("keyvalue-nats", "keyvalue-nats"),
    ("keyvalue-redis", "keyvalue-redis"),
    ("blobstore-fs", "blobstore-fs"),
    ("blobstore-nats", "blobstore-nats"),
    ("messaging-nats", "messaging-nats"),
    ("kvredis", "keyvalue-redis"),
];

/// Where upstream publishes its providers.
const OFFICIAL_HOMES: [&str; 2] = ["ghcr.io/wasmcloud/", "wasmcloud.azurecr.io/"];

impl Reference {
    /// The text as peers report a provider's image: without its scheme.
    #[must_use]
    pub fn without_scheme(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Oci(text) | Self::Builtin(text) => text.clone(),
        }
    }

    /// The built-in provider that stands in for this image, if it is one upstream publishes;
    /// for a built-in reference, its own name.
    #[must_use]
    pub fn builtin_kind(&self) -> Option<&str> {
        match self {
            Self::Builtin(kind) => Some(kind),
            Self::File(_) => None,
            Self::Oci(image) => official_builtin(image),
        }
    }

    /// The registry of an image, e.g. `ghcr.io` or `localhost:5000`; without one the public
    /// default.
    #[must_use]
    pub fn registry(&self) -> Option<&str> {
        let Self::Oci(image) = self else { return None };
        match image.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => Some(first),
            _ => Some("docker.io"),
        }
    }

    /// The image's tag, if one is written out.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        let Self::Oci(image) = self else { return None };
        let image = image.split('@').next().unwrap_or_default();
        let name = image.rsplit('/').next().unwrap_or_default();
        name.split_once(':').map(|(_, tag)| tag)
    }

    /// The image's digest, if one is written out.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        let Self::Oci(image) = self else { return None };
        image.split_once('@').map(|(_, digest)| digest)
    }

    /// Whether the image is tagged `latest` in so many words.
    #[must_use]
    pub fn is_latest(&self) -> bool {
        self.digest().is_none() && self.tag() == Some("latest")
    }
}

/// The built-in provider that stands in for an image upstream publishes.
fn official_builtin(image: &str) -> Option<&'static str> {
    let rest = OFFICIAL_HOMES
        .iter()
        .find_map(|home| image.strip_prefix(home))?;
    let name = rest.split([':', '@']).next()?;
    OFFICIAL
        .iter()
        .find(|(official, _)| *official == name)
        .map(|(_, kind)| *kind)
}

/// A reference without its scheme, also for text that is no valid reference: how two
/// spellings of one image are compared.
#[must_use]
pub fn without_scheme(reference: &str) -> &str {
    [BUILTIN, "file://", "oci://", "https://", "http://"]
        .iter()
        .find_map(|scheme| reference.strip_prefix(scheme))
        .unwrap_or(reference)
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// Reads a reference. Image names are put in lower case as peers do; tags keep theirs.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if let Some(path) = text.strip_prefix("file://") {
            let path = Path::new(path);
            return if path.is_absolute() {
                Ok(Self::File(path.to_owned()))
            } else {
                Err(ReferenceError::RelativeFile(text.to_owned()))
            };
        }
        let rest = without_scheme(text);
        if rest.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ReferenceError::Characters(text.to_owned()));
        }
        if text.starts_with(BUILTIN) {
            return Ok(Self::Builtin(rest.to_owned()));
        }
        Ok(Self::Oci(rest.to_lowercase()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Oci(text) => f.write_str(text),
            Self::Builtin(name) => write!(f, "{BUILTIN}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn references_lead_to_files_registries_or_the_host_itself() {
        assert_eq!(
            read("file:///a/B.wasm"),
            Reference::File("/a/B.wasm".into())
        );
        assert_eq!(
            read("wasmcloud+builtin://http-server"),
            Reference::Builtin("http-server".into())
        );
        for text in [
            "oci://ghcr.io/a/b:1",
            "https://ghcr.io/a/b:1",
            "ghcr.io/A/b:1",
        ] {
            assert_eq!(read(text), Reference::Oci("ghcr.io/a/b:1".into()));
        }
        for bad in ["", " ", "oci://", "a b", "file://x.wasm", "file://"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn schemes_are_dropped_where_peers_drop_them() {
        for (text, bare) in [
            ("file:///a/b.par.gz", "/a/b.par.gz"),
            ("oci://r/a:1", "r/a:1"),
            ("wasmcloud+builtin://http-client", "http-client"),
            ("r/a:1", "r/a:1"),
        ] {
            assert_eq!(read(text).without_scheme(), bare);
            assert_eq!(without_scheme(text), bare);
        }
    }

    #[test]
    fn official_images_have_built_in_stand_ins() {
        for (text, kind) in [
            ("ghcr.io/wasmcloud/http-server:0.28.0", Some("http-server")),
            (
                "oci://ghcr.io/wasmcloud/keyvalue-redis@sha256:00",
                Some("keyvalue-redis"),
            ),
            ("ghcr.io/wasmcloud/blobstore-s3:0.12.1", None),
            ("ghcr.io/acme/http-server:1", None),
            ("file:///http-server.par.gz", None),
            (
                "wasmcloud+builtin://keyvalue-memory",
                Some("keyvalue-memory"),
            ),
        ] {
            assert_eq!(read(text).builtin_kind(), kind, "{text}");
        }
    }

    #[test]
    fn an_image_shows_its_registry_tag_and_digest() {
        let image = read("localhost:5000/a/b:1@sha256:0f");
        assert_eq!(image.registry(), Some("localhost:5000"));
        assert_eq!(image.tag(), Some("1"));
        assert_eq!(image.digest(), Some("sha256:0f"));
        assert_eq!(read("library/redis").registry(), Some("docker.io"));
        assert_eq!(read("localhost:5000/a").tag(), None);
        assert!(read("ghcr.io/a/b:latest").is_latest());
        assert!(!read("ghcr.io/a/b").is_latest());
        assert!(!read("ghcr.io/a/b:latest@sha256:0f").is_latest());
    }
}
