//! What the example components share: HTTP with small bodies, without the ceremony of streams.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

pub use wasip2::http::types::Method;

/// The longest request or response body that is read.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request that was read to its end.
pub struct Request {
    pub method: Method,
    /// The path's parts: `/api/users/ada` is `["api", "users", "ada"]`.
    pub path: Vec<String>,
    /// The text after `?`, as sent.
    pub query: String,
    pub body: Vec<u8>,
    headers: Fields,
}

impl Request {
    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name).into_iter().next()?;
        String::from_utf8(value).ok()
    }

    /// The value of `name` in the query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| value.replace(['+'], " ").replace("%20", " "))
        })
    }
}

/// An answer with a small body.
pub struct Reply {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Reply {
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        let mut body = value.to_string().into_bytes();
        body.push(b'\n');
        Self { status, content_type: "application/json", body }
    }

    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain", body: text.into().into_bytes() }
    }
}

/// Reads the request, asks `answer`, and sends what it says.
pub fn serve(request: IncomingRequest, out: ResponseOutparam, answer: impl FnOnce(&Request) -> Reply) {
    let reply = match read(request) {
        Ok(request) => answer(&request),
        Err(reply) => reply,
    };
    send(out, &reply);
}

fn read(request: IncomingRequest) -> Result<Request, Reply> {
    let target = request.path_with_query().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let body = request
        .consume()
        .ok()
        .and_then(read_body)
        .ok_or_else(|| Reply::text(413, format!("at most {BODY_BYTES_MAX} bytes\n")))?;
    Ok(Request {
        method: request.method(),
        path: path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        query: query.to_owned(),
        body,
        headers: request.headers(),
    })
}

/// The whole body, unless it is too long or breaks off.
fn read_body(body: IncomingBody) -> Option<Vec<u8>> {
    let stream = body.stream().ok()?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(16 * 1024) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return Some(bytes),
            Err(_) => return None,
        }
        if bytes.len() > BODY_BYTES_MAX {
            return None;
        }
    }
}

fn send(out: ResponseOutparam, reply: &Reply) {
    let headers = Fields::new();
    // Fails only for names and values that HTTP forbids; these are constants.
    let _ = headers.append("content-type", reply.content_type.as_bytes());
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(reply.status);
    let Ok(sink) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(stream) = sink.write() {
        for piece in reply.body.chunks(4096) {
            if stream.blocking_write_and_flush(piece).is_err() {
                return; // the client went away
            }
        }
    }
    let _ = OutgoingBody::finish(sink, None);
}

/// Asks `authority` for `path` over `wasi:http`; the status and the body.
pub fn get(authority: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_scheme(Some(&Scheme::Http))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| format!("http://{authority}{path} is no address"))?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    let response = match pending.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(code))) => return Err(format!("{code:?}")),
        _ => return Err("no response".to_owned()),
    };
    let body = response.consume().ok().and_then(read_body).ok_or("the response broke off")?;
    Ok((response.status(), body))
}
