//! Starts everything in order, watches over it, and ends it in the reverse order.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::child::{Child, how};
use super::follow::Follow;
use super::plan::{Plan, PlannedHost};
use super::ready::{self, Readiness};
use super::state::{HostState, Place, State};
use super::summary::Summary;
use super::{HOST_GRACE, PART_GRACE, UpCommand, UpError, announce};
use crate::exit::Exit;
use crate::output::Printer;
use crate::process::{ProcessId, tail};

/// A part that ends sooner than this after its start counts as failing.
const SOON: Duration = Duration::from_secs(5);
/// How often a part may fail in a row before we give up.
const FAILURES_MAX: u32 = 5;
/// The pause before a part is started again.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the logs are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Everything that runs. Dropping it kills what is left.
pub struct Running {
    pub nats: Option<Child>,
    pub wadm: Option<Child>,
    pub hosts: Vec<(PlannedHost, Child)>,
    failures: u32,
}

/// What makes us stop.
enum Stop {
    /// A person or the system asks for it.
    Asked,
    /// Something failed for good.
    Failed(UpError),
}

/// The signals that end us.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn new() -> Result<Self, UpError> {
        let listen = |kind| signal(kind).map_err(UpError::Signals);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

/// Runs the plan until it is to end; nothing is left of it afterwards.
pub async fn run(
    command: &UpCommand,
    plan: Plan,
    place: &Place,
    printer: &Printer,
) -> Result<Exit, UpError> {
    let mut signals = Signals::new()?;
    let mut running = Running {
        nats: None,
        wadm: None,
        hosts: Vec::new(),
        failures: 0,
    };
    let mut record = Record {
        command,
        place,
        url: plan.url.clone(),
        nats_version: String::new(),
        names: BTreeMap::new(),
    };
    let start = tokio::select! {
        started = start(plan, &mut record, printer, &mut running) => started,
        () = signals.next() => Err(UpError::Interrupted),
    };
    let stop = match start {
        Err(error) => Stop::Failed(error),
        Ok(summary) => {
            announce(&summary, printer, command.in_background);
            watch(&record, &mut running, &mut signals, printer).await
        }
    };
    let quiet = command.in_background;
    let ending = async {
        let progress = (!quiet).then(|| printer.progress("stopping hosts, wadm and NATS"));
        end(running).await;
        drop(progress);
    };
    tokio::select! {
        () = ending => {}
        // A second Ctrl-C: no more patience. Dropping `ending` kills what is left.
        () = signals.next() => {}
    }
    match stop {
        // Ctrl-C is the usual way to end `wash up`, not a failure.
        Stop::Asked => Ok(Exit::Ok),
        Stop::Failed(error) => Err(error),
    }
}

/// What is written down for `down`, and kept up to date.
struct Record<'a> {
    command: &'a UpCommand,
    place: &'a Place,
    url: String,
    nats_version: String,
    names: BTreeMap<String, String>,
}

impl Record<'_> {
    fn write(&self, running: &Running, ready: bool) -> Result<State, UpError> {
        let host = |(planned, child): &(PlannedHost, Child)| HostState {
            process: child.id,
            id: planned.id.clone(),
            name: self.names.get(&planned.id).cloned().unwrap_or_default(),
            labels: planned.labels.clone(),
            http: format!("http://{}", planned.http),
        };
        let state = State {
            supervisor: ProcessId::own(),
            lattice: self.command.host.lattice.clone(),
            nats_url: self.url.clone(),
            nats_version: self.nats_version.clone(),
            nats: running.nats.as_ref().map(|child| child.id),
            wadm: running.wadm.as_ref().map(|child| child.id),
            hosts: running.hosts.iter().map(host).collect(),
            ready,
        };
        self.place.write(&state)?;
        Ok(state)
    }
}

async fn start(
    plan: Plan,
    record: &mut Record<'_>,
    printer: &Printer,
    running: &mut Running,
) -> Result<Summary, UpError> {
    let command = record.command;
    let mut progress = printer.progress("starting NATS");
    if let Some(program) = &plan.nats {
        running.nats = Some(program.start()?);
    }
    record.write(running, false)?;
    let mut readiness = Readiness::new(command, &plan);
    record.nats_version = readiness.nats(running).await?;
    // On a server that was not there yet, there are no hosts either.
    if !command.multi_local && plan.nats.is_none() {
        readiness.no_hosts_yet().await?;
    }
    if let Some(program) = &plan.wadm
        && !readiness.wadm_answers().await
    {
        progress.say("starting wadm");
        running.wadm = Some(program.start()?);
    }
    progress.say(format!("starting {} host(s)", plan.hosts.len()));
    for planned in plan.hosts {
        let child = planned.program.start()?;
        running.hosts.push((planned, child));
        record.write(running, false)?;
    }
    progress.say("waiting until wadm and hosts are ready");
    record.names = readiness.all(running, plan.wadm.is_some()).await?;
    drop(progress);
    if let Some(manifest) = &command.wadm.wadm_manifest {
        readiness.deploy(manifest).await?;
    }
    let state = record.write(running, true)?;
    Ok(Summary::new(command, &state, &plan.logs))
}

