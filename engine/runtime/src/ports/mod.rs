//! What the runtime needs of the world: a journal, functions, a clock and ids.

mod functions;
mod list;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{future::BoxFuture, stream::BoxStream};
use heddle_json::{Json, object::clip};
use heddle_kernel::{
    Digest, Event, EventRecord, GraphId, RunError, RunId, Status, Timestamp, event::FunctionRef,
};

pub use self::{functions::*, list::*};
use crate::answer::ReadError;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
    /// Waits until the clock shows this time, or for a while: whoever waits looks at the clock again.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}

/// Makes ids.
pub trait Ids: Send + Sync + 'static {
    /// An id that no run has had.
    fn run_id(&self) -> RunId;
}

/// An export in pieces.
pub type Pieces = BoxStream<'static, Result<Vec<u8>, ReadError>>;

/// Takes the exports of runs before they are forgotten.
pub trait Archive: Send + Sync + 'static {
    /// Keeps the export of a run, which comes in pieces, for good when this answers. Of one that is there the new one
    /// stays. An error among the pieces means that the run cannot be read, and nothing of it is kept.
    ///
    /// The error is for the operator.
    fn put(&self, run: RunId, export: Pieces) -> BoxFuture<'_, Result<(), String>>;
}

/// Keeps graphs, runs, their events and the plugins that were registered, across crashes.
///
/// Reads see only what is durable. Every implementation passes the same contract suite.
pub trait Journal: Send + Sync + 'static {
    /// Takes events to be made durable, and answers at once.
    ///
    /// Appends of one run become durable in the order in which they were made, each as a whole;
    /// `append.ack` is told when. Appends of many runs share a commit. While the store cannot
    /// write (a full disk), appends wait in order and those that begin a run fail.
    fn append(&self, append: Append);

    /// The latest snapshot of a run of an event up to `until`, if there is one.
    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>>;
    /// What was answered to a request with this key: for a start without `run`, else for what was sent to
    /// that run.
    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>>;

    /// Makes a graph durable, if it is new; of one that is there, only what its functions are, where that is told, and
    /// its name with `created_at`, where it had none. Answers whether it was new.
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The graph with this id.
    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// The newest graph (by `created_at`, then by insertion) with this name.
    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// Graphs, newest first, without their definitions; `after` is the `position` of the last one that was seen.
    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>>;

    /// The graphs whose functions are of this component, oldest first; at most `limit`.
    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>>;
    /// The graphs whose definitions name this graph, a name or an id, oldest first; at most `limit`.
    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>>;
    /// A run with an event that names this graph, among the events that were kept after the position `after`. Answers how
    /// far it looked, too. It reads all of these events.
    fn run_naming(
        &self,
        graph: &GraphId,
        after: i64,
    ) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>>;
    /// Forgets the graph with this id. Answers whether there was one.
    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// How many graphs and components are kept, and how many bytes they take.
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;

    /// The run with this id.
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>>;
    /// Runs that fit the filter, each as [`RunRow::listed`] shortens it, newest first, from after `before` in that order: those that began earlier, and of
    /// those that began at the same time the ones with a lower id.
    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// The ids of every run that is running, oldest first. Those that are queued, wait or are paused are
    /// not among them.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// Every run that is queued: the one of the highest priority first, and of these the oldest.
    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>>;
    /// For every group that has one, how many of its runs are running, waiting or paused.
    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>>;
    /// Runs of any status that began before `before`, each as [`RunRow::listed`] shortens it, oldest first by id, after
    /// `after`; at most `limit`.
    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// Forgets runs that are over, with all that belongs to them. They are gone at once and for good when
    /// this answers; the room that they took is freed bit by bit afterwards, between other writes.
    /// Those that are not over, or not there, are left alone. Answers how many were forgotten.
    fn forget(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>>;
    /// Waiting runs whose time has come at `now`, the earliest time first and then by id; at
    /// most `limit` of them. A run is given again until an append of it is durable.
    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// The earliest time at which a waiting run is due, past or to come. None where none waits
    /// for a time.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;
    /// Events of a run with a number above `after`, in order; at most `limit` of them, and
    /// fewer where they are large. None only where no such event is durable.
    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>>;

    /// Makes a plugin's component durable. Keeping the same digest again may only raise
    /// `active` from false to true and takes over the name and version then.
    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The component with this digest.
    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>>;
    /// Every plugin with `active` set, without its component, in the order in which they were first kept.
    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>>;
    /// Forgets the component with this digest. Answers whether there was one.
    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Makes durable what a plugin is granted, instead of what was kept under its name.
    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets what the plugin with this name is granted. Answers whether there was anything.
    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Every policy of a plugin, by its name.
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>>;

    /// Makes a secret of the engine durable, instead of the one with its name.
    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The secret of the engine with this name. No export, list or copy of the store has it.
    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>>;

    /// Makes a schedule durable, instead of the one with its name.
    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets the schedule with this name. Answers whether there was one.
    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Every schedule, by name.
    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>>;

    /// Whether writes go through: the error that holds them up, where one does.
    fn health(&self) -> Result<(), StoreError>;
    /// Waits until everything appended so far is durable, and stops writing.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Events of one run, to be made durable together.
pub struct Append {
    /// The run.
    pub run: RunId,
    /// Set on a run's first append.
    pub begins: Option<NewRun>,
    /// Set where the run is over and is changed even so: one that failed is retried or upgraded. Without
    /// it, an append to a run that is over is refused.
    pub reopens: bool,
    /// At least one event; the first follows the last of the append before. With a `RunUpgraded` among them, the
    /// run is listed under the graph that the last one names.
    pub events: Vec<Arc<EventRecord>>,
    /// How the run is left by these events.
    pub disposition: RunDisposition,
    /// Requests that are answered by these events.
    pub requests: Vec<Request>,
    /// The run as it is after these events, where it is time for a snapshot.
    pub snapshot: Option<RunSnapshot>,
    /// Who is told.
    pub ack: Arc<dyn Ack>,
}

impl Append {
    /// The graph that the run is upgraded to by these events.
    pub fn upgraded_to(&self) -> Option<&GraphId> {
        self.events
            .iter()
            .rev()
            .find_map(|recorded| match &recorded.event {
                Event::RunUpgraded { graph, .. } => Some(graph),
                _ => None,
            })
    }
}

/// The row of a run that begins.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its graph.
    pub graph: GraphId,
    /// When it began.
    pub created_at: Timestamp,
    /// Which of the queued ones is taken up first: the one with the highest. 0 for most.
    pub priority: i32,
    /// The group that it counts in.
    pub group: Option<Arc<str>>,
    /// What started it, where that was no request of its own: `schedule:NAME`, `fork:RUN`, `import`.
    pub origin: Option<Arc<str>>,
}

