//! Control requests: heard, checked, answered.
//!
//! Requests about one component or provider take their place in its line the moment they are
//! heard, so that overlapping ones settle in order of arrival; everything else runs side by side.

mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use futures::stream::SelectAll;
use proto::ctl::CtlResponse;
use proto::event::HostStarted;
use proto::subject::CtlSubject;
use proto::subject::ctl::{Purpose, host_subscriptions};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::{Configs, Connection, Events, Identity, Records};
use crate::oci::Fetcher;
use crate::task::{OnFailure, Task, TaskError};
use crate::workload::Workloads;

/// Requests being worked on at one time.
const REQUESTS_MAX: usize = 1024;
/// Largest request body taken.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Which auctions this host takes part in.
#[derive(Clone, Copy, Debug)]
pub struct Auctions {
    /// Auctions of components.
    pub components: bool,
    /// Auctions of providers.
    pub providers: bool,
}

/// Asks the host to stop; how long it may take is in the request.
pub type StopHost = Arc<dyn Fn(Option<std::time::Duration>) + Send + Sync>;

/// Joins the lattice and serves control requests.
pub struct Control(Arc<Inner>);

/// What a control server works with.
pub struct Parts {
    /// The ctl connection.
    pub connection: Connection,
    /// The rpc connection, for link announcements.
    pub rpc: Connection,
    /// Who this host is.
    pub identity: Arc<Identity>,
    /// Start of the control subjects.
    pub prefix: String,
    /// Auctions taken part in.
    pub auctions: Auctions,
    /// Registry credentials are asked for at start.
    pub config_service: bool,
    /// Where events go.
    pub events: Events,
    /// Links and claims.
    pub records: Records,
    /// Configs.
    pub configs: Configs,
    /// Where registry credentials go.
    pub fetcher: Fetcher,
    /// What runs here.
    pub workloads: Arc<Workloads>,
    /// How the host is stopped.
    pub stop_host: StopHost,
    /// True while the host serves its lattice.
    pub ready: watch::Sender<bool>,
}

struct Inner {
    parts: Parts,
    announced: AtomicBool,
    places: Arc<Semaphore>,
}

impl Control {
    /// A server for these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            announced: AtomicBool::new(false),
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }))
    }
}

impl Task for Control {
    const NAME: &'static str = "control";
    const ON_FAILURE: OnFailure = OnFailure::Restart;

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let mut messages = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            messages = self.join() => messages?,
        };
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = messages.next() => message,
            };
            match message {
                Some(message) => self.0.clone().take(message),
                None => return Err(TaskError("the subscriptions ended".into())),
            }
        }
    }
}

impl Control {
    /// Waits for NATS and the records, subscribes, and says that the host is there.
    async fn join(&self) -> Result<SelectAll<Subscriber>, TaskError> {
        let parts = &self.0.parts;
        parts.connection.up().await;
        for mut ready in [parts.records.ready(), parts.configs.ready()] {
            let read = ready.wait_for(|ready| *ready).await;
            read.map_err(|_| TaskError("the lattice's records are no longer read".into()))?;
        }
        if parts.config_service && !self.0.announced.load(Ordering::SeqCst) {
            super::config_service::ask(&parts.connection, &parts.identity, &parts.fetcher).await;
        }
        let mut all = SelectAll::new();
        let client = parts.connection.client();
        for wanted in host_subscriptions(&parts.prefix, &parts.identity.lattice, &parts.identity.id)
        {
            let skip = match wanted.purpose {
                Purpose::Requests => false,
                Purpose::ComponentAuction => !parts.auctions.components,
                Purpose::ProviderAuction => !parts.auctions.providers,
            };
            if skip {
                continue;
            }
            let subscribed = match wanted.queue {
                Some(queue) => client.queue_subscribe(wanted.subject, queue).await,
                None => client.subscribe(wanted.subject).await,
            };
            all.push(subscribed.map_err(|error| TaskError::from_error(&error))?);
        }
        if !parts.connection.settled().await {
            return Err(TaskError(
                "NATS does not confirm the subscriptions for control requests".into(),
            ));
        }
        parts.workloads.joined().await;
        parts.ready.send_replace(true);
        if !self.0.announced.swap(true, Ordering::SeqCst) {
            self.announce().await;
        }
        Ok(all)
    }

    async fn announce(&self) {
        let parts = &self.0.parts;
        let identity = &parts.identity;
        let started = HostStarted {
            friendly_name: identity.friendly_name.clone(),
            labels: proto::Labels::clone(&identity.labels.load()),
            uptime_seconds: 0,
            version: identity.version.clone(),
        };
        parts.events.publish(started).await;
        tracing::info!(host = %identity.id, lattice = %identity.lattice, name = identity.friendly_name, "joined the lattice");
        if parts.workloads.has_any() {
            // What was brought back from disk is news to everyone else.
            let heartbeat = proto::event::Event::HostHeartbeat(parts.workloads.describe());
            parts.events.publish(heartbeat).await;
        }
    }
}

impl Inner {
    /// Hears one request. Takes no time: what does is spawned.
    fn take(self: Arc<Self>, message: Message) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            tracing::warn!(subject = %message.subject, "too many control requests at once; one was refused");
            let busy = CtlResponse::error("this host is working on too many requests; try again");
            tokio::spawn(async move { self.reply(&message, busy).await });
            return;
        };
        let subject = match self.read(&message) {
            Ok(subject) => subject,
            Err(refusal) => {
                tokio::spawn(async move { self.reply(&message, refusal).await });
                return;
            }
        };
        let body = message.payload.clone();
        let answer = self.clone().begin(subject.request, body);
        tokio::spawn(async move {
            if let Some(answer) = answer.await {
                self.reply(&message, answer).await;
            }
            drop(place);
        });
    }

    fn read(&self, message: &Message) -> Result<CtlSubject, CtlResponse> {
        let length = message.payload.len();
        if length > BODY_BYTES_MAX {
            tracing::warn!(subject = %message.subject, length, "an oversized control request was refused");
            return Err(CtlResponse::error(format!(
                "the request has {length} bytes, at most {BODY_BYTES_MAX} are taken"
            )));
        }
        CtlSubject::parse(&self.parts.prefix, message.subject.as_str()).map_err(|error| {
            tracing::warn!(subject = %message.subject, %error, "an unknown control request was refused");
            CtlResponse::error("unsupported subject")
        })
    }

    async fn reply(&self, message: &Message, answer: CtlResponse) {
        let Some(reply) = message.reply.clone() else {
            return;
        };
        let bytes = match serde_json::to_vec(&answer) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::warn!(%error, "an answer could not be written"),
        };
        let client = self.parts.connection.client();
        let payload_max = client.server_info().max_payload;
        if payload_max > 0 && bytes.len() > payload_max {
            tracing::warn!(
                subject = %message.subject,
                length = bytes.len(),
                payload_max,
                "the answer is larger than the NATS server takes; raise its `max_payload`"
            );
        }
        if let Err(error) = client.publish(reply, bytes.into()).await {
            tracing::warn!(subject = %message.subject, %error, "an answer was not sent");
        }
    }
}
