//! Upgrades: a run is pinned to another version of its graph and to other plugins.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    BranchPosition, Graphs, ROOT, Refusal, Run, Status, StepState, Upgrade, apply::time_limit,
    decide::Events, fold::Fold,
};
use crate::{
    event::{Event, FunctionRef},
    graph::{Each, Graph, Map, NodeAction, NodeIx},
    ids::{GraphId, Timestamp},
};

impl Events<'_> {
    pub(super) fn upgrade(&mut self, upgrade: Upgrade) -> Result<(), Refusal> {
        let Upgrade {
            graph,
            graphs,
            functions,
        } = upgrade;
        let run = &self.run;
        let over = run.status.is_over();
        if over && run.retry_point.is_none() {
            return Err(run.refusal(match run.status {
                Status::Failed => "its steps were compensated, so fork it from a step instead",
                _ => "only an active or a failed run can be upgraded",
            }));
        }
        if run.ending.is_some() || run.cancelling.is_some() {
            return Err(run.refusal("it can no longer be upgraded"));
        }
        if run.is_queued() {
            return Err(run.refusal("cancel it and start another, or upgrade it after its start"));
        }
        let mut calls = run
            .active_steps
            .iter()
            .filter(|(_, active_step)| matches!(active_step.state, StepState::Call));
        if let Some(node) = calls.find_map(|(step, _)| run.node_of(*step)) {
            let pause = if run.is_paused() { "" } else { "pause it, and " };
            return Err(run.refusal(&format!(
                "node `{node}` is being called, so {pause}upgrade it after the call"
            )));
        }
        if let Err(problem) = (*run)
            .clone()
            .replace_graphs(graph.clone(), graphs.clone(), self.now)
        {
            return Err(run.refusal(&format!(
                "it cannot be upgraded to graph `{}`: {problem}",
                graph.title()
            )));
        }
        let upgraded = Event::RunUpgraded {
            graph: graph.id.clone(),
            functions,
            graphs: ids(&graphs),
        };
        run.journal_takes_under(&graph, upgraded.size())?;
        self.run.stage(graph.clone(), graphs.clone());
        self.push(upgraded);
        if !over && !self.run.is_suspended() {
            self.continue_from(&[], Vec::new());
        }
        Ok(())
    }
}

/// The ids of the graphs, by name.
fn ids(graphs: &Graphs) -> BTreeMap<Arc<str>, GraphId> {
    let ids = graphs
        .iter()
        .map(|(name, graph)| (name.clone(), graph.id.clone()));
    ids.collect()
}

impl Run {
    /// The ids of the graphs that the run is pinned to, by name.
    pub(super) fn graph_ids(&self) -> BTreeMap<Arc<str>, GraphId> {
        ids(&self.graphs)
    }

    /// Folds `RunUpgraded`.
    pub(super) fn upgraded(
        &mut self,
        graph: &GraphId,
        functions: &BTreeMap<Arc<str>, FunctionRef>,
        graphs: &BTreeMap<Arc<str>, GraphId>,
        at: Timestamp,
    ) -> Fold {
        let staged = self.staged.take();
        let (to, all) = staged
            .filter(|(to, all)| to.id == *graph && ids(all) == *graphs)
            .ok_or("the graphs that it names were not provided")?;
        self.replace_graphs(to, all, at)?;
        self.functions = Arc::new(functions.clone());
        Ok(())
    }

