//! Subjects, buckets and streams of the deployment manager.

use std::fmt;
use std::str::FromStr;

use super::{SubjectError, name};
use crate::id::Lattice;

/// The API prefix unless both sides are told otherwise.
pub const DEFAULT_API_PREFIX: &str = "wadm.api";
/// The queue group in which the instances share the API.
pub const API_QUEUE: &str = "wadm_server";
/// The bucket of application manifests, shared with upstream.
pub const MANIFEST_BUCKET: &str = "wadm_manifests";
/// **Ours.** The bucket of what controllers tell each other: leases and the record of removals.
pub const CONTROL_BUCKET: &str = "wadm_control";
/// Upstream's bucket of observed state; ours is rebuilt from the hosts and keeps none.
pub const STATE_BUCKET: &str = "wadm_state";
/// The stream of application statuses, which others read.
pub const STATUS_STREAM: &str = "wadm_status";
/// Messages [`STATUS_STREAM`] keeps of each application.
pub const STATUS_HISTORY: i64 = 10;
/// Every subject of [`STATUS_STREAM`].
pub const STATUS_PATTERN: &str = "wadm.status.*.*";
/// Streams and durable buckets upstream's programs make; what `wash down` purges besides ours.
pub const UPSTREAM_STREAMS: [&str; 7] = [
    "wasmbus_events",
    "wadm_events",
    "wadm_event_consumer",
    "wadm_commands",
    "wadm_notify",
    "wadm_status",
    "wadm_mirror",
];

const FAMILY: &str = "application API";

/// Where an application request goes: `{prefix}.{lattice}.model.{operation}[.{name}]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WadmApiSubject {
    /// The API prefix; may contain dots.
    pub prefix: String,
    /// The lattice.
    pub lattice: Lattice,
    /// The operation and the application it is about.
    pub request: WadmApi,
}

/// An operation of the application API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WadmApi {
    /// All applications as a bare array; what published clients use.
    List,
    /// All applications in an envelope.
    GetAll,
    /// One application's manifest.
    Get(String),
    /// Stores a manifest.
    Put,
    /// An application's versions.
    Versions(String),
    /// Removes a version, or the application.
    Delete(String),
    /// Deploys a version.
    Deploy(String),
    /// Ends a deployment.
    Undeploy(String),
    /// An application's status.
    Status(String),
    /// Not supported by anyone, but answered.
    History(String),
    /// **Ours.** What a deploy of a manifest would change.
    Plan,
    /// **Ours.** Forgets an application's failures and tries again at once.
    Retry(String),
}

impl WadmApiSubject {
    /// A subject under the default prefix.
    #[must_use]
    pub fn new(lattice: Lattice, request: WadmApi) -> Self {
        Self::with_prefix(DEFAULT_API_PREFIX, lattice, request)
    }

    /// A subject under a prefix of the operator's choice.
    #[must_use]
    pub fn with_prefix(prefix: impl Into<String>, lattice: Lattice, request: WadmApi) -> Self {
        Self {
            prefix: prefix.into(),
            lattice,
            request,
        }
    }

    /// Reads a subject that is known to lie under `prefix`.
    ///
    /// # Errors
    /// [`SubjectError::Operation`] for an unknown operation, [`SubjectError::ExtraTokens`] for
    /// a name with a dot in it.
    pub fn parse(prefix: &str, subject: &str) -> Result<Self, SubjectError> {
        let rest = subject
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or_else(|| SubjectError::family(FAMILY, subject))?;
        let tokens: Vec<&str> = rest.split('.').collect();
        let [lattice, "model", operation, tail @ ..] = tokens.as_slice() else {
            return Err(SubjectError::operation(FAMILY, subject));
        };
        let app = match tail {
            [] => None,
            [app] => Some((*app).to_owned()),
            _ => return Err(SubjectError::extra(subject)),
        };
        let request = WadmApi::read(operation, app)
            .ok_or_else(|| SubjectError::operation(FAMILY, subject))?;
        Ok(Self::with_prefix(prefix, name(subject, lattice)?, request))
    }

    /// What an instance subscribes to, in the queue group [`API_QUEUE`].
    #[must_use]
    pub fn all(prefix: &str) -> String {
        format!("{prefix}.>")
    }
}

impl WadmApi {
    fn read(operation: &str, app: Option<String>) -> Option<Self> {
        Some(match (operation, app) {
            ("list", None) => Self::List,
            ("get", None) => Self::GetAll,
            ("get", Some(app)) => Self::Get(app),
            ("put", None) => Self::Put,
            ("versions", Some(app)) => Self::Versions(app),
            ("del", Some(app)) => Self::Delete(app),
            ("deploy", Some(app)) => Self::Deploy(app),
            ("undeploy", Some(app)) => Self::Undeploy(app),
            ("status", Some(app)) => Self::Status(app),
            ("history", Some(app)) => Self::History(app),
            ("plan", None) => Self::Plan,
            ("retry", Some(app)) => Self::Retry(app),
            _ => return None,
        })
    }
}

impl fmt::Display for WadmApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("list"),
            Self::GetAll => f.write_str("get"),
            Self::Get(app) => write!(f, "get.{app}"),
            Self::Put => f.write_str("put"),
            Self::Versions(app) => write!(f, "versions.{app}"),
            Self::Delete(app) => write!(f, "del.{app}"),
            Self::Deploy(app) => write!(f, "deploy.{app}"),
            Self::Undeploy(app) => write!(f, "undeploy.{app}"),
            Self::Status(app) => write!(f, "status.{app}"),
            Self::History(app) => write!(f, "history.{app}"),
            Self::Plan => f.write_str("plan"),
            Self::Retry(app) => write!(f, "retry.{app}"),
        }
    }
}

