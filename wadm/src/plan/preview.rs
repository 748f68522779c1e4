//! What a deploy would change, before it does: the plan is played on a copy of the view until it has
//! nothing more to say, and the two views are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::id::{ComponentId, ConfigName, HostId};
use proto::link::Link;
use proto::manifest::Manifest;
use proto::wadm_api::{PlanPreview, PlannedAction, PlannedChange};

use super::{Applications, Command, Pending, SHARED, Subject, plan_some};
use crate::core::Time;
use crate::view::{ConfigValue, Instance, Kind, View};

/// More rounds than any rollout over a lattice needs.
const ROUNDS_MAX: usize = 10_000;

/// What stood under a subject before.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Workload(Option<Instance>),
    Link(Vec<Link>),
    Config(Option<ConfigValue>),
}

/// What deploying `manifest` would change.
#[must_use]
pub fn preview(
    apps: &Applications,
    view: &View,
    manifest: Arc<Manifest>,
    now: Time,
) -> PlanPreview {
    let name = manifest.metadata.name.clone();
    let version = manifest.version().map(str::to_owned);
    let mut apps = apps.clone();
    apps.set(&name, Some(manifest));
    let mut names = apps.related(&name);
    names.insert(SHARED.to_owned());
    let mut after = view.clone();
    let pending = Pending::default();
    let mut touched: BTreeMap<Subject, State> = BTreeMap::new();
    let mut order: Vec<Subject> = Vec::new();
    let mut asked: BTreeSet<ConfigName> = BTreeSet::new();
    let mut status = None;
    for _ in 0..ROUNDS_MAX {
        let plan = plan_some(&names, &apps, &after, &pending, now);
        status = plan.statuses.get(&name).cloned();
        // Without a watch nothing is known of some configs; here they are taken to be missing.
        let unknown: Vec<ConfigName> = plan
            .unknown
            .into_iter()
            .filter(|name| asked.insert(name.clone()))
            .collect();
        for config in &unknown {
            after.apply_config(config, None);
        }
        if plan.commands.is_empty() && unknown.is_empty() {
            break;
        }
        for planned in plan.commands {
            let subject = planned.command.subject();
            if !touched.contains_key(&subject) {
                touched.insert(subject.clone(), state(view, &subject));
                order.push(subject);
            }
            after.pretend(&planned.command, now);
        }
    }
    let changes = order
        .iter()
        .filter_map(|subject| change(view, &after, subject, touched.get(subject)?));
    let changes = changes.map(PlannedChange::with_text).collect();
    let mut blocked = Vec::new();
    let mut notes = Vec::new();
    for detail in status.into_iter().filter_map(|status| status.detail) {
        blocked.extend(
            detail
                .components
                .iter()
                .flat_map(|c| c.unmet.iter().map(|u| format!("{}: {}", c.name, u.message))),
        );
        blocked.extend(
            detail
                .links
                .iter()
                .filter(|link| !link.present)
                .filter_map(|link| link.message.clone()),
        );
        notes.extend(detail.notes);
    }
    PlanPreview {
        name,
        version,
        changes,
        blocked,
        notes,
    }
}

fn state(view: &View, subject: &Subject) -> State {
    match subject {
        Subject::Workload(host, id) => State::Workload(view.instance(host, id).cloned()),
        Subject::Link(key) => State::Link(
            view.links_of(&key.source)
                .iter()
                .filter(|link| link.is(key))
                .cloned()
                .collect(),
        ),
        Subject::Config(name) => State::Config(view.config(name).flatten().cloned()),
    }
}