    /// Moves the run to the nodes of the same names in other graphs.
    fn replace_graphs(&mut self, graph: Arc<Graph>, graphs: Arc<Graphs>, at: Timestamp) -> Fold {
        let failed = self.restore_retry_point();
        let limits = self
            .executions
            .iter()
            .map(|(number, of)| (*number, of.graph.max_time_ms));
        let limits: BTreeMap<u64, Option<u64>> = limits.collect();
        let new = self.upgraded_graphs(&graph, &graphs)?;
        for active_step in self.active_steps.values_mut() {
            let (old, new) = match (
                self.executions.get(&active_step.within),
                new.get(&active_step.within),
            ) {
                (Some(execution), Some(new)) => (&execution.graph, new),
                _ => return Err("a step belongs to no active execution".to_owned()),
            };
            active_step.node = same_action_in(old, new, active_step.node, "is at")?;
        }
        for (number, execution) in &mut self.executions {
            let new = &new[number];
            for branch in &mut execution.branches {
                branch.position = match &branch.position {
                    BranchPosition::End => BranchPosition::End,
                    BranchPosition::Step(node) => {
                        BranchPosition::Step(same_action_in(&execution.graph, new, *node, "is at")?)
                    }
                    BranchPosition::Before(node, error) => BranchPosition::Before(
                        node_in(&execution.graph, new, *node, "waits before")?,
                        error.clone(),
                    ),
                };
                let policies = (&execution.graph.policies, &new.policies);
                if let Some(key) = branch
                    .view
                    .changed()
                    .find(|key| policies.0.get(*key) != policies.1.get(*key))
                {
                    return Err(format!(
                        "branches changed `{key}` and have not met, and the new graph merges it in another way"
                    ));
                }
            }
            execution.graph = new.clone();
        }
        for undo in &mut self.undo {
            let new = match &undo.name {
                None => &graph,
                Some(name) => graphs.get(name).ok_or_else(|| {
                    format!(
                        "the run may have to compensate a step of graph `{name}`, which the new one does not run"
                    )
                })?,
            };
            undo.node = same_action_in(&undo.graph, new, undo.node, "may have to compensate a step with")?;
            undo.graph = new.clone();
        }
        self.graph = graph;
        self.graphs = graphs;
        // The time of a pause is added when the run resumes.
        let at = self.paused.as_ref().map_or(at, |paused| paused.since);
        self.set_limits(|number, graph, until| match (limits.get(&number), until) {
            (Some(Some(old)), Some(until)) => longer(until, graph.max_time_ms?, *old),
            _ => time_limit(graph, at),
        })?;
        if failed {
            self.clear_active(true);
        }
        Ok(())
    }

    /// The graph that replaces the graph of each execution.
    fn upgraded_graphs(&mut self, graph: &Arc<Graph>, graphs: &Graphs) -> Fold<BTreeMap<u64, Arc<Graph>>> {
        let mut new = BTreeMap::from([(ROOT, graph.clone())]);
        let mut names = Vec::new();
        // An execution has a higher number than the execution around it.
        for number in self.executions.keys().filter(|number| **number != ROOT) {
            let active_step = self
                .active_steps
                .get(number)
                .ok_or("an execution belongs to no step")?;
            let outer = new.get(&active_step.within).cloned();
            let outer: Arc<Graph> = outer.ok_or("a step belongs to no execution")?;
            let at = same_action_in(self.graph_of(active_step), &outer, active_step.node, "is at")?;
            let name = outer.node(at).action.graph().ok_or("its node runs no graph")?;
            let inner = graphs
                .get(name)
                .ok_or_else(|| format!("graph `{name}` is missing"))?;
            names.push((*number, name.clone()));
            new.insert(*number, inner.clone());
        }
        for (number, name) in names {
            if let Some(execution) = self.executions.get_mut(&number) {
                execution.name = Some(name);
            }
        }
        Ok(new)
    }
}

/// The end of a time limit whose length changes.
fn longer(until: Timestamp, new_ms: u64, old_ms: u64) -> Option<Timestamp> {
    let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    Some(Timestamp(
        until.0.saturating_sub(ms(old_ms)).saturating_add(ms(new_ms)),
    ))
}

/// The node of the same name in another graph.
fn node_in(old: &Graph, new: &Graph, node: NodeIx, what: &str) -> Fold<NodeIx> {
    let name = &old.node(node).name;
    new.find(name)
        .ok_or_else(|| format!("the run {what} node `{name}`, which the new graph does not have"))
}

/// The node of the same name in another graph, if its action is of the same kind.
fn same_action_in(old: &Graph, new: &Graph, node: NodeIx, what: &str) -> Fold<NodeIx> {
    let at = node_in(old, new, node, what)?;
    let (before, after) = (
        action_label(&old.node(node).action),
        action_label(&new.node(at).action),
    );
    if before == after {
        return Ok(at);
    }
    let name = &old.node(node).name;
    Err(format!(
        "the run {what} node `{name}`, which {before} in its graph and {after} in the new one"
    ))
}

/// The kind of an action, as far as an active step depends on it.
fn action_label(action: &NodeAction) -> String {
    match action {
        NodeAction::Call { .. } => "calls a function".to_owned(),
        NodeAction::Map(Map {
            each: Each::Call { .. },
            ..
        }) => "maps with a function".to_owned(),
        NodeAction::Map(_) => "maps with a graph".to_owned(),
        NodeAction::Graph { .. } => "runs a graph".to_owned(),
        NodeAction::Sleep(_) => "sleeps".to_owned(),
        NodeAction::Wait(wait) => format!("waits for signal `{}`", wait.signal.source()),
    }
}
