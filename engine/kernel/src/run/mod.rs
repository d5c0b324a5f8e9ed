//! A run as a state machine. `decide` turns an input into events, `apply` applies an event to the run, and
//! `pending_work` lists the calls and waits that follow from the run's state. All decisions are made in
//! `decide`.

mod apply;
mod branch_view;
mod call;
mod control;
mod decide;
mod fail;
mod flow;
mod fold;
mod fold_next;
mod fork;
mod group;
mod input;
mod items;
mod joins;
mod journal_limit;
mod maps;
mod memory_limit;
mod merge_by_key;
mod merge_policy;
mod outcome;
mod pending;
mod signal;
mod snapshot;
mod start;
mod status;
mod step_input;
mod timers;
mod upgrade;
mod view;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use branch_view::{BranchStatus, BranchView, MAX_BRANCH_BYTES};
pub use call::Prepared;
pub use decide::{Decision, decide};
pub use fold::{FoldError, Graphs};
pub use fold_next::NamedGraphs;
pub use group::Group;
use heddle_json::{Json, Object};
pub use input::{Input, Refusal, Upgrade};
pub use journal_limit::with_room_to_fail;
pub use outcome::{Answer, Outcome, Route};
pub use pending::{CallId, PendingWork};
pub use snapshot::Snapshot;
pub use start::UnstartedRun;
pub use status::Status;
pub use step_input::StepInput;
pub use view::View;
pub use waits::{ActiveWait, MapItem};

use crate::{
    event::{FunctionRef, Item, RunError, WaitTexts},
    graph::{Graph, NodeIx},
    ids::{RunId, Timestamp},
};

/// The number of levels to which graphs may run other graphs.
pub const MAX_DEPTH: u32 = 16;
/// The number of signals that a run keeps until a wait takes them.
pub const MAX_SIGNALS: usize = 1_000;
/// The limit for all names and payloads of the signals that a run keeps, in bytes.
pub const MAX_SIGNAL_BYTES: usize = 16 << 20;
/// The number of items that a map may have.
pub const MAX_ITEMS: usize = 100_000;

/// The number of the execution of the run's own graph.
const ROOT: u64 = 0;

/// One execution of a graph and of the graphs that its nodes run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The id: a UUID of version 7.
    pub id: RunId,
    /// The graph that the run executes.
    pub graph: Arc<Graph>,
    /// The graphs that this run is pinned to, by the names that the graph and its inner graphs use.
    pub graphs: Arc<BTreeMap<Arc<str>, Arc<Graph>>>,
    /// The functions that this run is pinned to, by the names that these graphs use.
    pub functions: Arc<BTreeMap<Arc<str>, FunctionRef>>,
    /// The status, as stored.
    pub status: Status,
    /// The active executions. Number 0 is the run's own; each other one has the number of the step that runs
    /// the graph.
    executions: BTreeMap<u64, Execution>,
    /// The active steps, by number.
    active_steps: BTreeMap<u64, ActiveStep>,
    /// The timers of the active steps: when each is due. Step 0 stands for the run itself, at its time limit.
    due: BTreeSet<(Timestamp, u64)>,
    /// Signals that no wait has taken yet, by the number of the event that recorded the signal.
    signals: BTreeMap<u64, Signal>,
    /// The steps to compensate if the run fails or is cancelled. The last one is compensated first.
    undo: Vec<Undo>,
    /// Set while the run compensates: how the run ends afterwards.
    ending: Option<Ending>,
    /// Set while the run is paused.
    paused: Option<Paused>,
    /// Set while the run is being cancelled and active calls may still answer.
    cancelling: Option<Cancelling>,
    /// Set if the run failed and can be retried.
    retry_point: Option<Box<RetryPoint>>,
    /// The state at the end of the run, once no branch is active.
    last: Object,
    /// The branches at the end of the run, if there were several and `retry_point` does not have them.
    last_branches: Vec<BranchView>,
    /// The number of the next branch. The branches of all executions are numbered from 0.
    next_branch: u32,
    /// The number of steps that started.
    pub steps: u64,
    /// The number of the last event.
    pub seq: u64,
    /// The time of the first event.
    pub started_at: Timestamp,
    /// The time of the last event.
    pub updated_at: Timestamp,
    /// The error, if the run failed.
    pub error: Option<RunError>,
    /// The limit for a branch's view of the state, in bytes. A step whose update would exceed the limit
    /// fails. The engine sets the limit; it is not part of the journal.
    pub max_state_bytes: usize,
    /// The size of the run's events in bytes, as counted by [`Event::size`](crate::event::Event::size).
    pub journal_bytes: u64,
    /// The engine's limit for `journal_bytes`; the graph may have a lower one.
    pub max_journal_bytes: u64,
    /// The engine's limit for the memory of the run, in bytes.
    pub max_run_bytes: usize,
    memory: memory_limit::MemoryCount,
    /// The graphs of the next event, which is a `RunUpgraded`.
    staged: Option<(Arc<Graph>, Arc<Graphs>)>,
}

