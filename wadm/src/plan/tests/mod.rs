//! Plans in a compact notation.
//!
//! An application: components separated by `;`, each `name=count` (`+name` for a provider,
//! `each` before the count for a daemon), `@image`, then spreads `label=value*weight`; links as
//! `a->b ns:package`. Hosts: `id label=value …: what runs`, separated by `|`; `id!` is an upstream
//! host. What runs: `name=count`, `+name`, with `@image` when it is not the wanted one, `~` before
//! it when its marks are of other settings, `?` when it has no marks.

mod links;
mod moves;
mod spread;
mod status;

use std::sync::Arc;

use proto::ctl::{ComponentDescription, HostInventory, ProviderDescription};
use proto::id::{ComponentId, HostId};
use proto::manifest::Manifest;
use proto::pulse::Pulse;
use serde_json::{Value, json};

use super::*;

pub(super) const NOW: Time = Time(1_000_000);

pub(super) fn host(text: &str) -> HostId {
    HostId::new(text).unwrap()
}

pub(super) fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

/// The application `name`.
pub(super) fn app(name: &str, text: &str) -> Arc<Manifest> {
    let mut components: Vec<Value> = Vec::new();
    for part in text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let words: Vec<&str> = part.split_whitespace().collect();
        if let Some((source, target)) = words[0].split_once("->") {
            let (namespace, package) = words[1].split_once(':').unwrap();
            let mut properties =
                json!({"namespace": namespace, "package": package, "target": {"name": target}});
            if let Some(config) = words.get(2) {
                properties["target"]["config"] =
                    json!([{"name": config, "properties": {"k": "v"}}]);
            }
            properties["interfaces"] = json!([if package == "keyvalue" {
                "store"
            } else {
                "handler"
            }]);
            let source = components
                .iter_mut()
                .find(|component| component["name"] == source)
                .unwrap();
            source["traits"]
                .as_array_mut()
                .unwrap()
                .push(json!({"type": "link", "properties": properties}));
            continue;
        }
        components.push(component(&words));
    }
    let manifest = json!({
        "apiVersion": "v", "kind": "Application", "metadata": {"name": name, "annotations": {}},
        "spec": {"components": components}
    });
    Arc::new(serde_json::from_value(manifest).unwrap())
}

fn component(words: &[&str]) -> Value {
    let (name, count) = words[0].split_once('=').unwrap_or((words[0], "1"));
    let (name, image) = name.split_once('@').unwrap_or((name, ""));
    let (kind, name) = match name.strip_prefix('+') {
        Some(name) => ("capability", name),
        None => ("component", name),
    };
    let image = if image.is_empty() {
        format!("{name}:1")
    } else {
        image.to_owned()
    };
    if let Some((application, component)) = count.split_once('/') {
        return json!({"name": name, "type": kind, "traits": [],
            "properties": {"application": {"name": application, "component": component}}});
    }
    let (scaler, count) = match count.strip_prefix("each") {
        Some(count) => ("daemonscaler", count),
        None => ("spreadscaler", count),
    };
    let mut config = Vec::new();
    let mut spread = Vec::new();
    for word in &words[1..] {
        if let Some(name) = word.strip_prefix("config:") {
            config.push(json!({"name": name, "properties": {"k": "v"}}));
        } else {
            let (label, weight) = word.split_once('*').unwrap_or((word, "1"));
            let (key, value) = label.split_once('=').unwrap();
            spread.push(json!({"name": value, "requirements": {key: value}, "weight": weight.parse::<u32>().unwrap()}));
        }
    }
    json!({
        "name": name, "type": kind, "properties": {"image": image, "config": config},
        "traits": [{"type": scaler, "properties": {"instances": count.parse::<u32>().unwrap_or(1), "spread": spread}}]
    })
}

/// Applications, deployed.
pub(super) fn deployed(apps: &[Arc<Manifest>]) -> Applications {
    let mut all = Applications::default();
    for manifest in apps {
        all.set(&manifest.metadata.name, Some(Arc::clone(manifest)));
    }
    all
}

