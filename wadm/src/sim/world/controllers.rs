//! Controllers and what lies between them and the lattice: their messages, their watches, the lease.

use proto::ctl::Fence;
use proto::id::HostId;

use super::{Action, LEASE, LEASE_EVERY, REQUEST_TIMEOUT, SimController, World};
use crate::core::{CommandId, Controller, Input, Output, Reply, Request, Time};
use crate::plan::Command;

impl World {
    pub(in crate::sim) fn add_controller(&mut self) {
        let core = Controller::new(self.timing.clone());
        let up = SimController {
            core,
            up: true,
            cut: false,
            life: 0,
            fence: None,
            until: 0,
            step_at: None,
        };
        self.controllers.push(up);
        self.start_controller(self.controllers.len() - 1);
    }

    pub(in crate::sim) fn start_controller(&mut self, index: usize) {
        let core = Controller::new(self.timing.clone());
        let controller = &mut self.controllers[index];
        controller.core = core;
        controller.up = true;
        controller.life += 1;
        controller.fence = None;
        controller.step_at = None;
        let life = controller.life;
        if self.weather.nats_down || controller.cut {
            self.deliver_in_order(index, Input::Connected(false));
        }
        self.resubscribe(index);
        let first = self.rng.between(10, LEASE_EVERY);
        self.at(self.now + first, Action::Lease(index, life));
    }

    /// A controller reads everything that is kept, as at its start or after a break.
    pub(in crate::sim) fn resubscribe(&mut self, index: usize) {
        if self.weather.nats_down || self.controllers[index].cut || !self.controllers[index].up {
            return;
        }
        let store = Input::Store {
            deployed: self.store.deployed.clone(),
            retired: self.store.retired.clone(),
        };
        let links = Input::Links(self.store.links.values().flatten().cloned().collect());
        let configs = Input::Configs(self.store.configs.clone());
        for input in [store, links, configs] {
            self.deliver_in_order(index, input);
        }
    }

    /// The connection of a controller came or went.
    pub(in crate::sim) fn connect(&mut self, index: usize) {
        let connected = !self.weather.nats_down && !self.controllers[index].cut;
        self.deliver_in_order(index, Input::Connected(connected));
        if connected {
            self.resubscribe(index);
        }
    }

    pub(in crate::sim) fn is_connected(&self, index: usize) -> bool {
        self.controllers[index].up && !self.controllers[index].cut && !self.weather.nats_down
    }

    pub(super) fn hear(&mut self, index: usize, life: u32, input: Input) {
        if !self.controllers[index].up || self.controllers[index].life != life {
            return;
        }
        self.tally.heard += 1;
        let now = Time(self.now);
        let began = self.measure.then(std::time::Instant::now);
        self.controllers[index].core.handle(input, now);
        if let Some(began) = began {
            self.tally.step_time += began.elapsed();
        }
        self.wake(index, self.now + 5);
    }

    fn wake(&mut self, index: usize, at: u64) {
        let controller = &mut self.controllers[index];
        if controller.step_at.is_none_or(|planned| at < planned) {
            controller.step_at = Some(at);
            let life = controller.life;
            self.at(at, Action::Step(index, life));
        }
    }

