//! Events to the lattice: sent and forgotten.

use std::sync::Arc;

use proto::event::{CloudEvent, Event};

use super::{Connection, Identity};

/// Publishes this host's events.
#[derive(Clone)]
pub struct Events {
    connection: Connection,
    identity: Arc<Identity>,
}

impl Events {
    /// A publisher on the ctl connection.
    pub fn new(connection: Connection, identity: Arc<Identity>) -> Self {
        Self {
            connection,
            identity,
        }
    }

    /// Sends an event. Cut off from NATS it is dropped: heartbeats tell the state afterwards.
    pub async fn publish(&self, event: impl Into<Event>) {
        let event = event.into();
        let name = event.name();
        if !self.connection.is_up() {
            tracing::debug!(event = name, "not sent: there is no connection to NATS");
            return;
        }
        let subject = event.subject(&self.identity.lattice).to_string();
        let bytes = CloudEvent::now(self.identity.id.clone(), event).to_bytes();
        let sent = self
            .connection
            .client()
            .publish(subject, bytes.into())
            .await;
        match sent {
            Ok(()) => tracing::trace!(event = name, "sent"),
            Err(error) => tracing::warn!(event = name, %error, "an event was not sent"),
        }
    }
}
