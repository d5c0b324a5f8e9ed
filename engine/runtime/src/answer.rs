//! What the engine answers: what was made, what there is, and why something was not done.

mod started;

pub use self::started::StartedRun;
use std::sync::Arc;

use heddle_json::{Json, Object};
use heddle_kernel::{
    Diagnostic, Digest, EventRecord, Failure, Graph, GraphId, Level, Refusal, Run, RunError, RunId, Severity,
    Status, Timestamp,
    run::{ActiveWait, BranchView, StepInput},
};

use crate::{
    checks::ChecksBusy,
    engine::Engine,
    live::Hold,
    plugins::Needs,
    ports::{PolicyRefused, RegisterError, ResolveError, StoreError},
};

/// What was found and taken up at the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many runs go on.
    pub runs: usize,
    /// How many runs are queued: they begin as places come free.
    pub queued: usize,
    /// Runs that cannot go on, each with the reason: their journals are damaged.
    pub damaged: Vec<(RunId, String)>,
    /// Kept plugins that could not be registered, each with the reason.
    pub plugins: Vec<(Arc<str>, String)>,
}

/// A graph that was created.
#[derive(Clone, Debug)]
pub struct CreatedGraph {
    /// The graph.
    pub graph: Arc<Graph>,
    /// What its check warns of.
    pub warnings: Vec<Diagnostic>,
    /// Whether it was not there before.
    pub new: bool,
}

/// That no more of something is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "with this one there would be {number} {what}, more than the limit of {limit} ({name}): delete some first"
)]
pub struct Full {
    /// What there is a limit of.
    pub what: &'static str,
    /// How many there would be.
    pub number: u64,
    /// How many there may be.
    pub limit: u64,
    /// The limit's name.
    pub name: &'static str,
}

/// Why a graph was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateGraphError {
    /// Its definition has errors.
    #[error("{}", summary(.0))]
    Invalid(Vec<Diagnostic>),
    /// There are as many graphs as there may be.
    #[error(transparent)]
    Full(#[from] Full),
    /// Too many checks are under way.
    #[error(transparent)]
    Busy(#[from] ChecksBusy),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No graph has this id or name.
    #[error("there is no graph `{0}`: create it with POST /v1/graphs")]
    NoSuchGraph(String),
    /// The graph cannot run now: a function that it needs is gone.
    #[error("the graph cannot run: {}", summary(.0))]
    Broken(Vec<Diagnostic>),
    /// The state is too large.
    #[error("the state takes {size} bytes, more than its limit of {limit} (max_state_bytes)")]
    TooLarge {
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Too many runs are queued.
    #[error("{limit} runs are queued, the limit (max_queued): try again in {retry_after_s} s")]
    Busy {
        /// The limit.
        limit: usize,
        /// In how many seconds a part of the queue is probably free.
        retry_after_s: u32,
    },
    /// The starts of the queued runs take too many bytes.
    #[error(
        "the starts of the queued runs take as many bytes as they may with this one, {limit} (max_queued_bytes): try again in \
         {retry_after_s} s"
    )]
    BusyBytes {
        /// The limit.
        limit: u64,
        /// As in `Busy`.
        retry_after_s: u32,
    },
    /// Too many checks of graphs are under way.
    #[error(transparent)]
    ChecksBusy(#[from] ChecksBusy),
    /// The group of the graph has no value for this state.
    #[error("the run's group (`limits.group`) cannot be told: {0}")]
    Group(Failure),
    /// The key was used for another request.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The engine is stopping.
    #[error("the engine is stopping and starts no more runs")]
    Draining,
    /// The start could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request with a key was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyError {
    /// Something else was sent with it before.
    #[error(
        "the key `{0}` was used for another request: a key stands for one request, and for what is sent with it"
    )]
    Reused(Arc<str>),
    /// The first request with it is being carried out.
    #[error("a request with the key `{0}` is being carried out: its answer will be this one's, too")]
    InFlight(Arc<str>),
}

/// A key by which a request that is sent again is known, and what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The key: its sender chose it.
    pub key: Arc<str>,
    /// The digest of what was sent.
    pub digest: Digest,
}

/// A run to start.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The graph: its id, or its name.
    pub graph: String,
    /// The state that the run begins with.
    pub state: Object,
    /// Which of the queued ones is taken up first: the one with the highest, from -100 to 100. What is outside
    /// of that is taken for the nearest.
    pub priority: i32,
    /// Set where the request may be sent again.
    pub key: Option<RequestKey>,
    /// What starts it, where that is no request of its own.
    pub origin: Option<Arc<str>>,
}

