//! A component that answers HTTP: the smallest thing worth deploying.

use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        match (request.method(), path) {
            (Method::Get, "/") => text(out, 200, "text/plain", "Hello from Wasm!"),
            (Method::Get, "/health") => text(
                out,
                200,
                "application/json",
                r#"{"status": "healthy", "version": "1.0.0"}"#,
            ),
            (Method::Post, "/echo") => echo(request, out),
            _ => text(out, 404, "text/plain", "Not Found"),
        }
    }
}

fn text(out: ResponseOutparam, status: u16, content_type: &str, body: &str) {
    let headers = Fields::new();
    // Fails only for names and values that HTTP forbids; these are constants.
    let _ = headers.append("content-type", content_type.as_bytes());
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let Ok(sink) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    if let Ok(stream) = sink.write() {
        // A client that went away is no concern of ours.
        let _ = stream.blocking_write_and_flush(body.as_bytes());
    }
    let _ = OutgoingBody::finish(sink, None);
}

/// Sends the request's body back as it comes in; no more than a piece is held.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let headers = Fields::new();
    if let Some(kind) = request.headers().get("content-type").first() {
        let _ = headers.append("content-type", kind);
    }
    let response = OutgoingResponse::new(headers);
    let Ok(sink) = response.body() else { return };
    ResponseOutparam::set(out, Ok(response));
    let complete = request.consume().is_ok_and(|body| {
        let copied = match (body.stream(), sink.write()) {
            (Ok(from), Ok(to)) => copy(&from, &to),
            _ => false,
        };
        copied
    });
    // A body that broke off must not look whole: without `finish` the response is cut as well.
    if complete {
        let _ = OutgoingBody::finish(sink, None);
    }
}

fn copy(from: &wasip2::io::streams::InputStream, to: &wasip2::io::streams::OutputStream) -> bool {
    loop {
        match to.blocking_splice(from, 64 * 1024) {
            Ok(_) => {}
            Err(StreamError::Closed) => return to.blocking_flush().is_ok(),
            Err(_) => return false,
        }
    }
}
