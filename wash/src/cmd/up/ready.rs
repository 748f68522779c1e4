//! When is everything ready? When NATS lets us in, wadm answers, and each host answers a ping.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::supervise::Running;
use super::{UpCommand, UpError};
use crate::cmd::app;
use crate::connect::{Auth, Target};
use crate::lattice::{Lattice, LatticeError, LatticeOps, NatsLattice, WadmOps};

/// Lines of a log that an error shows.
pub const TAIL_LINES: usize = 12;
/// How often we ask.
const ASK: Duration = Duration::from_millis(100);
/// How long one ping is given.
const PING: Duration = Duration::from_millis(500);
/// How long it is given while we wait for hosts that we know of.
const SHORT_PING: Duration = Duration::from_millis(150);

/// What we know about being ready.
pub struct Readiness {
    target: Target,
    lattice_name: String,
    logs: std::path::PathBuf,
    deadline: Instant,
    seconds: u64,
    lattice: Option<NatsLattice>,
}

impl Readiness {
    /// Nothing is known yet.
    pub fn new(command: &UpCommand, plan: &Plan) -> Self {
        let passed = &command.host.passed;
        let auth = Auth::choose(
            passed.ctl_credsfile.clone(),
            passed.ctl_jwt.clone(),
            passed.ctl_seed.clone(),
        );
        Self {
            target: Target {
                url: plan.url.clone(),
                auth: auth.unwrap_or(Auth::None),
                ca_file: passed.tls_ca_file.clone().filter(|_| passed.ctl_tls),
                identity: None,
                inbox_prefix: None,
                tls_first: false,
                timeout: Duration::from_secs(1),
            },
            lattice_name: command.host.lattice.clone(),
            logs: plan.logs.clone(),
            deadline: Instant::now() + Duration::from_secs(command.ready_timeout),
            seconds: command.ready_timeout,
            lattice: None,
        }
    }

    fn late(&self, missing: impl Into<String>) -> UpError {
        UpError::NotReady {
            seconds: self.seconds,
            missing: missing.into(),
            logs: self.logs.clone(),
        }
    }

    fn lattice(&self) -> Result<&NatsLattice, UpError> {
        self.lattice.as_ref().ok_or_else(|| self.late("NATS"))
    }

    /// Waits until NATS lets us in; gives its version.
    pub async fn nats(&mut self, running: &mut Running) -> Result<String, UpError> {
        let name = proto::Lattice::new(self.lattice_name.clone()).map_err(LatticeError::from)?;
        loop {
            match self.target.connect().await {
                Ok((client, complaint)) => {
                    let version = client.server_info().version;
                    self.lattice = Some(NatsLattice::over(
                        client,
                        complaint,
                        name,
                        self.target.timeout,
                    ));
                    return Ok(version);
                }
                Err(error) => {
                    running.check()?;
                    if running.nats.is_none() || Instant::now() >= self.deadline {
                        return Err(LatticeError::from(error).into());
                    }
                }
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// An error if hosts answer that this `up` did not start.
    pub async fn no_hosts_yet(&self) -> Result<(), UpError> {
        let hosts = self.lattice()?.ping_hosts(PING).await?;
        if hosts.is_empty() {
            return Ok(());
        }
        Err(UpError::HostsThere {
            count: hosts.len(),
            lattice: self.lattice_name.clone(),
            url: self.target.url.clone(),
        })
    }

    /// Whether some wadm serves this lattice already.
    pub async fn wadm_answers(&self) -> bool {
        match self.lattice() {
            Ok(lattice) => lattice.applications().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Waits until wadm and every host answer; gives the hosts' names by id.
    pub async fn all(
        &self,
        running: &mut Running,
        wadm: bool,
    ) -> Result<BTreeMap<String, String>, UpError> {
        let lattice = self.lattice()?;
        let wanted: BTreeSet<String> = running
            .hosts
            .iter()
            .map(|(planned, _)| planned.id.clone())
            .collect();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut wadm_missing = wadm;
        loop {
            running.check()?;
            if wadm_missing && wadm_answers(lattice).await {
                wadm_missing = false;
            }
            if seen.len() < wanted.len() {
                let hosts = lattice.ping_hosts(SHORT_PING).await.unwrap_or_default();
                let ours = hosts
                    .into_iter()
                    .filter(|host| wanted.contains(host.id.as_ref()));
                seen.extend(ours.map(|host| (host.id.to_string(), host.friendly_name)));
            }
            if !wadm_missing && seen.len() == wanted.len() {
                return Ok(seen);
            }
            if Instant::now() >= self.deadline {
                let hosts = running
                    .hosts
                    .iter()
                    .filter(|(planned, _)| !seen.contains_key(&planned.id));
                let missing = hosts.map(|(planned, _)| planned.program.name.clone());
                let missing: Vec<String> = missing
                    .chain(wadm_missing.then(|| "wadm".to_owned()))
                    .collect();
                return Err(self.late(missing.join(", ")));
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Puts and deploys a manifest; one that is there already is simply deployed.
    pub async fn deploy(&self, manifest: &Path) -> Result<(), UpError> {
        Ok(app::deploy_at_start(self.lattice()?, manifest).await?)
    }
}

async fn wadm_answers(lattice: &impl Lattice) -> bool {
    let asked = tokio::time::timeout(Duration::from_secs(1), lattice.applications());
    matches!(asked.await, Ok(Ok(_)))
}
