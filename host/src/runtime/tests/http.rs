//! HTTP requests to a component, with fresh and with reused instances.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};

use super::*;

pub(crate) const HELLO: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/http-hello/http-hello.wasm"
));

fn request(method: &str, path: &str, body: &'static str) -> ::http::Request<HttpBody> {
    let body = Full::new(Bytes::from_static(body.as_bytes()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let uri = format!("http://hello.localhost{path}");
    ::http::Request::builder()
        .method(method)
        .uri(uri)
        .body(body)
        .unwrap()
}

async fn ask(component: &RunningComponent, request: ::http::Request<HttpBody>) -> (u16, String) {
    let response = component
        .http(CallContext::default(), request)
        .await
        .unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn hosts() -> [(&'static str, Host); 2] {
    let fresh = Host::new();
    let mut reused = Host::new();
    reused
        .annotations
        .insert(REUSE_INSTANCES.into(), "true".into());
    [("fresh", fresh), ("reused", reused)]
}

#[tokio::test]
async fn requests_are_answered() {
    for (kind, host) in hosts() {
        let hello = host.start("hello", HELLO, &[]).await;
        for _ in 0..3 {
            let (status, body) = ask(&hello, request("GET", "/health", "")).await;
            assert_eq!(
                (status, body.as_str()),
                (200, r#"{"status": "healthy", "version": "1.0.0"}"#),
                "{kind}"
            );
        }
        let (status, body) = ask(&hello, request("POST", "/echo", "there and back")).await;
        assert_eq!((status, body.as_str()), (200, "there and back"), "{kind}");
        assert_eq!(
            ask(&hello, request("GET", "/nowhere", "")).await.0,
            404,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn bodies_stream_and_hold_their_place_until_they_end() {
    for (kind, mut host) in hosts() {
        host.max_instances = 1;
        let hello = host.start("hello", HELLO, &[]).await;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let body = StreamBody::new(frames).boxed_unsync();
        let echo = ::http::Request::post("http://hello.localhost/echo")
            .body(body)
            .unwrap();
        let mut echoed = hello
            .http(CallContext::default(), echo)
            .await
            .unwrap()
            .into_body();

        let frame = || Ok(http_body::Frame::data(Bytes::from_static(b"piece")));
        sender.send(frame()).await.unwrap();
        let piece = echoed.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece, "piece", "{kind}: comes back before the body ends");
        assert_eq!(hello.in_flight(), 1, "{kind}");

        let refused = hello
            .http(CallContext::default(), request("GET", "/", ""))
            .await;
        assert!(
            matches!(refused, Err(CallError::Overloaded { limit: 1, .. })),
            "{kind}"
        );

        drop(sender);
        while let Some(frame) = echoed.frame().await {
            frame.unwrap();
        }
        drop(echoed);
        assert!(hello.drain(Duration::from_secs(10)).await, "{kind}");
    }
}

#[tokio::test]
async fn a_component_without_a_handler_says_so() {
    let ops = Host::new().start("ops", OPS, &[]).await;
    assert!(!ops.serves_http());
    let answer = ops
        .http(CallContext::default(), request("GET", "/", ""))
        .await;
    assert!(matches!(answer, Err(CallError::NoSuchExport { .. })));
}

#[tokio::test]
async fn the_default_name_is_made_of_component_and_application() {
    let mut host = Host::new();
    host.annotations
        .insert(proto::names::APP_SPEC.into(), "Edge-Gateway".into());
    let hello = host.start("edge_gateway-http_handler", HELLO, &[]).await;
    assert_eq!(
        hello.http_name().as_deref(),
        Some("http_handler.edge_gateway")
    );
    assert!(
        host.directory
            .by_http_name("http_handler.edge_gateway")
            .is_some()
    );
}

/// Answers `path requests-seen authority`; `/error` with an error code, `/trap` not at all.
const HELLO_0_3: &[u8] = include_bytes!("fixtures/hello-0.3.wasm");

#[tokio::test]
async fn a_0_3_component_keeps_its_instance() {
    let hello = Host::new().start("hello", HELLO_0_3, &[]).await;
    for seen in 1..=3 {
        let answer = ask(&hello, request("GET", "/a", "")).await;
        assert_eq!(answer, (200, format!("/a {seen} hello.localhost")));
    }
}

#[tokio::test]
async fn a_0_3_component_answers_with_an_error_code_and_a_trap_is_one() {
    let hello = Host::new().start("hello", HELLO_0_3, &[]).await;
    let answer = |path| hello.http(CallContext::default(), request("GET", path, ""));
    let error = answer("/error").await.expect_err("an error code");
    assert!(
        matches!(
            error,
            CallError::Http {
                error: HttpError::ConfigurationError,
                ..
            }
        ),
        "{error}"
    );
    let error = answer("/trap").await.expect_err("a trap");
    assert!(matches!(error, CallError::Trap { .. }), "{error}");
    assert_eq!(
        ask(&hello, request("GET", "/a", "")).await.0,
        200,
        "the next request gets another instance"
    );
}
