//! A component that can be called.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use proto::Annotations;
use proto::id::ComponentId;
use wasmtime::component::Val;

use crate::capability::HttpBody;
use crate::capability::pipe::Message;
use crate::link::{LinkTable, Secrets};

use super::Runtime;
use super::compiled::{CompiledComponent, Export, ExportedFunction, HttpHandler};
use super::error::CallError;
use super::fresh;
use super::gate::Gate;
use super::polyfill::DEPTH_MAX;
use super::reuse::Workers;
use super::shared::Shared;
use super::spec::{CallContext, ComponentSpec, ConfigHandle, REUSE_INSTANCES};
use super::stdio::LineLog;
use super::streamed;

/// A component that can be called.
pub struct RunningComponent {
    shared: Arc<Shared>,
    compiled: Arc<CompiledComponent>,
    image_ref: String,
    annotations: ArcSwap<Annotations>,
    workers: Option<Workers>,
}

impl RunningComponent {
    pub(super) fn new(runtime: &Runtime, spec: ComponentSpec) -> Self {
        let options = &runtime.options;
        let max_memory = spec
            .limits
            .max_memory_bytes
            .unwrap_or(options.max_memory_bytes);
        let max_time = spec
            .limits
            .max_execution_time
            .unwrap_or(options.max_execution_time);
        let shared = Arc::new(Shared {
            log: LineLog::new(spec.id.clone()),
            id: spec.id,
            config: spec.config,
            secrets: ArcSwap::new(spec.secrets),
            links: ArcSwap::from_pointee(spec.links),
            remote: spec.remote,
            directory: spec.directory,
            engine: runtime.engine.clone(),
            ticker: Arc::clone(&runtime.ticker),
            slots: Arc::clone(&runtime.slots),
            gate: Gate::new(
                spec.max_instances,
                options.queue_limit,
                options.queue_timeout,
            ),
            memory_max: max_memory,
            time_max: max_time,
            missing: Mutex::new(HashMap::new()),
        });
        let asked = spec
            .annotations
            .get(REUSE_INSTANCES)
            .is_some_and(|value| value == "true");
        let reuse = match spec.compiled.http() {
            Some(HttpHandler::P3(_)) => true,
            Some(HttpHandler::P2(_)) => asked,
            None => false,
        };
        Self {
            workers: reuse.then(|| Workers::new(Arc::clone(&shared), Arc::clone(&spec.compiled))),
            shared,
            compiled: spec.compiled,
            image_ref: spec.image_ref,
            annotations: ArcSwap::from_pointee(spec.annotations),
        }
    }

    /// The component's id.
    pub fn id(&self) -> &ComponentId {
        &self.shared.id
    }

    /// The reference it was started by.
    pub fn image_ref(&self) -> &str {
        &self.image_ref
    }

    /// Its code.
    pub fn compiled(&self) -> &Arc<CompiledComponent> {
        &self.compiled
    }

    /// Its annotations.
    pub fn annotations(&self) -> Arc<Annotations> {
        self.annotations.load_full()
    }

    /// Replaces its annotations.
    pub fn set_annotations(&self, annotations: Annotations) {
        self.annotations.store(Arc::new(annotations));
    }

    /// Every function it exports.
    pub fn exports(&self) -> &[ExportedFunction] {
        self.compiled.exports()
    }

    /// Whether it exports an HTTP handler.
    pub fn serves_http(&self) -> bool {
        self.compiled.http().is_some()
    }

