//! The port to the stored graphs and plugins, which all runs share.

use futures_util::future::BoxFuture;
use heddle_kernel::{Digest, GraphId, RunId};

use super::{
    errors::StoreError,
    rows::{GraphRow, GraphSummary, PluginRow, PluginSummary, Usage},
};

/// Stores graphs and plugins across crashes. Reads return only durable data.
pub trait Catalog: Send + Sync + 'static {
    /// Stores a graph and returns whether it is new. If the graph exists, only its functions are replaced (unless
    /// `graph.functions` is empty), and its name and `created_at` are set if it had no name.
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The graph with this id.
    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// The newest graph with this name, by `created_at` and then by insertion.
    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// Graphs without their definitions, newest first, each with its position in the list. `after` is the position after
    /// which the page starts.
    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>>;

    /// At most `limit` graphs with a function of this component, oldest first.
    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>>;
    /// At most `limit` graphs whose definitions name the graph `graph` (a name or an id), oldest first.
    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>>;
    /// A run with an event that names this graph, and the position of the last event that was searched. Reads all events
    /// that were stored after the position `after`.
    fn run_naming(
        &self,
        graph: &GraphId,
        after: i64,
    ) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>>;
    /// Deletes the graph with this id. Returns whether it existed.
    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The totals of the stored graphs and components.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// Stores a plugin's component. If a component with this digest exists, `active` can only change from false to true;
    /// then the name and the version are replaced as well.
    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The component with this digest.
    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>>;
    /// All active plugins without their components, in the order in which they were first stored.
    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>>;
    /// Deletes the component with this digest. Returns whether it existed.
    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>>;
}
