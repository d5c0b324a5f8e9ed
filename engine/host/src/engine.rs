//! The wasmtime engine: how code is compiled, the pools of instances, and the epoch thread that ends calls at their
//! deadline.
//!
//! Every instance takes its memory, tables and stack from pools that are reserved once, so a fresh instance for each
//! call costs microseconds. This file is independent of the contract.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::{policy::MEMORY_CEILING, scan::limits, slots::Pools};

/// The length of an epoch: how often a long call yields, and how late a deadline may be noticed.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// The most elements of one table. The tables of large interpreters have about 10,000.
pub(crate) const TABLE_ELEMENTS: usize = 1 << 16;

/// How much of a memory is zeroed in place between two calls, rather than returned to the system: most calls touch
/// less, and then cost no page fault.
const KEEP_RESIDENT: usize = 256 << 10;

/// Builds the engine, with pools if the system can reserve them. With `metered`, code consumes fuel.
pub(crate) fn build(pools: Pools, metered: bool) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.consume_fuel(metered);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pools)));
    Engine::new(&config).or_else(|error| {
        tracing::warn!(
            "instances are created on demand, which is slower, since their pools could not be reserved: {error:#}"
        );
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })
}

/// Builds an engine that only compiles, for an engine of [`build`]: both produce the same code.
pub(crate) fn for_compiling(metered: bool) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.consume_fuel(metered);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    Engine::new(&config)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .memory_init_cow(true)
        .memory_reservation(MEMORY_CEILING as u64)
        .epoch_interruption(true)
        // The same call gives the same bits on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // A failure is explained by the guest's last error lines and the cause of the trap. Code addresses are not
        // used, so they are neither stored nor registered.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// The pools have room for every call that may be active, with every call nested in it (see `slots`). They reserve
/// address space; memory is used only by slots in use.
fn pooling(pools: Pools) -> PoolingAllocationConfig {
    let Pools {
        calls,
        memories,
        tables,
    } = pools;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut pools = PoolingAllocationConfig::new();
    pools
        .total_component_instances(number(calls))
        .total_stacks(number(calls))
        // Core instances have no slots: a component's number of them is limited when it is registered.
        .total_core_instances(u32::MAX)
        .total_memories(number(memories))
        .total_tables(number(tables))
        .max_tables_per_module(8)
        .max_memories_per_module(4)
        // The scan applies the same limits before compiling; here they apply to code from the cache.
        .max_core_instances_per_component(per_component(&limits::CORE_INSTANCES))
        .max_memories_per_component(per_component(&limits::MEMORIES))
        .max_tables_per_component(per_component(&limits::TABLES))
        .table_elements(TABLE_ELEMENTS)
        // The limit of each call bounds its memory: a policy may allow one plugin more than others.
        .max_memory_size(MEMORY_CEILING)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);
    pools
}

fn per_component(limit: &limits::Limit) -> u32 {
    limit.most.try_into().unwrap_or(u32::MAX)
}

/// Advances the engine's epoch while calls are active, and parks when there are none.
///
/// It has a separate thread, since computing guests may occupy all threads of the runtime.
pub(crate) struct EpochTicker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
    wake: Thread,
}

struct TickerState {
    calls: AtomicUsize,
    resting: AtomicBool,
    stopped: AtomicBool,
}

/// The epoch advances for as long as this guard lives.
pub(crate) struct EpochGuard<'a>(&'a TickerState);

impl EpochTicker {
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState {
            calls: AtomicUsize::new(0),
            resting: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let ticks = shared.clone();
        let thread = thread::Builder::new()
            .name("heddle-epoch".to_owned())
            .spawn(move || ticks.run(&engine))?;
        let wake = thread.thread().clone();
        Ok(Self {
            shared,
            thread: Some(thread),
            wake,
        })
    }

    pub(crate) fn start_ticking(&self) -> EpochGuard<'_> {
        self.shared.calls.fetch_add(1, SeqCst);
        // This load comes after the count is raised, and the thread loads the count after it sets `resting`: at least
        // one of the two sees the other's store.
        if self.shared.resting.load(SeqCst) {
            self.wake.unpark();
        }
        EpochGuard(&self.shared)
    }
}

impl TickerState {
    /// How many epochs without a call pass before the thread parks: waking the thread costs a call more than an epoch
    /// costs.
    const PATIENCE: u32 = 50;

    fn run(&self, engine: &Engine) {
        let mut idle = 0;
        while !self.stopped.load(SeqCst) {
            idle = if self.calls.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < Self::PATIENCE {
                thread::sleep(TICK);
                engine.increment_epoch();
                continue;
            }
            self.resting.store(true, SeqCst);
            while self.calls.load(SeqCst) == 0 && !self.stopped.load(SeqCst) {
                thread::park();
            }
            self.resting.store(false, SeqCst);
            idle = 0;
        }
    }
}

impl Drop for EpochGuard<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.wake.unpark();
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps, parks and counts, so it cannot have panicked.
            let _ = thread.join();
        }
    }
}
