use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::StreamExt;

use super::*;
use crate::capability::testing::Server as NatsServer;
use crate::rpc::codec::Path;

const SUBJECT: &str = "default.web.wrpc.0.0.1.test:test/echo@1.2.3.run";
const SOON: Duration = Duration::from_secs(10);

struct Bench {
    server: NatsServer,
    caller: Transport,
    callee: Transport,
}

impl Bench {
    async fn start() -> Self {
        let server = NatsServer::nats();
        let caller = transport(&server).await;
        let callee = transport(&server).await;
        Self {
            server,
            caller,
            callee,
        }
    }

    async fn serve(&self) -> async_nats::Subscriber {
        let calls = self
            .callee
            .subscribe(SUBJECT.into(), "default.web".into())
            .await
            .unwrap();
        self.callee.client().flush().await.unwrap();
        // The subscription has to reach the server before the other connection's call does.
        let ping = self.callee.client().request("nobody", Bytes::new()).await;
        assert!(ping.is_err());
        calls
    }

    async fn raw(&self) -> async_nats::Client {
        async_nats::connect(self.server.address()).await.unwrap()
    }
}

async fn transport(server: &NatsServer) -> Transport {
    Transport::new(async_nats::connect(server.address()).await.unwrap())
        .await
        .unwrap()
}

fn invocation(params: impl Into<Bytes>, paths: &[&[u32]]) -> Invocation {
    let mut headers = HeaderMap::new();
    headers.insert("source-id", "test");
    Invocation {
        subject: SUBJECT.into(),
        headers,
        params: params.into(),
        async_params: paths.iter().map(|p| Path::from(*p)).collect(),
    }
}

