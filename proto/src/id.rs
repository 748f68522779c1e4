//! Names that become subject tokens and record keys, checked once when they are read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the kind of name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a {kind}: {rule}")]
pub struct IdError {
    /// What the text was meant to be, e.g. "component id".
    pub kind: &'static str,
    /// The text as given.
    pub value: String,
    /// The rule it breaks, as a sentence that tells what to type instead.
    pub rule: &'static str,
}

/// Letters, digits, `_` and `-`: what both a subject token and a bucket name take.
fn plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// One subject token that may also be the tail of a record key.
fn record_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'/' | b'='))
}

/// One subject token, whatever it says.
pub(crate) fn token(text: &str) -> bool {
    !text.is_empty()
        && !text
            .chars()
            .any(|c| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control())
}

/// A text that fits in a message header.
fn header_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $check:path, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            #[doc = concat!("[`IdError`] when the text breaks the rule: ", $rule, ".")]
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let value = text.into();
                if $check(&value) {
                    Ok(Self(value.into_boxed_str()))
                } else {
                    Err(IdError { kind: $kind, value, rule: $rule })
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into_string()
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }
        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    )*};
}

names! {
    /// The name of a lattice: part of every subject and of the bucket names.
    Lattice: "lattice name", plain, "use letters, digits, `_` and `-` only";
    /// A host, by the public key of its server nkey.
    ///
    /// Any single subject token is accepted, because peers do not check it either;
    /// [`HostId::is_public_key`] tells a real one.
    HostId: "host id", token, "it must not be empty and must not hold dots, spaces or wildcards";
    /// A component or a provider: both share one space of ids per lattice.
    ComponentId: "component or provider id", record_token, "use letters, digits, `_`, `-`, `/` and `=` only";
    /// The name that tells several links of one source on the same interface apart.
    LinkName: "link name", header_text, "it must not be empty and must not hold control characters";
    /// A named configuration, or a secret reference (those start with `SECRET`).
    ConfigName: "config name", record_token, "use letters, digits, `_`, `-`, `/` and `=` only";
}

impl Default for Lattice {
    /// `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for LinkName {
    /// `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl HostId {
    /// Whether this has the form of a server key: `N` and 56 characters.
    ///
    /// Where a user may type an id or a search term, this decides which of the two it is.
    #[must_use]
    pub fn is_public_key(&self) -> bool {
        self.0.len() == 56 && self.0.starts_with('N')
    }
}

impl ConfigName {
    /// Whether this names a secret reference instead of a configuration.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.0.starts_with("SECRET")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_a_subject_or_a_key_are_refused() {
        for bad in ["", "a.b", "a b", "a*", ">", "a\n"] {
            assert!(Lattice::new(bad).is_err(), "{bad:?} as lattice");
            assert!(HostId::new(bad).is_err(), "{bad:?} as host");
            assert!(ComponentId::new(bad).is_err(), "{bad:?} as component");
            assert!(ConfigName::new(bad).is_err(), "{bad:?} as config");
        }
        assert!(ComponentId::new("caf\u{e9}").is_err());
        assert!(LinkName::new("").is_err());
        assert!(LinkName::new("a\r\nb: c").is_err());
        assert!(LinkName::new("my link").is_ok());
    }

    #[test]
    fn names_are_plain_strings_in_json() {
        let id: ComponentId = serde_json::from_str("\"shop-web\"").unwrap();
        assert_eq!(id, "shop-web");
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"shop-web\"");
        let error = serde_json::from_str::<ComponentId>("\"a b\"").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`a b` is not a component or provider id"),
            "{error}"
        );
    }

    #[test]
    fn a_host_id_is_told_from_a_search_term() {
        let key = format!("N{}", "A".repeat(55));
        assert!(HostId::new(key).unwrap().is_public_key());
        assert!(!HostId::new("lucky-cloud-1").unwrap().is_public_key());
    }
}
