//! One lattice's actor: owns the controller, tells it what is heard, carries out what it wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::jetstream::kv;
use proto::ctl::Fence;
use proto::id::Lattice;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::wire::Wire;
use super::writer::{Record, Writer};
use super::{Message, lead};
use crate::core::{CommandId, Controller, Input, Output, Request, Time, Timing};
use crate::lease::{Leadership, Lease};
use crate::nats::Nats;
use crate::plan::Command;
use crate::status::Statuses;
use crate::store::Retired;

/// Messages taken before the controller is asked again what it wants.
const BATCH_MAX: usize = 1024;

/// Shortest time between two passes: what arrives meanwhile is looked at together.
const PASS_EVERY: Duration = Duration::from_millis(5);

/// Longest time between two passes.
const PASS_AT_LEAST: Duration = Duration::from_secs(1);

/// Questions to hosts that may be unanswered at once.
const QUESTIONS_MAX: usize = 64;

/// Answers that may wait to be taken.
const ANSWERS_MAX: usize = 1024;

/// How long commands under way may take to be answered when the process stops.
const STOP_TIME: Duration = Duration::from_secs(2);

/// What all actors of the process share.
#[derive(Clone)]
pub struct Settings {
    /// The connection.
    pub nats: Nats,
    /// The control interface's first tokens.
    pub ctl_prefix: String,
    /// This controller's name.
    pub name: String,
    /// How long a lease lasts.
    pub lease_time: Duration,
    /// The bucket of leases and removals.
    pub control: kv::Store,
    /// Where statuses go.
    pub statuses: Statuses,
    /// Control requests that may be unanswered at once, per lattice.
    pub commands_max: usize,
    /// The controller's times.
    pub timing: Timing,
}

/// Looks after one lattice.
pub(super) struct Actor {
    lattice: Lattice,
    inbox: mpsc::Receiver<Message>,
    settings: Settings,
    controller: Controller,
    clock: Clock,
    wire: Wire,
    writer: Writer,
    /// The term this controller leads in, as the controller knows it.
    fence: Option<Fence>,
    commands: VecDeque<(CommandId, Command, Fence)>,
    questions: VecDeque<Request>,
    sending: JoinSet<Input>,
    asking: JoinSet<()>,
    heard: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    passed: Instant,
}

/// The controller's time: starts at the system's and never goes back.
struct Clock {
    start: SystemTime,
    since: Instant,
}

impl Clock {
    fn now(&self) -> Time {
        Time::from(self.start) + self.since.elapsed()
    }

    /// The moment at which the controller's time will be `at`.
    fn instant(&self, at: Time) -> Instant {
        self.since + at.since(Time::from(self.start))
    }
}

impl Actor {
    pub(super) fn new(
        lattice: Lattice,
        inbox: mpsc::Receiver<Message>,
        settings: Settings,
    ) -> Self {
        let retired = Retired::new(settings.control.clone());
        let wire = Wire {
            client: settings.nats.client.clone(),
            prefix: settings.ctl_prefix.clone(),
            lattice: lattice.clone(),
        };
        Self {
            writer: Writer::new(lattice.clone(), settings.statuses.clone(), retired),
            controller: Controller::new(settings.timing.clone()),
            clock: Clock {
                start: SystemTime::now(),
                since: Instant::now(),
            },
            wire,
            lattice,
            inbox,
            settings,
            fence: None,
            commands: VecDeque::new(),
            questions: VecDeque::new(),
            sending: JoinSet::new(),
            asking: JoinSet::new(),
            heard: mpsc::channel(ANSWERS_MAX),
            passed: Instant::now(),
        }
    }