async fn all(reader: &mut PathReader) -> Result<Vec<u8>, RpcError> {
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next_within(SOON).await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Answers every call with its own parameters.
fn echo(callee: Transport, mut calls: async_nats::Subscriber) {
    tokio::spawn(async move {
        while let Some(message) = calls.next().await {
            let callee = callee.clone();
            tokio::spawn(async move {
                let mut call = callee.accept(message).await.unwrap();
                let Ok(params) = all(&mut call.params()).await else {
                    return;
                };
                let _ = call.answer(params.into(), &[]).await;
            });
        }
    });
}

async fn called(caller: &Transport, params: Vec<u8>) -> Result<Vec<u8>, RpcError> {
    let mut call = caller.call(invocation(params, &[])).await?;
    let mut results = call.results();
    call.start().await?;
    let bytes = all(&mut results).await?;
    call.finish();
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_any_size_goes_both_ways() {
    let bench = Bench::start().await;
    echo(bench.callee.clone(), bench.serve().await);
    for size in [1, 1000, 1 << 20, (1 << 20) + 1, 7_000_000] {
        let params: Vec<u8> = (0..size).map(|i| i as u8).collect();
        let echoed = called(&bench.caller, params.clone()).await.unwrap();
        assert!(echoed == params, "{size} bytes");
    }
    let many = (0..64).map(|i| called(&bench.caller, vec![i; 5000]));
    for (i, echoed) in futures::future::join_all(many)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(echoed.unwrap(), vec![i as u8; 5000]);
    }
    // Every call is forgotten once its last reader is gone.
    settled(|| bench.caller.sessions() == 0 && bench.callee.sessions() == 0).await;
}

async fn settled(condition: impl Fn() -> bool) {
    let give_up = tokio::time::Instant::now() + SOON;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < give_up,
            "the condition did not come about"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_function_that_nobody_serves_is_an_error_at_once() {
    let bench = Bench::start().await;
    let mut call = bench.caller.call(invocation("x", &[])).await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(2), call.start())
        .await
        .unwrap();
    match error {
        Err(RpcError::NoResponders { subject }) => assert_eq!(subject, SUBJECT),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_without_a_result() {
    let bench = Bench::start().await;
    let mut calls = bench.serve().await;
    let mut call = bench.caller.call(invocation("x", &[])).await.unwrap();
    let incoming = bench
        .callee
        .accept(calls.next().await.unwrap())
        .await
        .unwrap();
    assert_eq!(incoming.header("source-id"), Some("test"));
    call.start().await.unwrap();
    incoming.refuse("no such book");
    assert_eq!(all(&mut call.results()).await.unwrap(), b"");
    assert!(call.no_result().to_string().ends_with("no such book"));
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_its_call() {
    let bench = Bench::start().await;
    let mut calls = bench.serve().await;
    let mut call = bench.caller.call(invocation("x", &[&[1]])).await.unwrap();
    let incoming = bench
        .callee
        .accept(calls.next().await.unwrap())
        .await
        .unwrap();
    call.start().await.unwrap();
    drop(call);
    let error = tokio::time::timeout(SOON, incoming.watch().failed())
        .await
        .unwrap();
    assert!(matches!(error, RpcError::Cancelled));
}

#[tokio::test]
async fn a_sender_stays_within_its_window() {
    let bench = Bench::start().await;
    let mut calls = bench.serve().await;
    let mut call = bench.caller.call(invocation("x", &[&[0]])).await.unwrap();
    let incoming = bench
        .callee
        .accept(calls.next().await.unwrap())
        .await
        .unwrap();
    call.start().await.unwrap();
    let path = Path::from(&[0][..]);
    let mut reader = incoming.param(&path);
    let mut sender = call.param(&path).unwrap();
    let sent = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let total = 16 * WINDOW;
    let sending = tokio::spawn(async move {
        let piece = Bytes::from(vec![7; 64 << 10]);
        while counted.load(Ordering::Relaxed) < total {
            sender.send(piece.clone()).await.unwrap();
            counted.fetch_add(piece.len(), Ordering::Relaxed);
        }
        sender.end().await.unwrap();
    });
    settled(|| sent.load(Ordering::Relaxed) == WINDOW).await;
    let mut read = 0;
    while let Some(piece) = reader.next_within(SOON).await.unwrap() {
        read += piece.len();
        assert!(sent.load(Ordering::Relaxed) <= read + WINDOW);
    }
    assert_eq!(read, total);
    sending.await.unwrap();
}

/// A caller written by hand from the protocol's description, without any header of ours.
#[tokio::test]
async fn a_foreign_caller_is_answered_frame_by_frame() {
    let bench = Bench::start().await;
    let mut calls = bench.serve().await;
    let client = bench.raw().await;
    let mut inbox = client.subscribe("_INBOX.c.>").await.unwrap();
    client
        .publish_with_reply(SUBJECT, "_INBOX.c.1", "\x01".into())
        .await
        .unwrap();
    let mut incoming = bench
        .callee
        .accept(calls.next().await.unwrap())
        .await
        .unwrap();
    let handshake = inbox.next().await.unwrap();
    assert_eq!(
        (handshake.subject.as_str(), handshake.payload.len()),
        ("_INBOX.c.1", 0)
    );
    assert!(handshake.headers.is_none());
    let server = handshake.reply.unwrap().to_string();
    for payload in ["\x02", "\x03", ""] {
        client
            .publish(format!("{server}.params"), payload.into())
            .await
            .unwrap();
    }
    client
        .publish(format!("{server}.params.0.1"), "\x09".into())
        .await
        .unwrap();
    client
        .publish(format!("{server}.params.0.1"), Bytes::new())
        .await
        .unwrap();
    assert_eq!(all(&mut incoming.params()).await.unwrap(), [1, 2, 3]);
    assert_eq!(
        all(&mut incoming.param(&Path::from(&[0, 1][..])))
            .await
            .unwrap(),
        [9]
    );
    let paths = [Path::from(&[0, 0][..]), Path::from(&[0, 1][..])];
    let mut senders = incoming.answer("\0\0".into(), &paths).await.unwrap();
    let second = senders.pop().unwrap();
    let mut first = senders.pop().unwrap();
    first.send("\x01x\0".into()).await.unwrap();
    drop((first, second));
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let message = tokio::time::timeout(SOON, inbox.next())
            .await
            .unwrap()
            .unwrap();
        let path = message
            .subject
            .strip_prefix("_INBOX.c.1.")
            .unwrap()
            .to_owned();
        seen.push(format!("{path} {}", message.payload.len()));
    }
    seen.sort();
    assert_eq!(
        seen,
        [
            "results 0",
            "results 2",
            "results.0 0",
            "results.0.0 0",
            "results.0.0 3",
            "results.0.1 0",
        ]
    );
}

/// A server written by hand from the protocol's description.
#[tokio::test]
async fn a_foreign_server_hears_every_end_marker() {
    let bench = Bench::start().await;
    let client = bench.raw().await;
    let mut calls = client.subscribe(SUBJECT).await.unwrap();
    let mut inbox = client.subscribe("_INBOX.s.>").await.unwrap();
    client.flush().await.unwrap();
    let _ = client.request("nobody", Bytes::new()).await;
    let mut call = bench
        .caller
        .call(invocation("abc", &[&[0, 1]]))
        .await
        .unwrap();
    let first = calls.next().await.unwrap();
    assert_eq!(first.payload, "abc");
    let reply = first.reply.unwrap().to_string();
    client
        .publish_with_reply(reply.clone(), "_INBOX.s.9", Bytes::new())
        .await
        .unwrap();
    call.start().await.unwrap();
    client
        .publish(format!("{reply}.results"), "ok".into())
        .await
        .unwrap();
    client
        .publish(format!("{reply}.results"), Bytes::new())
        .await
        .unwrap();
    assert_eq!(all(&mut call.results()).await.unwrap(), b"ok");
    // Nobody wanted the asynchronous parameter's sender; its end marker comes all the same.
    call.finish();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let message = tokio::time::timeout(SOON, inbox.next())
            .await
            .unwrap()
            .unwrap();
        assert!(message.payload.is_empty());
        seen.push(
            message
                .subject
                .strip_prefix("_INBOX.s.9.")
                .unwrap()
                .to_owned(),
        );
    }
    seen.sort();
    assert_eq!(seen, ["params", "params.0", "params.0.1"]);
}

#[tokio::test]
async fn a_peer_that_floods_ends_its_own_call_only() {
    let bench = Bench::start().await;
    let mut calls = bench.serve().await;
    let client = bench.raw().await;
    let mut inbox = client.subscribe("_INBOX.f.>").await.unwrap();
    client
        .publish_with_reply(SUBJECT, "_INBOX.f.1", Bytes::new())
        .await
        .unwrap();
    let incoming = bench
        .callee
        .accept(calls.next().await.unwrap())
        .await
        .unwrap();
    let server = inbox.next().await.unwrap().reply.unwrap().to_string();
    let piece = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..(SESSION_BUFFER_MAX >> 20) + 1 {
        client
            .publish(format!("{server}.params.0"), piece.clone())
            .await
            .unwrap();
    }
    let error = tokio::time::timeout(SOON, incoming.watch().failed())
        .await
        .unwrap();
    assert!(matches!(error, RpcError::Overflow { .. }), "{error}");
    drop(incoming);
    echo(bench.callee.clone(), calls);
    assert_eq!(called(&bench.caller, vec![1]).await.unwrap(), [1]);
}

/// The death of a peer that knows nothing of ours is noticed all the same.
#[tokio::test]
async fn a_foreign_server_that_dies_ends_the_call() {
    let bench = Bench::start().await;
    let client = bench.raw().await;
    let mut calls = client.subscribe(SUBJECT).await.unwrap();
    let inbox = client.subscribe("_INBOX.s.>").await.unwrap();
    client.flush().await.unwrap();
    let _ = client.request("nobody", Bytes::new()).await;
    let mut call = bench.caller.call(invocation("abc", &[])).await.unwrap();
    let reply = calls.next().await.unwrap().reply.unwrap();
    client
        .publish_with_reply(reply, "_INBOX.s.9", Bytes::new())
        .await
        .unwrap();
    call.start().await.unwrap();
    drop((calls, inbox));
    client.drain().await.unwrap();
    let error = call.results().next_within(SOON).await.unwrap_err();
    assert!(matches!(error, RpcError::Gone), "{error}");
}
