//! Serving a built-in key-value store as `wrpc:keyvalue`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::builtin::{Links, instance, respond};
use super::{Endpoint, Handler, Refusal, ServerOptions};
use crate::capability::keyvalue::{Backend, Error, Linked};
use crate::rpc::store_types::{ATOMICS, BATCH, STORE};
use crate::rpc::transport::Incoming;

struct Function {
    links: Arc<Links>,
    name: &'static str,
}

pub(super) fn endpoints(links: &Arc<Links>) -> Vec<Endpoint> {
    let handler = |name| Function {
        links: links.clone(),
        name,
    };
    let store = ["get", "set", "delete", "exists", "list-keys"];
    let mut endpoints = instance(STORE, &store, handler);
    endpoints.extend(instance(ATOMICS, &["increment"], handler));
    endpoints.extend(instance(
        BATCH,
        &["get-many", "set-many", "delete-many"],
        handler,
    ));
    endpoints
}

type Key = (String, String);

#[async_trait]
impl Handler for Function {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let linked = self
            .links
            .find::<Linked>(call, "wasi:keyvalue")
            .map_err(Error::Other);
        let open =
            |bucket: &str| -> Result<Arc<dyn Backend>, Error> { linked.clone()?.open(bucket) };
        match self.name {
            "get" => {
                respond(call, options, async |(b, k): Key| {
                    open(&b)?.get(&b, &k).await
                })
                .await
            }
            "set" => {
                respond(call, options, async |(b, k, v): (String, String, Bytes)| {
                    open(&b)?.set(&b, &k, v).await
                })
                .await
            }
            "delete" => {
                respond(call, options, async |(b, k): Key| {
                    open(&b)?.delete(&b, &k).await
                })
                .await
            }
            "exists" => {
                respond(call, options, async |(b, k): Key| {
                    open(&b)?.exists(&b, &k).await
                })
                .await
            }
            "list-keys" => {
                respond(call, options, async |(b, cursor): (String, Option<u64>)| {
                    open(&b)?.list_keys(&b, cursor).await
                })
                .await
            }
            "increment" => {
                respond(
                    call,
                    options,
                    async |(b, k, delta): (String, String, u64)| {
                        open(&b)?.increment(&b, &k, delta).await
                    },
                )
                .await
            }
            "get-many" => {
                respond(call, options, async |(b, keys): (String, Vec<String>)| {
                    open(&b)?.get_many(&b, keys).await
                })
                .await
            }
            "set-many" => {
                respond(
                    call,
                    options,
                    async |(b, values): (String, Vec<(String, Bytes)>)| {
                        open(&b)?.set_many(&b, values).await
                    },
                )
                .await
            }
            _ => {
                respond(call, options, async |(b, keys): (String, Vec<String>)| {
                    open(&b)?.delete_many(&b, keys).await
                })
                .await
            }
        }
    }
}
