//! Serving: one invocation from the side that answers.

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;

use super::call::with_prefixes;
use super::sender::{publish_later, publish_later_with};
use super::session::{CANCEL, REASON, REASON_BYTES_MAX, Session, offers_flow};
use super::{FLOW_HEADER, PathReader, RpcError, Sender, Transport};
use crate::rpc::codec::Path;

/// A call that a peer makes here. Dropped without results, it tells the peer so.
#[derive(Debug)]
pub struct Incoming {
    session: Arc<Session>,
    subject: String,
    peer: String,
    headers: HeaderMap,
    first: Option<Bytes>,
    answered: bool,
    reason: Option<String>,
}

impl Transport {
    /// Answers the first message of an invocation with the handshake.
    ///
    /// # Errors
    /// [`RpcError::NoReply`], or a refusal of the NATS client.
    pub async fn accept(&self, message: Message) -> Result<Incoming, RpcError> {
        let subject = message.subject.to_string();
        let peer = message.reply.ok_or(RpcError::NoReply)?.to_string();
        let flow = offers_flow(message.headers.as_ref());
        let session = self.shared.open();
        session.set_peer(peer.clone(), flow);
        let (client, inbox) = (self.client(), session.inbox());
        let sent = if flow {
            let mut headers = HeaderMap::new();
            headers.insert(FLOW_HEADER, "1");
            client
                .publish_with_reply_and_headers(peer.clone(), inbox, headers, Bytes::new())
                .await
        } else {
            client
                .publish_with_reply(peer.clone(), inbox, Bytes::new())
                .await
        };
        sent.map_err(|e| RpcError::Nats {
            subject: peer.clone(),
            reason: e.to_string(),
        })?;
        Ok(Incoming {
            session,
            subject,
            peer,
            headers: message.headers.unwrap_or_default(),
            first: Some(message.payload),
            answered: false,
            reason: None,
        })
    }
}

impl Incoming {
    /// The subject that was called.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The headers of the first message.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// One header of the first message.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.as_str())
    }

    /// The encoded parameters.
    #[must_use]
    pub fn params(&mut self) -> PathReader {
        PathReader::new(self.session.clone(), "params".to_owned(), self.first.take())
    }

    /// The data of an asynchronous parameter.
    #[must_use]
    pub fn param(&self, path: &Path) -> PathReader {
        PathReader::new(self.session.clone(), format!("params.{path}"), None)
    }

    /// Sends the encoded results and opens the streams of the asynchronous ones.
    ///
    /// # Errors
    /// What ended the session, or a refusal of the NATS client.
    pub async fn answer(
        &mut self,
        results: Bytes,
        paths: &[Path],
    ) -> Result<Vec<Sender>, RpcError> {
        self.answered = true;
        let mut main = Sender::new(self.session.clone(), &self.peer, "results");
        main.send(results).await?;
        main.end().await?;
        let mut prefixes = with_prefixes("results", paths);
        prefixes.remove("results");
        let sender = |path: &Path| {
            let path = format!("results.{path}");
            prefixes.remove(&path);
            Sender::new(self.session.clone(), &self.peer, &path)
        };
        let senders = paths.iter().map(sender).collect();
        for path in prefixes {
            Sender::new(self.session.clone(), &self.peer, &path)
                .end()
                .await?;
        }
        Ok(senders)
    }

    /// Gives up on the call. The protocol has no words for it; a caller of ours gets the reason.
    pub fn refuse(mut self, reason: impl Into<String>) {
        self.reason = Some(reason.into());
    }

    /// Tells a caller of ours that the rest of its streams is not read.
    pub fn leave_unread(&self) {
        if let Some(peer) = self.session.flowing_peer() {
            publish_later(&self.session, [format!("{peer}.{CANCEL}")]);
        }
    }

    /// Tells when the caller has gone or given up, without borrowing the call.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(self.session.clone())
    }

    /// What ended the session, if anything did.
    #[must_use]
    pub fn failure(&self) -> Option<RpcError> {
        self.session.failure()
    }
}

/// Watches over a call.
#[derive(Debug)]
pub struct Watch(Arc<Session>);

impl Watch {
    pub(super) fn new(session: Arc<Session>) -> Self {
        Self(session)
    }

    /// Waits until the call has failed.
    pub async fn failed(&self) -> RpcError {
        self.0.failed().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // The empty message says "ended without a result"; only a peer of ours hears why.
        let reason = self
            .reason
            .take()
            .filter(|_| self.session.flowing_peer().is_some());
        let reason = reason.map(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            (format!("{}.{REASON}", self.peer), Bytes::from(reason))
        });
        let end = (format!("{}.results", self.peer), Bytes::new());
        publish_later_with(&self.session, reason.into_iter().chain([end]));
    }
}
