//! Tests of the storage: a contract that every implementation passes, and tests of each alone.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[macro_use]
mod world;

mod cluster;

mod contract;
mod control;
mod crash;
mod damage;
mod deletion;
mod golden;
mod lists;
mod memory;
mod postgres;
mod proxy;
mod shared;
mod size;
mod sqlite;
mod transfer;
mod upgrade;
mod waiting;
