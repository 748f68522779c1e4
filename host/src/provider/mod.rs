//! External capability providers: archives, processes, supervision.
//!
//! | module | job |
//! |---|---|
//! | [`archive`] | reads provider archives, checks them, puts the executable on disk |
//! | [`leftover`] | ends processes that an earlier run of this host left behind |
//! | `process` | starts a process that ends with this host |
//! | `commands` | what a host says to a provider over NATS |
//! | `supervisor` | health checks, restarts, the end |
//!
//! The executables are not ours and may do what they like: they get a cleared environment, their
//! start-up data, and nothing else from here.

pub mod archive;
mod commands;
pub mod leftover;
mod process;
mod supervisor;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nkeys::XKey;
use proto::id::{ComponentId, HostId, Lattice};
use proto::provider::{LogLevel, OtelConfig, SecretValue};

use crate::link::ResolvedLink;

pub use archive::{ArchiveError, Unpacked};
pub use supervisor::ProviderProcess;

/// What all providers of a host have in common.
#[derive(Clone)]
pub struct ProviderContext {
    /// The lattice.
    pub lattice: Lattice,
    /// The host.
    pub host: HostId,
    /// The host's rpc connection, for commands.
    pub client: async_nats::Client,
    /// Where the provider connects to.
    pub rpc_url: String,
    /// The token it connects with; empty for none.
    pub rpc_jwt: String,
    /// The seed it connects with; empty for none.
    pub rpc_seed: String,
    /// How long its calls may take, unless it knows better.
    pub rpc_timeout: Duration,
    /// The host's key for sealing link secrets.
    pub host_xkey: Arc<XKey>,
    /// Whether it shall log JSON lines.
    pub structured_logging: bool,
    /// How much it shall log.
    pub log_level: Option<LogLevel>,
    /// Where its telemetry goes.
    pub otel: OtelConfig,
    /// Where executables and notes of running processes are kept.
    pub dir: PathBuf,
    /// How long it has to answer a request to end.
    pub shutdown_delay: Duration,
}

/// One provider to run.
#[derive(Clone)]
pub struct ProviderSpec {
    /// Its id on the lattice.
    pub id: ComponentId,
    /// Its executable, as [`archive::unpack`] left it.
    pub executable: PathBuf,
    /// What it starts with.
    pub settings: Settings,
}

/// What a provider works with; it may change while it runs.
#[derive(Clone, Default)]
pub struct Settings {
    /// The merged configuration.
    pub config: BTreeMap<String, String>,
    /// The secrets, in clear.
    pub secrets: BTreeMap<String, SecretValue>,
    /// Every link with the provider at one end.
    pub links: Vec<Arc<ResolvedLink>>,
}

/// What happens to a provider's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderEvent {
    /// It is well and was not before.
    HealthPassed,
    /// It is not well and was before.
    HealthFailed,
    /// Its health has not changed.
    HealthStatus,
    /// It ended without being asked to, and is started again after a pause.
    Exited {
        /// How it ended, in words.
        status: String,
        /// The pause.
        again_in: Duration,
    },
    /// It was started again.
    Restarted {
        /// How many times by now.
        restarts: u64,
    },
    /// It could not be started again; another try follows.
    RestartFailed {
        /// Why.
        error: String,
        /// When.
        again_in: Duration,
    },
}

/// Where the events of a provider go.
pub type EventSink = Arc<dyn Fn(ProviderEvent) + Send + Sync>;

/// Why a provider does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The archive is not what it should be.
    #[error("the provider's archive cannot be used")]
    Archive(#[from] ArchiveError),
    /// The executable does not start.
    #[error("`{executable}` does not start; is it built for this machine?")]
    Spawn {
        /// The file.
        executable: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It ended before it read its start-up data.
    #[error("the provider did not read its start-up data")]
    StartData(#[source] std::io::Error),
    /// The note of the running process cannot be written.
    #[error("cannot write `{path}`")]
    Note {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Link secrets cannot be sealed, or start-up data not be written.
    #[error("the provider's start-up data cannot be made: {0}")]
    HostData(String),
}
