//! Invocations as NATS messages.
//!
//! A [`Transport`] owns one wildcard subscription on a rpc connection; every call, in either
//! direction, is a session under it, so a call costs no subscription. Bytes go in and out here;
//! what they mean is the business of [`super::codec`].
//!
//! **Flow control (ours).** NATS pushes: a sender that is faster than its receiver fills buffers
//! until the server drops one of them. Two of our hosts therefore agree on windows: the caller
//! says `lattice-flow: 1` in its first message, the server repeats it in its handshake, and from
//! then on each byte stream has at most [`WINDOW`] bytes under way; the receiver returns credit as
//! it consumes. A peer that does not answer the header sees none of this; for it a session buffers
//! at most [`SESSION_BUFFER_MAX`] and then fails.
//!
//! **Signs of life (ours).** Every two seconds a session sends an empty message to its peer's
//! inbox, on a path that the protocol tells peers to ignore. NATS itself answers when nobody is
//! subscribed there any more: so the death of any peer, ours or not, is noticed. Peers that agreed
//! on flow control also expect to hear the other's, which finds a peer that is cut off.

mod accept;
mod call;
mod reader;
mod sender;
mod session;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_nats::connection::State;
use futures::StreamExt;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use accept::{Incoming, Watch};
pub use call::{Call, Invocation};
pub use reader::PathReader;
pub use sender::Sender;

use super::codec::CodecError;
use session::Session;

/// Bytes of one stream under way between two of our hosts.
pub const WINDOW: usize = 2 << 20;

/// Bytes that one session keeps for a reader, when the peer knows no windows.
pub const SESSION_BUFFER_MAX: usize = 64 << 20;

/// Bytes that all sessions of one connection keep.
pub const BUFFER_MAX: usize = 512 << 20;

/// How often the two ends of a call send each other a sign of life.
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// Silence after which a peer that expects no sign of life is probed.
const QUIET: Duration = Duration::from_secs(1);

/// Silence of a peer that sends signs of life after which its call fails: several of them lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long a caller waits for the first answer of a server.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The header by which a peer offers and accepts flow control.
const FLOW_HEADER: &str = "lattice-flow";

/// Why an invocation did not come to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RpcError {
    /// Nobody serves the function.
    #[error("nobody serves `{subject}`")]
    NoResponders {
        /// The invocation's subject.
        subject: String,
    },
    /// The peer did not answer in time.
    #[error("no {what} from `{subject}` within {waited:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The invocation's subject.
        subject: String,
        /// How long.
        waited: Duration,
    },
    /// The peer took the call and gave up on it: a trap, bad parameters or a refusal. Its log has
    /// the reason; the protocol carries none.
    #[error("the peer ended `{subject}` without a result; its log has the reason")]
    NoResult {
        /// The invocation's subject.
        subject: String,
    },
    /// The peer gave up on the call and said why.
    #[error("the peer could not do `{subject}`: {reason}")]
    Failed {
        /// The invocation's subject.
        subject: String,
        /// The peer's words.
        reason: String,
    },
    /// A NATS status other than "no responders".
    #[error("`{subject}` was answered with status {code}{}", .text.as_deref().map(|t| format!(" ({t})")).unwrap_or_default())]
    Status {
        /// The invocation's subject.
        subject: String,
        /// The code.
        code: u16,
        /// The server's words.
        text: Option<String>,
    },
    /// Not connected to NATS.
    #[error("not connected to NATS")]
    Disconnected,
    /// A message could not be published or a subject subscribed.
    #[error("NATS refused a message on `{subject}`: {reason}")]
    Nats {
        /// The subject.
        subject: String,
        /// The client's words.
        reason: String,
    },
    /// The peer sent faster than its data was read.
    #[error("the peer sent more than {limit} bytes ahead of the reader")]
    Overflow {
        /// The limit in bytes.
        limit: usize,
    },
    /// A peer that sends signs of life fell silent.
    #[error("the peer was silent for {0:?}; it has stopped or lost its connection")]
    Silent(Duration),
    /// Nobody is subscribed to the peer's inbox any more.
    #[error("the peer has gone: it ended, or lost its connection to NATS")]
    Gone,
    /// The peer gave up the call.
    #[error("the peer cancelled the call")]
    Cancelled,
    /// The message names nobody to answer.
    #[error("peer did not specify a reply subject")]
    NoReply,
    /// The data is no value of the expected type.
    #[error("`{subject}` exchanged data of another type")]
    Codec {
        /// The invocation's subject.
        subject: String,
        /// What is wrong.
        #[source]
        source: CodecError,
    },
}

