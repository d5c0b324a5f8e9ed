//! The wasmtime engine: how code is compiled, where instances live, and the clock that ends
//! what runs too long.
//!
//! Every instance takes its memory, tables and stack from pools that are reserved once, so that
//! a fresh instance for each call costs microseconds. Nothing here knows the contract.

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

/// How often a call that runs on is made to yield, and how late a deadline may be noticed.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// How many elements one table may have. The tables of large interpreters have about 10,000.
pub(crate) const TABLE_ELEMENTS: usize = 1 << 16;

/// How much of a memory is wiped in place between two calls, rather than given back to the
/// system: most calls touch less, and then cost no page fault.
const KEEP_RESIDENT: usize = 256 << 10;

/// Builds the engine, with pools where the system can reserve them; with `metered`, code counts what it
/// computes.
pub(crate) fn build(pools: Pools, metered: bool) -> wasmtime::Result<Engine> {
    let mut config = config();
    config.consume_fuel(metered);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pools)));
    Engine::new(&config).or_else(|error| {
        tracing::warn!(
            "instances are made on demand, which is slower: their pools could not be reserved: {error:#}"
        );
        config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
        Engine::new(&config)
    })
}

/// Builds an engine that only compiles, for one that [`build`] makes: code is the same for both.
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
        // A guest's failure is told by its own last words and the trap's cause. Nothing reads
        // addresses, so nothing is stored or registered for them.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

/// The pools: room for every call that may be under way, with every call nested in it (see `slots`). What is
/// reserved is address space; memory is taken only by the slots that are used.
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
        // Core instances have no slots: how many a component has is limited when it is registered.
        .total_core_instances(u32::MAX)
        .total_memories(number(memories))
        .total_tables(number(tables))
        .max_tables_per_module(8)
        .max_memories_per_module(4)
        // The same limits hold before a component is compiled, and here for code that is in the cache.
        .max_core_instances_per_component(per_component(&limits::CORE_INSTANCES))
        .max_memories_per_component(per_component(&limits::MEMORIES))
        .max_tables_per_component(per_component(&limits::TABLES))
        .table_elements(TABLE_ELEMENTS)
        // What a memory may have is for each call's own limit: a policy may allow a plugin more than others.
        .max_memory_size(MEMORY_CEILING)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(16 << 10)
        .pagemap_scan(Enabled::Auto);
    pools
}

fn per_component(limit: &limits::Limit) -> u32 {
    limit.most.try_into().unwrap_or(u32::MAX)
}

/// Moves the engine's epoch on while calls are under way, and rests while none is.
///
/// A thread of its own: a guest that computes may hold every other one.
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

/// For as long as it lives, the epoch moves on.
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
        // Read after the count was raised, as the thread reads the count after it said that it
        // rests: one of the two sees the other.
        if self.shared.resting.load(SeqCst) {
            self.wake.unpark();
        }
        EpochGuard(&self.shared)
    }
}

impl TickerState {
    /// How many ticks without a call it takes to rest: waking the thread costs a call more than
    /// a tick does.
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
            // It only sleeps, parks and counts: it cannot have panicked.
            let _ = thread.join();
        }
    }
}
