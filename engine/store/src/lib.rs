//! The storage of Heddle: implementations of the runtime's port [`Store`](heddle_runtime::ports::Store).
//!
//! [`SqliteJournal`] is the default. It keeps everything in one SQLite file. [`PostgresStore`] keeps everything in a
//! PostgreSQL database (`postgres/mod.rs`). [`MemoryJournal`] is for tests: it loses everything with the process, checks its
//! caller more strictly, and lets a test hold back or fail writes. All pass the same contract suite
//! (`tests/store/contract`). No other crate names a database.
//!
//! # Tables of the SQLite store
//!
//! | table | a row is | key |
//! |---|---|---|
//! | `runs` | a run as lists show it: graph, status, times, priority, group and its limit, origin, error | run id |
//! | `events` | a chunk of a run's event records as JSON, with a checksum; rows are only added and deleted | row id; index on run and event number |
//! | `snapshots` | a run's state at one of its events, with a checksum | run and event number |
//! | `requests` | an answered request with its idempotency key | scope (run or none) and key |
//! | `graphs` | a graph definition and the functions that its names resolved to | position; unique graph id |
//! | `plugins` | a component with its name, version and digest | position; unique digest |
//! | `schedules`, `policies`, `secrets` | a text by name | name |
//! | `trash` | the id of a deleted run whose events and snapshots still use disk space | run id |
//!
//! # From an append to the commit
//!
//! 1. [`Journal::append`](heddle_runtime::ports::Journal::append) runs on the caller's thread. It checks the append by
//!    itself (`append.rs`), encodes the events (`codec.rs`) and sends a job to the writer thread (`sqlite/job.rs`).
//! 2. The writer thread (`sqlite/writer.rs`) owns the only connection that writes. It takes everything that has arrived
//!    since its last commit, up to a limit in jobs and bytes.
//! 3. `sqlite/batch.rs` checks that each append continues the journal of its run, groups the appends by run, and writes
//!    them in one transaction. So all waiting runs share the cost of one disk sync.
//! 4. After the commit, the writer thread calls each append's ack with the number of its last event.
//!
//! If the disk cannot be written, the jobs stay in the queue in their order and the writer tries again; appends that
//! begin a run fail at once. If one append cannot be written for good, it is refused alone.
//!
//! Reads (`sqlite/read.rs`, `sqlite/list.rs`) use other connections on blocking threads and see committed data only.
//! Deleting runs (`sqlite/deletion_queue.rs`) hides them at once and frees their space in small steps between commits.
//!
//! # Migrations
//!
//! The format of a store is the number of its last migration in `migrations/`. Opening an older store runs the missing
//! migrations in one transaction; a newer store is refused. A released migration never changes, not even in a comment,
//! because its checksum is stored. To change the format, add `migrations/V<n>__<name>.sql`, increase `FORMAT` in
//! `sqlite/open.rs`, and add a golden file (`tests/golden/README.md`). PostgreSQL has its own migrations in
//! `migrations-postgres/`, and its own `FORMAT` in `postgres/schema.rs`.
//!
//! # What this crate never does
//!
//! - It never decides what happens to a run, and never reads the meaning of an event beyond the checks of an append.
//!   [`maintenance::check`] is the exception: it folds the events to verify them.
//! - It never acknowledges an append before the data is synced to the disk.
//! - It never changes or reorders a stored event.
//! - It never lets two processes write one file: a lock file beside the store prevents that. In PostgreSQL, every write
//!   checks the row of its engine.

mod append;
mod codec;
pub mod maintenance;
mod memory;
mod postgres;
mod prepared;
mod sqlite;

pub use memory::MemoryJournal;
pub use postgres::{
    OpenError as PostgresOpenError, PostgresSettings, PostgresStore, Target as PostgresTarget,
};
pub use sqlite::{OpenError, SqliteJournal, SqliteSettings};
