//! Control requests and replies.
//!
//! Fields marked **ours** are left out when they have no value, and programs that do not know
//! them ignore them.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::id::{ComponentId, ConfigName, HostId, LinkName};
use crate::link::LinkKey;
use crate::{Annotations, Labels};

/// The envelope of every reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CtlResponse<T = Value> {
    /// Whether the request was done, or accepted where an event tells the outcome.
    pub success: bool,
    /// Text for people; often empty when there is data.
    pub message: String,
    /// The data, where the operation has any.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub response: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> CtlResponse<T> {
    /// Success without data.
    #[must_use]
    pub fn ok(message: impl Into<String>) -> Self {
        Self {
            success: true,
            message: message.into(),
            response: None,
        }
    }

    /// Success with data and no text.
    #[must_use]
    pub fn with(response: T) -> Self {
        Self {
            success: true,
            message: String::new(),
            response: Some(response),
        }
    }

    /// Failure.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            success: false,
            message: message.into(),
            response: None,
        }
    }
}

/// **Ours.** Who orders: a host refuses orders of a controller whose term has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The controller instance.
    pub controller: String,
    /// Its term as leader; a later leader's term is higher.
    pub term: u64,
}

/// A host's answer to a ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The host.
    pub id: HostId,
    /// Its name for people.
    #[serde(default)]
    pub friendly_name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its lattice.
    #[serde(default)]
    pub lattice: String,
    /// Seconds since it started.
    #[serde(default)]
    pub uptime_seconds: u64,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_human: Option<String>,
    /// The host program's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Where its rpc connection goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_host: Option<String>,
    /// Where its control connection goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctl_host: Option<String>,
    /// Its JetStream domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub js_domain: Option<String>,
}

/// What runs on a host; also the payload of its heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostInventory {
    /// The components; one that this version cannot read does not hide the others.
    #[serde(alias = "actors", deserialize_with = "readable")]
    pub components: Vec<ComponentDescription>,
    /// The providers; one that this version cannot read does not hide the others.
    #[serde(deserialize_with = "readable")]
    pub providers: Vec<ProviderDescription>,
    /// The host's id; a reader of heartbeats takes it from the event's source.
    #[serde(default)]
    pub host_id: String,
    /// The host's name for people.
    #[serde(default)]
    pub friendly_name: String,
    /// The host's labels.
    #[serde(default)]
    pub labels: Labels,
    /// The host program's version; upstream's wadm wants it as semver.
    #[serde(default)]
    pub version: String,
    /// Seconds since the host started, for people.
    #[serde(default)]
    pub uptime_human: String,
    /// Seconds since the host started.
    #[serde(default)]
    pub uptime_seconds: u64,
}

/// The items of a list that can be read.
fn readable<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items = Vec::<Value>::deserialize(from)?;
    Ok(items
        .into_iter()
        .filter_map(|item| serde_json::from_value(item).ok())
        .collect())
}

/// A component that runs on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentDescription {
    /// The component.
    pub id: ComponentId,
    /// Its image as it was requested, scheme and all.
    #[serde(default)]
    pub image_ref: String,
    /// Its name from the claims; unsigned components have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the request that started it was marked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Its revision from the claims, else 0.
    #[serde(default)]
    pub revision: i32,
    /// How many calls it serves at once.
    #[serde(default)]
    pub max_instances: u32,
    /// Limits it runs under, as in [`ScaleComponentCommand::component_limits`].
    #[serde(default)]
    pub limits: Option<BTreeMap<String, String>>,
}

/// A provider that runs on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderDescription {
    /// The provider.
    pub id: ComponentId,
    /// Its image without scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_ref: Option<String>,
    /// Its name from the claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its revision from the claims, else 0.
    #[serde(default)]
    pub revision: i32,
    /// What the request that started it was marked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// **Ours.** How often its process ended by itself and was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
}

/// Asks which hosts could run a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentAuctionRequest {
    /// The image.
    #[serde(default)]
    pub component_ref: String,
    /// The id it would get.
    pub component_id: ComponentId,
    /// Labels the host must have.
    pub constraints: BTreeMap<String, String>,
}

/// A host could run the component. Only `host_id` is to be relied on: upstream's acks hold
/// the image where the id belongs, so that it is text here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentAuctionAck {
    /// The image.
    pub component_ref: String,
    /// The component's id.
    pub component_id: String,
    /// The host that answers.
    pub host_id: String,
    /// The labels asked for.
    pub constraints: BTreeMap<String, String>,
}

/// Asks which hosts could run a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderAuctionRequest {
    /// The image.
    #[serde(default)]
    pub provider_ref: String,
    /// The id it would get.
    pub provider_id: ComponentId,
    /// Labels the host must have.
    pub constraints: BTreeMap<String, String>,
}

