//! Long-lived tasks and who looks after them: every task of the process belongs to one [`Tasks`],
//! ends by its token, and says why it ended.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Shortest and longest pause before a failed task runs again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A run at least this long counts as healthy: the next pause is the shortest again.
const HEALTHY_RUN: Duration = Duration::from_secs(30);

/// Why a task ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TaskError(#[from] anyhow::Error);

/// Something that runs until it is told to stop.
#[async_trait::async_trait]
pub trait Task: Send + Sync + 'static {
    /// The task's name in log lines.
    const NAME: &'static str;

    /// Runs until `stop` is cancelled; called again when it fails.
    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError>;
}

/// Owns every task of the process.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    stop: CancellationToken,
}

/// Tasks that did not stop in time.
#[derive(Debug, thiserror::Error)]
#[error("{count} task(s) did not stop within {grace:?}")]
pub struct StillRunning {
    count: usize,
    grace: Duration,
}

impl Tasks {
    /// No tasks yet; all that are started end with `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
        }
    }

    /// Runs `task`, and again after a pause whenever it fails or panics.
    pub fn start<T: Task>(&mut self, task: T) {
        let stop = self.stop.clone();
        self.set.spawn(async move {
            supervise(&task, &stop).await;
            T::NAME
        });
    }

    /// Tells all tasks to stop and waits for them.
    ///
    /// # Errors
    /// [`StillRunning`] when some have not ended after `grace`; they are dropped.
    pub async fn drain(mut self, grace: Duration) -> Result<(), StillRunning> {
        self.stop.cancel();
        let all = async { while self.set.join_next().await.is_some() {} };
        match tokio::time::timeout(grace, all).await {
            Ok(()) => Ok(()),
            Err(_) => Err(StillRunning {
                count: self.set.len(),
                grace,
            }),
        }
    }
}

async fn supervise<T: Task>(task: &T, stop: &CancellationToken) {
    let mut pause = RESTART_PAUSE.0;
    while !stop.is_cancelled() {
        let started = tokio::time::Instant::now();
        match AssertUnwindSafe(task.run(stop)).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::warn!(
                    task = T::NAME,
                    error = format!("{:#}", error.0),
                    "task failed, restarting"
                );
            }
            Err(panic) => tracing::error!(
                task = T::NAME,
                panic = panic_text(&panic),
                "task panicked, restarting"
            ),
        }
        if started.elapsed() >= HEALTHY_RUN {
            pause = RESTART_PAUSE.0;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RESTART_PAUSE.1);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Ends when the process is asked to: SIGINT or SIGTERM.
pub async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut term) => tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            },
            Err(error) => {
                tracing::warn!(%error, "cannot listen for SIGTERM, only for SIGINT");
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Flaky(std::sync::Arc<AtomicU32>);

    #[async_trait::async_trait]
    impl Task for Flaky {
        const NAME: &'static str = "flaky";
        async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(anyhow::anyhow!("first run fails").into()),
                1 => panic!("second run panics"),
                _ => {
                    stop.cancelled().await;
                    Ok(())
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_or_panics_runs_again_and_ends_when_told() {
        let runs = std::sync::Arc::new(AtomicU32::new(0));
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.start(Flaky(runs.clone()));
        tokio::time::timeout(Duration::from_secs(5), async {
            while runs.load(Ordering::SeqCst) < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        tasks.drain(Duration::from_secs(1)).await.unwrap();
    }
}
