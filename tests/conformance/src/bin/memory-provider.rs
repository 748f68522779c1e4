//! A capability provider built with the published SDK, as anybody would build one.
//!
//! It keeps values in memory and serves `wrpc:keyvalue` to components linked to it. Where it is
//! the source of a link to a component, it sends that component one HTTP request. Everything that
//! happens to it, it reports on `conformance.{lattice}.{provider}`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::{
    Context, LinkConfig, LinkDeleteInfo, Provider, ProviderConfigUpdate, ProviderInitConfig,
    get_connection, run_provider, serve_provider_exports,
};
use wrpc_interface_http::InvokeIncomingHandler as _;

mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: r#"
            package wrpc:keyvalue@0.2.0-draft;

            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<u64> }
                get: func(bucket: string, key: string) -> result<option<list<u8>>, error>;
                set: func(bucket: string, key: string, value: list<u8>) -> result<_, error>;
                delete: func(bucket: string, key: string) -> result<_, error>;
                exists: func(bucket: string, key: string) -> result<bool, error>;
                list-keys: func(bucket: string, cursor: option<u64>) -> result<key-response, error>;
            }

            interface atomics {
                use store.{error};
                increment: func(bucket: string, key: string, delta: u64) -> result<u64, error>;
            }

            world memory {
                export store;
                export atomics;
            }
        "#,
    });
}

use bindings::exports::wrpc::keyvalue::{atomics, store};

type Calls = Option<Context>;
type Answer<T> = anyhow::Result<Result<T, store::Error>>;

