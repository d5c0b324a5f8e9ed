//! A run as a state machine: `decide` turns what happened into events, `apply` folds an event
//! into the run, `owed` says what the run waits for. No other code decides anything.

mod apply;
mod call;
mod decide;
mod fail;
mod flow;
mod outcome;
mod policy;
mod snapshot;
mod view;
mod wait;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

pub use apply::{FoldError, Graphs};
pub use call::Prepared;
pub use decide::decide;
pub use outcome::{Answer, Outcome, Route};
pub use snapshot::Snapshot;
pub use view::View;

use crate::{
    event::{Failure, FunctionRef, Item, Level, RunError},
    graph::{Graph, NodeIx},
    ids::{RunId, Timestamp},
    object::{Json, Object},
};

/// How deep graphs may run graphs.
pub const MAX_DEPTH: u32 = 16;
/// How many signals a run keeps that no wait has taken.
pub const MAX_SIGNALS: usize = 1_000;
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
    tasks: BTreeMap<u64, Task>,
    /// When a step wants to be woken; the run itself, at its time limit, is step 0.
    due: BTreeSet<(Timestamp, u64)>,
    /// Signals that no wait has taken, by the number of the event by which they came.
    signals: BTreeMap<u64, (Arc<str>, Json)>,
    /// What is undone if the run ends badly: the last one first.
    undo: Vec<Undo>,
    /// How the run ends once everything is undone.
    ending: Option<Ending>,
    /// The state when there are no branches any more.
    last: Object,
    /// How many branches there were.
    branches: u32,
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
    /// The graphs of an upgrade that is about to be folded.
    staged: Option<(Arc<Graph>, Arc<Graphs>)>,
}

/// One execution of a graph: the run's own, or one that a node runs.
#[derive(Clone, Debug)]
struct Execution {
    graph: Arc<Graph>,
    /// How many executions it is in.
    depth: u32,
    /// The state that it began with.
    input: Object,
    /// The branches, in the order in which they were forked. Those that ended are kept until all
    /// have: the state at the end is theirs, too.
    lines: Vec<Line>,
    /// How many steps it took.
    steps: u64,
}

/// A branch: one line of control, with its own view of the state.
#[derive(Clone, Debug)]
struct Line {
    id: u32,
    view: View,
    at: At,
}

/// Where a branch is.
#[derive(Clone, Debug)]
enum At {
    /// It came to a node, at which others may have to come first; after a failure with its error.
    Before(NodeIx, Option<Json>),
    /// It takes a step.
    Step(NodeIx),
    /// At the end.
    End,
}

/// A step under way.
#[derive(Clone, Debug)]
pub struct Task {
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
    /// How many attempts failed.
    failures: u32,
    /// When the first attempt began.
    pub started_at: Timestamp,
    /// The error that led here.
    error: Option<Json>,
    /// Set where it undoes another step.
    undo: Option<Arc<Undo>>,
    /// What it waits for.
    doing: Doing,
}

/// What a step waits for.
#[derive(Clone, Debug)]
enum Doing {
    /// The answer of a function.
    Call,
    /// The next attempt.
    Pause(Timestamp),
    /// A time.
    Sleep(Timestamp),
    /// A signal, and maybe a time.
    Signal(Option<Timestamp>),
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
    /// The node that undoes it.
    node: NodeIx,
    /// The state after it.
    view: View,
    input: Object,
}

/// How a run ends once everything is undone.
#[derive(Clone, Debug)]
struct Ending {
    error: Option<RunError>,
    reason: Option<Arc<str>>,
    problems: Vec<Arc<str>>,
}

