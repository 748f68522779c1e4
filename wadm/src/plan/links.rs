//! Links: where they lead, which to put, which to remove.

use std::collections::BTreeSet;

use proto::id::ComponentId;
use proto::link::{Link, LinkKey};
use proto::manifest::builtin_for;
use proto::names::{LinkScaler, link_scaler_id};
use proto::wadm_api::{LinkDetail, ScalerStatus, StatusInfo, StatusType};

use super::builtin;
use super::command::{Command, Subject};
use super::context::Context;
use super::desired::{AppDesired, LinkTo, LinkWant};
use super::workload::{Missing, Planned};
use crate::core::Time;

/// Where a link's target was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Here, with a note for the status.
    Id(ComponentId, Option<String>),
    /// Nowhere; the sentence says what is missing.
    Missing(String),
}

/// What is to be done about an application's links.
#[derive(Debug, Default)]
pub(super) struct LinkPlan {
    pub commands: Vec<Planned>,
    pub statuses: Vec<ScalerStatus>,
    pub details: Vec<LinkDetail>,
    pub notes: Vec<String>,
    pub wake: Option<Time>,
}

/// Finds where a link leads.
pub(super) fn resolve(cx: &Context<'_>, app: &str, link: &LinkWant) -> Resolved {
    match &link.target {
        LinkTo::Declared(id) => Resolved::Id(id.clone(), None),
        LinkTo::Shared {
            application,
            component,
        } => match cx.apps.shared_component(application, component) {
            Some(id) => Resolved::Id(id, None),
            None => Resolved::Missing(format!(
                "component '{component}' of application '{application}' is not deployed"
            )),
        },
        LinkTo::Open(name) => resolve_open(cx, app, link, name),
    }
}

/// A target that the manifest does not declare: a component of that name or id on the lattice, one
/// of that name in another application, else a built-in that serves the interfaces.
fn resolve_open(cx: &Context<'_>, app: &str, link: &LinkWant, name: &str) -> Resolved {
    let Ok(id) = ComponentId::new(name) else {
        return Resolved::Missing(format!(
            "link target '{name}' is not a name that can exist on a lattice"
        ));
    };
    if let Some(owner) = cx.apps.owner(&id) {
        return Resolved::Id(
            id,
            Some(format!(
                "target '{name}' is a component of application '{owner}'"
            )),
        );
    }
    let runs = cx.view.hosts_running(&id).filter(|host| host.usable());
    if runs
        .filter_map(|host| host.instances.get(&id))
        .any(|instance| !builtin::is_ours(&id, instance))
    {
        return Resolved::Id(
            id,
            Some(format!("target '{name}' was found running on the lattice")),
        );
    }
    match cx.apps.by_component_name(name, app).as_slice() {
        [(owner, id)] => {
            return Resolved::Id(
                id.clone(),
                Some(format!(
                    "target '{name}' is a component of application '{owner}'"
                )),
            );
        }
        [] => {}
        several => {
            let owners: Vec<&str> = several.iter().map(|(owner, _)| owner.as_str()).collect();
            return Resolved::Missing(format!(
                "link target '{name}' is ambiguous: applications {} have a component of that name; link to one by its id",
                owners.join(", ")
            ));
        }
    }
    match builtin_for(&link.namespace, &link.package, &link.interfaces) {
        Some(kind) => {
            let note = format!(
                "target '{name}' is served by the built-in {kind}, started and shared under that name"
            );
            Resolved::Id(id, Some(note))
        }
        None => Resolved::Missing(format!(
            "link target '{name}' does not exist: no component of this application, of another one, or on the \
             lattice has that name, and no built-in serves {}:{}",
            link.namespace, link.package
        )),
    }
}

/// Decides for all links of an application. `missing` tells which configs of a link do not exist.
pub(super) fn decide(
    cx: &Context<'_>,
    app: &AppDesired,
    missing: impl Fn(&LinkWant) -> Vec<Missing>,
) -> LinkPlan {
    let mut plan = LinkPlan::default();
    // Hosts change a source's links by reading, changing and writing the record, and some lose a
    // change when two come at once: so one link of a source at a time.
    let sources = app
        .links
        .iter()
        .map(|link| &link.source)
        .filter(|source| cx.pending.is_linking(source));
    let mut busy: BTreeSet<ComponentId> = sources.cloned().collect();
    for want in &app.links {
        let resolved = resolve(cx, &app.name, want);
        let name = |target: &str| {
            format!(
                "{} -({}:{})-> {target}",
                want.source, want.namespace, want.package
            )
        };
        let (target, note) = match resolved {
            Resolved::Id(id, note) => (id, note),
            Resolved::Missing(sentence) => {
                let (LinkTo::Open(target)
                | LinkTo::Shared {
                    component: target, ..
                }) = &want.target
                else {
                    continue;
                };
                plan.push(
                    app,
                    want,
                    target,
                    name(target),
                    StatusInfo::new(StatusType::Waiting, sentence),
                    None,
                );
                continue;
            }
        };
        plan.notes.extend(note.clone());
        let link = want.to(target.clone());
        let missing = missing(want);
        let mut status = plan.one(cx, &app.name, &link, &mut busy, &missing);
        let failures = cx
            .pending
            .failures_of(&target)
            .filter(|_| note.is_some())
            .into_iter()
            .flatten();
        let mut standing = failures.filter(|(host, failure)| {
            failure.retry_at > cx.now && cx.view.instance(host, &target).is_none()
        });
        if let Some((_, failure)) = standing.next() {
            plan.wake = Some(
                plan.wake
                    .map_or(failure.retry_at, |before| before.min(failure.retry_at)),
            );
            status = StatusInfo::new(StatusType::Failed, format!("{target}: {}", failure.error));
        }
        plan.push(
            app,
            want,
            target.as_str(),
            name(target.as_str()),
            status,
            note,
        );
    }
    plan
}

