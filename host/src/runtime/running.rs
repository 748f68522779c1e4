//! A component that can be called.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use proto::Annotations;
use proto::id::ComponentId;
use wasmtime::component::Val;

use crate::capability::{FunctionType, HttpBody, Remote};
use crate::directory::Directory;
use crate::link::{LinkTable, Secrets};

use super::error::CallError;
use super::spec::{CallContext, ComponentSpec, ConfigHandle};

/// A function that a component exports.
#[derive(Clone, Debug)]
pub struct ExportedFunction {
    /// The exported instance with its version (`ns:pkg/iface@v`); `None` for a root function.
    pub instance: Option<String>,
    /// The function's name.
    pub function: String,
    /// Its type.
    pub ty: FunctionType,
}

/// What the instances of one component share.
pub(crate) struct Shared {
    pub id: ComponentId,
    pub config: Arc<ConfigHandle>,
    pub secrets: ArcSwap<Secrets>,
    pub links: ArcSwap<LinkTable>,
    pub remote: Arc<dyn Remote>,
    pub directory: Arc<Directory>,
}

/// A component that can be called.
pub struct RunningComponent {
    shared: Arc<Shared>,
    image_ref: String,
    annotations: ArcSwap<Annotations>,
    exports: Vec<ExportedFunction>,
}

impl RunningComponent {
    pub(crate) fn new(spec: ComponentSpec) -> Self {
        Self {
            shared: Arc::new(Shared {
                id: spec.id,
                config: spec.config,
                secrets: ArcSwap::new(spec.secrets),
                links: ArcSwap::from_pointee(spec.links),
                remote: spec.remote,
                directory: spec.directory,
            }),
            image_ref: spec.image_ref,
            annotations: ArcSwap::from_pointee(spec.annotations),
            exports: Vec::new(),
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
        &self.exports
    }

    /// Whether it exports an HTTP handler.
    pub fn serves_http(&self) -> bool {
        false
    }

    /// `component.application`: its name on the default ingress, if an application owns it.
    pub fn http_name(&self) -> Option<String> {
        None
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

    /// Changes how many calls may run at one time.
    pub fn set_max_instances(&self, _max: u32) {}

    /// Calls running now.
    pub fn in_flight(&self) -> usize {
        0
    }

    /// Handles an HTTP request.
    ///
    /// # Errors
    /// No instance became free in time, or the component failed before it answered.
    pub async fn http(
        &self,
        _cx: CallContext,
        _request: http::Request<HttpBody>,
    ) -> Result<http::Response<HttpBody>, CallError> {
        Err(CallError::Stopping { component: self.id().clone() })
    }

    /// Calls an exported function; `instance` as in [`ExportedFunction`].
    ///
    /// # Errors
    /// There is no such export, no instance became free in time, or the component failed.
    pub async fn call(
        &self,
        _cx: CallContext,
        _instance: Option<&str>,
        _function: &str,
        _params: &[Val],
    ) -> Result<Vec<Val>, CallError> {
        Err(CallError::Stopping { component: self.id().clone() })
    }

    /// Takes no new calls and waits until those running have ended, at most `grace`. Says whether
    /// all ended.
    pub async fn drain(&self, _grace: Duration) -> bool {
        true
    }
}
