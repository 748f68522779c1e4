//! Runs components: engine, compiled code, instances, limits, and what they may do.
//!
//! The runtime knows no capability by name. It is handed a list of them, adds their imports to the
//! linker once, and turns every other import into a call over a link. What a component's imports
//! lead to is a [`LinkTable`](crate::link::LinkTable), replaced whole when links change.

mod ctx;
mod error;
mod running;
mod spec;

use std::sync::Arc;

pub use ctx::Ctx;
pub use error::{CallError, RuntimeError};
pub use running::{ExportedFunction, RunningComponent};
pub use spec::{
    Artifact, ArtifactSource, CallContext, ComponentSpec, ConfigHandle, Limits, REUSE_INSTANCES,
    RuntimeOptions, TraceHeaders,
};

use crate::capability::Capability;

/// The engine and everything that components on this host share.
pub struct Runtime {
    options: RuntimeOptions,
    capabilities: Vec<Arc<dyn Capability>>,
}

/// Code that is ready to be instantiated.
pub struct CompiledComponent {
    digest: String,
}

impl CompiledComponent {
    /// The digest of the component's bytes.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Runtime {
    /// Sets up the engine.
    ///
    /// # Errors
    /// The pool does not fit this machine, or two capabilities define one import.
    pub fn new(
        options: RuntimeOptions,
        capabilities: Vec<Arc<dyn Capability>>,
    ) -> Result<Arc<Self>, RuntimeError> {
        Ok(Arc::new(Self { options, capabilities }))
    }

    /// Compiles a component, or finds its compiled code in the cache.
    ///
    /// # Errors
    /// It is no component, too large, or does not compile.
    pub async fn compile(&self, artifact: &Artifact) -> Result<Arc<CompiledComponent>, RuntimeError> {
        let _ = (&self.options, &self.capabilities);
        Ok(Arc::new(CompiledComponent { digest: artifact.digest.clone() }))
    }

    /// Makes a component ready to be called. Nothing of it runs before the first call.
    ///
    /// # Errors
    /// Its imports have other types than this host's.
    pub async fn start(&self, spec: ComponentSpec) -> Result<Arc<RunningComponent>, RuntimeError> {
        Ok(Arc::new(RunningComponent::new(spec)))
    }
}