impl fmt::Display for WadmApiSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.model.{}", self.prefix, self.lattice, self.request)
    }
}

impl FromStr for WadmApiSubject {
    type Err = SubjectError;

    /// Reads a subject under [`DEFAULT_API_PREFIX`].
    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        Self::parse(DEFAULT_API_PREFIX, subject)
    }
}

/// Where an application's status is published: `wadm.status.{lattice}.{application}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WadmStatusSubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The application.
    pub app: String,
}

impl fmt::Display for WadmStatusSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wadm.status.{}.{}", self.lattice, self.app)
    }
}

impl FromStr for WadmStatusSubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let (lattice, app) = subject
            .strip_prefix("wadm.status.")
            .and_then(|rest| rest.split_once('.'))
            .filter(|(_, app)| crate::id::token(app))
            .ok_or_else(|| SubjectError::family("application status", subject))?;
        Ok(Self {
            lattice: name(subject, lattice)?,
            app: app.to_owned(),
        })
    }
}

/// The key of [`MANIFEST_BUCKET`] that holds one application's versions.
#[must_use]
pub fn manifest_key(lattice: &Lattice, app: &str) -> String {
    format!("{lattice}-{app}")
}

/// The key of [`MANIFEST_BUCKET`] that holds the sorted names of a lattice's applications.
#[must_use]
pub fn manifest_names_key(lattice: &Lattice) -> String {
    lattice.to_string()
}

/// The key of [`CONTROL_BUCKET`] that holds a lattice's lease.
#[must_use]
pub fn lease_key(lattice: &Lattice) -> String {
    format!("lease.{lattice}")
}

/// The key of [`CONTROL_BUCKET`] that holds what is yet to be removed of an application.
#[must_use]
pub fn retired_key(lattice: &Lattice, app: &str) -> String {
    format!("{RETIRED}{lattice}.{app}")
}

/// The lattice and application of a [`retired_key`]; none for other keys.
#[must_use]
pub fn parse_retired_key(key: &str) -> Option<(Lattice, String)> {
    let (lattice, app) = key.strip_prefix(RETIRED)?.split_once('.')?;
    Some((Lattice::new(lattice).ok()?, app.to_owned()))
}

const RETIRED: &str = "retired.";
const RETRY: &str = "lattice.retry.";

/// **Ours.** By which any controller asks the leader to try again:
/// `lattice.retry.{lattice}.{application}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySubject {
    /// The lattice.
    pub lattice: Lattice,
    /// The application.
    pub app: String,
}

impl RetrySubject {
    /// The pattern of all of them.
    #[must_use]
    pub fn every_lattice() -> String {
        format!("{RETRY}*.*")
    }
}

impl fmt::Display for RetrySubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RETRY}{}.{}", self.lattice, self.app)
    }
}

impl FromStr for RetrySubject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        let (lattice, app) = subject
            .strip_prefix(RETRY)
            .and_then(|rest| rest.split_once('.'))
            .filter(|(_, app)| crate::id::token(app))
            .ok_or_else(|| SubjectError::family("retry", subject))?;
        Ok(Self {
            lattice: name(subject, lattice)?,
            app: app.to_owned(),
        })
    }
}

/// Where wadm's own events go: `wadm.evt.{lattice}.{name}`, e.g. `manifest_published`.
#[must_use]
pub fn event_subject(lattice: &Lattice, name: &str) -> String {
    format!("wadm.evt.{lattice}.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_reads_back_as_itself() {
        let shop = || "shop".to_owned();
        for request in [
            WadmApi::List,
            WadmApi::GetAll,
            WadmApi::Get(shop()),
            WadmApi::Put,
            WadmApi::Versions(shop()),
            WadmApi::Delete(shop()),
            WadmApi::Deploy(shop()),
            WadmApi::Undeploy(shop()),
            WadmApi::Status(shop()),
            WadmApi::History(shop()),
            WadmApi::Plan,
            WadmApi::Retry(shop()),
        ] {
            let subject = WadmApiSubject::new(Lattice::default(), request);
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        let status = WadmStatusSubject {
            lattice: Lattice::default(),
            app: shop(),
        };
        assert_eq!(status.to_string(), "wadm.status.default.shop");
        assert_eq!(status.to_string().parse(), Ok(status));
        let retry = RetrySubject {
            lattice: Lattice::default(),
            app: shop(),
        };
        assert_eq!(retry.to_string().parse(), Ok(retry));
        let east = Lattice::new("edge-east").unwrap();
        let key = retired_key(&east, "my-shop");
        assert_eq!(
            parse_retired_key(&key),
            Some((east.clone(), "my-shop".into()))
        );
        assert_eq!(parse_retired_key(&lease_key(&east)), None);
    }

    #[test]
    fn a_dot_in_a_name_is_told_from_an_unknown_operation() {
        let read = |text: &str| text.parse::<WadmApiSubject>().unwrap_err();
        assert!(matches!(
            read("wadm.api.default.model.get.a.b"),
            SubjectError::ExtraTokens { .. }
        ));
        for unknown in [
            "wadm.api.default.model.bogus",
            "wadm.api.default.model.put.x",
            "wadm.api.default",
            "wadm.api.default.link.get",
        ] {
            let error = read(unknown);
            assert!(matches!(error, SubjectError::Operation { .. }), "{unknown}");
        }
    }
}
