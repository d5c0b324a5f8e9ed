//! The events of a run's journal: what happened, in the order in which it happened.
//!
//! This is the stored format: names may be added and never change their meaning. A run is the
//! fold of its events, so an event holds every decision that was made and nothing that can be
//! derived from it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use crate::ids::{Digest, GraphId, RunId, Timestamp};

/// One numbered entry of a run's journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventRecord {
    /// The number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The run began: always the first event.
    RunStarted {
        /// The graph that it runs.
        graph: GraphId,
        /// The state that it began with.
        state: Object,
        /// For each function that the graph and its subgraphs name, the one that this run keeps to.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// For each graph that they name, the one that this run keeps to.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
    },
    /// The run began as another one was right after one of its steps: always the first event.
    RunForked {
        /// The run that it was forked from.
        from: RunId,
        /// The step of that run after which it goes on; 0 for its beginning.
        step: u64,
        /// The graph that it runs.
        graph: GraphId,
        /// As in `RunStarted`.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// As in `RunStarted`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
        /// The keys of the state that are other than they were.
        #[serde(default, skip_serializing_if = "Object::is_empty")]
        edits: Object,
        /// The other run at that moment, as a [`Snapshot`](crate::run::Snapshot).
        run: Json,
    },
    /// A node is visited, or a step is tried again.
    StepStarted {
        /// The number of the step in the run, from 1.
        step: u64,
        /// The branch that takes it.
        branch: u32,
        /// The node that it visits.
        node: Arc<str>,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The execution of a graph that it belongs to: 0 for the run's own, else the step of the
        /// node that runs a graph.
        #[serde(default, skip_serializing_if = "is_zero")]
        within: u64,
        /// The branches that became one with this one here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        joined: Vec<u32>,
        /// Set where the step is for one item of a map.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        item: Option<Item>,
        /// Until when a sleep or a wait lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Set where the step undoes another one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<u64>,
        /// What expressions of a wait gave, where it has some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<WaitTexts>,
    },
    /// A node that runs a graph began to: its execution is named by the step.
    GraphStarted {
        /// The step.
        step: u64,
        /// The graph as the node names it.
        graph: Arc<str>,
        /// The state that it begins with.
        state: Object,
    },
    /// A map began: its items are counted from 0.
    MapStarted {
        /// The step.
        step: u64,
        /// The list, or the object, of its items.
        items: Json,
    },
    /// A function wrote a line to its log.
    Log {
        /// The step that it was called for.
        step: u64,
        /// The node of the step.
        node: Arc<str>,
        /// The attempt.
        attempt: u32,
        /// How much it matters.
        level: Level,
        /// The line.
        message: Arc<str>,
    },
    /// A step's outcome entered the state.
    StepFinished {
        /// The step.
        step: u64,
        /// Its node.
        node: Arc<str>,
        /// The attempt that gave the outcome.
        attempt: u32,
        /// The keys of the state that changed.
        update: Object,
        /// Where the branch went.
        next: Next,
        /// The number of the event by which the signal came that a wait waited for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<u64>,
    },
    /// A step for one item of a map is over.
    ItemFinished {
        /// The step.
        step: u64,
        /// The node of the map.
        node: Arc<str>,
        /// The item.
        item: Item,
        /// The attempt that gave the result.
        attempt: u32,
        /// Its result; nothing where a failed item is left out.
        result: Option<Json>,
    },
    /// An attempt of a step failed.
    StepFailed {
        /// The step.
        step: u64,
        /// Its node.
        node: Arc<str>,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// What follows.
        #[serde(default, skip_serializing_if = "FailureAction::is_raise")]
        then: FailureAction,
    },
    /// A signal came to the run: it is kept until a wait takes it.
    SignalReceived {
        /// Its name.
        name: Arc<str>,
        /// What came with it.
        payload: Json,
        /// The step of the wait that it is for, where the sender named one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait: Option<u64>,
    },
    /// Somebody wants the run to stand still: no step begins and no time counts until it is resumed.
    RunPaused {
        /// Why, in their words.
        reason: Arc<str>,
    },
    /// A run that was paused goes on.
    RunResumed,
    /// A run that failed goes on from where it failed.
    RunRetried,
    /// The run keeps to other versions from here on.
    RunUpgraded {
        /// The graph that it runs.
        graph: GraphId,
        /// As in `RunStarted`.
        functions: BTreeMap<Arc<str>, FunctionRef>,
        /// As in `RunStarted`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        graphs: BTreeMap<Arc<str>, GraphId>,
    },
    /// Somebody wants the run to end: no step begins, and calls under way are given up at this time.
    CancelRequested {
        /// Why, in their words.
        reason: Arc<str>,
        /// Until when a call under way may still answer.
        until: Timestamp,
    },
    /// The run ends badly: what was done is undone first.
    UndoStarted {
        /// Why it failed; nothing where it is cancelled.
        error: Option<RunError>,
        /// Why it is cancelled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Arc<str>>,
    },
    /// Every branch ended: the run is over and its state is final.
    RunFinished,
    /// The run is over because of an error.
    RunFailed {
        /// Why.
        error: RunError,
    },
    /// The run is over because somebody wanted it to be.
    RunCancelled {
        /// Why, in their words.
        reason: Arc<str>,
        /// What could not be undone.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        problems: Vec<Arc<str>>,
    },
}

