//! Sending one byte stream of a session.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::session::Session;
use super::{RpcError, WINDOW};

/// Largest piece of a stream: small enough that several fit into a window.
const PIECE_MAX: usize = WINDOW / 8;

/// Bytes after which a sender waits until they have left the process, so that a fast producer
/// does not pile up messages in the client's queue.
const FLUSH_EVERY: usize = 512 << 10;

/// A byte stream to the peer. Dropped without [`Sender::end`], it still sends its end marker: a
/// peer would wait for it for ever.
#[derive(Debug)]
pub struct Sender {
    session: Arc<Session>,
    subject: String,
    credit: Option<Arc<Semaphore>>,
    unflushed: usize,
    ended: bool,
}

impl Sender {
    /// The stream `path` (`params`, `results.0.1`) to `peer`.
    pub(super) fn new(session: Arc<Session>, peer: &str, path: &str) -> Self {
        let credit = session.credit(path);
        let subject = format!("{peer}.{path}");
        Self {
            session,
            subject,
            credit,
            unflushed: 0,
            ended: false,
        }
    }

    /// Sends bytes, in pieces that the server takes, waiting for the receiver where it is slower.
    ///
    /// # Errors
    /// What ended the session, or a refusal of the NATS client.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), RpcError> {
        let max = self.session.shared.client.max_payload().clamp(1, PIECE_MAX);
        while !bytes.is_empty() {
            let piece = bytes.split_to(max.min(bytes.len()));
            self.send_piece(piece).await?;
        }
        Ok(())
    }

    async fn send_piece(&mut self, piece: Bytes) -> Result<(), RpcError> {
        let len = piece.len();
        if let Some(credit) = &self.credit {
            // A piece is smaller than a window, so this ends with the first credit.
            match credit.acquire_many(len as u32).await {
                Ok(permits) => permits.forget(),
                Err(_) => return Err(self.session.failure().unwrap_or(RpcError::Cancelled)),
            }
        } else if let Some(error) = self.session.failure() {
            return Err(error);
        }
        self.publish(piece).await?;
        self.unflushed += len;
        if self.unflushed >= FLUSH_EVERY {
            self.unflushed = 0;
            let flushed = self.session.shared.client.flush().await;
            flushed.map_err(|e| self.refused(&e))?;
        }
        Ok(())
    }

    /// Sends the end marker.
    ///
    /// # Errors
    /// A refusal of the NATS client.
    pub async fn end(mut self) -> Result<(), RpcError> {
        self.ended = true;
        self.publish(Bytes::new()).await
    }

    async fn publish(&self, payload: Bytes) -> Result<(), RpcError> {
        let sent = self
            .session
            .shared
            .client
            .publish(self.subject.clone(), payload)
            .await;
        sent.map_err(|e| self.refused(&e))
    }

    fn refused(&self, error: &dyn std::error::Error) -> RpcError {
        RpcError::Nats {
            subject: self.subject.clone(),
            reason: error.to_string(),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.ended {
            publish_later(&self.session, [std::mem::take(&mut self.subject)]);
        }
    }
}

/// Sends empty messages from a place that cannot wait.
pub(super) fn publish_later(session: &Session, subjects: impl IntoIterator<Item = String>) {
    publish_later_with(
        session,
        subjects.into_iter().map(|subject| (subject, Bytes::new())),
    );
}

/// Sends messages from a place that cannot wait, in order.
pub(super) fn publish_later_with(
    session: &Session,
    messages: impl IntoIterator<Item = (String, Bytes)>,
) {
    let client = session.shared.client.clone();
    let messages: Vec<(String, Bytes)> = messages.into_iter().collect();
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            for (subject, payload) in messages {
                let _ = client.publish(subject, payload).await;
            }
        });
    }
}
