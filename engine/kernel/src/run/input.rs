//! What can happen to a run, and why it may not happen now.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use heddle_json::Json;

use super::{Answer, Graphs, MAX_SIGNAL_BYTES, MAX_SIGNALS};
use crate::{
    event::{Failure, FunctionRef, Level},
    graph::Graph,
};

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
        /// The step of the wait that it is for, where the sender names one.
        wait: Option<u64>,
    },
    /// Somebody wants the run to end.
    Cancel {
        /// Why.
        reason: Arc<str>,
        /// How long calls under way may still take, in milliseconds.
        grace_ms: u64,
    },
    /// An engine took the run up: calls that were under way are made again, and a queued run begins. Of one
    /// that is paused nothing follows, and one that is being cancelled ends: no call of it is under way.
    Activate,
    /// Somebody wants the run to stand still.
    Pause {
        /// Why.
        reason: Arc<str>,
    },
    /// A run that was paused goes on: calls that were under way and are not any more are made again.
    Resume {
        /// The steps whose calls are under way, or were never made.
        active_calls: Vec<u64>,
    },
    /// A run that failed goes on from where it failed.
    Retry,
    /// The run keeps to other versions from here on.
    Upgrade(Box<Upgrade>),
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
    #[error("the payload of `{name}` does not fit: {}", list_problems(.problems))]
    Payload {
        /// The signal.
        name: Arc<str>,
        /// What is wrong with it: a JSON pointer into it, and the problem there.
        problems: Vec<(String, String)>,
    },
    /// The signal names a wait that the run does not have.
    #[error(
        "the run has no wait {wait} for this signal: {problem}; `waits` of the run lists those that it has"
    )]
    NoSuchWait {
        /// The wait.
        wait: u64,
        /// What the run has instead.
        problem: String,
    },
    /// The signal names a wait that takes no signal any more.
    #[error("wait {wait} takes no signal any more: {problem}")]
    WaitOver {
        /// The wait.
        wait: u64,
        /// Why.
        problem: String,
    },
    /// The run keeps as many signals as it may.
    #[error("the run keeps {MAX_SIGNALS} signals that nothing has taken, the limit: send again later")]
    TooManySignals,
    /// The signals that the run keeps take as many bytes as they may.
    #[error(
        "the run keeps {kept} bytes of signals that nothing has taken, and {bytes} more would exceed the limit of \
         {MAX_SIGNAL_BYTES} (max_signal_bytes): send again when a wait has taken some, or send less"
    )]
    SignalBytes {
        /// How many bytes it keeps.
        kept: usize,
        /// How many this one takes.
        bytes: usize,
    },
    /// The run's journal has no room for it.
    #[error(
        "the run's journal has {bytes} bytes, and {more} more would exceed its limit of {limit} ({name}): the run \
         can be cancelled, or upgraded to a graph with a higher limit"
    )]
    JournalFull {
        /// How many bytes the journal has.
        bytes: u64,
        /// How many would be added.
        more: usize,
        /// How many it may have.
        limit: u64,
        /// The limit's name.
        name: &'static str,
    },
    /// It is being cancelled, or ends because of an error.
    #[error("the run is ending: it is being cancelled, or what it did is being undone")]
    Ending,
    /// It is in no state for this.
    #[error("{0}")]
    NotNow(String),
}

fn list_problems(problems: &[(String, String)]) -> String {
    let list_problems = problems.iter().map(|(at, problem)| match at.as_str() {
        "" => problem.clone(),
        at => format!("at {at}: {problem}"),
    });
    list_problems.collect::<Vec<_>>().join("; ")
}
