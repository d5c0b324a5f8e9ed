//! Joins: branches become one at a node or at the end.

use heddle_json::Json;

use super::{BranchPosition, Execution, View, fold::Fold};
use crate::graph::NodeIx;

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
