//! What the instances of one component share, and how one is made.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto::id::ComponentId;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi_http::WasiHttpCtx;

use crate::capability::Remote;
use crate::directory::Directory;
use crate::link::{LinkTable, Secrets};

use super::ctx::{Ctx, Grants};
use super::engine::{Ticker, Ticking};
use super::error::CallError;
use super::gate::{Gate, Pass};
use super::limits::MemoryLimit;
use super::spec::{CallContext, ConfigHandle};
use super::stdio::{LineLog, LogStream, Stream};
use super::streams::Outgoing;

/// How often one missing link is logged.
const MISSING_LINK_EVERY: Duration = Duration::from_secs(10);

/// What the instances of one component share.
pub(crate) struct Shared {
    pub id: ComponentId,
    pub config: Arc<ConfigHandle>,
    pub secrets: ArcSwap<Secrets>,
    pub links: ArcSwap<LinkTable>,
    pub remote: Arc<dyn Remote>,
    pub directory: Arc<Directory>,
    pub(super) engine: Engine,
    pub(super) ticker: Arc<Ticker>,
    /// Instances of all components on this host.
    pub(super) slots: Arc<Gate>,
    /// Calls of this component.
    pub(super) gate: Gate,
    pub(super) memory_max: u64,
    pub(super) time_max: Duration,
    pub(super) log: Arc<LineLog>,
    pub(super) missing: Mutex<HashMap<String, Instant>>,
}

/// What a running call holds; its place is free again when this is dropped.
pub(super) struct Running {
    _call: Pass,
    _ticking: Ticking,
}

impl Shared {
    /// Waits for this call's turn.
    pub(super) async fn enter(&self) -> Result<Running, CallError> {
        let call = self
            .gate
            .enter()
            .await
            .map_err(|refused| self.refused(refused))?;
        Ok(Running {
            _call: call,
            _ticking: self.ticker.enter(),
        })
    }

    /// Waits for a place in the host's pool of instances.
    pub(super) async fn slot(&self) -> Result<Pass, CallError> {
        self.slots
            .enter()
            .await
            .map_err(|refused| self.refused(refused))
    }

    fn refused(&self, refused: super::gate::Refused) -> CallError {
        let component = self.id.clone();
        match refused {
            super::gate::Refused::Closed => CallError::Stopping { component },
            super::gate::Refused::Full => CallError::Overloaded {
                component,
                limit: self.gate.limit(),
                retry_after: self.gate.queue_timeout().max(Duration::from_secs(1)),
            },
        }
    }

    /// A store for one fresh instance.
    pub(super) fn store(self: &Arc<Self>, call: CallContext) -> Store<Ctx> {
        let wasi = WasiCtx::builder()
            .stdout(LogStream::new(&self.log, Stream::Out))
            .stderr(LogStream::new(&self.log, Stream::Err))
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let grants = Grants {
            shared: Arc::clone(self),
            links: self.links.load_full(),
            chosen: BTreeMap::new(),
            call,
        };
        let ctx = Ctx {
            table: ResourceTable::new(),
            grants,
            wasi,
            http: WasiHttpCtx::new(),
            memory: MemoryLimit::new(self.memory_max),
            outgoing: Outgoing::default(),
        };
        let mut store = Store::new(&self.engine, ctx);
        store.limiter(|ctx| &mut ctx.memory);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    /// Turns a failure of the engine into one that names the component and the cause.
    pub(super) fn failed(&self, error: &wasmtime::Error, ctx: &Ctx) -> CallError {
        tracing::debug!(component = %self.id, "{error:?}");
        let component = self.id.clone();
        if ctx.memory.was_exceeded() {
            return CallError::Memory {
                component,
                limit: self.memory_max,
            };
        }
        self.trapped(error)
    }

    /// The same where the instance's state is out of reach.
    pub(super) fn trapped(&self, error: &wasmtime::Error) -> CallError {
        CallError::Trap {
            component: self.id.clone(),
            reason: error.root_cause().to_string(),
        }
    }

    pub(super) fn too_slow(&self) -> CallError {
        CallError::Deadline {
            component: self.id.clone(),
            limit: self.time_max,
        }
    }

    /// Logs that a link is missing, at most once in [`MISSING_LINK_EVERY`] for each.
    pub(crate) fn missing_link(&self, name: &str, interface: &str) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{name} {interface}");
        let now = Instant::now();
        if missing
            .get(&key)
            .is_some_and(|last| now.duration_since(*last) < MISSING_LINK_EVERY)
        {
            return;
        }
        missing.insert(key, now);
        drop(missing);
        tracing::warn!(
            component = %self.id,
            link_name = name,
            interface,
            "call refused: no link of this name grants the interface; put one with `wash link put`"
        );
    }
}