    /// `component.application`, as in ids: its name on the default ingress, if an application owns it.
    pub fn http_name(&self) -> Option<String> {
        let annotations = self.annotations.load();
        let application = proto::names::san(annotations.get(proto::names::APP_SPEC)?);
        let id = self.id().as_str();
        let component = id
            .strip_prefix(application.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .unwrap_or(id);
        Some(format!("{}.{application}", proto::names::san(component)))
    }

    /// What its imports lead to now.
    pub fn links(&self) -> Arc<LinkTable> {
        self.shared.links.load_full()
    }

    /// Replaces what its imports lead to; calls in flight keep the old links.
    pub fn set_links(&self, links: LinkTable) {
        self.shared.links.store(Arc::new(links));
    }

    /// Replaces its secrets.
    pub fn set_secrets(&self, secrets: Arc<Secrets>) {
        self.shared.secrets.store(secrets);
    }

    /// Its configuration: store into it to change it.
    pub fn config(&self) -> &Arc<ConfigHandle> {
        &self.shared.config
    }

    /// Calls that may run at one time.
    pub fn max_instances(&self) -> u32 {
        self.shared.gate.limit()
    }

    /// Changes how many calls may run at one time. Zero is taken as one.
    pub fn set_max_instances(&self, max: u32) {
        self.shared.gate.set_limit(max);
    }

    /// Calls running now.
    pub fn in_flight(&self) -> usize {
        self.shared.gate.running()
    }

    /// Handles an HTTP request.
    ///
    /// # Errors
    /// No instance became free in time, or the component failed before it answered.
    pub async fn http(
        &self,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> Result<http::Response<HttpBody>, CallError> {
        self.check_depth(&cx)?;
        if !self.serves_http() {
            return Err(self.no_export("wasi:http/incoming-handler"));
        }
        let running = match self.shared.enter().await {
            Ok(running) => running,
            Err(error) => match self.successor(&error) {
                Some(next) => return Box::pin(next.http(cx, request)).await,
                None => return Err(error),
            },
        };
        match &self.workers {
            Some(workers) => workers.http(&self.shared, running, cx, request).await,
            None => fresh::http(&self.shared, &self.compiled, running, cx, request).await,
        }
    }

    /// Calls an exported function; `instance` as in [`ExportedFunction`], with or without version.
    ///
    /// # Errors
    /// There is no such export, no instance became free in time, or the component failed.
    pub async fn call(
        &self,
        cx: CallContext,
        instance: Option<&str>,
        function: &str,
        params: &[Val],
    ) -> Result<Vec<Val>, CallError> {
        self.check_depth(&cx)?;
        let export = self.export(instance, function)?;
        let running = match self.shared.enter().await {
            Ok(running) => running,
            Err(error) => match self.successor(&error) {
                Some(next) => return Box::pin(next.call(cx, instance, function, params)).await,
                None => return Err(error),
            },
        };
        fresh::call(&self.shared, &self.compiled, running, cx, export, params).await
    }

    /// As [`Self::call`], for any function: streams and futures go on after this has answered, and
    /// the call counts as running until all of them have ended.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn exchange(
        &self,
        cx: CallContext,
        instance: Option<&str>,
        function: &str,
        params: Message,
    ) -> Result<Message, CallError> {
        let export = self.export(instance, function)?;
        let Some(ty) = export.pipes.clone() else {
            let results = self.call(cx, instance, function, &params.values).await?;
            return Ok(results.into());
        };
        self.check_depth(&cx)?;
        let running = match self.shared.enter().await {
            Ok(running) => running,
            Err(error) => match self.successor(&error) {
                Some(next) => return Box::pin(next.exchange(cx, instance, function, params)).await,
                None => return Err(error),
            },
        };
        let index = export.index;
        let call = streamed::Call { ty, index, params };
        streamed::call(&self.shared, &self.compiled, running, cx, call).await
    }

    fn export(&self, instance: Option<&str>, function: &str) -> Result<&Export, CallError> {
        let found = self.compiled.export(instance, function);
        found.ok_or_else(|| self.no_export(&format!("{}#{function}", instance.unwrap_or_default())))
    }

    /// What took this component's place while the caller still held the old one.
    fn successor(&self, error: &CallError) -> Option<Arc<Self>> {
        if !matches!(error, CallError::Stopping { .. }) {
            return None;
        }
        let next = self.shared.directory.component(self.id())?;
        (!Arc::ptr_eq(&next.shared, &self.shared)).then_some(next)
    }

    /// Sends a request as an instance of this component would.
    #[cfg(test)]
    pub(crate) async fn send_request(
        &self,
        cx: CallContext,
        request: http::Request<HttpBody>,
    ) -> Result<http::Response<HttpBody>, crate::capability::HttpError> {
        use wasmtime_wasi_http::WasiHttpHooks as _;
        let mut store = self.shared.store(cx);
        let done = Box::new(async { Ok(()) });
        let sent = store.data_mut().grants.send_request(request, None, done);
        Box::into_pin(sent).await.map(|(response, _)| response)
    }

    /// Takes no new calls and waits until those running have ended, at most `grace`. Says whether
    /// all ended.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shared.gate.close(grace).await
    }

    fn check_depth(&self, cx: &CallContext) -> Result<(), CallError> {
        if cx.depth > DEPTH_MAX {
            return Err(CallError::TooDeep {
                component: self.id().clone(),
                limit: DEPTH_MAX,
            });
        }
        Ok(())
    }

    fn no_export(&self, export: &str) -> CallError {
        CallError::NoSuchExport {
            component: self.id().clone(),
            export: export.to_owned(),
        }
    }
}
