//! `wasmcloud:messaging`: publishing to, asking over and hearing from a message broker.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;

use super::{BuiltinProvider, Capability, Remote};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::runtime::Ctx;

mod deliver;
mod nats;
mod provider;
#[cfg(test)]
mod tests;
mod wit;

pub use nats::NatsBroker;
pub use provider::MessagingNatsFactory;

/// The interface that components call.
pub const CONSUMER: &str = "wasmcloud:messaging/consumer";

/// The interface that components export to be handed messages.
pub const HANDLER: &str = "wasmcloud:messaging/handler";

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

/// A broker as one link shows it to one component: what a link of `wasmcloud:messaging/consumer`
/// is bound to.
#[derive(Clone)]
pub struct Linked {
    /// Swapped when the provider's settings change.
    broker: Arc<ArcSwap<Arc<dyn Backend>>>,
}

impl Linked {
    /// Leads to this broker.
    pub fn new(broker: Arc<dyn Backend>) -> Self {
        Self {
            broker: Arc::new(ArcSwap::from_pointee(broker)),
        }
    }

    /// The broker.
    pub fn broker(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.broker.load())
    }

    /// Leads to another broker from the next call on, here and in every clone.
    pub(crate) fn lead_to(&self, broker: Arc<dyn Backend>) {
        self.broker.store(Arc::new(broker));
    }
}

/// `wasmcloud:messaging` for components: over a built-in provider on this host, or a remote one.
pub struct Messaging;

impl Capability for Messaging {
    fn name(&self) -> &'static str {
        "wasmcloud:messaging"
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &[CONSUMER]
    }

    fn add_to_linker(&self, linker: &mut wasmtime::component::Linker<Ctx>) -> wasmtime::Result<()> {
        wit::add_to_linker(linker)
    }

    fn bind(
        &self,
        link: &ResolvedLink,
        peer: Option<&Arc<dyn BuiltinProvider>>,
        _remote: &Arc<dyn Remote>,
    ) -> Result<Binding, LinkError> {
        // A call that leaves the host takes its own trace along, so it makes its own client.
        peer.map_or_else(|| Ok(Binding::none()), |peer| peer.backend(link))
    }
}
