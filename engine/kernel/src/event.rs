//! The events of a run's journal.
//!
//! This is a stored format: variants and fields may be added; their names and meanings never change. Folding
//! a run's events gives the run. So an event contains every decision, and nothing that can be derived from
//! it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, GraphId, RunId, Timestamp};

/// An event of a run's journal with its number and time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// The number in the run, from 1, without gaps.
    pub seq: u64,
    /// When the event was decided.
    pub at: Timestamp,
    /// What happened, with its data.
    pub event: Event,
}

/// An event of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run started. Always the first event, except for forks.
    RunStarted {
        /// The graph that the run executes.
        graph: GraphId,
        /// The state at the start.
        state: Object,
        /// The functions that the run is pinned to, by the names that the graph and its inner graphs use.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// The graphs that the run is pinned to, by the names that these graphs use.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
    },
    /// The run started from the state of another run after one of its steps. Always the first event.
    RunForked {
        /// The id of the other run.
        from: RunId,
        /// The step of the other run after which this run continues; 0 for the start.
        step: u64,
        /// The graph that the run executes.
        graph: GraphId,
        /// As in `RunStarted`.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// As in `RunStarted`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
        /// State overrides: keys with new values.
        #[serde(default, skip_serializing_if = "Object::is_empty")]
        edits: Object,
        /// The other run after that step, as a [`Snapshot`](crate::run::Snapshot).
        run: Json,
    },
    /// A step started, or a further attempt of one.
    StepStarted {
        /// The number of the step in the run, from 1.
        step: u64,
        /// The branch that takes the step.
        branch: u32,
        /// The node that the step visits.
        node: Arc<str>,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The execution that the step belongs to: 0 for the run's own graph, else the step that runs the
        /// inner graph.
        #[serde(default, skip_serializing_if = "is_zero")]
        within: u64,
        /// The branches that joined this one here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        joined: Vec<u32>,
        /// Set if the step is for an item of a map.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Item>,
        /// When the sleep or the wait ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// The step that this one compensates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<u64>,
        /// The values of the wait's expressions, if it has some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<WaitTexts>,
    },
    /// An inner graph started. Its execution has the number of the step.
    GraphStarted {
        /// The number of the step.
        step: u64,
        /// The graph, as the node names it.
        graph: Arc<str>,
        /// The state at the start of the inner graph.
        state: Object,
    },
    /// A map started. Its items are numbered from 0.
    MapStarted {
        /// The number of the step.
        step: u64,
        /// The list or the object of the items.
        items: Json,
    },
    /// A function wrote a line to its log.
    Log {
        /// The step whose function wrote the line.
        step: u64,
        /// The node of the step.
        node: Arc<str>,
        /// The attempt, from 1.
        attempt: u32,
        /// The level of the line.
        level: Level,
        /// The text of the line.
        message: Arc<str>,
    },
    /// A step finished and its update entered the state.
    StepFinished {
        /// The number of the step.
        step: u64,
        /// The node of the step.
        node: Arc<str>,
        /// The attempt that gave the outcome.
        attempt: u32,
        /// The keys of the state that changed, with their new values.
        update: Object,
        /// Where the branch continues.
        next: Next,
        /// The number of the event of the signal that the wait took.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<u64>,
    },
    /// The step for an item of a map ended.
    ItemFinished {
        /// The number of the step.
        step: u64,
        /// The node of the map.
        node: Arc<str>,
        /// The item, by its map's step and its index.
        item: Item,
        /// The attempt that gave the result.
        attempt: u32,
        /// The result; `None` if the failed item is skipped.
        result: Option<Json>,
    },
    /// An attempt of a step failed.
    StepFailed {
        /// The number of the step.
        step: u64,
        /// The node of the step.
        node: Arc<str>,
        /// The attempt that failed.
        attempt: u32,
        /// The failure's kind, message and data.
        failure: Failure,
        /// What happens after the failure.
        #[serde(default, skip_serializing_if = "FailureAction::is_raise")]
        then: FailureAction,
    },
    /// The run got a signal. The run keeps it until a wait takes it.
    SignalReceived {
        /// The name of the signal.
        name: Arc<str>,
        /// The payload of the signal.
        payload: Json,
        /// The only wait that may take the signal, if the sender named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<u64>,
    },
    /// The run was paused: no step starts, and time limits do not count, until it is resumed.
    RunPaused {
        /// The reason that the client gave.
        reason: Arc<str>,
    },
    /// The paused run was resumed.
    RunResumed,
    /// The failed run was retried.
    RunRetried,
    /// The run was pinned to other versions of its graphs and functions.
    RunUpgraded {
        /// The graph that the run executes.
        graph: GraphId,
        /// As in `RunStarted`.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// As in `RunStarted`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
    },
    /// The run is being cancelled: no step starts, and active calls stop at the given time.
    CancelRequested {
        /// The reason that the client gave.
        reason: Arc<str>,
        /// The end of the grace period for active calls.
        until: Timestamp,
    },
    /// The run failed or is cancelled, and compensates its steps first.
    UndoStarted {
        /// The error; `None` if the run is cancelled.
        error: Option<RunError>,
        /// The reason of the cancellation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// Every branch ended. The state is final.
    RunFinished,
    /// The run ended because of an error.
    RunFailed {
        /// The kind and message of the error, and the node where it occurred.
        error: RunError,
    },
    /// The run was cancelled.
    RunCancelled {
        /// The reason that the client gave.
        reason: Arc<str>,
        /// The compensations that failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Arc<str>>,
    },
}

