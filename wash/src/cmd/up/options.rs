//! The options of `wash up`, under upstream's names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use super::fetch::NatsServerOptions;
use crate::error::UsageError;

/// Start a whole lattice on this machine: NATS, wadm and one or more hosts
#[derive(Debug, Clone, clap::Args)]
pub struct UpCommand {
    /// Run in the background; `wash down` ends it
    #[arg(short = 'd', long)]
    pub detached: bool,
    /// Start one host with these labels, e.g. zone=us-east,rack=7; repeat for more hosts
    #[arg(long = "host", value_name = "LABELS", value_parser = parse_host)]
    pub hosts: Vec<HostLabels>,
    /// Add hosts to a lattice that has some on this machine already
    #[arg(long)]
    pub multi_local: bool,
    /// Seconds to wait until everything is ready
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub ready_timeout: u64,
    /// Set in the process that stays in the background
    #[arg(long, hide = true)]
    pub in_background: bool,
    #[command(flatten)]
    pub nats: NatsOptions,
    #[command(flatten)]
    pub host: HostOptions,
    #[command(flatten)]
    pub wadm: WadmOptions,
}

/// Labels of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostLabels(pub BTreeMap<String, String>);

fn parse_host(text: &str) -> Result<HostLabels, String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(parse_label)
        .collect::<Result<_, _>>()
        .map(HostLabels)
}

/// Reads `key=value`.
pub fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid label format `{text}`. Expected `key=value`"))?;
    if key.is_empty() || key.contains(char::is_whitespace) || value.contains('=') {
        return Err(format!(
            "invalid label format `{text}`. Expected `key=value`"
        ));
    }
    if key.to_ascii_lowercase().starts_with("hostcore.") {
        return Err(format!(
            "the label `{key}` is set by the host itself; choose a key without `hostcore.`"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// NATS.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsOptions {
    #[command(flatten)]
    pub server: NatsServerOptions,
    /// Address NATS listens on, or where it is
    #[arg(
        long,
        env = "WASMCLOUD_NATS_HOST",
        value_name = "HOST",
        default_value = "127.0.0.1"
    )]
    pub nats_host: String,
    /// Port NATS listens on, or where it is
    #[arg(
        long,
        env = "WASMCLOUD_NATS_PORT",
        value_name = "PORT",
        default_value_t = 4222
    )]
    pub nats_port: u16,
    /// Websocket port [default: none]
    #[arg(long, env = "NATS_WEBSOCKET_PORT", value_name = "PORT")]
    pub nats_websocket_port: Option<u16>,
    /// JetStream domain of the server that is started
    #[arg(long, env = "NATS_JS_DOMAIN", value_name = "DOMAIN")]
    pub nats_js_domain: Option<String>,
    /// Run NATS as a leaf node of this server
    #[arg(long, env = "NATS_REMOTE_URL", value_name = "URL")]
    pub nats_remote_url: Option<String>,
    /// Credentials for the remote server
    #[arg(
        long,
        env = "NATS_CREDSFILE",
        value_name = "FILE",
        requires = "nats_remote_url"
    )]
    pub nats_credsfile: Option<PathBuf>,
    /// A configuration file of your own for NATS
    #[arg(long, env = "NATS_CONFIG", value_name = "FILE")]
    pub nats_config_file: Option<PathBuf>,
    /// Never start NATS; fail if it is not there
    #[arg(long, env = "NATS_CONNECT_ONLY")]
    pub nats_connect_only: bool,
}

/// Hosts. What is not given here is not set, and the host's own defaults hold.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostOptions {
    /// Lattice
    #[arg(
        short = 'x',
        long,
        env = "WASMCLOUD_LATTICE",
        value_name = "LATTICE",
        default_value = "default"
    )]
    pub lattice: String,
    /// Label of every host, key=value; repeat for more
    #[arg(short = 'l', long = "label", alias = "labels", value_name = "LABEL", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Where the first host serves HTTP; further hosts take the next free ports
    #[arg(
        long,
        env = "LATTICE_HTTP_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:8000"
    )]
    pub http_addr: std::net::SocketAddr,
    /// Start the hosts only: no NATS, no wadm
    #[arg(long)]
    pub wasmcloud_start_only: bool,
    /// The host program [default: this one]
    #[arg(long, env = "WASMCLOUD_HOST_PATH", value_name = "PATH")]
    pub host_path: Option<PathBuf>,
    /// Directory for logs [default: beside the state]
    #[arg(long, env = "WASMCLOUD_HOST_LOG_PATH", value_name = "DIR")]
    pub host_log_path: Option<PathBuf>,
    /// Seed of the (only) host's key
    #[arg(
        long,
        env = "WASMCLOUD_HOST_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub host_seed: Option<String>,
    /// Let hosts load components from files
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD", value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub allow_file_load: bool,
    /// Let hosts take images tagged `latest`
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST")]
    pub allow_latest: bool,
    /// Registries that speak plain HTTP
    #[arg(
        long,
        env = "WASMCLOUD_OCI_ALLOWED_INSECURE",
        value_name = "REGISTRY",
        value_delimiter = ','
    )]
    pub allowed_insecure: Vec<String>,
    /// A mirror of a registry, e.g. ghcr.io/acme=127.0.0.1:5000/acme; repeat for more
    #[arg(
        long,
        env = "LATTICE_REGISTRY_MIRROR",
        value_name = "FROM=TO",
        value_delimiter = ','
    )]
    pub registry_mirror: Vec<String>,
    /// Log level of hosts
    #[arg(
        long,
        env = "WASMCLOUD_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info"
    )]
    pub log_level: String,
    /// Log as JSON
    #[arg(long, env = "WASMCLOUD_STRUCTURED_LOGGING_ENABLED")]
    pub enable_structured_logging: bool,
    /// More options of the host, handed over as they are; see `wash host --help`
    #[arg(long = "host-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub host_args: Vec<String>,
    #[command(flatten)]
    pub passed: PassedOn,
}