    pub(super) fn step(&mut self, index: usize, life: u32) {
        let controller = &mut self.controllers[index];
        if !controller.up || controller.life != life || controller.step_at != Some(self.now) {
            return;
        }
        controller.step_at = None;
        let began = self.measure.then(std::time::Instant::now);
        let outputs = controller.core.step(Time(self.now));
        if let Some(took) = began.map(|began| began.elapsed()) {
            self.tally.steps += 1;
            self.tally.step_time += took;
            self.tally.worst_step = self.tally.worst_step.max(took);
        }
        let wake = controller.core.wake_at().map_or(self.now + 1000, |at| {
            at.0.clamp(self.now + 5, self.now + 1000)
        });
        for output in outputs {
            self.carry_out(index, output);
        }
        self.wake(index, wake);
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let life = self.controllers[index].life;
        match output {
            Output::Send { id, command, fence } => {
                self.note(|| format!("wadm{index} term {} sends {command}", fence.term));
                self.tally.commands += 1;
                self.tally.last_command = self.now;
                self.check_command(index, &command, &fence);
                if self.controllers[index].fence.as_ref() != Some(&fence) {
                    return;
                }
                if !self.is_connected(index) || self.loses() {
                    self.unanswered(index, life, id);
                    return;
                }
                let latency = self.latency();
                let again = self.weather.doubled > 0 && self.rng.percent(self.weather.doubled);
                let command = Box::new(command);
                for extra in 0..=u64::from(again) {
                    let action = Action::Command {
                        controller: index,
                        life,
                        id,
                        command: command.clone(),
                        fence: fence.clone(),
                    };
                    self.at(self.now + latency + extra * 3, action);
                }
            }
            Output::Ask(request) => {
                if !self.is_connected(index) || self.loses() {
                    return;
                }
                let latency = self.latency();
                self.at(
                    self.now + latency,
                    Action::Ask {
                        controller: index,
                        life,
                        request,
                    },
                );
            }
            Output::Publish { name, status } => {
                self.note(|| {
                    format!(
                        "wadm{index}: {name} is {}: {}",
                        status.status.kind, status.status.message
                    )
                });
                if self.is_connected(index) {
                    self.statuses.insert(name, status);
                }
            }
            Output::Retire { name, manifests } => {
                if self.is_connected(index) {
                    // As the API and the leader both write it: what is deployed is not retired.
                    let current = self.store.retired.entry(name).or_default();
                    if manifests.is_empty() {
                        current.clear();
                    } else {
                        current.extend(
                            manifests
                                .into_iter()
                                .filter(|m| !current.contains(m))
                                .collect::<Vec<_>>(),
                        );
                    }
                }
            }
        }
    }

    fn loses(&mut self) -> bool {
        self.weather.loss > 0 && self.rng.percent(self.weather.loss)
    }

    fn unanswered(&mut self, index: usize, life: u32, id: CommandId) {
        let input = Input::Reply {
            id,
            reply: Reply::Unanswered,
        };
        self.at(
            self.now + REQUEST_TIMEOUT,
            Action::Hear(index, life, Box::new(input)),
        );
    }

    fn host_index(&self, id: &HostId) -> Option<usize> {
        self.hosts.iter().position(|host| host.id == *id)
    }

    /// A command arrives where it was sent to.
    pub(super) fn command(
        &mut self,
        index: usize,
        life: u32,
        id: CommandId,
        command: &Command,
        fence: &Fence,
    ) {
        let host = match command.host() {
            Some(host) => self.host_index(host),
            None => {
                let up: Vec<usize> = (0..self.hosts.len())
                    .filter(|at| self.hosts[*at].reachable())
                    .collect();
                self.rng.pick(&up).copied()
            }
        };
        if self.weather.nats_down {
            self.unanswered(index, life, id);
            return;
        }
        let Some(host) = host.filter(|host| self.hosts[*host].up) else {
            self.deliver_reply(index, life, id, Reply::NoResponders);
            return;
        };
        if self.hosts[host].cut {
            self.unanswered(index, life, id);
            return;
        }
        let reply = if self.hosts[host].is_fenced(fence) {
            Reply::Refused("a later controller leads".to_owned())
        } else {
            self.obey(host, command)
        };
        if self.loses() {
            self.unanswered(index, life, id);
        } else {
            self.deliver_reply(index, life, id, reply);
        }
    }

    fn obey(&mut self, host: usize, command: &Command) -> Reply {
        if command.host().is_none() {
            return match self.store.apply(command) {
                Ok(()) => {
                    self.record_changed(command);
                    Reply::Accepted(String::new())
                }
                Err(error) => Reply::Refused(error),
            };
        }
        let (reply, events, job) = self.hosts[host].take(command);
        for event in events {
            self.emit(host, event);
        }
        if let Some(job) = job {
            let life = self.hosts[host].life;
            let (low, high) = self.start_ms;
            let takes = self.rng.between(low, high);
            self.at(self.now + takes, Action::Finish(host, life, job));
        }
        reply
    }

