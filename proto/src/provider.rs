//! What a host and a capability provider's process say to each other.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::link::InterfaceLinkDefinition;

/// What a provider's process reads from its standard input when it starts.
///
/// Printing it for debugging leaves credentials and secrets out.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct HostData {
    /// The host that starts it.
    #[serde(default)]
    pub host_id: String,
    /// The lattice, in spite of the name.
    #[serde(default)]
    pub lattice_rpc_prefix: String,
    /// `default`; unused.
    #[serde(default)]
    pub link_name: String,
    /// NATS credentials of the rpc connection: the token.
    #[serde(default)]
    pub lattice_rpc_user_jwt: String,
    /// NATS credentials of the rpc connection: the seed.
    #[serde(default)]
    pub lattice_rpc_user_seed: String,
    /// Where the rpc connection goes.
    #[serde(default)]
    pub lattice_rpc_url: String,
    /// The provider's id, in spite of the name.
    #[serde(default)]
    pub provider_key: String,
    /// Nothing; the key must be there.
    pub env_values: BTreeMap<String, String>,
    /// A new UUID for every start.
    #[serde(default)]
    pub instance_id: String,
    /// Every known link with this provider at one end.
    pub link_definitions: Vec<InterfaceLinkDefinition>,
    /// Unused.
    #[serde(default)]
    pub cluster_issuers: Vec<String>,
    /// The merged configuration.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// The secrets, in clear.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretValue>,
    /// The public key of the host's secrets xkey; opens link secrets.
    #[serde(default)]
    pub host_xkey_public_key: String,
    /// The curve seed the host made for this provider.
    #[serde(default)]
    pub provider_xkey_private_key: String,
    /// How long a call may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_rpc_timeout_ms: Option<u64>,
    /// Whether to log JSON lines.
    #[serde(default)]
    pub structured_logging: bool,
    /// How much to log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Where telemetry goes.
    #[serde(default)]
    pub otel_config: OtelConfig,
}

impl fmt::Debug for HostData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostData")
            .field("host_id", &self.host_id)
            .field("lattice", &self.lattice_rpc_prefix)
            .field("provider", &self.provider_key)
            .field("instance_id", &self.instance_id)
            .field("links", &self.link_definitions.len())
            .finish_non_exhaustive()
    }
}

/// Why start-up data could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HostDataError {
    /// The line is not base64.
    #[error("start-up data is not base64")]
    Base64(#[from] base64::DecodeError),
    /// The content is not the JSON expected.
    #[error("start-up data is not the expected JSON")]
    Json(#[from] serde_json::Error),
}

impl HostData {
    /// The line a host writes to the process: base64 of the JSON, ended by `\r\n`.
    ///
    /// # Errors
    /// Only if the data cannot be written as JSON, which no value of this type causes.
    pub fn to_line(&self) -> Result<String, HostDataError> {
        let mut line = STANDARD.encode(serde_json::to_vec(self)?);
        line.push_str("\r\n");
        Ok(line)
    }

    /// Reads such a line.
    ///
    /// # Errors
    /// [`HostDataError`] when it is not base64 or not the expected JSON.
    pub fn from_line(line: &str) -> Result<Self, HostDataError> {
        Ok(serde_json::from_slice(&STANDARD.decode(line.trim())?)?)
    }
}

/// How much a provider logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And what happens.
    Info,
    /// And details.
    Debug,
    /// And everything.
    Trace,
    /// Less than errors.
    Critical,
}

/// How telemetry travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OtelProtocol {
    /// gRPC.
    #[serde(alias = "grpc")]
    Grpc,
    /// HTTP.
    #[default]
    #[serde(alias = "http")]
    Http,
}

