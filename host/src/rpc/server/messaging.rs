//! Serving a built-in message broker as `wasmcloud:messaging/consumer`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::builtin::{Links, instance, respond};
use super::{Endpoint, Handler, Refusal, ServerOptions};
use crate::capability::messaging::{Linked, Message};
use crate::rpc::store_types::CONSUMER;
use crate::rpc::transport::Incoming;

struct Function {
    links: Arc<Links>,
    name: &'static str,
}

pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    instance(CONSUMER, &["request", "publish"], |name| Function {
        links: links.clone(),
        name,
    })
}

#[async_trait]
impl Handler for Function {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let broker = self.links.find::<Linked>(call, "wasmcloud:messaging");
        let broker = broker.map(|linked| linked.broker());
        match self.name {
            "request" => {
                respond(
                    call,
                    options,
                    async |(subject, body, millis): (String, Bytes, u32)| {
                        let timeout = Duration::from_millis(u64::from(millis));
                        broker?
                            .request(&subject, body, timeout)
                            .await
                            .map_err(|e| e.0)
                    },
                )
                .await
            }
            _ => {
                respond(call, options, async |message: Message| {
                    broker?.publish(message).await.map_err(|e| e.0)
                })
                .await
            }
        }
    }
}
