//! `wrpc:keyvalue` as a store.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Client, Function, error_text};
use crate::capability::RemoteTarget;
use crate::capability::keyvalue::{Backend, Error, KeyPage};
use crate::rpc::codec::Wire;
use crate::rpc::store_types::{ATOMICS, BATCH, STORE};

/// A store that a provider elsewhere serves.
pub(super) struct Remote {
    pub(super) client: Client,
    pub(super) to: RemoteTarget,
}

impl Remote {
    async fn ask<P: Wire, R: Wire>(
        &self,
        instance: &'static str,
        name: &'static str,
        params: P,
    ) -> Result<R, Error> {
        let function = Function {
            to: &self.to,
            instance,
            name,
        };
        let answer: Result<Result<R, Error>, _> = self.client.invoke(function, &params).await;
        answer.unwrap_or_else(|error| Err(Error::Other(error_text(&self.to, error))))
    }
}

fn own(text: &str) -> String {
    text.to_owned()
}

#[async_trait]
impl Backend for Remote {
    async fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        self.ask(STORE, "get", (own(bucket), own(key))).await
    }

    async fn set(&self, bucket: &str, key: &str, value: Bytes) -> Result<(), Error> {
        self.ask(STORE, "set", (own(bucket), own(key), value)).await
    }

    async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.ask(STORE, "delete", (own(bucket), own(key))).await
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, Error> {
        self.ask(STORE, "exists", (own(bucket), own(key))).await
    }

    async fn list_keys(&self, bucket: &str, cursor: Option<u64>) -> Result<KeyPage, Error> {
        self.ask(STORE, "list-keys", (own(bucket), cursor)).await
    }

    async fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64, Error> {
        self.ask(ATOMICS, "increment", (own(bucket), own(key), delta))
            .await
    }

    async fn get_many(
        &self,
        bucket: &str,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Bytes)>>, Error> {
        self.ask(BATCH, "get-many", (own(bucket), keys)).await
    }

    async fn set_many(&self, bucket: &str, values: Vec<(String, Bytes)>) -> Result<(), Error> {
        self.ask(BATCH, "set-many", (own(bucket), values)).await
    }

    async fn delete_many(&self, bucket: &str, keys: Vec<String>) -> Result<(), Error> {
        self.ask(BATCH, "delete-many", (own(bucket), keys)).await
    }
}
