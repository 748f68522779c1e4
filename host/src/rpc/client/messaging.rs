//! `wasmcloud:messaging/consumer` as a broker.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Client, Function, error_text};
use crate::capability::RemoteTarget;
use crate::capability::messaging::{Backend, Error, Message};
use crate::rpc::codec::Wire;
use crate::rpc::store_types::CONSUMER;

/// A broker that a provider elsewhere serves.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) to: RemoteTarget,
}

impl Remote {
    async fn ask<P: Wire, R: Wire>(&self, name: &'static str, params: P) -> Result<R, Error> {
        let function = Function {
            to: &self.to,
            instance: CONSUMER,
            name,
        };
        let answer: Result<Result<R, String>, _> = self.client.invoke(function, &params).await;
        match answer {
            Ok(answer) => answer.map_err(Error),
            Err(error) => Err(Error(error_text(&self.to, error))),
        }
    }
}

#[async_trait]
impl Backend for Remote {
    async fn request(
        &self,
        subject: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self.ask("request", (subject.to_owned(), body, millis))
            .await
    }

    async fn publish(&self, message: Message) -> Result<(), Error> {
        self.ask("publish", message).await
    }
}