impl LinkPlan {
    fn push(
        &mut self,
        app: &AppDesired,
        want: &LinkWant,
        target: &str,
        name: String,
        status: StatusInfo,
        note: Option<String>,
    ) {
        let texts = |names: &[proto::id::ConfigName]| {
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let id = link_scaler_id(&LinkScaler {
            app: &app.name,
            link_name: want.name.as_str(),
            source_id: want.source.as_str(),
            target_id: target,
            namespace: &want.namespace,
            package: &want.package,
            interfaces: &want.interfaces,
            source_config: &texts(&want.source_config),
            target_config: &texts(&want.target_config),
        });
        let message = Some(status.message.clone())
            .filter(|message| !message.is_empty())
            .or(note);
        self.details.push(LinkDetail {
            name: name.clone(),
            link: want.name.to_string(),
            target: Some(target.to_owned()),
            present: status.kind == StatusType::Deployed,
            message,
        });
        self.statuses.push(ScalerStatus {
            id,
            kind: "LinkScaler".to_owned(),
            name,
            status,
        });
    }

    fn send(&mut self, app: &str, command: Command, busy: &mut BTreeSet<ComponentId>) {
        if let Subject::Link(key) = command.subject() {
            busy.insert(key.source);
        }
        self.commands.push(Planned {
            command,
            application: app.to_owned(),
            refreshes: None,
        });
    }

    /// Puts one link, after removing what stands in its way.
    fn one(
        &mut self,
        cx: &Context<'_>,
        app: &str,
        link: &Link,
        busy: &mut BTreeSet<ComponentId>,
        missing: &[Missing],
    ) -> StatusInfo {
        let present = cx.view.links_of(&link.source_id);
        if present.iter().any(|other| equal(other, link)) {
            return StatusInfo::new(StatusType::Deployed, "");
        }
        let doing = format!(
            "Putting link definition between {} and {}",
            link.source_id, link.target
        );
        let reconciling = StatusInfo::new(StatusType::Reconciling, doing);
        if let Some(config) = missing.iter().find(|config| !config.owned) {
            let message = format!(
                "Config {} does not exist: put it with `wash config put {}`",
                config.name, config.name
            );
            return StatusInfo::new(StatusType::Failed, message);
        }
        if !cx.view.links_known() || !missing.is_empty() {
            return reconciling;
        }
        if cx.hosts.is_empty() {
            return StatusInfo::new(
                StatusType::Waiting,
                "the link waits for a host: the lattice has none",
            );
        }
        let subject = Subject::Link(link.key());
        let failure = cx.pending.failure(&subject);
        if let Some(failure) = failure.filter(|_| cx.pending.must_wait(&subject, None, cx.now)) {
            self.wake = Some(
                self.wake
                    .map_or(failure.retry_at, |before| before.min(failure.retry_at)),
            );
            return StatusInfo::new(StatusType::Failed, failure.error.clone());
        }
        if !busy.contains(&link.source_id) {
            match present.iter().find(|other| other.conflicts_with(link)) {
                Some(other) => self.send(app, Command::DeleteLink(other.key()), busy),
                None => self.send(app, Command::PutLink(link.clone()), busy),
            }
        }
        match cx.pending.failure(&subject) {
            Some(failure) => StatusInfo::new(StatusType::Failed, failure.error.clone()),
            None => reconciling,
        }
    }

    /// Removes a link that nobody wants any more.
    pub(super) fn remove(cx: &Context<'_>, app: &str, key: LinkKey) -> Option<Planned> {
        let subject = Subject::Link(key.clone());
        let busy =
            cx.pending.flight(&subject).is_some() || cx.pending.must_wait(&subject, None, cx.now);
        let command = Command::DeleteLink(key);
        (!busy).then(|| Planned {
            command,
            application: app.to_owned(),
            refreshes: None,
        })
    }
}

/// Whether a link is there as it should be. The order of interfaces does not matter.
fn equal(present: &Link, wanted: &Link) -> bool {
    present.is_replaced_by(wanted)
        && present.source_config == wanted.source_config
        && present.target_config == wanted.target_config
        && present.interfaces.len() == wanted.interfaces.len()
        && wanted
            .interfaces
            .iter()
            .all(|interface| present.interfaces.contains(interface))
}
