//! What the runtime needs of the world: a journal, functions, a clock and ids.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use heddle_kernel::{
    Answer, Digest, Failure, FunctionKind, GraphId, Json, Level, Object, Recorded, RunError, RunId, Status,
    Timestamp, event::FunctionRef, graph::Bounds,
};

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

/// Takes the exports of runs before they are forgotten.
pub trait Archive: Send + Sync + 'static {
    /// Keeps the export of a run, for good when this answers. Of one that is there the new one stays.
    ///
    /// The error is for whoever runs the engine.
    fn put(&self, run: RunId, export: Vec<u8>) -> BoxFuture<'_, Result<(), String>>;
}

// ---------------------------------------------------------------------------------- journal

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

    /// Makes a graph durable, if it is new; of one that is there, only what its functions are, where that
    /// is told. Answers whether it was new.
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The graph with this id.
    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// The newest graph (by `created_at`, then by insertion) with this name.
    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>>;
    /// Graphs, newest first; `after` is the `position` of the last one that was seen.
    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphRow)>, StoreError>>;

    /// The graphs whose functions are of this component, oldest first; at most `limit`.
    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphRow>, StoreError>>;

    /// The run with this id.
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>>;
    /// Runs that fit the filter, newest first by id, before `before`.
    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// The ids of every run that is running, oldest first. Those that are queued, wait or are paused are
    /// not among them.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// Every run that is queued: the one of the highest priority first, and of these the oldest.
    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>>;
    /// For every group that has one, how many of its runs are running, waiting or paused.
    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>>;
    /// Runs of any status that began before `before`, oldest first by id, after `after`; at most `limit`.
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
    ) -> BoxFuture<'_, Result<Vec<Arc<Recorded>>, StoreError>>;

    /// Makes a plugin's component durable. Keeping the same digest again may only raise
    /// `active` from false to true and takes over the name and version then.
    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// The component with this digest.
    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>>;
    /// Every plugin with `active` set, in the order in which they were first kept.
    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginRow>, StoreError>>;
    /// Forgets the component with this digest. Answers whether there was one.
    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Makes durable what a plugin is granted, instead of what was kept under its name.
    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets what the plugin with this name is granted. Answers whether there was anything.
    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// Every policy of a plugin, by its name.
    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>>;

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
    /// At least one event; the first follows the last of the append before.
    pub events: Vec<Arc<Recorded>>,
    /// How the run is left by these events.
    pub leaves: Leaves,
    /// Requests that are answered by these events.
    pub requests: Vec<Request>,
    /// The run as it is after these events, where it is time for a snapshot.
    pub snapshot: Option<RunSnapshot>,
    /// Who is told.
    pub ack: Arc<dyn Ack>,
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
pub enum Leaves {
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

impl Leaves {
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

/// A run as it is listed.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Its graph.
    pub graph: GraphId,
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

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only runs of this graph.
    pub graph: Option<GraphId>,
    /// Only runs with this status.
    pub status: Option<Status>,
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

// -------------------------------------------------------------------------------- functions

/// The functions that graphs and tools are made of.
pub trait Functions: Send + Sync + 'static {
    /// Registers a component: compiles it, has it describe itself, checks that, and only then
    /// makes it visible. The newest version of a name is the one that a bare reference finds.
    /// With `hidden` it can be called by digest and is neither listed nor found by name.
    fn register(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>>;
    /// Does all of a registration but making the component visible, and says what it would be, with what
    /// is granted under its name.
    fn inspect(&self, plugin: NewPlugin) -> BoxFuture<'_, Result<PluginInfo, RegisterError>>;
    /// Whether a component with this digest is registered, hidden or not.
    fn has(&self, digest: &Digest) -> bool;
    /// Takes the component with this digest out: it can be called no more. Answers whether it was there.
    fn remove(&self, digest: &Digest) -> bool;
    /// Every plugin that is not hidden, by name and then newest first, with pre-releases after the rest.
    fn plugins(&self) -> Vec<Arc<PluginInfo>>;
    /// Finds what a graph or a caller names: `plugin/function`, or `function` where exactly one plugin has it,
    /// of the newest version; with `@` and a version, a range of versions or a digest behind it, of the
    /// newest version that fits.
    fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError>;
    /// Whether the function's plugin was granted anything, so that a call may have an effect outside. Then
    /// the call is made when all that it follows from is durable. Where a plugin without grants calls a
    /// tool of one with grants, the implementation itself waits, by [`Call::durable`].
    fn is_granted(&self, function: &FunctionRef) -> bool;
    /// What the plugins of a name are granted, and who says so.
    fn policy(&self, name: &str) -> PluginPolicyInfo;
    /// Looks at what the plugins of a name would be granted by [`Functions::set_policy`].
    ///
    /// # Errors
    /// Why it would not be set.
    fn check_policy(&self, name: &str, body: Json) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Sets what the plugins of a name are granted, for every call that begins from here on; with none,
    /// nothing that was set stands any more.
    ///
    /// # Errors
    /// Why it was not set.
    fn set_policy(&self, name: &str, body: Option<Json>) -> BoxFuture<'_, Result<(), PolicyRefused>>;
    /// Looks at how a node narrows a function that it names, before its graph is created. The function may
    /// not be there: then what can be told without it is.
    ///
    /// # Errors
    /// Each thing that is wrong, with its JSON pointer from the node on, as in `/limits/memory`.
    fn check_bounds(
        &self,
        uses: &str,
        limits: Option<&Json>,
        grants: Option<&Json>,
    ) -> Result<(), Vec<(String, String)>>;
    /// Calls a node function or a tool as a node: a fresh instance, within the limits. A mapped
    /// input is checked against the function's schema first; one that does not fit is a failure
    /// of kind `InvalidInput`, and the function is not called.
    fn call(&self, call: Call) -> BoxFuture<'_, Result<Answer, Failure>>;
    /// Calls a tool with an input, which is checked against the tool's schema first.
    fn call_tool(&self, call: ToolCall) -> BoxFuture<'_, Result<Json, Failure>>;
}

/// What the plugins of a name are granted.
#[derive(Clone, Debug)]
pub struct PluginPolicyInfo {
    /// Who says so.
    pub source: PolicySource,
    /// What is said of them, as the implementation reads it.
    pub body: Option<Json>,
    /// What that grants, a line for each grant.
    pub grants: Vec<String>,
}

/// Who says what a plugin is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicySource {
    /// The policy that the implementation was started with.
    File,
    /// Whoever set it while it runs.
    Set,
    /// Nobody: nothing is granted.
    Nobody,
}

/// Why what a plugin is granted was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefused {
    /// The policy that the implementation was started with names the plugin.
    #[error("the policy file says what plugin `{0}` is granted: change it there, and start the server again")]
    Fixed(String),
    /// It cannot be read, or grants what is not there.
    #[error("{0}")]
    Invalid(String),
}

