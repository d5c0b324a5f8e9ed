//! A run as a state machine: `decide` turns what happened into events, `apply` folds an event
//! into the run, `pending_work` says what the run waits for. No other code decides anything.

mod apply;
mod branches;
mod by_key;
mod call;
mod decide;
mod fail;
mod flow;
mod fork;
mod group;
mod input;
mod items;
mod journal;
mod maps;
mod memory;
mod outcome;
mod pending;
mod policy;
mod signal;
mod snapshot;
mod status;
mod steer;
mod step_input;
mod timers;
mod upgrade;
mod view;
mod waits;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use apply::{FoldError, Graphs};
pub use branches::{BranchStatus, BranchView, MAX_BRANCH_BYTES};
pub use call::Prepared;
pub use decide::decide;
pub use group::Group;
use heddle_json::{Json, Object};
pub use input::{Input, Refusal, Upgrade};
pub use journal::with_room_to_fail;
pub use outcome::{Answer, Outcome, Route};
pub use pending::PendingWork;
pub use snapshot::Snapshot;
pub use status::Status;
pub use step_input::StepInput;
pub use view::View;
pub use waits::{ActiveWait, MapItem};

use crate::{
    event::{FunctionRef, Item, RunError, WaitTexts},
    graph::{Graph, NodeIx},
    ids::{RunId, Timestamp},
};

/// How deep graphs may run graphs.
pub const MAX_DEPTH: u32 = 16;
/// How many signals a run keeps that no wait has taken.
pub const MAX_SIGNALS: usize = 1_000;
/// How many bytes the names and payloads of the signals take together that a run keeps.
pub const MAX_SIGNAL_BYTES: usize = 16 << 20;
/// The most items of a map.
pub const MAX_ITEMS: usize = 100_000;

/// The execution that is the run's own: the one of its graph.
const ROOT: u64 = 0;

/// One execution of a graph, and of the graphs that its nodes run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it executes.
    pub graph: Arc<Graph>,
    /// For each graph that the graph and its subgraphs name, the one that this run keeps to.
    pub graphs: Arc<BTreeMap<Arc<str>, Arc<Graph>>>,
    /// For each function that they name, the one that this run keeps to.
    pub functions: Arc<BTreeMap<Arc<str>, FunctionRef>>,
    /// Whether it is over, and how.
    pub status: Status,
    /// The executions under way: 0 is the run's own, the others are named by the step of the node
    /// that runs a graph.
    executions: BTreeMap<u64, Execution>,
    /// The steps under way, by number.
    active_steps: BTreeMap<u64, ActiveStep>,
    /// When a step wants to be woken; the run itself, at its time limit, is step 0.
    due: BTreeSet<(Timestamp, u64)>,
    /// Signals that no wait has taken, by the number of the event by which they came.
    signals: BTreeMap<u64, Signal>,
    /// What is undone if the run ends badly: the last one first.
    undo: Vec<Undo>,
    /// How the run ends once everything is undone.
    ending: Option<Ending>,
    /// Set while it is paused.
    paused: Option<Paused>,
    /// Set while it is being cancelled and calls under way may still answer.
    cancelling: Option<Cancelling>,
    /// Set where it failed and may be retried.
    retry_point: Option<Box<RetryPoint>>,
    /// The state when there are no branches any more.
    last: Object,
    /// The branches that there were then, where there were several and they are not kept for a retry.
    last_branches: Vec<BranchView>,
    /// The number of the next branch; the branches of all executions are numbered from 0.
    next_branch: u32,
    /// How many steps were begun.
    pub steps: u64,
    /// The number of the last event.
    pub seq: u64,
    /// When the first event happened.
    pub started_at: Timestamp,
    /// When the last one did.
    pub updated_at: Timestamp,
    /// Why it failed.
    pub error: Option<RunError>,
    /// How many bytes a branch's view of the state may take: what would make it larger fails its step.
    /// It is the engine's, and not part of the journal.
    pub max_state_bytes: usize,
    /// How many bytes the events of the run take, each as [`Event::size`](crate::event::Event::size) counts it.
    pub journal_bytes: u64,
    /// How many bytes they may take, whatever the graph says. It is the engine's, as `max_state_bytes` is.
    pub max_journal_bytes: u64,
    /// How many bytes the run may hold in memory. It is the engine's, as `max_state_bytes` is.
    pub max_run_bytes: usize,
    memory: memory::MemoryCount,
    /// The graphs of an upgrade that is about to be folded.
    staged: Option<(Arc<Graph>, Arc<Graphs>)>,
}

