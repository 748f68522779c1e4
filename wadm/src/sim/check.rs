//! The rules that hold all along, and what must be true when all is well again.
//!
//! What should run is worked out here from manifests and hosts as they are, not from the planner's
//! own placement, so that a mistake there is not repeated here.

use std::collections::{BTreeMap, BTreeSet};

use proto::ctl::Fence;
use proto::id::{ComponentId, HostId};
use proto::names;
use proto::reference::without_scheme;
use proto::wadm_api::StatusType;

use super::host::{Running, SimHost};
use super::world::World;
use crate::plan::{AppDesired, Command, LinkTo, Workload, compile};
use crate::view::Kind;

/// How long after an undeploy a command for the application may still be sent: the watch is late.
const NEWS_LAG: u64 = 1000;

/// Most attempts on one host in ten minutes.
const ATTEMPTS_MAX: usize = 12;

impl World {
    /// Checks a command at the moment it is sent.
    pub(super) fn check_command(&mut self, controller: usize, command: &Command, fence: &Fence) {
        let leader = *self.leaders.entry(fence.term).or_insert(controller);
        if leader != controller {
            self.broke(format!(
                "wadm{leader} and wadm{controller} both act in term {}",
                fence.term
            ));
        }
        let (Command::Scale {
            host,
            id,
            annotations,
            image,
            ..
        }
        | Command::StartProvider {
            host,
            id,
            annotations,
            image,
            ..
        }) = command
        else {
            return;
        };
        if !command.starts() {
            return;
        }
        if let Some(app) = annotations.get(names::APP_SPEC) {
            let gone = self
                .store
                .undeployed_at
                .get(app)
                .is_none_or(|at| self.now > at + NEWS_LAG);
            if !self.store.deployed.contains_key(app) && gone && self.is_connected(controller) {
                self.broke(format!(
                    "{command} is for application {app}, which is not deployed"
                ));
            }
        }
        let Some(at) = self.hosts.iter().position(|known| known.id == *host) else {
            return;
        };
        if self.hosts[at].failing.contains(image) || self.hosts[at].refuses {
            let key = (
                controller,
                self.controllers[controller].life,
                self.generation,
                host.clone(),
                id.to_string(),
            );
            let now = self.now;
            let times = self.tally.attempts.entry(key).or_default();
            times.push(now);
            let recent = times.iter().filter(|time| **time + 600_000 > now).count();
            if recent > ATTEMPTS_MAX {
                self.broke(format!(
                    "{recent} attempts in ten minutes to start {id} on {host}, which fails"
                ));
            }
        }
    }

