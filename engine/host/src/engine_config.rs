//! The configuration of wasmtime's engine: how code is compiled, and the pools of instances.
//!
//! Every instance takes its memory, tables and stack from pools that are reserved once, so a fresh instance for each
//! call costs microseconds. This file is independent of the contract.

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::{policy::MEMORY_CEILING, scan::limits, slots::Pools};

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
