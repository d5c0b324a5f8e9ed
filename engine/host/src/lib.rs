//! Heddle's functions port: plugins are wasm components, and each call of one of their functions
//! gets a fresh instance in a sandbox with nothing but what the operator's policy grants.
//!
//! [`Host`] implements [`Functions`](heddle_runtime::ports::Functions). This is the one crate that
//! names wasmtime. It holds no state of runs: what it is given and what it answers are plain data,
//! and a call that is made again with the same data does the same.

mod allocator;
mod available;
mod cache;
mod call;
mod compile;
mod component;
mod contract;
mod describe;
mod engine;
mod engines;
mod error;
mod failure;
mod fair_pool;
mod host;
mod input;
mod instance;
mod lock;
mod memory;
mod metered;
mod outgoing;
mod output;
mod plain;
mod policy;
mod register;
mod registry;
mod requested_permissions;
mod resources;
mod sandbox;
mod scan;
mod settings;
mod slots;
mod summary;
mod threads;
mod units;
mod wasi;
mod wasm_engine;

pub use allocator::give_large_blocks_back;
pub use cache::{CacheKey, CacheSettings};
pub use compile::{Compiler, compiler};
pub use error::HostError;
pub use host::Host;
pub use policy::{Policy, PolicyError, Protected};
pub use settings::HostSettings;
pub use summary::ComponentSummary;
