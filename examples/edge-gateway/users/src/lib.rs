//! The users component: people in a key-value store, found through the search component.
//! Serves `edge:api/users` over links and `GET /ID` over HTTP.

use edge::api::search;
use exports::edge::api::users::{Guest, Person, Problem};
use guest::{Reply, Request};
use serde_json::json;
use wasi::keyvalue::{atomics, store};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../../proto/wit/deps/wasi-keyvalue-0.2.0-draft", "../wit"],
    world: "edge:api/users-service",
    generate_all,
});

struct Users;

export!(Users);
wasip2::http::proxy::export!(Users);

impl Guest for Users {
    fn put(id: String, name: String) -> Result<Person, Problem> {
        check(&id)?;
        if name.is_empty() {
            return Err(Problem::Invalid("a person needs a name".to_owned()));
        }
        let bucket = store::open("default").map_err(failed)?;
        bucket.set(&format!("name.{id}"), name.as_bytes()).map_err(failed)?;
        search::add(&id, &name)?;
        let views = count(&bucket, &id)?;
        Ok(Person { id, name, views })
    }

    fn get(id: String) -> Result<Person, Problem> {
        check(&id)?;
        let bucket = store::open("default").map_err(failed)?;
        let name = bucket
            .get(&format!("name.{id}"))
            .map_err(failed)?
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Problem::NotFound(format!("no user `{id}`")))?;
        let views = atomics::increment(&bucket, &format!("views.{id}"), 1).map_err(failed)?;
        Ok(Person { id, name, views })
    }
}

impl wasip2::exports::http::incoming_handler::Guest for Users {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        guest::serve(request, out, exists);
    }
}

/// Whether there is such a user; asking does not count as a view.
fn exists(request: &Request) -> Reply {
    let [id] = request.path.as_slice() else {
        return Reply::text(404, "Not Found\n");
    };
    let found = check(id)
        .and_then(|()| store::open("default").map_err(failed))
        .and_then(|bucket| bucket.exists(&format!("name.{id}")).map_err(failed));
    match found {
        Ok(true) => Reply::json(200, &json!({ "id": id })),
        Ok(false) => Reply::json(404, &json!({ "error": format!("no user `{id}`") })),
        Err(problem) => Reply::json(503, &json!({ "error": format!("{problem:?}") })),
    }
}

fn count(bucket: &store::Bucket, id: &str) -> Result<u64, Problem> {
    let bytes = bucket.get(&format!("views.{id}")).map_err(failed)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).parse().unwrap_or(0))
}

fn check(id: &str) -> Result<(), Problem> {
    let fits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then_some(()).ok_or_else(|| Problem::Invalid(format!("`{id}` is no id: letters, digits and dashes")))
}

fn failed(error: store::Error) -> Problem {
    Problem::Unavailable(format!("key-value store: {error:?}"))
}
