//! The pending work of a run: the calls to make and the waits, derived from its state.

use std::sync::Arc;

use super::{ActiveStep, Run, StepState};
use crate::{event::Event, ids::Timestamp};

/// A call to make, or a wait for a timer or a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingWork {
    /// A call of a function. [`Run::prepare`] gives the function and its input.
    Call {
        /// The number of the step.
        step: u64,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// A wait for a signal or a timer.
    Wait {
        /// The number of the step.
        step: u64,
        /// When the timer is due, if there is one.
        until: Option<Timestamp>,
    },
}

/// Identifies a call: an attempt of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The number of the step.
    pub step: u64,
    /// The number of the attempt, from 1.
    pub attempt: u32,
}

impl Run {
    /// The pending work in the order of the steps, derived from the run's state alone. While the run [is
    /// suspended](Self::is_suspended), the calls in it may be active but must not be made.
    pub fn pending_work(&self) -> impl Iterator<Item = PendingWork> + '_ {
        self.active_steps
            .iter()
            .filter_map(|(step, active_step)| active_step.pending_work(*step))
    }

    /// The pending work of one step.
    pub fn pending_work_at(&self, step: u64) -> Option<PendingWork> {
        self.active_steps.get(&step)?.pending_work(step)
    }

    /// The pending calls in the order of the steps: the calls in the [pending work](Self::pending_work).
    pub fn pending_calls(&self) -> impl Iterator<Item = CallId> + '_ {
        self.pending_work().filter_map(|work| match work {
            PendingWork::Call { step, attempt } => Some(CallId { step, attempt }),
            PendingWork::Wait { .. } => None,
        })
    }

    /// Whether the run still needs this call.
    pub fn is_call_pending(&self, call: CallId) -> bool {
        let CallId { step, attempt } = call;
        self.pending_work_at(step) == Some(PendingWork::Call { step, attempt })
    }

    /// Whether the next event may end pending calls, apart from a call whose answer it records.
    pub(super) fn may_end_calls(&self, next: &Event) -> bool {
        let state = |step| self.active_steps.get(step).map(|active_step| &active_step.state);
        match next {
            // A new attempt replaces a call that is pending.
            Event::StepStarted { step, attempt, .. } => {
                *attempt > 1 && matches!(state(step), Some(StepState::Call))
            }
            // The step ends with everything that is active inside of it.
            Event::StepFailed { step, .. } => {
                matches!(state(step), Some(StepState::Graph(_) | StepState::Map(_)))
            }
            // The calls at the failure are pending again until their next attempts replace them.
            Event::RunRetried | Event::UndoStarted { .. } => true,
            next => next.ends_run(),
        }
    }

    /// An active step.
    pub fn active_step(&self, step: u64) -> Option<&ActiveStep> {
        self.active_steps.get(&step)
    }

    /// The numbers of the active steps, in order.
    pub fn active_step_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.active_steps.keys().copied()
    }

    /// The name of the node of an active step.
    pub fn node_of(&self, step: u64) -> Option<Arc<str>> {
        let active_step = self.active_steps.get(&step)?;
        Some(self.graph_of(active_step).node(active_step.node).name.clone())
    }

    /// The names of the nodes of active steps, each once, in the order of the steps. Steps for items of a map
    /// are left out.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let mut nodes: Vec<Arc<str>> = Vec::new();
        for active_step in self
            .active_steps
            .values()
            .filter(|active_step| active_step.item.is_none())
        {
            let name = &self.graph_of(active_step).node(active_step.node).name;
            if !nodes.contains(name) {
                nodes.push(name.clone());
            }
        }
        nodes
    }
}

impl ActiveStep {
    pub(super) fn pending_work(&self, step: u64) -> Option<PendingWork> {
        let (attempt, until) = (self.attempt, self.until());
        match &self.state {
            StepState::Call => Some(PendingWork::Call { step, attempt }),
            StepState::Signal(..) => Some(PendingWork::Wait { step, until }),
            _ => until.map(|_| PendingWork::Wait { step, until }),
        }
    }
}
