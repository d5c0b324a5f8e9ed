//! The rows that the journal stores and returns: graphs, runs, plugins, policies and schedules.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, object::clip};
use heddle_kernel::{Digest, GraphId, RunError, RunId, Status, Timestamp, event::FunctionRef};

/// A graph as the store keeps it.
#[derive(Clone, Debug)]
pub struct GraphRow {
    /// The graph's id, derived from its definition.
    pub id: GraphId,
    /// The graph's name, if it has one.
    pub name: Option<Arc<str>>,
    /// The definition as compact JSON.
    pub definition: Arc<str>,
    /// When the graph was created.
    pub created_at: Timestamp,
    /// For each function that the graph names, the exact function that it resolved to when the graph was last created.
    /// Empty for a graph that was stored before functions were recorded.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
}

/// A graph in a list: without its definition.
#[derive(Clone, Debug)]
pub struct GraphSummary {
    /// The graph's id.
    pub id: GraphId,
    /// The graph's name, if it has one.
    pub name: Option<Arc<str>>,
    /// When the graph was created.
    pub created_at: Timestamp,
}

/// The totals of the stored graphs and components, for their limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of graphs.
    pub graphs: u64,
    /// The bytes of their definitions.
    pub graph_bytes: u64,
    /// The number of components.
    pub plugins: u64,
    /// The bytes of the components.
    pub plugin_bytes: u64,
}

/// The row with which a run is created.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// The graph that the run executes.
    pub graph: GraphId,
    /// When the run was created.
    pub created_at: Timestamp,
    /// The run's priority in the admission queue, from -100 to 100. Higher runs start first; the default is 0.
    pub priority: i32,
    /// The group whose limit the run counts toward.
    pub group: Option<Arc<str>>,
    /// How many runs of the group may be active, as the run's graph has it. Set if `group` is.
    pub group_limit: Option<u32>,
    /// What created the run, unless a client's start request did: `schedule:NAME`, `fork:RUN` or `import`.
    pub origin: Option<Arc<str>>,
}

/// The largest size in bytes of an error's data in a list, and of its message.
pub const LISTED_ERROR_BYTES: usize = 16 << 10;

/// The row of a run.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// The run's id.
    pub id: RunId,
    /// The graph that the run started with, or was last upgraded to.
    pub graph: GraphId,
    /// The name of that graph, if it has one.
    pub graph_name: Option<Arc<str>>,
    /// The run's status after its last durable event.
    pub status: Status,
    /// When the run was created.
    pub created_at: Timestamp,
    /// The run's next timer, if it is waiting for one.
    pub wake_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
    /// As in [`NewRun`].
    pub priority: i32,
    /// The group whose limit the run counts toward.
    pub group: Option<Arc<str>>,
    /// As in [`NewRun`].
    pub origin: Option<Arc<str>>,
    /// The number of the run's last durable event.
    pub last_seq: u64,
    /// Why the run failed.
    pub error: Option<RunError>,
}

impl RunRow {
    /// The row as lists return it, since a list holds many rows in memory. A longer error message is cut at
    /// [`LISTED_ERROR_BYTES`], and larger error data is removed.
    #[must_use]
    pub fn listed(mut self) -> Self {
        if let Some(error) = &mut self.error {
            shorten(&mut error.message, &mut error.data);
        }
        self
    }
}

/// Shortens an error for a list: cuts its message at [`LISTED_ERROR_BYTES`], and removes larger data.
pub fn shorten(message: &mut Arc<str>, data: &mut Option<Json>) {
    if message.len() > LISTED_ERROR_BYTES {
        *message = format!("{}…", clip(message, LISTED_ERROR_BYTES)).into();
    }
    *data = data.take().filter(|data| data.get().len() <= LISTED_ERROR_BYTES);
}

/// A run in the admission queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRun {
    /// The run's id.
    pub run: RunId,
    /// As in [`NewRun`].
    pub priority: i32,
    /// The group whose limit the run counts toward.
    pub group: Option<Arc<str>>,
    /// As in [`NewRun`]. `None` for a run that was stored before limits were recorded.
    pub group_limit: Option<u32>,
    /// The approximate size of the run's start event in bytes.
    pub bytes: u64,
}

/// For each group, the number of its runs that have started and not ended.
pub type GroupCounts = Vec<(Arc<str>, usize)>;

/// A run's state as JSON after one of its events.
#[derive(Clone, Debug)]
pub struct RunSnapshot {
    /// The number of the event.
    pub seq: u64,
    /// The result of [`Run::snapshot`](heddle_kernel::Run::snapshot).
    pub body: Json,
}

/// The stored result of a request with an idempotency key. The same request gets the same result again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The run that the request was sent to. `None` for a request that started a run.
    pub to: Option<RunId>,
    /// The idempotency key, chosen by the client.
    pub key: Arc<str>,
    /// The digest of the request's content. The same key with other content is another request.
    pub digest: Digest,
    /// The run that the request started or was sent to.
    pub run: RunId,
    /// The number of the last event that the request caused.
    pub seq: u64,
}

/// A schedule as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRow {
    /// The schedule's name.
    pub name: Arc<str>,
    /// The schedule and its progress, as the runtime's own JSON.
    pub body: Arc<str>,
}

/// The stored policy of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// The plugin's name.
    pub name: Arc<str>,
    /// The policy as JSON. The functions port defines its schema.
    pub body: Arc<str>,
}

/// A secret that the engine generated for itself, such as a key. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub Arc<str>);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A stored component in a list.
#[derive(Clone, Debug)]
pub struct PluginSummary {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The plugin's name.
    pub name: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
}

/// A plugin's component as the store keeps it.
#[derive(Clone)]
pub struct PluginRow {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The plugin's name.
    pub name: Arc<str>,
    /// The plugin's version.
    pub version: Arc<str>,
    /// Whether the component is registered again at every start. Components of the plugins folder are not: the store
    /// keeps them only for graphs and runs that are pinned to them.
    pub active: bool,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// When the component was first stored.
    pub added_at: Timestamp,
}