/// How an append leaves its run.
#[derive(Clone, Debug)]
pub enum RunDisposition {
    /// It waits for its turn to begin.
    Queued,
    /// It goes on.
    Running,
    /// It waits for a time or a signal.
    Waiting(RunWait),
    /// It stands still.
    Paused,
    /// It is over.
    Over(RunEnd),
}

impl RunDisposition {
    /// The status of the run then.
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

/// A run that waits for its turn to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedRun {
    /// Its id.
    pub run: RunId,
    /// Its priority.
    pub priority: i32,
    /// The group that it counts in.
    pub group: Option<Arc<str>>,
}

/// Groups, each with how many of its runs have begun and are not over.
pub type GroupCounts = Vec<(Arc<str>, usize)>;

/// A run as text, at one of its events.
#[derive(Clone, Debug)]
pub struct RunSnapshot {
    /// The number of the event.
    pub seq: u64,
    /// What [`Run::snapshot`](heddle_kernel::Run::snapshot) gave.
    pub body: Json,
}

/// A request that was answered, and is answered the same when it is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The run that it was sent to; none where it started one.
    pub to: Option<RunId>,
    /// Its key, which its sender chose.
    pub key: Arc<str>,
    /// The digest of what was sent: the same key with something else is another request.
    pub digest: Digest,
    /// The run that it started, or was sent to.
    pub run: RunId,
    /// The number of the last event that it led to.
    pub seq: u64,
}

/// A schedule as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleRow {
    /// Its name.
    pub name: Arc<str>,
    /// What was asked for, and how far it came: JSON of the engine's own.
    pub body: Arc<str>,
}

/// What one plugin is granted, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// The plugin's name.
    pub name: Arc<str>,
    /// JSON of whoever grants it.
    pub body: Arc<str>,
}

