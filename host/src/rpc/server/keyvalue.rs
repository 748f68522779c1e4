//! Serving a built-in key-value store as `wrpc:keyvalue`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::builtin::{Links, instance, respond};
use super::{Endpoint, Handler, Refusal, ServerOptions};
use crate::capability::keyvalue::{Backend, Error, Linked};
use crate::rpc::store_types::{ATOMICS, BATCH, STORE};
use crate::rpc::transport::Incoming;

/// A function, by its instance and its name.
struct Function {
    links: Arc<Links>,
    batch: bool,
    name: &'static str,
}

pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    let handler = |batch| {
        move |name| Function {
            links: links.clone(),
            batch,
            name,
        }
    };
    let store = ["get", "set", "delete", "exists", "list-keys"];
    let batch = ["get-many", "set-many", "delete-many"];
    let mut endpoints = instance(STORE, &store, handler(false));
    endpoints.extend(instance(ATOMICS, &["increment"], handler(false)));
    endpoints.extend(instance(BATCH, &batch, handler(true)));
    endpoints
}

type Key = (String, String);
type Open = Result<Linked, Error>;

/// The store behind a bucket's name.
fn open(linked: Open, bucket: &str) -> Result<Arc<dyn Backend>, Error> {
    linked?.open(bucket)
}

#[async_trait]
impl Handler for Function {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let linked = self.links.find::<Linked>(call, "wasi:keyvalue");
        let linked = linked.map_err(Error::Other);
        if self.batch {
            batch(self.name, call, options, linked).await
        } else {
            single(self.name, call, options, linked).await
        }
    }
}

async fn single(
    name: &str,
    call: &mut Incoming,
    options: &ServerOptions,
    store: Open,
) -> Result<(), Refusal> {
    match name {
        "get" => {
            let work = async |(b, k): Key| open(store, &b)?.get(&b, &k).await;
            respond(call, options, work).await
        }
        "set" => {
            let work =
                async |(b, k, v): (String, String, Bytes)| open(store, &b)?.set(&b, &k, v).await;
            respond(call, options, work).await
        }
        "delete" => {
            let work = async |(b, k): Key| open(store, &b)?.delete(&b, &k).await;
            respond(call, options, work).await
        }
        "exists" => {
            let work = async |(b, k): Key| open(store, &b)?.exists(&b, &k).await;
            respond(call, options, work).await
        }
        "list-keys" => {
            let work = async |(b, cursor): (String, Option<u64>)| {
                open(store, &b)?.list_keys(&b, cursor).await
            };
            respond(call, options, work).await
        }
        _ => {
            let work = async |(b, k, delta): (String, String, u64)| {
                open(store, &b)?.increment(&b, &k, delta).await
            };
            respond(call, options, work).await
        }
    }
}

async fn batch(
    name: &str,
    call: &mut Incoming,
    options: &ServerOptions,
    store: Open,
) -> Result<(), Refusal> {
    match name {
        "get-many" => {
            let work =
                async |(b, keys): (String, Vec<String>)| open(store, &b)?.get_many(&b, keys).await;
            respond(call, options, work).await
        }
        "set-many" => {
            let work = async |(b, values): (String, Vec<(String, Bytes)>)| {
                open(store, &b)?.set_many(&b, values).await
            };
            respond(call, options, work).await
        }
        _ => {
            let work = async |(b, keys): (String, Vec<String>)| {
                open(store, &b)?.delete_many(&b, keys).await
            };
            respond(call, options, work).await
        }
    }
}
