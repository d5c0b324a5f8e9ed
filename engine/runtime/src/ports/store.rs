//! The storage port: everything that survives a restart.

use futures_util::future::BoxFuture;

use super::{Catalog, Configuration, Journal, Ownership, StoreError};

/// A store: the journal of runs, graphs and plugins, policies, secrets and schedules, and the ownership of runs.
///
/// Every implementation passes the same contract suite.
pub trait Store: Journal + Catalog + Configuration + Ownership {
    /// Whether writes succeed. The error is the one that blocks them.
    fn health(&self) -> Result<(), StoreError>;
    /// Waits until all appends are durable, then stops writing.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
