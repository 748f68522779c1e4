//! How a workload stands: what its status and its detail say.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::wadm_api::{
    ComponentDetail, HostDetail, ScalerStatus, StatusInfo, StatusType, UnmetRequirement,
};

use super::super::placement::{CurrentByHost, Placement};
use super::super::reason;
use super::{Decision, Missing, WorkloadPlan};
use crate::view::{Health, Instance, Kind};

/// Most hosts that a status lists one by one; those where something is the matter come first.
const HOSTS_MAX: usize = 200;

/// A provider that was restarted often counts as unwell for so long after the last time.
const RESTART_SHADOW: Duration = Duration::from_secs(60);

/// Restarts that are no accident any more.
const RESTARTS_MAX: u32 = 3;

impl Decision<'_, '_> {
    pub(super) fn finish(
        mut self,
        placement: &Placement<'_>,
        now: &CurrentByHost<'_>,
        missing: &[Missing],
    ) -> WorkloadPlan {
        let mut hosts = self.host_details(placement, now);
        let running: u32 = now
            .iter()
            .filter(|(host, _)| placement.targets.contains_key(host))
            .filter_map(|(_, current)| {
                current
                    .instance
                    .filter(|instance| self.workload.has_image(instance))
            })
            .map(|instance| instance.count)
            .sum();
        let unmet: Vec<UnmetRequirement> = placement
            .short
            .iter()
            .map(|short| UnmetRequirement {
                spread: short.spread.name.clone(),
                wanted: short.spread.count,
                placeable: short.placeable,
                requirement: reason::requirement(&short.spread.requirements),
                message: reason::unmet(self.cx, short),
            })
            .collect();
        let status = self.status(&hosts, &unmet, missing);
        let omitted = hosts.len().saturating_sub(HOSTS_MAX);
        if omitted > 0 {
            hosts.sort_by_key(|host| host.state == "running");
            hosts.truncate(HOSTS_MAX);
        }
        let settled = self.commands.is_empty()
            && self.busy == 0
            && self.outdated == 0
            && status.kind == StatusType::Deployed;
        let kind = if self.workload.daemon {
            "DaemonScaler"
        } else {
            "SpreadScaler"
        };
        WorkloadPlan {
            commands: self.commands,
            status: ScalerStatus {
                id: self.workload.scaler.clone(),
                kind: kind.to_owned(),
                name: self.workload.id.to_string(),
                status,
            },
            detail: ComponentDetail {
                name: self.workload.name.clone(),
                id: self.workload.id.to_string(),
                kind: if self.workload.kind == Kind::Component {
                    "component"
                } else {
                    "capability"
                }
                .to_owned(),
                image: self.workload.image.clone(),
                desired: placement.wanted,
                running,
                hosts,
                omitted: u32::try_from(omitted).unwrap_or(u32::MAX),
                unmet,
            },
            wake: self.wake,
            settled,
            outdated: self.outdated > 0,
        }
    }

    fn host_details(
        &mut self,
        placement: &Placement<'_>,
        now: &CurrentByHost<'_>,
    ) -> Vec<HostDetail> {
        let failures = self.cx.pending.failures_of(&self.workload.id);
        let failing = failures.into_iter().flat_map(|failures| failures.keys());
        let mut concerned: BTreeSet<usize> =
            failing.filter_map(|host| self.cx.position(host)).collect();
        concerned.extend(now.keys().chain(placement.targets.keys()));
        let mut details = Vec::with_capacity(concerned.len());
        for at in concerned {
            let host = self.cx.hosts[at];
            let current = now.get(&at).copied();
            let target = placement.targets.get(&at);
            // A failure matters while it stands in the way: where it is wanted, or has to wait.
            let failure = failures
                .and_then(|failures| failures.get(&host.id))
                .filter(|failure| target.is_some() || failure.retry_at > self.cx.now);
            if current.is_none() && target.is_none() && failure.is_none() {
                continue;
            }
            let instance = current.and_then(|current| current.instance);
            if let Some(at) = instance.and_then(|instance| instance.restarted_at) {
                let over = at + RESTART_SHADOW;
                if over > self.cx.now {
                    self.wake(over);
                }
            }
            let desired = target.map_or(0, |target| target.count);
            if let Some(failure) = failure.filter(|failure| failure.retry_at > self.cx.now) {
                self.wake(failure.retry_at);
            }
            let sent = self
                .commands
                .iter()
                .any(|planned| planned.command.host() == Some(&host.id));
            let flight = current.is_some_and(|current| current.flight.is_some()) || sent;
            details.push(HostDetail {
                host_id: host.id.to_string(),
                host_name: host.name.clone(),
                spread: target
                    .map(|target| target.spread.clone())
                    .unwrap_or_default(),
                desired,
                running: instance.map_or(0, |instance| instance.count),
                restarts: instance.map_or(0, |instance| instance.restarts),
                state: self
                    .state(instance, desired, flight, failure.is_some())
                    .to_owned(),
                image: instance
                    .filter(|i| !self.workload.has_image(i))
                    .map(|i| i.image.clone()),
                error: failure.map(|failure| failure.error.clone()),
                failed_at: failure.map(|failure| failure.at.rfc3339()),
                attempts: failure.map_or(0, |failure| failure.attempts),
                next_retry: failure
                    .filter(|f| f.retry_at > self.cx.now)
                    .map(|f| f.retry_at.rfc3339()),
            });
        }
        details
    }

