//! Small functions for graphs without own code: set a key, count, fail, route,
//! use processor time, and a few tools for texts and numbers.
//!
//! The `config` of a node says what its function does, so that a graph shows the whole
//! example. Only `log` has an effect outside of the state.

mod flow;
mod number;
mod state;
mod tools;