/// Options that go to the hosts unread, under the host's own environment names.
#[derive(Debug, Clone, clap::Args)]
pub struct PassedOn {
    /// NATS host for calls
    #[arg(long, env = "WASMCLOUD_RPC_HOST", value_name = "HOST")]
    pub rpc_host: Option<String>,
    /// NATS port for calls
    #[arg(long, env = "WASMCLOUD_RPC_PORT", value_name = "PORT")]
    pub rpc_port: Option<u16>,
    /// Seed for calls
    #[arg(
        long,
        env = "WASMCLOUD_RPC_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub rpc_seed: Option<String>,
    /// User JWT for calls
    #[arg(
        long,
        env = "WASMCLOUD_RPC_JWT",
        value_name = "JWT",
        hide_env_values = true
    )]
    pub rpc_jwt: Option<String>,
    /// TLS for calls
    #[arg(long, env = "WASMCLOUD_RPC_TLS")]
    pub rpc_tls: bool,
    /// Credentials file for calls
    #[arg(long, env = "WASMCLOUD_RPC_CREDS", value_name = "FILE")]
    pub rpc_credsfile: Option<PathBuf>,
    /// Milliseconds a call may take
    #[arg(
        long,
        env = "WASMCLOUD_RPC_TIMEOUT_MS",
        value_name = "MS",
        default_value_t = 2000
    )]
    pub rpc_timeout_ms: u64,
    /// NATS host for control requests
    #[arg(long, env = "WASMCLOUD_CTL_HOST", value_name = "HOST")]
    pub ctl_host: Option<String>,
    /// NATS port for control requests
    #[arg(long, env = "WASMCLOUD_CTL_PORT", value_name = "PORT")]
    pub ctl_port: Option<u16>,
    /// Seed for control requests
    #[arg(
        long,
        env = "WASMCLOUD_CTL_SEED",
        value_name = "SEED",
        hide_env_values = true
    )]
    pub ctl_seed: Option<String>,
    /// User JWT for control requests
    #[arg(
        long,
        env = "WASMCLOUD_CTL_JWT",
        value_name = "JWT",
        hide_env_values = true
    )]
    pub ctl_jwt: Option<String>,
    /// Credentials file for control requests
    #[arg(long, env = "WASMCLOUD_CTL_CREDS", value_name = "FILE")]
    pub ctl_credsfile: Option<PathBuf>,
    /// TLS for control requests
    #[arg(long, env = "WASMCLOUD_CTL_TLS")]
    pub ctl_tls: bool,
    /// Certificates to trust
    #[arg(
        long = "ctl-tls-ca-file",
        alias = "rpc-tls-ca-file",
        env = "WASMCLOUD_TLS_CA_PATH",
        value_name = "FILE"
    )]
    pub tls_ca_file: Option<PathBuf>,
    /// JetStream domain of the lattice
    #[arg(long, env = "WASMCLOUD_JS_DOMAIN", value_name = "DOMAIN")]
    pub wasmcloud_js_domain: Option<String>,
    /// Milliseconds a provider may take to stop
    #[arg(
        long,
        env = "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS",
        value_name = "MS",
        default_value_t = 300
    )]
    pub provider_delay: u64,
    /// Ask a configuration service at start
    #[arg(long, env = "WASMCLOUD_CONFIG_SERVICE")]
    pub config_service_enabled: bool,
    /// Milliseconds a call into a component may take
    #[arg(
        long,
        env = "WASMCLOUD_MAX_EXECUTION_TIME_MS",
        value_name = "MS",
        default_value_t = 600_000
    )]
    pub max_execution_time_ms: u64,
    /// Subject prefix of secrets backends
    #[arg(long, env = "WASMCLOUD_SECRETS_TOPIC", value_name = "TOPIC")]
    pub secrets_topic: Option<String>,
    /// Subject of the policy service
    #[arg(long, env = "WASMCLOUD_POLICY_TOPIC", value_name = "TOPIC")]
    pub policy_topic: Option<String>,
}