impl Event {
    /// Whether a run is over with it. It is the last one then, but for a run that failed: that may be
    /// retried.
    pub fn ends_run(&self) -> bool {
        matches!(
            self,
            Self::RunFinished | Self::RunFailed { .. } | Self::RunCancelled { .. }
        )
    }

    /// The step that is over with it, for good or ill. A run that is folded up to and with it is as it was
    /// right after the step. Where an item fails and its map goes on, that is the item's end, not its failure;
    /// and a step that failed and was retried has several.
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

/// What the expressions of a wait gave when the wait began. A text that the graph has as it is stays out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitTexts {
    /// The signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Arc<str>>,
    /// What a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Arc<str>>,
}

/// One item of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The step of the map.
    pub of: u64,
    /// Its place among the items, from 0.
    pub index: u32,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    /// The graph that the step belongs to fails.
    #[default]
    Raise,
    /// The step is tried again at this time.
    Retry(Timestamp),
    /// The branch goes to this node, which is shown the error.
    Goto(Arc<str>),
    /// The map that the step belongs to goes on without the item's result.
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
    /// Whether its plugin was granted anything when the run was pinned to it: then a call of it may have an
    /// effect outside, and is not repeated to see what it would do.
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

/// Where a branch went after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// To a node.
    Node(Arc<str>),
    /// To several places: a branch for each.
    Fork(Vec<Arm>),
    /// To the end.
    End,
}

/// One of the branches of a fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The new branch.
    pub branch: u32,
    /// The node that it goes to, or `end`.
    pub to: Arc<str>,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Every small step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For who watches the run.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
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

/// Why a call gave no outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of failure it was.
    pub kind: FailureKind,
    /// What was wrong, where, and what to do about it.
    pub message: Arc<str>,
    /// What the function added for programs.
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

/// The sorts of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The function said that it may go well another time.
    Retryable,
    /// The function said that it will not go well.
    Permanent,
    /// The input was not what the function takes.
    InvalidInput,
    /// What the function answered cannot be used.
    InvalidOutcome,
    /// The guest trapped, panicked or exited.
    Trap,
    /// The time of the call ran out.
    Timeout,
    /// A limit of the sandbox was exceeded.
    Limit,
    /// The function is not there, or the engine could not call it.
    Unavailable,
    /// An expression of the graph could not be evaluated.
    Expression,
    /// No case of a node's edges held.
    NoCase,
    /// Several branches changed a key of the state for which the graph has no policy.
    Conflict,
    /// The run, or the graph that a node runs, took more steps than it may.
    StepLimit,
    /// The run took longer than it may.
    TimeLimit,
    /// Graphs run graphs deeper than they may.
    DepthLimit,
    /// The run's journal has as many bytes as it may.
    JournalLimit,
    /// What the journal keeps of it cannot be read.
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

impl RunError {
    /// The failure without its place.
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
    /// What sort of failure it was: a stable name for programs.
    #[serde(rename = "code")]
    pub kind: FailureKind,
    /// What was wrong, where, and what to do about it.
    pub message: Arc<str>,
    /// The node at which the run failed.
    pub node: Arc<str>,
    /// The step.
    pub step: u64,
    /// The attempt.
    pub attempt: u32,
    /// What the function added for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
}