/// Whether a run is over, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on.
    Running,
    /// It has not begun its first step: it waits for its turn.
    Queued,
    /// It goes on when a time comes or a signal.
    Waiting,
    /// It stands still until it is resumed.
    Paused,
    /// It is over and its state is final.
    Finished,
    /// It is over because of an error.
    Failed,
    /// It is over because somebody wanted it to be.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Waiting,
        Self::Paused,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether nothing can happen to the run any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// The status's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
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
        result: Result<Answer, Failure>,
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
    /// Time went by: what is due now goes on.
    Due,
    /// A signal came.
    Signal {
        /// Its name.
        name: Arc<str>,
        /// What came with it.
        payload: Json,
    },
    /// Somebody wants the run to end.
    Cancel {
        /// Why.
        reason: Arc<str>,
        /// How long calls under way may still take, in milliseconds.
        grace_ms: u64,
    },
    /// An engine took the run up: calls that were under way are made again, and a queued run begins.
    TakenUp,
    /// Somebody wants the run to stand still.
    Pause {
        /// Why.
        reason: Arc<str>,
    },
    /// A run that was paused goes on: calls that were under way and are not any more are made again.
    Resume {
        /// The steps whose calls are under way, or were never made.
        under_way: Vec<u64>,
    },
    /// A run that failed goes on from where it failed.
    Retry,
    /// The run keeps to other versions from here on.
    Upgrade(Box<Upgrade>),
}

/// The runs of which so many may be under way together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name or id of the graph, and the key where there is one: `review/customer-7`.
    pub name: Arc<str>,
    /// How many of its runs may be under way: begun, and not over.
    pub at_once: u32,
}

/// What a run is to keep to from now on.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The graph: another version of the run's own, or the same.
    pub graph: Arc<Graph>,
    /// For each graph that it and its subgraphs name, the one to keep to.
    pub graphs: Arc<Graphs>,
    /// For each function that they name, the one to keep to.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
}

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// A call of a function: [`Run::prepare`] says which.
    Call {
        /// The step.
        step: u64,
        /// The attempt.
        attempt: u32,
    },
    /// A signal or a time.
    Wait {
        /// The step.
        step: u64,
        /// When it wants to be woken, at the latest.
        until: Option<Timestamp>,
    },
}

/// A wait for a signal, as it is shown.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The step.
    pub step: u64,
    /// The node.
    pub node: Arc<str>,
    /// The signal that it waits for; nothing where only time has to pass.
    pub signal: Option<Arc<str>>,
    /// What a person is asked.
    pub prompt: Option<Arc<str>>,
    /// The JSON Schema of the signal's payload.
    pub schema: Option<Json>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// Why an input was not taken. The run is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run is over.
    #[error("the run is over")]
    Over,
    /// It speaks for a step or an attempt that is not the latest.
    #[error("this attempt is not the latest of a step that the run is at")]
    Stale,
    /// No node of the run's graphs waits for such a signal.
    #[error("no node of the run's graph waits for a signal `{name}`{hint}")]
    NoSuchSignal {
        /// The signal.
        name: Arc<str>,
        /// Which one was probably meant.
        hint: String,
    },
    /// The payload is not what any wait for the signal takes.
    #[error("the payload of `{name}` does not fit: {}", told(.problems))]
    Payload {
        /// The signal.
        name: Arc<str>,
        /// What is wrong with it: a JSON pointer into it, and the problem there.
        problems: Vec<(String, String)>,
    },
    /// The run keeps as many signals as it may.
    #[error("the run keeps {MAX_SIGNALS} signals that nothing has taken, the limit: send again later")]
    TooManySignals,
    /// It is being cancelled, or ends because of an error.
    #[error("the run is ending: what it did is being undone")]
    Ending,
    /// It is in no state for this.
    #[error("{0}")]
    NotNow(String),
}

fn told(problems: &[(String, String)]) -> String {
    let told = problems.iter().map(|(at, problem)| match at.as_str() {
        "" => problem.clone(),
        at => format!("at {at}: {problem}"),
    });
    told.collect::<Vec<_>>().join("; ")
}

impl Run {
    /// The group that the run counts in, by its graph's `limits.group` and the state that it began with.
    ///
    /// # Errors
    /// Why the expression has no value.
    pub fn group(&self) -> Result<Option<Group>, Failure> {
        unimplemented!()
    }

