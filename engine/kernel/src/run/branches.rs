//! Branches that become one, at a node or at the end.

use super::{At, Execution, View, apply::Fold};
use crate::{graph::NodeIx, object::Json};

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
        for line in self
            .lines
            .iter()
            .filter(|line| line.id == branch || joined.contains(&line.id))
        {
            if let At::Before(_, Some(told)) = &line.at {
                error = error.or(Some(told.clone()));
            }
        }
        self.lines[at].at = At::Step(node);
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
            if pair.iter().all(|line| matches!(line.at, At::End))
                && let Ok(view) = View::merge(&pair.map(|line| &line.view), &self.graph.policies)
            {
                self.lines[at - 1].view = view;
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
        }
    }
}
