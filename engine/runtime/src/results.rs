//! What clients pass to the engine's operations and get back: plain data, without handles on the engine.

use std::sync::Arc;

use heddle_json::{Json, Object};
use heddle_kernel::{
    Diagnostic, Digest, EventRecord, Failure, Graph, GraphId, Level, Run, RunError, RunId, Status, Timestamp,
    run::{ActiveWait, BranchView, StepInput},
};

/// What an engine found in the store when it started.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// The number of runs that continue.
    pub runs: usize,
    /// The number of queued runs. They start as admission slots become free.
    pub queued: usize,
    /// Runs that cannot continue, each with the damage of its journal.
    pub damaged: Vec<(RunId, String)>,
    /// Stored plugins that could not be registered, each with the reason.
    pub plugins: Vec<(Arc<str>, String)>,
}

/// The result of creating a graph.
#[derive(Clone, Debug)]
pub struct CreatedGraph {
    /// The graph, which passed the check.
    pub graph: Arc<Graph>,
    /// The warnings of the check.
    pub warnings: Vec<Diagnostic>,
    /// Whether the graph did not exist before.
    pub new: bool,
}

/// The idempotency key of a request: a request that is sent again with the same key gets the first result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The key, chosen by the client.
    pub key: Arc<str>,
    /// The digest of the request's content.
    pub digest: Digest,
}

/// A request to start a run.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The graph's id or name.
    pub graph: String,
    /// The run's initial state.
    pub state: Object,
    /// The run's priority in the admission queue, from -100 to 100: higher runs start first. Values outside of this range
    /// are clamped.
    pub priority: i32,
    /// The request's idempotency key.
    pub key: Option<RequestKey>,
    /// The run's origin, unless a client's request starts it.
    pub origin: Option<Arc<str>>,
}

impl Start {
    /// A start of this graph with this state and default values for everything else.
    pub fn of(graph: impl Into<String>, state: Object) -> Self {
        Self {
            graph: graph.into(),
            state,
            ..Self::default()
        }
    }
}

/// A step, with the run's state after it, or with the current state while the step is active. All of it is durable.
#[derive(Clone, Debug)]
pub struct StepView {
    /// The step's number.
    pub step: u64,
    /// The step's node.
    pub node: Arc<str>,
    /// The number of attempts so far.
    pub attempts: u32,
    /// Whether the step's outcome entered the state. Otherwise the step is active, failed, or was cancelled.
    pub finished: bool,
    /// The input of the latest attempt. `None` for the run's start, and if an expression of the node has no value: then
    /// the step failed with that error.
    pub given: Option<StepInput>,
    /// How the latest attempt failed.
    pub failure: Option<Failure>,
    /// The number of the event that ended the step. For an active step, the number of the run's last event.
    pub seq: u64,
    /// When the first attempt started.
    pub started_at: Timestamp,
    /// When the step ended. `None` for an active step.
    pub finished_at: Option<Timestamp>,
    /// The keys of the state that the step changed.
    pub update: Object,
    /// The run's state after that event.
    pub state: Object,
}

/// A run. All of it is durable.
#[derive(Clone, Debug)]
pub struct RunView {
    /// The run's id.
    pub id: RunId,
    /// The run's graph.
    pub graph: GraphId,
    /// The graph's name, if it has one.
    pub graph_name: Option<Arc<str>>,
    /// The run's status.
    pub status: Status,
    /// The run's state.
    pub state: Object,
    /// The branches of every graph of the run that has several. For an ended run, the branches at its end.
    pub branches: Vec<BranchView>,
    /// The graph's declared output, once the run has finished.
    pub output: Option<Object>,
    /// Why the run failed.
    pub error: Option<RunError>,
    /// The number of the run's last event.
    pub last_seq: u64,
    /// The number of steps that the run has started.
    pub steps: u64,
    /// When the run started.
    pub started_at: Timestamp,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
    /// The nodes of the active steps.
    pub nodes: Vec<Arc<str>>,
    /// The timers and signals that the run waits for.
    pub waits: Vec<ActiveWait>,
    /// The numbers of the active steps, in order.
    pub under_way: Vec<u64>,
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

/// A page of a run's durable events.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<Arc<EventRecord>>,
    /// Whether the run has ended and these are its last events. A failed run may still be retried later.
    pub over: bool,
}

/// A tool's result.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// The JSON value that the tool returned.
    pub output: Json,
    /// The log lines that the tool wrote.
    pub logs: Vec<(Level, Arc<str>)>,
}

/// The engine's current numbers.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// The number of runs that occupy an admission slot. Waiting and paused runs do not.
    pub runs_in_flight: usize,
    /// The number of queued runs.
    pub runs_queued: usize,
    /// The number of bytes that the runs in memory hold.
    pub held_bytes: usize,
}
