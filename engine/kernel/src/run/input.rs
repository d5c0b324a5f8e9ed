//! The inputs of a run, and the reasons why one is refused.

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

/// An input of [`decide`](super::decide).
#[derive(Clone, Debug)]
pub enum Input {
    /// A function answered.
    Answered {
        /// The step of the call.
        step: u64,
        /// The attempt, from 1.
        attempt: u32,
        /// The answer, or the failure of the call.
        result: Result<Answer, Failure>,
    },
    /// A function wrote lines to its log.
    Logged {
        /// The step of the call.
        step: u64,
        /// The attempt, from 1.
        attempt: u32,
        /// The lines, in order.
        lines: VecDeque<(Level, Arc<str>)>,
    },
    /// A timer may be due.
    Due,
    /// A signal for the run.
    Signal {
        /// The name of the signal.
        name: Arc<str>,
        /// The payload of the signal.
        payload: Json,
        /// The step of the only wait that may take the signal, if the sender names one.
        wait: Option<u64>,
    },
    /// Cancels the run: stops its calls and runs its compensations.
    Cancel {
        /// The reason, for the journal.
        reason: Arc<str>,
        /// The grace period for active calls, in milliseconds.
        grace_ms: u64,
    },
    /// An engine loaded the run, or the run has a slot. A queued run starts; pending calls are repeated,
    /// since none is active; a run that is being cancelled ends. A paused run does not change.
    Activate,
    /// Pauses the run.
    Pause {
        /// The reason, for the journal.
        reason: Arc<str>,
    },
    /// Resumes a paused run. Pending calls that are not in `active_calls` are repeated.
    Resume {
        /// The steps whose calls are active, or were never made.
        active_calls: Vec<u64>,
    },
    /// Retries a failed run: its failed steps run again with a fresh retry budget.
    Retry,
    /// Pins the run to other versions of its graph and functions.
    Upgrade(Box<Upgrade>),
}

/// The versions that an upgraded run is pinned to.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The graph: another version of the run's own graph, or the same one.
    pub graph: Arc<Graph>,
    /// The graphs that it and its inner graphs name, by name.
    pub graphs: Arc<Graphs>,
    /// The functions that these graphs name, by name.
    pub functions: BTreeMap<Arc<str>, FunctionRef>,
}

/// The reason why an input was refused. The run is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The run has ended.
    #[error("the run is over")]
    Over,
    /// The input is not for the latest attempt of an active step.
    #[error("this attempt is not the latest attempt of an active step")]
    Stale,
    /// No node of the run's graphs waits for a signal of this name.
    #[error("no node of the run's graph waits for a signal `{name}`{hint}")]
    NoSuchSignal {
        /// The name of the signal.
        name: Arc<str>,
        /// A suggestion of a similar name, or an empty text.
        hint: String,
    },
    /// The payload does not fit the schema of any wait for the signal.
    #[error("the payload of `{name}` does not fit: {}", list_problems(.problems))]
    Payload {
        /// The name of the signal.
        name: Arc<str>,
        /// Each problem: a JSON pointer into the payload, and the message.
        problems: Vec<(String, String)>,
    },
    /// The signal names a wait that the run does not have.
    #[error(
        "the run has no wait {wait} for this signal: {problem}; `waits` of the run lists those that it has"
    )]
    NoSuchWait {
        /// The number of the wait's step.
        wait: u64,
        /// What the run has instead.
        problem: String,
    },
    /// The signal names a wait that can no longer take a signal.
    #[error("wait {wait} takes no signal any more: {problem}")]
    WaitOver {
        /// The number of the wait's step.
        wait: u64,
        /// The reason, for the journal.
        problem: String,
    },
    /// The run keeps [`MAX_SIGNALS`] signals.
    #[error("the run keeps {MAX_SIGNALS} signals that no wait has taken, the limit: send the signal later")]
    TooManySignals,
    /// The signals that the run keeps take [`MAX_SIGNAL_BYTES`] bytes.
    #[error(
        "the run keeps {kept} bytes of signals that no wait has taken, and {bytes} more would exceed the limit of \
         {MAX_SIGNAL_BYTES} (max_signal_bytes): send again when a wait has taken some, or send less"
    )]
    SignalBytes {
        /// The bytes of the signals that the run keeps.
        kept: usize,
        /// The bytes of this signal.
        bytes: usize,
    },
    /// The run's journal has no room for the input.
    #[error(
        "the run's journal has {bytes} bytes, and {more} more would exceed its limit of {limit} ({name}): the run \
         can be cancelled, or upgraded to a graph with a higher limit"
    )]
    JournalFull {
        /// The size of the journal in bytes.
        bytes: u64,
        /// The bytes that would be added.
        more: usize,
        /// The limit in bytes.
        limit: u64,
        /// The name of the limit.
        name: &'static str,
    },
    /// The run is being cancelled, or compensates after an error.
    #[error("the run is ending: it is being cancelled, or its steps are being compensated")]
    Ending,
    /// The status of the run does not allow the input. The text says what to do instead.
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
