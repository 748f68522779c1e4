//! Serving a component's own functions.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Endpoint, Handler, Refusal, ServerOptions, trace};
use crate::rpc::codec::{FuncTy, encode_all};
use crate::rpc::exchange::Source;
use crate::rpc::transport::Incoming;
use crate::runtime::{CallContext, RunningComponent};

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

/// Every function of a component that takes and returns plain values.
pub(super) fn endpoints(component: &Arc<RunningComponent>) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for export in component.exports() {
        let name = export.instance.as_deref().unwrap_or_default();
        let plain_name = name.split('@').next().unwrap_or_default();
        if NOT_PLAIN.contains(&plain_name) {
            continue;
        }
        let types = FuncTy::from_component(&export.ty).ok().filter(|types| {
            !types
                .params
                .iter()
                .chain(types.results.iter())
                .any(|ty| ty.has_async() || ty.has_resource())
        });
        let Some(types) = types else {
            tracing::warn!(
                component = %component.id(),
                instance = name,
                function = export.function,
                "not served to other hosts: it takes or returns a resource, stream or future"
            );
            continue;
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
        let (params, _) = received.ok_or_else(|| Refusal("it came without parameters".into()))?;
        let cx = CallContext {
            trace: trace(call.headers()),
            ..CallContext::default()
        };
        let results = self
            .component
            .call(cx, self.instance.as_deref(), &self.name, &params)
            .await
            .map_err(|error| Refusal(error.to_string()))?;
        let bytes = encode_all(&self.types.results, &results)
            .map_err(|error| Refusal(format!("its results do not fit: {error}")))?;
        call.answer(bytes.into(), &[]).await?;
        Ok(())
    }
}
