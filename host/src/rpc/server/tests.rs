use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{Method, Request, Response, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use proto::id::LinkName;
use proto::link::{Link, LinkKey};
use wasmtime::component::Val;

use super::http::{receive_request, send_answer};
use super::*;
use crate::capability::keyvalue::{Backend, Error, Linked, MemoryStore};
use crate::capability::testing::Server as NatsServer;
use crate::capability::{HttpBody, HttpError, Remote, RemoteTarget};
use crate::link::{Binding, LinkError, ResolvedLink};
use crate::rpc::client::{Client, ClientOptions};
use crate::rpc::codec::{FuncTy, Ty, encode_all};
use crate::rpc::exchange::Source;

/// Two hosts on one NATS server.
struct Bench {
    _nats: NatsServer,
    client: Client,
    server: Server,
    address: String,
}

impl Bench {
    async fn start() -> Self {
        let nats = NatsServer::nats();
        let address = nats.address();
        let connect = async || {
            Transport::new(async_nats::connect(&address).await.unwrap())
                .await
                .unwrap()
        };
        let lattice = Lattice::default();
        let client = Client::new(connect().await, lattice.clone(), ClientOptions::default());
        let server = Server::new(connect().await, lattice, ServerOptions::default());
        Self {
            _nats: nats,
            client,
            server,
            address,
        }
    }

    async fn serve(&self, instance: &str, function: &str, handler: impl Handler) -> ServeHandle {
        let endpoint = Endpoint {
            instance: Some(instance.to_owned()),
            function: function.to_owned(),
            handler: Arc::new(handler),
        };
        let handle = self.server.start(&id("web"), vec![endpoint]).await.unwrap();
        self.settle().await;
        handle
    }

    /// Waits until the server knows of all subscriptions.
    async fn settle(&self) {
        assert!(
            self.server
                .transport
                .client()
                .request("nobody", Bytes::new())
                .await
                .is_err()
        );
    }
}

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).unwrap()
}

fn target(to: &str) -> RemoteTarget {
    RemoteTarget {
        source: id("caller"),
        target: id(to),
        link_name: LinkName::default(),
        trace: TraceHeaders(vec![("traceparent".into(), "00-1-2-01".into())]),
    }
}

/// Answers with its parameters.
struct Echo(FuncTy);

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, call: &mut Incoming, _: &ServerOptions) -> Result<(), Refusal> {
        assert_eq!(trace(call.headers()).0, target("x").trace.0);
        let mut reader = call.params();
        let pause_max = Some(Duration::from_secs(5));
        let mut source = Source {
            reader: &mut reader,
            subject: "echo",
            pause_max,
        };
        let (values, _) = source
            .values(&self.0.params, Limits::default())
            .await?
            .unwrap();
        if values.contains(&Val::String("trap".into())) {
            return Err(Refusal("it trapped".into()));
        }
        call.answer(encode_all(&self.0.results, &values).unwrap().into(), &[])
            .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_go_there_and_back() {
    let bench = Bench::start().await;
    let types: Arc<[Ty]> = [Ty::String, Ty::S16.option(), Ty::U8.list()].into();
    let types = FuncTy {
        params: types.clone(),
        results: types,
    };
    let handle = bench.serve("a:b/c@1.0.0", "f", Echo(types.clone())).await;
    let big = Val::List(vec![Val::U8(7); 2_500_000]);
    let params = [
        Val::String("héllo".into()),
        Val::Option(Some(Box::new(Val::S16(-9000)))),
        big,
    ];
    let results = bench
        .client
        .call_values(&target("web"), "a:b/c@1.0.0", "f", &params, &types)
        .await;
    assert!(results.unwrap() == params);

    let trap = [
        Val::String("trap".into()),
        Val::Option(None),
        Val::List(vec![]),
    ];
    let error = bench
        .client
        .call_values(&target("web"), "a:b/c@1.0.0", "f", &trap, &types)
        .await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, RpcError::Failed { reason, .. } if reason == "it trapped"),
        "{error}"
    );

    let error = bench
        .client
        .call_values(&target("web"), "a:b/c@2.0.0", "f", &trap, &types)
        .await;
    assert!(matches!(error, Err(RpcError::NoResponders { .. })));
    assert!(handle.stop(Duration::from_secs(5)).await);
    let error = bench
        .client
        .call_values(&target("web"), "a:b/c@1.0.0", "f", &trap, &types)
        .await;
    assert!(matches!(error, Err(RpcError::NoResponders { .. })));
}

