//! Branches move along edges: they leave a node, fork, wait before a node for branches that can still reach
//! it, and join there.

use std::sync::Arc;

use heddle_expr::suggest::did_you_mean;
use heddle_json::{Json, Object, object::to_json};

use super::{
    ActiveStep, BranchPosition, Execution, Outcome, ROOT, Route, View,
    decide::Events,
    outcome::{check_depth, invalid},
};
use crate::{
    event::{Arm, Event, Failure, FailureKind, Item, Next},
    graph::{Case, EdgeTarget, Node, NodeAction, NodeIx},
};

impl Events<'_> {
    /// Starts every step that can start, in every execution in which a branch moved, and continues the maps
    /// with an item that ended.
    pub(super) fn advance(&mut self) {
        if self.run.is_suspended() {
            // When the run continues, `continue_from` queues every execution and map again.
            self.ready_executions.clear();
            return self.ready_maps.clear();
        }
        loop {
            if self.run.is_journal_full() {
                return self.journal_full();
            }
            if let Some(map) = self.ready_maps.pop() {
                self.advance_map(map);
            } else if !self.ready_executions.is_empty() {
                // Executions continue in the order in which their branches moved, so that the items of a map
                // start in their order.
                let execution = self.ready_executions.remove(0);
                while let Some(at) = self.run.executions.get(&execution).and_then(Execution::ready) {
                    match at {
                        EdgeTarget::Node(node) => self.visit(execution, node),
                        EdgeTarget::End => self.finish_execution(execution),
                    }
                    if self.run.is_journal_full() {
                        break;
                    }
                }
            } else {
                return;
            }
        }
    }

    /// Joins the branches before a node and starts the step.
    fn visit(&mut self, number: u64, node: NodeIx) {
        let execution = &self.run.executions[&number];
        let graph = execution.graph.clone();
        let name = graph.node(node).name.clone();
        let here = execution
            .branches
            .iter()
            .filter(|branch| matches!(branch.position, BranchPosition::Before(at, _) if at == node));
        let views: Vec<&View> = here.clone().map(|branch| &branch.view).collect();
        let mut joined = here.clone().map(|branch| branch.id);
        let branch = joined.next().expect("a branch is ready to visit the node");
        let joined: Vec<u32> = joined.collect();
        if execution.steps >= graph.max_steps {
            let (what, limit) = (if number == ROOT { "run" } else { "graph" }, graph.max_steps);
            let message = format!(
                "the {what} took {limit} steps, its limit, and was about to visit `{name}`: \
                 it may be in an endless loop; if not, raise `limits.steps` in the graph"
            );
            return self.fail_execution(number, &name, Failure::new(FailureKind::StepLimit, message));
        }
        let view = match View::merge(&views, &graph.policies) {
            Ok(view) => view,
            Err(conflict) => return self.fail_execution(number, &name, conflict.failure(&name)),
        };
        let step = self.run.steps + 1;
        let taken = here.map(|branch| branch.steps).max().unwrap_or(0) + 1;
        let wait_plan = self.wait_plan(execution, view.state, taken, &graph.node(node).action);
        self.push(Event::StepStarted {
            step,
            branch,
            node: name,
            attempt: 1,
            within: number,
            joined,
            item: None,
            until: wait_plan.until,
            undoes: None,
            wait: wait_plan.wait,
        });
        self.start_action_unless(step, wait_plan.problem);
    }

    /// Starts the action of a step, or fails the step if the problem is known.
    pub(super) fn start_action_unless(&mut self, step: u64, problem: Option<Failure>) {
        match problem {
            Some(failure) => self.fail_step(step, failure),
            None => self.start_action(step),
        }
    }

    /// Starts the action of a step, other than a call.
    pub(super) fn start_action(&mut self, step: u64) {
        let active_step = self.active_step(step);
        let graph = self.run.graph_of(&active_step).clone();
        let node = graph.node(active_step.node);
        let opened = match (&node.action, active_step.item) {
            (NodeAction::Call { .. } | NodeAction::Sleep(_), _) => Ok(()),
            (NodeAction::Wait(_), _) => {
                self.deliver(step);
                Ok(())
            }
            (NodeAction::Map(map), None) => self.start_map(step, &active_step, map),
            (action, _) => match action.graph() {
                Some(name) => self.start_graph(step, &active_step, node, name),
                None => Ok(()),
            },
        };
        if let Err(failure) = opened {
            self.fail_step(step, failure);
        }
    }

    fn start_graph(
        &mut self,
        step: u64,
        active_step: &ActiveStep,
        node: &Node,
        name: &Arc<str>,
    ) -> Result<(), Failure> {
        let depth = self
            .run
            .executions
            .get(&active_step.within)
            .map_or(0, |of| of.depth)
            + 1;
        if depth > super::MAX_DEPTH {
            return Err(Failure::new(
                FailureKind::DepthLimit,
                format!(
                    "graph `{name}` was not run: inner graphs are nested deeper than the limit of {}",
                    super::MAX_DEPTH
                ),
            ));
        }
        if !self.run.graphs.contains_key(name) {
            return Err(Failure::new(
                FailureKind::Unavailable,
                format!("graph `{name}` is not among those that the run was started with"),
            ));
        }
        let (state, _) = self.run.input_of(active_step, node)?;
        let graph = name.clone();
        self.push(Event::GraphStarted { step, graph, state });
        self.queue_execution(step);
        Ok(())
    }

    /// Finishes an execution whose branches have all ended.
    fn finish_execution(&mut self, number: u64) {
        let execution = &self.run.executions[&number];
        let views: Vec<&View> = execution.branches.iter().map(|branch| &branch.view).collect();
        let state = match View::merge(&views, &execution.graph.policies) {
            Ok(view) => view.state,
            Err(conflict) => {
                let failure = conflict.failure("end");
                let node = conflict.nodes[1].clone();
                return self.fail_execution(number, &node, failure);
            }
        };
        if number == ROOT {
            return self.push(Event::RunFinished);
        }
        let state = execution.graph.output_of(state);
        let active_step = self.active_step(number);
        let result = to_json(&state);
        if let Err(failure) = check_depth("the state of the graph", &result) {
            return self.fail_step(number, failure);
        }
        if let Some(item) = active_step.item {
            if let Err(failure) = self.check_and_finish_item(number, item, result) {
                self.fail_step(number, failure);
            }
            return;
        }
        let output = self
            .run
            .graph_of(&active_step)
            .node(active_step.node)
            .output
            .clone();
        let update = match &output {
            Some(output) => self.output_update(&active_step, output, result.clone()),
            // Without an output, the update is what the graph changed of its input.
            None => Ok(changes(&execution.input, &state)),
        };
        let finished = update.and_then(|update| {
            let route = Route::Edges;
            self.finish(
                number,
                &active_step,
                Outcome { update, route },
                Some(result),
                None,
            )
        });
        if let Err(failure) = finished {
            self.fail_step(number, failure);
        }
    }

    /// Records the outcome of a step, and moves its branch. `result` is the value that conditions see as
    /// `node`; by default the update.
    pub(super) fn finish(
        &mut self,
        step: u64,
        active_step: &ActiveStep,
        outcome: Outcome,
        result: Option<Json>,
        signal: Option<u64>,
    ) -> Result<(), Failure> {
        let Outcome { update, route } = outcome;
        let graph = self.run.graph_of(active_step).clone();
        let name = graph.node(active_step.node).name.clone();
        self.check_state_size(active_step, &update)?;
        let needs_state = route == Route::Edges
            && graph
                .node(active_step.node)
                .edges
                .iter()
                .any(|case| case.when.is_some());
        let mut after = Object::default();
        // The state after the step is computed in advance only if conditions or policies need it.
        if needs_state || !graph.policies.is_empty() {
            let view = self
                .run
                .branch(active_step.within, active_step.branch)
                .map(|branch| &branch.view);
            let mut view = view.cloned().unwrap_or_default();
            let write = view.write(&graph.policies, &update, (step, &name), false);
            write.map_err(|(key, problem)| {
                invalid(format!(
                    "node `{name}` gave key `{key}` a value that its merge policy cannot take: {problem}"
                ))
            })?;
            after = view.state;
        }
        let result = || result.unwrap_or_else(|| to_json(&update));
        let to = self.targets(active_step, &route, after, result)?;
        let next = self.next(&to, active_step);
        self.push(Event::StepFinished {
            step,
            node: name,
            attempt: active_step.attempt,
            update,
            next,
            signal,
        });
        self.queue_execution(active_step.within);
        Ok(())
    }

    /// Fails if the state with the update would exceed its size limit.
    fn check_state_size(&self, active_step: &ActiveStep, update: &Object) -> Result<(), Failure> {
        let before = self
            .run
            .branch(active_step.within, active_step.branch)
            .map_or(0, |branch| branch.view.state.size());
        let (size, limit) = (before + update.size(), self.run.max_state_bytes);
        if size <= limit {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Limit,
            format!(
                "with this step's update the state would take {size} bytes, more than its limit of {limit} (max_state_bytes)"
            ),
        ))
    }

    /// The branch's targets as an event records them.
    pub(super) fn next(&self, to: &[EdgeTarget], active_step: &ActiveStep) -> Next {
        let graph = self.run.graph_of(active_step);
        match to {
            [EdgeTarget::End] | [] => Next::End,
            [target] => Next::Node(graph.name_of(*target)),
            several => Next::Fork(
                (self.run.next_branch..)
                    .zip(several)
                    .map(|(branch, target)| Arm {
                        branch,
                        to: graph.name_of(*target),
                    })
                    .collect(),
            ),
        }
    }

    /// The targets of a route; `state` is the state with the step's update.
    fn targets(
        &self,
        active_step: &ActiveStep,
        route: &Route,
        state: Object,
        result: impl FnOnce() -> Json,
    ) -> Result<Vec<EdgeTarget>, Failure> {
        let graph = self.run.graph_of(active_step);
        let node = graph.node(active_step.node);
        let names = match route {
            Route::Again => return Ok(vec![EdgeTarget::Node(active_step.node)]),
            Route::End => return Ok(vec![EdgeTarget::End]),
            Route::Goto(names) => names,
            Route::Edges => return self.edge_targets(active_step, state, result),
        };
        if names.is_empty() {
            return Err(invalid(format!(
                "node `{}` answered an empty `next`: name a node, or \"end\"",
                node.name
            )));
        }
        let alone = self.run.executions[&active_step.within].branches.len() == 1;
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            let target = graph.target(name).ok_or_else(|| {
                let all = graph.nodes.iter().map(|node| &*node.name);
                let hint = did_you_mean(name, all.chain(["end"]));
                invalid(format!(
                    "node `{}` answered `next`: `{name}`, which is not a node of the graph{hint}",
                    node.name
                ))
            })?;
            if let EdgeTarget::Node(to) = target
                && !alone
                && to != active_step.node
                && !node.leads.contains(&to)
            {
                return Err(invalid(format!(
                    "node `{}` answered `next`: `{name}`, and the run has several branches: where they meet depends on \
                     where each can go, so declare it in the node, as in \"next\": [\"{name}\"]",
                    node.name
                )));
            }
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        Ok(targets)
    }

    /// Where the edges of a node lead: the first case that holds.
    fn edge_targets(
        &self,
        active_step: &ActiveStep,
        state: Object,
        result: impl FnOnce() -> Json,
    ) -> Result<Vec<EdgeTarget>, Failure> {
        let node = self.run.graph_of(active_step).node(active_step.node);
        if let [Case { when: None, to }] = node.edges.as_slice() {
            return Ok(to.clone());
        }
        let mut env = self.run.step_env(active_step);
        env.state = state;
        env.node = Some(result());
        for case in &node.edges {
            let holds = match &case.when {
                None => true,
                Some(when) => env.holds(when, &format!("a condition of the edges of `{}`", node.name))?,
            };
            if holds {
                return Ok(case.to.clone());
            }
        }
        let tried: Vec<&str> = node
            .edges
            .iter()
            .filter_map(|case| Some(case.when.as_ref()?.source()))
            .collect();
        Err(Failure::new(
            FailureKind::NoCase,
            format!(
                "no case of the edges of `{}` holds ({}): add a last case without `when`",
                node.name,
                tried.join("; ")
            ),
        ))
    }

    /// Starts the step for one item of a map.
    pub(super) fn start_item(&mut self, of: u64, active_step: &ActiveStep, index: u32) {
        let step = self.run.steps + 1;
        let node = self.node_name(active_step);
        self.push(Event::StepStarted {
            step,
            branch: active_step.branch,
            node,
            attempt: 1,
            within: active_step.within,
            joined: Vec::new(),
            item: Some(Item { of, index }),
            until: None,
            undoes: None,
            wait: None,
        });
        self.start_action(step);
    }
}

