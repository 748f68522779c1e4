//! What changes nothing: list, get, versions, status.

use futures::StreamExt;
use proto::id::Lattice;
use proto::manifest::DESCRIPTION_ANNOTATION;
use proto::wadm_api::{
    GetModelResponse, GetResult, ListModelsResponse, ModelSummary, Status, StatusInfo,
    StatusResponse, StatusResult, StatusType, VersionInfo, VersionRequest, VersionResponse,
};
use serde_json::Value;

use super::{ApiError, Desk, Reply, json};
use crate::store::Stored;

/// How many statuses are read at once for a list.
const READS_AT_ONCE: usize = 32;

impl Desk {
    pub(super) async fn list_bare(&self, lattice: &Lattice) -> Reply {
        Ok(json(&self.summaries(lattice).await?))
    }

    pub(super) async fn list(&self, lattice: &Lattice) -> Reply {
        Ok(json(&ListModelsResponse {
            result: GetResult::Success,
            message: "Successfully fetched list of applications".into(),
            models: self.summaries(lattice).await?,
        }))
    }

    async fn summaries(&self, lattice: &Lattice) -> Result<Vec<ModelSummary>, ApiError> {
        let apps = self.manifests.all(lattice).await?;
        Ok(futures::stream::iter(apps)
            .map(|(name, app)| async move {
                // What upstream lists for an application that was never deployed.
                let status = match self.status_of(lattice, &name, Some(&app)).await {
                    status if status == Status::default() => Status::waiting_for_status(),
                    status => status,
                };
                let newest = app.newest().unwrap_or_default().to_owned();
                let description = app
                    .manifests
                    .last()
                    .and_then(|(_, manifest)| description(manifest));
                ModelSummary::new(name, newest, description, app.deployed_version, status)
            })
            .buffered(READS_AT_ONCE)
            .collect()
            .await)
    }

    pub(super) async fn get(
        &self,
        lattice: &Lattice,
        name: &str,
        request: VersionRequest,
    ) -> Reply {
        let missing = |message| {
            json(&GetModelResponse {
                result: GetResult::NotFound,
                message,
                manifest: None,
            })
        };
        let Some(app) = self.manifests.get(lattice, name).await?.value else {
            return Ok(missing(format!(
                "Application with the name {name} not found"
            )));
        };
        let (found, message) = match &request.version {
            Some(version) => (
                app.manifests.get(version),
                format!("Successfully fetched application {name} {version}"),
            ),
            None => (
                app.manifests.last().map(|(_, manifest)| manifest),
                format!("Successfully fetched application {name}"),
            ),
        };
        Ok(match found {
            // As it is stored: what another version of this program wrote comes back whole.
            Some(manifest) => json(
                &serde_json::json!({"result": GetResult::Success, "message": message, "manifest": manifest}),
            ),
            None => missing(format!(
                "Application {name} with version {} doesn't exist",
                request.version.unwrap_or_default()
            )),
        })
    }

    pub(super) async fn versions(&self, lattice: &Lattice, name: &str) -> Reply {
        let reply = match self.manifests.get(lattice, name).await?.value {
            Some(app) => VersionResponse {
                result: GetResult::Success,
                message: format!("Successfully fetched versions for application {name}"),
                versions: app
                    .manifests
                    .keys()
                    .map(|version| VersionInfo {
                        version: version.clone(),
                        deployed: app.deployed_version.as_ref() == Some(version),
                    })
                    .collect(),
            },
            None => VersionResponse {
                result: GetResult::NotFound,
                message: format!("Application with the name {name} not found"),
                versions: Vec::new(),
            },
        };
        Ok(json(&reply))
    }

    pub(super) async fn status(&self, lattice: &Lattice, name: &str) -> Reply {
        let app = self.manifests.get(lattice, name).await?.value;
        Ok(json(&StatusResponse {
            result: StatusResult::Ok,
            message: format!("Successfully fetched status for application {name}"),
            status: Some(self.status_of(lattice, name, app.as_ref()).await),
        }))
    }

    /// The last published status, unless the stored application is already further: then what is
    /// true now, so that nobody takes the old version's `deployed` for the new one's.
    async fn status_of(&self, lattice: &Lattice, name: &str, app: Option<&Stored>) -> Status {
        let published = self.statuses.last(lattice, name).await;
        let not_yet = |version: &str| {
            let message = format!("Waiting for the controller to take up version {version}");
            Status {
                status: StatusInfo::new(StatusType::Reconciling, message),
                ..Status::default()
            }
        };
        match (
            app.and_then(|app| app.deployed_version.as_deref()),
            published,
        ) {
            (None, None) => Status::default(),
            (None, Some(status)) if status.status.kind == StatusType::Undeployed => status,
            (None, Some(_)) => Status::undeployed(),
            (Some(version), None) => not_yet(version),
            (Some(version), Some(status)) => {
                let undeployed =
                    status.status.kind == StatusType::Undeployed && status.scalers.is_empty();
                let about = status
                    .detail
                    .as_ref()
                    .and_then(|detail| detail.deployed_version.as_deref());
                if undeployed || about.is_some_and(|about| about != version) {
                    return not_yet(version);
                }
                status
            }
        }
    }
}

fn description(manifest: &Value) -> Option<String> {
    let text = manifest
        .get("metadata")?
        .get("annotations")?
        .get(DESCRIPTION_ANNOTATION)?;
    Some(text.as_str()?.to_owned())
}
