//! What goes wrong, and what people do meanwhile.

use std::sync::Arc;

use proto::event::{Event, HostStopped, LabelsChanged};
use proto::manifest::Manifest;
use serde_json::{Value, json};

use super::rng::Rng;
use super::world::{Action, World};
use crate::core::Input;

/// Zones of the simulated hosts.
pub(super) const ZONES: [&str; 3] = ["east", "west", "centre"];

/// One thing that happens from outside.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    CrashHost(usize),
    StopHost(usize),
    BootHost(usize),
    CutHost(usize, bool),
    Label(usize, &'static str),
    Refuse(usize, bool),
    FailImage(usize, String, bool),
    CrashController(usize),
    StartController(usize),
    CutController(usize, bool),
    Nats(bool),
    Weather {
        loss: u64,
        doubled: u64,
        delay_ms: u64,
    },
    Deploy(String, Option<Arc<Manifest>>),
    Retry,
    /// A component is stopped behind the controller's back.
    Meddle(usize),
}

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.note(|| match &fault {
            Fault::Deploy(name, Some(_)) => format!("-- deploy {name}"),
            Fault::Deploy(name, None) => format!("-- undeploy {name}"),
            other => format!("-- {other:?}"),
        });
        match fault {
            Fault::CrashHost(host) => self.hosts[host].crash(),
            Fault::StopHost(host) => {
                let labels = self.hosts[host].labels.clone();
                if self.hosts[host].up {
                    self.emit(host, Event::HostStopped(HostStopped { labels }));
                }
                self.hosts[host].crash();
            }
            Fault::BootHost(host) => {
                if !self.hosts[host].up {
                    let now = self.now;
                    let event = self.hosts[host].boot(now);
                    self.booted(host, event);
                }
            }
            Fault::CutHost(host, cut) => self.hosts[host].cut = cut,
            Fault::Label(host, zone) => {
                self.hosts[host]
                    .labels
                    .insert("zone".to_owned(), zone.to_owned());
                let (host_id, labels) =
                    (self.hosts[host].id.clone(), self.hosts[host].labels.clone());
                if self.hosts[host].up {
                    self.emit(
                        host,
                        Event::LabelsChanged(LabelsChanged { host_id, labels }),
                    );
                }
            }
            Fault::Refuse(host, refuses) => self.hosts[host].refuses = refuses,
            Fault::FailImage(host, image, fails) => {
                if fails {
                    self.hosts[host].failing.insert(image);
                } else {
                    self.hosts[host].failing.remove(&image);
                }
            }
            Fault::CrashController(index) => {
                self.controllers[index].up = false;
                self.controllers[index].fence = None;
            }
            Fault::StartController(index) => {
                if !self.controllers[index].up {
                    self.start_controller(index);
                }
            }
            Fault::CutController(index, cut) => {
                self.controllers[index].cut = cut;
                if self.controllers[index].up {
                    self.connect(index);
                }
            }
            Fault::Nats(down) => {
                self.weather.nats_down = down;
                for index in 0..self.controllers.len() {
                    if self.controllers[index].up {
                        self.connect(index);
                    }
                }
            }
            Fault::Weather {
                loss,
                doubled,
                delay_ms,
            } => {
                self.weather.loss = loss;
                self.weather.doubled = doubled;
                self.weather.delay_ms = delay_ms;
            }
            Fault::Deploy(name, manifest) => self.deploy(&name, manifest),
            Fault::Retry => {
                self.generation += 1;
                self.tell_controllers(&Input::Retry { application: None });
            }
            Fault::Meddle(host) => {
                let first = self.hosts[host].components.keys().next().cloned();
                if let Some(id) = first {
                    self.hosts[host].components.remove(&id);
                }
            }
        }
    }

    fn deploy(&mut self, name: &str, manifest: Option<Arc<Manifest>>) {
        self.generation += 1;
        let now = self.now;
        self.store.deploy(name, manifest.clone(), now);
        self.tell_controllers(&Input::Application {
            name: name.to_owned(),
            deployed: manifest,
        });
        let manifests = self.store.retired.get(name).cloned().unwrap_or_default();
        self.tell_controllers(&Input::Retired {
            name: name.to_owned(),
            manifests,
        });
    }

    fn tell_controllers(&mut self, input: &Input) {
        for index in 0..self.controllers.len() {
            let controller = &self.controllers[index];
            if controller.up && !controller.cut && !self.weather.nats_down {
                self.deliver_in_order(index, input.clone());
            }
        }
    }

    /// Plans faults from `from` to `to`, each with its end before `to`.
    pub(super) fn plan_faults(&mut self, from: u64, to: u64, count: u64, apps: &[String]) {
        for _ in 0..count {
            let at = self.rng.between(from, to);
            let end = self.rng.between(at, (at + 15_000).min(to));
            let host = self.rng.index(self.hosts.len());
            let controller = self.rng.index(self.controllers.len());
            let app = self.rng.pick(apps).cloned().unwrap_or_default();
            let pair = match self.rng.between(0, 14) {
                0 => (Fault::CrashHost(host), Some(Fault::BootHost(host))),
                1 => (Fault::StopHost(host), Some(Fault::BootHost(host))),
                2 | 3 => (
                    Fault::CutHost(host, true),
                    Some(Fault::CutHost(host, false)),
                ),
                4 => {
                    let zone = ZONES[self.rng.index(ZONES.len())];
                    (Fault::Label(host, zone), None)
                }
                5 => (Fault::Refuse(host, true), Some(Fault::Refuse(host, false))),
                6 => {
                    let image = format!("{app}-web:{}", self.rng.between(1, 2));
                    (
                        Fault::FailImage(host, image.clone(), true),
                        Some(Fault::FailImage(host, image, false)),
                    )
                }
                7 => (
                    Fault::CrashController(controller),
                    Some(Fault::StartController(controller)),
                ),
                8 => (
                    Fault::CutController(controller, true),
                    Some(Fault::CutController(controller, false)),
                ),
                9 => (Fault::Nats(true), Some(Fault::Nats(false))),
                10 | 11 => {
                    let manifest = (!self.rng.percent(30)).then(|| manifest(&app, &mut self.rng));
                    (Fault::Deploy(app, manifest), None)
                }
                12 => (Fault::Meddle(host), None),
                13 => (Fault::Retry, None),
                _ => {
                    let storm = Fault::Weather {
                        loss: self.rng.between(0, 30),
                        doubled: self.rng.between(0, 20),
                        delay_ms: self.rng.between(0, 1500),
                    };
                    (
                        storm,
                        Some(Fault::Weather {
                            loss: 0,
                            doubled: 0,
                            delay_ms: 0,
                        }),
                    )
                }
            };
            self.at(at, Action::Fault(pair.0));
            if let Some(fault) = pair.1 {
                self.at(end, Action::Fault(fault));
            }
        }
    }

    /// Everything works from now on.
    pub(super) fn heal(&mut self) {
        self.weather.loss = 0;
        self.weather.doubled = 0;
        self.weather.delay_ms = 0;
        let was_down = std::mem::take(&mut self.weather.nats_down);
        for index in 0..self.controllers.len() {
            let was_cut = std::mem::take(&mut self.controllers[index].cut);
            if !self.controllers[index].up {
                self.start_controller(index);
            } else if was_cut || was_down {
                self.connect(index);
            }
        }
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            host.cut = false;
            host.refuses = false;
            host.failing.clear();
            if !host.up {
                self.fault(Fault::BootHost(index));
            }
        }
        // A version that was given up stays so until someone asks for another try.
        let goes_back = |component: &proto::manifest::Component| {
            component.rollout().is_none_or(|rollout| rollout.rollback)
        };
        let mut deployed = self.store.deployed.values();
        if deployed.any(|manifest| manifest.spec.components.iter().any(goes_back)) {
            self.fault(Fault::Retry);
        }
        self.note(|| "-- all is well again".to_owned());
    }
}

