//! Counts visits in a key-value store: state that outlives the instance, the host and the update.

use guest::{Method, Reply, Request};
use serde_json::json;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../proto/wit/deps/wasi-keyvalue-0.2.0-draft", "wit"],
    world: "example:kv-counter/counter",
    generate_all,
});

use wasi::keyvalue::{atomics, store};

struct Counter;

wasip2::http::proxy::export!(Counter);

impl wasip2::exports::http::incoming_handler::Guest for Counter {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        guest::serve(request, out, answer);
    }
}

/// `POST /NAME` counts one up and `GET /NAME` reads; the name may be missing.
fn answer(request: &Request) -> Reply {
    let name = match request.path.as_slice() {
        [] => "visits",
        [name] if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => name,
        _ => return Reply::text(404, "a counter's name has letters, digits and dashes\n"),
    };
    let counted = store::open("default").and_then(|bucket| match request.method {
        Method::Post => atomics::increment(&bucket, name, 1),
        _ => read(&bucket, name),
    });
    match counted {
        Ok(count) => Reply::json(200, &json!({ "counter": name, "count": count })),
        Err(error) => Reply::json(503, &json!({ "error": format!("{error:?}") })),
    }
}

fn read(bucket: &store::Bucket, name: &str) -> Result<u64, store::Error> {
    let Some(bytes) = bucket.get(name)? else { return Ok(0) };
    String::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| store::Error::Other(format!("`{name}` holds no number")))
}
