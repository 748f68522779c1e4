//! From what should run and what does to what to do about it: pure functions, no I/O, no clock, no
//! randomness. Equal input gives equal output, here or in a standby.

mod applications;
mod backoff;
mod builtin;
mod command;
mod configs;
mod context;
mod desired;
mod links;
mod pending;
mod placement;
mod preview;
mod reason;
mod rollback;
#[cfg(test)]
mod tests;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{ComponentId, ConfigName};
use proto::link::LinkKey;
use proto::wadm_api::{Status, StatusDetail};

pub use applications::{Application, Applications};
pub use backoff::{BACKOFF_MAX, backoff};
pub use command::{Command, Subject};
pub use desired::{
    AppDesired, LinkTo, LinkWant, SharedUse, SpreadWant, Workload, compile, divide, id_of,
};
pub use pending::{Failure, Flight, Pending, SETTLED_AFTER};
pub use preview::preview;
pub use workload::Planned;

pub(crate) use builtin::SHARED;

use crate::core::Time;
use crate::view::{Instance, Kind, View};
use context::Context;

/// What to do, and how things stand.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order in which to send them.
    pub commands: Vec<Planned>,
    /// By application.
    pub statuses: BTreeMap<String, Status>,
    /// When to plan an application again although nothing was heard.
    pub wakes: BTreeMap<String, Time>,
    /// Configs of which it is not known whether they exist.
    pub unknown: BTreeSet<ConfigName>,
    /// Applications of whose earlier manifests nothing remains.
    pub cleaned: BTreeSet<String>,
}

impl Plan {
    /// When to plan again although nothing was heard.
    #[must_use]
    pub fn next_wake(&self) -> Option<Time> {
        self.wakes.values().min().copied()
    }

    fn wake(&mut self, app: &str, at: Option<Time>) {
        if let Some(at) = at {
            let wake = self.wakes.entry(app.to_owned()).or_insert(at);
            *wake = at.min(*wake);
        }
    }
}

/// Plans every application.
#[must_use]
pub fn plan(apps: &Applications, view: &View, pending: &Pending, now: Time) -> Plan {
    let mut names: BTreeSet<String> = apps.iter().map(|(name, _)| name.clone()).collect();
    names.insert(SHARED.to_owned());
    plan_some(&names, apps, view, pending, now)
}

/// Plans the named applications; the empty name stands for the shared built-ins.
#[must_use]
pub fn plan_some(
    names: &BTreeSet<String>,
    apps: &Applications,
    view: &View,
    pending: &Pending,
    now: Time,
) -> Plan {
    let cx = Context::new(apps, view, pending, now);
    let mut plan = Plan::default();
    for name in names.iter().filter(|name| *name != SHARED) {
        application(&cx, name, &mut plan);
    }
    if names.contains(SHARED) {
        shared_builtins(&cx, &mut plan);
    }
    plan
}

