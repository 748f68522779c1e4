//! `model.deploy`, `model.undeploy`, and ours: `model.plan` and `model.retry`.

use std::sync::Arc;

use proto::id::Lattice;
use proto::manifest::Manifest;
use proto::wadm_api::{DeployModelResponse, DeployResult, VersionRequest};
use proto::wadm_event::ManifestEvent;
use serde::Deserialize as _;
use serde_json::Value;

use super::{ApiError, CONFLICTS_MAX, Desk, Reply, checks, json};
use crate::control_loop::Revision;
use crate::store::StoreError;

impl Desk {
    pub(super) async fn deploy(
        &self,
        lattice: &Lattice,
        name: &str,
        request: VersionRequest,
    ) -> Reply {
        let mut attempt = 1;
        loop {
            match self.try_deploy(lattice, name, &request).await {
                Err(ApiError::Store(StoreError::Conflict { .. })) if attempt < CONFLICTS_MAX => {
                    attempt += 1
                }
                done => return done.map(|reply| json(&reply)),
            }
        }
    }

    async fn try_deploy(
        &self,
        lattice: &Lattice,
        name: &str,
        request: &VersionRequest,
    ) -> Result<DeployModelResponse, ApiError> {
        let reply = |result, message| DeployModelResponse {
            result,
            message,
            name: name.to_owned(),
            version: None,
        };
        let found = self.manifests.get(lattice, name).await?;
        let Some(mut app) = found.value else {
            return Ok(reply(
                DeployResult::NotFound,
                format!("Application with the name {name} not found"),
            ));
        };
        let version = match request.version.as_deref() {
            None | Some("latest") => app.newest().unwrap_or_default().to_owned(),
            Some(version) => version.to_owned(),
        };
        let Some(stored) = app.manifests.get(&version) else {
            let message = format!(
                "Application with the name '{name}' does not have a version '{version}' to deploy"
            );
            return Ok(reply(DeployResult::Error, message));
        };
        let manifest = parse_stored(name, stored)?;
        let published = stored.clone();
        checks::may_deploy(&manifest, &self.deployed_besides(lattice, name).await?)
            .map_err(|refusal| ApiError::Request(refusal.to_string()))?;
        if app.deployed_version.as_deref() == Some(version.as_str()) {
            // Nothing to store; but whoever deploys again wants no back-off to be waited for.
            self.lattices.retry(lattice, name).await;
        } else {
            app.deployed_version = Some(version.clone());
            let revision = self
                .manifests
                .put(lattice, name, &app, found.revision)
                .await?;
            let deployed = Some(Arc::new(manifest));
            let revision = Revision::Written(revision);
            self.lattices
                .deployed_is(lattice, name, deployed, revision)
                .await;
        }
        self.announce(lattice, &ManifestEvent::Published(published))
            .await;
        Ok(DeployModelResponse {
            result: DeployResult::Acknowledged,
            message: format!("Successfully deployed application {name} {version}"),
            name: name.to_owned(),
            version: Some(version),
        })
    }

    pub(super) async fn undeploy(&self, lattice: &Lattice, name: &str) -> Reply {
        let mut attempt = 1;
        loop {
            match self.try_undeploy(lattice, name).await {
                Err(ApiError::Store(StoreError::Conflict { .. })) if attempt < CONFLICTS_MAX => {
                    attempt += 1
                }
                done => return done.map(|reply| json(&reply)),
            }
        }
    }

    async fn try_undeploy(
        &self,
        lattice: &Lattice,
        name: &str,
    ) -> Result<DeployModelResponse, ApiError> {
        let found = self.manifests.get(lattice, name).await?;
        let Some(mut app) = found.value else {
            return Ok(DeployModelResponse {
                result: DeployResult::NotFound,
                message: format!("Application with the name {name} not found"),
                name: name.to_owned(),
                version: None,
            });
        };
        let message = if app.deployed_version.take().is_some() {
            let revision = self
                .manifests
                .put(lattice, name, &app, found.revision)
                .await?;
            let revision = Revision::Written(revision);
            self.lattices
                .deployed_is(lattice, name, None, revision)
                .await;
            format!("Successfully undeployed application {name}")
        } else {
            format!("Application {name} was already undeployed")
        };
        self.announce(
            lattice,
            &ManifestEvent::Unpublished {
                name: name.to_owned(),
            },
        )
        .await;
        Ok(DeployModelResponse {
            result: DeployResult::Acknowledged,
            message,
            name: name.to_owned(),
            version: None,
        })
    }

    /// Ours: forgets the back-off of an application and tries again at once.
    pub(super) async fn retry(&self, lattice: &Lattice, name: &str) -> Reply {
        let reply = |result, message: String, version| {
            Ok(json(&DeployModelResponse {
                result,
                message,
                name: name.to_owned(),
                version,
            }))
        };
        let Some(app) = self.manifests.get(lattice, name).await?.value else {
            return reply(
                DeployResult::NotFound,
                format!("Application with the name {name} not found"),
                None,
            );
        };
        if app.deployed_version.is_none() {
            let message =
                format!("Application {name} is not deployed, so there is nothing to retry");
            return reply(DeployResult::Error, message, None);
        }
        self.lattices.retry(lattice, name).await;
        reply(
            DeployResult::Acknowledged,
            format!("Trying application {name} again now"),
            app.deployed_version,
        )
    }

    /// Ours: what a deploy of the manifest in `body` would change.
    pub(super) async fn plan(
        &self,
        lattice: &Lattice,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Reply {
        let manifest = super::put::parse(content_type, body)?;
        let others = self
            .deployed_besides(lattice, &manifest.metadata.name)
            .await?;
        checks::may_deploy(&manifest, &others)
            .map_err(|refusal| ApiError::Request(refusal.to_string()))?;
        Ok(json(&self.lattices.plan(lattice, manifest).await?))
    }

    /// The deployed manifests of all other applications. One that cannot be read cannot be
    /// compared with; it does not keep others from being deployed.
    pub(super) async fn deployed_besides(
        &self,
        lattice: &Lattice,
        name: &str,
    ) -> Result<Vec<Arc<Manifest>>, ApiError> {
        if let Some(deployed) = self.lattices.deployed(lattice) {
            let others = deployed.into_iter().filter(|(other, _)| other != name);
            return Ok(others.map(|(_, manifest)| manifest).collect());
        }
        // Not everything is at hand yet: the store knows.
        let apps = self.manifests.all(lattice).await?;
        Ok(apps
            .iter()
            .filter(|(other, _)| other != name)
            .filter_map(|(other, app)| parse_stored(other, app.deployed()?).ok())
            .map(Arc::new)
            .collect())
    }
}

fn parse_stored(name: &str, stored: &Value) -> Result<Manifest, ApiError> {
    Manifest::deserialize(stored).map_err(|error| {
        ApiError::Request(format!(
            "The stored manifest of {name} cannot be read: {error}"
        ))
    })
}
