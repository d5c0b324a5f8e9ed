//! The pending work of a run: the calls to make and the events to wait for, derived from its state.

use std::sync::Arc;

use super::{ActiveStep, Run, StepState};
use crate::ids::Timestamp;

/// What a run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingWork {
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

impl Run {
    /// What the run waits for, derived from its state alone, in the order of the steps. While the run
    /// [is held](Self::is_suspended), a call that is owed may be under way, and is not to be made.
    pub fn pending_work(&self) -> impl Iterator<Item = PendingWork> + '_ {
        self.active_steps
            .iter()
            .filter_map(|(step, active_step)| active_step.pending_work(*step))
    }

    /// What the run waits for at one step.
    pub fn pending_work_at(&self, step: u64) -> Option<PendingWork> {
        self.active_steps.get(&step)?.pending_work(step)
    }

    /// A step under way.
    pub fn active_step(&self, step: u64) -> Option<&ActiveStep> {
        self.active_steps.get(&step)
    }

    /// The numbers of the steps that were begun and are neither over nor given up, in order.
    pub fn active_step_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.active_steps.keys().copied()
    }

    /// The name of the node of a step under way.
    pub fn node_of(&self, step: u64) -> Option<Arc<str>> {
        let active_step = self.active_steps.get(&step)?;
        Some(self.graph_of(active_step).node(active_step.node).name.clone())
    }

    /// The nodes at which the run is, each once, in the order of the steps.
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
