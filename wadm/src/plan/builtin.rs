//! Built-in providers that are started because a link needs one: shared by all applications that
//! link to the same name, on every host where a linking component runs, so that its calls stay in
//! the process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{ComponentId, HostId};
use proto::manifest::{Rollout, builtin_for};
use proto::names::{self, ScalerKind};

use super::context::Context;
use super::desired::{LinkTo, LinkWant, SpreadWant, Workload};
use super::links::{self, Resolved};
use crate::view::{Instance, Kind};

/// The name under which built-ins are planned: they belong to no one application.
pub(crate) const SHARED: &str = "";

/// The image of a built-in.
fn image(kind: &str) -> String {
    format!("wasmcloud+builtin://{kind}")
}

fn scaler(kind: ScalerKind, id: &ComponentId, image: &str) -> String {
    names::scaler_id(
        kind,
        SHARED,
        id.as_str(),
        id.as_str(),
        image,
        std::iter::empty::<&str>(),
    )
}

/// Whether this is a built-in that was started for links.
pub(super) fn is_ours(id: &ComponentId, instance: &Instance) -> bool {
    instance.kind == Kind::Provider
        && instance.application() == Some(SHARED)
        && instance.scaler() == Some(&scaler(ScalerKind::Spread, id, &image(&instance.image)))
}

/// The built-ins that links of deployed applications need, and where.
pub(super) fn wanted(cx: &Context<'_>) -> Vec<Workload> {
    let mut found: BTreeMap<ComponentId, (&'static str, BTreeSet<HostId>)> = BTreeMap::new();
    for (target, apps) in cx.apps.open_targets() {
        for app in apps {
            let Some(desired) = cx.apps.get(app).and_then(|app| app.desired()) else {
                continue;
            };
            for link in desired
                .links
                .iter()
                .filter(|link| link.target == LinkTo::Open(target.clone()))
            {
                let Some((id, kind)) = needed(cx, app, link) else {
                    continue;
                };
                let (_, hosts) = found.entry(id).or_insert_with(|| (kind, BTreeSet::new()));
                hosts.extend(hosts_of(cx, link));
            }
        }
    }
    found
        .into_iter()
        .map(|(id, (kind, hosts))| workload(cx, id, kind, hosts))
        .collect()
}

/// The built-in that a link leads to, if it leads to one.
fn needed(cx: &Context<'_>, app: &str, link: &LinkWant) -> Option<(ComponentId, &'static str)> {
    let kind = builtin_for(&link.namespace, &link.package, &link.interfaces)?;
    let LinkTo::Open(name) = &link.target else {
        return None;
    };
    match links::resolve(cx, app, link) {
        Resolved::Id(id, Some(_)) if id.as_str() == name && cx.apps.owner(&id).is_none() => {
            let runs = cx.view.hosts_running(&id).filter(|host| host.usable());
            let foreign = runs
                .filter_map(|host| host.instances.get(&id))
                .any(|instance| !is_ours(&id, instance));
            (!foreign).then_some((id, kind))
        }
        _ => None,
    }
}

/// Our hosts on which the link's source runs or is about to.
fn hosts_of(cx: &Context<'_>, link: &LinkWant) -> BTreeSet<HostId> {
    let running = cx.view.hosts_running(&link.source).map(|host| &host.id);
    let starting = cx.pending.hosts_flying(&link.source);
    let hosts = running.chain(starting).filter_map(|host| cx.position(host));
    hosts
        .map(|at| cx.hosts[at])
        .filter(|host| host.ours())
        .map(|host| host.id.clone())
        .collect()
}

fn workload(
    cx: &Context<'_>,
    id: ComponentId,
    kind: &str,
    mut hosts: BTreeSet<HostId>,
) -> Workload {
    let image = image(kind);
    if hosts.is_empty() {
        // The source runs on none of our hosts (yet): one of them serves it from afar.
        let holder = cx
            .view
            .hosts_running(&id)
            .find(|host| host.usable())
            .map(|host| host.id.clone());
        let first = || {
            cx.hosts
                .iter()
                .find(|host| host.ours() && !host.cordoned())
                .map(|host| host.id.clone())
        };
        hosts.extend(holder.or_else(first));
    }
    let scaler_id = scaler(ScalerKind::Spread, &id, &image);
    Workload {
        name: id.to_string(),
        other_scaler: scaler(ScalerKind::Daemon, &id, &image),
        id,
        kind: Kind::Provider,
        image,
        config: Vec::new(),
        limits: None,
        daemon: false,
        spreads: vec![SpreadWant {
            name: names::DEFAULT_SPREAD.to_owned(),
            requirements: Arc::default(),
            count: 1,
            hosts: Some(Arc::new(hosts)),
        }],
        scaler: scaler_id,
        rollout: Rollout::default(),
        application: None,
        ours_only: true,
    }
}
