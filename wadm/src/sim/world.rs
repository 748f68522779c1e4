//! The simulated lattice: virtual time, a queue of what happens next, a network that loses,
//! doubles, delays and reorders.

mod controllers;

use std::collections::{BTreeMap, VecDeque};

use proto::ctl::Fence;
use proto::event::Event;
use proto::id::HostId;
use proto::wadm_api::Status;

use super::host::{Job, SimHost};
use super::rng::Rng;
use super::store::Store;
use crate::core::{CommandId, Controller, Input, Request, Timing};
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
}
