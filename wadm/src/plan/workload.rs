//! What brings one component or provider from what runs to what should.

mod outcome;

use proto::id::ConfigName;
use proto::wadm_api::{ComponentDetail, ScalerStatus};

use super::command::{Command, Subject};
use super::context::Context;
use super::desired::Workload;
use super::placement::{self, Current, CurrentByHost, Placement, Target};
use crate::core::Time;
use crate::view::{Health, Instance, Kind};

/// What is to be done for one workload, and how it stands.
#[derive(Debug)]
pub(super) struct WorkloadPlan {
    pub commands: Vec<Planned>,
    pub status: ScalerStatus,
    pub detail: ComponentDetail,
    /// When to look again although nothing was heard.
    pub wake: Option<Time>,
    /// Everything runs as it should: nothing old is left, nothing is under way.
    pub settled: bool,
    /// Something runs with an earlier image or earlier settings.
    pub outdated: bool,
}

/// A command with what has to be remembered about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The command.
    pub command: Command,
    /// The application it is for.
    pub application: String,
    /// The scaler whose settings it brings to something that runs already.
    pub refreshes: Option<String>,
}

/// Decides for one workload. `missing` are configs it names that do not exist (yet).
pub(super) fn decide(
    cx: &Context<'_>,
    app: &str,
    workload: &Workload,
    missing: &[Missing],
) -> WorkloadPlan {
    let now = placement::current(cx, workload);
    let placement = placement::place(cx, workload, &now);
    let mut decision = Decision {
        cx,
        app,
        workload,
        commands: Vec::new(),
        busy: 0,
        outdated: 0,
        wake: None,
        budget: 0,
        held: !missing.is_empty(),
    };
    decision.start(&placement, &now);
    decision.replace(&placement, &now);
    decision.reduce(&placement, &now);
    decision.finish(&placement, &now, missing)
}

/// A config that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub name: ConfigName,
    /// Whether wadm is about to put it itself.
    pub owned: bool,
}

struct Decision<'c, 'a> {
    cx: &'c Context<'a>,
    app: &'c str,
    workload: &'c Workload,
    commands: Vec<Planned>,
    /// Hosts with something under way.
    busy: usize,
    /// Hosts that run something else than they should.
    outdated: usize,
    wake: Option<Time>,
    /// Instances that may be given up now.
    budget: u32,
    /// Nothing is started while a config is missing.
    held: bool,
}

impl Decision<'_, '_> {
    fn push(&mut self, command: Command, refreshes: Option<String>) {
        self.busy += 1;
        self.commands.push(Planned {
            command,
            application: self.app.to_owned(),
            refreshes,
        });
    }