#[tokio::test]
async fn a_caller_that_stops_half_way_holds_up_nobody() {
    let bench = Bench::start().await;
    let types = FuncTy {
        params: [Ty::String].into(),
        results: [Ty::String].into(),
    };
    let _handle = bench.serve("a:b/c", "f", Echo(types.clone())).await;
    let raw = async_nats::connect(&bench.address).await.unwrap();
    for n in 0..50 {
        // A string of nine bytes of which one comes.
        let subject = "default.web.wrpc.0.0.1.a:b/c.f";
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", "00-1-2-01");
        let reply = format!("_INBOX.stuck.{n}");
        raw.publish_with_reply_and_headers(subject, reply, headers, "\x09x".into())
            .await
            .unwrap();
    }
    raw.flush().await.unwrap();
    let params = [Val::String("hi".into())];
    let web = target("web");
    let called = bench
        .client
        .call_values(&web, "a:b/c", "f", &params, &types);
    let results = tokio::time::timeout(Duration::from_secs(3), called)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(results, params);
}

/// Answers with the request's method, path and body, and its trailers as trailers.
struct HttpEcho;

#[async_trait]
impl Handler for HttpEcho {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let request = receive_request(call, options).await?;
        let answer = match request.uri().path() {
            "/refused" => Err(HttpError::HttpRequestDenied),
            _ => {
                let line = format!("{} {}", request.method(), request.uri());
                let mut response = Response::new(request.into_body());
                *response.status_mut() = StatusCode::ACCEPTED;
                response
                    .headers_mut()
                    .insert("x-line", line.parse().unwrap());
                Ok(response)
            }
        };
        send_answer(call, answer).await
    }
}

fn body(text: &'static str) -> HttpBody {
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|e| match e {})
        .boxed_unsync()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_goes_to_the_handler_that_is_there() {
    let bench = Bench::start().await;
    let _handle = bench.serve(INCOMING, HANDLE, HttpEcho).await;
    let request = |path: &str| {
        Request::builder()
            .method(Method::PUT)
            .uri(path)
            .header("host", "shop")
            .body(body("hello"))
    };
    for outgoing in [false, true] {
        let request = request("/a?b=1").unwrap();
        let response = bench
            .client
            .http(&target("web"), request, outgoing)
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(response.headers()["x-line"], "PUT http://shop/a?b=1");
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            "hello"
        );
    }
    let refused = bench
        .client
        .http(&target("web"), request("/refused").unwrap(), false)
        .await;
    assert!(
        matches!(refused, Err(HttpError::HttpRequestDenied)),
        "{refused:?}"
    );
    let nobody = bench
        .client
        .http(&target("nobody"), request("/").unwrap(), true)
        .await;
    assert!(
        matches!(nobody, Err(HttpError::DestinationUnavailable)),
        "{nobody:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_streams_both_ways_with_trailers() {
    const PIECES: usize = 2000;
    let bench = Bench::start().await;
    let _handle = bench.serve(INCOMING, HANDLE, HttpEcho).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let piece = Bytes::from(vec![42; 64 << 10]);
    let len = piece.len();
    let frames = async_stream::stream! {
        for _ in 0..PIECES {
            counted.fetch_add(1, Ordering::Relaxed);
            yield Ok::<_, HttpError>(Frame::data(piece.clone()));
        }
        let mut trailers = ::http::HeaderMap::new();
        trailers.insert("x-sum", "42".parse().unwrap());
        yield Ok(Frame::trailers(trailers));
    };
    let body = StreamBody::new(frames).boxed_unsync();
    let request = Request::post("http://shop/upload").body(body).unwrap();
    let response = bench
        .client
        .http(&target("web"), request, false)
        .await
        .unwrap();
    let mut body = response.into_body();
    let (mut read, mut trailers) = (0, None);
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(bytes) => read += bytes.len(),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        // Two windows, and what is in hand on three legs: never the whole body.
        let ahead = sent.load(Ordering::Relaxed) * len - read;
        assert!(
            ahead < 4 * crate::rpc::transport::WINDOW,
            "{ahead} bytes under way"
        );
    }
    assert_eq!(read, PIECES * len);
    assert_eq!(trailers.unwrap()["x-sum"], "42");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_no_short_body() {
    let bench = Bench::start().await;
    let _handle = bench.serve(INCOMING, HANDLE, HttpEcho).await;
    let frames = futures::stream::iter([
        Ok(Frame::data(Bytes::from_static(b"half"))),
        Err(HttpError::ConnectionTerminated),
    ]);
    let request = Request::post("http://shop/").body(StreamBody::new(frames).boxed_unsync());
    let response = bench
        .client
        .http(&target("web"), request.unwrap(), false)
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
}

/// A key-value provider over memory.
struct Memory(Arc<MemoryStore>);

