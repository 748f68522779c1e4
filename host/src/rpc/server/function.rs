//! Serving a component's own functions.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Endpoint, Handler, Refusal, ServerOptions, trace};
use crate::capability::pipe::Message;
use crate::rpc::codec::{Encoder, FuncTy};
use crate::rpc::exchange::Source;
use crate::rpc::pipes::{Downloads, Uploads};
use crate::rpc::transport::Incoming;
use crate::runtime::{CallContext, RunningComponent, obstacle};

/// Instances served in another form, or only of use to the runtime itself.
const NOT_PLAIN: [&str; 4] = [
    "wasi:http/incoming-handler",
    "wasi:http/handler",
    "wasi:cli/run",
    "wasi:keyvalue/watcher",
];

/// One exported function.
struct Function {
    component: Arc<RunningComponent>,
    instance: Option<String>,
    name: String,
    types: FuncTy,
}

/// Every function of a component that takes and returns what can travel.
pub(super) fn endpoints(component: &Arc<RunningComponent>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for export in component.exports() {
        let name = export.instance.as_deref().unwrap_or_default();
        let plain_name = name.split('@').next().unwrap_or_default();
        if NOT_PLAIN.contains(&plain_name) {
            continue;
        }
        let types = match (obstacle(&export.ty), FuncTy::from_component(&export.ty)) {
            (None, Ok(types)) => types,
            (what, types) => {
                let what = what.or_else(|| Some(types.err()?.to_string()));
                tracing::warn!(
                    component = %component.id(),
                    instance = name,
                    function = export.function,
                    "not served to other hosts: it takes or returns a {}",
                    what.unwrap_or_default()
                );
                continue;
            }
        };
        endpoints.push(Endpoint {
            instance: export.instance.clone(),
            function: export.function.clone(),
            handler: Arc::new(Function {
                component: component.clone(),
                instance: export.instance.clone(),
                name: export.function.clone(),
                types,
            }),
        });
    }
    endpoints
}

#[async_trait]
impl Handler for Function {
    async fn handle(&self, call: &mut Incoming, options: &ServerOptions) -> Result<(), Refusal> {
        let subject = call.subject().to_owned();
        let mut reader = call.params();
        let mut source = Source {
            reader: &mut reader,
            subject: &subject,
            pause_max: Some(options.params_pause_max),
        };
        let received = source.values(&self.types.params, options.limits).await?;
        let (values, pending) =
            received.ok_or_else(|| Refusal("it came without parameters".into()))?;
        let (downloads, pipes) = Downloads::begin(pending, options.limits, |path| call.param(path));
        let cx = CallContext {
            trace: trace(call.headers()),
            ..CallContext::default()
        };
        let results = self
            .component
            .exchange(
                cx,
                self.instance.as_deref(),
                &self.name,
                Message { values, pipes },
            )
            .await
            .map_err(|error| Refusal(error.to_string()))?;
        let mut encoder = Encoder::default();
        encoder
            .tuple(&self.types.results, &results.values)
            .map_err(|error| Refusal(format!("its results do not fit: {error}")))?;
        let paths: Vec<_> = encoder
            .pending
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        let senders = call.answer(encoder.bytes.into(), &paths).await?;
        let (mut pipes, mut uploads) = (results.pipes, Uploads::default());
        for ((path, ty), sender) in encoder.pending.into_iter().zip(senders) {
            let at = pipes.iter().position(|pipe| pipe.path == path.0);
            uploads.begin(at.map(|at| pipes.swap_remove(at)), ty, sender);
        }
        uploads.ended().await;
        if !downloads.ended().await {
            call.leave_unread();
        }
        Ok(())
    }
}
