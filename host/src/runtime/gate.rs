//! How many calls of a component run at one time, how many wait, and how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// None of those running ended in time, or too many wait already.
    Full,
    /// The gate is closed for good.
    Closed,
}

/// Lets a number of calls in at one time; the rest wait in order, up to a bound.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    state: Arc<State>,
    queue_limit: u32,
    queue_timeout: Duration,
}

#[derive(Default)]
struct State {
    limit: AtomicU32,
    /// Permits to take out of circulation when they come back.
    debt: AtomicUsize,
    waiting: AtomicU32,
    running: AtomicUsize,
    closed: AtomicBool,
    ended: Notify,
}

/// A call that was let in.
pub(super) struct Pass {
    permit: Option<OwnedSemaphorePermit>,
    state: Arc<State>,
}

/// Counts a waiting call, also when it gives up.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(super) fn new(limit: u32, queue_limit: u32, queue_timeout: Duration) -> Self {
        let limit = limit.max(1);
        let state = State {
            limit: AtomicU32::new(limit),
            ..State::default()
        };
        Self {
            permits: Arc::new(Semaphore::new(limit as usize)),
            state: Arc::new(state),
            queue_limit,
            queue_timeout,
        }
    }

    /// Waits for its turn.
    pub(super) async fn enter(&self) -> Result<Pass, Refused> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => return Ok(self.pass(permit)),
            Err(TryAcquireError::Closed) => return Err(Refused::Closed),
            Err(TryAcquireError::NoPermits) => {}
        }
        if self.state.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue_limit {
            self.state.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        let _waiting = Waiting(&self.state.waiting);
        let turn = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(self.queue_timeout, turn).await {
            Ok(Ok(permit)) => Ok(self.pass(permit)),
            Ok(Err(_)) => Err(Refused::Closed),
            Err(_) => Err(Refused::Full),
        }
    }

    fn pass(&self, permit: OwnedSemaphorePermit) -> Pass {
        self.state.running.fetch_add(1, Ordering::AcqRel);
        Pass {
            permit: Some(permit),
            state: Arc::clone(&self.state),
        }
    }

    /// Changes how many are let in; those inside stay.
    pub(super) fn set_limit(&self, limit: u32) {
        let limit = limit.max(1);
        let old = self.state.limit.swap(limit, Ordering::AcqRel);
        if limit > old {
            let mut more = (limit - old) as usize;
            while more > 0 && self.state.pay_debt() {
                more -= 1;
            }
            self.permits.add_permits(more);
        } else {
            let less = (old - limit) as usize;
            let forgotten = self.permits.forget_permits(less);
            self.state
                .debt
                .fetch_add(less - forgotten, Ordering::AcqRel);
        }
    }

    pub(super) fn limit(&self) -> u32 {
        self.state.limit.load(Ordering::Acquire)
    }

    pub(super) fn queue_timeout(&self) -> Duration {
        self.queue_timeout
    }

    pub(super) fn running(&self) -> usize {
        self.state.running.load(Ordering::Acquire)
    }

    /// Lets nobody in any more; says whether all inside left within `grace`.
    pub(super) async fn close(&self, grace: Duration) -> bool {
        self.state.closed.store(true, Ordering::Release);
        self.permits.close();
        let empty = async {
            loop {
                let ended = self.state.ended.notified();
                if self.running() == 0 {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(grace, empty).await.is_ok()
    }
}

impl State {
    /// Takes one permit out of circulation if one too many is there.
    fn pay_debt(&self) -> bool {
        self.debt.load(Ordering::Relaxed) > 0
            && self
                .debt
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |debt| {
                    debt.checked_sub(1)
                })
                .is_ok()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.state.pay_debt()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
        let left = self.state.running.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 && self.state.closed.load(Ordering::Acquire) {
            self.state.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn calls_beyond_the_limit_wait_and_are_then_refused() {
        let gate = Gate::new(1, 1, SHORT);
        let inside = gate.enter().await.ok();
        assert!(inside.is_some());
        assert_eq!(gate.enter().await.err(), Some(Refused::Full));
        drop(inside);
        assert!(gate.enter().await.is_ok());
        assert_eq!(gate.running(), 0);
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let gate = Gate::new(1, 0, Duration::from_secs(60));
        let _inside = gate.enter().await.ok();
        assert_eq!(gate.enter().await.err(), Some(Refused::Full));
    }

    #[tokio::test]
    async fn the_limit_changes_under_running_calls() {
        let gate = Gate::new(3, 0, SHORT);
        let mut inside = Vec::new();
        for _ in 0..3 {
            inside.push(gate.enter().await.ok());
        }
        gate.set_limit(1);
        inside.pop();
        assert_eq!(
            gate.enter().await.err(),
            Some(Refused::Full),
            "two still run, one may"
        );
        inside.clear();
        let one = gate.enter().await.ok();
        assert!(one.is_some());
        assert_eq!(gate.enter().await.err(), Some(Refused::Full));
        gate.set_limit(2);
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn a_closed_gate_waits_for_those_inside() {
        let gate = Gate::new(2, 8, Duration::from_secs(60));
        let inside = gate.enter().await.ok();
        assert!(!gate.close(SHORT).await);
        assert_eq!(gate.enter().await.err(), Some(Refused::Closed));
        let leave = async { drop(inside) };
        let (all, ()) = tokio::join!(gate.close(Duration::from_secs(60)), leave);
        assert!(all);
    }
}
