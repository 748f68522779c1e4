//! Why a lattice did not do what was asked.

use std::time::Duration;

use proto::HostId;
use proto::id::IdError;

use crate::connect::ConnectError;
use crate::error::Advice;
use crate::exit::Exit;

/// Why a lattice did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LatticeError {
    /// No NATS server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// NATS is there, but no host of this lattice.
    #[error("no host answers on lattice `{lattice}`")]
    NoHosts {
        /// The lattice.
        lattice: proto::Lattice,
    },
    /// The host that was asked is not there.
    #[error("host {host} does not answer on lattice `{lattice}`")]
    NoSuchHost {
        /// The lattice.
        lattice: proto::Lattice,
        /// The host.
        host: HostId,
    },
    /// NATS is there, but no wadm.
    #[error("connected to NATS, but no wadm is listening on lattice `{lattice}`")]
    NoWadm {
        /// The lattice.
        lattice: proto::Lattice,
    },
    /// Somebody listens, but did not answer in time.
    #[error("no answer to `{what}` within {waited:?}")]
    NoAnswer {
        /// The question.
        what: String,
        /// How long we waited.
        waited: Duration,
    },
    /// NATS does not let us ask.
    #[error("NATS does not permit `{what}`: {complaint}")]
    NotPermitted {
        /// The question.
        what: String,
        /// The server's own words.
        complaint: String,
    },
    /// The question is larger than NATS carries.
    #[error("`{what}` is larger than NATS carries ({bytes} bytes)")]
    TooLarge {
        /// The question.
        what: String,
        /// Its size.
        bytes: usize,
    },
    /// NATS failed in the middle.
    #[error("the connection failed during `{what}`")]
    Broken {
        /// The question.
        what: String,
        /// What the client says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that cannot be read.
    #[error("the answer to `{what}` cannot be read")]
    Unreadable {
        /// The question.
        what: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A host said no.
    #[error("{message}")]
    Refused {
        /// The host's own words.
        message: String,
        /// What was asked, in words.
        what: String,
    },
    /// wadm said no.
    #[error("Invalid request: {message}")]
    WadmRefused {
        /// wadm's own words.
        message: String,
    },
    /// wadm does not know the application.
    #[error("Model not found: {name}")]
    NoSuchApplication {
        /// Its name.
        name: String,
    },
    /// No host fits a search term.
    #[error("No matches found with the provided search term: `{term}` is no host's id or name")]
    NoMatch {
        /// The term.
        term: String,
        /// Hosts there are.
        known: Vec<String>,
    },
    /// Several hosts fit a search term.
    #[error("Multiple matches found with the provided search term: [{}]", matches.join(", "))]
    Ambiguous {
        /// Each as `id (name)`.
        matches: Vec<String>,
    },
    /// The event that should follow did not.
    #[error(
        "Timed out waiting for applicable event, operation may have failed: {what} after {waited:?}"
    )]
    NoEvent {
        /// What should have happened.
        what: String,
        /// How long we waited.
        waited: Duration,
    },
    /// The event that followed says that it failed.
    #[error("{what} failed: {error}")]
    Failed {
        /// What was tried.
        what: String,
        /// The host's own words.
        error: String,
    },
    /// A name that no lattice takes.
    #[error(transparent)]
    Name(#[from] IdError),
}

impl Advice for LatticeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Connect(error) => return error.hint(),
            Self::NoHosts { .. } => "start one with `wash up`, or name another lattice with --lattice".into(),
            Self::NoSuchHost { .. } => "list the hosts with `wash get hosts`".into(),
            Self::NoWadm { .. } => {
                "start one with `wash up`, or name another lattice with --lattice. Ensure wadm is running".into()
            }
            Self::NoAnswer { .. } => "wait longer with --timeout-ms, and look at the log of the one asked".into(),
            Self::NotPermitted { .. } => {
                "use credentials that may: --ctl-credsfile FILE; for an inbox, the prefix that is yours: --nats-inbox-prefix"
                    .into()
            },
            Self::TooLarge { .. } => "make it smaller, or raise max_payload in the NATS configuration".into(),
            Self::Broken { .. } => "try again; if it stays, look at the log of NATS".into(),
            Self::Unreadable { .. } => {
                "the other side may be of another version; `wash get hosts` shows theirs".into()
            }
            Self::Refused { .. } => "see what is there with `wash get inventory` and `wash get links`".into(),
            Self::WadmRefused { message } => return wadm_hint(message),
            Self::NoSuchApplication { .. } => "list the applications with `wash app list`".into(),
            Self::NoMatch { known, .. } if known.is_empty() => {
                "there are no hosts: start one with `wash up`, or name another lattice with --lattice".into()
            }
            Self::NoMatch { known, .. } => format!("choose one of {}", known.join(", ")),
            Self::Ambiguous { .. } => "type more of the id, or the whole name".into(),
            Self::NoEvent { .. } => {
                "wait longer with --timeout-ms, and see what runs with `wash get inventory`".into()
            }
            Self::Failed { .. } => "mend the cause and try again; the host's log says more".into(),
            Self::Name(error) => error.rule.into(),
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Connect(error) => error.exit(),
            Self::NoHosts { .. } | Self::NoSuchHost { .. } | Self::NoWadm { .. } => {
                Exit::Unreachable
            }
            Self::NoEvent { .. } => Exit::NotReached,
            Self::Name(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

fn wadm_hint(message: &str) -> Option<String> {
    Some(if message.contains("already exists") {
        "change the version annotation, or deploy with --replace".into()
    } else if message.contains("does not have a version") || message.contains("doesn't exist") {
        "list versions with `wash app history NAME`".into()
    } else {
        "check the file with `wash app validate FILE`".into()
    })
}