impl Execution {
    /// The name of a node at which a branch is.
    pub(super) fn at(&self) -> Option<Arc<str>> {
        self.branches.iter().find_map(|branch| match branch.position {
            BranchPosition::Step(node) | BranchPosition::Before(node, _) => {
                Some(self.graph.node(node).name.clone())
            }
            BranchPosition::End => None,
        })
    }

    /// A node whose step can start now, or the end if every branch ended.
    fn ready(&self) -> Option<EdgeTarget> {
        if self
            .branches
            .iter()
            .all(|branch| matches!(branch.position, BranchPosition::End))
        {
            return Some(EdgeTarget::End);
        }
        let mut tried: Vec<NodeIx> = Vec::new();
        for branch in &self.branches {
            if let BranchPosition::Before(node, _) = branch.position
                && !tried.contains(&node)
            {
                if !self.branches.iter().any(|other| self.in_the_way(other, node)) {
                    return Some(EdgeTarget::Node(node));
                }
                tried.push(node);
            }
        }
        None
    }

    /// Whether a branch can still reach a node, so that branches that wait there must wait for it.
    fn in_the_way(&self, branch: &super::Branch, node: NodeIx) -> bool {
        let reach = &self.graph.reach;
        match branch.position {
            BranchPosition::End => false,
            BranchPosition::Step(at) => reach.leads(at, node),
            // A branch before the header of a loop starts the next round only after this round is over.
            BranchPosition::Before(at, _) => at != node && reach.leads(at, node) && !reach.heads(at, node),
        }
    }
}

/// The keys whose values differ, with their new values.
fn changes(before: &Object, after: &Object) -> Object {
    let mut changed = Object::default();
    for (key, value) in after.iter() {
        if before.get(key).is_none_or(|old| old.get() != value.get()) {
            changed.insert(key.clone(), value.clone());
        }
    }
    changed
}
