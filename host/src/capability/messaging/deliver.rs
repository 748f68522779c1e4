//! Handing messages to components, on this host or another.

use std::sync::Arc;
use std::time::Duration;

use proto::id::{ComponentId, LinkName};
use tokio::time::Instant;
use wasmtime::component::Val;

use super::{Error, Message};
use crate::capability::{Remote, RemoteTarget};
use crate::directory::Directory;
use crate::runtime::{CallContext, CallError, TraceHeaders};

/// The instance that a component exports to be handed messages.
const INSTANCE: &str = "wasmcloud:messaging/handler@0.2.0";

/// How long a message waits for a component that is at its limit.
const BUSY_WITHIN: Duration = Duration::from_secs(30);

/// Who gets the messages of one link, and how to reach it.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) provider: ComponentId,
    pub(super) component: ComponentId,
    pub(super) link_name: LinkName,
    pub(super) directory: Arc<Directory>,
    pub(super) remote: Arc<dyn Remote>,
}

impl Recipient {
    /// Hands over a message; done once the component has handled it.
    ///
    /// # Errors
    /// The component's own, or why it could not be called.
    pub(super) async fn deliver(&self, message: Message) -> Result<(), Error> {
        let give_up = Instant::now() + BUSY_WITHIN;
        loop {
            let Some(component) = self.directory.component(&self.component) else {
                return self.remote.handle_message(&self.target(), message).await;
            };
            let params = [to_val(&message)];
            let call = CallContext::default();
            match component
                .call(call, Some(INSTANCE), "handle-message", &params)
                .await
            {
                Ok(results) => return from_results(&results),
                Err(CallError::Overloaded { retry_after, .. }) if Instant::now() < give_up => {
                    tokio::time::sleep(retry_after.min(Duration::from_millis(200))).await;
                }
                Err(error) => return Err(Error::new(error.to_string())),
            }
        }
    }

    fn target(&self) -> RemoteTarget {
        RemoteTarget {
            source: self.provider.clone(),
            target: self.component.clone(),
            link_name: self.link_name.clone(),
            trace: TraceHeaders::default(),
        }
    }
}

/// A `broker-message`.
fn to_val(message: &Message) -> Val {
    let body = message.body.iter().copied().map(Val::U8).collect();
    let reply_to = message
        .reply_to
        .clone()
        .map(|reply_to| Box::new(Val::String(reply_to)));
    Val::Record(vec![
        ("subject".into(), Val::String(message.subject.clone())),
        ("body".into(), Val::List(body)),
        ("reply-to".into(), Val::Option(reply_to)),
    ])
}

/// A `result<_, string>`.
fn from_results(results: &[Val]) -> Result<(), Error> {
    match results {
        [Val::Result(Ok(_))] => Ok(()),
        [Val::Result(Err(Some(error)))] => match &**error {
            Val::String(text) => Err(Error::new(text)),
            _ => Err(Error::new(
                "the component answered with something else than text",
            )),
        },
        _ => Err(Error::new(
            "the component's `handle-message` has another type",
        )),
    }
}
