//! Turns: whoever asks first for a key goes first; others wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The last in each line: its number, and when it has finished.
type Last = HashMap<String, (u64, oneshot::Receiver<()>)>;

/// Who is next, by key.
#[derive(Clone, Default)]
pub struct Turns {
    last: Arc<Mutex<Last>>,
    count: Arc<std::sync::atomic::AtomicU64>,
}

/// The right to go on; the next in line gets it when this is dropped.
pub struct Turn {
    key: String,
    number: u64,
    last: Arc<Mutex<Last>>,
    done: Option<oneshot::Sender<()>>,
}

/// A place in the line.
pub struct Ticket {
    turn: Turn,
    before: Option<oneshot::Receiver<()>>,
}

impl Turns {
    /// Takes a place in the line of `key`, now. Places are given in the order of these calls.
    pub fn ticket(&self, key: &str) -> Ticket {
        let number = self
            .count
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (done, mine) = oneshot::channel();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last
            .insert(key.to_owned(), (number, mine))
            .map(|(_, before)| before);
        let turn = Turn {
            key: key.to_owned(),
            number,
            last: self.last.clone(),
            done: Some(done),
        };
        Ticket { turn, before }
    }
}

impl Ticket {
    /// Waits until everyone before has finished.
    pub async fn turn(self) -> Turn {
        if let Some(before) = self.before {
            // An error means that the one before is gone: that is its end, too.
            let _ = before.await;
        }
        self.turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            last.remove(&self.key);
        }
        drop(self.done.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_the_tickets() {
        let turns = Turns::default();
        let log: Arc<Mutex<Vec<usize>>> = Arc::default();
        let tickets: Vec<_> = (0..10).map(|number| (number, turns.ticket("a"))).collect();
        let work = tickets.into_iter().rev().map(|(number, ticket)| {
            let log = log.clone();
            tokio::spawn(async move {
                let _turn = ticket.turn().await;
                tokio::task::yield_now().await;
                log.lock().expect("lock").push(number);
            })
        });
        for done in futures::future::join_all(work).await {
            done.expect("no panic");
        }
        assert_eq!(*log.lock().expect("lock"), (0..10).collect::<Vec<_>>());
        assert!(
            turns.last.lock().expect("lock").is_empty(),
            "an empty line is forgotten"
        );
    }

    #[tokio::test]
    async fn other_keys_do_not_wait() {
        let turns = Turns::default();
        let _first = turns.ticket("a").turn().await;
        turns.ticket("b").turn().await;
    }
}
