//! Heddle's journal port: SQLite, and memory for tests.
//!
//! [`SqliteJournal`] keeps everything in one file and is the default; [`MemoryJournal`] keeps
//! nothing, is stricter with its caller, and lets a test hold durability back. Both pass one
//! contract suite. No database is named outside of this crate.

mod codec;
pub mod maintenance;
mod memory;
mod sqlite;

pub use memory::MemoryJournal;
pub use sqlite::{OpenError, SqliteJournal, SqliteSettings};
