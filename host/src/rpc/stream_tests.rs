//! Streams and futures between components, on one host and on two.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::component::Val;

use super::ServeHandle;
use super::tests::{Host, target};
use crate::capability::pipe::{Closed, Message, Piece, Pipe, PipeWriter};
use crate::capability::testing::Server as NatsServer;
use crate::capability::{Remote, RemoteError};
use crate::runtime::RunningComponent;

const SOURCE: &[u8] = include_bytes!("../../fixtures/streams/source.wasm");
const RELAY: &[u8] = include_bytes!("../../fixtures/streams/relay.wasm");

const INTERFACE: &str = "lattice:streams/source";
const INSTANCE: &str = "lattice:streams/relay@0.1.0";

/// No condition takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A driver that calls `relay` on one host, whose link leads to `source` on that host or another.
struct Bench {
    _nats: NatsServer,
    driver: Host,
    hosts: Vec<Host>,
    relay: Arc<RunningComponent>,
    source: Arc<RunningComponent>,
    _serving: [ServeHandle; 2],
}

impl Bench {
    async fn new(hosts: usize) -> Self {
        let nats = NatsServer::nats();
        let driver = Host::join(&nats).await;
        let mut all = Vec::new();
        for _ in 0..hosts {
            all.push(Host::join(&nats).await);
        }
        let last = &all[hosts - 1];
        let (source, first) = last.run_linked("source", SOURCE, None).await;
        let link = Some((INTERFACE, "source"));
        let (relay, second) = all[0].run_linked("relay", RELAY, link).await;
        Self {
            _nats: nats,
            driver,
            hosts: all,
            relay,
            source,
            _serving: [first, second],
        }
    }

    async fn call(&self, function: &str, params: Message) -> Result<Message, RemoteError> {
        let export = self.relay.exports().iter().find(|e| e.function == function);
        let ty = &export.expect("an export").ty;
        let (client, to) = (&self.driver.client, target("relay"));
        let called = client.call(&to, INSTANCE, function, params, ty);
        tokio::time::timeout(PATIENCE, called)
            .await
            .expect("in time")
    }

    /// Every call has ended, and nothing is left of it.
    async fn is_idle(&self) {
        let idle = async {
            let transports = || {
                self.hosts
                    .iter()
                    .chain([&self.driver])
                    .map(|host| &host.transport)
            };
            let running = || self.relay.in_flight() + self.source.in_flight();
            while transports().any(|transport| transport.sessions() > 0) || running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, idle).await;
        assert!(ended.is_ok(), "calls are still under way");
    }
}

/// An empty stream or future as the only parameter, and its writer.
fn stream() -> (PipeWriter, Message) {
    piped(Val::List(Vec::new()), [])
}

fn piped(place: Val, more: impl IntoIterator<Item = Val>) -> (PipeWriter, Message) {
    let (writer, pipe) = Pipe::new(vec![0]);
    let message = Message {
        values: [place].into_iter().chain(more).collect(),
        pipes: vec![pipe],
    };
    (writer, message)
}

/// Everything a pipe gives, and how it ended.
async fn all(pipe: &mut Pipe) -> (Vec<u8>, Vec<Val>, Result<(), String>) {
    let (mut bytes, mut items) = (Vec::new(), Vec::new());
    loop {
        let next = tokio::time::timeout(PATIENCE, pipe.next()).await;
        match next.expect("in time") {
            Some(Ok(Piece::Bytes(piece))) => bytes.extend_from_slice(&piece),
            Some(Ok(Piece::Items(piece))) => items.extend(piece),
            Some(Err(reason)) => return (bytes, items, Err(reason)),
            None => return (bytes, items, Ok(())),
        }
    }
}

fn taken(message: &mut Message, path: &[u32]) -> Pipe {
    let at = message.pipes.iter().position(|pipe| pipe.path == path);
    message.pipes.swap_remove(at.expect("a pipe of this path"))
}

fn reading(n: u64, value: f32) -> Val {
    let tag = |n: u64| Val::String(format!("tag {n}"));
    Val::Record(vec![
        ("at".into(), Val::U64(n)),
        ("value".into(), Val::Float32(value)),
        ("tags".into(), Val::List((0..n % 4).map(tag).collect())),
    ])
}

fn numbers(to: u32) -> Vec<Val> {
    (0..to).map(Val::U32).collect()
}

