//! A run as a state machine: `decide` turns what happened into events, `apply` folds an event
//! into the run, `owed` says what the run waits for. No other code decides anything.

mod apply;
mod decide;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use apply::FoldError;
pub use decide::decide;

use crate::{
    event::{Failure, FunctionRef, Level, RunError},
    graph::{Graph, NodeIx},
    ids::{RunId, Timestamp},
    object::{Json, Object},
};

/// One execution of a graph.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it executes.
    pub graph: Arc<Graph>,
    /// For each function that the graph names, the one that this run keeps to.
    pub functions: Arc<BTreeMap<Arc<str>, FunctionRef>>,
    /// Whether it is over, and how.
    pub status: Status,
    /// The state.
    pub state: Object,
    /// The lines of control that are live, by id.
    pub branches: BTreeMap<u32, Branch>,
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
}

/// One line of control in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The node that it is at.
    pub node: NodeIx,
    /// The step that it takes.
    pub step: u64,
    /// The latest attempt: only that one may speak.
    pub attempt: u32,
    /// When the step's first attempt began.
    pub started_at: Timestamp,
}

/// Whether a run is over, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on.
    Running,
    /// It is over and its state is final.
    Finished,
    /// It is over because of an error.
    Failed,
}

impl Status {
    /// Whether nothing can happen to the run any more.
    pub fn is_over(self) -> bool {
        self != Self::Running
    }

    /// The status's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// Something that happened to a run.
#[derive(Clone, Debug)]
pub enum Input {
    /// A function answered.
    Answered {
        /// The step that it was called for.
        step: u64,
        /// The attempt.
        attempt: u32,
        /// What it answered.
        result: Result<Outcome, Failure>,
    },
    /// A function wrote to its log.
    Logged {
        /// The step that it was called for.
        step: u64,
        /// The attempt.
        attempt: u32,
        /// The lines, in order.
        lines: VecDeque<(Level, Arc<str>)>,
    },
    /// An engine took the run up: calls that were under way are made again.
    Resumed,
}

/// What a function answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The keys of the state that change.
    pub update: Object,
    /// Where the branch goes.
    pub route: Route,
}

/// What a call of a function as a node gave.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A node function's outcome.
    Outcome(Outcome),
    /// A tool's result, whole.
    Result(Json),
}

/// Where a function sends its branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Along the edges.
    Edges,
    /// To the same node again.
    Again,
    /// To these nodes.
    Goto(Vec<String>),
    /// To the end.
    End,
}

/// What a run waits for.
#[derive(Clone, Debug)]
pub enum Owed {
    /// A call of a node's function.
    Call {
        /// The node.
        node: NodeIx,
        /// The step.
        step: u64,
        /// The attempt.
        attempt: u32,
    },
}

/// Why an input was not taken. The run is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is over.
    #[error("the run is over")]
    Over,
    /// It speaks for a step or an attempt that is not the latest.
    #[error("this attempt is not the latest of a step that the run is at")]
    Stale,
}

impl Run {
    /// What the run waits for, derived from its state alone.
    pub fn owed(&self) -> impl Iterator<Item = Owed> + '_ {
        self.branches.values().map(|branch| Owed::Call {
            node: branch.node,
            step: branch.step,
            attempt: branch.attempt,
        })
    }

    /// The branch that takes this step.
    pub fn branch_at(&self, step: u64) -> Option<(u32, &Branch)> {
        self.branches
            .iter()
            .find(|(_, branch)| branch.step == step)
            .map(|(id, branch)| (*id, branch))
    }

    /// The function that a node of this run uses.
    pub fn function(&self, node: NodeIx) -> Option<&FunctionRef> {
        self.functions.get(&self.graph.node(node).uses)
    }
}

impl Outcome {
    /// The outcome that a tool's result stands for, where the tool is used as a node: the
    /// object's keys are the update, but for `next` (a node's name or a list of them) and
    /// `loop` (a boolean), which route. `loop` stands before `next`.
    ///
    /// # Errors
    /// A failure of kind `InvalidOutcome` where the result is no object, or a routing key is of another type.
    pub fn from_tool_result(result: &Json) -> Result<Self, Failure> {
        decide::outcome_of_tool(result)
    }
}