    /// What is not as it should be, now that all is well; nothing when all is.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let apps: Vec<AppDesired> = self
            .store
            .deployed
            .values()
            .map(|manifest| compile(manifest))
            .collect();
        let mut expected: BTreeSet<ComponentId> = BTreeSet::new();
        for app in &apps {
            let mut short = false;
            for workload in &app.workloads {
                expected.insert(workload.id.clone());
                short |= self.check_workload(workload, &mut wrong);
            }
            self.check_status(&app.name, short, &mut wrong);
        }
        self.check_builtins(&apps, &mut expected, &mut wrong);
        for host in self.hosts.iter().filter(|host| host.up) {
            for id in host
                .components
                .keys()
                .chain(host.providers.keys())
                .filter(|id| !expected.contains(*id))
            {
                wrong.push(format!("{id} on {} is wanted by nobody", host.id));
            }
        }
        self.check_records(&apps, &mut wrong);
        wrong
    }

    /// Former ids of our hosts that a controller takes for alive.
    pub(super) fn ghosts(&self) -> Vec<HostId> {
        let ours = self.hosts.iter().filter(|host| host.ours);
        let former: BTreeSet<&HostId> = ours.flat_map(|host| &host.former).collect();
        let seen = self.controllers.iter().flat_map(|controller| {
            let usable = controller.core.view().usable_hosts();
            usable.map(|host| host.id.clone())
        });
        seen.filter(|id| former.contains(id)).collect()
    }

    /// Whether the workload cannot be placed in full.
    fn check_workload(&self, workload: &Workload, wrong: &mut Vec<String>) -> bool {
        let total = self.check_instances(workload, wrong);
        let mut wanted = 0;
        let mut short = false;
        for spread in 0..workload.spreads.len() {
            let (placeable, enough) = if workload.daemon {
                self.check_daemon(workload, spread, wrong)
            } else {
                self.check_spread(workload, spread, wrong)
            };
            wanted += placeable;
            short |= !enough;
        }
        // Daemons in spreads that overlap are shared out as the hosts allow.
        if total != wanted && (!workload.daemon || self.disjoint(workload)) {
            wrong.push(format!(
                "{} runs {total} times instead of {wanted}",
                workload.id
            ));
        }
        short
    }

    /// Looks at each instance by itself; how many there are.
    fn check_instances(&self, workload: &Workload, wrong: &mut Vec<String>) -> u32 {
        let mut total = 0;
        for host in self.hosts.iter().filter(|host| host.up) {
            let Some(found) = running(host, workload) else {
                continue;
            };
            total += found.count;
            let id = &workload.id;
            if !(0..workload.spreads.len()).any(|spread| fits(host, workload, spread)) {
                wrong.push(format!("{id} on {}, whose labels do not fit", host.id));
            }
            if without_scheme(&found.image) != without_scheme(&workload.image) {
                wrong.push(format!("{id} on {} has image {}", host.id, found.image));
            }
            if found.config != workload.config {
                wrong.push(format!(
                    "{id} on {} has configs {:?}",
                    host.id, found.config
                ));
            }
        }
        total
    }

    fn fitting(&self, workload: &Workload, spread: usize) -> Vec<&SimHost> {
        let up = self.hosts.iter().filter(|host| host.up);
        up.filter(|host| fits(host, workload, spread)).collect()
    }

    /// Each fitting host has its count; what that makes, and whether any host fits.
    fn check_daemon(
        &self,
        workload: &Workload,
        spread: usize,
        wrong: &mut Vec<String>,
    ) -> (u32, bool) {
        let count = workload.spreads[spread].count;
        let fitting = self.fitting(workload, spread);
        let mut wanted = 0;
        for host in &fitting {
            let first = (0..spread).all(|earlier| !fits(host, workload, earlier));
            if first || workload.spreads.len() == 1 {
                wanted += count;
                if running(host, workload).map_or(0, |found| found.count) != count {
                    wrong.push(format!(
                        "daemon {} is not right on {}",
                        workload.id, host.id
                    ));
                }
            }
        }
        (wanted, !fitting.is_empty())
    }

    /// The share is all there and even; how much of it can be placed, and whether that is all.
    fn check_spread(
        &self,
        workload: &Workload,
        spread: usize,
        wrong: &mut Vec<String>,
    ) -> (u32, bool) {
        let count = workload.spreads[spread].count;
        let fitting = self.fitting(workload, spread);
        let hosts = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
        let placeable = match workload.kind {
            Kind::Component if hosts == 0 => 0,
            Kind::Component => count,
            Kind::Provider => count.min(hosts),
        };
        if self.disjoint(workload) {
            let counts = fitting
                .iter()
                .map(|host| running(host, workload).map_or(0, |found| found.count));
            let counts: Vec<u32> = counts.collect();
            let low = counts.iter().min().copied().unwrap_or(0);
            let high = counts.iter().max().copied().unwrap_or(0);
            if counts.iter().sum::<u32>() != placeable || high > low + 1 {
                let name = &workload.spreads[spread].name;
                wrong.push(format!(
                    "{} {name}: {counts:?} for {placeable}",
                    workload.id
                ));
            }
        }
        (placeable, placeable >= count)
    }

    /// Whether no host fits two spreads.
    fn disjoint(&self, workload: &Workload) -> bool {
        self.hosts.iter().all(|host| {
            let fits = workload.spreads.iter().filter(|spread| {
                spread
                    .requirements
                    .iter()
                    .all(|(key, value)| host.labels.get(key) == Some(value))
            });
            fits.count() <= 1
        })
    }

    fn check_status(&self, app: &str, short: bool, wrong: &mut Vec<String>) {
        let status = self
            .statuses
            .get(app)
            .map(|status| (status.status.kind, status.status.message.clone()));
        let expected = if short {
            StatusType::Waiting
        } else {
            StatusType::Deployed
        };
        if status.as_ref().map(|(kind, _)| *kind) != Some(expected) {
            wrong.push(format!("the status of {app} is {status:?}, not {expected}"));
        }
    }

    /// Built-ins run beside the components that link to them, and nowhere else.
    fn check_builtins(
        &self,
        apps: &[AppDesired],
        expected: &mut BTreeSet<ComponentId>,
        wrong: &mut Vec<String>,
    ) {
        let mut users: BTreeMap<ComponentId, BTreeSet<ComponentId>> = BTreeMap::new();
        for link in apps.iter().flat_map(|app| &app.links) {
            if let LinkTo::Open(target) = &link.target
                && let Ok(id) = ComponentId::new(target.as_str())
            {
                users.entry(id).or_default().insert(link.source.clone());
            }
        }
        for (id, sources) in users {
            let beside = |host: &&SimHost| {
                host.up
                    && host.ours
                    && sources
                        .iter()
                        .any(|source| host.components.contains_key(source))
            };
            let wanted: BTreeSet<_> = self
                .hosts
                .iter()
                .filter(beside)
                .map(|host| host.id.clone())
                .collect();
            let found: BTreeSet<_> = self
                .hosts
                .iter()
                .filter(|host| host.providers.contains_key(&id))
                .map(|host| host.id.clone())
                .collect();
            let any = self.hosts.iter().any(|host| host.up && host.ours);
            if found != wanted && !(wanted.is_empty() && found.len() == usize::from(any)) {
                wrong.push(format!(
                    "built-in {id} runs on {found:?} instead of {wanted:?}"
                ));
            }
            expected.insert(id);
        }
    }

    fn check_records(&self, apps: &[AppDesired], wrong: &mut Vec<String>) {
        let mut configs = BTreeMap::new();
        let mut links = BTreeSet::new();
        for app in apps {
            configs.extend(app.configs.clone());
            for link in &app.links {
                let target = match &link.target {
                    LinkTo::Declared(id) => id.clone(),
                    LinkTo::Open(name) => match ComponentId::new(name.as_str()) {
                        Ok(id) => id,
                        Err(_) => continue,
                    },
                    LinkTo::Shared { .. } => continue,
                };
                links.insert(format!("{:?}", link.to(target)));
            }
        }
        let kept: BTreeSet<String> = self
            .store
            .links
            .values()
            .flatten()
            .map(|link| format!("{link:?}"))
            .collect();
        for link in kept.symmetric_difference(&links) {
            wrong.push(format!(
                "link {} {link}",
                if kept.contains(link) {
                    "too many:"
                } else {
                    "missing:"
                }
            ));
        }
        if self.store.configs != configs {
            let names = |map: &BTreeMap<_, _>| {
                map.keys()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            wrong.push(format!(
                "configs are [{}] instead of [{}]",
                names(&self.store.configs),
                names(&configs)
            ));
        }
        for (app, manifests) in &self.store.retired {
            if !manifests.is_empty() {
                wrong.push(format!(
                    "the record of removals still holds {} manifests of {app}",
                    manifests.len()
                ));
            }
        }
    }
}

fn running<'h>(host: &'h SimHost, workload: &Workload) -> Option<&'h Running> {
    match workload.kind {
        Kind::Component => host.components.get(&workload.id),
        Kind::Provider => host.providers.get(&workload.id),
    }
}

fn fits(host: &SimHost, workload: &Workload, spread: usize) -> bool {
    let mut labels = workload.spreads[spread].requirements.iter();
    labels.all(|(key, value)| host.labels.get(key) == Some(value))
}
