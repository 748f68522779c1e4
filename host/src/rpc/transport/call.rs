//! Calling: one invocation from the side that asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::sender::publish_later;
use super::session::{CANCEL, Session};
use super::{FLOW_HEADER, HANDSHAKE_TIMEOUT, PathReader, RpcError, Sender, Transport, Watch};
use crate::rpc::codec::Path;

/// How long the end markers of a call that was dropped before its handshake are still owed.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// What a call sends.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The function's subject.
    pub subject: String,
    /// Headers of the first message.
    pub headers: HeaderMap,
    /// The encoded parameter tuple.
    pub params: Bytes,
    /// Index paths of the streams and futures among the parameters.
    pub async_params: Vec<Path>,
}

/// An invocation under way. Dropped early it is cancelled: the peer gets every end marker it may
/// wait for, and, if it is one of ours, word that nobody listens any more.
#[derive(Debug)]
pub struct Call {
    session: Arc<Session>,
    subject: String,
    /// Paths below `params` whose end marker is owed.
    owed: BTreeSet<String>,
    rest: Bytes,
    done: bool,
}

impl Transport {
    /// Sends the first message of an invocation.
    ///
    /// # Errors
    /// [`RpcError::Disconnected`], or a refusal of the NATS client.
    pub async fn call(&self, invocation: Invocation) -> Result<Call, RpcError> {
        let Invocation {
            subject,
            mut headers,
            mut params,
            async_params,
        } = invocation;
        if !self.shared.is_connected() {
            return Err(RpcError::Disconnected);
        }
        headers.insert(FLOW_HEADER, "1");
        let session = self.shared.open();
        let inbox = session.inbox();
        let overhead = inbox.len() + header_block_len(&headers);
        let room = self.client().max_payload().saturating_sub(overhead);
        let first = params.split_to(room.min(params.len()));
        let call = Call {
            owed: owed(&async_params),
            session,
            subject,
            rest: params,
            done: false,
        };
        self.client()
            .publish_with_reply_and_headers(call.subject.clone(), inbox, headers, first)
            .await
            .map_err(|e| RpcError::Nats {
                subject: call.subject.clone(),
                reason: e.to_string(),
            })?;
        Ok(call)
    }
}

