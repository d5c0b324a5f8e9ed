//! Runs plugins: the implementation of the runtime's port [`Functions`](heddle_runtime::ports::Functions).
//! Plugins are WebAssembly components. Each call of one of their functions gets a fresh instance in a
//! sandbox that has nothing but what the operator's policy grants.
//!
//! # A registration
//!
//! 1. `register.rs` reads the component's metadata (`component.rs`) and digest.
//! 2. `engines.rs` loads its machine code from the cache (`cache/`), or has a compiler process produce it
//!    (`compile/`). The compiler first scans the component for code that is too costly (`scan/`).
//! 3. `contract/` finds how the component is called: by a version of the WIT contract, or as a plain
//!    component whose exported functions have their own types (`plain/`).
//! 4. The component describes its functions in a sandbox; `describe.rs` checks the descriptions.
//! 5. `registry/` publishes the plugin. Readers use immutable snapshots of the registry.
//!
//! # A call
//!
//! 1. [`Host`] (`host.rs`) passes the call to `call.rs`, which finds the plugin in the registry.
//! 2. The call waits for its permits: those of its node and plugin (`policy/`), then its units of the pools
//!    that all plugins share fairly (`fair_pool.rs`, `slots.rs`).
//! 3. If the function has grants, the call waits until the events that it follows from are durable.
//! 4. `input.rs` checks the input against the function's schema, or converts it to typed values.
//! 5. `instance.rs` creates a store with a sandbox (`sandbox/`) and calls the function in a new instance.
//! 6. The guest's imports are implemented in `contract/` (log lines, chunks, tools) and `wasi/` (clocks,
//!    randomness, environment, files, HTTP). `policy/` decides what is granted, `outgoing/` sends HTTP
//!    requests, `output.rs` counts and passes on what the guest writes, `memory/` limits its memory, and
//!    `threads.rs` runs everything that may block.
//! 7. `instance.rs` returns the result. `failure.rs` turns a trap, a timeout or an exceeded limit into a
//!    failure that names the function and the limit.
//!
//! # What this crate never does
//!
//! It keeps no state of runs, writes no journal and makes no routing decisions: it receives and returns
//! plain data, and the same call without grants returns the same result, bit for bit. It grants nothing by
//! itself. It never retries a call. No other crate uses wasmtime, and no type of wasmtime is part of its
//! public interface.

mod allocator;
mod cache;
mod call;
mod compile;
mod component;
mod component_summary;
mod contract;
mod describe;
mod engine_config;
mod engines;
mod epoch_ticker;
mod error;
mod failure;
mod fair_pool;
mod host;
mod input;
mod instance;
mod lock;
mod memory;
mod metered_contract;
mod outgoing;
mod output;
mod plain;
mod policy;
mod register;
mod registry;
mod requested_permissions;
mod resident;
mod resources;
mod sandbox;
mod scan;
mod settings;
mod slots;
mod system_limits;
mod threads;
mod units;
mod wasi;
mod wasm_engine;

pub use allocator::give_large_blocks_back;
pub use cache::{CacheKey, CacheSettings};
pub use compile::{Compiler, compiler};
pub use component_summary::ComponentSummary;
pub use error::HostError;
pub use host::Host;
pub use policy::{Policy, PolicyError, Protected};
pub use resident::return_freed_memory;
pub use settings::HostSettings;
