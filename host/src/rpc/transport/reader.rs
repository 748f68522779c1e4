//! Reading one byte stream of a session.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::session::{CREDIT, Session};
use super::{RpcError, WINDOW};

/// A byte stream that a peer sends: pieces until the empty one.
#[derive(Debug)]
pub struct PathReader {
    session: Arc<Session>,
    path: String,
    pieces: Option<mpsc::UnboundedReceiver<Bytes>>,
    first: Option<Bytes>,
    ended: bool,
    /// Bytes consumed for which no credit was returned yet.
    owed: usize,
}

impl PathReader {
    pub(super) fn new(session: Arc<Session>, path: String, first: Option<Bytes>) -> Self {
        let pieces = session.take_reader(&path);
        let first = first.filter(|piece| !piece.is_empty());
        Self {
            session,
            path,
            pieces,
            first,
            ended: false,
            owed: 0,
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// What ended the session.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RpcError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.ended {
            return Ok(None);
        }
        let piece = match &mut self.pieces {
            Some(pieces) => pieces.recv().await,
            None => None,
        };
        match piece {
            Some(piece) if piece.is_empty() => {
                self.ended = true;
                Ok(None)
            }
            Some(piece) => {
                self.session.consumed(piece.len());
                self.return_credit(piece.len()).await;
                Ok(Some(piece))
            }
            None => {
                self.ended = true;
                Err(self.session.failure().unwrap_or(RpcError::Disconnected))
            }
        }
    }

    /// As [`Self::next`], waiting at most `limit`.
    ///
    /// # Errors
    /// [`RpcError::Timeout`], or what ended the session.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Option<Bytes>, RpcError> {
        tokio::time::timeout(limit, self.next())
            .await
            .unwrap_or_else(|_| {
                Err(RpcError::Timeout {
                    what: "data",
                    subject: self.path.clone(),
                    waited: limit,
                })
            })
    }

    async fn return_credit(&mut self, len: usize) {
        self.owed += len;
        if self.owed < WINDOW / 2 {
            return;
        }
        if let Some(peer) = self.session.flowing_peer() {
            let subject = format!("{peer}.{CREDIT}.{}", self.path);
            let owed = u32::try_from(self.owed).unwrap_or(u32::MAX);
            let credit = Bytes::copy_from_slice(&owed.to_le_bytes());
            // A lost credit shows as the peer's silence; there is nothing to do about it here.
            let _ = self.session.shared.client.publish(subject, credit).await;
        }
        self.owed = 0;
    }
}
