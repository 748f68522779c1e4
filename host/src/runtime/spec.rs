//! What the runtime is told: options, artifacts, and what to run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use proto::Annotations;
use proto::id::ComponentId;

use crate::capability::Remote;
use crate::directory::Directory;
use crate::link::{LinkTable, Secrets};

use super::CompiledComponent;

/// Settings of the engine and its limits.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Where compiled code is kept; `None` keeps none.
    pub cache_dir: Option<PathBuf>,
    /// The memory an instance may use, where a scale request names no other limit.
    pub max_memory_bytes: u64,
    /// The time a call may take, where a scale request names no other limit.
    pub max_execution_time: Duration,
    /// The largest component accepted.
    pub max_component_bytes: u64,
    /// Core instances within one component.
    pub max_core_instances_per_component: u32,
    /// Instances that may run at one time on this host; `None` works it out from the memory that
    /// this process may use.
    pub pool_instances: Option<u32>,
    /// How long a call may wait for an instance before it is refused.
    pub queue_timeout: Duration,
    /// How many calls of one component may wait.
    pub queue_limit: u32,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            max_memory_bytes: 256 << 20,
            max_execution_time: Duration::from_secs(600),
            max_component_bytes: 50 << 20,
            max_core_instances_per_component: 30,
            pool_instances: None,
            queue_timeout: Duration::from_secs(1),
            queue_limit: 1024,
        }
    }
}

/// A component's bytes, before they are compiled.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// `sha256:` and the hash of the bytes, as the caller has checked it.
    pub digest: String,
    /// Where the bytes are.
    pub source: ArtifactSource,
}

/// Where an artifact's bytes are.
#[derive(Clone, Debug)]
pub enum ArtifactSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file, read only when the compiled code is not in the cache.
    File(PathBuf),
}

impl Artifact {
    /// An artifact in memory; its digest is computed here.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        use sha2::Digest as _;
        let bytes = bytes.into();
        let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&bytes)));
        Self {
            digest,
            source: ArtifactSource::Bytes(bytes),
        }
    }
}

/// Limits from a scale request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The memory one instance may use.
    pub max_memory_bytes: Option<u64>,
    /// The time one call may take.
    pub max_execution_time: Option<Duration>,
}

/// A component's configuration, replaced whole when it changes.
#[derive(Debug, Default)]
pub struct ConfigHandle(ArcSwap<BTreeMap<String, String>>);

impl ConfigHandle {
    /// A handle on these values.
    pub fn new(config: BTreeMap<String, String>) -> Self {
        Self(ArcSwap::from_pointee(config))
    }

    /// The values as they are now.
    pub fn load(&self) -> Arc<BTreeMap<String, String>> {
        self.0.load_full()
    }

    /// Replaces all values; running instances see them at their next read.
    pub fn store(&self, config: BTreeMap<String, String>) {
        self.0.store(Arc::new(config));
    }
}

/// What to run.
#[derive(Clone)]
pub struct ComponentSpec {
    /// Its id on the lattice.
    pub id: ComponentId,
    /// The reference it was started by.
    pub image_ref: String,
    /// Its code.
    pub compiled: Arc<CompiledComponent>,
    /// Calls that may run at one time; `u32::MAX` sets no limit. Zero is taken as one.
    pub max_instances: u32,
    /// Limits for each instance.
    pub limits: Limits,
    /// Annotations of the scale request.
    pub annotations: Annotations,
    /// Its configuration.
    pub config: Arc<ConfigHandle>,
    /// Its secrets.
    pub secrets: Arc<Secrets>,
    /// What its imports lead to.
    pub links: LinkTable,
    /// The way to what runs elsewhere.
    pub remote: Arc<dyn Remote>,
    /// What runs here.
    pub directory: Arc<Directory>,
}

/// An annotation that lets a `wasi:http@0.2` component keep its instances between requests: `true`.
pub const REUSE_INSTANCES: &str = "lattice.dev/reuse-instances";

/// Trace context (`traceparent` and the like), as name and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHeaders(pub Vec<(String, String)>);

/// What comes along with a call.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// Trace context of the caller.
    pub trace: TraceHeaders,
    /// How many components on this host called each other to get here.
    pub depth: u8,
}
