//! Every capability of a host behind HTTP: something to try links, settings and providers with.

use guest::{Reply, Request};
use serde_json::json;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: [
        "../../proto/wit/deps/wasi-io-0.2.6",
        "../../proto/wit/deps/wasi-keyvalue-0.2.0-draft",
        "../../proto/wit/deps/wasi-keyvalue-0.2.0-draft2",
        "../../proto/wit/deps/wasi-config-0.2.0-draft",
        "../../proto/wit/deps/wasi-config-0.2.0-rc.1",
        "../../proto/wit/deps/wasi-logging-0.1.0-draft",
        "../../proto/wit/deps/wasi-blobstore-0.2.0-draft",
        "../../proto/wit/deps/wasmcloud-messaging-0.2.0",
        "../../proto/wit/deps/wasmcloud-secrets-0.1.0-draft",
        "wit",
    ],
    world: "example:toolbox/toolbox",
    generate_all,
});

mod blob;
mod keyvalue;

use exports::wasmcloud::messaging::handler;
use wasi::config0_2_0_draft::runtime;
use wasi::config0_2_0_rc_1::store as config;
use wasi::logging::logging::{Level, log};
use wasmcloud::messaging::consumer;
use wasmcloud::messaging::types::BrokerMessage;
use wasmcloud::secrets::{reveal, store as secrets};

struct Toolbox;

wasip2::http::proxy::export!(Toolbox);
export!(Toolbox);

impl wasip2::exports::http::incoming_handler::Guest for Toolbox {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        guest::serve(request, out, answer);
    }
}

/// What a request came to; an error is text in the words of the interface.
type Answer = Result<Reply, String>;

fn answer(request: &Request) -> Reply {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let answered = match path.as_slice() {
        ["kv", bucket] => keyvalue::bucket(request, bucket),
        ["kv", bucket, key] => keyvalue::value(request, bucket, key),
        ["cas", bucket, key] => keyvalue::swap(request, bucket, key),
        ["blob", container] => blob::container(request, container),
        ["blob", container, name @ ..] => blob::object(request, container, &name.join("/")),
        ["config"] => all_config(),
        ["config", key] => one_config(key),
        ["log", level] => say(request, level),
        ["publish", subject] => publish(request, subject),
        ["request", subject] => ask(request, subject),
        ["secret", name] => secret(name),
        _ => Ok(Reply::text(404, "see the README for what there is\n")),
    };
    answered.unwrap_or_else(|error| Reply::json(503, &json!({ "error": error })))
}

fn body(request: &Request) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

/// A value, or 404.
fn found(value: Option<Vec<u8>>) -> Reply {
    match value {
        Some(value) => Reply::text(200, String::from_utf8_lossy(&value)),
        None => Reply::text(404, "nothing there\n"),
    }
}

fn done() -> Answer {
    Ok(Reply::text(200, "done\n"))
}

fn all_config() -> Answer {
    let pairs = config::get_all().map_err(|error| format!("{error:?}"))?;
    Ok(Reply::json(200, &pairs.into_iter().collect()))
}

/// Reads the key in both spellings of the interface, which have to agree.
fn one_config(key: &str) -> Answer {
    let value = config::get(key).map_err(|error| format!("{error:?}"))?;
    let old = runtime::get(key).map_err(|error| format!("{error:?}"))?;
    if value != old {
        return Err(format!("{value:?} is not {old:?}"));
    }
    Ok(found(value.map(String::into_bytes)))
}

fn say(request: &Request, level: &str) -> Answer {
    let level = match level {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => Level::Info,
    };
    log(level, "toolbox", &body(request));
    done()
}

fn publish(request: &Request, subject: &str) -> Answer {
    let (subject, body) = (subject.to_owned(), request.body.clone());
    consumer::publish(&BrokerMessage { subject, body, reply_to: None })?;
    done()
}

fn ask(request: &Request, subject: &str) -> Answer {
    let answer = consumer::request(subject, &request.body, 2000)?;
    Ok(found(Some(answer.body)))
}

/// Tells how long a secret is, never what it is.
fn secret(name: &str) -> Answer {
    let secret = match secrets::get(name) {
        Err(secrets::SecretsError::NotFound) => return Ok(found(None)),
        result => result.map_err(|error| format!("{error:?}"))?,
    };
    let length = match reveal::reveal(&secret) {
        secrets::SecretValue::String(text) => text.len(),
        secrets::SecretValue::Bytes(bytes) => bytes.len(),
    };
    Ok(Reply::json(200, &json!({ "length": length })))
}

impl handler::Guest for Toolbox {
    /// Counts the message under its subject in the store `default`, and echoes it to whoever
    /// wants an answer. The body `fail` fails.
    fn handle_message(message: handler::BrokerMessage) -> Result<(), String> {
        if message.body == b"fail" {
            return Err("asked to fail".to_owned());
        }
        keyvalue::count("default", &message.subject)?;
        let Some(subject) = message.reply_to else { return Ok(()) };
        consumer::publish(&BrokerMessage { subject, body: message.body, reply_to: None })
    }
}
