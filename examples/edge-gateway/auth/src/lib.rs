//! The auth component: sessions and login counters in a key-value store. Asks the users component
//! over `wasi:http` whether a user exists.

use exports::edge::api::auth::{Guest, Problem, Session};
use wasi::keyvalue::{atomics, store};

wit_bindgen::generate!({
    path: ["../../../proto/wit/deps/wasi-keyvalue-0.2.0-draft", "../wit"],
    world: "edge:api/auth-service",
    generate_all,
});

/// The name of the HTTP link to the users component, and so its authority.
const USERS: &str = "users";

struct Auth;

export!(Auth);

impl Guest for Auth {
    fn login(user: String) -> Result<Session, Problem> {
        let fits = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !fits {
            return Err(Problem::Invalid(format!("`{user}` is no user id")));
        }
        match guest::get(USERS, &format!("/{user}")) {
            Ok((200, _)) => {}
            Ok((404, _)) => return Err(Problem::NotFound(format!("no user `{user}`"))),
            Ok((status, _)) => return Err(Problem::Unavailable(format!("users: HTTP {status}"))),
            Err(error) => return Err(Problem::Unavailable(format!("users: {error}"))),
        }
        let token: String =
            wasip2::random::random::get_random_bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
        let bucket = store::open("default").map_err(failed)?;
        bucket.set(&format!("session.{token}"), user.as_bytes()).map_err(failed)?;
        let logins = atomics::increment(&bucket, &format!("logins.{user}"), 1).map_err(failed)?;
        Ok(Session { token, user, logins })
    }

    fn whoami(token: String) -> Result<String, Problem> {
        let unknown = || Problem::NotFound("no such session".to_owned());
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let bucket = store::open("default").map_err(failed)?;
        let user = bucket.get(&format!("session.{token}")).map_err(failed)?.ok_or_else(unknown)?;
        String::from_utf8(user).map_err(|_| unknown())
    }
}

fn failed(error: store::Error) -> Problem {
    Problem::Unavailable(format!("key-value store: {error:?}"))
}