/// Invocations over one NATS connection. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Transport {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

#[derive(Debug)]
pub(super) struct Shared {
    client: async_nats::Client,
    /// `_INBOX.{unique}.`, the start of every session's subjects.
    inbox: String,
    sessions: Mutex<HashMap<u64, Weak<Session>>>,
    next: AtomicU64,
    buffered: AtomicUsize,
}

impl Transport {
    /// Subscribes on the connection; ends when the last clone is dropped.
    ///
    /// # Errors
    /// [`RpcError::Nats`] when the subscription is refused.
    pub async fn new(client: async_nats::Client) -> Result<Self, RpcError> {
        let inbox = format!("{}.", client.new_inbox());
        let subject = format!("{inbox}>");
        let messages = client
            .subscribe(subject.clone())
            .await
            .map_err(|e| RpcError::Nats {
                subject,
                reason: e.to_string(),
            })?;
        let shared = Arc::new(Shared {
            client,
            inbox,
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
            buffered: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        // Both loops end with the transport; neither can fail on its own.
        tokio::spawn(dispatch(shared.clone(), messages, stop.clone()));
        tokio::spawn(keep_alive(shared.clone(), stop.clone()));
        Ok(Self {
            shared,
            _stop: Arc::new(stop.drop_guard()),
        })
    }

    /// The connection underneath.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.shared.client
    }

    /// How many calls are under way, both directions.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.shared.lock().len()
    }

    /// Subscribes to a function as a member of a queue group.
    ///
    /// # Errors
    /// [`RpcError::Nats`] when the subscription is refused.
    pub async fn subscribe(
        &self,
        subject: String,
        queue: String,
    ) -> Result<async_nats::Subscriber, RpcError> {
        self.client()
            .queue_subscribe(subject.clone(), queue)
            .await
            .map_err(|e| RpcError::Nats {
                subject,
                reason: e.to_string(),
            })
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Weak<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session; it leaves the table when its last owner drops it.
    fn open(self: &Arc<Self>) -> Arc<Session> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(self.clone(), id));
        self.lock().insert(id, Arc::downgrade(&session));
        session
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().filter_map(Weak::upgrade).collect()
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

/// Hands every message to its session and never waits for one of them.
async fn dispatch(
    shared: Arc<Shared>,
    mut messages: async_nats::Subscriber,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => return,
            message = messages.next() => message,
        };
        let Some(message) = message else { break };
        let subject = message.subject.clone();
        let Some(rest) = subject.as_str().strip_prefix(&shared.inbox) else {
            continue;
        };
        let (id, path) = rest.split_once('.').unwrap_or((rest, ""));
        let Ok(id) = id.parse::<u64>() else { continue };
        let session = shared.lock().get(&id).and_then(Weak::upgrade);
        match session {
            Some(session) => session.deliver(path, message),
            None => tracing::trace!(%subject, "a message for a call that has ended"),
        }
    }
    for session in shared.all() {
        session.fail(RpcError::Disconnected);
    }
}

/// Sends signs of life and fails the calls whose peer sends none.
async fn keep_alive(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(ALIVE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        for session in shared.all() {
            if session.silence() > SILENCE_MAX {
                session.fail(RpcError::Silent(SILENCE_MAX));
            } else if let Some(peer) = session.to_probe(QUIET) {
                let subject = format!("{peer}.{}", session::ALIVE);
                let reply = format!("{}.{}", session.inbox(), session::PROBE);
                let nothing = bytes::Bytes::new();
                let _ = shared
                    .client
                    .publish_with_reply(subject, reply, nothing)
                    .await;
            }
        }
    }
}