    /// Every controller's watch tells it; a watch loses nothing, but may be late.
    pub(in crate::sim) fn record_changed(&mut self, command: &Command) {
        let input = match command {
            Command::PutLink(proto::link::Link {
                source_id: source, ..
            })
            | Command::DeleteLink(proto::link::LinkKey { source, .. }) => {
                let links = self.store.links.get(source).cloned().unwrap_or_default();
                Input::LinksOf {
                    source: source.clone(),
                    links,
                }
            }
            Command::PutConfig { name, .. } | Command::DeleteConfig(name) => Input::Config {
                name: name.clone(),
                value: self.store.configs.get(name).cloned(),
            },
            _ => return,
        };
        for controller in 0..self.controllers.len() {
            if self.is_connected(controller) {
                self.deliver_in_order(controller, input.clone());
            }
        }
    }

    /// What a watch tells arrives in order: the latency is the same for all.
    pub(in crate::sim) fn deliver_in_order(&mut self, controller: usize, input: Input) {
        let life = self.controllers[controller].life;
        self.at(
            self.now + 5,
            Action::Hear(controller, life, Box::new(input)),
        );
    }

    fn deliver_reply(&mut self, index: usize, life: u32, id: CommandId, reply: Reply) {
        let latency = self.latency();
        self.at(
            self.now + latency,
            Action::Hear(index, life, Box::new(Input::Reply { id, reply })),
        );
    }

    /// A question arrives.
    pub(super) fn answer(&mut self, index: usize, life: u32, request: Request) {
        if self.weather.nats_down || self.controllers[index].life != life {
            return;
        }
        match request {
            Request::Ping => {
                for host in 0..self.hosts.len() {
                    if self.hosts[host].reachable() {
                        let ping = self.ping(host);
                        self.deliver(index, Input::Ping(ping), true);
                    }
                }
            }
            Request::Inventory(id) => {
                let Some(host) = self.host_index(&id).filter(|host| self.hosts[*host].up) else {
                    self.deliver(
                        index,
                        Input::NoInventory {
                            host: id,
                            no_responders: true,
                        },
                        false,
                    );
                    return;
                };
                if self.hosts[host].reachable() {
                    let inventory = self.hosts[host].inventory(self.now);
                    self.deliver(
                        index,
                        Input::Inventory {
                            host: id,
                            inventory,
                        },
                        true,
                    );
                }
            }
            Request::Links => {
                let links = self.store.links.values().flatten().cloned().collect();
                self.deliver(index, Input::Links(links), true);
            }
            Request::Config(name) => {
                let value = self.store.configs.get(&name).cloned();
                self.deliver(index, Input::Config { name, value }, true);
            }
        }
    }

    fn ping(&self, host: usize) -> proto::ctl::Host {
        let host = &self.hosts[host];
        proto::ctl::Host {
            id: host.id.clone(),
            friendly_name: host.id.to_string(),
            labels: host.labels.clone(),
            lattice: "default".to_owned(),
            uptime_seconds: 0,
            uptime_human: None,
            version: Some("1.0.0".to_owned()),
            rpc_host: None,
            ctl_host: None,
            js_domain: None,
        }
    }

    pub(super) fn lease(&mut self, index: usize, life: u32) {
        if !self.controllers[index].up || self.controllers[index].life != life {
            return;
        }
        let now = self.now;
        let claimed = if self.is_connected(index) {
            self.store.claim(index, now, LEASE)
        } else {
            None
        };
        let controller = &mut self.controllers[index];
        match claimed {
            Some(fence) => {
                // The holder stops a little before the lease ends for the others.
                controller.until = now + LEASE - 500;
                if controller.fence.as_ref() != Some(&fence) {
                    controller.fence = Some(fence.clone());
                    self.note(|| format!("wadm{index} leads in term {}", fence.term));
                    self.hear(index, life, Input::Leadership(Some(fence)));
                }
            }
            None if controller.fence.is_some() && now >= controller.until => {
                controller.fence = None;
                self.note(|| format!("wadm{index} leads no longer"));
                self.hear(index, life, Input::Leadership(None));
            }
            None => {}
        }
        self.at(now + LEASE_EVERY, Action::Lease(index, life));
    }
}
