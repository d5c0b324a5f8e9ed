//! The storage port: the journal of runs, and everything else that survives a restart.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_kernel::{Digest, Event, EventRecord, GraphId, RunError, RunId, Status, Timestamp};

use super::{
    errors::{AppendError, StoreError},
    list::{RunFilter, RunPosition},
    rows::{
        GraphRow, GraphSummary, GroupCounts, NewRun, PluginRow, PluginSummary, PolicyRow, QueuedRun, Request,
        RunRow, RunSnapshot, ScheduleRow, SecretText, Usage,
    },
};

/// Stores graphs, runs, their events and registered plugins across crashes.
///
/// Reads return only durable data. Every implementation passes the same contract suite.
pub trait Journal: Send + Sync + 'static {
    /// Queues events to be made durable, and returns at once.
    ///
    /// The appends of one run become durable in order, each completely or not at all; then the store calls `append.ack`.
    /// Appends of many runs share a commit. While the store cannot write (for example on a full disk), appends wait in
    /// order, and appends that create a run fail.
    fn append(&self, append: Append);

    /// The latest snapshot of a run that was taken at or before the event `until`.
    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>>;
    /// The stored result of the request with this idempotency key: among requests to `run`, or among start requests if
    /// `run` is `None`.
    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>>;

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

    /// The row of the run with this id.
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>>;
    /// Runs that match the filter, newest first and then by descending id, starting after `before` in that order. Each
    /// row is shortened by [`RunRow::listed`].
    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// The ids of all runs with the status running, oldest first.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// All queued runs, by descending priority and then oldest first.
    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>>;
    /// For each group, the number of its runs that are running, waiting or paused. Groups without such runs are left out.
    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>>;
    /// At most `limit` runs of any status that were created before `before`, by ascending id, starting after the id
    /// `after`. Each row is shortened by [`RunRow::listed`].
    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// Deletes ended runs with everything that belongs to them, and returns how many were deleted. Runs that have not
    /// ended, or do not exist, are skipped. The deletion is durable when this returns; the store frees the disk space
    /// gradually afterwards, between other writes.
    fn delete_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>>;
    /// At most `limit` waiting runs whose timers are due at `now`, by due time and then by id. A run is returned again
    /// until an append of it is durable.
    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// The earliest timer of all waiting runs. It may have passed already.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;
    /// At most `limit` events of a run with a number above `after`, in order. Returns fewer if they are large, and none
    /// only if no such event is durable.
    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>>;

    /// Stores a plugin's component. If a component with this digest exists, `active` can only change from false to true;
    /// then the name and the version are replaced as well.
    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The component with this digest.
    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>>;
    /// All active plugins without their components, in the order in which they were first stored.
    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>>;
    /// Deletes the component with this digest. Returns whether it existed.
    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Stores a plugin's policy, replacing the one with the same plugin name.
    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Deletes the policy of the plugin with this name. Returns whether it existed.
    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// All stored policies, by plugin name.
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>>;

    /// Stores a secret of the engine, replacing the one with the same name.
    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The engine's secret with this name. Exports, lists and copies of the store do not contain secrets.
    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>>;

    /// Stores a schedule, replacing the one with the same name.
    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Deletes the schedule with this name. Returns whether it existed.
    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// All schedules, by name.
    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>>;

    /// Whether writes succeed. The error is the one that blocks them.
    fn health(&self) -> Result<(), StoreError>;
    /// Waits until all appends are durable, then stops writing.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Events of one run that become durable together.
pub struct Append {
    /// The id of the run that the events belong to.
    pub run: RunId,
    /// The row of a new run. Set on a run's first append only.
    pub begins: Option<NewRun>,
    /// Whether the append may change an ended run: a failed run is retried or upgraded. Otherwise an append to an ended
    /// run is refused.
    pub reopens: bool,
    /// At least one event. The first one follows the last event of the previous append. If events include
    /// `RunUpgraded`, the run is listed under the graph that the last of them names.
    pub events: Vec<Arc<EventRecord>>,
    /// The run's status after these events.
    pub disposition: RunDisposition,
    /// The requests whose results become durable with these events.
    pub requests: Vec<Request>,
    /// The run after these events, if a snapshot is due.
    pub snapshot: Option<RunSnapshot>,
    /// Receives the result of the append.
    pub ack: Arc<dyn Ack>,
}

impl Append {
    /// The graph that these events upgrade the run to.
    pub fn upgraded_to(&self) -> Option<&GraphId> {
        self.events.iter().rev().find_map(|record| match &record.event {
            Event::RunUpgraded { graph, .. } => Some(graph),
            _ => None,
        })
    }
}

/// A run's status after an append.
#[derive(Clone, Debug)]
pub enum RunDisposition {
    /// The run is in the admission queue.
    Queued,
    /// The run is running.
    Running,
    /// The run waits for a timer or a signal.
    Waiting(RunWait),
    /// The run is paused.
    Paused,
    /// The run has ended.
    Over(RunEnd),
}

impl RunDisposition {
    /// The status that the run is listed with.
    pub fn status(&self) -> Status {
        match self {
            Self::Queued => Status::Queued,
            Self::Running => Status::Running,
            Self::Waiting(_) => Status::Waiting,
            Self::Paused => Status::Paused,
            Self::Over(end) => end.status,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `Finished`, `Failed` or `Cancelled`.
    pub status: Status,
    /// When the run ended.
    pub at: Timestamp,
    /// Why the run failed.
    pub error: Option<RunError>,
}

/// The timer of a waiting run. The engine holds nothing of such a run in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunWait {
    /// When the run's earliest timer is due. `None` if only a signal resumes the run.
    pub until: Option<Timestamp>,
}

/// Receives the result of an append. The store calls it from its own thread, so it must not block.
pub trait Ack: Send + Sync {
    /// Every event of the run up to `seq` is durable.
    fn durable(&self, seq: u64);
    /// The append failed and nothing of it is stored. Later appends of the run fail too.
    fn failed(&self, error: AppendError);
}
