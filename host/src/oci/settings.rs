//! How artifacts are fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use secrecy::SecretString;

use super::Mirror;

/// Default size limit of a provider archive: it carries one binary per platform.
const PROVIDER_BYTES_MAX: u64 = 1 << 30;

/// How artifacts are fetched.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// `file://` references are taken.
    pub allow_file_load: bool,
    /// The tag `latest` is taken.
    pub allow_latest: bool,
    /// Registries (`host:port`) that are spoken to in plain HTTP.
    pub insecure: BTreeSet<String>,
    /// Registries that stand in for others.
    pub mirrors: Vec<Mirror>,
    /// PEM files with further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// Credentials by registry.
    pub credentials: BTreeMap<String, Credential>,
    /// Credentials of the local Docker configuration are used where no others are known.
    pub docker_credentials: bool,
    /// Largest component taken.
    pub component_bytes_max: u64,
    /// Largest provider archive taken.
    pub provider_bytes_max: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            allow_file_load: false,
            allow_latest: false,
            insecure: BTreeSet::new(),
            mirrors: Vec::new(),
            ca_files: Vec::new(),
            credentials: BTreeMap::new(),
            docker_credentials: false,
            component_bytes_max: 50 << 20,
            provider_bytes_max: PROVIDER_BYTES_MAX,
        }
    }
}

/// What a registry wants to see.
#[derive(Clone, Debug)]
pub enum Credential {
    /// User and password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A token, sent as it is.
    Bearer(SecretString),
    /// Nothing.
    Anonymous,
}

impl Credential {
    /// The credential that the fields of a registry record make.
    pub fn from_parts(
        user: Option<String>,
        password: Option<String>,
        token: Option<String>,
    ) -> Self {
        match (user, password, token) {
            (Some(user), Some(password), _) => Self::Basic {
                user,
                password: password.into(),
            },
            (None, None, Some(token)) => Self::Bearer(token.into()),
            _ => Self::Anonymous,
        }
    }
}
