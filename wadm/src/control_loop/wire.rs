//! Control requests: sent, and their answers read.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use proto::ctl::{
    CtlResponse, DeleteLinkRequest, Fence, Host, HostInventory, ScaleComponentCommand,
    StartProviderCommand, StopProviderCommand,
};
use proto::id::{HostId, Lattice};
use proto::link::Link;
use proto::subject::{Ctl, CtlSubject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::core::{Input, Reply, Request};
use crate::plan::Command;

/// How long a host may take to answer a command. Stopping a provider takes the longest: the host
/// waits for the provider's own goodbye.
const COMMAND_DEADLINE: Duration = Duration::from_secs(4);

/// How long a host may take to tell what it runs.
const QUESTION_DEADLINE: Duration = Duration::from_secs(2);

/// How long answers to a ping are gathered.
const PING_TIME: Duration = Duration::from_secs(2);

/// The control interface of one lattice.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) client: Client,
    pub(super) prefix: String,
    pub(super) lattice: Lattice,
}

/// Why a request has no answer.
enum NoAnswer {
    Late,
    NoResponders,
}

impl Wire {
    /// Sends one command and waits for its answer.
    pub(super) async fn send(&self, command: Command, fence: Fence) -> Reply {
        let (request, body) = encode(command, fence);
        match self.request(request, body, COMMAND_DEADLINE).await {
            Ok(payload) => match serde_json::from_slice::<CtlResponse>(&payload) {
                Ok(reply) if reply.success => Reply::Accepted(reply.message),
                Ok(reply) => Reply::Refused(reply.message),
                Err(error) => Reply::Refused(format!("the host's answer is not readable: {error}")),
            },
            Err(NoAnswer::Late) => Reply::Unanswered,
            Err(NoAnswer::NoResponders) => Reply::NoResponders,
        }
    }

    /// Asks one thing; every answer goes to `heard`.
    pub(super) async fn ask(&self, request: Request, heard: &mpsc::Sender<Input>) {
        let answer = match request {
            Request::Ping => return self.ping(heard).await,
            Request::Inventory(host) => Some(self.inventory(host).await),
            Request::Links => self
                .question::<Vec<Link>>(Ctl::GetLinks)
                .await
                .ok()
                .flatten()
                .map(Input::Links),
            Request::Config(name) => {
                let value = self.question(Ctl::GetConfig(name.clone())).await;
                value.ok().map(|value| Input::Config { name, value })
            }
        };
        if let Some(answer) = answer {
            let _ = heard.send(answer).await;
        }
    }

    async fn inventory(&self, host: HostId) -> Input {
        match self
            .question::<HostInventory>(Ctl::Inventory(host.clone()))
            .await
        {
            Ok(Some(inventory)) => Input::Inventory { host, inventory },
            Ok(None) | Err(NoAnswer::Late) => Input::NoInventory {
                host,
                no_responders: false,
            },
            Err(NoAnswer::NoResponders) => Input::NoInventory {
                host,
                no_responders: true,
            },
        }
    }

    async fn ping(&self, heard: &mpsc::Sender<Input>) {
        let inbox = self.client.new_inbox();
        let subject = self.subject(Ctl::PingHosts);
        let Ok(mut answers) = self.client.subscribe(inbox.clone()).await else {
            return;
        };
        if self
            .client
            .publish_with_reply(subject, inbox, Bytes::new())
            .await
            .is_err()
        {
            return;
        }
        let gather = async {
            while let Some(message) = answers.next().await {
                // An empty message is the server's "no responders".
                if message.payload.is_empty() {
                    return;
                }
                match serde_json::from_slice::<CtlResponse<Host>>(&message.payload) {
                    Ok(CtlResponse {
                        response: Some(host),
                        ..
                    }) => {
                        let _ = heard.send(Input::Ping(host)).await;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "an answer to a ping is not readable, skipped")
                    }
                }
            }
        };
        let _ = tokio::time::timeout(PING_TIME, gather).await;
        let _ = answers.unsubscribe().await;
    }

    /// Asks for data; none when the answer holds none.
    async fn question<T: DeserializeOwned>(&self, request: Ctl) -> Result<Option<T>, NoAnswer> {
        let subject = self.subject(request.clone());
        let payload = self
            .request(request, Bytes::new(), QUESTION_DEADLINE)
            .await?;
        match serde_json::from_slice::<CtlResponse<T>>(&payload) {
            Ok(reply) if reply.success => Ok(reply.response),
            Ok(reply) => {
                tracing::debug!(subject, message = reply.message, "a question was refused");
                Err(NoAnswer::Late)
            }
            Err(error) => {
                tracing::warn!(subject, %error, "an answer is not readable");
                Err(NoAnswer::Late)
            }
        }
    }

    async fn request(
        &self,
        request: Ctl,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, NoAnswer> {
        // While the connection is down the client would keep the message and send it whenever the
        // connection is back, long after it was decided on.
        if self.client.connection_state() != async_nats::connection::State::Connected {
            return Err(NoAnswer::Late);
        }
        let message = async_nats::Request::new()
            .payload(body)
            .timeout(Some(deadline));
        match self
            .client
            .send_request(self.subject(request), message)
            .await
        {
            Ok(answer) => Ok(answer.payload),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Err(NoAnswer::NoResponders)
            }
            Err(_) => Err(NoAnswer::Late),
        }
    }

    fn subject(&self, request: Ctl) -> String {
        CtlSubject::with_prefix(&self.prefix, self.lattice.clone(), request).to_string()
    }
}

/// A command as it travels.
fn encode(command: Command, fence: Fence) -> (Ctl, Bytes) {
    let fence = Some(fence);
    match command {
        Command::Scale {
            host,
            id,
            image,
            count,
            annotations,
            config,
            limits,
            update,
        } => {
            let body = ScaleComponentCommand {
                component_ref: image,
                component_id: id,
                count,
                annotations: Some(annotations),
                component_limits: limits,
                host_id: host.to_string(),
                config,
                allow_update: update,
                fence,
            };
            (Ctl::ScaleComponent(host), bytes(&body))
        }
        Command::StartProvider {
            host,
            id,
            image,
            annotations,
            config,
        } => {
            let body = StartProviderCommand {
                provider_id: id,
                provider_ref: image,
                host_id: host.to_string(),
                config,
                annotations: Some(annotations),
                fence,
            };
            (Ctl::StartProvider(host), bytes(&body))
        }
        Command::StopProvider { host, id } => {
            let body = StopProviderCommand {
                host_id: host.to_string(),
                provider_id: id,
                fence,
            };
            (Ctl::StopProvider(host), bytes(&body))
        }
        Command::PutLink(link) => (Ctl::PutLink, bytes(&link)),
        Command::DeleteLink(key) => (Ctl::DeleteLink, bytes(&DeleteLinkRequest::from(&key))),
        Command::PutConfig { name, properties } => (Ctl::PutConfig(name), bytes(&properties)),
        Command::DeleteConfig(name) => (Ctl::DeleteConfig(name), Bytes::new()),
    }
}

/// A body as JSON. All bodies have string keys only, which is all that can fail.
fn bytes<T: Serialize>(body: &T) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}
