//! `wash app deploy` and `put`: hands an application to wadm and follows what becomes of it.

use std::time::{Duration, Instant};

use proto::manifest::Manifest;
use proto::wadm_api::{Status, StatusType};
use serde_json::{Map, Value};

use super::source::Source;
use super::status::{Report, reasons};
use super::to_json;
use crate::cli::Outcome;
use crate::connect::ConnectOptions;
use crate::error::{Advice, WashError};
use crate::exit::Exit;
use crate::lattice::{Lattice, LatticeError, NatsLattice, WadmOps};
use crate::output::{Answer, Done, Printer, Style, keys, value};

/// How often the status is asked for.
const ASK: Duration = Duration::from_millis(250);
/// How long wadm's answers may fail in the middle of waiting, e.g. while another takes over.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// `wash app deploy`.
#[derive(Debug, clap::Args)]
pub struct Deploy {
    /// Manifest file, URL, `-` for standard input, or the name of a stored application
    pub application: Option<String>,
    /// Version to deploy, of a stored application [default: the newest]
    pub version: Option<String>,
    /// Replace a stored version of the same name
    #[arg(long)]
    pub replace: bool,
    /// Wait until everything runs, and fail if it does not [default: when a person watches]
    #[arg(long, overrides_with = "no_wait")]
    pub wait: bool,
    /// Return as soon as wadm has accepted it
    #[arg(long, overrides_with = "wait")]
    pub no_wait: bool,
    /// How long to wait, e.g. 30s or 5m
    #[arg(long = "timeout", alias = "wait-timeout", value_name = "DURATION", default_value = "120s", value_parser = crate::cmd::watch::interval)]
    pub wait_timeout: Duration,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// `wash app put`.
#[derive(Debug, clap::Args)]
pub struct Put {
    /// Manifest file, URL, or `-` for standard input
    pub source: Option<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

/// An application that was accepted and is not there.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The time to wait is over.
    #[error("application `{name}` {version} was accepted, but is not as wanted after {waited:?}: {}", reasons.join("; "))]
    NotReached {
        /// The application.
        name: String,
        /// The version.
        version: String,
        /// How long we waited.
        waited: Duration,
        /// What is in the way.
        reasons: Vec<String>,
    },
    /// Ctrl-C while waiting.
    #[error("stopped waiting for application `{name}`; wadm goes on with it")]
    Interrupted {
        /// The application.
        name: String,
    },
}

impl Advice for DeployError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotReached { name, .. } => format!(
                "follow it with `wash app status {name} --watch`; wadm goes on trying; try at once with `wash app retry {name}`"
            ),
            Self::Interrupted { name } => {
                format!("follow it with `wash app status {name} --watch`")
            }
        })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::NotReached { .. } => Exit::NotReached,
            Self::Interrupted { .. } => Exit::Interrupted,
        }
    }
}

/// An application that was deployed.
pub struct Deployed {
    name: String,
    version: String,
    /// The status at the end of waiting, if we waited.
    status: Option<Status>,
    took: Duration,
}

impl Answer for Deployed {
    fn text(&self, style: &Style) -> String {
        match &self.status {
            None => format!(
                "Deploy of application `{}` {} accepted; follow it with `wash app status {} --watch`",
                self.name, self.version, self.name
            ),
            Some(status) => {
                let head = format!(
                    "Deployed application `{}` {} in {:.1} s",
                    self.name,
                    self.version,
                    self.took.as_secs_f64()
                );
                let report = Report::new(&self.name, status.clone()).table(style);
                if report.is_empty() {
                    head
                } else {
                    format!("{head}\n\n{report}")
                }
            }
        }
    }

    fn json(&self) -> Map<String, Value> {
        let mut map = keys([
            ("deployed", true.into()),
            ("model_name", self.name.clone().into()),
            ("model_version", self.version.clone().into()),
        ]);
        if let Some(status) = &self.status {
            map.insert("status".into(), value(status));
        }
        map
    }
}

/// Stores a manifest. One that is stored already, word for word, is as good as new.
pub async fn put_or_known<L: Lattice>(
    lattice: &L,
    manifest: &Manifest,
) -> Result<(String, String), LatticeError> {
    let name = manifest.metadata.name.clone();
    let refused = match lattice.put_manifest(to_json(manifest)?).await {
        Ok(put) => return Ok((name, put.current_version)),
        Err(error) => error,
    };
    let LatticeError::WadmRefused { message } = &refused else {
        return Err(refused);
    };
    let Some(version) = manifest
        .version()
        .filter(|_| message.contains("already exists"))
    else {
        return Err(refused);
    };
    let stored = lattice.manifest(&name, Some(version)).await?;
    match serde_json::from_value::<Manifest>(stored) {
        Ok(stored) if stored == *manifest => Ok((name, version.to_owned())),
        _ => Err(refused),
    }
}

