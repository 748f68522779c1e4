//! The command line: upstream's flags and variables under their names, and ours.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::sim::SimulateArgs;

/// Keeps the components of each application running on the hosts that fit.
#[derive(Debug, Parser)]
#[command(name = "wadm", version, about)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do instead of running
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How the controller runs
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the program does beside running.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Simulates a lattice of a given size, and tells how long converging takes and what it costs
    Simulate(SimulateArgs),
}

/// Everything that configures a running controller.
#[derive(Clone, Debug, ClapArgs)]
pub struct ServeArgs {
    /// Name of this controller in leases, fences and logs [default: a random UUID]
    #[arg(short = 'i', long, env = "WADM_HOST_ID")]
    pub host_id: Option<String>,
    /// Log as JSON lines
    #[arg(
        short = 'l',
        long = "structured-logging",
        alias = "structured-logging-enabled",
        env = "WADM_STRUCTURED_LOGGING"
    )]
    pub structured_logging: bool,
    /// Accepted for upstream's sake; this controller exports no traces
    #[arg(
        short = 't',
        long = "tracing",
        alias = "tracing-enabled",
        env = "WADM_TRACING_ENABLED",
        hide = true
    )]
    pub tracing: bool,
    /// Accepted for upstream's sake; this controller exports no traces
    #[arg(
        short = 'e',
        long,
        env = "WADM_TRACING_ENDPOINT",
        default_value = "http://localhost:4318/v1/traces",
        hide = true
    )]
    pub tracing_endpoint: String,
    /// How many control requests may be unanswered at once, per lattice
    #[arg(short = 'j', long, env = "WADM_MAX_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_jobs: Option<u16>,
    /// Seconds without a heartbeat after which a host that sends no pulses is lost
    #[arg(long, env = "WADM_CLEANUP_INTERVAL", default_value_t = 70, value_parser = clap::value_parser!(u64).range(1..))]
    pub cleanup_interval: u64,
    /// Seconds between two full checks of links, config and hosts
    #[arg(long, env = "WADM_RESYNC_INTERVAL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync_interval: u64,
    /// Seconds a leader may be silent before another controller takes over
    #[arg(long, env = "WADM_LEASE_SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=60))]
    pub lease_seconds: u64,
    /// First tokens of the API's subjects
    #[arg(long, env = "WADM_API_PREFIX", default_value = proto::subject::wadm::DEFAULT_API_PREFIX)]
    pub api_prefix: String,
    /// First tokens of the control interface's subjects
    #[arg(long, env = "WADM_CTL_TOPIC_PREFIX", default_value = proto::subject::ctl::DEFAULT_PREFIX)]
    pub ctl_topic_prefix: String,
    /// Address of the HTTP endpoint with /livez and /readyz
    #[arg(long, env = "WADM_HTTP_ADMIN")]
    pub http_admin: Option<SocketAddr>,
    /// Upstream's multitenant mode; not supported, run one controller per account
    #[arg(long, env = "WADM_MULTITENANT", hide = true)]
    pub multitenant: bool,
    /// How to reach NATS
    #[command(flatten)]
    pub nats: NatsArgs,
    /// What to keep in JetStream, and how
    #[command(flatten)]
    pub storage: StorageArgs,
}

/// How to reach NATS.
#[derive(Clone, Debug, ClapArgs)]
pub struct NatsArgs {
    /// NATS URLs, comma separated; user and password may stand in the URL
    #[arg(
        short = 's',
        long,
        env = "WADM_NATS_SERVER",
        default_value = "127.0.0.1:4222"
    )]
    pub nats_server: String,
    /// Seed of the user's nkey: a file, or the seed itself
    #[arg(
        long,
        env = "WADM_NATS_NKEY",
        hide_env_values = true,
        conflicts_with = "nats_creds_file"
    )]
    pub nats_seed: Option<String>,
    /// JWT that goes with the seed: a file, or the token itself
    #[arg(
        long,
        env = "WADM_NATS_JWT",
        hide_env_values = true,
        requires = "nats_seed",
        conflicts_with = "nats_creds_file"
    )]
    pub nats_jwt: Option<String>,
    /// NATS credentials file
    #[arg(long, env = "WADM_NATS_CREDS_FILE")]
    pub nats_creds_file: Option<PathBuf>,
    /// Certificates of the authorities that may sign the server's certificate
    #[arg(long, env = "WADM_NATS_TLS_CA_FILE")]
    pub nats_tls_ca_file: Option<PathBuf>,
    /// Client certificate, for servers that ask for one
    #[arg(long, env = "WADM_NATS_TLS_CERT_FILE", requires = "nats_tls_key_file")]
    pub nats_tls_cert_file: Option<PathBuf>,
    /// Key of the client certificate
    #[arg(long, env = "WADM_NATS_TLS_KEY_FILE", requires = "nats_tls_cert_file")]
    pub nats_tls_key_file: Option<PathBuf>,
    /// Start TLS before the server says anything
    #[arg(long, env = "WADM_NATS_TLS_FIRST")]
    pub nats_tls_first: bool,
    /// First part of the subjects on which this controller gets answers; another than other programs' keeps those
    /// from listening
    #[arg(long, env = "WADM_NATS_INBOX_PREFIX", default_value = proto::subject::inbox::DEFAULT_PREFIX, value_parser = proto::subject::inbox::prefix, value_name = "PREFIX")]
    pub nats_inbox_prefix: String,
    /// JetStream domain that holds the buckets and streams
    #[arg(short = 'd', long = "js-domain", env = "WADM_JETSTREAM_DOMAIN")]
    pub js_domain: Option<String>,
}

