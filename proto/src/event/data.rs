//! The data of each kind of event.

use serde::{Deserialize, Serialize};

use crate::ctl::HostInventory;
use crate::id::{ComponentId, ConfigName, HostId, LinkName};
use crate::link::{Link, LinkKey};
use crate::{Annotations, Labels};

/// A host is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStarted {
    /// The host's name for people.
    #[serde(default)]
    pub friendly_name: String,
    /// Its labels.
    pub labels: Labels,
    /// 0.
    #[serde(default)]
    pub uptime_seconds: u64,
    /// The host program's version.
    #[serde(default)]
    pub version: String,
}

/// A host lives, and this is what it runs.
pub type HostHeartbeat = HostInventory;

/// A host ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStopped {
    /// Its labels.
    pub labels: Labels,
}

/// The claims of a component as events show them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentClaims {
    /// A name others may call it by.
    pub call_alias: Option<String>,
    /// The account that signed.
    pub issuer: String,
    /// Its tags.
    pub tags: Option<Vec<String>>,
    /// Its name.
    pub name: Option<String>,
    /// Its version for people.
    pub version: Option<String>,
    /// Its revision; upstream's wadm wants a number that is not negative.
    pub revision: Option<u32>,
    /// When it becomes valid, for people; `never` when there is no such date.
    pub not_before_human: String,
    /// When it expires, for people; `never` when it does not.
    pub expires_human: String,
}

/// The claims of a provider as events show them. Upstream's wadm drops an event in which one
/// of these texts is missing or `null`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderClaims {
    /// The account that signed.
    pub issuer: String,
    /// Always `null`, but there.
    pub tags: Option<Vec<String>>,
    /// Its name.
    pub name: String,
    /// Its version for people.
    pub version: String,
    /// When it becomes valid, for people; `never` when there is no such date.
    pub not_before_human: String,
    /// When it expires, for people; `never` when it does not.
    pub expires_human: String,
}

/// A component was started, resized or stopped; also when nothing had to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentScaled {
    /// The component's public key, if it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Its claims, if it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ComponentClaims>,
    /// What it is marked with.
    #[serde(default)]
    pub annotations: Annotations,
    /// The host.
    pub host_id: HostId,
    /// Its image, scheme and all.
    pub image_ref: String,
    /// How many calls it serves at once; 0: it was stopped.
    pub max_instances: u32,
    /// The component.
    pub component_id: ComponentId,
}

/// A component could not be started or resized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentScaleFailed {
    /// The component's public key, if it is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// What the request would have marked it with.
    #[serde(default)]
    pub annotations: Annotations,
    /// The host.
    pub host_id: HostId,
    /// The image asked for.
    pub image_ref: String,
    /// The number asked for.
    pub max_instances: u32,
    /// The component.
    pub component_id: ComponentId,
    /// The whole chain of causes on one line.
    pub error: String,
}

/// A provider's process was started; it need not be well yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStarted {
    /// The host.
    pub host_id: HostId,
    /// Its image without scheme.
    pub image_ref: String,
    /// The provider.
    pub provider_id: ComponentId,
    /// What it is marked with.
    #[serde(default)]
    pub annotations: Annotations,
    /// Its claims; built-in providers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<ProviderClaims>,
    /// The provider's id again, for old readers.
    #[serde(default)]
    pub instance_id: String,
    /// The provider's id again, for old readers.
    #[serde(default)]
    pub public_key: String,
    /// `default`, for old readers.
    #[serde(default)]
    pub link_name: LinkName,
}

/// A provider could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStartFailed {
    /// The image as requested.
    #[serde(default)]
    pub provider_ref: String,
    /// The provider.
    pub provider_id: ComponentId,
    /// The host.
    pub host_id: HostId,
    /// The whole chain of causes on one line.
    pub error: String,
    /// `default`, for old readers.
    #[serde(default)]
    pub link_name: LinkName,
}

/// A provider was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderStopped {
    /// The host.
    pub host_id: HostId,
    /// The provider.
    pub provider_id: ComponentId,
    /// What it was marked with.
    #[serde(default)]
    pub annotations: Annotations,
    /// Why; `stop` after a request.
    #[serde(default)]
    pub reason: String,
    /// The provider's id again, for old readers.
    #[serde(default)]
    pub instance_id: String,
    /// The provider's id again, for old readers.
    #[serde(default)]
    pub public_key: String,
    /// `default`, for old readers.
    #[serde(default)]
    pub link_name: LinkName,
}

macro_rules! health {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The host.
            pub host_id: HostId,
            /// The provider.
            pub provider_id: ComponentId,
        }
    )*};
}

health! {
    /// A provider became well.
    HealthCheckPassed;
    /// A provider became unwell.
    HealthCheckFailed;
    /// A provider's health has not changed.
    HealthCheckStatus;
}

/// A link was put: the link itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkdefSet(
    /// The link.
    pub Link,
);

/// A link was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkdefSetFailed {
    /// The link.
    #[serde(flatten)]
    pub link: Link,
    /// Why.
    pub error: String,
}

/// A link was deleted, or there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkdefDeleted {
    /// The component or provider that called.
    pub source_id: ComponentId,
    /// The link's name.
    #[serde(default)]
    pub name: LinkName,
    /// Namespace of the linked interfaces.
    pub wit_namespace: String,
    /// Package of the linked interfaces.
    pub wit_package: String,
    /// What it led to, if it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<ComponentId>,
    /// The linked interfaces, if it existed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<Vec<String>>,
}

impl LinkdefDeleted {
    /// The event for a deletion of `key`, which removed `link`.
    #[must_use]
    pub fn new(key: &LinkKey, link: Option<&Link>) -> Self {
        Self {
            source_id: key.source.clone(),
            name: key.name.clone(),
            wit_namespace: key.namespace.clone(),
            wit_package: key.package.clone(),
            target: link.map(|link| link.target.clone()),
            interfaces: link.map(|link| link.interfaces.clone()),
        }
    }

    /// Which link it was.
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

/// A configuration was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigSet {
    /// Its name.
    pub config_name: ConfigName,
}

/// A configuration was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigDeleted {
    /// Its name.
    pub config_name: ConfigName,
}

/// A host's labels changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelsChanged {
    /// The host.
    pub host_id: HostId,
    /// All its labels.
    pub labels: Labels,
}
