//! Why a lattice did not come up.

use std::path::PathBuf;

use super::fetch::FetchError;
use crate::cmd::app::StartError;
use crate::error::{Advice, FileError, UsageError};
use crate::exit::Exit;
use crate::lattice::LatticeError;

/// Why a lattice did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// Another `up` runs here.
    #[error("a lattice that `wash up` started is running already on port {port}{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    AlreadyUp {
        /// Its NATS port.
        port: u16,
        /// Its supervisor.
        pid: Option<i32>,
    },
    /// Hosts of the lattice are there already.
    #[error("{count} host(s) run already on lattice `{lattice}` at {url}")]
    HostsThere {
        /// How many.
        count: usize,
        /// The lattice.
        lattice: String,
        /// Where.
        url: String,
    },
    /// Something else than NATS has the port.
    #[error("port {port} is taken by something that is not NATS")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// NATS was to be there and is not.
    #[error("there is no NATS server at {url}")]
    NoNats {
        /// Where.
        url: String,
    },
    /// No nats-server to start.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A program could not be started.
    #[error("cannot start {name} (`{}`)", path.display())]
    Start {
        /// What a person calls it.
        name: String,
        /// The executable.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// This executable does not know its own path.
    #[error("cannot find the path of this program")]
    OwnPath(#[source] std::io::Error),
    /// A program ended before all was ready.
    #[error("{name} ended before it was ready ({how})\n{tail}")]
    Ended {
        /// What a person calls it.
        name: String,
        /// How.
        how: String,
        /// The end of its log.
        tail: String,
        /// Its log.
        log: PathBuf,
    },
    /// Not everything was ready in time.
    #[error("not ready after {seconds} s: {missing}")]
    NotReady {
        /// The limit.
        seconds: u64,
        /// What is missing.
        missing: String,
        /// Where the logs are.
        logs: PathBuf,
    },
    /// A program that is needed keeps ending.
    #[error("{name} keeps ending ({how})")]
    KeepsEnding {
        /// What a person calls it.
        name: String,
        /// How it ended last.
        how: String,
        /// Its log.
        log: PathBuf,
    },
    /// No free port for a host's HTTP.
    #[error("there is no free port from {0} on for a host's HTTP")]
    NoHttpPort(u16),
    /// The process in the background failed.
    #[error("{0}")]
    Background(String),
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// Ctrl-C before all was ready.
    #[error("interrupted before everything was ready; what was started has been stopped")]
    Interrupted,
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An argument.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The lattice.
    #[error(transparent)]
    Lattice(#[from] LatticeError),
    /// The manifest that was to be deployed.
    #[error("everything was up, but the manifest could not be deployed; it was stopped again")]
    Manifest(#[from] StartError),
}

impl Advice for UpError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::AlreadyUp { .. } => {
                "stop it with `wash down`, add hosts with --multi-local, or choose another --nats-port".into()
            }
            Self::HostsThere { .. } => {
                "add another with --multi-local, choose another --lattice, or stop them with `wash down --all`".into()
            }
            Self::PortTaken { .. } => "choose another port with --nats-port".into(),
            Self::NoNats { .. } => "start it, or leave --nats-connect-only out".into(),
            Self::Fetch(error) => return error.hint(),
            Self::Start { .. } | Self::OwnPath(_) => "check that the program is there and may be run".into(),
            Self::Ended { log, .. } | Self::KeepsEnding { log, .. } => format!("read `{}`", log.display()),
            Self::NotReady { logs, .. } => {
                format!("read the logs in `{}`, or wait longer with --ready-timeout", logs.display())
            }
            Self::NoHttpPort(_) => "choose another with --http-addr".into(),
            Self::Background(_) | Self::Interrupted => return None,
            Self::Signals(_) => "try again".into(),
            Self::File(error) => return error.hint(),
            Self::Usage(error) => return error.hint(),
            Self::Lattice(error) => return error.hint(),
            Self::Manifest(error) => return error.hint(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoNats { .. } => Exit::Unreachable,
            Self::NotReady { .. } => Exit::NotReached,
            Self::Interrupted => Exit::Interrupted,
            Self::Lattice(error) => error.exit(),
            _ => Exit::Failed,
        }
    }
}