async fn watch(
    record: &Record<'_>,
    running: &mut Running,
    signals: &mut Signals,
    printer: &Printer,
) -> Stop {
    let mut follow = (!record.command.in_background).then(|| Follow::new(&running.logs()));
    let mut tick = tokio::time::interval(LOOK);
    loop {
        let ended = tokio::select! {
            () = signals.next() => return Stop::Asked,
            _ = tick.tick() => {
                if let Some(follow) = &mut follow {
                    follow.show(printer);
                }
                continue;
            }
            ended = running.next_end() => ended,
        };
        match running.after_end(ended, printer).await {
            Ok(()) => {}
            Err(error) => return Stop::Failed(error),
        }
        if let Err(error) = record.write(running, true) {
            return Stop::Failed(error);
        }
    }
}

/// Which part ended.
enum Part {
    Nats,
    Wadm,
    Host(usize),
}

impl Running {
    fn logs(&self) -> Vec<(String, std::path::PathBuf)> {
        let parts = self
            .nats
            .iter()
            .chain(&self.wadm)
            .chain(self.hosts.iter().map(|(_, child)| child));
        parts
            .map(|child| (child.program.name.clone(), child.program.log.clone()))
            .collect()
    }

    /// Whoever ends next; never, when nothing runs.
    async fn next_end(&mut self) -> (Part, Option<ExitStatus>) {
        let mut waiting = FuturesUnordered::new();
        let nats = self.nats.iter_mut().map(|child| (Part::Nats, child));
        let wadm = self.wadm.iter_mut().map(|child| (Part::Wadm, child));
        let hosts = self
            .hosts
            .iter_mut()
            .enumerate()
            .map(|(index, (_, child))| (Part::Host(index), child));
        for (part, child) in nats.chain(wadm).chain(hosts) {
            waiting.push(async move { (part, child.ended().await.ok()) });
        }
        match waiting.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// NATS and wadm are started again; a host is not, so that its loss can be seen and handled.
    async fn after_end(
        &mut self,
        (part, status): (Part, Option<ExitStatus>),
        printer: &Printer,
    ) -> Result<(), UpError> {
        let how = status.map_or_else(|| "unknown end".to_owned(), how);
        let slot = match part {
            Part::Host(index) => {
                let (planned, child) = self.hosts.remove(index);
                let name = &child.program.name;
                printer.warn(&format!("{name} ({}) ended: {how}", planned.id));
                return Ok(());
            }
            Part::Nats => &mut self.nats,
            Part::Wadm => &mut self.wadm,
        };
        let Some(ended) = slot.take() else {
            return Ok(());
        };
        let program = ended.program.clone();
        self.failures = if ended.since.elapsed() < SOON {
            self.failures + 1
        } else {
            1
        };
        if self.failures > FAILURES_MAX {
            return Err(UpError::KeepsEnding {
                name: program.name,
                how,
                log: program.log,
            });
        }
        printer.warn(&format!("{} ended: {how}; starting it again", program.name));
        tokio::time::sleep(PAUSE).await;
        *slot = Some(program.start()?);
        Ok(())
    }

    /// An error if a part ended while we wait for all to be ready.
    pub fn check(&mut self) -> Result<(), UpError> {
        let hosts = self.hosts.iter_mut().map(|(_, child)| child);
        for child in self.nats.iter_mut().chain(&mut self.wadm).chain(hosts) {
            if let Some(status) = child.has_ended() {
                let log = child.program.log.clone();
                return Err(UpError::Ended {
                    name: child.program.name.clone(),
                    how: how(status),
                    tail: tail(&log, ready::TAIL_LINES),
                    log,
                });
            }
        }
        Ok(())
    }
}

/// Hosts first, so that they can say goodbye; NATS last.
async fn end(running: Running) {
    super::child::stop_all(
        running.hosts.into_iter().map(|(_, child)| child),
        HOST_GRACE,
    )
    .await;
    super::child::stop_all(running.wadm, PART_GRACE).await;
    super::child::stop_all(running.nats, PART_GRACE).await;
}
