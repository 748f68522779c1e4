//! Why an artifact could not be had.

use std::path::PathBuf;

/// Why an artifact could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text does not name an image.
    #[error(
        "`{reference}` is not an image reference: {reason}; write it as `registry/repository:tag`"
    )]
    Reference {
        /// The text.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `file://` without the option that allows it.
    #[error("unable to start component from file, file loading is disabled")]
    FileLoadingDisabled,
    /// The tag `latest` without the option that allows it.
    #[error(
        "fetching images tagged 'latest' is currently prohibited in this host. \
         This option can be overridden with WASMCLOUD_OCI_ALLOW_LATEST"
    )]
    LatestProhibited,
    /// A local file could not be used.
    #[error("cannot use the file `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The bytes on disk are not what they were.
    #[error("`{}` no longer has the digest {digest}; start it again to fetch it anew", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// The digest it had.
        digest: String,
    },
    /// The registry did not deliver.
    #[error("failed to fetch `{image}`{}", at(image, place))]
    Registry {
        /// The image as asked for.
        image: String,
        /// The image as asked of the registry, after mirrors.
        place: String,
        /// What the registry did.
        #[source]
        source: RegistryError,
    },
    /// The image holds something else.
    #[error("`{image}` is not a {kind}: {reason}")]
    NotA {
        /// The image.
        image: String,
        /// What it should have been.
        kind: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// The artifact exceeds the limit.
    #[error("`{image}` has {bytes} bytes, this host takes a {kind} of at most {bytes_max}")]
    TooLarge {
        /// The image.
        image: String,
        /// What it is.
        kind: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Pulling cannot work on this host at all.
    #[error("cannot set up image pulls: {reason}")]
    Setup {
        /// What is wrong.
        reason: String,
    },
}

/// Names the place an image was asked at when a mirror changed it.
fn at(image: &str, place: &str) -> String {
    let same = image
        .split_once("://")
        .map_or(image, |(_, rest)| rest)
        .eq_ignore_ascii_case(place);
    if same {
        String::new()
    } else {
        format!(" as `{place}`")
    }
}

/// What went wrong between this host and a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry answered with an error.
    #[error("the registry answered {status} to {url}{}", quoted(words))]
    Refused {
        /// HTTP status with its name, e.g. `401 Unauthorized`.
        status: http::StatusCode,
        /// What was asked.
        url: String,
        /// The registry's own words.
        words: String,
    },
    /// No answer.
    #[error("no answer from {url}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer took too long.
    #[error("no answer from {url} within {waited:?}")]
    TimedOut {
        /// What was asked.
        url: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// The registry sent other bytes than the digest says.
    #[error("{url} has the digest {actual}, not {expected}: the content was changed")]
    WrongDigest {
        /// What was asked.
        url: String,
        /// The digest asked for.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The registry sent more than it announced or than is taken.
    #[error("{url} sent more than {bytes_max} bytes")]
    TooMuch {
        /// What was asked.
        url: String,
        /// The limit.
        bytes_max: u64,
    },
    /// The answer is not what the distribution API says.
    #[error("{url} is not a usable image manifest: {reason}")]
    Manifest {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes could not be written down.
    #[error("cannot write to the artifact cache")]
    Disk {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl RegistryError {
    /// True if the registry itself said no, so that asking the cache would hide the answer.
    pub fn is_definite(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                !status.is_server_error() && *status != http::StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unreachable { .. } | Self::TimedOut { .. } => false,
            Self::WrongDigest { .. }
            | Self::TooMuch { .. }
            | Self::Manifest { .. }
            | Self::Disk { .. } => true,
        }
    }
}

fn quoted(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    }
}

/// An error and all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
