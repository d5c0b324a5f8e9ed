//! The events of a run's journal: what happened, in the order in which it happened.
//!
//! This is the stored format: names may be added and never change their meaning. A run is the
//! fold of its events, so an event holds every decision that was made and nothing that can be
//! derived from it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Digest, GraphId, Timestamp},
    object::{Json, Object},
};

/// One numbered entry of a run's journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
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
        /// For each function that the graph names, the one that this run keeps to.
        functions: BTreeMap<Arc<str>, FunctionRef>,
    },
    /// A branch came to a node, or a step is tried again.
    StepStarted {
        /// The number of the step in the run, from 1.
        step: u64,
        /// The branch that takes it.
        branch: u32,
        /// The node that it visits.
        node: Arc<str>,
        /// The number of the attempt, from 1.
        attempt: u32,
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
    },
    /// Every branch ended: the run is over and its state is final.
    RunFinished,
    /// The run is over because of an error.
    RunFailed {
        /// Why.
        error: RunError,
    },
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
    /// To the end.
    End,
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
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunError {
    /// A stable name for programs: a failure kind, or `step_limit`.
    pub code: Arc<str>,
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