/// An application with two or three components in one of many shapes.
pub(super) fn manifest(name: &str, rng: &mut Rng) -> Arc<Manifest> {
    let spread = |rng: &mut Rng| -> Value {
        match rng.between(0, 3) {
            0 => json!([]),
            1 => json!([{"name": "one", "requirements": {"zone": ZONES[rng.index(3)]}}]),
            2 => json!([
                {"name": "one", "requirements": {"zone": "east"}, "weight": rng.between(1, 3)},
                {"name": "two", "requirements": {"zone": "west"}, "weight": rng.between(1, 3)}
            ]),
            _ => json!([
                {"name": "one", "requirements": {"zone": ZONES[rng.index(3)]}, "weight": 2},
                {"name": "any", "requirements": {}, "weight": 1}
            ]),
        }
    };
    let scaler = |rng: &mut Rng| {
        let kind = if rng.percent(20) {
            "daemonscaler"
        } else {
            "spreadscaler"
        };
        let instances = rng.between(1, 6);
        json!({"type": kind, "properties": {"instances": instances, "spread": spread(rng)}})
    };
    let target = match rng.between(0, 2) {
        0 => "shared-store".to_owned(),
        1 => "kv".to_owned(),
        _ => "cache".to_owned(),
    };
    let link = json!({"type": "link", "properties": {
        "namespace": "wasi", "package": "keyvalue", "interfaces": ["store"],
        "target": {"name": target, "config": [{"name": "link", "properties": {"bucket": rng.between(1, 3).to_string()}}]}
    }});
    let rollout = json!({"type": "rollout", "properties": {"rollback": rng.percent(50)}});
    let mut components = vec![json!({
        "name": "web", "type": "component",
        "properties": {
            "image": format!("{name}-web:{}", rng.between(1, 2)),
            "config": if rng.percent(50) { json!([{"name": "c", "properties": {"k": rng.between(1, 2).to_string()}}]) } else { json!([]) }
        },
        "traits": [scaler(rng), link, rollout]
    })];
    for provider in ["kv", "cache"] {
        if target == provider || rng.percent(20) {
            components.push(json!({
                "name": provider, "type": "capability",
                "properties": {"image": format!("{provider}:{}", rng.between(1, 2))},
                "traits": [{"type": "spreadscaler", "properties": {"instances": rng.between(1, 2), "spread": []}}]
            }));
        }
    }
    let manifest = json!({
        "apiVersion": "v", "kind": "Application", "metadata": {"name": name, "annotations": {}},
        "spec": {"components": components}
    });
    // The text above is a manifest whatever the seed.
    Arc::new(serde_json::from_value(manifest).unwrap_or_else(|error| panic!("{error}")))
}