#[async_trait]
impl BuiltinProvider for Memory {
    fn kind(&self) -> &'static str {
        "keyvalue-memory"
    }
    fn backend(&self, _: &ResolvedLink) -> Result<Binding, LinkError> {
        Ok(Binding::new(Linked::only(
            LinkName::default(),
            self.0.clone(),
        )))
    }
    async fn put_link(&self, _: Arc<ResolvedLink>) -> Result<(), LinkError> {
        Ok(())
    }
    async fn delete_link(&self, _: &LinkKey) {}
    async fn update_config(&self, _: std::collections::BTreeMap<String, String>) {}
    async fn shutdown(&self, _: Duration) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_elsewhere_works_like_one_here() {
    let bench = Bench::start().await;
    let provider = Arc::new(Memory(Arc::default()));
    let handle = bench
        .server
        .serve_builtin(&id("kv"), provider)
        .await
        .unwrap();
    bench.settle().await;
    let store = bench.client.keyvalue(target("kv"));
    let unlinked = store.get("default", "k").await;
    assert_eq!(
        unlinked,
        Err(Error::Other("consumer component not linked: caller".into()))
    );

    let link = Link::new(id("caller"), id("kv"), "wasi", "keyvalue", ["store"]);
    handle.set_links(&[Arc::new(ResolvedLink::plain(link))]);
    let value = Bytes::from(vec![1; 3_000_000]);
    store.set("default", "k", value.clone()).await.unwrap();
    assert!(store.get("default", "k").await.unwrap() == Some(value));
    assert_eq!(store.get("other", "k").await, Err(Error::NoSuchStore));
    assert!(store.exists("default", "k").await.unwrap());
    assert_eq!(store.increment("default", "n", 5).await, Ok(5));
    let pair = |k: &str| (k.to_owned(), Bytes::from_static(b"v"));
    store
        .set_many("default", vec![pair("a"), pair("b")])
        .await
        .unwrap();
    let many = store
        .get_many("default", vec!["b".into(), "nothing".into()])
        .await
        .unwrap();
    assert_eq!(many, [Some(pair("b")), None]);
    store
        .delete_many("default", vec!["a".into(), "b".into()])
        .await
        .unwrap();
    store.delete("default", "k").await.unwrap();
    assert_eq!(store.list_keys("default", None).await.unwrap().keys, ["n"]);
    let _: &dyn Backend = &*store;
}

/// A store of blobs in a directory.
struct Files(crate::capability::blobstore::Linked);

#[async_trait]
impl BuiltinProvider for Files {
    fn kind(&self) -> &'static str {
        "blobstore-fs"
    }
    fn backend(&self, _: &ResolvedLink) -> Result<Binding, LinkError> {
        Ok(Binding::new(self.0.clone()))
    }
    async fn put_link(&self, _: Arc<ResolvedLink>) -> Result<(), LinkError> {
        Ok(())
    }
    async fn delete_link(&self, _: &LinkKey) {}
    async fn update_config(&self, _: std::collections::BTreeMap<String, String>) {}
    async fn shutdown(&self, _: Duration) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_elsewhere_stream_in_and_out() {
    use crate::capability::blobstore::{FsStore, Linked, ObjectId};
    let bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let files = Linked::new(Arc::new(FsStore::new(dir.path().to_owned())));
    let handle = bench
        .server
        .serve_builtin(&id("fs"), Arc::new(Files(files)))
        .await
        .unwrap();
    let link = Link::new(id("caller"), id("fs"), "wasi", "blobstore", ["blobstore"]);
    handle.set_links(&[Arc::new(ResolvedLink::plain(link))]);
    bench.settle().await;
    let store = bench.client.blobstore(target("fs"));
    let object = |name: &str| ObjectId {
        container: "c".into(),
        object: name.into(),
    };
    store.create_container("c").await.unwrap();
    assert!(store.container_exists("c").await.unwrap());

    let piece = Bytes::from(vec![5; 300_000]);
    let pieces = vec![Ok(piece.clone()); 20];
    store
        .write_data(&object("big"), Box::pin(futures::stream::iter(pieces)))
        .await
        .unwrap();
    assert_eq!(
        store.object_info(&object("big")).await.unwrap().size,
        6_000_000
    );
    let mut data = store.get_data(&object("big"), 0, u64::MAX).await.unwrap();
    let mut read = 0;
    while let Some(bytes) = data.next().await {
        read += bytes.unwrap().len();
    }
    assert_eq!(read, 6_000_000);

    let broken = futures::stream::iter([
        Ok(piece),
        Err(crate::capability::blobstore::Error::new(
            "the source broke off",
        )),
    ]);
    assert!(
        store
            .write_data(&object("half"), Box::pin(broken))
            .await
            .is_err()
    );
    assert!(!store.has_object(&object("half")).await.unwrap());
    store
        .copy_object(&object("big"), &object("copy"))
        .await
        .unwrap();
    let names = store.list_objects("c", None, None).await.unwrap();
    let mut names: Vec<String> = names.map(|name| name.unwrap()).collect().await;
    names.sort();
    assert_eq!(names, ["big", "copy"]);
    let missing = store.get_data(&object("none"), 0, 1).await;
    assert!(missing.is_err());
}
