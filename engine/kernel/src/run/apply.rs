//! The fold: what each event makes of a run. Nothing is decided here.

use std::sync::Arc;

use super::{Branch, Run, Status};
use crate::{
    event::{Event, Recorded},
    graph::Graph,
    ids::RunId,
};

/// Why a journal cannot be folded into a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An event's number does not follow the one before.
    #[error("event {found} follows event {after}")]
    Gap {
        /// The number before.
        after: u64,
        /// The number that was found.
        found: u64,
    },
    /// The first event is another than `RunStarted`.
    #[error("the journal does not begin with the run's start")]
    NoStart,
    /// An event names something that the graph does not have.
    #[error("event {seq} names node `{node}`, which is not in the run's graph")]
    NoSuchNode {
        /// The event.
        seq: u64,
        /// The node.
        node: Arc<str>,
    },
}

impl Run {
    /// Folds a run from its first event on.
    ///
    /// # Errors
    /// Where the event is not the start of a run.
    pub fn from_first(id: RunId, graph: Arc<Graph>, first: &Recorded) -> Result<Self, FoldError> {
        match (&first.event, first.seq) {
            (Event::RunStarted { .. }, 1) => {
                let mut run = Self::empty(id, graph, first.at);
                run.apply(first);
                Ok(run)
            }
            _ => Err(FoldError::NoStart),
        }
    }

    /// Folds the next event from a journal, which may be damaged.
    ///
    /// # Errors
    /// Where it does not follow, or does not fit the graph. The run is as it was.
    pub fn fold(&mut self, recorded: &Recorded) -> Result<(), FoldError> {
        if recorded.seq != self.seq + 1 {
            return Err(FoldError::Gap {
                after: self.seq,
                found: recorded.seq,
            });
        }
        if let Event::StepStarted { node, .. } = &recorded.event
            && self.graph.find(node).is_none()
        {
            return Err(FoldError::NoSuchNode {
                seq: recorded.seq,
                node: node.clone(),
            });
        }
        self.apply(recorded);
        Ok(())
    }

    /// Folds an event that this engine decided.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        self.seq = recorded.seq;
        self.updated_at = recorded.at;
        match &recorded.event {
            Event::RunStarted { state, functions, .. } => {
                self.state = state.clone();
                self.functions = Arc::new(functions.clone());
            }
            Event::StepStarted {
                step,
                branch,
                node,
                attempt,
            } => {
                let node = self
                    .graph
                    .find(node)
                    .expect("decided for this graph, or checked by `fold`");
                let started_at = match self.branches.get(branch) {
                    Some(before) if before.step == *step => before.started_at,
                    _ => recorded.at,
                };
                self.steps = self.steps.max(*step);
                self.branches.insert(
                    *branch,
                    Branch {
                        node,
                        step: *step,
                        attempt: *attempt,
                        started_at,
                    },
                );
            }
            Event::Log { .. } | Event::StepFailed { .. } => {}
            Event::StepFinished { update, .. } => self.state.merge(update),
            Event::RunFinished => self.end(Status::Finished),
            Event::RunFailed { error } => {
                self.error = Some(error.clone());
                self.end(Status::Failed);
            }
        }
    }

    fn end(&mut self, status: Status) {
        self.status = status;
        self.branches.clear();
    }
}
