//! Small functions that make a graph runnable without writing any: set a key, count, fail, route,
//! burn time, and a few tools over texts and numbers.
//!
//! What a node function does is in its node's `config`, so that one graph tells the whole of an
//! example. None of them has an effect outside of the state, but for `log`.

mod flow;
mod number;
mod state;
mod tools;
