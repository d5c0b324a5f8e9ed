//! The ports: what the runtime needs from its surroundings.
//!
//! - [`Journal`] stores runs, graphs, plugins, policies and schedules (`journal.rs`, rows in `rows.rs`).
//! - [`Functions`] registers components and calls their functions (`functions.rs`).
//! - [`Clock`] and [`Ids`] make time and ids arguments, so that tests can control both.
//! - [`Archive`] receives exports of runs before retention deletes the runs.

mod errors;
mod functions;
mod journal;
mod list;
mod rows;

use futures_util::{future::BoxFuture, stream::BoxStream};
use heddle_kernel::{RunId, Timestamp};

pub use self::{errors::*, functions::*, journal::*, list::*, rows::*};

/// The port to the system clock.
pub trait Clock: Send + Sync + 'static {
    /// The current time, in milliseconds since 1970 (UTC).
    fn now(&self) -> Timestamp;
    /// Waits until the clock shows `at`. May return earlier, so callers check the clock again.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// Generates ids.
pub trait Ids: Send + Sync + 'static {
    /// A new, unique run id.
    fn run_id(&self) -> RunId;
}

/// The pieces of an export. The stream ends after an error.
pub type Pieces = BoxStream<'static, Result<Vec<u8>, ReadError>>;

/// Stores exports of runs before retention deletes the runs.
pub trait Archive: Send + Sync + 'static {
    /// Stores the export of a run durably, replacing an existing export of that run. If `export` yields an error, the run
    /// could not be read, and the archive stores nothing.
    ///
    /// The returned error is a message for the operator.
    fn put(&self, run: RunId, export: Pieces) -> BoxFuture<'_, Result<(), String>>;
}