impl Call {
    /// Waits for the peer, then sends the rest of the parameters and their end.
    ///
    /// # Errors
    /// [`RpcError::NoResponders`] when nobody serves the function, [`RpcError::Timeout`] when no
    /// one answers, or what ended the session.
    pub async fn start(&mut self) -> Result<(), RpcError> {
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.session.handshake());
        let peer = match handshake.await {
            Ok(peer) => peer.map_err(|e| self.with_subject(e))?,
            Err(_) => {
                return Err(RpcError::Timeout {
                    what: "answer",
                    subject: self.subject.clone(),
                    waited: HANDSHAKE_TIMEOUT,
                });
            }
        };
        let mut params = Sender::new(self.session.clone(), &peer, "params");
        self.owed.remove("params");
        params.send(std::mem::take(&mut self.rest)).await?;
        params.end().await?;
        // The prefixes of the asynchronous parameters carry nothing but their end.
        let prefixes: Vec<String> = self
            .owed
            .iter()
            .filter(|p| is_prefix(p, &self.owed))
            .cloned()
            .collect();
        for path in prefixes {
            self.owed.remove(&path);
            Sender::new(self.session.clone(), &peer, &path)
                .end()
                .await?;
        }
        Ok(())
    }

    /// The stream for an asynchronous parameter.
    ///
    /// # Errors
    /// [`RpcError::Disconnected`] before [`Self::start`].
    pub fn param(&mut self, path: &Path) -> Result<Sender, RpcError> {
        let peer = self.session.peer().ok_or(RpcError::Disconnected)?;
        let path = format!("params.{path}");
        self.owed.remove(&path);
        Ok(Sender::new(self.session.clone(), &peer, &path))
    }

    /// The encoded results.
    #[must_use]
    pub fn results(&self) -> PathReader {
        PathReader::new(self.session.clone(), "results".to_owned(), None)
    }

    /// The data of an asynchronous result.
    #[must_use]
    pub fn result(&self, path: &Path) -> PathReader {
        PathReader::new(self.session.clone(), format!("results.{path}"), None)
    }

    /// Tells when the callee has gone or given up, without borrowing the call.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.session.clone())
    }

    /// Ends the call without cancelling it: all results are there, or read by somebody who holds a
    /// reader.
    pub fn finish(mut self) {
        self.done = true;
    }

    /// The invocation's subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// What a missing result means: the peer's reason where it gave one.
    pub(crate) fn no_result(&self) -> RpcError {
        let subject = self.subject.clone();
        match self.session.reason() {
            Some(reason) => RpcError::Failed { subject, reason },
            None => RpcError::NoResult { subject },
        }
    }

    /// Why the peer has no result, if it said so.
    pub(crate) fn reason(&self) -> Option<String> {
        self.session.reason()
    }

    /// Fills in the subject where the session did not know it.
    pub(crate) fn with_subject(&self, error: RpcError) -> RpcError {
        let subject = self.subject.clone();
        match error {
            RpcError::NoResponders { .. } => RpcError::NoResponders { subject },
            RpcError::Status { code, text, .. } => RpcError::Status {
                subject,
                code,
                text,
            },
            other => other,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        let cancel = !self.done;
        let failed = self.session.failure().is_some();
        if failed || (owed.is_empty() && !cancel) {
            return;
        }
        let session = self.session.clone();
        match session.peer() {
            Some(peer) => publish_later(&session, closing(&session, &peer, &owed, cancel)),
            None => {
                // Somebody may still accept: it would wait for parameters for ever.
                let Ok(runtime) = tokio::runtime::Handle::try_current() else {
                    return;
                };
                runtime.spawn(async move {
                    let handshake = tokio::time::timeout(CLOSE_WITHIN, session.handshake());
                    if let Ok(Ok(peer)) = handshake.await {
                        publish_later(&session, closing(&session, &peer, &owed, cancel));
                    }
                });
            }
        }
    }
}

/// The subjects that tell a peer that nothing more comes.
fn closing(session: &Session, peer: &str, owed: &BTreeSet<String>, cancel: bool) -> Vec<String> {
    let cancel = (cancel && session.flowing_peer().is_some()).then(|| format!("{peer}.{CANCEL}"));
    cancel
        .into_iter()
        .chain(owed.iter().map(|path| format!("{peer}.{path}")))
        .collect()
}

/// Every path whose end marker a call with these asynchronous parameters owes.
fn owed(paths: &[Path]) -> BTreeSet<String> {
    with_prefixes("params", paths)
}

/// The paths and all their prefixes below `root`, and `root` itself.
pub(super) fn with_prefixes(root: &str, paths: &[Path]) -> BTreeSet<String> {
    let mut all = BTreeSet::from([root.to_owned()]);
    for path in paths {
        for n in 1..=path.0.len() {
            all.insert(format!("{root}.{}", Path::from(&path.0[..n])));
        }
    }
    all
}

fn is_prefix(path: &str, all: &BTreeSet<String>) -> bool {
    let below = format!("{path}.");
    all.range(below.clone()..)
        .next()
        .is_some_and(|p| p.starts_with(&below))
}

/// Bytes that headers take in a message.
fn header_block_len(headers: &HeaderMap) -> usize {
    const VERSION: usize = "NATS/1.0\r\n".len();
    const END: usize = "\r\n".len();
    let lines = headers.iter().flat_map(|(name, values)| {
        let name: &str = name.as_ref();
        let name = name.len();
        values
            .iter()
            .map(move |value| name + ": ".len() + value.as_str().len() + END)
    });
    VERSION + lines.sum::<usize>() + END
}
