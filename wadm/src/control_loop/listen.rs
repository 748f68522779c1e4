//! Hears what hosts say on every lattice.

use anyhow::Context as _;
use async_nats::Message;
use futures::StreamExt;
use proto::event::CloudEvent;
use proto::pulse::Pulse;
use proto::subject::wadm::RetrySubject;
use proto::subject::{EventSubject, PulseSubject};
use tokio_util::sync::CancellationToken;

use super::Lattices;
use crate::core::Input;
use crate::nats::Nats;
use crate::task::{Task, TaskError};

/// Hears events, signs of life and requests to try again, and passes them on.
pub struct Listen {
    nats: Nats,
    lattices: Lattices,
}

impl Listen {
    /// Passes on to `lattices` what is heard.
    pub fn new(nats: Nats, lattices: Lattices) -> Self {
        Self { nats, lattices }
    }

    fn event(&self, message: &Message) {
        let Ok(subject) = message.subject.parse::<EventSubject>() else {
            return;
        };
        match CloudEvent::parse(&message.payload) {
            Ok(event) => {
                let input = Input::Event {
                    source: event.source,
                    event: event.event,
                };
                self.lattices.hear(&subject.lattice, input);
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::debug!(subject = %message.subject, error = format!("{error:#}"), "an event is not readable, skipped");
            }
        }
    }

    fn pulse(&self, message: &Message) {
        let Ok(subject) = message.subject.parse::<PulseSubject>() else {
            return;
        };
        match serde_json::from_slice::<Pulse>(&message.payload) {
            Ok(pulse) if pulse.host_id == subject.host => {
                self.lattices.hear(&subject.lattice, Input::Pulse(pulse))
            }
            Ok(_) => {
                tracing::debug!(subject = %message.subject, "a pulse names another host, skipped")
            }
            Err(error) => {
                tracing::debug!(subject = %message.subject, %error, "a pulse is not readable, skipped")
            }
        }
    }

    fn retry(&self, message: &Message) {
        if let Ok(subject) = message.subject.parse::<RetrySubject>() {
            self.lattices.hear(
                &subject.lattice,
                Input::Retry {
                    application: Some(subject.app),
                },
            );
        }
    }
}

#[async_trait::async_trait]
impl Task for Listen {
    const NAME: &'static str = "listen";

    async fn run(&self, stop: &CancellationToken) -> Result<(), TaskError> {
        let client = &self.nats.client;
        let context = "cannot subscribe to what hosts say";
        let mut events = client
            .subscribe(EventSubject::every_lattice())
            .await
            .context(context)?;
        let mut pulses = client
            .subscribe(PulseSubject::every_lattice())
            .await
            .context(context)?;
        let mut retries = client
            .subscribe(RetrySubject::every_lattice())
            .await
            .context(context)?;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(message) = events.next() => self.event(&message),
                Some(message) = pulses.next() => self.pulse(&message),
                Some(message) = retries.next() => self.retry(&message),
                else => return Err(anyhow::anyhow!("the subscriptions ended").into()),
            }
        }
    }
}
