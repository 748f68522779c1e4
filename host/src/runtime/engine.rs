//! The engine: what it compiles for, how its pool is sized, and the clock that interrupts guests.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::{Config, Enabled, Engine, PoolingAllocationConfig};

use super::error::RuntimeError;
use super::memory;
use super::spec::RuntimeOptions;

/// Memory of an instance that stays with its slot when the instance ends, at most.
const KEEP_MEMORY: u64 = 2 << 20;
/// The same for its tables.
const KEEP_TABLE: usize = 512 << 10;
/// The same for its stack.
const KEEP_STACK: usize = 64 << 10;
/// Instances at one time, at least and at most, where no option says otherwise.
const POOL: std::ops::RangeInclusive<u64> = 64..=2_000;
/// Memory expected of an instance, to work out how many fit.
const PER_INSTANCE: u64 = 2 << 20;
/// How often a running guest gives way to others, and its deadline is looked at.
const TICK: Duration = Duration::from_millis(2);
/// How long the clock goes on ticking after the last call, so that calls in close succession need
/// not wake it.
const LINGER: Duration = Duration::from_millis(200);

/// How the pool is cut for this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PoolSize {
    /// Instances at one time.
    pub instances: u32,
    /// Memory that stays with an unused slot.
    pub keep_memory: usize,
    /// Unused slots that keep it.
    pub warm: u32,
}

impl PoolSize {
    /// Cuts the pool for `memory` bytes; `wanted` instances if someone asked for a number.
    pub(super) fn fit(memory: u64, wanted: Option<u32>) -> Self {
        let instances = match wanted {
            Some(wanted) => wanted.max(1),
            None => (memory / PER_INSTANCE).clamp(*POOL.start(), *POOL.end()) as u32,
        };
        let keep = (memory / 4 / u64::from(instances)).clamp(64 << 10, KEEP_MEMORY);
        let warm = (memory / 8 / keep).clamp(4, 100) as u32;
        Self {
            instances,
            keep_memory: keep as usize,
            warm,
        }
    }
}

/// Builds the engine; its pool is what the options and this machine allow.
pub(super) fn build(options: &RuntimeOptions) -> Result<(Engine, PoolSize), RuntimeError> {
    let size = PoolSize::fit(memory::available(), options.pool_instances);
    let config = config(options, size);
    let engine = Engine::new(&config).map_err(|error| RuntimeError::Engine {
        reason: format!(
            "{error:#} (the pool is for {} instances; a smaller one needs less address space)",
            size.instances
        ),
    })?;
    Ok((engine, size))
}

fn config(options: &RuntimeOptions, size: PoolSize) -> Config {
    let n = size.instances;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(n)
        .total_core_instances(n.saturating_mul(options.max_core_instances_per_component))
        .max_core_instances_per_component(options.max_core_instances_per_component)
        .total_memories(n.saturating_add(n / 2))
        .total_tables(n.saturating_mul(4))
        .max_tables_per_module(4)
        .total_stacks(n.saturating_mul(2))
        .total_gc_heaps(n.min(100))
        .max_unused_warm_slots(size.warm)
        .linear_memory_keep_resident(size.keep_memory)
        // Where the kernel can tell which pages a guest wrote (Linux 6.7), only those are wiped, not
        // all that stays with the slot: a third of a small request's time.
        .pagemap_scan(Enabled::Auto)
        .table_keep_resident(KEEP_TABLE.min(size.keep_memory))
        .async_stack_keep_resident(KEEP_STACK);
    let mut config = Config::new();
    config
        .allocation_strategy(pool)
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
    config
}

/// A name for compiled code that fits this engine, for the cache.
pub(super) fn fingerprint(engine: &Engine) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Advances the engine's epoch while calls run, so that guests give way and deadlines hold.
pub(super) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    running: AtomicUsize,
    stop: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> Result<Self, RuntimeError> {
        let state = Arc::new(TickerState::default());
        let (engine, shared) = (engine.weak(), Arc::clone(&state));
        let tick = move || {
            let mut last_busy = Instant::now();
            while !shared.stop.load(Ordering::Relaxed) {
                let Some(engine) = engine.upgrade() else {
                    return;
                };
                engine.increment_epoch();
                drop(engine);
                if shared.running.load(Ordering::Acquire) > 0 {
                    last_busy = Instant::now();
                } else if last_busy.elapsed() > LINGER {
                    std::thread::park();
                    last_busy = Instant::now();
                }
                std::thread::park_timeout(TICK);
            }
        };
        let thread = std::thread::Builder::new()
            .name("epoch".into())
            .spawn(tick)
            .map_err(|error| RuntimeError::Engine {
                reason: error.to_string(),
            })?;
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    /// Keeps the clock ticking until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Ticking {
        if self.state.running.fetch_add(1, Ordering::AcqRel) == 0
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
        Ticking(Arc::clone(self))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

/// A call runs.
pub(super) struct Ticking(Arc<Ticker>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.state.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_fits_the_memory() {
        for (case, memory, wanted, instances) in [
            ("a small edge machine", 512 << 20, None, 256),
            ("a tiny one gets the least", 64 << 20, None, 64),
            ("a server gets the most", 64 << 30, None, 2_000),
            ("an option wins", 512 << 20, Some(10), 10),
        ] {
            let size = PoolSize::fit(memory, wanted);
            assert_eq!(size.instances, instances, "{case}");
            let kept = u64::from(size.instances) * size.keep_memory as u64;
            assert!(
                kept <= memory / 3,
                "{case}: {kept} bytes stay with unused slots"
            );
        }
    }

    #[test]
    fn a_pool_that_does_not_fit_is_an_error_and_no_fallback() {
        let options = RuntimeOptions {
            pool_instances: Some(1_000_000),
            ..RuntimeOptions::default()
        };
        let Err(error) = build(&options) else {
            panic!("a pool of 4 PiB was made")
        };
        assert!(error.to_string().contains("1000000 instances"), "{error}");
    }
}
