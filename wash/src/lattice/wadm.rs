//! What wadm can be asked.

use async_trait::async_trait;
use proto::subject::WadmApi;
use proto::wadm_api::{
    DeleteModelResponse, DeleteResult, DeployModelResponse, DeployResult, GetModelResponse,
    GetResult, ModelSummary, PutModelResponse, PutResult, Status, StatusResponse, StatusResult,
    VersionInfo, VersionRequest, VersionResponse,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Lattice, LatticeError};

/// Requests to wadm.
#[async_trait]
pub trait WadmOps {
    /// All applications.
    async fn applications(&self) -> Result<Vec<ModelSummary>, LatticeError>;
    /// A manifest, as wadm stores it.
    async fn manifest(&self, name: &str, version: Option<&str>) -> Result<Value, LatticeError>;
    /// The stored versions, oldest first.
    async fn versions(&self, name: &str) -> Result<Vec<VersionInfo>, LatticeError>;
    /// Stores a manifest, as JSON.
    async fn put_manifest(&self, manifest: Vec<u8>) -> Result<PutModelResponse, LatticeError>;
    /// Deploys a version, or the newest.
    async fn deploy(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<DeployModelResponse, LatticeError>;
    /// Ends a deployment.
    async fn undeploy(&self, name: &str) -> Result<DeployModelResponse, LatticeError>;
    /// Removes a version, or all; false when there was nothing to remove.
    async fn delete(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(bool, String), LatticeError>;
    /// How an application does.
    async fn status(&self, name: &str) -> Result<Status, LatticeError>;
}

fn version_body(version: Option<&str>) -> Vec<u8> {
    version.map_or_else(Vec::new, |version| {
        let request = VersionRequest {
            version: Some(version.to_owned()),
        };
        serde_json::to_vec(&request).unwrap_or_default()
    })
}

/// Reads a reply; wadm's generic error lacks the fields of the proper one, so it is tried first.
pub fn read<T: DeserializeOwned>(what: &str, reply: &[u8]) -> Result<T, LatticeError> {
    let unreadable = |source| LatticeError::Unreadable {
        what: what.to_owned(),
        source,
    };
    let value: Value = serde_json::from_slice(reply).map_err(unreadable)?;
    if value.get("result").and_then(Value::as_str) == Some("error") {
        let message = value
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Upstream appends a back-trace of its own source code.
        let message = message
            .split("\n\nStack backtrace:")
            .next()
            .unwrap_or_default();
        return Err(LatticeError::WadmRefused {
            message: message.to_owned(),
        });
    }
    serde_json::from_value(value).map_err(unreadable)
}

fn not_found(name: &str) -> LatticeError {
    LatticeError::NoSuchApplication {
        name: name.to_owned(),
    }
}

#[async_trait]
impl<L: Lattice + ?Sized> WadmOps for L {
    async fn applications(&self) -> Result<Vec<ModelSummary>, LatticeError> {
        let reply = self.wadm(WadmApi::List, Vec::new()).await?;
        read("list", &reply)
    }

    async fn manifest(&self, name: &str, version: Option<&str>) -> Result<Value, LatticeError> {
        let reply = self
            .wadm(WadmApi::Get(name.to_owned()), version_body(version))
            .await?;
        let value: Value = read("get", &reply)?;
        let found: Result<GetModelResponse, _> = serde_json::from_value(value.clone());
        match found {
            Ok(found) if found.result == GetResult::NotFound => Err(match version {
                Some(_) if found.message.contains("version") => LatticeError::WadmRefused {
                    message: found.message,
                },
                _ => not_found(name),
            }),
            // The raw value keeps what our types may not know.
            _ => Ok(value.get("manifest").cloned().unwrap_or(Value::Null)),
        }
    }

    async fn versions(&self, name: &str) -> Result<Vec<VersionInfo>, LatticeError> {
        let reply = self
            .wadm(WadmApi::Versions(name.to_owned()), Vec::new())
            .await?;
        let found: VersionResponse = read("versions", &reply)?;
        if found.result == GetResult::NotFound {
            Err(not_found(name))
        } else {
            Ok(found.versions)
        }
    }

    async fn put_manifest(&self, manifest: Vec<u8>) -> Result<PutModelResponse, LatticeError> {
        let reply = self.wadm(WadmApi::Put, manifest).await?;
        let put: PutModelResponse = read("put", &reply)?;
        match put.result {
            PutResult::Error => Err(LatticeError::WadmRefused {
                message: put.message,
            }),
            PutResult::Created | PutResult::NewVersion => Ok(put),
        }
    }

    async fn deploy(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<DeployModelResponse, LatticeError> {
        let reply = self
            .wadm(WadmApi::Deploy(name.to_owned()), version_body(version))
            .await?;
        deployed(name, read("deploy", &reply)?)
    }

    async fn undeploy(&self, name: &str) -> Result<DeployModelResponse, LatticeError> {
        let reply = self
            .wadm(WadmApi::Undeploy(name.to_owned()), Vec::new())
            .await?;
        deployed(name, read("undeploy", &reply)?)
    }

    async fn delete(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(bool, String), LatticeError> {
        let reply = self
            .wadm(WadmApi::Delete(name.to_owned()), version_body(version))
            .await?;
        let gone: DeleteModelResponse = read("delete", &reply)?;
        match gone.result {
            DeleteResult::Deleted => Ok((true, gone.message)),
            DeleteResult::Noop => Ok((false, gone.message)),
            DeleteResult::Error => Err(LatticeError::WadmRefused {
                message: gone.message,
            }),
        }
    }

    async fn status(&self, name: &str) -> Result<Status, LatticeError> {
        let reply = self
            .wadm(WadmApi::Status(name.to_owned()), Vec::new())
            .await?;
        let found: StatusResponse = read("status", &reply)?;
        match found.result {
            StatusResult::NotFound => Err(not_found(name)),
            StatusResult::Error => Err(LatticeError::WadmRefused {
                message: found.message,
            }),
            StatusResult::Ok => Ok(found.status.unwrap_or_default()),
        }
    }
}

/// Takes an answer that acknowledges, and refuses any other.
pub fn deployed(
    name: &str,
    reply: DeployModelResponse,
) -> Result<DeployModelResponse, LatticeError> {
    match reply.result {
        DeployResult::Acknowledged => Ok(reply),
        DeployResult::NotFound => Err(not_found(name)),
        DeployResult::Error => Err(LatticeError::WadmRefused {
            message: reply.message,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generic_error_is_read_without_upstreams_back_trace() {
        let reply = br#"{"result":"error","message":"Unable to parse manifest: x\n\nStack backtrace:\n 0: y"}"#;
        let error = read::<PutModelResponse>("put", reply).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid request: Unable to parse manifest: x"
        );
    }
}
