//! `wasmcloud:messaging`: publishing to, asking over and hearing from a message broker.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Why a message was not sent or not answered: the interface knows only text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A message from or to a broker (`broker-message`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes or came from.
    pub subject: String,
    /// What it says.
    pub body: Bytes,
    /// Where an answer is expected, if one is.
    pub reply_to: Option<String>,
}

/// A broker, as one link shows it to one component (`wasmcloud:messaging/consumer`).
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Sends a request and waits for one answer.
    async fn request(
        &self,
        subject: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, Error>;

    /// Sends a message without waiting for an answer.
    async fn publish(&self, message: Message) -> Result<(), Error>;
}
