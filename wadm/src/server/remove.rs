//! `model.del`: removes a version, or the whole application.

use proto::id::Lattice;
use proto::wadm_api::{DeleteModelResponse, DeleteResult, VersionRequest};
use proto::wadm_event::ManifestEvent;

use super::{ApiError, CONFLICTS_MAX, Desk, Reply, json};
use crate::store::StoreError;

impl Desk {
    pub(super) async fn delete(
        &self,
        lattice: &Lattice,
        name: &str,
        request: VersionRequest,
    ) -> Reply {
        let mut attempt = 1;
        let reply = loop {
            let done = match &request.version {
                Some(version) => self.delete_version(lattice, name, version).await,
                None => self.delete_all(lattice, name).await,
            };
            match done {
                Err(ApiError::Store(StoreError::Conflict { .. })) if attempt < CONFLICTS_MAX => {
                    attempt += 1
                }
                done => break done?,
            }
        };
        // Upstream announces the removal of the whole application even when there was none.
        if reply.undeploy || request.version.is_none() {
            self.announce(
                lattice,
                &ManifestEvent::Unpublished {
                    name: name.to_owned(),
                },
            )
            .await;
        }
        Ok(json(&reply))
    }

    async fn delete_all(
        &self,
        lattice: &Lattice,
        name: &str,
    ) -> Result<DeleteModelResponse, ApiError> {
        let found = self.manifests.get(lattice, name).await?;
        if found.value.is_none() {
            return Ok(DeleteModelResponse {
                result: DeleteResult::Noop,
                message: format!("Application {name} doesn't exist or was already deleted"),
                undeploy: false,
            });
        }
        self.manifests.remove(lattice, name, found.revision).await?;
        Ok(DeleteModelResponse {
            result: DeleteResult::Deleted,
            message: format!("Successfully deleted application {name}"),
            undeploy: true,
        })
    }

    async fn delete_version(
        &self,
        lattice: &Lattice,
        name: &str,
        version: &str,
    ) -> Result<DeleteModelResponse, ApiError> {
        let found = self.manifests.get(lattice, name).await?;
        let mut app = found.value.unwrap_or_default();
        if app.manifests.shift_remove(version).is_none() {
            return Ok(DeleteModelResponse {
                result: DeleteResult::Noop,
                message: format!("Application version {version} doesn't exist"),
                undeploy: false,
            });
        }
        let undeploy = app.deployed_version.as_deref() == Some(version);
        if undeploy {
            app.deployed_version = None;
        }
        let message = if app.manifests.is_empty() {
            self.manifests.remove(lattice, name, found.revision).await?;
            format!("Successfully deleted last version of application {name}")
        } else {
            self.manifests
                .put(lattice, name, &app, found.revision)
                .await?;
            format!("Successfully deleted version {version} of application {name}")
        };
        Ok(DeleteModelResponse {
            result: DeleteResult::Deleted,
            message,
            undeploy,
        })
    }
}