impl Start {
    /// A run of this graph on this state, and nothing special about it.
    pub fn of(graph: impl Into<String>, state: Object) -> Self {
        Self {
            graph: graph.into(),
            state,
            ..Self::default()
        }
    }
}

/// A run after one of its steps, or as it is while the step is under way. All of it is durable.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The step.
    pub step: u64,
    /// Its node.
    pub node: Arc<str>,
    /// How many attempts there were, until it was over or now.
    pub attempts: u32,
    /// Whether its outcome entered the state; else it is under way, failed, or was given up.
    pub finished: bool,
    /// What its latest attempt was given. `None` for the run's beginning, and where an expression of the node has no
    /// value: then the step failed with that.
    pub given: Option<StepInput>,
    /// How its latest attempt failed, where it did.
    pub failure: Option<Failure>,
    /// The number of the event by which it was over; of a step under way, of the run's last one.
    pub seq: u64,
    /// When its first attempt began.
    pub started_at: Timestamp,
    /// When it was over. `None` while it is under way.
    pub finished_at: Option<Timestamp>,
    /// The keys that it changed.
    pub update: Object,
    /// The run's state right after that event.
    pub state: Object,
}

/// Why a step could not be shown, or a run not be forked from it.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// It is not there, or not over.
    #[error(
        "run {run} has no step {step} that is over: it has begun {steps} steps, of which that one {what}"
    )]
    NoSuchStep {
        /// The run.
        run: RunId,
        /// The step.
        step: u64,
        /// How many were begun.
        steps: u64,
        /// What is the matter with it.
        what: &'static str,
    },
    /// Nothing can go on from there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A fork could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why a run was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no export, or a damaged one.
    #[error("this is no export of a run: line {line}: {message}")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Its events take more bytes than a run's may.
    #[error(
        "the events of the run take {bytes} bytes, more than the limit of a run's journal, {limit} (max_journal_bytes)"
    )]
    TooLarge {
        /// How many they take.
        bytes: u64,
        /// How many they may take.
        limit: u64,
    },
    /// At one of its events it holds more memory than a run may.
    #[error("the run holds more than {limit} bytes in memory, the limit (max_run_bytes)")]
    HoldsTooMuch {
        /// The limit.
        limit: usize,
    },
    /// There are as many graphs as there may be.
    #[error(transparent)]
    Full(#[from] Full),
    /// There is such a run.
    #[error("the run {0} is here already")]
    Known(RunId),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// It is not over.
    #[error("run {0} is not over: cancel it first")]
    NotOver(RunId),
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runs in memory hold as many bytes as they may, and this one is not among them.
    #[error(
        "the runs in memory hold as many bytes as they may, {limit} (max_memory_bytes): try again in a moment"
    )]
    Busy {
        /// The limit.
        limit: usize,
    },
    /// The run's journal makes no sense.
    #[error("the journal of run {run} is damaged: {message}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        message: String,
    },
}

impl ReadError {
    /// What came of reading this run: what the store cannot read for it is the run's own trouble.
    pub(crate) fn of_run(self, run: RunId) -> Self {
        match self {
            Self::Store(StoreError::Damaged(message)) => Self::Damaged { run, message },
            other => other,
        }
    }
}

/// A run as it is told: all of it is durable.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Its graph.
    pub graph: GraphId,
    /// The graph's name, where it has one.
    pub graph_name: Option<Arc<str>>,
    /// Whether it is over, and how.
    pub status: Status,
    /// Its state.
    pub state: Object,
    /// Its branches, where a graph that it runs has several; once it is over, those that there were then.
    pub branches: Vec<BranchView>,
    /// What its graph declares as its output, once it has finished.
    pub output: Option<Object>,
    /// Why it failed.
    pub error: Option<RunError>,
    /// The number of its last event.
    pub last_seq: u64,
    /// How many steps were begun.
    pub steps: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The nodes that it is at.
    pub nodes: Vec<Arc<str>>,
    /// What it waits for, where it waits for a signal or for time to pass.
    pub waits: Vec<ActiveWait>,
    /// The steps that were begun and are neither over nor given up, in order.
    pub under_way: Vec<u64>,
}

/// Some of a run's events. All of them are durable.
#[derive(Clone, Debug)]
pub struct Page {
    /// The events, in order.
    pub events: Vec<Arc<EventRecord>>,
    /// Whether the run is over and nothing follows them: it may still be retried later, where it failed.
    pub over: bool,
}