fn application(cx: &Context<'_>, name: &str, plan: &mut Plan) {
    let Some(app) = cx.apps.get(name) else { return };
    let wanted = cx.apps.wanted(name);
    let mut detail = StatusDetail {
        deployed_version: None,
        ..StatusDetail::default()
    };
    let mut scalers = Vec::new();
    let mut moving = false;
    let mut outdated = false;
    if let Some(desired) = &wanted {
        let configs = configs::decide(cx, desired);
        plan.unknown.extend(configs.unknown);
        plan.unknown.extend(configs::unknown(cx, desired));
        plan.wake(name, configs.wake);
        moving |= !configs.commands.is_empty();
        plan.commands.extend(configs.commands);
        for workload in &desired.workloads {
            let back = rollback::previous(cx, app, workload);
            let workload = back.as_ref().map_or(workload, |back| &back.workload);
            let missing = configs::missing(cx, desired, workload.config.iter());
            let mut decided = workload::decide(cx, name, workload, &missing);
            if let Some(back) = &back {
                // What the earlier version needs stays, and the status tells why.
                outdated = true;
                decided.status.status = back.status(&decided.status.status);
            }
            moving |= !decided.settled
                && decided.status.status.kind == proto::wadm_api::StatusType::Reconciling;
            outdated |= decided.outdated;
            plan.commands.extend(decided.commands);
            plan.wake(name, decided.wake);
            scalers.push(decided.status);
            detail.components.push(decided.detail);
        }
        let links = links::decide(cx, desired, |link| {
            configs::missing(
                cx,
                desired,
                link.source_config.iter().chain(&link.target_config),
            )
        });
        plan.commands.extend(links.commands);
        plan.wake(name, links.wake);
        scalers.extend(links.statuses);
        scalers.extend(configs.statuses);
        detail.links = links.details;
        detail.notes = links.notes;
        detail.notes.extend(desired.problems.iter().cloned());
        detail.deployed_version.clone_from(&desired.version);
    }
    remove_leftovers(
        cx,
        name,
        app,
        wanted.as_deref(),
        Unrest { moving, outdated },
        plan,
    );
    let status = if app.deployed.is_some() {
        Status {
            detail: Some(detail),
            ..Status::of(scalers)
        }
    } else {
        undeployed(cx, name, wanted.as_deref())
    };
    plan.statuses.insert(name.to_owned(), status);
}

/// The status of an application that is no longer deployed; what others still use of it is named.
fn undeployed(cx: &Context<'_>, name: &str, held: Option<&AppDesired>) -> Status {
    let mut status = Status::undeployed();
    let held = held.map_or(&[][..], |held| &held.workloads);
    if !held.is_empty() {
        let note = |workload: &Workload| {
            let users = cx
                .apps
                .users_of(name, &workload.name)
                .map(|users| users.iter().cloned().collect::<Vec<_>>());
            format!(
                "{} keeps running: application {} uses it",
                workload.name,
                users.unwrap_or_default().join(", ")
            )
        };
        let notes = held.iter().map(note).collect();
        status.detail = Some(StatusDetail {
            notes,
            ..StatusDetail::default()
        });
    }
    status
}

/// What is still going on in an application.
#[derive(Clone, Copy)]
struct Unrest {
    /// Something is being started: what it replaces stays until then.
    moving: bool,
    /// Something still runs with earlier settings.
    outdated: bool,
}

/// Stops what carries the application's marks and is wanted by nobody; then removes the links and
/// configs that only earlier manifests wanted.
fn remove_leftovers(
    cx: &Context<'_>,
    name: &str,
    app: &Application,
    wanted: Option<&AppDesired>,
    unrest: Unrest,
    plan: &mut Plan,
) {
    let is_wanted = |id: &ComponentId, kind: Kind| {
        let here =
            wanted.is_some_and(|app| app.workloads.iter().any(|w| w.id == *id && w.kind == kind));
        here || cx.apps.owner(id).is_some_and(|owner| owner != name)
    };
    let mut remains = false;
    for (host, id, instance) in cx.view.marked_with(name) {
        if is_wanted(id, instance.kind) {
            continue;
        }
        remains = true;
        let subject = Subject::Workload(host.id.clone(), id.clone());
        if cx.pending.must_wait_to_stop(&subject, cx.now) {
            plan.wake(
                name,
                cx.pending.failure(&subject).map(|failure| failure.retry_at),
            );
        } else if !unrest.moving && cx.pending.flight(&subject).is_none() {
            let command = stop(host.id.clone(), id.clone(), instance);
            plan.commands.push(Planned {
                command,
                application: name.to_owned(),
                refreshes: None,
            });
        }
    }
    if app.leftovers().is_empty() || unrest.moving {
        return;
    }
    remains |= remove_links(cx, name, app.leftovers(), plan);
    // What still runs may read its configs.
    if remains || unrest.outdated {
        return;
    }
    if remove_configs(cx, name, app.leftovers(), plan) || !cx.view.links_known() {
        return;
    }
    let held = wanted.is_some() && app.deployed.is_none();
    if !held {
        plan.cleaned.insert(name.to_owned());
    }
}

