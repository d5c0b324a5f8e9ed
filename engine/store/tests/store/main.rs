//! What a journal promises, held against every implementation, and what only SQLite can show.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[macro_use]
mod world;

mod contract;
mod crash;
mod damage;
mod forgetting;
mod golden;
mod lists;
mod memory;
mod size;
mod sqlite;
mod steering;
mod upgrade;
mod waiting;