/// Why something that was sent to a run was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No run has this id.
    #[error("there is no run {0}")]
    NoSuchRun(RunId),
    /// The run does not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key was used for another request.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The versions to upgrade to cannot be had.
    #[error(transparent)]
    Upgrade(StartError),
    /// The run cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The engine is stopping, or could not keep it.
    #[error("it was not taken, since {0}: send it again later")]
    Unavailable(String),
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl From<KeyError> for StepError {
    fn from(error: KeyError) -> Self {
        Self::Start(error.into())
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::Start(error.into())
    }
}

/// Why a plugin was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterPluginError {
    /// It was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// There are as many components as there may be.
    #[error(transparent)]
    Full(#[from] Full),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why what a plugin is granted was not set.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] PolicyRefused),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a plugin was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovePluginError {
    /// No plugin has this name.
    #[error("there is no plugin `{0}`: GET /v1/plugins lists those that there are")]
    NoSuchPlugin(String),
    /// It has no such version.
    #[error("plugin `{name}` has no version {version}: it has {}", .versions.join(", "))]
    NoSuchVersion {
        /// The plugin.
        name: String,
        /// The version.
        version: String,
        /// The versions that there are, newest first.
        versions: Vec<String>,
    },
    /// It has grants.
    #[error(
        "plugin {plugin} has grants: {}. To remove it, use `heddle plugin remove --replace-granted` (over HTTP          `?replace_granted=true`)",
        .grants.join("; ")
    )]
    Granted {
        /// The plugin, with its version where one was named.
        plugin: String,
        /// What it is granted, a line for each grant.
        grants: Vec<String>,
    },
    /// Something needs it.
    #[error("{}", needed(.plugin, .needs))]
    Needed {
        /// The plugin, with its version where one was named.
        plugin: String,
        /// What needs it.
        needs: Needs,
    },
    /// The store gives no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn needed(plugin: &str, needs: &Needs) -> String {
    let list = |what: &str, ids: Vec<String>| match ids.is_empty() {
        true => None,
        false => Some(format!("{what} {}", ids.join(", "))),
    };
    let graphs = needs.graphs.iter().map(ToString::to_string).collect();
    let runs = needs.runs.iter().map(ToString::to_string).collect();
    let cut = "some of the runs that are not over, which are too many to look through".to_owned();
    let by = [
        list("the graphs", graphs),
        list("the runs", runs),
        (needs.is_cut && needs.runs.is_empty()).then_some(cut),
    ];
    let by: Vec<_> = by.into_iter().flatten().collect();
    format!(
        "plugin {plugin} is needed by {}: create these graphs again with another version and let these runs end, \
         or remove it by force, and they fail where they call it",
        by.join(" and by ")
    )
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// Its result.
    pub output: Json,
    /// What it wrote to its log.
    pub logs: Vec<(Level, Arc<str>)>,
}

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallToolError {
    /// There is no such tool.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It is a node function.
    #[error("`{0}` is a node function: only a run calls it; a tool can be called directly")]
    NotATool(String),
    /// It failed.
    #[error("{failure}")]
    Failed {
        /// Why.
        failure: Failure,
        /// What it wrote to its log until then.
        logs: Vec<(Level, Arc<str>)>,
    },
}

/// Numbers about the engine now.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// How many runs are under way: those that wait or stand still are not.
    pub runs_in_flight: usize,
    /// How many wait for their turn.
    pub runs_queued: usize,
    /// How many bytes the runs in memory hold.
    pub held_bytes: usize,
}

impl RunView {
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            id: run.id,
            graph: run.graph.id.clone(),
            graph_name: run.graph.name.clone(),
            status: run.shown_status(),
            state: run.state(),
            branches: run.branches(),
            output: run.output(),
            error: run.error.clone(),
            last_seq: run.seq,
            steps: run.steps,
            started_at: run.started_at,
            finished_at: run.status.is_over().then_some(run.updated_at),
            nodes: run.nodes(),
            waits: run.waits().collect(),
            under_way: match run.status.is_over() {
                true => Vec::new(),
                false => run.active_step_ids().collect(),
            },
        }
    }
}

/// The errors of a check in one line.
pub(crate) fn summary(found: &[Diagnostic]) -> String {
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let all: Vec<String> = errors
        .map(|found| format!("{}: {}", found.pointer, found.message))
        .collect();
    all.join("; ")
}
