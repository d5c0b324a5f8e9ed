//! Joins: branches become one at a node or at the end.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use super::{ActiveStep, BranchPosition, Execution, ROOT, Run, Status, View, fold::Fold};
use crate::graph::NodeIx;

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

impl Execution {
    pub(super) fn position(&self, id: u32) -> Fold<usize> {
        let at = self.branches.iter().position(|branch| branch.id == id);
        at.ok_or_else(|| format!("branch {id} is not active"))
    }

    /// Joins the branches that arrived at a node; branch `id` takes the step. Returns the error that led
    /// there, if any.
    pub(super) fn join(&mut self, id: u32, joined: &[u32], node: NodeIx) -> Fold<Option<Json>> {
        let at = self.position(id)?;
        if !joined.is_empty() {
            let views: Vec<&View> = self
                .branches
                .iter()
                .filter(|branch| branch.id == id || joined.contains(&branch.id))
                .map(|branch| &branch.view)
                .collect();
            let view = View::merge(&views, &self.graph.policies)
                .map_err(|conflict| format!("key `{}` does not merge", conflict.key))?;
            self.branches[at].view = view;
        }
        let mut error = None;
        let mut steps = 0;
        for branch in self
            .branches
            .iter()
            .filter(|branch| branch.id == id || joined.contains(&branch.id))
        {
            steps = steps.max(branch.steps);
            if let BranchPosition::Before(_, Some(cause)) = &branch.position {
                error = error.or(Some(cause.clone()));
            }
        }
        self.branches[at].position = BranchPosition::Step(node);
        self.branches[at].steps = steps + 1;
        self.branches.retain(|branch| !joined.contains(&branch.id));
        self.collapse_single_branch();
        Ok(error)
    }

    /// Joins branches that ended next to each other. The final state is merged in the order of the branches,
    /// so the time of the join does not matter. Branches that do not merge are kept until the end of the
    /// execution, which reports the conflict.
    pub(super) fn merge_ended_branches(&mut self) {
        if self.branches.len() < 2 {
            return;
        }
        let mut at = 1;
        while at < self.branches.len() {
            let pair = [&self.branches[at - 1], &self.branches[at]];
            if pair
                .iter()
                .all(|branch| matches!(branch.position, BranchPosition::End))
                && let Ok(view) = View::merge(&pair.map(|branch| &branch.view), &self.graph.policies)
            {
                self.branches[at - 1].view = view;
                self.branches[at - 1].steps = self.branches[at - 1].steps.max(self.branches[at].steps);
                self.branches.remove(at);
            } else {
                at += 1;
            }
        }
        self.collapse_single_branch();
    }

    fn collapse_single_branch(&mut self) {
        if let [branch] = self.branches.as_mut_slice() {
            branch.view.clear_changes();
            self.state_at_fork = None;
        }
    }
}