    /// What the run waits for, derived from its state alone, in the order of the steps.
    pub fn owed(&self) -> impl Iterator<Item = Owed> + '_ {
        self.tasks.iter().filter_map(|(step, task)| task.owed(*step))
    }

    /// What the run waits for at one step.
    pub fn owed_at(&self, step: u64) -> Option<Owed> {
        self.tasks.get(&step)?.owed(step)
    }

    /// When the run wants [`Input::Due`], at the latest.
    pub fn due(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Whether only time or a signal can take the run further.
    pub fn is_waiting(&self) -> bool {
        !self.status.is_over() && !self.owed().any(|owed| matches!(owed, Owed::Call { .. }))
    }

    /// The status as it is shown.
    pub fn shown_status(&self) -> Status {
        if self.is_waiting() {
            Status::Waiting
        } else {
            self.status
        }
    }

    /// The steps under way that wait for a signal or for time to pass.
    pub fn waits(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.tasks
            .iter()
            .filter_map(|(step, task)| self.waiting(*step, task))
    }

    /// A step under way.
    pub fn task(&self, step: u64) -> Option<&Task> {
        self.tasks.get(&step)
    }

    /// The numbers of the steps that were begun and are neither over nor given up, in order.
    pub fn under_way(&self) -> impl Iterator<Item = u64> + '_ {
        self.tasks.keys().copied()
    }

    /// The name of the node of a step under way.
    pub fn node_of(&self, step: u64) -> Option<Arc<str>> {
        let task = self.tasks.get(&step)?;
        Some(self.graph_of(task).node(task.node).name.clone())
    }

    /// The nodes at which the run is, each once, in the order of the steps.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let mut nodes: Vec<Arc<str>> = Vec::new();
        for task in self.tasks.values().filter(|task| task.item.is_none()) {
            let name = &self.graph_of(task).node(task.node).name;
            if !nodes.contains(name) {
                nodes.push(name.clone());
            }
        }
        nodes
    }

    /// The state: of several branches, what they have in common and what each changed; where they
    /// changed the same, the last one's.
    pub fn state(&self) -> Object {
        let Some(own) = self.executions.get(&ROOT) else {
            return self.last.clone();
        };
        let views: Vec<&View> = own.lines.iter().map(|line| &line.view).collect();
        match View::merge(&views, &own.graph.policies) {
            Ok(view) => view.state,
            Err(_) => {
                let mut state = Object::default();
                views.iter().for_each(|view| state.merge(&view.state));
                state
            }
        }
    }

    fn graph_of<'r>(&'r self, task: &'r Task) -> &'r Arc<Graph> {
        match (&task.undo, self.executions.get(&task.within)) {
            (Some(undo), _) => &undo.graph,
            (None, Some(execution)) => &execution.graph,
            (None, None) => &self.graph,
        }
    }

    fn line(&self, within: u64, branch: u32) -> Option<&Line> {
        let lines = &self.executions.get(&within)?.lines;
        lines.iter().find(|line| line.id == branch)
    }
}

impl Task {
    /// The step without what it waits for, which may be large.
    fn place(&self) -> Self {
        Self {
            error: None,
            undo: self.undo.clone(),
            doing: Doing::Call,
            ..*self
        }
    }

    fn owed(&self, step: u64) -> Option<Owed> {
        let (attempt, until) = (self.attempt, self.until());
        match &self.doing {
            Doing::Call => Some(Owed::Call { step, attempt }),
            Doing::Signal(_) => Some(Owed::Wait { step, until }),
            _ => until.map(|_| Owed::Wait { step, until }),
        }
    }

    /// When time alone takes it further.
    fn until(&self) -> Option<Timestamp> {
        match &self.doing {
            Doing::Pause(until) | Doing::Sleep(until) => Some(*until),
            Doing::Signal(until) | Doing::Graph(until) => *until,
            // Without items, nothing else does.
            Doing::Map(items) if items.all.is_empty() => Some(self.started_at),
            Doing::Map(_) | Doing::Call => None,
        }
    }
}
