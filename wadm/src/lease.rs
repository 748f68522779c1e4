//! Who leads: one controller per lattice, by a lease in JetStream.
//!
//! The lease is one key per lattice. A leader renews it by compare-and-set; a standby that sees the
//! same revision for a whole lease time, on its own clock, takes it with the next term. No two
//! clocks are ever compared. The term goes with every command as a fencing token, so that a host
//! can refuse what an old leader sent late.

use std::time::Duration;

use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use bytes::Bytes;
use proto::id::Lattice;
use proto::subject::wadm::lease_key;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// What stands under a lattice's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The leader's name; empty when it gave the lease back.
    holder: String,
    /// Grows with every change of leader.
    term: u64,
}

/// Whether this controller leads a lattice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// It leads until `until`, in this term; past that moment it must not act.
    Leader {
        /// The term.
        term: u64,
        /// When the lease ends unless it is renewed.
        until: Instant,
    },
    /// Someone else leads, or nobody yet.
    Standby {
        /// The leader's name, if it is known.
        holder: Option<String>,
    },
}

impl Leadership {
    /// The term in which it is safe to act now.
    pub fn acting_term(&self) -> Option<u64> {
        match self {
            Self::Leader { term, until } if Instant::now() < *until => Some(*term),
            _ => None,
        }
    }
}

/// Why the lease could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the lease of lattice `{lattice}`")]
pub struct LeaseError {
    what: &'static str,
    lattice: Lattice,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// One controller's part in the election of one lattice.
#[derive(Debug)]
pub struct Lease {
    kv: kv::Store,
    lattice: Lattice,
    key: String,
    me: String,
    time: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is known.
    Unknown,
    /// Someone else holds it; `revision` was first seen at `since`.
    Watching {
        record: Record,
        revision: u64,
        since: Instant,
    },
    /// It is ours; the last renewal was asked for at `renewed`.
    Held {
        term: u64,
        revision: u64,
        renewed: Instant,
    },
}

impl Lease {
    /// The lease of `lattice`, of which nothing is known yet, for a controller called `me`.
    pub fn new(kv: kv::Store, lattice: Lattice, me: String, time: Duration) -> Self {
        let key = lease_key(&lattice);
        Self {
            kv,
            lattice,
            key,
            me,
            time,
            state: State::Unknown,
        }
    }

    /// How often [`Lease::tick`] should be called.
    pub fn tick_every(&self) -> Duration {
        self.time / 8
    }

    /// Whether this controller leads, as far as it knows.
    pub fn leadership(&self) -> Leadership {
        match &self.state {
            State::Unknown => Leadership::Standby { holder: None },
            State::Watching { record, .. } => {
                let holder = (!record.holder.is_empty()).then(|| record.holder.clone());
                Leadership::Standby { holder }
            }
            State::Held { term, renewed, .. } => Leadership::Leader {
                term: *term,
                until: *renewed + self.safe_time(),
            },
        }
    }

    /// How long after asking for a renewal it is safe to act: less than what a standby waits,
    /// which starts counting no earlier than that.
    fn safe_time(&self) -> Duration {
        self.time * 3 / 4
    }

    /// Renews the lease or looks at it, and takes it when it is free.
    ///
    /// # Errors
    /// When JetStream did not do it; a leader goes on until its time is up, then it is a standby.
    pub async fn tick(&mut self) -> Result<(), LeaseError> {
        let now = Instant::now();
        let done = match &self.state {
            State::Held {
                term,
                revision,
                renewed,
            } => {
                let (term, revision, renewed) = (*term, *revision, *renewed);
                self.renew(term, revision, renewed, now).await
            }
            State::Unknown | State::Watching { .. } => self.look(now).await,
        };
        if let State::Held { renewed, .. } = &self.state
            && renewed.elapsed() >= self.safe_time()
        {
            tracing::warn!(lattice = %self.lattice, "the lease could not be renewed in time: stepping down");
            self.state = State::Unknown;
        }
        done
    }

    /// Gives the lease back, so that a standby need not wait for it to end.
    pub async fn release(&mut self) {
        if let State::Held { term, revision, .. } =
            std::mem::replace(&mut self.state, State::Unknown)
        {
            let _ = self
                .write(
                    &Record {
                        holder: String::new(),
                        term,
                    },
                    revision,
                )
                .await;
        }
    }

    async fn renew(
        &mut self,
        term: u64,
        revision: u64,
        renewed: Instant,
        now: Instant,
    ) -> Result<(), LeaseError> {
        if now.duration_since(renewed) < self.time / 4 {
            return Ok(());
        }
        let record = Record {
            holder: self.me.clone(),
            term,
        };
        match self.write(&record, revision).await {
            Ok(revision) => {
                self.state = State::Held {
                    term,
                    revision,
                    renewed: now,
                }
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                // An earlier renewal whose answer was lost, or someone took it.
                self.state = match self.read().await? {
                    Some((found, revision)) if found == record => State::Held {
                        term,
                        revision,
                        renewed,
                    },
                    _ => State::Unknown,
                };
                if matches!(self.state, State::Unknown) {
                    tracing::warn!(lattice = %self.lattice, term, "another controller took the lease");
                }
            }
            Err(error) => return Err(self.failed("renew", error)),
        }
        Ok(())
    }

    async fn look(&mut self, now: Instant) -> Result<(), LeaseError> {
        let Some((record, revision)) = self.read().await? else {
            return self.take(first_term(), 0, now).await;
        };
        if record.holder.is_empty() {
            return self.take(record.term + 1, revision, now).await;
        }
        match &self.state {
            State::Watching {
                revision: seen,
                since,
                ..
            } if *seen == revision => {
                if since.elapsed() >= self.time {
                    tracing::info!(lattice = %self.lattice, holder = %record.holder, "the leader is silent, taking over");
                    return self.take(record.term + 1, revision, now).await;
                }
            }
            _ => {
                self.state = State::Watching {
                    record,
                    revision,
                    since: now,
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, term: u64, revision: u64, now: Instant) -> Result<(), LeaseError> {
        match self
            .write(
                &Record {
                    holder: self.me.clone(),
                    term,
                },
                revision,
            )
            .await
        {
            Ok(revision) => {
                tracing::info!(lattice = %self.lattice, term, "leading");
                self.state = State::Held {
                    term,
                    revision,
                    renewed: now,
                };
                Ok(())
            }
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                self.state = State::Unknown;
                Ok(())
            }
            Err(error) => Err(self.failed("take", error)),
        }
    }

    async fn read(&self) -> Result<Option<(Record, u64)>, LeaseError> {
        let entry = self
            .kv
            .entry(&self.key)
            .await
            .map_err(|error| self.failed("read", error))?;
        Ok(entry.map(|entry| {
            let record = match entry.operation {
                Operation::Put => serde_json::from_slice(&entry.value).ok(),
                Operation::Delete | Operation::Purge => None,
            };
            let free = || Record {
                holder: String::new(),
                term: first_term(),
            };
            (record.unwrap_or_else(free), entry.revision)
        }))
    }

    async fn write(&self, record: &Record, revision: u64) -> Result<u64, kv::UpdateError> {
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        self.kv
            .update(&self.key, Bytes::from(bytes), revision)
            .await
    }

    fn failed(
        &self,
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> LeaseError {
        LeaseError {
            what,
            lattice: self.lattice.clone(),
            source: Box::new(source),
        }
    }
}

/// The first term of a lease that is not there: later than any term of a lease that was lost with
/// its bucket, so that hosts which remember the old term obey the new leader.
fn first_term() -> u64 {
    u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(1)
}
