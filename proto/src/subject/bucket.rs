//! JetStream buckets and the keys of the lattice records.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use crate::id::{ComponentId, Lattice};

/// The bucket of component records and claims.
#[must_use]
pub fn lattice_data(lattice: &Lattice) -> String {
    format!("LATTICEDATA_{lattice}")
}

/// The bucket of named configurations and secret references.
#[must_use]
pub fn config_data(lattice: &Lattice) -> String {
    format!("CONFIGDATA_{lattice}")
}

/// The subject a value of `bucket` is published on.
#[must_use]
pub fn key_subject(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// A key of [`lattice_data`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// `COMPONENT_{id}`: the links of a component or provider.
    Component(ComponentId),
    /// `CLAIMS_{subject}`: the claims of a public key.
    Claims(String),
    /// Something else: older versions' keys and foreign ones, to be ignored.
    Other(String),
}

const COMPONENT: &str = "COMPONENT";
const CLAIMS: &str = "CLAIMS";

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(id) => write!(f, "{COMPONENT}_{id}"),
            Self::Claims(subject) => write!(f, "{CLAIMS}_{subject}"),
            Self::Other(key) => f.write_str(key),
        }
    }
}

impl FromStr for RecordKey {
    type Err = Infallible;

    fn from_str(key: &str) -> Result<Self, Infallible> {
        let other = || Self::Other(key.to_owned());
        Ok(match key.split_once('_') {
            Some((COMPONENT, id)) => ComponentId::new(id).map_or_else(|_| other(), Self::Component),
            Some((CLAIMS, subject)) if !subject.is_empty() => Self::Claims(subject.to_owned()),
            _ => other(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_split_at_the_first_underscore_and_read_back() {
        for (text, key) in [
            (
                "COMPONENT_my_shop-web",
                RecordKey::Component(ComponentId::new("my_shop-web").unwrap()),
            ),
            ("CLAIMS_MABC", RecordKey::Claims("MABC".into())),
            ("LINKDEF_x", RecordKey::Other("LINKDEF_x".into())),
            ("COMPONENT_", RecordKey::Other("COMPONENT_".into())),
            ("COMPONENT_a.b", RecordKey::Other("COMPONENT_a.b".into())),
            ("nonsense", RecordKey::Other("nonsense".into())),
        ] {
            assert_eq!(text.parse(), Ok(key.clone()), "{text}");
            assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn buckets_are_named_by_lattice() {
        let east = Lattice::new("east").unwrap();
        assert_eq!(lattice_data(&east), "LATTICEDATA_east");
        assert_eq!(config_data(&east), "CONFIGDATA_east");
        assert_eq!(key_subject("B", "k"), "$KV.B.k");
    }
}
