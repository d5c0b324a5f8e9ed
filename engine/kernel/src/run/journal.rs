//! The limit of a run's journal: how many bytes its events may take.
//!
//! A run whose journal is full fails, with events that the limit does not count, so there is always room to say why.
//! What is undone then has a quarter of the limit more. Only the limit of the run's own graph applies: the graphs
//! that it runs write into the same journal.

use super::{Refusal, Run, decide::Events};
use crate::{
    event::{Event, Failure, FailureKind},
    graph::Graph,
};

/// The least room for undoing, in bytes.
const MIN_UNDO_BYTES: u64 = 1 << 20;

/// How many bytes the journal of a run may have that failed because of this limit: with the events of the failure, and
/// what was undone.
pub fn with_room_to_fail(limit: u64) -> u64 {
    limit.saturating_add((limit / 4).max(MIN_UNDO_BYTES))
}

impl Run {
    /// How many bytes the events of the run may take, and the name of the limit that says so: the lower one of the
    /// graph's and the engine's.
    pub fn journal_limit(&self) -> (u64, &'static str) {
        self.journal_limit_under(&self.graph)
    }

    fn journal_limit_under(&self, graph: &Graph) -> (u64, &'static str) {
        match graph.max_journal_bytes {
            Some(limit) if limit < self.max_journal_bytes => (limit, "limits.journal"),
            _ => (self.max_journal_bytes, "max_journal_bytes"),
        }
    }

    /// Whether a run that goes on has as many bytes of events as it may.
    pub(super) fn is_journal_full(&self) -> bool {
        self.journal_bytes >= self.journal_limit().0 && !self.status.is_over() && self.ending.is_none()
    }

    /// Whether the journal has room for so many bytes that come from outside.
    ///
    /// # Errors
    /// A refusal with the limit where it has none.
    pub(super) fn journal_takes(&self, more: usize) -> Result<(), Refusal> {
        self.journal_takes_under(&self.graph, more)
    }

    /// The same, once the run has been upgraded to this graph.
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

    /// Why nothing more is undone, where the journal has no room for it.
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
    /// The run fails because its journal is full.
    pub(super) fn journal_full(&mut self) {
        let (limit, name) = self.run.journal_limit();
        let message = format!(
            "the run's journal takes {} bytes, and its limit is {limit} ({name}): have its steps give and log less, split \
             the work into several runs, or raise the limit",
            self.run.journal_bytes
        );
        self.fail_run(Failure::new(FailureKind::JournalLimit, message));
    }
}

impl Event {
    /// About how many bytes the event takes in the journal.
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