impl Event {
    /// Whether the event ends the run. Only a run that failed may have later events, if it is retried.
    pub fn ends_run(&self) -> bool {
        matches!(
            self,
            Self::RunFinished | Self::RunFailed { .. } | Self::RunCancelled { .. }
        )
    }

    /// The step that the event ends, whether the step succeeded or failed. A run that is folded up to this
    /// event is in the state right after the step. If an item fails and its map continues, `ItemFinished`
    /// ends the item's step. A step that failed and was retried has several such events.
    pub fn ends_step(&self) -> Option<u64> {
        match self {
            Self::StepFinished { step, .. }
            | Self::ItemFinished { step, .. }
            | Self::StepFailed {
                step,
                then: FailureAction::Raise | FailureAction::Goto(_),
                ..
            } => Some(*step),
            _ => None,
        }
    }
}

/// The values of a wait's expressions at its start. Texts that are not expressions are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitTexts {
    /// The name of the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Arc<str>>,
    /// The prompt for the person who sends the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Arc<str>>,
}

/// One item of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The step of the map.
    pub of: u64,
    /// The position of the item, from 0.
    pub index: u32,
}

/// What happens after a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The graph of the step fails.
    #[default]
    Raise,
    /// The step is retried at this time.
    Retry(Timestamp),
    /// The branch goes to this node, which gets the error.
    Goto(Arc<str>),
    /// The step's map continues without the item's result.
    Item,
}

impl FailureAction {
    fn is_raise(&self) -> bool {
        *self == Self::Raise
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A function of one exact plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRef {
    /// The SHA-256 of the plugin's component.
    pub digest: Digest,
    /// The name of the plugin.
    pub plugin: Arc<str>,
    /// The version of the plugin.
    pub version: Arc<str>,
    /// The name of the function in it.
    pub function: Arc<str>,
    /// The nodes that it may name in a route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Arc<str>>,
    /// Whether the plugin had any grants when the run was pinned to it. A call may then have side effects, so
    /// a backtest does not repeat it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub granted: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl fmt::Display for FunctionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.plugin, self.function)
    }
}

/// The next position of a branch after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The node with this name.
    Node(Arc<str>),
    /// Several nodes: a fork with a branch for each.
    Fork(Vec<Arm>),
    /// The branch ends.
    End,
}

/// One of the branches of a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The number of the new branch.
    pub branch: u32,
    /// The node that it goes to, or `end`.
    pub to: Arc<str>,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Details of each operation.
    Trace,
    /// Information for the plugin's author.
    Debug,
    /// Information for people who watch the run.
    Info,
    /// A problem that does not fail the step.
    Warn,
    /// A problem that makes an operation fail.
    Error,
}

impl Level {
    /// The level's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The failure of a call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The problem, its place, and what to do about it.
    pub message: Arc<str>,
    /// Data that the function added for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}

impl Failure {
    /// A failure of this kind with this message.
    pub fn new(kind: FailureKind, message: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            data: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The function reported that a retry may succeed.
    Retryable,
    /// The function reported that a retry will not succeed.
    Permanent,
    /// The input does not fit the function.
    InvalidInput,
    /// The answer of the function is invalid.
    InvalidOutcome,
    /// The guest trapped, panicked or exited.
    Trap,
    /// The call exceeded its time limit.
    Timeout,
    /// A limit of the sandbox was exceeded.
    Limit,
    /// The function is missing, or the engine could not call it.
    Unavailable,
    /// An expression of the graph could not be evaluated.
    Expression,
    /// No case of a node's edges held.
    NoCase,
    /// Parallel branches changed a key of the state that has no merge policy.
    Conflict,
    /// The run or an inner graph exceeded its limit of steps.
    StepLimit,
    /// The run or an inner graph exceeded its time limit.
    TimeLimit,
    /// Inner graphs are nested deeper than the limit.
    DepthLimit,
    /// The run's journal reached its size limit.
    JournalLimit,
    /// The journal of the run cannot be read.
    Unreadable,
}

impl FailureKind {
    /// The kind's name, as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Permanent => "permanent",
            Self::InvalidInput => "invalid_input",
            Self::InvalidOutcome => "invalid_outcome",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Unavailable => "unavailable",
            Self::Expression => "expression",
            Self::NoCase => "no_case",
            Self::Conflict => "conflict",
            Self::StepLimit => "step_limit",
            Self::TimeLimit => "time_limit",
            Self::DepthLimit => "depth_limit",
            Self::JournalLimit => "journal_limit",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Event {
    /// Whether the event says that its run uses this graph.
    pub fn names_graph(&self, id: &GraphId) -> bool {
        match self {
            Self::RunStarted { graph, graphs, .. }
            | Self::RunForked { graph, graphs, .. }
            | Self::RunUpgraded { graph, graphs, .. } => {
                graph == id || graphs.values().any(|named| named == id)
            }
            _ => false,
        }
    }
}

impl RunError {
    /// The failure without its node, step and attempt.
    pub fn failure(&self) -> Failure {
        Failure {
            kind: self.kind,
            message: self.message.clone(),
            data: self.data.clone(),
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunError {
    /// The kind of failure; a stable name for programs.
    #[serde(rename = "code")]
    pub kind: FailureKind,
    /// The problem, its place, and what to do about it.
    pub message: Arc<str>,
    /// The node at which the run failed.
    pub node: Arc<str>,
    /// The number of the step at the node; absent if no step began there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The attempt of the step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Data that the function added for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}
