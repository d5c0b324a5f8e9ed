//! The kernel's rules as text: scripts of what happens, and the events that must follow.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

mod failures;
mod line;
mod maps;
mod parallel;
mod script;
mod subgraphs;
mod waits;
