//! Branches that become one, at a node or at the end.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};
use serde::{Deserialize, Serialize};

use super::{ActiveStep, BranchPosition, Execution, ROOT, Run, View, apply::Fold};
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
    pub place: BranchPlace,
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
pub enum BranchPlace {
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
        match &self.kept {
            Some(kept) => branches(&kept.executions, &kept.active_steps),
            None if self.executions.contains_key(&ROOT) => branches(&self.executions, &self.active_steps),
            None => self.last_branches.clone(),
        }
    }
}

fn branches(
    executions: &BTreeMap<u64, Execution>,
    active_steps: &BTreeMap<u64, ActiveStep>,
) -> Vec<BranchView> {
    let mut room = MAX_BRANCH_BYTES;
    let parted = executions.iter().filter(|(_, of)| of.lines.len() > 1);
    let all = parted.flat_map(|(within, of)| of.lines.iter().map(move |line| (within, of, line)));
    let all = all.map(|(within, of, line)| {
        let (place, node) = match &line.at {
            BranchPosition::Step(node) => (BranchPlace::At, Some(node)),
            BranchPosition::Before(node, _) => (BranchPlace::Before, Some(node)),
            BranchPosition::End => (BranchPlace::Ended, None),
        };
        let taken = |task: &ActiveStep| {
            (task.within, task.branch) == (*within, line.id) && task.item.is_none() && task.undo.is_none()
        };
        let (mut changed, mut left_out) = (Object::default(), 0);
        for key in line.view.changed() {
            let Some(value) = line.view.state.get(key) else {
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
            branch: line.id,
            within: *within,
            place,
            node: node.map(|node| of.graph.node(*node).name.clone()),
            step: active_steps
                .iter()
                .find(|(_, task)| taken(task))
                .map(|(step, _)| *step),
            changed,
            left_out,
        }
    });
    all.collect()
}

impl Execution {
    pub(super) fn position(&self, branch: u32) -> Fold<usize> {
        let at = self.lines.iter().position(|line| line.id == branch);
        at.ok_or_else(|| format!("branch {branch} is not under way"))
    }

    /// Branches that came to a node become one, which takes the step. Gives the error that led there.
    pub(super) fn join(&mut self, branch: u32, joined: &[u32], node: NodeIx) -> Fold<Option<Json>> {
        let at = self.position(branch)?;
        if !joined.is_empty() {
            let views: Vec<&View> = self
                .lines
                .iter()
                .filter(|line| line.id == branch || joined.contains(&line.id))
                .map(|line| &line.view)
                .collect();
            let view = View::merge(&views, &self.graph.policies)
                .map_err(|conflict| format!("key `{}` does not merge", conflict.key))?;
            self.lines[at].view = view;
        }
        let mut error = None;
        let mut steps = 0;
        for line in self
            .lines
            .iter()
            .filter(|line| line.id == branch || joined.contains(&line.id))
        {
            steps = steps.max(line.steps);
            if let BranchPosition::Before(_, Some(told)) = &line.at {
                error = error.or(Some(told.clone()));
            }
        }
        self.lines[at].at = BranchPosition::Step(node);
        self.lines[at].steps = steps + 1;
        self.lines.retain(|line| !joined.contains(&line.id));
        self.settle();
        Ok(error)
    }

    /// Branches that ended next to each other become one: the state at the end is folded in the
    /// order of the branches, so it does not matter when. Those that do not fit together are kept for
    /// the end, which tells.
    pub(super) fn gather_ends(&mut self) {
        if self.lines.len() < 2 {
            return;
        }
        let mut at = 1;
        while at < self.lines.len() {
            let pair = [&self.lines[at - 1], &self.lines[at]];
            if pair.iter().all(|line| matches!(line.at, BranchPosition::End))
                && let Ok(view) = View::merge(&pair.map(|line| &line.view), &self.graph.policies)
            {
                self.lines[at - 1].view = view;
                self.lines[at - 1].steps = self.lines[at - 1].steps.max(self.lines[at].steps);
                self.lines.remove(at);
            } else {
                at += 1;
            }
        }
        self.settle();
    }

    fn settle(&mut self) {
        if let [line] = self.lines.as_mut_slice() {
            line.view.settle();
            self.parted = None;
        }
    }
}