/// A secret that the engine made for itself, such as a key. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub Arc<str>);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `Finished`, `Failed` or `Cancelled`.
    pub status: Status,
    /// When.
    pub at: Timestamp,
    /// Why it failed.
    pub error: Option<RunError>,
}

/// What a run waits for, of which nothing is held in memory meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunWait {
    /// The earliest time at which it is due; None where only a signal wakes it.
    pub until: Option<Timestamp>,
}

/// Is told what became of an append. Called from the store's own thread: it must not block.
pub trait Ack: Send + Sync {
    /// Every event of the run up to this number is durable.
    fn durable(&self, seq: u64);
    /// The append was given up; nothing of it is kept, and appends of the run that follow it fail too.
    fn failed(&self, error: AppendError);
}

/// Why an append was given up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The store cannot write now, and no run was begun.
    #[error("{0}")]
    Unavailable(StoreError),
    /// The events do not follow the last one that is durable: the run is not this engine's.
    #[error("the journal of run {run} is at another position: {message}")]
    Conflict {
        /// The run.
        run: RunId,
        /// What the store saw.
        message: String,
    },
    /// What is kept of the run, or of the place where it would be kept, is damaged: others go on.
    #[error("what the store keeps of run {run} is damaged: {message}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What the store saw.
        message: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A graph as it is kept.
#[derive(Clone, Debug)]
pub struct GraphRow {
    /// Its id.
    pub id: GraphId,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// The definition as it was written, compact.
    pub definition: Arc<str>,
    /// When it was created.
    pub created_at: Timestamp,
    /// What each function that it names was found to be when it was created last. Empty where it was
    /// created before that was kept.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
}

/// A graph in a list.
#[derive(Clone, Debug)]
pub struct GraphSummary {
    /// Its id.
    pub id: GraphId,
    /// Its name.
    pub name: Option<Arc<str>>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is kept for all runs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many graphs.
    pub graphs: u64,
    /// How many bytes their definitions take.
    pub graph_bytes: u64,
    /// How many components.
    pub plugins: u64,
    /// How many bytes these take.
    pub plugin_bytes: u64,
}

/// How many bytes the data of an error may take in a list, and its message.
pub const LISTED_ERROR_BYTES: usize = 16 << 10;

/// A run as it is listed.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its graph: the one that it began with, or the one that it was upgraded to last.
    pub graph: GraphId,
    /// The name of that graph, where it has one.
    pub graph_name: Option<Arc<str>>,
    /// What it does, or how it ended.
    pub status: Status,
    /// When it began.
    pub created_at: Timestamp,
    /// When it is due, where it waits for a time.
    pub wake_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// As in [`NewRun`].
    pub priority: i32,
    /// The group that it counts in.
    pub group: Option<Arc<str>>,
    /// What started it, where that was no request of its own.
    pub origin: Option<Arc<str>>,
    /// The number of its last durable event.
    pub last_seq: u64,
    /// Why it failed.
    pub error: Option<RunError>,
}

impl RunRow {
    /// The row as it stands in a list, where many are in memory together: the data of an error that takes more than
    /// [`LISTED_ERROR_BYTES`] is left out, and a message of more is cut.
    #[must_use]
    pub fn listed(mut self) -> Self {
        if let Some(error) = &mut self.error {
            shorten(&mut error.message, &mut error.data);
        }
        self
    }
}

/// Shortens an error for a list: its message is cut at [`LISTED_ERROR_BYTES`], and data of more is left out.
pub fn shorten(message: &mut Arc<str>, data: &mut Option<Json>) {
    if message.len() > LISTED_ERROR_BYTES {
        *message = format!("{}…", clip(message, LISTED_ERROR_BYTES)).into();
    }
    *data = data.take().filter(|data| data.get().len() <= LISTED_ERROR_BYTES);
}

/// A plugin in a list.
#[derive(Clone, Debug)]
pub struct PluginSummary {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
}

/// A plugin as it is kept.
#[derive(Clone)]
pub struct PluginRow {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// Its name.
    pub name: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Whether it is registered again at every start. Components from the plugins folder are
    /// kept only for the runs that hold to them.
    pub active: bool,
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// When it was first kept.
    pub added_at: Timestamp,
}

/// Why the store gave no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It may go well later: a full disk, a locked file.
    #[error("the store cannot write at the moment: {0}")]
    Unavailable(String),
    /// What is kept is damaged.
    #[error("the store holds something that it cannot read: {0}")]
    Damaged(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
}
