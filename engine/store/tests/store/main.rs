//! What a journal promises, held against every implementation, and what only SQLite can show.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod contract;
mod memory;
mod sqlite;
mod world;
