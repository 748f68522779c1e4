//! The command line: upstream's flags and variables under their names, and ours.

mod nats;
mod telemetry;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};

use crate::oci::{Credential, FetchOptions, Mirror};

pub use nats::{Auth, NatsOptions, NatsSettings, ProviderLogin, TlsSettings};
pub use telemetry::TelemetryOptions;

/// Prefix of the environment variables that set labels.
const LABEL_PREFIX: &str = "WASMCLOUD_LABEL_";

/// An option that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    /// A label without exactly one `=`.
    #[error("invalid label format `{0}`. Expected `key=value`")]
    Label(String),
    /// A topic with characters NATS subjects cannot hold.
    #[error("invalid topic `{0}`: letters, digits, `-` and `_`, in parts separated by `.`")]
    Topic(String),
    /// One half of a pair.
    #[error("`{given}` needs `{missing}` beside it")]
    Half {
        /// The option that was given.
        given: &'static str,
        /// The one that is missing.
        missing: &'static str,
    },
    /// A file that cannot be used.
    #[error("cannot use `{}`: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// When a starting host brings back what ran here before, from its own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Restore {
    /// When nobody else can: NATS is not reachable, or no controller answers on it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: the host starts empty.
    Never,
}

/// Whether something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Everything a host can be told.
#[derive(Args, Clone, Debug)]
pub struct HostOptions {
    /// The lattice to join
    #[arg(short = 'x', long, env = "WASMCLOUD_LATTICE", default_value = "default", value_parser = lattice)]
    pub lattice: String,

    /// NATS connections.
    #[command(flatten)]
    pub nats: NatsOptions,

    /// Start of the subjects of control requests
    #[arg(long, env = "WASMCLOUD_CTL_TOPIC_PREFIX", default_value = proto::subject::ctl::DEFAULT_PREFIX, value_parser = topic)]
    pub ctl_topic_prefix: String,

    /// How long calls of external providers may take unless they know better, in milliseconds
    #[arg(long, env = "WASMCLOUD_RPC_TIMEOUT_MS", default_value = "2000", value_parser = millis)]
    pub rpc_timeout_ms: Duration,

    /// Seed of the host's key; without it every start makes a new one
    #[arg(long, env = "WASMCLOUD_HOST_SEED", hide_env_values = true)]
    pub host_seed: Option<String>,

    /// A label for placement, `key=value`; may be given again. WASMCLOUD_LABEL_key=value does the same
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,