/// wadm.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "wadm")]
pub struct WadmOptions {
    /// Do not start wadm
    #[arg(long)]
    pub disable_wadm: bool,
    /// JetStream domain for wadm
    #[arg(long, env = "WADM_JS_DOMAIN", value_name = "DOMAIN")]
    pub wadm_js_domain: Option<String>,
    /// Deploy this manifest when all is ready
    #[arg(long, env = "WADM_MANIFEST", value_name = "FILE")]
    pub wadm_manifest: Option<PathBuf>,
    /// The wadm program [default: this one]
    #[arg(long, env = "WADM_PATH", value_name = "PATH")]
    pub wadm_path: Option<PathBuf>,
    /// More options of wadm, handed over as they are; see `wash wadm --help`
    #[arg(long = "wadm-arg", value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub wadm_args: Vec<String>,
}

impl UpCommand {
    /// The labels of each host; without `--host` there is one host.
    pub fn host_labels(&self) -> Result<Vec<BTreeMap<String, String>>, UsageError> {
        let each = if self.hosts.is_empty() {
            vec![HostLabels::default()]
        } else {
            self.hosts.clone()
        };
        if self.host.host_seed.is_some() && each.len() > 1 {
            return Err(UsageError::new(
                "one seed cannot be the key of several hosts",
                "leave --host-seed out, or start one host",
            ));
        }
        let common: BTreeMap<_, _> = self.host.labels.iter().cloned().collect();
        Ok(each
            .into_iter()
            .map(|own| common.clone().into_iter().chain(own.0).collect())
            .collect())
    }
}

impl HostOptions {
    /// What every host gets in its environment; upstream's host reads the same names.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let passed = &self.passed;
        let text = |value: &Option<String>| value.clone().map(OsString::from);
        let path = |value: &Option<PathBuf>| value.clone().map(OsString::from);
        let port = |value: Option<u16>| value.map(|port| OsString::from(port.to_string()));
        let switch = |on: bool| on.then(|| OsString::from("true"));
        let list = |items: &[String]| (!items.is_empty()).then(|| OsString::from(items.join(",")));
        let all = [
            ("WASMCLOUD_LATTICE", Some(OsString::from(&self.lattice))),
            ("WASMCLOUD_ALLOW_FILE_LOAD", switch(self.allow_file_load)),
            ("WASMCLOUD_OCI_ALLOW_LATEST", switch(self.allow_latest)),
            (
                "WASMCLOUD_OCI_ALLOWED_INSECURE",
                list(&self.allowed_insecure),
            ),
            ("LATTICE_REGISTRY_MIRROR", list(&self.registry_mirror)),
            ("WASMCLOUD_LOG_LEVEL", Some(OsString::from(&self.log_level))),
            (
                "WASMCLOUD_STRUCTURED_LOGGING_ENABLED",
                switch(self.enable_structured_logging),
            ),
            ("WASMCLOUD_RPC_HOST", text(&passed.rpc_host)),
            ("WASMCLOUD_RPC_PORT", port(passed.rpc_port)),
            ("WASMCLOUD_RPC_SEED", text(&passed.rpc_seed)),
            ("WASMCLOUD_RPC_JWT", text(&passed.rpc_jwt)),
            ("WASMCLOUD_RPC_TLS", switch(passed.rpc_tls)),
            ("WASMCLOUD_RPC_CREDS", path(&passed.rpc_credsfile)),
            (
                "WASMCLOUD_RPC_TIMEOUT_MS",
                Some(passed.rpc_timeout_ms.to_string().into()),
            ),
            ("WASMCLOUD_CTL_HOST", text(&passed.ctl_host)),
            ("WASMCLOUD_CTL_PORT", port(passed.ctl_port)),
            ("WASMCLOUD_CTL_SEED", text(&passed.ctl_seed)),
            ("WASMCLOUD_CTL_JWT", text(&passed.ctl_jwt)),
            ("WASMCLOUD_CTL_CREDS", path(&passed.ctl_credsfile)),
            ("WASMCLOUD_CTL_TLS", switch(passed.ctl_tls)),
            ("WASMCLOUD_TLS_CA_PATH", path(&passed.tls_ca_file)),
            ("WASMCLOUD_JS_DOMAIN", text(&passed.wasmcloud_js_domain)),
            (
                "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS",
                Some(passed.provider_delay.to_string().into()),
            ),
            (
                "WASMCLOUD_CONFIG_SERVICE",
                switch(passed.config_service_enabled),
            ),
            (
                "WASMCLOUD_MAX_EXECUTION_TIME_MS",
                Some(passed.max_execution_time_ms.to_string().into()),
            ),
            ("WASMCLOUD_SECRETS_TOPIC", text(&passed.secrets_topic)),
            ("WASMCLOUD_POLICY_TOPIC", text(&passed.policy_topic)),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_the_hosts_own_are_refused() {
        assert_eq!(parse_host("zone=a,rack=7").unwrap().0.len(), 2);
        assert_eq!(parse_host("").unwrap(), HostLabels::default());
        for bad in ["zone", "=a", "a=b=c", "HostCore.os=linux", "a b=c"] {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
    }
}
