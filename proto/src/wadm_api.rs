//! The controller's API: requests and replies of `model.*`, and application status.

mod preview;
mod status;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;

pub use preview::{PlanPreview, PlannedAction, PlannedChange};
pub use status::{
    ComponentDetail, HostDetail, LinkDetail, ScalerStatus, Status, StatusDetail, StatusInfo,
    StatusType, UnmetRequirement,
};

/// Request of `model.get`, `model.deploy` and `model.del`: which version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRequest {
    /// None, or `latest` for a deploy: the newest.
    #[serde(default)]
    pub version: Option<String>,
}

/// Request of `model.get.{name}`.
pub type GetModelRequest = VersionRequest;
/// Request of `model.deploy.{name}`.
pub type DeployModelRequest = VersionRequest;
/// Request of `model.del.{name}`.
pub type DeleteModelRequest = VersionRequest;

/// Request of `model.undeploy.{name}`; empty today.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndeployModelRequest {}

/// Outcome of a get or list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GetResult {
    /// The request failed.
    Error,
    /// Found.
    Success,
    /// There is none of that name or version.
    NotFound,
}

/// Outcome of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PutResult {
    /// The manifest was refused.
    Error,
    /// The first version of a new application.
    Created,
    /// A further version of a known application.
    NewVersion,
}

/// Outcome of a deploy or undeploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeployResult {
    /// Refused.
    Error,
    /// Accepted; the status tells how it goes.
    Acknowledged,
    /// There is no such application.
    NotFound,
}

/// Outcome of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteResult {
    /// Gone.
    Deleted,
    /// Refused.
    Error,
    /// There was nothing to delete.
    Noop,
}

/// Outcome of a status request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusResult {
    /// The request failed.
    Error,
    /// Here it is.
    Ok,
    /// There is no such application.
    NotFound,
}

/// Reply to `model.get.{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GetModelResponse {
    /// Outcome.
    pub result: GetResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The manifest, when found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
}

/// Reply to `model.get` without a name; `model.list` answers the bare list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListModelsResponse {
    /// Outcome.
    pub result: GetResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The applications.
    pub models: Vec<ModelSummary>,
}

/// One line of the list of applications.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelSummary {
    /// The application's name.
    pub name: String,
    /// The newest stored version.
    pub version: String,
    /// From the annotations.
    #[serde(default)]
    pub description: Option<String>,
    /// The deployed version, if any.
    #[serde(default)]
    pub deployed_version: Option<String>,
    /// The whole status.
    #[serde(default)]
    pub detailed_status: Status,
    /// The status in one word, `waiting` shown as `undeployed`.
    pub status: StatusType,
    /// The status message.
    #[serde(default)]
    pub status_message: Option<String>,
}

impl ModelSummary {
    /// A summary whose `status` and `status_message` are taken from `status`, as upstream shows them.
    pub fn new(
        name: impl Into<String>,
        version: impl Into<String>,
        description: Option<String>,
        deployed_version: Option<String>,
        status: Status,
    ) -> Self {
        let shown = match status.status.kind {
            StatusType::Waiting => StatusType::Undeployed,
            other => other,
        };
        let message = Some(status.status.message.clone()).filter(|message| !message.is_empty());
        Self {
            name: name.into(),
            version: version.into(),
            description,
            deployed_version,
            detailed_status: status,
            status: shown,
            status_message: message,
        }
    }
}

/// Reply to `model.put`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutModelResponse {
    /// Outcome.
    pub result: PutResult,
    /// How many versions are stored now.
    #[serde(default)]
    pub total_versions: usize,
    /// The version that was stored.
    #[serde(default)]
    pub current_version: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The application's name.
    #[serde(default)]
    pub name: String,
}

/// Reply to `model.versions.{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionResponse {
    /// Outcome.
    pub result: GetResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Oldest first.
    pub versions: Vec<VersionInfo>,
}

/// One stored version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionInfo {
    /// Its name.
    pub version: String,
    /// Whether it is the deployed one.
    pub deployed: bool,
}

/// Reply to `model.del.{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteModelResponse {
    /// Outcome.
    pub result: DeleteResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Whether an undeploy follows.
    #[serde(default)]
    pub undeploy: bool,
}

/// Reply to `model.deploy.{name}` and `model.undeploy.{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployModelResponse {
    /// Outcome.
    pub result: DeployResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The application's name.
    #[serde(default)]
    pub name: String,
    /// The deployed version; none after an undeploy.
    #[serde(default)]
    pub version: Option<String>,
}

/// Reply to `model.status.{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusResponse {
    /// Outcome.
    pub result: StatusResult,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What every operation answers when the request itself is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// Always `error`.
    pub result: ErrorResult,
    /// What is wrong.
    pub message: String,
}

impl ErrorResponse {
    /// An error reply.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            result: ErrorResult::Error,
            message: message.into(),
        }
    }
}

/// The one word of an [`ErrorResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorResult {
    /// The request failed.
    Error,
}
