//! Long-lived tasks and their supervisor. Every spawn of the process belongs to it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// First pause before a failed task is started again.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why a task ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TaskError(pub String);

impl TaskError {
    /// An error in the words of its cause, and the causes of that.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self(crate::oci::error_chain(error))
    }
}

/// What happens when a task ends with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is started again, with growing pauses.
    Restart,
    /// The whole process stops.
    Stop,
}

/// Something that runs as long as the process does.
pub trait Task: Send + Sync + 'static {
    /// What it is called in the log.
    const NAME: &'static str;
    /// What happens when it fails.
    const ON_FAILURE: OnFailure;

    /// Runs until `stop` is cancelled or something goes wrong.
    fn run(&self, stop: &CancellationToken) -> impl Future<Output = Result<(), TaskError>> + Send;
}

/// Who did not stop in time.
#[derive(Debug, thiserror::Error)]
#[error("these tasks did not stop within {waited:?}: {}", names.join(", "))]
pub struct DrainError {
    /// How long they were given.
    pub waited: Duration,
    /// Their names.
    pub names: Vec<&'static str>,
}

/// A spawned task and what it is called.
type Named = (&'static str, JoinHandle<()>);

/// The supervisor: owns the tasks, restarts or stops, and ends them all.
#[derive(Clone)]
pub struct Tasks {
    stop: CancellationToken,
    failed: CancellationToken,
    running: Arc<Mutex<Vec<Named>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// A supervisor without tasks.
    pub fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            failed: CancellationToken::new(),
            running: Arc::default(),
        }
    }

    /// Cancelled when the tasks are to end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled when a task failed that may not.
    pub fn failed(&self) -> &CancellationToken {
        &self.failed
    }

    /// Starts a task and looks after it.
    pub fn start<T: Task>(&self, task: T) {
        let (stop, failed) = (self.stop.clone(), self.failed.clone());
        let handle = tokio::spawn(async move {
            let mut pause = PAUSE_MIN;
            loop {
                let started = tokio::time::Instant::now();
                let error = match task.run(&stop).await {
                    Ok(()) if stop.is_cancelled() => {
                        return tracing::debug!(task = T::NAME, "ended");
                    }
                    Ok(()) => TaskError("it ended on its own".into()),
                    Err(error) => error,
                };
                if stop.is_cancelled() {
                    return tracing::debug!(task = T::NAME, %error, "ended");
                }
                if T::ON_FAILURE == OnFailure::Stop {
                    tracing::error!(task = T::NAME, %error, "a task that may not fail did; stopping");
                    return failed.cancel();
                }
                if started.elapsed() > PAUSE_MAX {
                    pause = PAUSE_MIN;
                }
                tracing::warn!(task = T::NAME, %error, again_in = ?pause, "task failed");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                }
            }
        });
        self.own(T::NAME, handle);
    }

    /// Runs one piece of work that ends by itself; the supervisor waits for it when it drains.
    pub fn work(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let handle = tokio::spawn(work);
        self.own(name, handle);
    }

    fn own(&self, name: &'static str, handle: JoinHandle<()>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, handle)| !handle.is_finished());
        running.push((name, handle));
    }

    /// Ends all tasks and waits for them.
    ///
    /// # Errors
    /// [`DrainError`] names those that were cut off because they did not end in time.
    pub async fn drain(&self, grace: Duration) -> Result<(), DrainError> {
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + grace;
        let mut names = Vec::new();
        loop {
            let next = self
                .running
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let Some((name, mut handle)) = next else {
                break;
            };
            if tokio::time::timeout_at(deadline, &mut handle)
                .await
                .is_err()
            {
                handle.abort();
                names.push(name);
            }
        }
        if names.is_empty() {
            Ok(())
        } else {
            Err(DrainError {
                waited: grace,
                names,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Flaky(Arc<AtomicUsize>);

    impl Task for Flaky {
        const NAME: &'static str = "flaky";
        const ON_FAILURE: OnFailure = OnFailure::Restart;

        async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
            if self.0.fetch_add(1, Ordering::SeqCst) < 2 {
                return Err(TaskError("not yet".into()));
            }
            stop.cancelled().await;
            Ok(())
        }
    }

    struct Vital;

    impl Task for Vital {
        const NAME: &'static str = "vital";
        const ON_FAILURE: OnFailure = OnFailure::Stop;

        async fn run(&self, _: &CancellationToken) -> Result<(), TaskError> {
            Err(TaskError("broken".into()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_is_started_again() {
        let tasks = Tasks::new();
        let runs = Arc::new(AtomicUsize::new(0));
        tasks.start(Flaky(runs.clone()));
        while runs.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tasks
            .drain(Duration::from_secs(1))
            .await
            .expect("all ended");
    }

    #[tokio::test]
    async fn a_vital_task_takes_the_process_with_it() {
        let tasks = Tasks::new();
        tasks.start(Vital);
        tasks.failed().cancelled().await;
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_stop_is_named() {
        let tasks = Tasks::new();
        tasks.work("deaf", std::future::pending());
        let error = tasks
            .drain(Duration::from_secs(1))
            .await
            .expect_err("one is left");
        assert_eq!(
            error.to_string(),
            "these tasks did not stop within 1s: deaf"
        );
    }
}
