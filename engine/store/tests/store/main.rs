//! What a journal promises, held against every implementation, and what only SQLite can show.

mod contract;
mod memory;
mod sqlite;
mod world;