/// A host could run the provider.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderAuctionAck {
    /// The host that answers.
    pub host_id: String,
    /// The image.
    pub provider_ref: String,
    /// The provider's id.
    pub provider_id: String,
    /// The labels asked for.
    pub constraints: BTreeMap<String, String>,
}

/// Starts, resizes or stops a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleComponentCommand {
    /// The image.
    #[serde(default)]
    pub component_ref: String,
    /// The id.
    pub component_id: ComponentId,
    /// How many calls to serve at once; 0 stops.
    #[serde(default)]
    pub count: u32,
    /// What to mark it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// `max_memory_limit` in bytes and `max_execution_time` in seconds, as decimal text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_limits: Option<BTreeMap<String, String>>,
    /// The host, again; not checked.
    #[serde(default)]
    pub host_id: String,
    /// Configurations and secret references, merged left to right.
    #[serde(default)]
    pub config: Vec<ConfigName>,
    /// Whether another image than the running one replaces it.
    #[serde(default)]
    pub allow_update: bool,
    /// **Ours.** Who orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

impl ScaleComponentCommand {
    /// The key of [`Self::component_limits`] for memory, in bytes.
    pub const MAX_MEMORY: &'static str = "max_memory_limit";
    /// The key of [`Self::component_limits`] for time per call, in seconds.
    pub const MAX_TIME: &'static str = "max_execution_time";

    /// A plain limit; text that is no number counts as absent.
    #[must_use]
    pub fn limit(&self, key: &str) -> Option<u64> {
        self.component_limits.as_ref()?.get(key)?.parse().ok()
    }
}

/// Replaces a running component's image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateComponentCommand {
    /// The id.
    pub component_id: ComponentId,
    /// The host, again; not checked.
    #[serde(default)]
    pub host_id: String,
    /// The new image.
    #[serde(default)]
    pub new_component_ref: String,
    /// What to mark the new one with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// **Ours.** Who orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// Starts a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartProviderCommand {
    /// The id.
    pub provider_id: ComponentId,
    /// The image.
    #[serde(default)]
    pub provider_ref: String,
    /// The host, again; not checked.
    #[serde(default)]
    pub host_id: String,
    /// Configurations and secret references, merged left to right.
    #[serde(default)]
    pub config: Vec<ConfigName>,
    /// What to mark it with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// **Ours.** Who orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// Stops a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopProviderCommand {
    /// The host; an upstream host passes it on to the provider, which checks it.
    #[serde(default)]
    pub host_id: String,
    /// The id.
    #[serde(alias = "provider_ref")]
    pub provider_id: ComponentId,
    /// **Ours.** Who orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

/// Ends a host. The request's body may also be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StopHostCommand {
    /// The host; when given it must be the right one.
    pub host_id: String,
    /// Milliseconds it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// Sets a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLabel {
    /// The label's name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Names a label to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLabelIdentifier {
    /// The label's name.
    pub key: String,
}

/// Whether a label belongs to the host itself and cannot be changed while it runs.
#[must_use]
pub fn is_builtin_label(key: &str) -> bool {
    key.get(..9)
        .is_some_and(|start| start.eq_ignore_ascii_case("hostcore."))
}

/// Names a link to remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteLinkRequest {
    /// The component or provider that calls.
    pub source_id: ComponentId,
    /// The link's name.
    #[serde(default)]
    pub name: LinkName,
    /// Namespace of the linked interfaces.
    pub wit_namespace: String,
    /// Package of the linked interfaces.
    pub wit_package: String,
}

impl DeleteLinkRequest {
    /// The link it names.
    #[must_use]
    pub fn key(&self) -> LinkKey {
        LinkKey {
            source: self.source_id.clone(),
            name: self.name.clone(),
            namespace: self.wit_namespace.clone(),
            package: self.wit_package.clone(),
        }
    }
}

impl From<&LinkKey> for DeleteLinkRequest {
    fn from(key: &LinkKey) -> Self {
        Self {
            source_id: key.source.clone(),
            name: key.name.clone(),
            wit_namespace: key.namespace.clone(),
            wit_package: key.package.clone(),
        }
    }
}

/// How to log in to a registry. Printing it for debugging leaves the secrets out.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryCredential {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A bearer token instead of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `oci`; nothing else exists.
    #[serde(rename = "registryType")]
    pub registry_type: RegistryType,
}

impl std::fmt::Debug for RegistryCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryCredential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// The kind of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryType {
    /// An OCI distribution registry.
    #[default]
    Oci,
}

/// What a starting host asks the configuration service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigServiceRequest {
    /// The host's labels.
    pub labels: Labels,
}

/// What the configuration service answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigServiceResponse {
    /// Credentials by registry.
    #[serde(rename = "registryCredentials")]
    pub registry_credentials: BTreeMap<String, RegistryCredential>,
}

#[cfg(test)]
mod tests;
