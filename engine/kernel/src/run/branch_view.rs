//! The branches and the state of a run, as shown to clients.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::Object;
use serde::{Deserialize, Serialize};

use super::{ActiveStep, BranchPosition, Execution, ROOT, Run, Status, View};

/// One of several branches of an execution, as shown to clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BranchView {
    /// The number of the branch, unique in the run.
    pub branch: u32,
    /// The step that runs the branch's graph; 0 for the run's own graph.
    #[serde(default)]
    pub within: u64,
    /// The position of the branch.
    pub place: BranchStatus,
    /// The node that the branch is at or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The active step of the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The keys that the branch changed since the fork, with their values in this branch.
    pub changed: Object,
    /// The number of keys that `changed` leaves out because of [`MAX_BRANCH_BYTES`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// The limit for the keys and values that are shown of all branches of a run, in bytes.
pub const MAX_BRANCH_BYTES: usize = 1 << 20;

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// The position of a branch, as shown to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchStatus {
    /// In a step at a node.
    At,
    /// Before a node, waiting for other branches, or at the end of the run.
    Before,
    /// At the end.
    Ended,
}

impl Run {
    /// The branches of every execution that has several, in the order of the executions and of the forks. For
    /// a run that has ended, the branches at its end.
    pub fn branches(&self) -> Vec<BranchView> {
        match &self.retry_point {
            Some(kept) => branches(&kept.executions, &kept.active_steps),
            None if self.executions.contains_key(&ROOT) => branches(&self.executions, &self.active_steps),
            None => self.last_branches.clone(),
        }
    }

    /// The output that the graph declares, once the run has finished. `None` if the graph declares none.
    pub fn output(&self) -> Option<Object> {
        let declared = self.graph.output.is_some() && self.status == Status::Finished;
        declared.then(|| self.graph.output_of(self.state()))
    }

    /// The state. While there are several branches, this is what they agree on: the state at the fork with
    /// the changes that merge. A key whose changes do not merge has its value at the fork;
    /// [`branches`](Self::branches) has the value of each branch.
    pub fn state(&self) -> Object {
        let Some(own) = self.executions.get(&ROOT) else {
            return self.last.clone();
        };
        let views: Vec<&View> = own.branches.iter().map(|branch| &branch.view).collect();
        View::agreed(&views, &own.graph.policies, own.state_at_fork.as_ref())
    }
}

fn branches(
    executions: &BTreeMap<u64, Execution>,
    active_steps: &BTreeMap<u64, ActiveStep>,
) -> Vec<BranchView> {
    let mut room = MAX_BRANCH_BYTES;
    let parted = executions.iter().filter(|(_, of)| of.branches.len() > 1);
    let all = parted.flat_map(|(within, of)| of.branches.iter().map(move |branch| (within, of, branch)));
    let all = all.map(|(within, of, branch)| {
        let (place, node) = match &branch.position {
            BranchPosition::Step(node) => (BranchStatus::At, Some(node)),
            BranchPosition::Before(node, _) => (BranchStatus::Before, Some(node)),
            BranchPosition::End => (BranchStatus::Ended, None),
        };
        let taken = |active_step: &ActiveStep| {
            (active_step.within, active_step.branch) == (*within, branch.id)
                && active_step.item.is_none()
                && active_step.undo.is_none()
        };
        let (mut changed, mut left_out) = (Object::default(), 0);
        for key in branch.view.changed() {
            let Some(value) = branch.view.state.get(key) else {
                continue;
            };
            match room.checked_sub(key.len() + value.get().len()) {
                Some(rest) => {
                    room = rest;
                    changed.insert(key.clone(), value.clone());
                }
                None => left_out += 1,
            }
        }
        BranchView {
            branch: branch.id,
            within: *within,
            place,
            node: node.map(|node| of.graph.node(*node).name.clone()),
            step: active_steps
                .iter()
                .find(|(_, active_step)| taken(active_step))
                .map(|(step, _)| *step),
            changed,
            left_out,
        }
    });
    all.collect()
}
