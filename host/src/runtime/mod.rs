//! Runs components: engine, compiled code, instances, limits, and what they may do.
//!
//! The runtime knows no capability by name. It is handed a list of them, adds their imports to the
//! linker once, and turns every other import into a call over a link. What a component's imports
//! lead to is a [`LinkTable`](crate::link::LinkTable), replaced whole when links change.

mod bus;
mod cache;
mod compiled;
mod ctx;
mod ends;
mod engine;
mod error;
mod failure;
mod fresh;
mod gate;
mod item;
mod limits;
mod memory;
mod polyfill;
mod reuse;
mod running;
mod shared;
mod spec;
mod stdio;
mod streamed;
mod streams;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

pub use cache::{files as cached_files, forget_gone};
pub use compiled::{CompiledComponent, ExportedFunction};
pub use ctx::{Ctx, Grants};
pub use error::{CallError, RuntimeError};
pub use running::RunningComponent;
pub use spec::{
    Artifact, ArtifactSource, CallContext, ComponentSpec, ConfigHandle, Limits, REUSE_INSTANCES,
    RuntimeOptions, TraceHeaders,
};
pub use streams::obstacle;

use crate::capability::Capability;

/// The engine and everything that components on this host share.
pub struct Runtime {
    options: RuntimeOptions,
    engine: Engine,
    linker: Linker<Ctx>,
    known: polyfill::Known,
    cache: Option<cache::Cache>,
    /// Instances of all components.
    slots: Arc<gate::Gate>,
    ticker: Arc<engine::Ticker>,
    /// What is compiled already and still in use.
    compiled: Mutex<HashMap<String, Weak<CompiledComponent>>>,
    /// One compilation at a time: each uses all cores by itself.
    compiling: tokio::sync::Mutex<()>,
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
        let (engine, pool) = engine::build(&options)?;
        let linker = link_all(&engine, &capabilities).map_err(|error| RuntimeError::Engine {
            reason: format!("{error:#}"),
        })?;
        let fingerprint = engine::fingerprint(&engine);
        let cache = options.cache_dir.as_ref().and_then(|dir| {
            cache::Cache::open(dir, &fingerprint)
                .inspect_err(|error| {
                    tracing::warn!(dir = %dir.display(), %error, "compiled code will not be kept");
                })
                .ok()
        });
        tracing::info!(instances = pool.instances, "the engine is ready");
        Ok(Arc::new(Self {
            slots: Arc::new(gate::Gate::new(
                pool.instances,
                u32::MAX,
                options.queue_timeout,
            )),
            ticker: Arc::new(engine::Ticker::start(&engine)?),
            known: polyfill::Known::default(),
            compiled: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
            options,
            engine,
            linker,
            cache,
        }))
    }

    /// Compiles a component, or finds its compiled code in the cache.
    ///
    /// # Errors
    /// It is no component, too large, does not compile, or its imports have other types than here.
    pub async fn compile(
        self: &Arc<Self>,
        artifact: &Artifact,
    ) -> Result<Arc<CompiledComponent>, RuntimeError> {
        if let Some(compiled) = self.in_memory(&artifact.digest) {
            return Ok(compiled);
        }
        let _turn = self.compiling.lock().await;
        if let Some(compiled) = self.in_memory(&artifact.digest) {
            return Ok(compiled);
        }
        let (runtime, artifact) = (Arc::clone(self), artifact.clone());
        let work = tokio::task::spawn_blocking(move || runtime.compile_blocking(&artifact));
        let compiled = match work.await {
            Ok(result) => Arc::new(result?),
            Err(error) => {
                return Err(RuntimeError::Compile {
                    reason: error.to_string(),
                });
            }
        };
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, other| other.strong_count() > 0);
        all.insert(compiled.digest().to_owned(), Arc::downgrade(&compiled));
        Ok(compiled)
    }

    fn in_memory(&self, digest: &str) -> Option<Arc<CompiledComponent>> {
        self.compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(digest)?
            .upgrade()
    }

    fn compile_blocking(&self, artifact: &Artifact) -> Result<CompiledComponent, RuntimeError> {
        let digest = artifact.digest.clone();
        let cached = self
            .cache
            .as_ref()
            .and_then(|cache| cache.load(&self.engine, &digest));
        let component = match cached {
            Some(component) => component,
            None => self.compile_bytes(&digest, &self.read(artifact)?)?,
        };
        CompiledComponent::link(digest, &component, self.linker.clone(), &self.known)
    }

    fn read(&self, artifact: &Artifact) -> Result<Bytes, RuntimeError> {
        let limit = self.options.max_component_bytes;
        let checked = |size: u64| match size {
            size if size > limit => Err(RuntimeError::TooLarge { size, limit }),
            _ => Ok(()),
        };
        match &artifact.source {
            ArtifactSource::Bytes(bytes) => {
                checked(bytes.len() as u64)?;
                Ok(bytes.clone())
            }
            ArtifactSource::File(path) => {
                let unreadable = |error: std::io::Error| RuntimeError::Unreadable {
                    path: path.display().to_string(),
                    reason: error.to_string(),
                };
                checked(std::fs::metadata(path).map_err(unreadable)?.len())?;
                Ok(std::fs::read(path).map_err(unreadable)?.into())
            }
        }
    }

    fn compile_bytes(&self, digest: &str, bytes: &[u8]) -> Result<Component, RuntimeError> {
        what_is(bytes)?;
        let failed = |error: wasmtime::Error| RuntimeError::Compile {
            reason: format!("{error:#}"),
        };
        let Some(cache) = &self.cache else {
            return Component::from_binary(&self.engine, bytes).map_err(failed);
        };
        let code = self.engine.precompile_component(bytes).map_err(failed)?;
        if let Err(error) = cache.store(digest, &code) {
            tracing::warn!(digest, %error, "compiled code was not kept");
        } else if let Some(component) = cache.load(&self.engine, digest) {
            return Ok(component);
        }
        drop(code);
        Component::from_binary(&self.engine, bytes).map_err(failed)
    }

    /// Makes a component ready to be called. Nothing of it runs before the first call.
    pub fn start(&self, spec: ComponentSpec) -> Arc<RunningComponent> {
        Arc::new(RunningComponent::new(self, spec))
    }
}

fn link_all(
    engine: &Engine,
    capabilities: &[Arc<dyn Capability>],
) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    bus::add(&mut linker)?;
    for capability in capabilities {
        capability.add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// Tells what is not a component from its first bytes, before the compiler finds other words.
fn what_is(bytes: &[u8]) -> Result<(), RuntimeError> {
    let (found, hint) = match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => (
            "it is a core WebAssembly module",
            "make a component of it with `wasm-tools component new`, or build for wasm32-wasip2",
        ),
        [0, b'a', b's', b'm', ..] => (
            "it is WebAssembly of a version that this host does not know",
            "build it with current tools",
        ),
        [0x1f, 0x8b, ..] => (
            "it is a gzip archive",
            "a provider archive is started as a provider, not scaled",
        ),
        [] => ("it is empty", "check the file or the pushed artifact"),
        [0x7f, b'E', b'L', b'F', ..] => (
            "it is a native program",
            "a provider is packed into an archive with `wash par create`",
        ),
        _ => (
            "it is no WebAssembly at all",
            "check the file or the pushed artifact",
        ),
    };
    Err(RuntimeError::NotAComponent { found, hint })
}
