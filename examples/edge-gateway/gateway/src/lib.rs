//! The gateway: routes requests by path to the auth, users and search components over links.

use edge::api::types::Problem;
use edge::api::{auth, search, users};
use guest::{Method, Reply, Request};
use serde_json::{Value, json};
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: ["../../../proto/wit/deps/wasi-keyvalue-0.2.0-draft", "../wit"],
    world: "edge:api/gateway",
    generate_all,
});

const HELP: &str = "\
GET  /health
PUT  /api/users/ID        body: the name
GET  /api/users/ID
GET  /api/search?q=WORDS
POST /api/auth/login?user=ID
GET  /api/auth/whoami     header: authorization: Bearer TOKEN
";

struct Gateway;

wasip2::http::proxy::export!(Gateway);

impl wasip2::exports::http::incoming_handler::Guest for Gateway {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        guest::serve(request, out, |request| {
            route(request).unwrap_or_else(|problem| refuse(&problem))
        });
    }
}

fn route(request: &Request) -> Result<Reply, Problem> {
    let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
    let answer = match (&request.method, path.as_slice()) {
        (Method::Get, []) => return Ok(Reply::text(200, HELP)),
        (Method::Get, ["health"]) => json!({ "status": "healthy" }),
        (Method::Put, ["api", "users", id]) => {
            let name = String::from_utf8_lossy(&request.body);
            person(&users::put(id, name.trim())?)
        }
        (Method::Get, ["api", "users", id]) => person(&users::get(id)?),
        (Method::Get, ["api", "search"]) => {
            let words = request.parameter("q").unwrap_or_default();
            json!({ "found": search::find(&words)? })
        }
        (Method::Post, ["api", "auth", "login"]) => {
            let user = request.parameter("user").unwrap_or_default();
            let session = auth::login(&user)?;
            json!({ "token": session.token, "user": session.user, "logins": session.logins })
        }
        (Method::Get, ["api", "auth", "whoami"]) => {
            let header = request.header("authorization").unwrap_or_default();
            let token = header.strip_prefix("Bearer ").unwrap_or_default();
            json!({ "user": auth::whoami(token)? })
        }
        _ => return Ok(Reply::text(404, format!("Not Found\n\n{HELP}"))),
    };
    Ok(Reply::json(200, &answer))
}

fn person(person: &users::Person) -> Value {
    json!({ "id": person.id, "name": person.name, "views": person.views })
}

fn refuse(problem: &Problem) -> Reply {
    let (status, text) = match problem {
        Problem::NotFound(text) => (404, text),
        Problem::Invalid(text) => (400, text),
        Problem::Unavailable(text) => (503, text),
    };
    Reply::json(status, &json!({ "error": text }))
}
