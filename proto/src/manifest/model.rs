//! The typed, normalised form of an application.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// The policy type that makes a policy a secrets backend.
pub const SECRET_POLICY_TYPE: &str = "policy.secret.wasmcloud.dev/v1alpha1";
/// Metadata annotation that carries the version.
pub const VERSION_ANNOTATION: &str = "version";
/// Metadata annotation that carries the description.
pub const DESCRIPTION_ANNOTATION: &str = "description";
/// Metadata annotation that lets other applications refer to this one's components.
pub const SHARED_ANNOTATION: &str = "experimental.wasmcloud.dev/shared";
/// The link name of links that name none.
pub const DEFAULT_LINK_NAME: &str = "default";
/// The spread name of scalers without spreads.
pub const DEFAULT_SPREAD_NAME: &str = "default";
/// The weight of a spread that gives none.
pub const DEFAULT_WEIGHT: u32 = 100;

/// An application: what should run, where, and linked to what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Not checked, `core.oam.dev/v1beta1` by convention.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// Not checked, `Application` by convention.
    pub kind: String,
    /// Name, annotations, labels.
    pub metadata: Metadata,
    /// Components and policies.
    pub spec: Specification,
}

impl Manifest {
    /// The version given in the annotations.
    pub fn version(&self) -> Option<&str> {
        self.metadata
            .annotations
            .get(VERSION_ANNOTATION)
            .map(String::as_str)
    }

    /// The description given in the annotations.
    pub fn description(&self) -> Option<&str> {
        self.metadata
            .annotations
            .get(DESCRIPTION_ANNOTATION)
            .map(String::as_str)
    }

    /// Whether other applications may refer to this one's components.
    pub fn shared(&self) -> bool {
        self.metadata
            .annotations
            .get(SHARED_ANNOTATION)
            .is_some_and(|value| value == "true")
    }

    /// The component of that name in this file.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.spec
            .components
            .iter()
            .find(|component| component.name == name)
    }

    /// The policy of that name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.spec.policies.iter().find(|policy| policy.name == name)
    }

    /// The components of other applications that this one refers to.
    pub fn shared_references(&self) -> impl Iterator<Item = &SharedReference> {
        self.spec
            .components
            .iter()
            .filter_map(|component| component.properties.application.as_ref())
    }
}

/// Name, annotations and labels of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// Letters, digits, `-` and `_`.
    pub name: String,
    /// Always written, even when empty: upstream does not read a manifest without it.
    pub annotations: BTreeMap<String, String>,
    /// Free labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Components and policies of an application.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Specification {
    /// What runs, in the file's order.
    pub components: Vec<Component>,
    /// Named policies, e.g. secrets backends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Policy>,
}

/// A named policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// What secrets refer to.
    pub name: String,
    /// What the policy is about.
    pub properties: BTreeMap<String, String>,
    /// The kind of policy, e.g. [`SECRET_POLICY_TYPE`].
    #[serde(rename = "type")]
    pub policy_type: String,
}

/// Whether a component is Wasm that runs in the host, or a capability provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// A Wasm component; `actor` in old files.
    #[serde(alias = "actor")]
    Component,
    /// A capability provider: a process, or built into the host.
    Capability,
}

/// One component of an application.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component {
    /// Unique in the file.
    pub name: String,
    /// Component or capability.
    #[serde(rename = "type")]
    pub kind: ComponentKind,
    /// Image, id, configs, secrets.
    pub properties: Properties,
    /// Scaling, links and more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
}

impl Component {
    /// The links of this component, in the file's order.
    pub fn links(&self) -> impl Iterator<Item = &LinkTrait> {
        self.traits.iter().filter_map(|item| match item {
            Trait::Link(link) => Some(link),
            _ => None,
        })
    }

    /// How the component is scaled; the first scaler trait, or what the kind implies.
    ///
    /// A capability without one gets a single instance, a component without one never runs.
    pub fn scaling(&self) -> Option<Scaling<'_>> {
        if self.properties.application.is_some() {
            return None;
        }
        let written = self.traits.iter().find_map(|item| match item {
            Trait::Spread(scaler) => Some(Scaling {
                daemon: false,
                instances: scaler.instances,
                spread: &scaler.spread,
            }),
            Trait::Daemon(scaler) => Some(Scaling {
                daemon: true,
                instances: scaler.instances,
                spread: &scaler.spread,
            }),
            _ => None,
        });
        written.or_else(|| {
            (self.kind == ComponentKind::Capability).then_some(Scaling {
                daemon: false,
                instances: 1,
                spread: &[],
            })
        })
    }

    /// Limits given by a `limits` trait.
    pub fn limits(&self) -> Option<&Limits> {
        self.traits.iter().find_map(|item| match item {
            Trait::Limits(limits) => Some(limits),
            _ => None,
        })
    }

    /// How a change is rolled out, by a `rollout` trait.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.traits.iter().find_map(|item| match item {
            Trait::Rollout(rollout) => Some(rollout),
            _ => None,
        })
    }
}

