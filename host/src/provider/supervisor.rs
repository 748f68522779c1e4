//! Keeps a provider running: health checks, restarts, the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::link::LinkKey;
use proto::provider::SecretValue;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::commands::Commands;
use super::leftover;
use super::process::{Process, StartError};
use super::{EventSink, ProviderContext, ProviderError, ProviderEvent, ProviderSpec, Settings};
use crate::link::ResolvedLink;

/// When the first health check comes.
const HEALTH_FIRST: Duration = Duration::from_secs(5);
/// How far apart the others are.
const HEALTH_EVERY: Duration = Duration::from_secs(30);
/// The pause before a second restart in a row; the first one comes at once, later pauses double.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A process that lived this long starts a new count of pauses.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// A provider that is kept running. Dropped without [`ProviderProcess::stop`], it is ended.
pub struct ProviderProcess {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    settings: Mutex<Settings>,
    /// Links put since the process was last told of all; it may not have listened yet.
    untold: Mutex<Vec<Arc<ResolvedLink>>>,
    config_changed: std::sync::atomic::AtomicBool,
    wake: Notify,
    stop: CancellationToken,
    restarts: AtomicU64,
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_untold(&self) -> Vec<Arc<ResolvedLink>> {
        std::mem::take(&mut *self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ProviderProcess {
    /// Starts the process and begins to look after it.
    ///
    /// # Errors
    /// The first start fails; later ones are tried again.
    pub async fn start(
        cx: ProviderContext,
        spec: ProviderSpec,
        events: EventSink,
    ) -> Result<Self, ProviderError> {
        let shared = Arc::new(Shared {
            settings: Mutex::new(spec.settings.clone()),
            untold: Mutex::default(),
            config_changed: std::sync::atomic::AtomicBool::new(false),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            restarts: AtomicU64::new(0),
        });
        let mut supervisor = Supervisor {
            commands: Commands::new(cx, spec.id.clone()),
            spec,
            events,
            shared,
        };
        let process = supervisor.spawn().await?;
        let shared = supervisor.shared.clone();
        let task = tokio::spawn(supervisor.run(process));
        Ok(Self {
            shared,
            task: Some(task),
        })
    }

    /// How many times it was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.shared.restarts.load(Ordering::Relaxed)
    }

    /// Gives the provider a link, now and at every restart. A known one replaces the old.
    pub fn put_link(&self, link: Arc<ResolvedLink>) {
        let key = link.link.key();
        let mut settings = self.shared.settings();
        settings.links.retain(|known| !known.link.is(&key));
        settings.links.push(link.clone());
        drop(settings);
        self.shared
            .untold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(link);
        self.shared.wake.notify_one();
    }

    /// Forgets a link: a restart comes without it. The running process hears of it from the host
    /// that handled the request.
    pub fn delete_link(&self, key: &LinkKey) {
        self.shared
            .settings()
            .links
            .retain(|known| !known.link.is(key));
    }

    /// Replaces the configuration, and tells the provider if it differs.
    pub fn set_config(&self, config: BTreeMap<String, String>) {
        let mut settings = self.shared.settings();
        if settings.config == config {
            return;
        }
        settings.config = config;
        drop(settings);
        self.shared.config_changed.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
    }

    /// Replaces the secrets; the protocol has no message for it, so they count from the next
    /// start on.
    pub fn set_secrets(&self, secrets: BTreeMap<String, SecretValue>) {
        self.shared.settings().secrets = secrets;
    }

    /// Asks the provider to end, then ends it, with all that it started.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for ProviderProcess {
    fn drop(&mut self) {
        // The process is ended as its owner, the task, is dropped.
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Why the supervisor stopped waiting.
enum Turn {
    Stop,
    Exited(String),
    Woken,
    Health,
}

struct Supervisor {
    commands: Commands,
    spec: ProviderSpec,
    events: EventSink,
    shared: Arc<Shared>,
}

impl Supervisor {
    /// Starts a process with the settings as they are now.
    async fn spawn(&mut self) -> Result<Process, ProviderError> {
        let (cx, id) = (self.commands.cx.clone(), self.spec.id.clone());
        self.commands = Commands::new(cx, id);
        let settings = self.shared.settings().clone();
        self.shared.take_untold();
        self.shared.config_changed.store(false, Ordering::SeqCst);
        let line = self.commands.start_line(&settings)?;
        let executable = &self.spec.executable;
        let process = Process::start(executable, &line)
            .await
            .map_err(|error| match error {
                StartError::Spawn(source) => ProviderError::Spawn {
                    executable: executable.clone(),
                    source,
                },
                StartError::Data(source) => ProviderError::StartData(source),
            })?;
        let dir = &self.commands.cx.dir;
        leftover::note(dir, &self.spec.id, process.pid()).map_err(|source| {
            ProviderError::Note {
                path: dir.clone(),
                source,
            }
        })?;
        // Upstream sends it once after every start, and providers count on it.
        self.commands.put_config(&settings.config).await;
        Ok(process)
    }

    async fn run(mut self, mut process: Process) {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            let Some(status) = self.watch(&mut process).await else {
                break;
            };
            drop(process);
            backoff.lived(started.elapsed());
            let again_in = backoff.next();
            let id = &self.spec.id;
            tracing::warn!(provider = %id, status, ?again_in, "a provider ended; starting it again");
            (self.events)(ProviderEvent::Exited { status, again_in });
            match self.restart(&mut backoff, again_in).await {
                Some(next) => process = next,
                None => return leftover::forget(&self.commands.cx.dir, &self.spec.id),
            }
        }
        self.commands.shutdown().await;
        process.end().await;
        leftover::forget(&self.commands.cx.dir, &self.spec.id);
    }

    /// Tries to start a process until one starts; `None` when it is to stop.
    async fn restart(&mut self, backoff: &mut Backoff, mut pause: Duration) -> Option<Process> {
        loop {
            tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            match self.spawn().await {
                Ok(process) => {
                    let restarts = self.shared.restarts.fetch_add(1, Ordering::Relaxed) + 1;
                    (self.events)(ProviderEvent::Restarted { restarts });
                    return Some(process);
                }
                Err(error) => {
                    pause = backoff.next();
                    let error = crate::oci::error_chain(&error);
                    tracing::warn!(provider = %self.spec.id, error, again_in = ?pause, "a provider does not start");
                    (self.events)(ProviderEvent::RestartFailed {
                        error,
                        again_in: pause,
                    });
                }
            }
        }
    }

    /// Looks after a running process; how it ended, or `None` when it is to stop.
    async fn watch(&mut self, process: &mut Process) -> Option<String> {
        let mut healthy = false;
        let mut listening = false;
        let mut health = tokio::time::interval_at(Instant::now() + HEALTH_FIRST, HEALTH_EVERY);
        loop {
            let turn = tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => Turn::Stop,
                status = process.ended() => Turn::Exited(status),
                () = self.shared.wake.notified() => Turn::Woken,
                _ = health.tick() => Turn::Health,
            };
            match turn {
                Turn::Stop => return None,
                Turn::Exited(status) => return Some(status),
                Turn::Woken => self.tell(listening).await,
                Turn::Health => {
                    let Some(now) = self.commands.health().await else {
                        tracing::warn!(provider = %self.spec.id, "a provider does not say whether it is well");
                        continue;
                    };
                    (self.events)(match (healthy, now) {
                        (false, true) => ProviderEvent::HealthPassed,
                        (true, false) => ProviderEvent::HealthFailed,
                        _ => ProviderEvent::HealthStatus,
                    });
                    healthy = now;
                    if !std::mem::replace(&mut listening, true) {
                        self.tell(true).await;
                    }
                }
            }
        }
    }

    /// Tells the process what has changed. Until it has answered once it may not have listened:
    /// what it was told until then it is told again.
    async fn tell(&mut self, listening: bool) {
        let links = self.shared.take_untold();
        for link in &links {
            self.commands.put_link(link).await;
        }
        let config = self.shared.config_changed.load(Ordering::SeqCst).then(|| {
            self.shared
                .config_changed
                .store(!listening, Ordering::SeqCst);
            self.shared.settings().config.clone()
        });
        if let Some(config) = config {
            self.commands.put_config(&config).await;
        }
        if !listening {
            let mut untold = self
                .shared
                .untold
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            untold.splice(..0, links);
        }
    }
}

/// The pauses between restarts: none, then growing ones.
#[derive(Default)]
struct Backoff {
    pause: Duration,
}

impl Backoff {
    fn lived(&mut self, time: Duration) {
        if time >= STEADY_AFTER {
            self.pause = Duration::ZERO;
        }
    }

    fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_start_over_after_a_steady_run() {
        let mut backoff = Backoff::default();
        let mut pauses = || -> Vec<u64> { (0..9).map(|_| backoff.next().as_secs()).collect() };
        assert_eq!(pauses(), [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        backoff.lived(STEADY_AFTER);
        assert_eq!(backoff.next(), Duration::ZERO);
    }
}
