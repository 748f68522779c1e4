//! Calls of functions with streams and futures: the instance lives until all of them have ended.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Accessor, ComponentExportIndex, Val};
use wasmtime::{AsContextMut as _, Store};

use super::compiled::CompiledComponent;
use super::ctx::Ctx;
use super::error::CallError;
use super::shared::{Running, Shared};
use super::spec::CallContext;
use super::streams::{self, Keep};
use crate::capability::FunctionType;
use crate::capability::pipe::Message;

/// What is called, and with what.
pub(super) struct Call {
    pub ty: FunctionType,
    pub index: ComponentExportIndex,
    pub params: Message,
}

/// Calls an exported function. The instance runs in a task of its own, which ends early when the
/// caller goes before there are results.
pub(super) async fn call(
    shared: &Arc<Shared>,
    compiled: &Arc<CompiledComponent>,
    running: Running,
    cx: CallContext,
    call: Call,
) -> Result<Message, CallError> {
    let slot = shared.slot().await?;
    let deadline = Instant::now() + shared.time_max;
    let store = shared.store(cx);
    let (owner, compiled) = (Arc::clone(shared), Arc::clone(compiled));
    let (sender, results) = oneshot::channel();
    let gone = CancellationToken::new();
    let caller = gone.clone().drop_guard();
    tokio::spawn(async move {
        let _held = (running, slot);
        let mut store = store;
        let mut sender = Some(sender);
        let work = timeout_at(deadline, run(&mut store, &compiled, call, &mut sender));
        let ended = tokio::select! {
            () = gone.cancelled() => return,
            ended = work => ended,
        };
        let error = match ended {
            Ok(Ok(())) => return store.data().outgoing.confirm(),
            Ok(Err(error)) => owner.failed(&error, store.data()),
            Err(_) => owner.too_slow(),
        };
        match sender.take() {
            // A caller that has gone does not want to know.
            Some(sender) => drop(sender.send(Err(error))),
            None => {
                tracing::warn!(component = %owner.id, "failed while its streams were open: {error}");
            }
        }
    });
    let results = results.await;
    caller.disarm();
    results.unwrap_or_else(|_| {
        Err(CallError::Trap {
            component: shared.id.clone(),
            reason: "its task ended without a word".into(),
        })
    })
}

/// Where the results go, once.
type Results = Option<oneshot::Sender<Result<Message, CallError>>>;

async fn run(
    store: &mut Store<Ctx>,
    compiled: &CompiledComponent,
    call: Call,
    sender: &mut Results,
) -> wasmtime::Result<()> {
    let Call { ty, index, params } = call;
    let instance = compiled.pre().instantiate_async(&mut *store).await?;
    let Some(function) = instance.get_func(&mut *store, index) else {
        wasmtime::bail!("the function is not among the instance's exports");
    };
    let (keep, mut all_ended) = Keep::waited_for();
    let types = streams::params(&ty);
    let params = streams::put_in(store.as_context_mut(), &types, params, &keep)?;
    let work = async move |accessor: &Accessor<Ctx>| -> wasmtime::Result<()> {
        let types = streams::results(&ty);
        let mut results = vec![Val::Bool(false); types.len()];
        function
            .call_concurrent(accessor, &params, &mut results)
            .await?;
        let message = accessor.with(|mut access| {
            streams::take_out(access.as_context_mut(), &types, results, &keep)
        })?;
        drop(keep);
        if let Some(sender) = sender.take() {
            // A caller that has gone reads no stream either, which ends them.
            let _ = sender.send(Ok(message));
        }
        while all_ended.recv().await.is_some() {}
        Ok(())
    };
    store.run_concurrent(work).await?
}