    /// Whether its host had to start it again, often and just now.
    fn keeps_dying(&self, instance: &Instance) -> bool {
        let recent = |at| self.cx.now.since(at) < RESTART_SHADOW;
        instance.restarts >= RESTARTS_MAX && instance.restarted_at.is_some_and(recent)
    }

    fn state(
        &self,
        instance: Option<&Instance>,
        desired: u32,
        flight: bool,
        failed: bool,
    ) -> &'static str {
        match instance {
            Some(_) if desired == 0 => "stopping",
            Some(instance) if !self.workload.has_image(instance) => {
                if failed {
                    "failed"
                } else {
                    "updating"
                }
            }
            Some(instance) if instance.health == Health::Failed => "unhealthy",
            Some(instance) if self.keeps_dying(instance) => "restarting",
            Some(instance)
                if instance.count != desired && self.workload.kind == Kind::Component =>
            {
                "scaling"
            }
            Some(_) => "running",
            None if flight => "starting",
            None if failed => "failed",
            None => "waiting",
        }
    }

    fn status(
        &self,
        hosts: &[HostDetail],
        unmet: &[UnmetRequirement],
        missing: &[Missing],
    ) -> StatusInfo {
        let what = if self.workload.kind == Kind::Component {
            "component"
        } else {
            "provider"
        };
        let name = &self.workload.name;
        if let Some(config) = missing.iter().find(|config| !config.owned) {
            let message = format!(
                "Config {} does not exist: put it with `wash config put {}`",
                config.name, config.name
            );
            return StatusInfo::new(StatusType::Failed, message);
        }
        let broken = |host: &&HostDetail| {
            host.state == "failed" || (host.error.is_some() && host.state == "starting")
        };
        let failed: Vec<&HostDetail> = hosts.iter().filter(broken).collect();
        let covered = unmet.is_empty()
            && hosts
                .iter()
                .all(|host| host.running == host.desired && host.image.is_none());
        if let Some(first) = failed.first().filter(|_| !covered) {
            let label = if first.host_name.is_empty() {
                &first.host_id
            } else {
                &first.host_name
            };
            let more = if failed.len() > 1 {
                format!(" (and on {} more hosts)", failed.len() - 1)
            } else {
                String::new()
            };
            let error = first.error.as_deref().unwrap_or_default();
            return StatusInfo::new(
                StatusType::Failed,
                format!("{name} on {label}: {error}{more}"),
            );
        }
        let unhealthy = hosts
            .iter()
            .filter(|host| host.state == "unhealthy")
            .count();
        if unhealthy > 0 && self.busy == 0 {
            return StatusInfo::new(
                StatusType::Failed,
                format!("Unhealthy provider on {unhealthy} host(s)"),
            );
        }
        if let Some(dying) = hosts.iter().find(|host| host.state == "restarting") {
            let message = format!(
                "{name}: its process on {} ended and was started again {} times",
                dying.host_id, dying.restarts
            );
            return StatusInfo::new(StatusType::Unhealthy, message);
        }
        if !unmet.is_empty() {
            let list: Vec<&str> = unmet.iter().map(|unmet| unmet.message.as_str()).collect();
            return StatusInfo::new(StatusType::Waiting, format!("{name}: {}", list.join("; ")));
        }
        if self.busy > 0 || self.outdated > 0 || !missing.is_empty() {
            let count = self.busy.max(self.outdated).max(1);
            return StatusInfo::new(
                StatusType::Reconciling,
                format!("Scaling {what} on {count} host(s)"),
            );
        }
        let open = hosts
            .iter()
            .filter(|host| host.running != host.desired && host.state != "running")
            .count();
        if open > 0 {
            return StatusInfo::new(
                StatusType::Reconciling,
                format!("Scaling {what} on {open} host(s)"),
            );
        }
        StatusInfo::new(StatusType::Deployed, "")
    }
}
