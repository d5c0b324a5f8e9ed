//! The ports: what the runtime needs from its surroundings.
//!
//! - [`Store`] is everything that survives a restart. It has four parts: [`Journal`] (runs and events), [`Catalog`]
//!   (graphs and plugins), [`Configuration`] (policies, secrets and schedules) and [`Ownership`] (which engine executes
//!   which run). The rows are in `rows.rs`.
//! - [`Functions`] registers components and calls their functions (`functions.rs`).
//! - [`Clock`] and [`Ids`] make time and ids arguments, so that tests can control both.
//! - [`Archive`] receives exports of runs before retention deletes the runs.

mod catalog;
mod configuration;
mod errors;
mod functions;
mod journal;
mod list;
mod ownership;
mod rows;
mod store;

use futures_util::{future::BoxFuture, stream::BoxStream};
use heddle_kernel::{RunId, Timestamp};

pub use self::{
    catalog::*, configuration::*, errors::*, functions::*, journal::*, list::*, ownership::*, rows::*,
    store::*,
};

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