    /// How long a provider may take to shut down, in milliseconds
    #[arg(
        long,
        alias = "provider-shutdown-delay",
        env = "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS",
        default_value = "300",
        value_parser = millis
    )]
    pub provider_shutdown_delay_ms: Duration,

    /// Seconds between heartbeats
    #[arg(long, env = "WASMCLOUD_HEARTBEAT_INTERVAL", default_value = "30", value_parser = seconds)]
    pub heartbeat_interval_seconds: Duration,

    /// Time between two signs of life, e.g. `1s`; `0s` for none
    #[arg(long, env = "LATTICE_PULSE_INTERVAL", default_value = "1s", value_parser = duration)]
    pub pulse_interval: Duration,

    /// How long calls in flight may take to finish when the host stops, e.g. `10s`
    #[arg(long, env = "LATTICE_STOP_GRACE", default_value = "10s", value_parser = duration)]
    pub stop_grace: Duration,

    /// Address of the host's own HTTP entrance, e.g. `0.0.0.0:8000`; components without an HTTP link are served
    /// there as `<component>.<application>.<anything>`
    #[arg(long, env = "LATTICE_HTTP_ADDR")]
    pub http_addr: Option<SocketAddr>,

    /// Where the last known state is kept; one directory belongs to one host
    #[arg(long, env = "LATTICE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Where artifacts and compiled code are kept; hosts of one machine may share it
    #[arg(long, env = "LATTICE_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,

    /// How much the cache may hold, e.g. `500MiB`; what was not used for longest goes first, what runs or would be
    /// brought back stays. `0` for no limit
    #[arg(long, env = "LATTICE_CACHE_LIMIT", default_value = "10GiB", value_parser = bytes)]
    pub cache_limit: u64,

    /// When to bring back what ran here before, from the data directory
    #[arg(long, env = "LATTICE_RESTORE", value_enum, default_value = "auto")]
    pub restore: Restore,

    /// Run the official provider images inside the host where it has the same provider built in
    #[arg(long, env = "LATTICE_BUILTIN_IMAGES", value_enum, default_value = "on")]
    pub builtin_images: Switch,

    /// Let components and providers be started from files of this machine
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub allow_file_load: bool,

    /// Let images tagged `latest` be started
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub allow_latest: bool,

    /// Registries to speak plain HTTP with, separated by commas
    #[arg(long, env = "WASMCLOUD_OCI_ALLOWED_INSECURE", value_delimiter = ',')]
    pub allowed_insecure: Vec<String>,

    /// The registry that `--oci-user` and `--oci-password` are for
    #[arg(long, env = "WASMCLOUD_OCI_REGISTRY")]
    pub oci_registry: Option<String>,

    /// User at the registry
    #[arg(long, env = "WASMCLOUD_OCI_REGISTRY_USER")]
    pub oci_user: Option<String>,

    /// Password at the registry
    #[arg(long, env = "WASMCLOUD_OCI_REGISTRY_PASSWORD", hide_env_values = true)]
    pub oci_password: Option<String>,

    /// Pull images from elsewhere, e.g. `ghcr.io/myorg=127.0.0.1:5000/myorg`; may be given again
    #[arg(
        long = "registry-mirror",
        env = "LATTICE_REGISTRY_MIRROR",
        value_name = "FROM=TO",
        value_delimiter = ','
    )]
    pub registry_mirrors: Vec<Mirror>,

    /// Use the credentials of the local Docker configuration
    #[arg(long, env = "LATTICE_DOCKER_CREDENTIALS", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub docker_credentials: bool,

    /// PEM file with further certificate authorities, for registries and providers; may be given again
    #[arg(
        long = "tls-ca-path",
        env = "WASMCLOUD_TLS_CA_PATH",
        value_delimiter = ','
    )]
    pub tls_ca_paths: Vec<PathBuf>,

    /// Ask the configuration service for registry credentials at start
    #[arg(long, env = "WASMCLOUD_CONFIG_SERVICE", value_parser = FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub config_service_enabled: bool,

    /// Subject of the policy service; without it everything is permitted
    #[arg(long, env = "WASMCLOUD_POLICY_TOPIC", value_parser = topic)]
    pub policy_topic: Option<String>,

    /// Subject on which changed policy decisions come
    #[arg(long, env = "WASMCLOUD_POLICY_CHANGES_TOPIC", value_parser = topic)]
    pub policy_changes_topic: Option<String>,

    /// How long a policy decision may take, in milliseconds
    #[arg(long, env = "WASMCLOUD_POLICY_TIMEOUT", default_value = "1000", value_parser = millis)]
    pub policy_timeout_ms: Duration,

    /// Start of the subjects of secrets backends
    #[arg(long, env = "WASMCLOUD_SECRETS_TOPIC", value_parser = topic)]
    pub secrets_topic: Option<String>,

    /// Longest run of one call, in milliseconds
    #[arg(long, env = "WASMCLOUD_MAX_EXECUTION_TIME_MS", default_value = "600000", value_parser = millis)]
    pub max_execution_time_ms: Duration,

    /// Largest memory of one instance, in bytes
    #[arg(long, env = "WASMCLOUD_MAX_LINEAR_MEMORY", default_value = "268435456")]
    pub max_linear_memory_bytes: u64,

    /// Largest component, in bytes
    #[arg(long, env = "WASMCLOUD_MAX_COMPONENT_SIZE", default_value = "52428800")]
    pub max_component_size_bytes: u64,

    /// Most component instances at one time
    #[arg(long, env = "WASMCLOUD_MAX_COMPONENTS", default_value = "10000")]
    pub max_components: u32,

    /// Most core instances in one component
    #[arg(
        long,
        env = "WASMCLOUD_MAX_CORE_INSTANCES_PER_COMPONENT",
        default_value = "30"
    )]
    pub max_core_instances_per_component: u32,

    /// Answer auctions for components
    #[arg(
        long,
        env = "WASMCLOUD_COMPONENT_AUCTION_ENABLED",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub enable_component_auction: bool,

    /// Answer auctions for providers
    #[arg(
        long,
        env = "WASMCLOUD_PROVIDER_AUCTION_ENABLED",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_value = "true",
        default_missing_value = "true"
    )]
    pub enable_provider_auction: bool,

    /// Address to answer `/livez` and `/readyz` on
    #[arg(long, env = "WASMCLOUD_HTTP_ADMIN")]
    pub http_admin: Option<SocketAddr>,

    /// Logs, traces and metrics.
    #[command(flatten)]
    pub telemetry: TelemetryOptions,

    /// Accepted for upstream's sake; what they enable is built in or unknown here
    #[arg(
        long = "feature",
        env = "WASMCLOUD_EXPERIMENTAL_FEATURES",
        hide = true,
        value_delimiter = ','
    )]
    pub features: Vec<String>,
}