/// What to keep in JetStream, and how.
#[derive(Clone, Debug, ClapArgs)]
pub struct StorageArgs {
    /// Bucket of the manifests
    #[arg(long, env = "WADM_MANIFEST_BUCKET_NAME", default_value = proto::subject::wadm::MANIFEST_BUCKET)]
    pub manifest_bucket_name: String,
    /// Upstream's cache of what it saw; ours keeps none and leaves the bucket alone
    #[arg(long, env = "WADM_STATE_BUCKET_NAME", default_value = proto::subject::wadm::STATE_BUCKET, hide = true)]
    pub state_bucket_name: String,
    /// Bucket of what controllers tell each other: leases, and what is yet to be removed
    #[arg(long, env = "WADM_CONTROL_BUCKET_NAME", default_value = proto::subject::wadm::CONTROL_BUCKET)]
    pub control_bucket_name: String,
    /// Prefix of the stream names
    #[arg(long, env = "WADM_STREAM_PREFIX")]
    pub stream_prefix: Option<String>,
    /// Where streams that do not exist yet are kept
    #[arg(long, env = "WADM_STREAM_PERSISTENCE", value_enum, default_value_t = Persistence::File)]
    pub stream_persistence: Persistence,
    /// Copies of buckets and streams that do not exist yet
    #[arg(long, env = "WADM_REPLICAS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,
    /// Size limit of the manifest bucket, when it is created here
    #[arg(
        long,
        env = "WADM_MANIFEST_BUCKET_MAX_BYTES",
        default_value_t = -1,
        hide = true,
        allow_negative_numbers = true
    )]
    pub manifest_bucket_max_bytes: i64,
    /// Size limit of the status stream, when it is created here
    #[arg(
        long,
        env = "WADM_STATUS_STREAM_MAX_BYTES",
        default_value_t = -1,
        hide = true,
        allow_negative_numbers = true
    )]
    pub status_stream_max_bytes: i64,
    /// Size limits of upstream's streams that this controller does not need
    #[command(flatten)]
    pub unused: UnusedLimits,
}

/// Limits of streams that upstream has and we do without: accepted, so that a unit file need not
/// change, and ignored.
#[derive(Clone, Debug, ClapArgs)]
#[allow(missing_docs, reason = "each flag names its stream")]
pub struct UnusedLimits {
    #[arg(long, env = "WADM_STATE_BUCKET_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub state_bucket_max_bytes: i64,
    #[arg(long, env = "WADM_COMMAND_STREAM_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub command_stream_max_bytes: i64,
    #[arg(long, env = "WADM_EVENT_STREAM_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub event_stream_max_bytes: i64,
    #[arg(long, env = "WADM_EVENT_CONSUMER_STREAM_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub event_consumer_stream_max_bytes: i64,
    #[arg(long, env = "WADM_NOTIFY_STREAM_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub notify_stream_max_bytes: i64,
    #[arg(long, env = "WADM_WASMBUS_EVENT_STREAM_MAX_BYTES", default_value_t = -1, hide = true, allow_negative_numbers = true)]
    pub wasmbus_event_stream_max_bytes: i64,
}

/// Where a stream is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Persistence {
    /// On disk
    File,
    /// In memory
    Memory,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ServeArgs, clap::Error> {
        Args::try_parse_from(line.split_whitespace()).map(|args| args.serve)
    }

    #[test]
    fn upstream_flags_keep_their_names() {
        let args = parse(
            "wadm -i me -l -t -e http://x -d hub -j 8 -s nats://a:1 --nats-seed SU --nats-jwt ey \
             --nats-tls-ca-file ca.pem --state-bucket-name s --manifest-bucket-name m \
             --cleanup-interval 30 --api-prefix my.api --stream-prefix p --stream-persistence memory \
             --http-admin 127.0.0.1:9000 --event-stream-max-bytes -1",
        )
        .unwrap();
        assert_eq!(args.host_id.as_deref(), Some("me"));
        assert_eq!(args.nats.js_domain.as_deref(), Some("hub"));
        assert_eq!(args.max_jobs, Some(8));
        assert_eq!(args.storage.stream_persistence, Persistence::Memory);
    }

    #[test]
    fn credentials_that_contradict_each_other_are_refused() {
        assert!(parse("wadm --nats-jwt ey").is_err());
        assert!(parse("wadm --nats-seed SU --nats-creds-file x").is_err());
        assert!(parse("wadm --nats-tls-cert-file x").is_err());
    }
}