/// A component to register.
pub struct NewPlugin {
    /// The component's bytes.
    pub component: Arc<[u8]>,
    /// A name that stands before the one in the component.
    pub name: Option<String>,
    /// A version that stands before the one in the component.
    pub version: Option<String>,
    /// What to name it where the component has no name: a file's stem.
    pub fallback_name: Option<String>,
    /// Where its version is taken by another component, it gets one of its own that counts as newer:
    /// `1.2.0+` and the beginning of its digest.
    pub renumbered: bool,
    /// Callable by digest only.
    pub hidden: bool,
}

/// A registered plugin.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, a semantic version.
    pub version: Arc<str>,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The size of the component in bytes.
    pub size: u64,
    /// What it imports, as the component names it.
    pub imports: Vec<String>,
    /// What these imports mean, in the words of permissions: `clock`, `environment`, `files`, `http`,
    /// `random`, `sockets`, `tools`. Most toolchains import more than their guests use.
    pub asks: Vec<String>,
    /// Its functions.
    pub functions: Vec<FunctionInfo>,
    /// What it exports that could not be made a function, each with the reason.
    pub left_out: Vec<String>,
    /// What it is granted, a line for each grant.
    pub grants: Vec<String>,
    /// What the operator limits for it in place of the engine's own limits, a line for each.
    pub limits: Vec<String>,
}

/// The description of a function.
#[derive(Clone, Debug)]
pub struct FunctionInfo {
    /// Its name in the plugin.
    pub name: Arc<str>,
    /// Node function or tool.
    pub kind: FunctionKind,
    /// What it does, in one line.
    pub summary: String,
    /// JSON Schema of what it takes.
    pub input: Json,
    /// JSON Schema of what it gives.
    pub output: Json,
    /// JSON Schema of the node's `config`.
    pub config: Option<Json>,
    /// It changes nothing outside of itself.
    pub read_only: bool,
    /// Calling it again with the same input has no further effect.
    pub idempotent: bool,
    /// The nodes that it may name.
    pub routes: Vec<String>,
}

