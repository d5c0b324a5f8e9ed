//! Branches that become one, at a node or at the end.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use super::{ActiveStep, BranchPosition, Execution, ROOT, Run, Status, View, apply::Fold};
use crate::graph::NodeIx;

/// One of several branches of an execution, as it is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BranchView {
    /// Its number.
    pub branch: u32,
    /// The step of the node that runs the branch's graph; 0 for the run's own graph.
    #[serde(default)]
    pub within: u64,
    /// Where it is.
    pub place: BranchStatus,
    /// The node that it is at, or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// The step that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// The keys that it changed since the branches parted, with their values in this branch.
    pub changed: Object,
    /// How many of these keys are left out of `changed`, so that all branches stay within [`MAX_BRANCH_BYTES`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: usize,
}

/// How many bytes the keys and values of all branches together take that are shown of a run.
pub const MAX_BRANCH_BYTES: usize = 1 << 20;

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Where a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchStatus {
    /// It takes a step at a node.
    At,
    /// It waits before a node for other branches, or did when the run was over.
    Before,
    /// It has ended.
    Ended,
}

impl Run {
    /// The branches of every execution that has several, in the order of the executions and in that of the forks.
    /// Once the run is over, those that there were when it ended.
    pub fn branches(&self) -> Vec<BranchView> {
        match &self.retry_point {
            Some(kept) => branches(&kept.executions, &kept.active_steps),
            None if self.executions.contains_key(&ROOT) => branches(&self.executions, &self.active_steps),
            None => self.last_branches.clone(),
        }
    }

    /// What the graph declares as its output, once the run has finished. `None` where it declares none.
    pub fn output(&self) -> Option<Object> {
        let declared = self.graph.output.is_some() && self.status == Status::Finished;
        declared.then(|| self.graph.output_of(self.state()))
    }

    /// The state. While there are several branches, it is what all of them agree on: the state when they parted,
    /// with what they changed since and what merges. A key whose changes do not merge has the value that it had
    /// when they parted; [`branches`](Self::branches) has what each branch made of it.
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

    /// Branches that came to a node become one, which takes the step. Gives the error that led there.
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
            if let BranchPosition::Before(_, Some(told)) = &branch.position {
                error = error.or(Some(told.clone()));
            }
        }
        self.branches[at].position = BranchPosition::Step(node);
        self.branches[at].steps = steps + 1;
        self.branches.retain(|branch| !joined.contains(&branch.id));
        self.collapse_single_branch();
        Ok(error)
    }

    /// Branches that ended next to each other become one: the state at the end is folded in the
    /// order of the branches, so it does not matter when. Those that do not fit together are kept for
    /// the end, which tells.
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
            branch.view.forget_changes();
            self.state_at_fork = None;
        }
    }
}