/// One execution of a graph: the run's own graph, or one that a node runs.
#[derive(Clone, Debug)]
struct Execution {
    graph: Arc<Graph>,
    /// The name by which the node refers to the graph; `None` for the run's own graph.
    name: Option<Arc<str>>,
    /// The number of executions around this one.
    depth: u32,
    /// The state at the start.
    input: Object,
    /// The state at the fork of the active branches; `None` while there is one branch.
    state_at_fork: Option<Object>,
    /// The branches in the order of their forks. A branch that ended is kept until all have ended, since its
    /// changes are part of the final state.
    branches: Vec<Branch>,
    /// The number of steps that started in this execution.
    steps: u64,
}

/// A branch: one line of control, with its own view of the state.
#[derive(Clone, Debug)]
struct Branch {
    id: u32,
    view: View,
    position: BranchPosition,
    /// The number of steps on the longest path to the branch's position.
    steps: u64,
}

/// The position of a branch.
#[derive(Clone, Debug)]
enum BranchPosition {
    /// Before a node, where the branch may have to wait for other branches. The JSON is the error that led
    /// here, if any.
    Before(NodeIx, Option<Json>),
    /// At a node, in a step.
    Step(NodeIx),
    /// At the end.
    End,
}

/// A step that started and has not ended.
#[derive(Clone, Debug)]
pub struct ActiveStep {
    /// The execution that the step belongs to.
    within: u64,
    /// The branch that takes the step.
    pub branch: u32,
    /// The node that the step visits.
    pub node: NodeIx,
    /// Set if the step is for one item of a map.
    pub item: Option<Item>,
    /// The latest attempt, from 1. Answers of earlier attempts are refused.
    pub attempt: u32,
    /// The number of failed attempts that count against the retry limit.
    failures: u32,
    /// Whether the step failed without a retry, and its graph with it.
    failed: bool,
    /// The start of the first attempt.
    pub started_at: Timestamp,
    /// The error that led to this step through `on_error`.
    error: Option<Json>,
    /// Set if the step compensates another step.
    undo: Option<Arc<Undo>>,
    /// What the step waits for.
    state: StepState,
}

/// What a step waits for.
#[derive(Clone, Debug)]
enum StepState {
    /// The answer of a function.
    Call,
    /// The time of the next attempt.
    Pause(Timestamp),
    /// The end of a sleep.
    Sleep(Timestamp),
    /// A signal, with the timeout if there is one and the values of the wait's expressions.
    Signal(Option<Timestamp>, Option<Arc<WaitTexts>>),
    /// The end of an inner execution, which has the number of the step; with its time limit.
    Graph(Option<Timestamp>),
    /// The items of a map.
    Map(Items),
}

/// The progress of a map.
#[derive(Clone, Debug)]
struct Items {
    /// The key of each item, if the map iterates over an object.
    keys: Option<Arc<[String]>>,
    all: Arc<[Json]>,
    /// The number of items that started.
    begun: u32,
    /// The number of started items that have not ended.
    open: u32,
    /// The size of all results in bytes.
    bytes: usize,
    /// The result of each item; `None` while it has none.
    results: Vec<Option<Json>>,
}

/// A finished step that can be compensated.
#[derive(Clone, Debug)]
struct Undo {
    step: u64,
    within: u64,
    graph: Arc<Graph>,
    /// The name of the graph, as in its [`Execution`].
    name: Option<Arc<str>>,
    /// The node whose function compensates the step.
    node: NodeIx,
    /// The branch's view of the state after the step.
    view: View,
    input: Object,
    /// The number of steps on the longest path, as in its [`Branch`].
    steps: u64,
}

/// How a run ends after its compensations.
#[derive(Clone, Debug)]
struct Ending {
    error: Option<RunError>,
    reason: Option<Arc<str>>,
    problems: Vec<Arc<str>>,
}

/// The reason and the start of a pause.
#[derive(Clone, Debug)]
struct Paused {
    reason: Arc<str>,
    since: Timestamp,
}

/// The reason of a cancellation, and the time until which active calls may answer.
#[derive(Clone, Debug)]
struct Cancelling {
    reason: Arc<str>,
    until: Timestamp,
}

/// The active parts of a run that failed. A retry continues from them.
#[derive(Clone, Debug)]
struct RetryPoint {
    executions: BTreeMap<u64, Execution>,
    active_steps: BTreeMap<u64, ActiveStep>,
    due: BTreeSet<(Timestamp, u64)>,
    signals: BTreeMap<u64, Signal>,
}

/// A signal that no wait has taken yet.
#[derive(Clone, Debug)]
struct Signal {
    name: Arc<str>,
    payload: Json,
    /// The step of the only wait that may take the signal, if the sender named one.
    wait: Option<u64>,
}

impl Run {
    fn graph_of<'r>(&'r self, active_step: &'r ActiveStep) -> &'r Arc<Graph> {
        match (&active_step.undo, self.executions.get(&active_step.within)) {
            (Some(undo), _) => &undo.graph,
            (None, Some(execution)) => &execution.graph,
            (None, None) => &self.graph,
        }
    }

    fn branch(&self, within: u64, id: u32) -> Option<&Branch> {
        let branches = &self.executions.get(&within)?.branches;
        branches.iter().find(|branch| branch.id == id)
    }
}

impl ActiveStep {
    /// A copy of the step without its error and state, which may be large.
    fn without_data(&self) -> Self {
        Self {
            error: None,
            undo: self.undo.clone(),
            state: StepState::Call,
            ..*self
        }
    }
}