/// What a name was found to be.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The exact function.
    pub function: FunctionRef,
    /// Its description.
    pub info: FunctionInfo,
}

/// Why a name was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No plugin has it.
    #[error("no registered plugin has a function `{uses}`{}", hint(.similar))]
    Unknown {
        /// The name.
        uses: String,
        /// Names that are near it.
        similar: Vec<String>,
    },
    /// What stands behind the `@` is no version.
    #[error("`{uses}`: {problem}")]
    Version {
        /// The name.
        uses: String,
        /// What is wrong with its version, and what to write.
        problem: String,
    },
    /// A plugin has it, and no version of that plugin that fits.
    #[error("no version of `{plugin}` with that function fits `{uses}`: there is {}", .versions.join(", "))]
    NoVersion {
        /// The name.
        uses: String,
        /// The plugin.
        plugin: String,
        /// Its versions, newest first.
        versions: Vec<String>,
    },
    /// Several plugins have it.
    #[error("several plugins have a function `{uses}`: say which with `uses`: {}", .candidates.join(", "))]
    Ambiguous {
        /// The name.
        uses: String,
        /// Every `plugin/function` that it could be.
        candidates: Vec<String>,
    },
}

fn hint(similar: &[String]) -> String {
    match similar {
        [] => "; `GET /v1/plugins` lists what there is".to_owned(),
        names => format!("; did you mean {}?", names.join(" or ")),
    }
}

/// One call of a function as a node.
pub struct Call {
    /// The exact function.
    pub function: FunctionRef,
    /// What it is given: the state as the branch sees it, or what the node's `input` made of it.
    pub input: Object,
    /// Whether the node's `input` made it.
    pub mapped: bool,
    /// The node's `config`.
    pub config: Json,
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: Arc<str>,
    /// The step.
    pub step: u64,
    /// The attempt.
    pub attempt: u32,
    /// How long this attempt may take, from when the function is called: the node's `timeout`.
    /// Where the operator's limit is smaller, that one stands.
    pub timeout: Option<Duration>,
    /// How the graph narrows what the function may use up and do: checked when the graph was created, and
    /// the same `Arc` for every call of the node as long as the graph is at hand.
    pub bounds: Option<Arc<Bounds>>,
    /// When the step's first attempt began: what an ungranted clock shows.
    pub started_at: Timestamp,
    /// What to wait for before something outside is done for the call: all that it follows from is durable.
    pub durable: Arc<dyn Durable>,
    /// Who is told of what the function writes.
    pub sink: Arc<dyn Sink>,
}

/// Says when what a call follows from is durable.
pub trait Durable: Send + Sync {
    /// Waits for it. False where it never will be: then nothing may be done for the call.
    fn wait(&self) -> BoxFuture<'_, bool>;
}

/// For a call that follows from nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct FollowsFromNothing;

impl Durable for FollowsFromNothing {
    fn wait(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// One call of a tool, outside of a run.
pub struct ToolCall {
    /// The exact function: a tool.
    pub function: FunctionRef,
    /// Its input.
    pub input: Json,
    /// What an ungranted clock shows.
    pub started_at: Timestamp,
    /// Who is told of what the tool writes.
    pub sink: Arc<dyn Sink>,
}

/// Takes what a function writes while it is called. Called from the guest's thread: it must not block.
pub trait Sink: Send + Sync {
    /// A log line, or a line on stdout (info) or stderr (warn).
    fn log(&self, level: Level, message: &str);
    /// A chunk for whoever watches now.
    fn emit(&self, chunk: Json);
}

/// Why a component was refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The bytes are no component, or one that cannot be a plugin.
    #[error("{0}")]
    Refused(String),
    /// A component with this name and version and another content is registered.
    #[error(
        "plugin {name}@{version} is registered with another content (sha256 {registered}): raise the version"
    )]
    VersionTaken {
        /// The name.
        name: String,
        /// The version.
        version: String,
        /// The digest of the one that has it.
        registered: Digest,
    },
}
