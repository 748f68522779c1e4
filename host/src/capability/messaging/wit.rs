//! Guest calls of `wasmcloud:messaging/consumer`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasSelf, Linker};

use super::{Backend, CONSUMER, Linked, Message};
use crate::runtime::Ctx;

mod v0_2 {
    wasmtime::component::bindgen!({
        path: "../proto/wit/deps/wasmcloud-messaging-0.2.0",
        inline: "
            package lattice:host;
            world guest { import wasmcloud:messaging/consumer@0.2.0; }
        ",
        world: "lattice:host/guest",
        imports: { default: async },
    });
    pub(super) use self::wasmcloud::messaging::{consumer, types};
}

use v0_2::types::BrokerMessage;

/// Adds the interface.
pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    v0_2::types::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)?;
    v0_2::consumer::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
}

impl Ctx {
    fn broker(&self) -> Result<Arc<dyn Backend>, String> {
        let Some(link) = self.link(CONSUMER) else {
            self.missing_link(CONSUMER);
            return Err(format!("no link for `{CONSUMER}`"));
        };
        let Some(linked) = link.binding.get::<Linked>() else {
            let target = self.grants.remote_target(&link);
            return Ok(self.grants.remote().messaging(target));
        };
        Ok(linked.broker())
    }
}

impl v0_2::types::Host for Ctx {}

impl v0_2::consumer::Host for Ctx {
    async fn request(
        &mut self,
        subject: String,
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<BrokerMessage, String> {
        let timeout = Duration::from_millis(timeout_ms.into());
        let answer = self.broker()?.request(&subject, body.into(), timeout).await;
        answer.map(BrokerMessage::from).map_err(|error| error.0)
    }

    async fn publish(&mut self, message: BrokerMessage) -> Result<(), String> {
        self.broker()?
            .publish(message.into())
            .await
            .map_err(|error| error.0)
    }
}

impl From<Message> for BrokerMessage {
    fn from(message: Message) -> Self {
        let Message {
            subject,
            body,
            reply_to,
        } = message;
        Self {
            subject,
            body: body.into(),
            reply_to,
        }
    }
}

impl From<BrokerMessage> for Message {
    fn from(message: BrokerMessage) -> Self {
        let BrokerMessage {
            subject,
            body,
            reply_to,
        } = message;
        Self {
            subject,
            body: body.into(),
            reply_to,
        }
    }
}
