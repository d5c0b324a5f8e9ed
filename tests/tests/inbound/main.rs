//! Attacks by requests: against access rules, and to use more than a fair share of resources.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

mod connections;
mod graphs;
mod hosts;
mod raw;