/// One execution of a graph: the run's own, or one that a node runs.
#[derive(Clone, Debug)]
struct Execution {
    graph: Arc<Graph>,
    /// What the graph is called by the node that runs it; nothing for the run's own.
    name: Option<Arc<str>>,
    /// How many executions it is in.
    depth: u32,
    /// The state that it began with.
    input: Object,
    /// The state when the branches parted that are under way; nothing where there is one.
    state_at_fork: Option<Object>,
    /// The branches, in the order in which they were forked. Those that ended are kept until all
    /// have: the state at the end is theirs, too.
    branches: Vec<Branch>,
    /// How many steps it took.
    steps: u64,
}

/// A branch: one line of control, with its own view of the state.
#[derive(Clone, Debug)]
struct Branch {
    id: u32,
    view: View,
    position: BranchPosition,
    /// How many steps were taken on the longest way to where it is, one after the other.
    steps: u64,
}

/// Where a branch is.
#[derive(Clone, Debug)]
enum BranchPosition {
    /// It came to a node, at which others may have to come first; after a failure with its error.
    Before(NodeIx, Option<Json>),
    /// It takes a step.
    Step(NodeIx),
    /// At the end.
    End,
}

/// A step under way.
#[derive(Clone, Debug)]
pub struct ActiveStep {
    /// The execution that it belongs to.
    within: u64,
    /// The branch that takes it.
    pub branch: u32,
    /// Its node.
    pub node: NodeIx,
    /// Set where it is for one item of a map.
    pub item: Option<Item>,
    /// The latest attempt: only that one may speak.
    pub attempt: u32,
    /// How many attempts failed, of those after which it is tried again.
    failures: u32,
    /// Whether it failed for good, and what it belongs to with it.
    failed: bool,
    /// When the first attempt began.
    pub started_at: Timestamp,
    /// The error that led here.
    error: Option<Json>,
    /// Set where it undoes another step.
    undo: Option<Arc<Undo>>,
    /// What it waits for.
    state: StepState,
}

/// What a step waits for.
#[derive(Clone, Debug)]
enum StepState {
    /// The answer of a function.
    Call,
    /// The next attempt.
    Pause(Timestamp),
    /// A time.
    Sleep(Timestamp),
    /// A signal, and maybe a time; with what the expressions of the wait gave.
    Signal(Option<Timestamp>, Option<Arc<WaitTexts>>),
    /// The end of another execution, which has the number of the step; until its time limit.
    Graph(Option<Timestamp>),
    /// The items of a map.
    Map(Items),
}

/// How far a map is.
#[derive(Clone, Debug)]
struct Items {
    /// For an object, the key of each item.
    keys: Option<Arc<[String]>>,
    all: Arc<[Json]>,
    /// How many were begun.
    begun: u32,
    /// How many of these are not over.
    open: u32,
    /// How many bytes the results take.
    bytes: usize,
    /// What came of each.
    results: Vec<Option<Json>>,
}

/// A step that can be undone.
#[derive(Clone, Debug)]
struct Undo {
    step: u64,
    within: u64,
    graph: Arc<Graph>,
    /// As in its execution.
    name: Option<Arc<str>>,
    /// The node that undoes it.
    node: NodeIx,
    /// The state after it.
    view: View,
    input: Object,
    /// As in its branch.
    steps: u64,
}

/// How a run ends once everything is undone.
#[derive(Clone, Debug)]
struct Ending {
    error: Option<RunError>,
    reason: Option<Arc<str>>,
    problems: Vec<Arc<str>>,
}

/// Why a run stands still, and since when.
#[derive(Clone, Debug)]
struct Paused {
    reason: Arc<str>,
    since: Timestamp,
}

/// Why a run is being cancelled, and until when calls under way may still answer.
#[derive(Clone, Debug)]
struct Cancelling {
    reason: Arc<str>,
    until: Timestamp,
}

/// What a run was at when it failed: from there it goes on if it is retried.
#[derive(Clone, Debug)]
struct RetryPoint {
    executions: BTreeMap<u64, Execution>,
    active_steps: BTreeMap<u64, ActiveStep>,
    due: BTreeSet<(Timestamp, u64)>,
    signals: BTreeMap<u64, Signal>,
}

/// A signal that no wait has taken.
#[derive(Clone, Debug)]
struct Signal {
    name: Arc<str>,
    payload: Json,
    /// The step of the wait that alone may take it.
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
    /// The step without what it waits for, which may be large.
    fn without_data(&self) -> Self {
        Self {
            error: None,
            undo: self.undo.clone(),
            state: StepState::Call,
            ..*self
        }
    }
}
