//! Attacks by requests: against who may call, and to take more than a request's share.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

mod connections;
mod graphs;
mod hosts;
mod raw;