/// Values by calling component, bucket and key; what the provider was started with.
#[derive(Clone, Default)]
struct Memory {
    values: Arc<Mutex<HashMap<(String, String, String), Bytes>>>,
    linked: Arc<Mutex<Vec<String>>>,
    start: Arc<Mutex<Value>>,
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shown(secrets: &HashMap<String, SecretValue>) -> Value {
    secrets
        .iter()
        .map(|(name, value)| (name.clone(), json!(value.as_string())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

async fn report(what: &str, data: Value) {
    let connection = get_connection();
    let subject = format!(
        "conformance.{}.{}",
        connection.lattice,
        connection.provider_key()
    );
    let message = json!({"what": what, "pid": std::process::id(), "data": data});
    if let Err(error) = connection
        .nats
        .publish(subject, message.to_string().into())
        .await
    {
        eprintln!("could not report {what}: {error}");
    }
}

fn link(config: &LinkConfig<'_>) -> Value {
    let (namespace, package, interfaces) = config.wit_metadata;
    json!({"source": config.source_id, "target": config.target_id, "name": config.link_name,
        "config": config.config, "secrets": shown(config.secrets),
        "interfaces": interfaces, "package": format!("{namespace}:{package}")})
}

impl Provider for Memory {
    async fn init(&self, init: impl ProviderInitConfig) -> anyhow::Result<()> {
        *lock(&self.start) = json!({"id": init.get_provider_id(), "config": init.get_config(),
            "secrets": shown(init.get_secrets())});
        Ok(())
    }

    async fn on_config_update(&self, update: impl ProviderConfigUpdate) -> anyhow::Result<()> {
        let config = json!(update.get_values());
        report("config", config).await;
        Ok(())
    }

    async fn receive_link_config_as_source(&self, config: LinkConfig<'_>) -> anyhow::Result<()> {
        report("linked as source", link(&config)).await;
        let get = |key: &str, default: &str| {
            config
                .config
                .get(key)
                .map_or_else(|| default.to_owned(), Clone::clone)
        };
        let (method, path, body) = (get("method", "GET"), get("path", "/"), get("body", ""));
        let target = config.target_id.to_owned();
        tokio::spawn(async move {
            let answer = match ask(&target, &method, &path, body).await {
                Ok(answer) => answer,
                Err(error) => json!({"error": format!("{error:#}")}),
            };
            report("http", answer).await;
        });
        Ok(())
    }

    async fn receive_link_config_as_target(&self, config: LinkConfig<'_>) -> anyhow::Result<()> {
        lock(&self.linked).push(config.source_id.to_owned());
        report("linked as target", link(&config)).await;
        Ok(())
    }

    async fn delete_link_as_target(&self, info: impl LinkDeleteInfo) -> anyhow::Result<()> {
        let source = info.get_source_id().to_owned();
        lock(&self.linked).retain(|linked| *linked != source);
        report(
            "unlinked as target",
            json!({"source": source, "name": info.get_link_name()}),
        )
        .await;
        Ok(())
    }

    async fn delete_link_as_source(&self, info: impl LinkDeleteInfo) -> anyhow::Result<()> {
        let target = info.get_target_id().to_owned();
        report("unlinked as source", json!({"target": target})).await;
        Ok(())
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        report("shutdown", Value::Null).await;
        get_connection().nats.flush().await.context("flush")
    }
}

/// Sends one HTTP request to a component over wRPC; its status, headers and body.
async fn ask(target: &str, method: &str, path: &str, body: String) -> anyhow::Result<Value> {
    let client = get_connection().get_wrpc_client(target).await?;
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://conformance.test{path}"))
        .header("x-from", "memory-provider")
        .body(Full::new(Bytes::from(body)))?;
    let (response, errors, io) = client.invoke_handle_http(None, request).await?;
    let response = response.map_err(|code| anyhow::anyhow!("error code {code:?}"))?;
    let (head, body) = response.into_parts();
    let sent = async {
        errors
            .for_each(|error| async move { eprintln!("request body: {error}") })
            .await;
    };
    let driven = async {
        match io {
            Some(io) => io.await,
            None => Ok(()),
        }
    };
    let ((), driven, body) = tokio::join!(sent, driven, body.collect());
    driven?;
    let body = body?.to_bytes();
    let headers: HashMap<String, String> = head
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    Ok(json!({"status": head.status.as_u16(), "headers": headers,
        "body": String::from_utf8_lossy(&body)}))
}

impl Memory {
    /// The caller, if it is linked.
    fn caller(&self, calls: Calls) -> Result<String, store::Error> {
        let source = calls.and_then(|calls| calls.component).unwrap_or_default();
        if lock(&self.linked).contains(&source) {
            Ok(source)
        } else {
            Err(store::Error::Other(format!("{source} is not linked")))
        }
    }
}

impl store::Handler<Calls> for Memory {
    async fn get(&self, calls: Calls, bucket: String, key: String) -> Answer<Option<Bytes>> {
        Ok(self
            .caller(calls)
            .map(|who| lock(&self.values).get(&(who, bucket, key)).cloned()))
    }

    async fn set(&self, calls: Calls, bucket: String, key: String, value: Bytes) -> Answer<()> {
        Ok(self.caller(calls).map(|who| {
            lock(&self.values).insert((who, bucket, key), value);
        }))
    }

    async fn delete(&self, calls: Calls, bucket: String, key: String) -> Answer<()> {
        Ok(self.caller(calls).map(|who| {
            lock(&self.values).remove(&(who, bucket, key));
        }))
    }

    async fn exists(&self, calls: Calls, bucket: String, key: String) -> Answer<bool> {
        Ok(self
            .caller(calls)
            .map(|who| lock(&self.values).contains_key(&(who, bucket, key))))
    }

    async fn list_keys(
        &self,
        calls: Calls,
        bucket: String,
        _cursor: Option<u64>,
    ) -> Answer<store::KeyResponse> {
        Ok(self.caller(calls).map(|who| {
            let keys = lock(&self.values)
                .keys()
                .filter(|(owner, its, _)| *owner == who && *its == bucket)
                .map(|(_, _, key)| key.clone())
                .collect();
            store::KeyResponse { keys, cursor: None }
        }))
    }
}

impl atomics::Handler<Calls> for Memory {
    async fn increment(
        &self,
        calls: Calls,
        bucket: String,
        key: String,
        delta: u64,
    ) -> Answer<u64> {
        Ok(self.caller(calls).and_then(|who| {
            let mut values = lock(&self.values);
            let value = values
                .entry((who, bucket, key))
                .or_insert_with(|| "0".into());
            let old: u64 = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| store::Error::Other("not a number".into()))?;
            let new = old + delta;
            *value = new.to_string().into();
            Ok(new)
        }))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let memory = Memory::default();
    let shutdown = run_provider(memory.clone(), "memory-provider").await?;
    let connection = get_connection();
    let start = lock(&memory.start).clone();
    report("started", start).await;
    let client = connection
        .get_wrpc_client(connection.provider_key())
        .await?;
    serve_provider_exports(&client, memory, shutdown, bindings::serve).await
}
