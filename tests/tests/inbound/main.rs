//! Attacks by requests: against access rules, and to use more than a fair share of resources.
#![allow(clippy::unwrap_used)] // a test may panic

mod connections;
mod graphs;
mod hosts;
mod raw;
