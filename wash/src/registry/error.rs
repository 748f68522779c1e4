//! What goes wrong with a registry, and what to try.

use std::time::Duration;

use oci_distribution::errors::OciDistributionError;

use crate::error::{Advice, FileError};
use crate::exit::Exit;

/// Why an artifact could not be pushed or pulled.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Not a reference.
    #[error("`{text}` is no image reference")]
    Reference {
        /// As given.
        text: String,
        /// What is wrong.
        #[source]
        source: oci_distribution::ParseError,
    },
    /// A scheme that is not a registry's.
    #[error("`{0}` does not point at a registry")]
    Scheme(String),
    /// `latest`, written out or implied.
    #[error("`{0}` would use the tag `latest`, which says nothing about its content")]
    Latest(String),
    /// Only one of user and password.
    #[error("half of the credentials are missing: {0}")]
    HalfCredentials(&'static str),
    /// The file is neither a component nor a provider archive.
    #[error("`{0}` is neither a WebAssembly component nor a provider archive")]
    NotAnArtifact(String),
    /// The registry holds something else.
    #[error("`{image}` is an image of another kind: {found}")]
    OtherKind {
        /// The reference.
        image: String,
        /// The media types found.
        found: String,
    },
    /// The content is not what was asked for.
    #[error("`{image}` has the digest {found}, not {wanted}")]
    Digest {
        /// The reference.
        image: String,
        /// As asked for.
        wanted: String,
        /// As found.
        found: String,
    },
    /// More than we are ready to take.
    #[error("`{image}` has {size} bytes, more than the {max} that are allowed")]
    TooLarge {
        /// The reference.
        image: String,
        /// Its size.
        size: u64,
        /// The limit.
        max: u64,
    },
    /// No byte for too long.
    #[error("`{image}`: nothing moved for {waited:?}")]
    Stalled {
        /// The reference.
        image: String,
        /// How long.
        waited: Duration,
    },
    /// The registry or the way to it failed.
    #[error("cannot {action} `{image}`")]
    Transfer {
        /// push or pull.
        action: &'static str,
        /// The reference.
        image: String,
        /// The registry's own words.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// A local file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RegistryError {
    /// Wraps what the client says.
    pub fn transfer(action: &'static str, image: &str, source: OciDistributionError) -> Self {
        Self::Transfer {
            action,
            image: image.to_owned(),
            source: Box::new(source),
        }
    }
}

fn about_transfer(source: &OciDistributionError, image: &str) -> String {
    let registry = image.split('/').next().unwrap_or(image);
    match source {
        OciDistributionError::UnauthorizedError { .. }
        | OciDistributionError::AuthenticationFailure(_) => {
            format!("log in with `docker login {registry}`, or give --user and --password")
        }
        OciDistributionError::ImageManifestNotFoundError(_) => {
            "check name and tag; push it with `wash push`".into()
        }
        OciDistributionError::ServerError {
            code: 401 | 403, ..
        } => {
            format!("log in with `docker login {registry}`, or give --user and --password")
        }
        OciDistributionError::RequestError(_) => {
            format!(
                "check that `{registry}` can be reached; add --insecure if it speaks plain HTTP"
            )
        }
        _ => "check the reference, and what the registry's log says".into(),
    }
}

impl Advice for RegistryError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Reference { .. } => "write it as REGISTRY/NAME:TAG, e.g. localhost:5000/web:0.1.0".into(),
            Self::Scheme(_) => "write it as REGISTRY/NAME:TAG, without a scheme".into(),
            Self::Latest(_) => "name a version, or add --allow-latest".into(),
            Self::HalfCredentials(flag) => format!("add {flag}, or use `docker login`"),
            Self::NotAnArtifact(_) => {
                "give a component (.wasm, from `cargo build --target wasm32-wasip2`) or a provider archive (from `wash par create`)".into()
            }
            Self::OtherKind { .. } => "check the reference; containers do not run in a lattice".into(),
            Self::Digest { .. } => "the tag moved: check who pushed it, or take the new digest".into(),
            Self::TooLarge { .. } => "check the reference: this is hardly a component".into(),
            Self::Stalled { .. } => "try again; what has been pulled is not lost on the registry's side".into(),
            Self::Transfer { source, image, .. } => about_transfer(source, image),
            Self::File(error) => return error.hint(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Reference { .. }
            | Self::Scheme(_)
            | Self::Latest(_)
            | Self::HalfCredentials(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}