impl HostOptions {
    /// The labels given by flags and by the environment; a flag wins.
    ///
    /// # Errors
    /// [`OptionError::Label`] for a flag that is not `key=value`.
    pub fn labels(
        &self,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<BTreeMap<String, String>, OptionError> {
        let mut labels = builtin_labels();
        labels.extend(environment.filter_map(|(name, value)| {
            let key = name
                .strip_prefix(LABEL_PREFIX)
                .filter(|key| !key.is_empty())?;
            Some((key.to_owned(), value))
        }));
        for label in &self.labels {
            match label.split('=').collect::<Vec<_>>().as_slice() {
                [key, value] if !key.is_empty() => {
                    labels.insert((*key).to_owned(), (*value).to_owned())
                }
                _ => return Err(OptionError::Label(label.clone())),
            };
        }
        Ok(labels)
    }

    /// How artifacts are fetched.
    pub fn fetch_options(&self) -> FetchOptions {
        let mut credentials = BTreeMap::new();
        if let Some(registry) = &self.oci_registry {
            let credential =
                Credential::from_parts(self.oci_user.clone(), self.oci_password.clone(), None);
            credentials.insert(registry.to_lowercase(), credential);
        }
        FetchOptions {
            allow_file_load: self.allow_file_load,
            allow_latest: self.allow_latest,
            insecure: self
                .allowed_insecure
                .iter()
                .map(|registry| registry.trim().to_lowercase())
                .collect(),
            mirrors: self.registry_mirrors.clone(),
            ca_files: self.tls_ca_paths.clone(),
            credentials,
            docker_credentials: self.docker_credentials,
            component_bytes_max: self.max_component_size_bytes,
            ..FetchOptions::default()
        }
    }

    /// Settings of the connection for control requests, events and records.
    ///
    /// # Errors
    /// [`OptionError`] when options do not go together or a file cannot be read.
    pub fn ctl(&self) -> Result<NatsSettings, OptionError> {
        self.nats.ctl(&self.tls_ca_paths)
    }

    /// Settings of the connection for calls and provider commands.
    ///
    /// # Errors
    /// [`OptionError`] when options do not go together or a file cannot be read.
    pub fn rpc(&self) -> Result<NatsSettings, OptionError> {
        self.nats.rpc(&self.tls_ca_paths)
    }

    /// How external providers reach NATS.
    ///
    /// # Errors
    /// As for [`Self::rpc`].
    pub fn provider_login(&self) -> Result<ProviderLogin, OptionError> {
        self.nats.provider(&self.rpc()?)
    }
}

/// What every host says of its machine.
fn builtin_labels() -> BTreeMap<String, String> {
    [
        ("hostcore.arch", std::env::consts::ARCH),
        ("hostcore.os", std::env::consts::OS),
        ("hostcore.osfamily", std::env::consts::FAMILY),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn lattice(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a lattice is named by letters, digits, `-` and `_`".into())
    }
}

fn topic(text: &str) -> Result<String, OptionError> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    if text.split('.').all(part) {
        Ok(text.to_owned())
    } else {
        Err(OptionError::Topic(text.to_owned()))
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_millis)
        .map_err(|_| "a whole number of milliseconds is needed".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of seconds, at least 1, is needed".into()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

/// Reads `500ms`, `10s`, `2m`, `1h` or a plain number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| "a duration such as `500ms`, `10s` or `2m` is needed".to_owned())?;
    let factor = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("unknown unit `{unit}`: use `ms`, `s`, `m` or `h`")),
    };
    number
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".into())
}

/// Reads `500MiB`, `10GiB`, `4KiB` or a plain number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| "a size such as `500MiB` or `10GiB` is needed".to_owned())?;
    let factor: u64 = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => {
            return Err(format!(
                "unknown unit `{unit}`: use `KiB`, `MiB`, `GiB` or `TiB`"
            ));
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is too much".into())
}