impl Put {
    /// Stores it.
    pub async fn run(self) -> Result<Outcome, WashError> {
        let manifest = Source::of(self.source.as_deref()).manifest().await?;
        let lattice = NatsLattice::connect(&self.connect).await?;
        let put = lattice.put_manifest(to_json(&manifest)?).await?;
        let text = format!(
            "Stored application `{}` {}; deploy it with `wash app deploy {}`",
            put.name, put.current_version, put.name
        );
        Ok(Done::new(text)
            .with("deployed", true)
            .with("model_name", put.name)
            .with("model_version", put.current_version)
            .into())
    }
}

impl Deploy {
    /// Deploys it, and waits if that is wanted.
    pub async fn run(self, printer: &Printer) -> Result<Outcome, WashError> {
        let start = Instant::now();
        let source = Source::of(self.application.as_deref());
        let (name, version, lattice) = match source {
            Source::Name(name) => {
                let lattice = NatsLattice::connect(&self.connect).await?;
                (name, self.version.clone(), lattice)
            }
            source => {
                let manifest = source.manifest().await?;
                let lattice = NatsLattice::connect(&self.connect).await?;
                let (name, version) = self.put(&lattice, &manifest).await?;
                (name, Some(version), lattice)
            }
        };
        let deployed = lattice.deploy(&name, version.as_deref()).await?;
        let version = deployed.version.or(version).unwrap_or_default();
        let wait = self.wait || (!self.no_wait && printer.is_interactive());
        let status = match wait {
            true => Some(self.follow(&lattice, &name, &version, printer).await?),
            false => None,
        };
        Ok(Deployed {
            name,
            version,
            status,
            took: start.elapsed(),
        }
        .into())
    }

    async fn put<L: Lattice>(
        &self,
        lattice: &L,
        manifest: &Manifest,
    ) -> Result<(String, String), WashError> {
        if let (true, Some(version)) = (self.replace, manifest.version()) {
            lattice
                .delete(&manifest.metadata.name, Some(version))
                .await?;
        }
        Ok(put_or_known(lattice, manifest).await?)
    }

    /// Waits until everything runs, telling what is missing while it does not.
    async fn follow<L: Lattice>(
        &self,
        lattice: &L,
        name: &str,
        version: &str,
        printer: &Printer,
    ) -> Result<Status, WashError> {
        let mut progress = printer.progress(format!("deploying `{name}` {version}"));
        let start = Instant::now();
        let mut answered = start;
        let mut last = Status::default();
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            match lattice.status(name).await {
                Ok(status) => {
                    answered = Instant::now();
                    if is_reached(&status, version) {
                        return Ok(status);
                    }
                    progress.say(waiting_text(&status));
                    last = status;
                }
                // Another controller may be taking over; give it the time.
                Err(error) if answered.elapsed() > SILENCE_MAX => return Err(error.into()),
                Err(_) => {}
            }
            if start.elapsed() >= self.wait_timeout {
                return Err(DeployError::NotReached {
                    name: name.to_owned(),
                    version: version.to_owned(),
                    waited: self.wait_timeout,
                    reasons: reasons(&last),
                }
                .into());
            }
            let pause = ASK.min(self.wait_timeout.saturating_sub(start.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut interrupt => return Err(DeployError::Interrupted { name: name.to_owned() }.into()),
            }
        }
    }
}

/// Whether this version runs as wanted; the status may still be that of an earlier one.
fn is_reached(status: &Status, version: &str) -> bool {
    let ours = status
        .detail
        .as_ref()
        .and_then(|detail| detail.deployed_version.as_deref());
    status.status.kind == StatusType::Deployed && ours.is_none_or(|deployed| deployed == version)
}

fn waiting_text(status: &Status) -> String {
    let reasons = reasons(status);
    format!(
        "Waiting: {}",
        if reasons.is_empty() {
            "for wadm".into()
        } else {
            reasons.join("; ")
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: serde_json::Value) -> Status {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn an_earlier_versions_success_is_not_ours() {
        let old = status(serde_json::json!({
            "status": {"type": "deployed"}, "version": "", "components": [],
            "detail": {"deployed_version": "v1", "components": []}
        }));
        assert!(is_reached(&old, "v1"));
        assert!(!is_reached(&old, "v2"));
        // Upstream's wadm does not say which version; then its word counts.
        let upstream = status(serde_json::json!({"status": {"type": "deployed"}}));
        assert!(is_reached(&upstream, "v2"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let waiting = status(serde_json::json!({
            "status": {"type": "waiting", "message": "0 eligible hosts"}
        }));
        assert_eq!(waiting_text(&waiting), "Waiting: 0 eligible hosts");
    }
}
