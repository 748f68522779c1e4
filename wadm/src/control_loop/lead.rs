//! Takes part in the election of one lattice's leader, beside the actor that needs the outcome.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lease::{Leadership, Lease};

/// How long giving the lease back may take when the process stops.
const RELEASE_TIME: Duration = Duration::from_secs(1);

/// Renews or waits for the lease until `stop`, then gives it back.
pub(super) async fn lead(
    mut lease: Lease,
    outcome: watch::Sender<Leadership>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(lease.tick_every());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => break,
            done = lease.tick() => done,
        };
        match done {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                let error = anyhow::Error::new(error);
                tracing::warn!(error = format!("{error:#}"), "the lease is out of reach");
            }
            Err(_) => {}
        }
        let now = lease.leadership();
        outcome.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }
    let _ = tokio::time::timeout(RELEASE_TIME, lease.release()).await;
}
