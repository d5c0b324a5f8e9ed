//! The limit of a run's journal: the number of bytes that its events may take.
//!
//! A run whose journal is full fails. The limit does not count the events of that failure, so they always
//! fit, and compensations get a quarter of the limit in addition. Only the limit of the run's own graph
//! applies: inner graphs write to the same journal.

use super::{Refusal, Run, decide::Events};
use crate::{
    event::{Event, Failure, FailureKind},
    graph::Graph,
};

/// The least room for compensations, in bytes.
const MIN_UNDO_BYTES: u64 = 1 << 20;

/// The limit for the journal of a run that failed because of `limit`, in bytes: including the events of the
/// failure and of the compensations.
pub fn with_room_to_fail(limit: u64) -> u64 {
    limit.saturating_add((limit / 4).max(MIN_UNDO_BYTES))
}

impl Run {
    /// The limit for the run's events in bytes, and its name: the lower one of the graph's limit and the
    /// engine's.
    pub fn journal_limit(&self) -> (u64, &'static str) {
        self.journal_limit_under(&self.graph)
    }

    fn journal_limit_under(&self, graph: &Graph) -> (u64, &'static str) {
        match graph.max_journal_bytes {
            Some(limit) if limit < self.max_journal_bytes => (limit, "limits.journal"),
            _ => (self.max_journal_bytes, "max_journal_bytes"),
        }
    }

    /// Whether a run that has not ended has reached its limit.
    pub(super) fn is_journal_full(&self) -> bool {
        self.journal_bytes >= self.journal_limit().0 && !self.status.is_over() && self.ending.is_none()
    }

    /// Checks that the journal has room for `more` bytes from outside.
    ///
    /// # Errors
    /// A refusal that names the limit.
    pub(super) fn journal_takes(&self, more: usize) -> Result<(), Refusal> {
        self.journal_takes_under(&self.graph, more)
    }

    /// Checks the same under the limit of the graph that the run is upgraded to.
    pub(super) fn journal_takes_under(&self, graph: &Graph, more: usize) -> Result<(), Refusal> {
        let (limit, name) = self.journal_limit_under(graph);
        match self.journal_bytes.saturating_add(more as u64) {
            bytes if bytes <= limit => Ok(()),
            _ => Err(Refusal::JournalFull {
                bytes: self.journal_bytes,
                more,
                limit,
                name,
            }),
        }
    }

    /// The reason why no further step is compensated, if the journal has no room.
    pub(super) fn no_room_to_undo(&self) -> Option<String> {
        let (limit, name) = self.journal_limit();
        let most = with_room_to_fail(limit);
        (self.journal_bytes > most && !self.undo.is_empty()).then(|| {
            format!(
                "{} steps, since the run's journal has {} bytes, more than its limit of {limit} ({name}) and the room for \
                 undoing",
                self.undo.len(),
                self.journal_bytes
            )
        })
    }
}

impl Events<'_> {
    /// Fails the run because its journal is full.
    pub(super) fn journal_full(&mut self) {
        let (limit, name) = self.run.journal_limit();
        let message = format!(
            "the run's journal takes {} bytes, and its limit is {limit} ({name}): have its steps return and log less, split \
             the work into several runs, or raise the limit",
            self.run.journal_bytes
        );
        self.fail_run(Failure::new(FailureKind::JournalLimit, message));
    }
}

impl Event {
    /// The approximate size of the event in the journal, in bytes.
    pub fn size(&self) -> usize {
        const FIXED: usize = 160;
        let data = |failure: &Failure| {
            let data = failure.data.as_ref();
            failure.message.len() + data.map_or(0, |data| data.get().len())
        };
        FIXED
            + match self {
                Self::RunStarted {
                    state,
                    functions,
                    graphs,
                    ..
                } => state.size() + (functions.len() + graphs.len()) * FIXED,
                Self::StepFinished { update, next, .. } => {
                    let arms = match next {
                        crate::event::Next::Fork(arms) => arms.len(),
                        _ => 0,
                    };
                    update.size() + arms * 32
                }
                Self::GraphStarted { state, .. } => state.size(),
                Self::MapStarted { items, .. } => items.get().len(),
                Self::ItemFinished { result, .. } => result.as_ref().map_or(0, |result| result.get().len()),
                Self::SignalReceived { name, payload, .. } => name.len() + payload.get().len(),
                Self::Log { message, .. } => message.len(),
                Self::StepFailed { failure, .. } => data(failure),
                Self::RunForked {
                    run,
                    edits,
                    functions,
                    graphs,
                    ..
                } => run.get().len() + edits.size() + (functions.len() + graphs.len()) * FIXED,
                Self::RunUpgraded {
                    functions, graphs, ..
                } => (functions.len() + graphs.len()) * FIXED,
                Self::RunPaused { reason } | Self::CancelRequested { reason, .. } => reason.len(),
                Self::UndoStarted { error, reason } => {
                    let error = error.as_ref().map_or(0, |error| data(&error.failure()));
                    error + reason.as_ref().map_or(0, |reason| reason.len())
                }
                Self::RunFailed { error } => data(&error.failure()),
                Self::RunCancelled { reason, problems } => {
                    reason.len() + problems.iter().map(|problem| problem.len()).sum::<usize>()
                }
                Self::StepStarted { wait, joined, .. } => {
                    let texts = wait.iter().flat_map(|wait| [&wait.signal, &wait.prompt]);
                    let texts: usize = texts.flatten().map(|text| text.len()).sum();
                    texts + joined.len() * 8
                }
                Self::RunResumed | Self::RunRetried | Self::RunFinished => 0,
            }
    }
}