/// How often something runs and where: a spreadscaler or daemonscaler in one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling<'a> {
    /// On every fitting host, rather than divided over them.
    pub daemon: bool,
    /// Instances in all, or per host for a daemon.
    pub instances: u32,
    /// Where; empty means on any host.
    pub spread: &'a [Spread],
}

/// What a component is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Properties {
    /// OCI reference, `file://` path or built-in name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Instead of an image: a component of another application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<SharedReference>,
    /// The id on the lattice; made from the names when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Named configs, merged left to right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<ConfigProperty>,
    /// Secrets, by policy and key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretProperty>,
}

/// A component of another application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SharedReference {
    /// The other application.
    pub name: String,
    /// The component's name there.
    pub component: String,
}

/// A named config; with properties, wadm owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigProperty {
    /// The config's name.
    pub name: String,
    /// Its content; without it a config of that very name must exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
}

/// A named secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretProperty {
    /// What the component asks for.
    pub name: String,
    /// Where it comes from.
    pub properties: SecretSource,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSource {
    /// The policy that names the backend.
    pub policy: String,
    /// The key in the backend.
    pub key: String,
    /// A field of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// A version of the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Something attached to a component.
#[derive(Clone, Debug, PartialEq)]
pub enum Trait {
    /// `spreadscaler`: so many instances, divided over hosts by labels and weights.
    Spread(Scaler),
    /// `daemonscaler`: so many instances on every fitting host.
    Daemon(Scaler),
    /// `link`: a source's imports lead to a target.
    Link(LinkTrait),
    /// `limits` (ours): memory and time one call may take.
    Limits(Limits),
    /// `rollout` (ours): how a new image replaces the old one.
    Rollout(Rollout),
    /// Any other, kept as it is.
    Other {
        /// The trait's type.
        kind: String,
        /// Its properties.
        properties: Value,
    },
}

impl Serialize for Trait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Spread(scaler) => entry(&mut map, "spreadscaler", scaler)?,
            Self::Daemon(scaler) => entry(&mut map, "daemonscaler", scaler)?,
            Self::Link(link) => entry(&mut map, "link", link)?,
            Self::Limits(limits) => entry(&mut map, "limits", limits)?,
            Self::Rollout(rollout) => entry(&mut map, "rollout", rollout)?,
            Self::Other { kind, properties } => entry(&mut map, kind, properties)?,
        }
        map.end()
    }
}

fn entry<M: SerializeMap, T: Serialize>(
    map: &mut M,
    kind: &str,
    properties: &T,
) -> Result<(), M::Error> {
    map.serialize_entry("type", kind)?;
    map.serialize_entry("properties", properties)
}

/// Instances and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scaler {
    /// In all, or per host for a daemonscaler.
    pub instances: u32,
    /// Groups of hosts; empty means any host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
}

/// A group of hosts and its share of the instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Unique in the scaler.
    pub name: String,
    /// Labels a host must have. Written even when empty: upstream loses the scaler otherwise.
    pub requirements: BTreeMap<String, String>,
    /// The share; [`DEFAULT_WEIGHT`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// A link from the component that carries the trait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkTrait {
    /// E.g. `wasi`.
    pub namespace: String,
    /// E.g. `keyvalue`.
    pub package: String,
    /// E.g. `store`.
    pub interfaces: Vec<String>,
    /// Config and secrets for the source's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<LinkEnd>,
    /// Where the link leads.
    pub target: LinkTarget,
    /// The link's name; [`DEFAULT_LINK_NAME`] when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl LinkTrait {
    /// The link's name.
    pub fn link_name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_LINK_NAME)
    }

    /// Configs of the source's end.
    pub fn source_config(&self) -> &[ConfigProperty] {
        self.source.as_ref().map_or(&[], |end| &end.config)
    }

    /// Secrets of the source's end.
    pub fn source_secrets(&self) -> &[SecretProperty] {
        self.source.as_ref().map_or(&[], |end| &end.secrets)
    }
}

/// Config and secrets of one end of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkEnd {
    /// Configs, merged left to right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<ConfigProperty>,
    /// Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretProperty>,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkTarget {
    /// A component of this file, or of that name on the lattice.
    pub name: String,
    /// Configs, merged left to right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<ConfigProperty>,
    /// Secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretProperty>,
}

/// What one call may take (ours).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most memory of one instance, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Longest execution of one call, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_seconds: Option<u64>,
}

/// How a new image replaces the old one (ours).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Hosts that may change at the same time.
    pub max_unavailable: u32,
    /// How long a changed host must stay well before the next one changes, in seconds.
    pub healthy_seconds: u64,
    /// Whether a rollout that fails goes back to the image before.
    pub rollback: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_unavailable: 1,
            healthy_seconds: 0,
            rollback: true,
        }
    }
}
