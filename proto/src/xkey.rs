//! Sealing small messages between two curve keys.

use nkeys::XKey;

/// Why a message could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum XKeyError {
    /// The text is not a curve key.
    #[error("not a curve key")]
    Key(#[source] nkeys::error::Error),
    /// The own key has no private part.
    #[error("the message could not be sealed")]
    Seal(#[source] nkeys::error::Error),
    /// It was not sealed for this key by that sender, or was changed on the way.
    #[error("the message could not be opened: wrong key, or the message was changed")]
    Open(#[source] nkeys::error::Error),
}

/// A new curve key pair.
#[must_use]
pub fn new() -> XKey {
    XKey::new()
}

/// A key pair from a seed, `SX…`.
///
/// # Errors
/// [`XKeyError::Key`] when it is not a curve seed.
pub fn from_seed(seed: &str) -> Result<XKey, XKeyError> {
    XKey::from_seed(seed.trim()).map_err(XKeyError::Key)
}

/// Seals `message` from `own` to the public key `peer`.
///
/// # Errors
/// [`XKeyError`] when `peer` is no curve key or `own` has no private part.
pub fn seal(own: &XKey, peer: &str, message: &[u8]) -> Result<Vec<u8>, XKeyError> {
    let peer = XKey::from_public_key(peer.trim()).map_err(XKeyError::Key)?;
    own.seal(message, &peer).map_err(XKeyError::Seal)
}

/// Opens what the public key `peer` sealed for `own`.
///
/// # Errors
/// [`XKeyError`] when `peer` is no curve key or the message is not from it for this key.
pub fn open(own: &XKey, peer: &str, sealed: &[u8]) -> Result<Vec<u8>, XKeyError> {
    let peer = XKey::from_public_key(peer.trim()).map_err(XKeyError::Key)?;
    own.open(sealed, &peer).map_err(XKeyError::Open)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peer_opens_a_box_and_only_unchanged() {
        let (host, provider, other) = (new(), new(), new());
        let sealed = seal(&host, &provider.public_key(), b"s3cr3t").unwrap();
        assert!(sealed.starts_with(b"xkv1"));
        let opened = open(&provider, &host.public_key(), &sealed).unwrap();
        assert_eq!(opened, b"s3cr3t");
        assert!(open(&other, &host.public_key(), &sealed).is_err());
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(open(&provider, &host.public_key(), &changed).is_err());
        for short in 0..40 {
            assert!(open(&provider, &host.public_key(), &sealed[..short]).is_err());
        }
    }

    #[test]
    fn a_seed_brings_the_key_back() {
        let key = new();
        let again = from_seed(&key.seed().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert!(from_seed(&crate::nkey::new_host().seed().unwrap()).is_err());
    }
}
