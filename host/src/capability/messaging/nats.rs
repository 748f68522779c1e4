//! NATS as a message broker: publishing, asking, and hearing by subscription or JetStream consumer.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, AckKind, consumer::PullConsumer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::deliver::Recipient;
use super::{Backend, Error, Message};
use crate::capability::nats::LazyClient;

/// Messages of one subscription that are handled at a time.
pub(super) const CONCURRENCY_DEFAULT: usize = 64;

/// Longest pause before a subscription is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Pause before JetStream hands a message out again that was not handled.
const REDELIVER_AFTER: Duration = Duration::from_secs(1);

/// How often JetStream is told that a message is still being handled.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// A NATS system, spoken to as a broker.
pub struct NatsBroker {
    client: LazyClient,
}

impl NatsBroker {
    /// Speaks over this connection.
    pub fn new(client: LazyClient) -> Self {
        Self { client }
    }

    async fn client(&self) -> Result<async_nats::Client, Error> {
        self.client.get().await.map_err(refused)
    }
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::new(format!("nats: {error}"))
}

#[async_trait]
impl Backend for NatsBroker {
    async fn request(
        &self,
        subject: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let request = async_nats::Request::new()
            .payload(body)
            .timeout(Some(timeout));
        let client = self.client().await?;
        client
            .send_request(subject.to_owned(), request)
            .await
            .map(received)
            .map_err(refused)
    }

    async fn publish(&self, message: Message) -> Result<(), Error> {
        let client = self.client().await?;
        let Message {
            subject,
            body,
            reply_to,
        } = message;
        match reply_to {
            Some(reply_to) => client.publish_with_reply(subject, reply_to, body).await,
            None => client.publish(subject, body).await,
        }
        .map_err(refused)
    }
}

fn received(message: async_nats::Message) -> Message {
    Message {
        subject: message.subject.into_string(),
        body: message.payload,
        reply_to: message.reply.map(async_nats::Subject::into_string),
    }
}

/// Where a link's messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A subject, perhaps shared with a queue group.
    Subject {
        subject: String,
        queue: Option<String>,
    },
    /// A pull consumer of a stream; each message is acknowledged once it is handled.
    Consumer {
        stream: String,
        consumer: String,
        max_messages: Option<usize>,
        max_bytes: Option<usize>,
    },
}

/// Hands the messages of `source` to `recipient` until `stop` is cancelled.
pub(super) async fn listen(
    client: LazyClient,
    source: Source,
    concurrency: usize,
    recipient: Recipient,
    stop: CancellationToken,
) {
    let mut pause = Duration::from_millis(200);
    loop {
        let heard = match &source {
            Source::Subject { subject, queue } => {
                hear_subject(
                    &client,
                    subject,
                    queue.as_deref(),
                    concurrency,
                    &recipient,
                    &stop,
                )
                .await
            }
            Source::Consumer {
                stream,
                consumer,
                max_messages,
                max_bytes,
            } => {
                let limits = (max_messages.unwrap_or(concurrency), *max_bytes);
                hear_consumer(&client, stream, consumer, limits, &recipient, &stop).await
            }
        };
        if stop.is_cancelled() {
            return;
        }
        let component = &recipient.component;
        if let Err(error) = heard {
            tracing::warn!(%component, ?source, %error, again_in = ?pause, "cannot listen");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

async fn hear_subject(
    client: &LazyClient,
    subject: &str,
    queue: Option<&str>,
    concurrency: usize,
    recipient: &Recipient,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let client = client.get().await.map_err(refused)?;
    let subject = subject.to_owned();
    let mut messages = match queue {
        Some(queue) => client.queue_subscribe(subject, queue.to_owned()).await,
        None => client.subscribe(subject).await,
    }
    .map_err(refused)?;
    // Leaving loses nothing: what NATS has sent until then is still handled.
    let arriving = async_stream::stream! {
        let mut leaving = false;
        loop {
            tokio::select! {
                () = stop.cancelled(), if !leaving => {
                    leaving = true;
                    if messages.drain().await.is_err() { break }
                }
                message = messages.next() => match message {
                    Some(message) => yield message,
                    None => break,
                },
            }
        }
    };
    arriving
        .for_each_concurrent(concurrency, |message| async move {
            let subject = message.subject.clone();
            if let Err(error) = recipient.deliver(received(message)).await {
                let component = &recipient.component;
                tracing::warn!(%component, %subject, %error, "message not handled");
            }
        })
        .await;
    Ok(())
}

async fn hear_consumer(
    client: &LazyClient,
    stream: &str,
    consumer: &str,
    (width, max_bytes): (usize, Option<usize>),
    recipient: &Recipient,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let client = client.get().await.map_err(refused)?;
    let js = jetstream::new(client);
    let consumer: PullConsumer = js
        .get_consumer_from_stream(consumer, stream)
        .await
        .map_err(refused)?;
    let pull = consumer.stream().max_messages_per_batch(width);
    let pull = match max_bytes {
        Some(bytes) => pull.max_bytes_per_batch(bytes),
        None => pull,
    };
    let messages = pull.messages().await.map_err(refused)?;
    messages
        .take_until(stop.cancelled())
        .for_each_concurrent(width, |message| async move {
            match message {
                Ok(message) => handle_acknowledged(message, recipient).await,
                Err(error) => tracing::warn!(%error, "JetStream consumer"),
            }
        })
        .await;
    Ok(())
}

/// Handles a message and says so to JetStream, which hands it out again otherwise.
async fn handle_acknowledged(message: jetstream::Message, recipient: &Recipient) {
    let (message, acker) = message.split();
    let subject = message.subject.clone();
    // The reply subject of such a message is JetStream's own; a component must not answer there.
    let message = Message {
        reply_to: reply_to(message.headers.as_ref()),
        ..received(message)
    };
    let mut handling = std::pin::pin!(recipient.deliver(message));
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    progress.tick().await;
    let handled = loop {
        tokio::select! {
            handled = &mut handling => break handled,
            _ = progress.tick() => {
                // A lost sign of progress costs at most one delivery more.
                let _ = acker.ack_with(AckKind::Progress).await;
            }
        }
    };
    let component = &recipient.component;
    let answer = match handled {
        Ok(()) => acker.double_ack().await,
        Err(error) => {
            tracing::warn!(%component, %subject, %error, "message not handled; it comes again");
            acker.ack_with(AckKind::Nak(Some(REDELIVER_AFTER))).await
        }
    };
    if let Err(error) = answer {
        tracing::warn!(%component, %subject, %error, "JetStream was not told how a message went");
    }
}

/// Where the sender of a stored message wants an answer, if it said so in a header.
fn reply_to(headers: Option<&HeaderMap>) -> Option<String> {
    headers?
        .get("Reply-To")
        .map(|value| value.as_str().to_owned())
}
