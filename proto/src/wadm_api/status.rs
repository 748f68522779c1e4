//! Application status: upstream's words, and ours beside them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Status of an application or of one of its parts, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusType {
    /// Cannot begin yet.
    Waiting,
    /// Not deployed.
    #[default]
    Undeployed,
    /// On the way.
    #[serde(alias = "compensating")]
    Reconciling,
    /// Everything is as the manifest says.
    #[serde(alias = "ready")]
    Deployed,
    /// Something went wrong; the message says what.
    Failed,
    /// Running, but a health check fails.
    Unhealthy,
}

impl StatusType {
    /// How bad it is: the worst part gives the whole its status.
    fn badness(self) -> u8 {
        match self {
            Self::Failed => 5,
            Self::Undeployed => 4,
            Self::Waiting => 3,
            Self::Reconciling => 2,
            Self::Unhealthy => 1,
            Self::Deployed => 0,
        }
    }

    /// The worse of two.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        if other.badness() > self.badness() {
            other
        } else {
            self
        }
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Undeployed => "undeployed",
            Self::Reconciling => "reconciling",
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for StatusType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A status word with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// The word.
    #[serde(rename = "type", default)]
    pub kind: StatusType,
    /// The reason; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl StatusInfo {
    /// A status with a reason.
    pub fn new(kind: StatusType, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// Status of one scaler: one component, provider or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScalerStatus {
    /// The scaler's id.
    pub id: String,
    /// `SpreadScaler`, `DaemonScaler`, `LinkScaler`, …
    pub kind: String,
    /// What people call it.
    pub name: String,
    /// Its status.
    pub status: StatusInfo,
}

/// Status of an application, as published and answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The worst of the scalers.
    pub status: StatusInfo,
    /// One for each scaler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scalers: Vec<ScalerStatus>,
    /// Deprecated, always empty.
    #[serde(default)]
    pub version: String,
    /// Deprecated, always empty.
    #[serde(default)]
    pub components: Vec<serde_json::Value>,
    /// Ours: what runs where and why not. Upstream programs ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<StatusDetail>,
}

impl Status {
    /// The status of an application whose parts are `scalers`.
    pub fn of(scalers: Vec<ScalerStatus>) -> Self {
        if scalers.is_empty() {
            return Self::default();
        }
        let kind = scalers.iter().fold(StatusType::Deployed, |worst, scaler| {
            worst.worst(scaler.status.kind)
        });
        let messages: Vec<&str> = scalers
            .iter()
            .map(|scaler| scaler.status.message.as_str())
            .filter(|message| !message.is_empty())
            .collect();
        Self {
            status: StatusInfo::new(kind, messages.join(", ")),
            scalers,
            ..Self::default()
        }
    }

    /// What is published when an application was undeployed.
    pub fn undeployed() -> Self {
        Self {
            status: StatusInfo::new(StatusType::Undeployed, "Manifest has been undeployed"),
            ..Self::default()
        }
    }

    /// What upstream lists for an application without a published status.
    pub fn waiting_for_status() -> Self {
        Self {
            status: StatusInfo::new(
                StatusType::Waiting,
                "Waiting for status: Lattice contains no hosts, deployment not started.",
            ),
            ..Self::default()
        }
    }
}

/// Ours: what runs where, what is on the way, and what stands in the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusDetail {
    /// The deployed version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_version: Option<String>,
    /// Components and providers.
    #[serde(default)]
    pub components: Vec<ComponentDetail>,
    /// Links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkDetail>,
    /// Sentences about the application as a whole, e.g. built-ins that were started for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// For serde, which hands a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One component or provider of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentDetail {
    /// The name in the manifest.
    pub name: String,
    /// The id on the lattice.
    pub id: String,
    /// `component` or `capability`.
    pub kind: String,
    /// The image that should run.
    pub image: String,
    /// Instances that should run (for a capability: hosts).
    pub desired: u32,
    /// Instances that do, with the right image.
    pub running: u32,
    /// Host by host.
    #[serde(default)]
    pub hosts: Vec<HostDetail>,
    /// Hosts that are left out because there are so many; all of them are well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u32,
    /// Groups of hosts that cannot take their share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<UnmetRequirement>,
}

/// One component on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDetail {
    /// The host.
    pub host_id: String,
    /// What people call it.
    #[serde(default)]
    pub host_name: String,
    /// The spread it belongs to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub spread: String,
    /// Instances that should run here.
    pub desired: u32,
    /// Instances that do.
    pub running: u32,
    /// How often the host had to start it again since it was asked to run it (providers).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// `running`, `restarting`, `starting`, `scaling`, `updating`, `stopping`, `failed`, `waiting`, `unhealthy`.
    pub state: String,
    /// The image that runs, if it is not the one that should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The last failure's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it failed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<String>,
    /// How often it failed in a row.
    #[serde(default)]
    pub attempts: u32,
    /// When it will be tried again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<String>,
}

/// A share that no host can take, and how far the lattice is from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmetRequirement {
    /// The spread's name.
    pub spread: String,
    /// Instances (or hosts, for a capability) it should have.
    pub wanted: u32,
    /// Instances it can have.
    pub placeable: u32,
    /// The labels asked for, e.g. `zone=us-east`.
    pub requirement: String,
    /// The sentence, e.g. `zone=us-east: 0 of 3 hosts; seen: us-west, eu-central`.
    pub message: String,
}

/// One link of an application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDetail {
    /// `{source} -({namespace}:{package})-> {target}`.
    pub name: String,
    /// The link's name.
    pub link: String,
    /// Where it leads, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether hosts know it.
    pub present: bool,
    /// What is in the way or how it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