    fn wake(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |before| before.min(at)));
    }

    fn must_wait(&mut self, host: usize) -> bool {
        let subject = Subject::Workload(self.cx.hosts[host].id.clone(), self.workload.id.clone());
        let waits = self
            .cx
            .pending
            .must_wait(&subject, Some(&self.workload.image), self.cx.now);
        if waits && let Some(failure) = self.cx.pending.failure(&subject) {
            self.wake(failure.retry_at);
        }
        waits
    }

    fn run(&self, host: usize, target: &Target, update: bool) -> Command {
        let (host, workload) = (self.cx.hosts[host].id.clone(), self.workload);
        let annotations = workload.annotations(&target.spread);
        match workload.kind {
            Kind::Component => Command::Scale {
                host,
                id: workload.id.clone(),
                image: workload.image.clone(),
                count: target.count,
                annotations,
                config: workload.config.clone(),
                limits: workload.limits.clone(),
                update,
            },
            Kind::Provider => Command::StartProvider {
                host,
                id: workload.id.clone(),
                image: workload.image.clone(),
                annotations,
                config: workload.config.clone(),
            },
        }
    }

    fn stop(&self, host: usize, instance: &Instance, count: u32) -> Command {
        let (host, id) = (self.cx.hosts[host].id.clone(), self.workload.id.clone());
        match instance.kind {
            Kind::Provider => Command::StopProvider { host, id },
            Kind::Component => Command::Scale {
                host,
                id,
                image: instance.image.clone(),
                count,
                annotations: instance.annotations.clone(),
                config: self.workload.config.clone(),
                limits: None,
                update: false,
            },
        }
    }

    /// Starts what is missing and adds to what is too few.
    fn start(&mut self, placement: &Placement<'_>, now: &CurrentByHost<'_>) {
        for (host, target) in &placement.targets {
            let current = now.get(host).copied().unwrap_or(Current {
                instance: None,
                flight: None,
            });
            if current.flight.is_some() {
                self.busy += 1;
                continue;
            }
            let wanted = match current.instance {
                None => true,
                Some(instance) => {
                    self.workload.has_image(instance)
                        && self.is_current(*host, instance)
                        && instance.count < target.count
                }
            };
            if wanted && !self.held && !self.must_wait(*host) {
                self.push(self.run(*host, target, false), None);
            }
        }
    }

    /// Whether the instance has the right settings, or at least all that can be given to it.
    fn is_current(&self, host: usize, instance: &Instance) -> bool {
        let workload = self.workload;
        // A provider that someone started by hand is left as it is.
        let foreign = instance.kind == Kind::Provider && instance.application().is_none();
        foreign
            || workload.has_settings(instance)
            || self
                .cx
                .pending
                .is_refreshed(&self.cx.hosts[host].id, &workload.id, &workload.scaler)
    }

    /// Replaces what has another image or other settings, a few hosts at a time.
    fn replace(&mut self, placement: &Placement<'_>, now: &CurrentByHost<'_>) {
        let mut outdated = Vec::new();
        let mut moving = 0_u32;
        for (host, target) in &placement.targets {
            let current = now.get(host).copied().unwrap_or(Current {
                instance: None,
                flight: None,
            });
            match current.instance {
                _ if current.flight.is_some() => moving += 1,
                None => moving += 1,
                Some(instance)
                    if !self.workload.has_image(instance) || !self.is_current(*host, instance) =>
                {
                    outdated.push((*host, target, instance));
                }
                Some(instance) if !self.is_well(instance) => moving += 1,
                Some(_) => {}
            }
        }
        self.outdated = outdated.len();
        if self.held {
            return;
        }
        for (host, target, instance) in outdated {
            if moving >= self.workload.rollout.max_unavailable {
                break;
            }
            moving += 1;
            if self.must_wait(host) {
                continue;
            }
            self.replace_one(host, target, instance);
        }
    }

    /// Whether it has been up long enough, and its checks do not fail.
    fn is_well(&mut self, instance: &Instance) -> bool {
        let enough = std::time::Duration::from_secs(self.workload.rollout.healthy_seconds);
        let well_at = instance.since + enough;
        if well_at > self.cx.now {
            self.wake(well_at);
        }
        instance.health != Health::Failed && well_at <= self.cx.now
    }

    fn replace_one(&mut self, host: usize, target: &Target, instance: &Instance) {
        let same_image = self.workload.has_image(instance);
        let in_place = self.workload.kind == Kind::Component
            && instance.kind == Kind::Component
            && (same_image || self.cx.hosts[host].ours());
        if in_place {
            let refreshes = same_image.then(|| self.workload.scaler.clone());
            self.push(self.run(host, target, !same_image), refreshes);
        } else {
            self.push(self.stop(host, instance, 0), None);
        }
    }

    /// Gives up what is too much, the fullest host first, as long as enough is seen to run.
    fn reduce(&mut self, placement: &Placement<'_>, now: &CurrentByHost<'_>) {
        let seen: u32 = now.values().map(Current::seen).sum();
        let leaving: u32 = now
            .values()
            .map(|current| current.seen().saturating_sub(current.effective()))
            .sum();
        self.budget = seen.saturating_sub(leaving).saturating_sub(placement.floor);
        let mut surplus: Vec<(u32, usize, u32, &Instance)> = Vec::new();
        for (host, current) in now {
            let target = placement.targets.get(host).map_or(0, |target| target.count);
            let Some(instance) = current.instance.filter(|instance| instance.count > target) else {
                continue;
            };
            if current.flight.is_some() {
                self.busy += usize::from(target == 0);
            } else if target == 0
                || (instance.kind == Kind::Component && self.is_current(*host, instance))
            {
                surplus.push((instance.count - target, *host, target, instance));
            }
        }
        // The fullest first; among equals the last host, as the first was filled first.
        surplus
            .sort_by_key(|(much, host, _, _)| (std::cmp::Reverse(*much), std::cmp::Reverse(*host)));
        for (much, host, target, instance) in surplus {
            let ours = instance.kind == Kind::Component || instance.application() == Some(self.app);
            if !ours
                || (much > self.budget && self.needs_floor())
                || self.must_not_reduce(host, target)
            {
                continue;
            }
            self.budget = self.budget.saturating_sub(much);
            let command = match placement.targets.get(&host).filter(|_| target > 0) {
                Some(target) => self.run(host, target, false),
                None => self.stop(host, instance, 0),
            };
            self.push(command, None);
        }
    }

    /// Whether an earlier attempt to give up as much failed, and has to wait.
    fn must_not_reduce(&mut self, host: usize, target: u32) -> bool {
        let subject = Subject::Workload(self.cx.hosts[host].id.clone(), self.workload.id.clone());
        let waits = match target {
            0 => self.cx.pending.must_wait_to_stop(&subject, self.cx.now),
            _ => self.cx.pending.must_wait(&subject, None, self.cx.now),
        };
        if waits && let Some(failure) = self.cx.pending.failure(&subject) {
            self.wake(failure.retry_at);
        }
        waits
    }

    /// A daemon's instances stand for their host: none replaces another.
    fn needs_floor(&self) -> bool {
        !self.workload.daemon
            && self
                .workload
                .spreads
                .iter()
                .all(|spread| spread.hosts.is_none())
    }
}