fn change(view: &View, after: &View, subject: &Subject, before: &State) -> Option<PlannedChange> {
    let now = state(after, subject);
    if *before == now {
        return None;
    }
    match (subject, before, &now) {
        (Subject::Workload(host, id), State::Workload(before), State::Workload(now)) => {
            workload(view, host, id, before.as_ref(), now.as_ref())
        }
        (Subject::Link(key), State::Link(before), State::Link(now)) => {
            let show = |links: &[Link]| {
                let texts: Vec<String> = links
                    .iter()
                    .map(|l| format!("{} [{}]", l.target, l.interfaces.join(", ")))
                    .collect();
                Some(texts.join(", ")).filter(|text| !text.is_empty())
            };
            let action = if now.is_empty() {
                PlannedAction::Unlink
            } else {
                PlannedAction::Link
            };
            let what = format!(
                "{} {}:{} ({})",
                key.source, key.namespace, key.package, key.name
            );
            Some(PlannedChange {
                action,
                what,
                host: None,
                host_name: None,
                from: show(before),
                to: show(now),
                text: String::new(),
            })
        }
        (Subject::Config(name), State::Config(before), State::Config(now)) => {
            let show = |value: &Option<ConfigValue>| {
                value
                    .as_ref()
                    .map(|value| format!("{} keys", value.len()))
                    .filter(|_| !name.is_secret())
            };
            let action = if now.is_none() {
                PlannedAction::DeleteConfig
            } else {
                PlannedAction::PutConfig
            };
            let what = name.to_string();
            Some(PlannedChange {
                action,
                what,
                host: None,
                host_name: None,
                from: show(before),
                to: show(now),
                text: String::new(),
            })
        }
        _ => None,
    }
}

fn workload(
    view: &View,
    host: &HostId,
    id: &ComponentId,
    before: Option<&Instance>,
    now: Option<&Instance>,
) -> Option<PlannedChange> {
    let show = |instance: &Instance| match instance.kind {
        Kind::Component => format!("{} x{}", instance.image, instance.count),
        Kind::Provider => instance.image.clone(),
    };
    let action = match (before, now) {
        (None, None) => return None,
        (None, Some(_)) => PlannedAction::Start,
        (Some(_), None) => PlannedAction::Stop,
        (Some(before), Some(now)) if before.image != now.image => PlannedAction::Update,
        (Some(before), Some(now)) if before.count != now.count => PlannedAction::Scale,
        (Some(_), Some(_)) => PlannedAction::Reconfigure,
    };
    Some(PlannedChange {
        action,
        what: id.to_string(),
        host: Some(host.to_string()),
        host_name: view
            .host(host)
            .map(|host| host.name.clone())
            .filter(|name| !name.is_empty()),
        from: before.map(show),
        to: now.map(show),
        text: String::new(),
    })
}

impl View {
    /// Changes the view as if the command had been carried out.
    pub fn pretend(&mut self, command: &Command, now: Time) {
        match command {
            Command::Scale {
                host,
                id,
                image,
                count,
                annotations,
                update,
                ..
            } => {
                let before = self.instance(host, id).cloned();
                let image = match &before {
                    Some(before) if !update => before.image.clone(),
                    _ => image.clone(),
                };
                let instance = Instance::new(
                    Kind::Component,
                    image,
                    *count,
                    annotations.clone(),
                    Time::default(),
                );
                self.pretend_instance(host, id, (*count > 0).then_some(instance), now);
            }
            Command::StartProvider {
                host,
                id,
                image,
                annotations,
                ..
            } => {
                let instance = Instance::new(
                    Kind::Provider,
                    proto::reference::without_scheme(image).to_owned(),
                    1,
                    annotations.clone(),
                    Time::default(),
                );
                self.pretend_instance(host, id, Some(instance), now);
            }
            Command::StopProvider { host, id } => self.pretend_instance(host, id, None, now),
            Command::PutLink(link) => {
                let mut links: Vec<Link> = self
                    .links_of(&link.source_id)
                    .iter()
                    .filter(|old| !old.is_replaced_by(link))
                    .cloned()
                    .collect();
                links.push(link.clone());
                self.apply_links_of(&link.source_id, links);
            }
            Command::DeleteLink(key) => {
                let mut links = self.links_of(&key.source).to_vec();
                if let Some(first) = links.iter().position(|link| link.is(key)) {
                    links.remove(first);
                }
                self.apply_links_of(&key.source, links);
            }
            Command::PutConfig { name, properties } => {
                self.apply_config(name, Some(properties.clone()));
            }
            Command::DeleteConfig(name) => {
                self.apply_config(name, None);
            }
        }
    }
}
