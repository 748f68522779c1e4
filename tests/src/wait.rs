//! Waiting: a condition with a deadline, never a plain sleep.

use std::future::Future;
use std::time::{Duration, Instant};

/// How often a condition is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks `probe` until it gives a value.
///
/// # Errors
/// At the deadline: what was waited for, and why the last probe did not give it.
pub async fn eventually<T, F>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let start = Instant::now();
    loop {
        let error = match probe().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if start.elapsed() > deadline {
            return Err(error.context(format!("waited {deadline:?} for {what}")));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Asks `probe` until it says yes.
///
/// # Errors
/// At the deadline, with what was waited for.
pub async fn until<F>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = bool>,
{
    eventually(what, deadline, || {
        let asked = probe();
        async move {
            anyhow::ensure!(asked.await, "not so");
            Ok(())
        }
    })
    .await
}
