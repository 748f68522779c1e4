//! Components on two hosts that call each other, every kind of value both ways.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use proto::id::{ComponentId, Lattice, LinkName};
use wasmtime::component::Val;

use super::codec::FuncTy;
use super::codec::tests::any_val;
use super::{Client, ClientOptions, ServeHandle, Server, ServerOptions, Transport};
use crate::capability::testing::Server as NatsServer;
use crate::capability::{Remote, RemoteError, RemoteTarget};
use crate::directory::Directory;
use crate::link::LinkTable;
use crate::runtime::tests::{link, runtime};
use crate::runtime::{
    Artifact, CallContext, ComponentSpec, Limits, RunningComponent, TraceHeaders,
};

const ECHO: &[u8] = include_bytes!("../../fixtures/values/echo.wasm");
const RELAY: &[u8] = include_bytes!("../../fixtures/values/relay.wasm");

/// Values of each type that are sent; the second half of them over two hops.
const VALUES: usize = 24;

pub(super) struct Host {
    pub(super) client: Client,
    pub(super) transport: Transport,
    server: Server,
    directory: Arc<Directory>,
}

impl Host {
    pub(super) async fn join(nats: &NatsServer) -> Self {
        let connection = async_nats::connect(nats.address()).await.unwrap();
        let transport = Transport::new(connection).await.unwrap();
        let options = ClientOptions {
            deadline: Duration::from_secs(20),
            ..Default::default()
        };
        Self {
            client: Client::new(transport.clone(), Lattice::default(), options),
            server: Server::new(
                transport.clone(),
                Lattice::default(),
                ServerOptions::default(),
            ),
            transport,
            directory: Arc::new(Directory::new()),
        }
    }

    async fn run(
        &self,
        id: &str,
        wasm: &'static [u8],
        echo: Option<&str>,
    ) -> (Arc<RunningComponent>, ServeHandle) {
        let link_to = echo.map(|target| ("lattice:values/echo", target));
        self.run_linked(id, wasm, link_to).await
    }

    /// Runs a component; `link_to` is an interface and who serves it.
    pub(super) async fn run_linked(
        &self,
        id: &str,
        wasm: &'static [u8],
        link_to: Option<(&str, &str)>,
    ) -> (Arc<RunningComponent>, ServeHandle) {
        let compiled = runtime()
            .compile(&Artifact::from_bytes(wasm))
            .await
            .unwrap();
        let links = link_to.map(|(interface, target)| link(id, interface, target));
        let component = runtime().start(ComponentSpec {
            id: ComponentId::new(id).unwrap(),
            image_ref: format!("file:///{id}.wasm"),
            compiled,
            max_instances: u32::MAX,
            limits: Limits::default(),
            annotations: Default::default(),
            config: Arc::default(),
            secrets: Arc::default(),
            links: LinkTable::new(links),
            remote: Arc::new(self.client.clone()),
            directory: self.directory.clone(),
        });
        self.directory.insert_component(component.clone());
        let handle = self.server.serve(component.clone()).await.unwrap();
        self.settled().await;
        (component, handle)
    }

    /// Waits until NATS knows of everything that this host has subscribed to.
    async fn settled(&self) {
        let client = self.transport.client();
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.unwrap();
        client.publish(inbox, Bytes::new()).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(30), echo.next()).await;
        assert!(heard.expect("in time").is_some());
    }
}

pub(super) fn target(to: &str) -> RemoteTarget {
    RemoteTarget {
        source: ComponentId::new("test").unwrap(),
        target: ComponentId::new(to).unwrap(),
        link_name: LinkName::default(),
        trace: TraceHeaders::default(),
    }
}

fn values(types: &FuncTy, runner: &mut TestRunner) -> Vec<Val> {
    let value = |ty| any_val(ty).new_tree(runner).unwrap().current();
    types.params.iter().map(value).collect()
}

