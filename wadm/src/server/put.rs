//! `model.put`: checks and stores a manifest.

use proto::id::Lattice;
use proto::manifest::{Format, Manifest, VERSION_ANNOTATION};
use proto::wadm_api::{PutModelResponse, PutResult};

use super::{ApiError, CONFLICTS_MAX, Desk, Reply, checks, json};
use crate::store::StoreError;

impl Desk {
    pub(super) async fn put(
        &self,
        lattice: &Lattice,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Reply {
        let mut manifest = parse(content_type, body)?;
        if manifest.version().is_none() {
            let version = ulid::Ulid::new().to_string();
            manifest
                .metadata
                .annotations
                .insert(VERSION_ANNOTATION.to_owned(), version);
        }
        let mut attempt = 1;
        loop {
            match self.try_put(lattice, &manifest).await {
                Err(ApiError::Store(StoreError::Conflict { .. })) if attempt < CONFLICTS_MAX => {
                    attempt += 1
                }
                done => return done.map(|reply| json(&reply)),
            }
        }
    }

    async fn try_put(
        &self,
        lattice: &Lattice,
        manifest: &Manifest,
    ) -> Result<PutModelResponse, ApiError> {
        let name = &manifest.metadata.name;
        let version = manifest.version().unwrap_or_default().to_owned();
        let found = self.manifests.get(lattice, name).await?;
        let mut app = found.value.unwrap_or_default();
        if app.manifests.contains_key(&version) {
            return Err(ApiError::Request(format!(
                "Manifest version {version} already exists"
            )));
        }
        let before = app.newest().unwrap_or_default().to_owned();
        let stored = serde_json::to_value(manifest).map_err(|error| {
            ApiError::Request(format!("The manifest cannot be stored: {error}"))
        })?;
        app.manifests.insert(version.clone(), stored);
        self.manifests
            .put(lattice, name, &app, found.revision)
            .await?;
        // Upstream names the version before, where one would expect the new one.
        let mut message = format!("Successfully put manifest {name} {before}");
        let missing =
            checks::missing_shared(manifest, &self.deployed_besides(lattice, name).await?);
        if !missing.is_empty() {
            message.push_str(&format!(
                ", but some shared components are not deployed: {missing:?}"
            ));
        }
        let result = if before.is_empty() {
            PutResult::Created
        } else {
            PutResult::NewVersion
        };
        Ok(PutModelResponse {
            result,
            total_versions: app.manifests.len(),
            current_version: version,
            message,
            name: name.clone(),
        })
    }
}

/// Reads and checks a manifest as upstream does: in its order, with its texts.
pub(super) fn parse(content_type: Option<&str>, body: &[u8]) -> Result<Manifest, ApiError> {
    let unreadable = |why: String| ApiError::Request(format!("Unable to parse manifest: {why}"));
    let text = std::str::from_utf8(body)
        .map_err(|error| unreadable(format!("it is not UTF-8 text: {error}")))?;
    let format = match content_type {
        Some("application/json") => Format::Json,
        Some("application/yaml") | None => Format::Yaml,
        Some(other) => {
            return Err(unreadable(format!(
                "Unsupported content type {other} given. Wadm supports YAML and JSON"
            )));
        }
    };
    proto::manifest::parse_as(text, "manifest", format)
        .map_err(|error| ApiError::Request(error.api_message()))
}