fn other(value: &Val) -> &str {
    match value {
        Val::Result(Err(Some(error))) => match error.as_ref() {
            Val::Variant(case, Some(text)) if case == "other" => match text.as_ref() {
                Val::String(text) => text,
                value => panic!("{value:?}"),
            },
            value => panic!("{value:?}"),
        },
        value => panic!("{value:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_stream_there_and_back() {
    for (hosts, function) in [(1, "shout"), (2, "shout"), (1, "same"), (2, "same")] {
        let bench = Bench::new(hosts).await;
        let (mut writer, params) = stream();
        let mut loud = bench.call(function, params).await.expect("an answer");
        let piece: Bytes = "abc, def; ".repeat(1000).into();
        let sent = 400;
        let mut expected = piece.repeat(sent);
        if function == "shout" {
            expected.make_ascii_uppercase();
        }
        let write = async move {
            for _ in 0..sent {
                writer
                    .write(Piece::Bytes(piece.clone()))
                    .await
                    .expect("room");
            }
            writer.end();
        };
        let mut pipe = taken(&mut loud, &[0]);
        let (read, ()) = tokio::join!(all(&mut pipe), write);
        assert_eq!(read.2, Ok(()), "{function}, {hosts} hosts");
        assert!(
            read.0 == expected,
            "{function}, {hosts} hosts: {} bytes",
            read.0.len()
        );
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_stream_there_and_back() {
    for hosts in [1, 2] {
        let bench = Bench::new(hosts).await;
        let (mut writer, params) = stream();
        let mut doubled = bench.call("double", params).await.expect("an answer");
        let write = async move {
            for start in (0..500).step_by(50) {
                let some = (start..start + 50).map(|n| reading(n, n as f32));
                writer
                    .write(Piece::Items(some.collect()))
                    .await
                    .expect("room");
            }
            writer.end();
        };
        let mut pipe = taken(&mut doubled, &[0]);
        let ((_, read, end), ()) = tokio::join!(all(&mut pipe), write);
        let expected: Vec<_> = (0..500).map(|n| reading(n, 2.0 * n as f32)).collect();
        assert_eq!((end, read), (Ok(()), expected), "{hosts} hosts");
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_a_future_come_together() {
    for hosts in [1, 2] {
        let bench = Bench::new(hosts).await;
        for (to, outcome) in [
            (1000, Ok(Some(Box::new(Val::U32(1000))))),
            (7, Err(Some(Box::new(Val::Variant("odd".into(), None))))),
            (0, Ok(Some(Box::new(Val::U32(0))))),
        ] {
            let params = vec![Val::U32(to)].into();
            let mut counted = bench.call("count", params).await.expect("an answer");
            let (mut stream, mut future) =
                (taken(&mut counted, &[0, 0]), taken(&mut counted, &[0, 1]));
            let (_, items, end) = all(&mut stream).await;
            assert_eq!((end, items), (Ok(()), numbers(to)), "{hosts} hosts");
            let (_, told, end) = all(&mut future).await;
            assert_eq!(
                (end, told),
                (Ok(()), vec![Val::Result(outcome)]),
                "{hosts} hosts"
            );
        }
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_is_a_parameter() {
    for hosts in [1, 2] {
        let bench = Bench::new(hosts).await;
        let text = |text: &str| Val::Result(Ok(Some(Box::new(Val::String(text.into())))));
        let (mut writer, params) = piped(Val::Option(None), []);
        let tell = async move {
            writer
                .write(Piece::Items(vec![text("later")]))
                .await
                .expect("room");
            writer.end();
        };
        let (answer, ()) = tokio::join!(bench.call("echo", params), tell);
        assert_eq!(
            answer.expect("an answer").values,
            [text("later")],
            "{hosts} hosts"
        );
        // One that never comes says so in its own words.
        let (writer, params) = piped(Val::Option(None), []);
        drop(writer);
        let answer = bench.call("echo", params).await.expect("an answer");
        assert!(!other(&answer.values[0]).is_empty(), "{hosts} hosts");
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_holds_the_writer_up() {
    let bench = Bench::new(2).await;
    let (mut writer, params) = stream();
    let loud = bench.call("shout", params).await.expect("an answer");
    let piece = Bytes::from(vec![b'a'; 64 << 10]);
    let mut taken = 0;
    // Windows on the four ways there and back, and what lies in pipes and guests.
    const MOST: usize = 16 << 20;
    while taken <= MOST {
        let write = writer.write(Piece::Bytes(piece.clone()));
        match tokio::time::timeout(Duration::from_secs(2), write).await {
            Ok(written) => written.expect("it is read"),
            Err(_) => break,
        }
        taken += piece.len();
    }
    assert!(taken <= MOST, "{taken} bytes were taken that nobody reads");
    drop((writer, loud));
    bench.is_idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_has_enough_ends_the_writer() {
    for hosts in [1, 2] {
        let bench = Bench::new(hosts).await;
        let most = Val::Option(Some(Box::new(Val::U64(100_000))));
        let (mut writer, params) = piped(Val::List(Vec::new()), [most]);
        let write = async move {
            let piece = Bytes::from(vec![b'a'; 10_000]);
            while writer.write(Piece::Bytes(piece.clone())).await != Err(Closed) {}
        };
        let write = tokio::time::timeout(PATIENCE, write);
        let (answer, ended) = tokio::join!(bench.call("length", params), write);
        let values = answer.expect("an answer").values;
        assert!(
            matches!(values[..], [Val::U64(n)] if n >= 100_000),
            "{values:?}"
        );
        assert!(ended.is_ok(), "{hosts} hosts: the writer is not told");
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_breaks_off_never_looks_whole() {
    for hosts in [1, 2] {
        let bench = Bench::new(hosts).await;
        // The writer goes: nobody is told a length.
        let (mut writer, params) = piped(Val::List(Vec::new()), [Val::Option(None)]);
        let piece = Bytes::from_static(b"abc");
        writer.write(Piece::Bytes(piece)).await.expect("room");
        drop(writer);
        let error = bench.call("length", params).await.expect_err("no length");
        assert!(
            error.to_string().contains("broke off"),
            "{hosts} hosts: {error}"
        );
        // The far component traps: a future that can say so does.
        let params = vec![Val::U32(150)].into();
        let mut fallen = bench.call("fall", params).await.expect("an answer");
        let (mut stream, mut future) = (taken(&mut fallen, &[0, 0]), taken(&mut fallen, &[0, 1]));
        let (_, items, _) = all(&mut stream).await;
        assert!(numbers(150).starts_with(&items), "{hosts} hosts");
        let (_, told, end) = all(&mut future).await;
        assert_eq!(end, Ok(()), "{hosts} hosts");
        assert!(!other(&told[0]).is_empty(), "{hosts} hosts");
        // Where no future can, the stream itself does.
        let params = vec![Val::U32(150)].into();
        let mut fallen = bench.call("plunge", params).await.expect("an answer");
        let (_, items, end) = all(&mut taken(&mut fallen, &[0])).await;
        assert!(numbers(150).starts_with(&items), "{hosts} hosts");
        assert!(end.is_err(), "{hosts} hosts: it looks whole");
        bench.is_idle().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_dies_breaks_its_streams_off() {
    let nats = Arc::new(NatsServer::nats());
    let doomed = tokio::runtime::Runtime::new().expect("a runtime");
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let theirs = nats.clone();
    doomed.spawn(async move {
        let host = Host::join(&theirs).await;
        let _running = host.run_linked("source", SOURCE, None).await;
        ready.send(()).expect("the test waits");
        std::future::pending::<()>().await;
    });
    is_ready.await.expect("it runs");
    let host = Host::join(&nats).await;
    let link = Some((INTERFACE, "source"));
    let (relay, _serving) = host.run_linked("relay", RELAY, link).await;
    let export = relay.exports().iter().find(|e| e.function == "count");
    let ty = export.expect("an export").ty.clone();
    let params = vec![Val::U32(u32::MAX)].into();
    let called = host
        .client
        .call(&target("relay"), INSTANCE, "count", params, &ty)
        .await;
    let mut counted = called.expect("an answer");
    let (mut stream, mut future) = (taken(&mut counted, &[0, 0]), taken(&mut counted, &[0, 1]));
    assert!(matches!(stream.next().await, Some(Ok(Piece::Items(_)))));
    doomed.shutdown_background();
    let items = all(&mut stream).await.1;
    assert!(items.len() < u32::MAX as usize);
    let told = all(&mut future).await.1;
    let reason = other(&told[0]);
    assert!(
        reason.contains("the peer has gone") || reason.contains("silent"),
        "{reason}"
    );
}
