//! Links: which capability or component serves another one's imports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Extra;
use crate::id::{ComponentId, ConfigName, LinkName};

/// A link as it is put and stored: configurations by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The component or provider that calls.
    pub source_id: ComponentId,
    /// The component or provider that is called.
    pub target: ComponentId,
    /// Tells several links of one source on one interface apart.
    #[serde(default)]
    pub name: LinkName,
    /// Namespace of the linked interfaces, e.g. `wasi`.
    pub wit_namespace: String,
    /// Package of the linked interfaces, e.g. `keyvalue`.
    pub wit_package: String,
    /// The linked interfaces of that package, e.g. `store`.
    pub interfaces: Vec<String>,
    /// Configurations and secret references for the source, merged left to right.
    #[serde(default)]
    pub source_config: Vec<ConfigName>,
    /// Configurations and secret references for the target, merged left to right.
    #[serde(default)]
    pub target_config: Vec<ConfigName>,
    /// Fields another program wrote, kept when the record is written again.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What tells one link of a lattice from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkKey {
    /// The component or provider that calls.
    pub source: ComponentId,
    /// The link's name.
    pub name: LinkName,
    /// Namespace of the linked interfaces.
    pub namespace: String,
    /// Package of the linked interfaces.
    pub package: String,
}

impl Link {
    /// A link with the default name and no configuration.
    #[must_use]
    pub fn new<S: Into<String>>(
        source: ComponentId,
        target: ComponentId,
        namespace: impl Into<String>,
        package: impl Into<String>,
        interfaces: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            source_id: source,
            target,
            name: LinkName::default(),
            wit_namespace: namespace.into(),
            wit_package: package.into(),
            interfaces: interfaces.into_iter().map(Into::into).collect(),
            source_config: Vec::new(),
            target_config: Vec::new(),
            extra: Extra::default(),
        }
    }

    /// What tells this link from the others.
    #[must_use]
    pub fn key(&self) -> LinkKey {
        LinkKey {
            source: self.source_id.clone(),
            name: self.name.clone(),
            namespace: self.wit_namespace.clone(),
            package: self.wit_package.clone(),
        }
    }

    /// Whether this is the link `key` names.
    #[must_use]
    pub fn is(&self, key: &LinkKey) -> bool {
        self.source_id == key.source
            && self.name == key.name
            && self.wit_namespace == key.namespace
            && self.wit_package == key.package
    }

    /// The linked interfaces as `namespace:package/interface`, without versions.
    pub fn interface_names(&self) -> impl Iterator<Item = String> + '_ {
        self.interfaces
            .iter()
            .map(|interface| format!("{}:{}/{interface}", self.wit_namespace, self.wit_package))
    }

    /// Every configuration and secret reference the link names, source's first.
    pub fn config_names(&self) -> impl Iterator<Item = &ConfigName> {
        self.source_config.iter().chain(&self.target_config)
    }

    /// Whether any of its configurations is a secret reference.
    #[must_use]
    pub fn has_secrets(&self) -> bool {
        self.config_names().any(ConfigName::is_secret)
    }

    /// Whether putting `new` beside this one would leave a call with two targets: same
    /// source, name, namespace and package, an interface in common, another target.
    #[must_use]
    pub fn conflicts_with(&self, new: &Self) -> bool {
        self.is(&new.key())
            && self.target != new.target
            && self.interfaces.iter().any(|i| new.interfaces.contains(i))
    }

    /// Whether putting `new` replaces this one: same key and same target.
    #[must_use]
    pub fn is_replaced_by(&self, new: &Self) -> bool {
        self.is(&new.key()) && self.target == new.target
    }
}

/// A link as providers receive it: configurations merged, secrets sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceLinkDefinition {
    /// The component or provider that calls.
    pub source_id: ComponentId,
    /// The component or provider that is called.
    pub target: ComponentId,
    /// The link's name.
    #[serde(default)]
    pub name: LinkName,
    /// Namespace of the linked interfaces.
    pub wit_namespace: String,
    /// Package of the linked interfaces.
    pub wit_package: String,
    /// The linked interfaces.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// The source's merged configuration.
    #[serde(default)]
    pub source_config: BTreeMap<String, String>,
    /// The target's merged configuration.
    #[serde(default)]
    pub target_config: BTreeMap<String, String>,
    /// The source's secrets: an xkey box from the host to the provider, as an array of numbers.
    #[serde(default)]
    pub source_secrets: Option<Vec<u8>>,
    /// The target's secrets: an xkey box from the host to the provider, as an array of numbers.
    #[serde(default)]
    pub target_secrets: Option<Vec<u8>>,
}

/// The name under which the parts of a host speak of an [`InterfaceLinkDefinition`].
pub type ResolvedLink = InterfaceLinkDefinition;

impl InterfaceLinkDefinition {
    /// The link without configuration and secrets, as a deletion is announced.
    #[must_use]
    pub fn without_config(link: &Link) -> Self {
        Self {
            source_id: link.source_id.clone(),
            target: link.target.clone(),
            name: link.name.clone(),
            wit_namespace: link.wit_namespace.clone(),
            wit_package: link.wit_package.clone(),
            interfaces: link.interfaces.clone(),
            source_config: BTreeMap::new(),
            target_config: BTreeMap::new(),
            source_secrets: None,
            target_secrets: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    fn id(text: &str) -> ComponentId {
        ComponentId::new(text).unwrap()
    }

    #[test]
    fn a_link_reads_and_writes_its_recorded_form() {
        golden::<Link>(
            r#"{"source_id":"web","target":"kv","name":"default","wit_namespace":"wasi",
                "wit_package":"keyvalue","interfaces":["store","atomics"],"source_config":[],
                "target_config":["kv-prod"]}"#,
        );
        golden::<InterfaceLinkDefinition>(
            r#"{"source_id":"shop-web","target":"shop-kv","name":"default","wit_namespace":"wasi",
                "wit_package":"keyvalue","interfaces":["store"],"source_config":{},
                "target_config":{"bucket":"shop"},"source_secrets":null,"target_secrets":[120,107]}"#,
        );
    }

    #[test]
    fn a_link_keeps_what_another_program_added() {
        golden::<Link>(
            r#"{"source_id":"a","target":"b","name":"default","wit_namespace":"n","wit_package":"p",
                "interfaces":[],"source_config":[],"target_config":[],"colour":"red"}"#,
        );
    }

    #[test]
    fn absent_fields_take_their_defaults() {
        let link: Link = serde_json::from_str(
            r#"{"source_id":"a","target":"b","wit_namespace":"n","wit_package":"p","interfaces":["i"]}"#,
        )
        .unwrap();
        assert_eq!(link, Link::new(id("a"), id("b"), "n", "p", ["i"]));
    }

    #[test]
    fn links_conflict_only_where_a_call_would_have_two_targets() {
        let old = Link::new(id("web"), id("kv"), "wasi", "keyvalue", ["store", "batch"]);
        let other = |target, interfaces: &[&str]| {
            Link::new(
                id("web"),
                id(target),
                "wasi",
                "keyvalue",
                interfaces.iter().copied(),
            )
        };
        assert!(old.conflicts_with(&other("kv2", &["store"])));
        assert!(!old.conflicts_with(&other("kv2", &["atomics"])));
        assert!(!old.conflicts_with(&other("kv", &["store"])));
        assert!(old.is_replaced_by(&other("kv", &["atomics"])));
        let mut named = other("kv2", &["store"]);
        named.name = LinkName::new("spare").unwrap();
        assert!(!old.conflicts_with(&named));
    }
}
