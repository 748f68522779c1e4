//! The simulated lattice: virtual time, a queue of what happens next, a network that loses,
//! doubles, delays and reorders.

use std::collections::{BTreeMap, VecDeque};

use proto::ctl::Fence;
use proto::event::Event;
use proto::id::HostId;
use proto::wadm_api::Status;

use super::host::{Job, SimHost};
use super::rng::Rng;
use super::store::Store;
use crate::core::{CommandId, Controller, Input, Output, Reply, Request, Time, Timing};
use crate::plan::Command;

/// How long a request waits for its answer.
const REQUEST_TIMEOUT: u64 = 2000;
/// How long a lease lasts.
const LEASE: u64 = 6000;
/// How often a lease is renewed or tried for.
const LEASE_EVERY: u64 = 1500;
/// Lines of the trace that a failure shows.
const TRACE_MAX: usize = 400;

/// One controller process.
#[derive(Debug)]
pub(super) struct SimController {
    pub core: Controller,
    pub up: bool,
    pub cut: bool,
    pub life: u32,
    pub fence: Option<Fence>,
    pub until: u64,
    pub step_at: Option<u64>,
}

/// What happens at some moment.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Pulse(usize, u32),
    Heartbeat(usize, u32),
    Finish(usize, u32, Job),
    Hear(usize, u32, Box<Input>),
    Step(usize, u32),
    Lease(usize, u32),
    Command {
        controller: usize,
        life: u32,
        id: CommandId,
        command: Box<Command>,
        fence: Fence,
    },
    Ask {
        controller: usize,
        life: u32,
        request: Request,
    },
    Fault(super::faults::Fault),
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub loss: u64,
    pub doubled: u64,
    pub delay_ms: u64,
    pub nats_down: bool,
}

/// Counters and findings.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub commands: u64,
    pub last_command: u64,
    /// When a host last told of a change.
    pub last_change: u64,
    pub broken: Option<String>,
    pub steps: u64,
    pub step_time: std::time::Duration,
    pub worst_step: std::time::Duration,
    pub heard: u64,
    /// Attempts to start: (controller life, generation of the application, host, id) and when.
    pub attempts: BTreeMap<(usize, u32, u64, HostId, String), Vec<u64>>,
}

/// All of it.
pub(super) struct World {
    pub now: u64,
    pub rng: Rng,
    pub hosts: Vec<SimHost>,
    pub controllers: Vec<SimController>,
    pub store: Store,
    pub weather: Weather,
    pub tally: Tally,
    /// Who acted in which term.
    pub leaders: BTreeMap<u64, usize>,
    /// What was last published.
    pub statuses: BTreeMap<String, Status>,
    pub start_ms: (u64, u64),
    pub heartbeat_ms: u64,
    pub timing: Timing,
    /// Grows with every deploy, retry or healed cause: attempts are counted from there.
    pub generation: u64,
    pub measure: bool,
    queue: BTreeMap<(u64, u64), Action>,
    sequence: u64,
    trace: VecDeque<String>,
    pub tracing: bool,
}