    /// Works until `stop`.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        tracing::info!(lattice = %self.lattice, "looking after lattice");
        let lease = Lease::new(
            self.settings.control.clone(),
            self.lattice.clone(),
            self.settings.name.clone(),
            self.settings.lease_time,
        );
        let (outcome, mut leadership) = watch::channel(lease.leadership());
        let leading = CancellationToken::new();
        let election = lead::lead(lease, outcome, leading.clone());
        let mut connected = self.settings.nats.connected();
        let mut election = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(election));
        self.questions.push_back(Request::Ping);
        loop {
            let wake = self.wake_at(&leadership);
            tokio::select! {
                () = stop.cancelled() => break,
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                Some(input) = self.heard.1.recv() => self.hear(input),
                Some(answer) = self.sending.join_next() => self.answered(answer),
                Some(_) = self.asking.join_next() => {}
                () = self.writer.next() => {}
                Ok(()) = leadership.changed() => {}
                Ok(()) = connected.changed() => {
                    let connected = *connected.borrow_and_update();
                    self.hear(Input::Connected(connected));
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.take_waiting();
            self.lead(&leadership.borrow_and_update().clone());
            if self.passed.elapsed() >= PASS_EVERY {
                self.pass();
            }
            self.begin();
        }
        // The answers of what is under way are worth waiting for: the next leader sees less unrest.
        let _ = tokio::time::timeout(STOP_TIME, async {
            while self.sending.join_next().await.is_some() {}
        })
        .await;
        let _ = tokio::time::timeout(STOP_TIME, self.writer.finish()).await;
        leading.cancel();
        let _ = tokio::time::timeout(STOP_TIME, &mut election).await;
    }

    /// When to look again although nothing was heard.
    fn wake_at(&self, leadership: &watch::Receiver<Leadership>) -> Instant {
        let mut wake = self.passed + PASS_AT_LEAST;
        if let Some(at) = self.controller.wake_at() {
            wake = wake.min(self.clock.instant(at));
        }
        wake = wake.max(self.passed + PASS_EVERY);
        if let Leadership::Leader { until, .. } = &*leadership.borrow()
            && self.fence.is_some()
        {
            wake = wake.min(*until);
        }
        self.writer.wake_at().map_or(wake, |at| wake.min(at))
    }

    fn take_waiting(&mut self) {
        for _ in 0..BATCH_MAX {
            if let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            } else if let Ok(input) = self.heard.1.try_recv() {
                self.hear(input);
            } else if let Some(answer) = self.sending.try_join_next() {
                self.answered(answer);
            } else if self.asking.try_join_next().is_none() {
                return;
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Hear(input) => self.hear(*input),
            Message::Missed => {
                self.questions.push_back(Request::Ping);
                self.questions.push_back(Request::Links);
            }
            Message::Plan(manifest, answer) => {
                let preview = self
                    .controller
                    .preview(Arc::from(*manifest), self.clock.now());
                // Whoever asked may have given up.
                let _ = answer.send(preview);
            }
        }
    }

    fn hear(&mut self, input: Input) {
        self.controller.handle(input, self.clock.now());
    }

    fn answered(&mut self, answer: Result<Input, tokio::task::JoinError>) {
        match answer {
            Ok(input) => self.hear(input),
            // The command's own deadline in the controller takes care of it.
            Err(error) => {
                tracing::error!(lattice = %self.lattice, %error, "sending a command panicked")
            }
        }
    }

    /// Tells the controller when it begins or ceases to lead.
    fn lead(&mut self, leadership: &Leadership) {
        let term = leadership.acting_term();
        if term == self.fence.as_ref().map(|fence| fence.term) {
            return;
        }
        self.fence = term.map(|term| Fence {
            controller: self.settings.name.clone(),
            term,
        });
        self.hear(Input::Leadership(self.fence.clone()));
        if self.fence.is_none() {
            tracing::info!(lattice = %self.lattice, "no longer leading");
            self.commands.clear();
            self.writer.forget();
        } else {
            self.ask_for_statuses();
        }
    }

    /// A new leader goes on from what was published last, so that nothing is published twice.
    fn ask_for_statuses(&mut self) {
        let names = self.controller.applications();
        let (lattice, statuses, heard) = (
            self.lattice.clone(),
            self.settings.statuses.clone(),
            self.heard.0.clone(),
        );
        self.asking.spawn(async move {
            for name in names {
                if let Some(status) = statuses.last(&lattice, &name).await {
                    let _ = heard.send(Input::Published { name, status }).await;
                }
            }
        });
    }

    /// One pass of the controller.
    fn pass(&mut self) {
        self.passed = Instant::now();
        for output in self.controller.step(self.clock.now()) {
            match output {
                Output::Send { id, command, fence } => {
                    self.commands.push_back((id, command, fence))
                }
                Output::Ask(request) => {
                    if !self.questions.contains(&request) {
                        self.questions.push_back(request);
                    }
                }
                Output::Publish { name, status } => {
                    self.writer.take(name, Record::Status(Box::new(status)))
                }
                Output::Retire { name, manifests } => {
                    self.writer.take(name, Record::Retired(manifests))
                }
            }
        }
    }

    /// Sends as much as may be under way.
    fn begin(&mut self) {
        while self.sending.len() < self.settings.commands_max {
            let Some((id, command, fence)) = self.commands.pop_front() else {
                break;
            };
            if self.fence.as_ref() != Some(&fence) {
                continue;
            }
            tracing::debug!(lattice = %self.lattice, term = fence.term, %command, "sending");
            let wire = self.wire.clone();
            self.sending.spawn(async move {
                Input::Reply {
                    id,
                    reply: wire.send(command, fence).await,
                }
            });
        }
        while self.asking.len() < QUESTIONS_MAX {
            let Some(request) = self.questions.pop_front() else {
                break;
            };
            let (wire, heard) = (self.wire.clone(), self.heard.0.clone());
            self.asking
                .spawn(async move { wire.ask(request, &heard).await });
        }
        self.writer.begin();
    }
}
