//! Tests of the storage: a contract that every implementation passes, and tests of SQLite and memory alone.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[macro_use]
mod world;

mod contract;
mod control;
mod crash;
mod damage;
mod deletion;
mod golden;
mod lists;
mod memory;
mod size;
mod sqlite;
mod upgrade;
mod waiting;