fn stop(host: proto::id::HostId, id: ComponentId, instance: &Instance) -> Command {
    match instance.kind {
        Kind::Provider => Command::StopProvider { host, id },
        Kind::Component => Command::Scale {
            host,
            id,
            image: instance.image.clone(),
            count: 0,
            annotations: instance.annotations.clone(),
            config: Vec::new(),
            limits: None,
            update: false,
        },
    }
}

/// Whether any link of the earlier manifests is still there.
fn remove_links(
    cx: &Context<'_>,
    name: &str,
    leftovers: &[Arc<AppDesired>],
    plan: &mut Plan,
) -> bool {
    let mut remains = false;
    let mut sent: BTreeSet<ComponentId> = BTreeSet::new();
    for link in leftovers.iter().flat_map(|old| &old.links) {
        let key = LinkKey {
            source: link.source.clone(),
            name: link.name.clone(),
            namespace: link.namespace.clone(),
            package: link.package.clone(),
        };
        if cx.apps.wants_link(&key) {
            continue;
        }
        // Wherever it leads: while the application was deployed nobody else could hold this key, and
        // what an earlier version put may not have been replaced yet.
        let present = cx.view.links_of(&link.source);
        if !present.iter().any(|present| present.is(&key)) {
            continue;
        }
        remains = true;
        let subject = Subject::Link(key.clone());
        plan.wake(
            name,
            cx.pending
                .failure(&subject)
                .map(|failure| failure.retry_at)
                .filter(|at| *at > cx.now),
        );
        if cx.pending.is_linking(&link.source)
            || cx.hosts.is_empty()
            || !sent.insert(link.source.clone())
        {
            continue;
        }
        plan.commands.extend(links::LinkPlan::remove(cx, name, key));
    }
    remains
}

/// Whether any config of the earlier manifests is still there.
fn remove_configs(
    cx: &Context<'_>,
    name: &str,
    leftovers: &[Arc<AppDesired>],
    plan: &mut Plan,
) -> bool {
    let mut remains = false;
    let names: BTreeSet<&ConfigName> = leftovers
        .iter()
        .flat_map(|old| old.configs.keys())
        .collect();
    for config in names {
        if cx
            .apps
            .config_users(config)
            .is_some_and(|users| !users.is_empty())
        {
            continue;
        }
        match cx.view.config(config) {
            Some(None) => continue,
            None => {
                plan.unknown.insert(config.clone());
            }
            Some(Some(_)) => plan
                .commands
                .extend(configs::ConfigPlan::remove(cx, name, config)),
        }
        let subject = Subject::Config(config.clone());
        plan.wake(
            name,
            cx.pending
                .failure(&subject)
                .map(|failure| failure.retry_at)
                .filter(|at| *at > cx.now),
        );
        remains = true;
    }
    remains
}

/// Starts and stops the built-ins that links need.
fn shared_builtins(cx: &Context<'_>, plan: &mut Plan) {
    let wanted = builtin::wanted(cx);
    for workload in &wanted {
        let decided = workload::decide(cx, SHARED, workload, &[]);
        plan.commands.extend(decided.commands);
        plan.wake(SHARED, decided.wake);
    }
    for (host, id, instance) in cx.view.marked_with(SHARED) {
        if wanted.iter().any(|workload| workload.id == *id) || !builtin::is_ours(id, instance) {
            continue;
        }
        let subject = Subject::Workload(host.id.clone(), id.clone());
        if cx.pending.flight(&subject).is_none() && !cx.pending.must_wait_to_stop(&subject, cx.now)
        {
            let command = stop(host.id.clone(), id.clone(), instance);
            plan.commands.push(Planned {
                command,
                application: SHARED.to_owned(),
                refreshes: None,
            });
        }
    }
}
