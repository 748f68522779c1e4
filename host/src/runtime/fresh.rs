//! Calls that each get an instance of their own, gone when they end.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use wasmtime::Store;
use wasmtime::component::Val;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};

use crate::capability::HttpBody;

use super::compiled::{CompiledComponent, Export, HttpHandler};
use super::ctx::Ctx;
use super::error::CallError;
use super::shared::{Running, Shared};
use super::spec::CallContext;

/// Calls an exported function.
pub(super) async fn call(
    shared: &Arc<Shared>,
    compiled: &CompiledComponent,
    _running: Running,
    cx: CallContext,
    export: &Export,
    params: &[Val],
) -> Result<Vec<Val>, CallError> {
    let _slot = shared.slot().await?;
    let mut store = shared.store(cx);
    let deadline = Instant::now() + shared.time_max;
    let work = async {
        let instance = compiled.pre().instantiate_async(&mut store).await?;
        let Some(function) = instance.get_func(&mut store, export.index) else {
            wasmtime::bail!("the function is not among the instance's exports");
        };
        let mut results = vec![Val::Bool(false); export.results];
        function
            .call_async(&mut store, params, &mut results)
            .await?;
        Ok(results)
    };
    match timeout_at(deadline, work).await {
        Ok(Ok(results)) => {
            store.data().outgoing.confirm();
            Ok(results)
        }
        Ok(Err(error)) => Err(shared.failed(&error, store.data())),
        Err(_) => Err(shared.too_slow()),
    }
}

/// The rest of a call whose response is already on its way.
type Guest = Pin<Box<dyn Future<Output = Result<(), CallError>> + Send>>;
type Answer = Result<http::Response<HttpBody>, ErrorCode>;

/// Handles an HTTP request.
///
/// The guest runs in the caller's own task until it sets its response; most guests are done by then
/// or soon after. What is left of it, such as writing a long body, goes on in a task of its own.
pub(super) async fn http(
    shared: &Arc<Shared>,
    compiled: &Arc<CompiledComponent>,
    running: Running,
    cx: CallContext,
    request: http::Request<HttpBody>,
) -> Result<http::Response<HttpBody>, CallError> {
    let slot = shared.slot().await?;
    let deadline = Instant::now() + shared.time_max;
    let (sender, mut answer) = oneshot::channel();
    let store = shared.store(cx);
    let (owner, compiled) = (Arc::clone(shared), Arc::clone(compiled));
    let mut guest: Guest = Box::pin(async move {
        let _held = (running, slot);
        let mut store = store;
        let result = match compiled.http() {
            Some(HttpHandler::P2(pre)) => handle(pre, &mut store, request, sender).await,
            _ => Err(wasmtime::format_err!("it has no wasi:http 0.2 handler")),
        };
        match result {
            Ok(()) => {
                store.data().outgoing.confirm();
                Ok(())
            }
            Err(error) => Err(owner.failed(&error, store.data())),
        }
    });
    let ended = tokio::select! {
        biased;
        ended = timeout_at(deadline, &mut guest) => ended,
        set = &mut answer => match set {
            Ok(answer) => {
                finish_later(Arc::clone(shared), guest, deadline);
                return response(shared, answer);
            }
            // The guest has thrown its response-outparam away; how it ends tells why.
            Err(_) => timeout_at(deadline, guest).await,
        },
    };
    match (ended, answer.try_recv()) {
        (Err(_), _) => Err(shared.too_slow()),
        (Ok(Ok(())), Ok(answer)) => response(shared, answer),
        (Ok(Err(error)), Ok(answer)) => {
            tracing::warn!(component = %shared.id, "failed after it had answered: {error}");
            response(shared, answer)
        }
        (Ok(Err(error)), Err(_)) => Err(error),
        (Ok(Ok(())), Err(_)) => Err(CallError::Trap {
            component: shared.id.clone(),
            reason: "it returned without setting a response".into(),
        }),
    }
}

async fn handle(
    pre: &ProxyPre<Ctx>,
    store: &mut Store<Ctx>,
    request: http::Request<HttpBody>,
    sender: oneshot::Sender<Answer>,
) -> wasmtime::Result<()> {
    let scheme = match request.uri().scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let outparam = http.new_response_outparam(sender)?;
    let proxy = pre.instantiate_async(&mut *store).await?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(store, request, outparam)
        .await
}

fn finish_later(shared: Arc<Shared>, guest: Guest, deadline: Instant) {
    tokio::spawn(async move {
        let error = match timeout_at(deadline, guest).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => shared.too_slow(),
        };
        tracing::warn!(component = %shared.id, "failed after it had answered: {error}");
    });
}

fn response(shared: &Shared, answer: Answer) -> Result<http::Response<HttpBody>, CallError> {
    answer.map_err(|error| CallError::Http {
        component: shared.id.clone(),
        error: error.into(),
    })
}
