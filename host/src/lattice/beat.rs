//! Signs of life: a heartbeat with the whole inventory, and a small pulse every second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proto::ctl::HostInventory;
use proto::pulse::{Pulse, inventory_digest};
use proto::subject::PulseSubject;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Connection, Events, Identity};
use crate::task::{OnFailure, Task, TaskError};

/// Tells what runs here.
pub type Describe = Arc<dyn Fn() -> HostInventory + Send + Sync>;

/// Sends the inventory now and then, and at once when a lost connection is back.
pub struct Heartbeat {
    /// How often.
    pub interval: Duration,
    /// The ctl connection.
    pub connection: Connection,
    /// Where to.
    pub events: Events,
    /// What to send.
    pub describe: Describe,
    /// True while the host is part of its lattice.
    pub ready: watch::Receiver<bool>,
}

impl Task for Heartbeat {
    const NAME: &'static str = "heartbeat";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut number = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            number = joined(&self.connection, &self.ready) => number,
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.interval) => {}
                () = self.connection.not(number) => {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        now = self.connection.up() => number = now,
                    }
                }
            }
            self.events
                .publish(proto::event::Event::HostHeartbeat((self.describe)()))
                .await;
        }
    }
}

/// Waits until the host is part of its lattice; answers the number of its connection.
async fn joined(connection: &Connection, ready: &watch::Receiver<bool>) -> u64 {
    let gone = ready.clone().wait_for(|ready| *ready).await.is_err();
    if gone {
        // Nobody will say so any more: the host is ending.
        std::future::pending::<()>().await;
    }
    connection.up().await
}

/// Sends a pulse every [`PulseTask::interval`].
pub struct PulseTask {
    /// How often.
    pub interval: Duration,
    /// The ctl connection.
    pub connection: Connection,
    /// Who lives.
    pub identity: Arc<Identity>,
    /// What the digest is made of.
    pub describe: Describe,
    /// How many were sent.
    pub sequence: AtomicU64,
    /// True while the host is part of its lattice.
    pub ready: watch::Receiver<bool>,
}

impl Task for PulseTask {
    const NAME: &'static str = "pulse";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let subject = PulseSubject {
            lattice: self.identity.lattice.clone(),
            host: self.identity.id.clone(),
        };
        let subject = subject.to_string();
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            // Old pulses must not queue up while NATS is away.
            if !self.connection.is_up() || !*self.ready.borrow() {
                continue;
            }
            let pulse = Pulse {
                host_id: self.identity.id.clone(),
                sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
                interval_ms: u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX),
                inventory_digest: Some(inventory_digest(&(self.describe)())),
            };
            let bytes =
                serde_json::to_vec(&pulse).map_err(|error| TaskError::from_error(&error))?;
            let sent = self
                .connection
                .client()
                .publish(subject.clone(), bytes.into())
                .await;
            sent.map_err(|error| TaskError::from_error(&error))?;
        }
    }
}