/// The results of an echo, in the form of its parameters.
fn params_of(results: Vec<Val>, params: usize) -> Vec<Val> {
    match results.as_slice() {
        [Val::Tuple(values)] if params > 1 => values.clone(),
        _ => results,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_crosses_between_hosts_in_both_directions() {
    let nats = NatsServer::nats();
    let (one, two) = (Host::join(&nats).await, Host::join(&nats).await);
    let (relay, _a) = one.run("relay-one", RELAY, Some("echo-two")).await;
    let (_, _b) = two.run("echo-two", ECHO, None).await;
    let (_, _c) = two.run("relay-two", RELAY, Some("echo-one")).await;
    let (_, _d) = one.run("echo-one", ECHO, None).await;
    let mut runner = TestRunner::deterministic();
    let mut functions = 0;
    for export in relay.exports() {
        let types = FuncTy::from_component(&export.ty).unwrap();
        let instance = export.instance.as_deref().unwrap();
        for n in 0..VALUES {
            let sent = values(&types, &mut runner);
            let cx = CallContext::default();
            let answer = if n < VALUES / 2 {
                // One hop: a component here, its link to one there.
                relay
                    .call(cx, Some(instance), &export.function, &sent)
                    .await
                    .unwrap()
            } else {
                // Two hops: from here to a component there, whose link leads back here.
                let to = target("relay-two");
                let called = one.client.call(
                    &to,
                    instance,
                    &export.function,
                    sent.clone().into(),
                    &export.ty,
                );
                called.await.unwrap().values
            };
            assert_eq!(
                params_of(answer, types.params.len()),
                sent,
                "{}",
                export.function
            );
        }
        functions += 1;
    }
    assert_eq!(functions, 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_nobody_is_an_error_for_the_guest_and_the_host() {
    let nats = NatsServer::nats();
    let host = Host::join(&nats).await;
    let (relay, handle) = host.run("relay", RELAY, Some("nobody")).await;
    let export = &relay.exports()[0];
    let types = FuncTy::from_component(&export.ty).unwrap();
    let sent = values(&types, &mut TestRunner::deterministic());
    let called = relay.call(
        CallContext::default(),
        export.instance.as_deref(),
        &export.function,
        &sent,
    );
    let error = called.await.unwrap_err().to_string();
    assert!(
        error.contains("nobody on the lattice serves `nobody`"),
        "{error}"
    );
    // The caller of the caller gets the reason too, over the wire.
    let to = target("relay");
    let instance = export.instance.as_deref().unwrap();
    let called = host
        .client
        .call(&to, instance, &export.function, sent.into(), &export.ty);
    match called.await {
        Err(RemoteError::Failed { reason, .. }) => {
            assert!(reason.contains("serves `nobody`"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    assert!(handle.stop(Duration::from_secs(5)).await);
}

/// Prints how long a call between two hosts takes: `cargo test --release -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn calls_between_hosts_per_second() {
    let nats = NatsServer::nats();
    let (one, two) = (Host::join(&nats).await, Host::join(&nats).await);
    let (echo, _b) = two.run("echo", ECHO, None).await;
    let export = echo
        .exports()
        .iter()
        .find(|e| e.function == "bytes")
        .unwrap();
    let types = FuncTy::from_component(&export.ty).unwrap();
    for (size, callers) in [(16, 1), (16, 32), (65_536, 1), (65_536, 8)] {
        let sent = [Val::List(vec![Val::U8(1); size])];
        let calls = 4000 / callers;
        let start = std::time::Instant::now();
        let work = (0..callers).map(|_| async {
            let to = target("echo");
            for _ in 0..calls {
                let instance = export.instance.as_deref().unwrap();
                one.client
                    .call_values(&to, instance, "bytes", &sent, &types)
                    .await
                    .unwrap();
            }
        });
        futures::future::join_all(work).await;
        let rate = f64::from(calls * callers) / start.elapsed().as_secs_f64();
        println!("{size} bytes, {callers} callers: {rate:.0} calls/s");
    }
}
