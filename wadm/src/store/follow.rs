//! Follows a bucket: everything in it first, then every change.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::kv::{self, Operation};
use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::task::TaskError;

/// How often the watch is compared with the bucket: a watch that stopped delivering is noticed
/// after this long.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// How long a change may be on its way before the watch counts as broken.
const LATE_AFTER: Duration = Duration::from_secs(2);

/// What is heard of a bucket.
#[derive(Clone, Debug)]
pub enum Followed {
    /// The key has this value since this revision.
    Put(String, Bytes, u64),
    /// The key is gone.
    Gone(String),
    /// Everything that was there at the start has been told.
    Whole,
}

/// Who is told what is heard of a bucket.
#[async_trait::async_trait]
pub trait Hear: Send {
    /// Takes one thing.
    async fn hear(&mut self, heard: Followed);
}

/// Tells `listener` everything in the bucket and then every change, until `stop`. `known` are the keys
/// that it was told of: after a failure, call it again with the same `known`, and nothing is missed.
///
/// # Errors
/// When the watch ends, fails or falls behind.
pub async fn follow(
    bucket: &kv::Store,
    known: &mut HashSet<String>,
    listener: &mut dyn Hear,
    stop: &CancellationToken,
) -> Result<(), TaskError> {
    let name = bucket.name.clone();
    let context = || format!("cannot follow bucket `{name}`");
    let mut entries = bucket.watch_with_history(">").await.with_context(context)?;
    let empty = bucket
        .stream
        .get_info()
        .await
        .with_context(context)?
        .state
        .messages
        == 0;
    let mut unseen = Some(known.clone());
    let mut revision = 0;
    if empty {
        all_told(&mut unseen, known, listener).await;
    }
    let mut check = tokio::time::interval(CHECK_EVERY);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    check.reset();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = check.tick() => {
                let state = bucket.stream.get_info().await.with_context(context)?.state;
                if state.last_sequence == revision || (revision == 0 && state.messages == 0) {
                    continue;
                }
                // What is on its way gets a moment; then the bucket is believed, not the watch.
                tokio::time::timeout(LATE_AFTER, entries.next()).await.ok().flatten()
            }
            entry = entries.next() => entry,
        };
        let Some(entry) = next else {
            return Err(
                anyhow::anyhow!("the watch of bucket `{name}` ended or fell behind").into(),
            );
        };
        let entry = entry.with_context(context)?;
        revision = entry.revision;
        if let Some(unseen) = &mut unseen {
            unseen.remove(&entry.key);
        }
        match entry.operation {
            Operation::Put => {
                known.insert(entry.key.clone());
                listener
                    .hear(Followed::Put(entry.key, entry.value, entry.revision))
                    .await;
            }
            Operation::Delete | Operation::Purge => {
                if known.remove(&entry.key) {
                    listener.hear(Followed::Gone(entry.key)).await;
                }
            }
        }
        if entry.seen_current {
            all_told(&mut unseen, known, listener).await;
        }
    }
}

/// Once, at the end of what was there: what was known and is no longer in the bucket is gone.
async fn all_told(
    unseen: &mut Option<HashSet<String>>,
    known: &mut HashSet<String>,
    listener: &mut dyn Hear,
) {
    let Some(gone) = unseen.take() else { return };
    for key in gone {
        known.remove(&key);
        listener.hear(Followed::Gone(key)).await;
    }
    listener.hear(Followed::Whole).await;
}
