//! The application API: requests in, replies out. Any controller answers, leader or not.

mod checks;
mod deploy;
mod put;
mod read;
mod remove;

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::Message;
use bytes::Bytes;
use futures::StreamExt;
use proto::id::Lattice;
use proto::subject::wadm::API_QUEUE;
use proto::subject::{SubjectError, WadmApi, WadmApiSubject};
use proto::wadm_api::ErrorResponse;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::control_loop::Lattices;
use crate::nats::Nats;
use crate::status::Statuses;
use crate::store::{Manifests, StoreError};
use crate::task::{Task, TaskError};

/// Most requests worked on at once; more wait in the subscription.
const REQUESTS_MAX: usize = 64;

/// How often a change is decided again because someone else changed the application meanwhile.
const CONFLICTS_MAX: u32 = 10;

/// Answers the API.
pub struct Api {
    nats: Nats,
    prefix: String,
    desk: Arc<Desk>,
}

/// What the operations work with.
pub(crate) struct Desk {
    client: async_nats::Client,
    manifests: Manifests,
    statuses: Statuses,
    lattices: Lattices,
}

/// Why a request is answered with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The request is wrong; the text says how.
    #[error("{0}")]
    Request(String),
    /// The store did not do its part.
    #[error("Internal storage error")]
    Store(#[from] StoreError),
    /// The controller of the lattice did not do its part.
    #[error(transparent)]
    Controller(#[from] crate::control_loop::AskError),
}

/// A reply, ready to be sent.
pub(crate) type Reply = Result<Bytes, ApiError>;

impl Api {
    /// An API under `prefix`.
    pub fn new(
        nats: Nats,
        prefix: String,
        manifests: Manifests,
        statuses: Statuses,
        lattices: Lattices,
    ) -> Self {
        let desk = Desk {
            client: nats.client.clone(),
            manifests,
            statuses,
            lattices,
        };
        Self {
            nats,
            prefix,
            desk: Arc::new(desk),
        }
    }
}

#[async_trait::async_trait]
impl Task for Api {
    const NAME: &'static str = "api";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let all = WadmApiSubject::all(&self.prefix);
        let mut requests = self
            .nats
            .client
            .queue_subscribe(all, API_QUEUE.to_owned())
            .await
            .context("cannot subscribe to the API")?;
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = running.join_next() => {}
                request = requests.next(), if running.len() < REQUESTS_MAX => {
                    let Some(request) = request else {
                        return Err(anyhow::anyhow!("the API's subscription ended").into());
                    };
                    let (desk, prefix) = (self.desk.clone(), self.prefix.clone());
                    running.spawn(async move { desk.serve(&prefix, request).await });
                }
            }
        }
        // Told to stop: take nothing new, finish what was begun.
        let _ = requests.unsubscribe().await;
        while running.join_next().await.is_some() {}
        Ok(())
    }
}

impl Desk {
    async fn serve(&self, prefix: &str, message: Message) {
        let subject = message.subject.as_str();
        let reply = match WadmApiSubject::parse(prefix, subject) {
            Ok(parsed) => self.answer(parsed, &message).await,
            Err(error) => Err(bad_subject(subject, &error)),
        };
        let bytes = reply.unwrap_or_else(|error| {
            let error = anyhow::Error::new(error);
            tracing::info!(subject, error = format!("{error:#}"), "API request refused");
            json(&ErrorResponse::new(format!("{error:#}")))
        });
        if let Some(inbox) = message.reply
            && let Err(error) = self.client.publish(inbox, bytes).await
        {
            tracing::warn!(subject = message.subject.as_str(), %error, "cannot send a reply");
        }
    }

    async fn answer(&self, subject: WadmApiSubject, message: &Message) -> Reply {
        let lattice = &subject.lattice;
        let body = &message.payload[..];
        match subject.request {
            WadmApi::List => self.list_bare(lattice).await,
            WadmApi::GetAll => self.list(lattice).await,
            WadmApi::Get(name) => self.get(lattice, &name, request(body)?).await,
            WadmApi::Put => self.put(lattice, content_type(message), body).await,
            WadmApi::Versions(name) => self.versions(lattice, &name).await,
            WadmApi::Delete(name) => self.delete(lattice, &name, request(body)?).await,
            WadmApi::Deploy(name) => self.deploy(lattice, &name, request(body)?).await,
            WadmApi::Undeploy(name) => self.undeploy(lattice, &name).await,
            WadmApi::Status(name) => self.status(lattice, &name).await,
            WadmApi::Plan => self.plan(lattice, content_type(message), body).await,
            WadmApi::Retry(name) => self.retry(lattice, &name).await,
            WadmApi::History(_) => Err(ApiError::Request(
                "Model deployment history is not currently supported. It may be added in a future version".into(),
            )),
        }
    }

    /// Tells whoever listens that an application was deployed or undeployed.
    async fn announce(&self, lattice: &Lattice, event: &proto::wadm_event::ManifestEvent) {
        let id = uuid::Uuid::now_v7().to_string();
        let bytes = event.to_cloud_event(&id, time::OffsetDateTime::now_utc());
        if let Err(error) = self
            .client
            .publish(event.subject(lattice), bytes.into())
            .await
        {
            tracing::warn!(%lattice, %error, "cannot announce a deployment");
        }
    }
}

fn bad_subject(subject: &str, error: &SubjectError) -> ApiError {
    ApiError::Request(match error {
        SubjectError::ExtraTokens { .. } => {
            "Invalid subject: Found extra components of subject, ensure your manifest \
             name consists of only alphanumeric characters, dashes, and underscores."
                .to_owned()
        }
        SubjectError::Name { source, .. } => format!("Invalid subject: {source}"),
        SubjectError::Family { .. } | SubjectError::Operation { .. } => {
            format!("Unsupported subject: {subject}")
        }
    })
}

/// The request in a body, of which an empty one is the default.
fn request<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::Request(format!(
            "Unable to parse the request, which should be JSON: {error}"
        ))
    })
}

fn content_type(message: &Message) -> Option<&str> {
    message
        .headers
        .as_ref()?
        .get("Content-Type")
        .map(async_nats::HeaderValue::as_str)
}

/// A reply as JSON. Our reply types have string keys only, which is all that can fail.
pub(crate) fn json<T: Serialize>(reply: &T) -> Bytes {
    serde_json::to_vec(reply).unwrap_or_default().into()
}