/// Where and how telemetry goes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OtelConfig {
    /// All three signals at once.
    pub enable_observability: bool,
    /// Traces, whatever the first field says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_traces: Option<bool>,
    /// Metrics, whatever the first field says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_metrics: Option<bool>,
    /// Logs, whatever the first field says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_logs: Option<bool>,
    /// Where all signals go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability_endpoint: Option<String>,
    /// Where traces go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_endpoint: Option<String>,
    /// Where metrics go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_endpoint: Option<String>,
    /// Where logs go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs_endpoint: Option<String>,
    /// How they travel.
    pub protocol: OtelProtocol,
    /// Certificate files to trust besides the system's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_ca_paths: Vec<String>,
    /// The level of traces, e.g. `info`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_level: String,
    /// The sampler, as `OTEL_TRACES_SAMPLER` names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_sampler: Option<String>,
    /// Its argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_sampler_arg: Option<String>,
    /// Spans held before some are dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_queue_size: Option<u64>,
    /// Exports at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_exports: Option<u64>,
}

/// A secret in clear. Printing it for debugging shows only its kind.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
pub enum SecretValue {
    /// Text.
    String(String),
    /// Bytes, in JSON an array of numbers.
    Bytes(Vec<u8>),
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String(_) => "SecretValue::String(..)",
            Self::Bytes(_) => "SecretValue::Bytes(..)",
        })
    }
}

/// A provider's answer to a health request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheckResponse {
    /// Whether it is well.
    #[serde(default)]
    pub healthy: bool,
    /// What it has to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Asks a provider to end. One with another host's id is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownRequest {
    /// The provider's host.
    pub host_id: String,
}

/// What a provider answers before it ends.
pub const SHUTTING_DOWN: &str = "shutting down";

/// Names of the entries of a provider archive.
pub mod archive {
    /// The provider's token.
    pub const CLAIMS: &str = "claims.jwt";
    /// The provider's WIT package.
    pub const WORLD: &str = "world.wasm";

    /// The name of this machine's kind, as archives call it, e.g. `x86_64-linux`.
    #[must_use]
    pub fn this_target() -> String {
        format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
    }

    /// The entry of a target's executable.
    #[must_use]
    pub fn binary(target: &str) -> String {
        format!("{target}.bin")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::golden;

    const RECORDED: &str = r#"{"host_id":"NDQQ","lattice_rpc_prefix":"default","link_name":"default",
        "lattice_rpc_user_jwt":"","lattice_rpc_user_seed":"SUSEED","lattice_rpc_url":"nats://127.0.0.1:4222",
        "provider_key":"shop-kv","env_values":{},"instance_id":"0d7c",
        "link_definitions":[],"cluster_issuers":[],"config":{"default_address":"0.0.0.0:8080"},
        "secrets":{"a":{"kind":"String","value":"s3cr3t"},"b":{"kind":"Bytes","value":[1,2,3]}},
        "provider_xkey_private_key":"SX","host_xkey_public_key":"XA",
        "default_rpc_timeout_ms":2000,"structured_logging":false,"log_level":"info",
        "otel_config":{"enable_observability":false,"protocol":"Http"}}"#;

    #[test]
    fn start_up_data_has_its_recorded_form() {
        golden::<HostData>(RECORDED);
        golden::<HealthCheckResponse>(r#"{"healthy":true}"#);
        golden::<ShutdownRequest>(r#"{"host_id":"NDQQ"}"#);
    }

    #[test]
    fn start_up_data_is_one_line_of_base64() {
        let data: HostData = serde_json::from_str(RECORDED).unwrap();
        let line = data.to_line().unwrap();
        assert!(line.ends_with("\r\n"));
        assert_eq!(line.lines().count(), 1);
        assert_eq!(HostData::from_line(&line).unwrap(), data);
        assert!(HostData::from_line("***").is_err());
        assert!(HostData::from_line("e30=").is_err());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let data: HostData = serde_json::from_str(RECORDED).unwrap();
        let shown = format!("{data:?} {:?}", data.secrets);
        assert!(
            !shown.contains("s3cr3t") && !shown.contains("SUSEED"),
            "{shown}"
        );
    }
}