impl World {
    pub(super) fn new(seed: u64, timing: Timing) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            controllers: Vec::new(),
            store: Store::default(),
            weather: Weather::default(),
            tally: Tally::default(),
            leaders: BTreeMap::new(),
            statuses: BTreeMap::new(),
            start_ms: (20, 800),
            heartbeat_ms: 30_000,
            timing,
            generation: 0,
            measure: false,
            queue: BTreeMap::new(),
            sequence: 0,
            trace: VecDeque::new(),
            tracing: false,
        }
    }

    pub(super) fn at(&mut self, time: u64, action: Action) {
        self.sequence += 1;
        self.queue
            .insert((time.max(self.now), self.sequence), action);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if self.tracing {
            let line = format!("{:>8.3} {}", self.now as f64 / 1000.0, line());
            self.trace.push_back(line);
            if self.trace.len() > TRACE_MAX {
                self.trace.pop_front();
            }
        }
    }

    pub(super) fn trace(&self) -> String {
        self.trace.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    pub(super) fn broke(&mut self, what: impl Into<String>) {
        if self.tally.broken.is_none() {
            let what = what.into();
            self.note(|| format!("BROKEN: {what}"));
            self.tally.broken = Some(what);
        }
    }

    /// Runs until `end`, or until a rule is broken.
    pub(super) fn run_until(&mut self, end: u64) {
        while self.tally.broken.is_none() {
            let Some(entry) = self.queue.first_entry() else {
                break;
            };
            let at = entry.key().0;
            if at > end {
                break;
            }
            let action = entry.remove();
            self.now = at;
            self.happen(action);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, action: Action) {
        match action {
            Action::Pulse(host, life) => self.pulse(host, life),
            Action::Heartbeat(host, life) => self.heartbeat(host, life),
            Action::Finish(host, life, job) => self.finish(host, life, job),
            Action::Hear(controller, life, input) => self.hear(controller, life, *input),
            Action::Step(controller, life) => self.step(controller, life),
            Action::Lease(controller, life) => self.lease(controller, life),
            Action::Command {
                controller,
                life,
                id,
                command,
                fence,
            } => {
                self.command(controller, life, id, &command, &fence);
            }
            Action::Ask {
                controller,
                life,
                request,
            } => self.answer(controller, life, request),
            Action::Fault(fault) => self.fault(fault),
        }
    }

    // ---- hosts

    pub(super) fn add_host(&mut self, mut host: SimHost) {
        let event = host.boot(self.now);
        self.hosts.push(host);
        let index = self.hosts.len() - 1;
        self.booted(index, event);
    }

    pub(super) fn booted(&mut self, index: usize, event: Event) {
        self.emit(index, event);
        let life = self.hosts[index].life;
        let beat = self.rng.between(1, self.heartbeat_ms);
        self.at(self.now + beat, Action::Heartbeat(index, life));
        if self.hosts[index].ours {
            let pulse = self.rng.between(1, self.hosts[index].pulse_ms);
            self.at(self.now + pulse, Action::Pulse(index, life));
        }
    }

    fn pulse(&mut self, index: usize, life: u32) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if !host.up || host.life != life {
            return;
        }
        let (pulse, next) = (host.pulse(now), now + host.pulse_ms);
        self.tell_all(index, || Input::Pulse(pulse.clone()));
        self.at(next, Action::Pulse(index, life));
    }

    fn heartbeat(&mut self, index: usize, life: u32) {
        if !self.hosts[index].up || self.hosts[index].life != life {
            return;
        }
        let event = Event::HostHeartbeat(self.hosts[index].inventory(self.now));
        self.emit(index, event);
        self.at(self.now + self.heartbeat_ms, Action::Heartbeat(index, life));
    }

    fn finish(&mut self, index: usize, life: u32, job: Job) {
        if !self.hosts[index].up || self.hosts[index].life != life {
            return;
        }
        let (Job::Component { wanted, .. } | Job::Provider { wanted, .. }) = &job;
        let missing = wanted
            .config
            .iter()
            .find(|name| !self.store.configs.contains_key(*name))
            .cloned();
        for event in self.hosts[index].finish(job, missing) {
            self.emit(index, event);
        }
    }

    pub(super) fn emit(&mut self, index: usize, event: Event) {
        if !matches!(event, Event::HostHeartbeat(_)) {
            self.tally.last_change = self.now;
            self.note(|| format!("event {} of host {index}", event.name()));
        }
        let source = self.hosts[index].id.clone();
        self.tell_all(index, || Input::Event {
            source: source.clone(),
            event: event.clone(),
        });
    }

    /// A host's message to every controller.
    fn tell_all(&mut self, index: usize, input: impl Fn() -> Input) {
        if !self.hosts[index].reachable() || self.weather.nats_down {
            return;
        }
        for controller in 0..self.controllers.len() {
            if self.controllers[controller].up && !self.controllers[controller].cut {
                self.deliver(controller, input(), true);
            }
        }
    }

    /// Puts an input on its way; `lossy` when the network may lose it.
    fn deliver(&mut self, controller: usize, input: Input, lossy: bool) {
        let life = self.controllers[controller].life;
        if lossy && self.weather.loss > 0 && self.rng.percent(self.weather.loss) {
            return;
        }
        let copies = if lossy && self.weather.doubled > 0 && self.rng.percent(self.weather.doubled)
        {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let latency = self.latency();
            self.at(
                self.now + latency,
                Action::Hear(controller, life, Box::new(input.clone())),
            );
        }
    }

    fn latency(&mut self) -> u64 {
        let base = self.rng.between(1, 4);
        if self.weather.delay_ms > 0 && self.rng.percent(20) {
            base + self.rng.between(0, self.weather.delay_ms)
        } else {
            base
        }
    }

    // ---- controllers

    pub(super) fn add_controller(&mut self) {
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

    pub(super) fn start_controller(&mut self, index: usize) {
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
    pub(super) fn resubscribe(&mut self, index: usize) {
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
    pub(super) fn connect(&mut self, index: usize) {
        let connected = !self.weather.nats_down && !self.controllers[index].cut;
        self.deliver_in_order(index, Input::Connected(connected));
        if connected {
            self.resubscribe(index);
        }
    }

    pub(super) fn is_connected(&self, index: usize) -> bool {
        self.controllers[index].up && !self.controllers[index].cut && !self.weather.nats_down
    }

    fn hear(&mut self, index: usize, life: u32, input: Input) {
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

    fn step(&mut self, index: usize, life: u32) {
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
    fn command(
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
    pub(super) fn record_changed(&mut self, command: &Command) {
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
    pub(super) fn deliver_in_order(&mut self, controller: usize, input: Input) {
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
    fn answer(&mut self, index: usize, life: u32, request: Request) {
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

    fn lease(&mut self, index: usize, life: u32) {
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