/// Hosts and what they run of `apps`.
pub(super) fn lattice(apps: &Applications, text: &str) -> View {
    let mut view = View::default();
    view.apply_links(Vec::new());
    view.apply_configs(BTreeMap::new());
    for part in text
        .split('|')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (head, running) = part.split_once(':').unwrap_or((part, ""));
        let mut words = head.split_whitespace();
        let name = words.next().unwrap();
        let (name, upstream) = (name.trim_end_matches('!'), name.ends_with('!'));
        let labels = words
            .map(|label| label.split_once('=').unwrap())
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let mut inventory = HostInventory {
            components: Vec::new(),
            providers: Vec::new(),
            host_id: name.to_owned(),
            friendly_name: String::new(),
            labels: labels.collect(),
            version: "1.0.0".to_owned(),
            uptime_human: String::new(),
            uptime_seconds: 1,
        };
        for item in running.split_whitespace() {
            place(apps, item, &mut inventory);
        }
        if !upstream {
            let pulse = Pulse {
                host_id: host(name),
                sequence: 1,
                interval_ms: 1000,
                inventory_digest: None,
            };
            view.apply_pulse(&pulse, NOW);
        }
        view.apply_inventory(
            &host(name),
            &inventory,
            NOW - std::time::Duration::from_secs(3600),
        );
    }
    view
}

fn place(apps: &Applications, item: &str, inventory: &mut HostInventory) {
    let (marks, item) = match item.chars().next() {
        Some(mark @ ('~' | '?')) => (mark, &item[1..]),
        _ => (' ', item),
    };
    let (name, count) = item.split_once('=').unwrap_or((item, "1"));
    let (name, image) = name
        .split_once('@')
        .map_or((name, None), |(name, image)| (name, Some(image)));
    let (provider, name) = (name.starts_with('+'), name.trim_start_matches('+'));
    // `app/name`, or the name alone in whichever application has it.
    let (owner, name) = name
        .split_once('/')
        .map_or((None, name), |(owner, name)| (Some(owner), name));
    let found = apps
        .iter()
        .filter(|(app, _)| owner.is_none_or(|owner| owner == app.as_str()))
        .flat_map(|(app, _)| apps.get(app).and_then(|app| app.desired().cloned()))
        .find_map(|app| {
            app.workloads
                .iter()
                .find(|w| w.name == name)
                .cloned()
                .map(|w| (app.name.clone(), w))
        });
    let (id, wanted, mut annotations) = match found {
        Some((_, workload)) => (
            workload.id.clone(),
            workload.image.clone(),
            workload.annotations("default"),
        ),
        None => {
            let app = owner.unwrap_or("gone");
            let id = ComponentId::new(proto::names::component_id(app, name)).unwrap();
            (
                id,
                format!("{name}:1"),
                proto::names::annotations(app, "old", "default"),
            )
        }
    };
    if marks == '~' || image.is_some() {
        annotations.insert(proto::names::SCALER.to_owned(), "other".to_owned());
    }
    let annotations = (marks != '?').then_some(annotations);
    let image_ref = image.map_or(wanted, str::to_owned);
    if provider {
        let mut provider: ProviderDescription =
            serde_json::from_value(json!({"id": id, "image_ref": image_ref, "revision": 0}))
                .unwrap();
        provider.annotations = annotations;
        inventory.providers.push(provider);
    } else {
        let count: u32 = count.parse().unwrap();
        let mut component: ComponentDescription = serde_json::from_value(
            json!({"id": id, "image_ref": image_ref, "revision": 0, "max_instances": count, "limits": null}),
        )
        .unwrap();
        component.annotations = annotations;
        inventory.components.push(component);
    }
}

/// The commands of one pass; the ids' application prefix `a-` is left out.
pub(super) fn show(plan: &Plan) -> String {
    plan.commands
        .iter()
        .map(|planned| planned.command.to_string().replace("a-", ""))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn pass(apps: &Applications, view: &View) -> Plan {
    plan(apps, view, &Pending::default(), NOW)
}

/// What runs after all commands were carried out, pass by pass, and how many commands it took.
pub(super) fn settle(apps: &Applications, view: &mut View) -> (String, usize) {
    let mut commands = 0;
    for _ in 0..200 {
        let plan = pass(apps, view);
        if plan.commands.is_empty() {
            return (running(view), commands);
        }
        for planned in &plan.commands {
            commands += 1;
            view.pretend(&planned.command, NOW);
        }
    }
    panic!("does not settle: {}", show(&pass(apps, view)));
}

/// `h1: web=2 +kv | h2:`.
pub(super) fn running(view: &View) -> String {
    let show = |host: &crate::view::HostView| {
        let items = host.instances.iter().map(|(id, instance)| {
            let id = id.as_str().replace("a-", "");
            match instance.kind {
                Kind::Component => format!(" {id}={}", instance.count),
                Kind::Provider => format!(" +{id}"),
            }
        });
        format!("{}:{}", host.id, items.collect::<String>())
    };
    view.usable_hosts()
        .map(show)
        .collect::<Vec<_>>()
        .join(" | ")
}
