//! One call as seen from one side: what has arrived, and where answers go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};

use super::{BUFFER_MAX, FLOW_HEADER, RpcError, SESSION_BUFFER_MAX, Shared, WINDOW};

/// Last token of a sign of life.
pub(super) const ALIVE: &str = "alive";
/// Last token of where NATS says that nobody hears a sign of life.
pub(super) const PROBE: &str = "probe";
/// Last token of a cancellation.
pub(super) const CANCEL: &str = "cancel";
/// Last token of the reason why a call has no result.
pub(super) const REASON: &str = "reason";
/// First token of returned credit, before the stream's own path.
pub(super) const CREDIT: &str = "credit";

/// Length of a reason that is kept.
pub(super) const REASON_BYTES_MAX: usize = 4096;

/// Streams one session may receive: more is an attack.
const PATHS_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    id: u64,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    /// The peer's inbox, once known.
    peer: Option<String>,
    /// Whether both sides agreed on windows and signs of life.
    flow: bool,
    heard: Instant,
    failure: Option<RpcError>,
    reason: Option<String>,
    paths: HashMap<String, Slot>,
    credits: HashMap<String, Arc<Semaphore>>,
    buffered: usize,
}

/// One incoming byte stream; the receiver waits here until somebody asks for it.
#[derive(Debug)]
struct Slot {
    pieces: Option<mpsc::UnboundedSender<Bytes>>,
    reader: Option<mpsc::UnboundedReceiver<Bytes>>,
}

