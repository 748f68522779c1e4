//! Upstream's layout: what a key is called, and what stands under it.

use std::fmt;

use indexmap::IndexMap;
use proto::id::Lattice;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The key of one application: `{lattice}-{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppKey(String);

impl AppKey {
    /// The key of `name` on `lattice`.
    pub fn new(lattice: &Lattice, name: &str) -> Self {
        Self(proto::subject::wadm::manifest_key(lattice, name))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lattice in `key`, which ends with the name of `app`. Both parts may hold dashes, so
    /// only the stored application can tell where one ends.
    pub fn lattice_of(key: &str, app: &Stored) -> Option<(Lattice, String)> {
        let name = app.name()?;
        let lattice = key.strip_suffix(name)?.strip_suffix('-')?;
        Some((Lattice::new(lattice).ok()?, name.to_owned()))
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One application as it is stored: its versions in the order they came, and which is deployed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Manifests by version; the last is the newest.
    pub manifests: IndexMap<String, Value>,
    /// The version that should run.
    #[serde(default)]
    pub deployed_version: Option<String>,
}

impl Stored {
    /// The newest version.
    pub fn newest(&self) -> Option<&str> {
        self.manifests.last().map(|(version, _)| version.as_str())
    }

    /// The manifest that should run.
    pub fn deployed(&self) -> Option<&Value> {
        self.manifests.get(self.deployed_version.as_deref()?)
    }

    /// The application's name, as its manifests say.
    pub fn name(&self) -> Option<&str> {
        self.manifests
            .last()?
            .1
            .get("metadata")?
            .get("name")?
            .as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str) -> Stored {
        serde_json::from_value(serde_json::json!({
            "manifests": {"v1": {"metadata": {"name": name}}}, "deployed_version": null
        }))
        .unwrap()
    }

    #[test]
    fn a_key_with_dashes_on_both_sides_splits_at_the_application() {
        let app = stored("my-shop");
        let (lattice, name) = AppKey::lattice_of("edge-1-my-shop", &app).unwrap();
        assert_eq!((lattice.as_ref(), name.as_str()), ("edge-1", "my-shop"));
        assert!(AppKey::lattice_of("other", &app).is_none());
    }

    #[test]
    fn versions_keep_their_order() {
        let text = r#"{"manifests":{"v2":{"a":1},"v1":{"b":2},"v3":{}},"deployed_version":"v1"}"#;
        let stored: Stored = serde_json::from_str(text).unwrap();
        assert_eq!(stored.newest(), Some("v3"));
        assert_eq!(serde_json::to_string(&stored).unwrap(), text);
    }
}
