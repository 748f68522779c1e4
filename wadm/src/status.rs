//! Published statuses: written by the leader when they change, read by every controller.

use async_nats::jetstream;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use proto::id::Lattice;
use proto::subject::WadmStatusSubject;
use proto::wadm_api::Status;

/// The stream of statuses.
#[derive(Clone, Debug)]
pub struct Statuses {
    js: jetstream::Context,
    stream: Stream,
}

impl Statuses {
    /// Statuses in `stream`.
    pub fn new(js: jetstream::Context, stream: Stream) -> Self {
        Self { js, stream }
    }

    /// The last published status of an application; none when there is none, or when it cannot be
    /// read, which is logged.
    pub async fn last(&self, lattice: &Lattice, app: &str) -> Option<Status> {
        let subject = WadmStatusSubject {
            lattice: lattice.clone(),
            app: app.to_owned(),
        }
        .to_string();
        let payload = if self.stream.cached_info().config.allow_direct {
            match self.stream.direct_get_last_for_subject(&subject).await {
                Ok(message) => message.payload,
                Err(error) => {
                    if error.kind() != DirectGetErrorKind::NotFound {
                        tracing::warn!(%lattice, app, %error, "cannot read a status");
                    }
                    return None;
                }
            }
        } else {
            self.stream
                .get_last_raw_message_by_subject(&subject)
                .await
                .ok()?
                .payload
        };
        match serde_json::from_slice(&payload) {
            Ok(status) => Some(status),
            Err(error) => {
                tracing::warn!(%lattice, app, %error, "a published status is not readable");
                None
            }
        }
    }

    /// Publishes a status and waits until it is stored.
    ///
    /// # Errors
    /// When JetStream did not store it.
    pub async fn publish(
        &self,
        lattice: &Lattice,
        app: &str,
        status: &Status,
    ) -> Result<(), jetstream::context::PublishError> {
        let subject = WadmStatusSubject {
            lattice: lattice.clone(),
            app: app.to_owned(),
        }
        .to_string();
        let bytes = serde_json::to_vec(status).unwrap_or_default();
        self.js.publish(subject, bytes.into()).await?.await?;
        Ok(())
    }
}
