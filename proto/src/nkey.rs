//! Keys of hosts, accounts, components and providers.

use nkeys::{KeyPair, KeyPairType};

use crate::id::HostId;

/// Why a text is not the key it was meant to be.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read at all.
    #[error("not a valid key")]
    Malformed(#[source] nkeys::error::Error),
    /// It is a key of another kind.
    #[error("this is a key of kind {found}, but one of kind {wanted} is needed")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
}

/// What a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A host, `N…`.
    Host,
    /// An account that signs, `A…`.
    Account,
    /// A component, `M…`.
    Component,
    /// A provider, `V…`.
    Provider,
    /// An operator, `O…`.
    Operator,
    /// A user, `U…`.
    User,
    /// A cluster, `C…`.
    Cluster,
    /// A curve key that seals, `X…`.
    Curve,
}

impl Kind {
    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "server",
            Self::Account => "account",
            Self::Component => "module",
            Self::Provider => "service",
            Self::Operator => "operator",
            Self::User => "user",
            Self::Cluster => "cluster",
            Self::Curve => "curve",
        }
    }

    fn of(kind: &KeyPairType) -> Option<Self> {
        Some(match kind {
            KeyPairType::Server => Self::Host,
            KeyPairType::Cluster => Self::Cluster,
            KeyPairType::Operator => Self::Operator,
            KeyPairType::Account => Self::Account,
            KeyPairType::User => Self::User,
            KeyPairType::Module => Self::Component,
            KeyPairType::Service => Self::Provider,
            KeyPairType::Curve => Self::Curve,
        })
    }
}

/// A new key pair for a host.
#[must_use]
pub fn new_host() -> KeyPair {
    KeyPair::new_server()
}

/// A new key pair for an account, which signs.
#[must_use]
pub fn new_account() -> KeyPair {
    KeyPair::new_account()
}

/// A key pair from a seed of the wanted kind.
///
/// # Errors
/// [`KeyError`] when the seed is malformed or of another kind.
pub fn from_seed(seed: &str, wanted: Kind) -> Result<KeyPair, KeyError> {
    let pair = KeyPair::from_seed(seed.trim()).map_err(KeyError::Malformed)?;
    match Kind::of(&pair.key_pair_type()) {
        Some(found) if found == wanted => Ok(pair),
        found => Err(KeyError::Kind {
            found: found.map_or("unknown", Kind::name),
            wanted: wanted.name(),
        }),
    }
}

/// The host id of a host's key pair.
#[must_use]
pub fn host_id(pair: &KeyPair) -> Option<HostId> {
    HostId::new(pair.public_key()).ok()
}

/// Whether a text is a public key of that kind.
#[must_use]
pub fn is_public_key(text: &str, kind: Kind) -> bool {
    if kind == Kind::Curve {
        return nkeys::XKey::from_public_key(text).is_ok();
    }
    KeyPair::from_public_key(text).is_ok_and(|pair| Kind::of(&pair.key_pair_type()) == Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_key_comes_back_from_its_seed() {
        let pair = new_host();
        let seed = pair.seed().unwrap();
        let again = from_seed(&format!("{seed}\n"), Kind::Host).unwrap();
        assert_eq!(again.public_key(), pair.public_key());
        let id = host_id(&again).unwrap();
        assert!(id.is_public_key());
        assert!(is_public_key(id.as_ref(), Kind::Host));
        assert!(!is_public_key(id.as_ref(), Kind::Account));
    }

    #[test]
    fn a_seed_of_another_kind_is_refused_by_name() {
        let seed = new_account().seed().unwrap();
        let error = from_seed(&seed, Kind::Host).map(|_| ()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is a key of kind account, but one of kind server is needed"
        );
        assert!(from_seed("nonsense", Kind::Host).is_err());
    }
}
