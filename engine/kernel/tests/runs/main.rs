//! The kernel's rules as scripts: inputs, and the expected events.
#![allow(clippy::unwrap_used)] // a test may panic

mod again;
mod branches;
mod by_key;
#[path = "../laws/calls.rs"]
mod calls;
mod control;
mod failures;
mod groups;
mod journal;
mod line;
mod maps;
mod memory;
mod outputs;
mod parallel;
mod script;
mod signals;
mod snapshots;
mod step_inputs;
mod steps;
mod subgraphs;
mod upgrades;
mod waits;