impl Slot {
    fn new() -> Self {
        let (pieces, reader) = mpsc::unbounded_channel();
        Self {
            pieces: Some(pieces),
            reader: Some(reader),
        }
    }
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, id: u64) -> Self {
        let state = State {
            peer: None,
            flow: false,
            heard: Instant::now(),
            failure: None,
            reason: None,
            paths: HashMap::new(),
            credits: HashMap::new(),
            buffered: 0,
        };
        Self {
            shared,
            id,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }
    }

    /// The subject at which the peer reaches this session.
    pub(super) fn inbox(&self) -> String {
        format!("{}{}", self.shared.inbox, self.id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the peer and whether it takes part in flow control.
    pub(super) fn set_peer(&self, peer: String, flow: bool) {
        let mut state = self.state();
        state.peer = Some(peer);
        state.flow = flow;
        drop(state);
        self.changed.send_replace(());
    }

    pub(super) fn peer(&self) -> Option<String> {
        self.state().peer.clone()
    }

    /// The peer, if it agreed on flow control and the call has not failed.
    pub(super) fn flowing_peer(&self) -> Option<String> {
        let state = self.state();
        state
            .peer
            .clone()
            .filter(|_| state.flow && state.failure.is_none())
    }

    /// Whom to send a sign of life: a peer that expects it, or one that was not heard for
    /// `quiet`, to learn whether it is there at all.
    pub(super) fn to_probe(&self, quiet: Duration) -> Option<String> {
        let state = self.state();
        let due = state.failure.is_none() && (state.flow || state.heard.elapsed() >= quiet);
        state.peer.clone().filter(|_| due)
    }

    /// How long a peer that sends signs of life has sent nothing.
    pub(super) fn silence(&self) -> Duration {
        let state = self.state();
        if state.flow {
            state.heard.elapsed()
        } else {
            Duration::ZERO
        }
    }

    pub(super) fn failure(&self) -> Option<RpcError> {
        self.state().failure.clone()
    }

    /// Why the peer has no result, if it said so.
    pub(super) fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Ends the session: readers and waiting senders get the error. The first failure stays.
    pub(super) fn fail(&self, error: RpcError) {
        let mut state = self.state();
        state.failure.get_or_insert(error);
        for slot in state.paths.values_mut() {
            slot.pieces = None;
        }
        for credit in state.credits.values() {
            credit.close();
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Waits until the session has failed.
    pub(super) async fn failed(&self) -> RpcError {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(error) = self.failure() {
                return error;
            }
            if changed.changed().await.is_err() {
                return RpcError::Disconnected;
            }
        }
    }

    /// Waits until the peer is known.
    pub(super) async fn handshake(&self) -> Result<String, RpcError> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if let Some(peer) = self.peer() {
                return Ok(peer);
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if changed.changed().await.is_err() {
                return Err(RpcError::Disconnected);
            }
        }
    }

    /// Takes a message that arrived on `path` below this session's inbox.
    pub(super) fn deliver(&self, path: &str, message: Message) {
        if path != PROBE {
            self.state().heard = Instant::now();
        }
        match path {
            "" => self.deliver_handshake(message),
            ALIVE => {}
            PROBE if message.status == Some(StatusCode::NO_RESPONDERS) => self.fail(RpcError::Gone),
            PROBE => {}
            CANCEL => self.fail(RpcError::Cancelled),
            REASON => {
                let text = &message.payload[..message.payload.len().min(REASON_BYTES_MAX)];
                self.state().reason = Some(String::from_utf8_lossy(text).into_owned());
            }
            _ => match path.strip_prefix(CREDIT).and_then(|p| p.strip_prefix('.')) {
                Some(path) => self.deliver_credit(path, &message.payload),
                None => self.deliver_piece(path, message.payload),
            },
        }
    }

    fn deliver_handshake(&self, message: Message) {
        let subject = String::new();
        match message.status {
            Some(StatusCode::NO_RESPONDERS) => self.fail(RpcError::NoResponders { subject }),
            Some(code) if code.as_u16() != 100 && !code.is_success() => {
                self.fail(RpcError::Status {
                    subject,
                    code: code.as_u16(),
                    text: message.description,
                })
            }
            _ => match message.reply {
                Some(peer) if self.peer().is_none() => {
                    self.set_peer(peer.to_string(), offers_flow(message.headers.as_ref()));
                }
                Some(_) => tracing::debug!("a second peer answered one call; it is ignored"),
                None => self.fail(RpcError::NoReply),
            },
        }
    }

    fn deliver_credit(&self, path: &str, payload: &[u8]) {
        let Ok(bytes) = payload.try_into().map(u32::from_le_bytes) else {
            return;
        };
        if let Some(credit) = self.state().credits.get(path) {
            // A peer cannot widen its window beyond the agreed one.
            let room = WINDOW.saturating_sub(credit.available_permits());
            credit.add_permits(room.min(bytes as usize));
        }
    }

    fn deliver_piece(&self, path: &str, piece: Bytes) {
        let mut state = self.state();
        let total = self
            .shared
            .buffered
            .load(Ordering::Relaxed)
            .saturating_add(piece.len());
        let limit = match () {
            () if state.buffered.saturating_add(piece.len()) > SESSION_BUFFER_MAX => {
                Some(SESSION_BUFFER_MAX)
            }
            () if total > BUFFER_MAX => Some(BUFFER_MAX),
            () if state.paths.len() >= PATHS_MAX => Some(PATHS_MAX),
            () => None,
        };
        if let Some(limit) = limit {
            drop(state);
            return self.fail(RpcError::Overflow { limit });
        }
        if state.failure.is_some() {
            return;
        }
        let len = piece.len();
        let slot = state.paths.entry(path.to_owned()).or_insert_with(Slot::new);
        let Some(pieces) = &slot.pieces else { return };
        let ended = piece.is_empty();
        if pieces.send(piece).is_ok() {
            state.buffered += len;
            self.shared.buffered.fetch_add(len, Ordering::Relaxed);
            if ended && let Some(slot) = state.paths.get_mut(path) {
                slot.pieces = None;
            }
        }
    }

    /// The pieces arriving on a path; a path has one reader.
    pub(super) fn take_reader(&self, path: &str) -> Option<mpsc::UnboundedReceiver<Bytes>> {
        let mut state = self.state();
        let failed = state.failure.is_some();
        let slot = state.paths.entry(path.to_owned()).or_insert_with(Slot::new);
        if failed {
            slot.pieces = None;
        }
        slot.reader.take()
    }

    /// Notes that a reader took `len` bytes out of the buffers.
    pub(super) fn consumed(&self, len: usize) {
        self.state().buffered -= len;
        self.shared.buffered.fetch_sub(len, Ordering::Relaxed);
    }

    /// The window for what is sent on a path; `None` when the peer knows no windows.
    pub(super) fn credit(&self, path: &str) -> Option<Arc<Semaphore>> {
        let mut state = self.state();
        if !state.flow {
            return None;
        }
        let failed = state.failure.is_some();
        let credit = state
            .credits
            .entry(path.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(WINDOW)));
        if failed {
            credit.close();
        }
        Some(credit.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.id);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared
            .buffered
            .fetch_sub(state.buffered, Ordering::Relaxed);
    }
}

/// Whether a peer's headers offer flow control.
pub(super) fn offers_flow(headers: Option<&HeaderMap>) -> bool {
    headers
        .and_then(|h| h.get(FLOW_HEADER))
        .is_some_and(|v| v.as_str() == "1")
}
