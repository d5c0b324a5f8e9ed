//! Where branches go: out of a node along its edges, and into a node once nothing that could still
//! come there is under way.

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
    /// Has every branch that may go on do so, in every execution in which one moved.
    pub(super) fn settle(&mut self) {
        if self.run.is_held() {
            // What could go on is looked for again when the run does.
            self.moved.clear();
            return self.mapped.clear();
        }
        loop {
            if self.run.is_journal_full() {
                return self.journal_full();
            }
            if let Some(map) = self.mapped.pop() {
                self.go_on(map);
            } else if !self.moved.is_empty() {
                // In the order in which they moved, so that what the items of a map wait for begins in theirs.
                let execution = self.moved.remove(0);
                while let Some(at) = self.run.executions.get(&execution).and_then(Execution::ready) {
                    match at {
                        EdgeTarget::Node(node) => self.enter(execution, node),
                        EdgeTarget::End => self.over(execution),
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

    /// The branches that came to a node become one, which visits it.
    fn enter(&mut self, number: u64, node: NodeIx) {
        let execution = &self.run.executions[&number];
        let graph = execution.graph.clone();
        let name = graph.node(node).name.clone();
        let here: Vec<&super::Branch> = execution
            .lines
            .iter()
            .filter(|line| matches!(line.at, BranchPosition::Before(at, _) if at == node))
            .collect();
        let views: Vec<&View> = here.iter().map(|line| &line.view).collect();
        let branch = here[0].id;
        let joined: Vec<u32> = here[1..].iter().map(|line| line.id).collect();
        if execution.steps >= graph.max_steps {
            let (what, limit) = (if number == ROOT { "run" } else { "graph" }, graph.max_steps);
            let message = format!(
                "the {what} took {limit} steps, its limit, and was about to visit `{name}`: \
                 it may be in an endless loop; if not, raise `limits.steps` in the graph"
            );
            return self.execution_failed(number, &name, Failure::new(FailureKind::StepLimit, message));
        }
        let view = match View::merge(&views, &graph.policies) {
            Ok(view) => view,
            Err(conflict) => return self.execution_failed(number, &name, conflict.failure(&name)),
        };
        let step = self.run.steps + 1;
        let taken = here.iter().map(|line| line.steps).max().unwrap_or(0) + 1;
        let opening = self.opening(execution, view.state, taken, &graph.node(node).action);
        self.push(Event::StepStarted {
            step,
            branch,
            node: name,
            attempt: 1,
            within: number,
            joined,
            item: None,
            until: opening.until,
            undoes: None,
            wait: opening.wait,
        });
        self.open_unless(step, opening.problem);
    }

    /// Opens a step, or has it fail where that is known.
    pub(super) fn open_unless(&mut self, step: u64, problem: Option<Failure>) {
        match problem {
            Some(failure) => self.failed(step, failure),
            None => self.open(step),
        }
    }

    /// Begins what a step does besides calling a function.
    pub(super) fn open(&mut self, step: u64) {
        let task = self.task(step);
        let graph = self.run.graph_of(&task).clone();
        let node = graph.node(task.node);
        let opened = match (&node.action, task.item) {
            (NodeAction::Call { .. } | NodeAction::Sleep(_), _) => Ok(()),
            (NodeAction::Wait(_), _) => {
                self.deliver(step);
                Ok(())
            }
            (NodeAction::Map(map), None) => self.open_map(step, &task, map),
            (does, _) => match does.graph() {
                Some(name) => self.open_graph(step, &task, node, name),
                None => Ok(()),
            },
        };
        if let Err(failure) = opened {
            self.failed(step, failure);
        }
    }

    fn open_graph(
        &mut self,
        step: u64,
        task: &ActiveStep,
        node: &Node,
        name: &Arc<str>,
    ) -> Result<(), Failure> {
        let depth = self.run.executions.get(&task.within).map_or(0, |of| of.depth) + 1;
        if depth > super::MAX_DEPTH {
            return Err(Failure::new(
                FailureKind::DepthLimit,
                format!(
                    "graph `{name}` was not run: graphs run graphs deeper than the limit of {}",
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
        let (state, _) = self.run.given(task, node)?;
        let graph = name.clone();
        self.push(Event::GraphStarted { step, graph, state });
        self.moved(step);
        Ok(())
    }

    /// All branches of an execution ended.
    fn over(&mut self, number: u64) {
        let execution = &self.run.executions[&number];
        let views: Vec<&View> = execution.lines.iter().map(|line| &line.view).collect();
        let state = match View::merge(&views, &execution.graph.policies) {
            Ok(view) => view.state,
            Err(conflict) => {
                let failure = conflict.failure("end");
                let node = conflict.nodes[1].clone();
                return self.execution_failed(number, &node, failure);
            }
        };
        if number == ROOT {
            return self.push(Event::RunFinished);
        }
        let state = execution.graph.output_of(state);
        let task = self.task(number);
        let result = to_json(&state);
        if let Err(failure) = check_depth("the state of the graph", &result) {
            return self.failed(number, failure);
        }
        if let Some(item) = task.item {
            if let Err(failure) = self.item_answered(number, item, result) {
                self.failed(number, failure);
            }
            return;
        }
        let output = self.run.graph_of(&task).node(task.node).output.clone();
        let update = match &output {
            Some(output) => self.put(&task, output, result.clone()),
            // Without an output, what it changed of what it was given is what the node gives.
            None => Ok(changes(&execution.input, &state)),
        };
        let finished = update.and_then(|update| {
            let route = Route::Edges;
            self.finish(number, &task, Outcome { update, route }, Some(result), None)
        });
        if let Err(failure) = finished {
            self.failed(number, failure);
        }
    }

    /// A step's outcome enters the state, and its branch goes on. `result` is what conditions see of
    /// it: the update where there is nothing else.
    pub(super) fn finish(
        &mut self,
        step: u64,
        task: &ActiveStep,
        outcome: Outcome,
        result: Option<Json>,
        signal: Option<u64>,
    ) -> Result<(), Failure> {
        let Outcome { update, route } = outcome;
        let graph = self.run.graph_of(task).clone();
        let name = graph.node(task.node).name.clone();
        self.fits(task, &update)?;
        let asks =
            route == Route::Edges && graph.node(task.node).edges.iter().any(|case| case.when.is_some());
        let mut after = Object::default();
        // What the state will be is only made beforehand where something depends on it.
        if asks || !graph.policies.is_empty() {
            let view = self.run.line(task.within, task.branch).map(|line| &line.view);
            let mut view = view.cloned().unwrap_or_default();
            let write = view.write(&graph.policies, &update, (step, &name), false);
            write.map_err(|(key, problem)| {
                invalid(format!(
                    "node `{name}` gave key `{key}` what its policy cannot take: {problem}"
                ))
            })?;
            after = view.state;
        }
        let result = || result.unwrap_or_else(|| to_json(&update));
        let to = self.places(task, &route, after, result)?;
        let next = self.next(&to, task);
        self.push(Event::StepFinished {
            step,
            node: name,
            attempt: task.attempt,
            update,
            next,
            signal,
        });
        self.moved(task.within);
        Ok(())
    }

    /// Whether the state is not too large with an update.
    fn fits(&self, task: &ActiveStep, update: &Object) -> Result<(), Failure> {
        let before = self
            .run
            .line(task.within, task.branch)
            .map_or(0, |line| line.view.state.size());
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

    /// What an event says of where a step's branch goes.
    pub(super) fn next(&self, to: &[EdgeTarget], task: &ActiveStep) -> Next {
        let graph = self.run.graph_of(task);
        match to {
            [EdgeTarget::End] | [] => Next::End,
            [place] => Next::Node(graph.name_of(*place)),
            several => Next::Fork(
                (self.run.branches..)
                    .zip(several)
                    .map(|(branch, place)| Arm {
                        branch,
                        to: graph.name_of(*place),
                    })
                    .collect(),
            ),
        }
    }

    /// Where a route leads from a step's node; `state` is the state with the step's update.
    fn places(
        &self,
        task: &ActiveStep,
        route: &Route,
        state: Object,
        result: impl FnOnce() -> Json,
    ) -> Result<Vec<EdgeTarget>, Failure> {
        let graph = self.run.graph_of(task);
        let node = graph.node(task.node);
        let names = match route {
            Route::Again => return Ok(vec![EdgeTarget::Node(task.node)]),
            Route::End => return Ok(vec![EdgeTarget::End]),
            Route::Goto(names) => names,
            Route::Edges => {
                if let [Case { when: None, to }] = node.edges.as_slice() {
                    return Ok(to.clone());
                }
                let mut env = self.run.env(task);
                env.state = state;
                env.node = Some(result());
                for case in &node.edges {
                    let holds = match &case.when {
                        None => true,
                        Some(when) => {
                            env.holds(when, &format!("a condition of the edges of `{}`", node.name))?
                        }
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
                return Err(Failure::new(
                    FailureKind::NoCase,
                    format!(
                        "no case of the edges of `{}` holds ({}): add a last one without `when`",
                        node.name,
                        tried.join("; ")
                    ),
                ));
            }
        };
        if names.is_empty() {
            return Err(invalid(format!(
                "node `{}` answered an empty `next`: name a node, or \"end\"",
                node.name
            )));
        }
        let alone = self.run.executions[&task.within].lines.len() == 1;
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = graph.place(name).ok_or_else(|| {
                let all = graph.nodes.iter().map(|node| &*node.name);
                let hint = did_you_mean(name, all.chain(["end"]));
                invalid(format!(
                    "node `{}` answered `next`: `{name}`, which is no node of the graph{hint}",
                    node.name
                ))
            })?;
            if let EdgeTarget::Node(to) = place
                && !alone
                && to != task.node
                && !node.leads.contains(&to)
            {
                return Err(invalid(format!(
                    "node `{}` answered `next`: `{name}`, and the run has several branches: where they meet depends on \
                     where each can go, so declare it in the node, as in \"next\": [\"{name}\"]",
                    node.name
                )));
            }
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }

    /// The step for one item of a map begins.
    pub(super) fn enter_item(&mut self, of: u64, task: &ActiveStep, index: u32) {
        let step = self.run.steps + 1;
        let node = self.node_name(task);
        self.push(Event::StepStarted {
            step,
            branch: task.branch,
            node,
            attempt: 1,
            within: task.within,
            joined: Vec::new(),
            item: Some(Item { of, index }),
            until: None,
            undoes: None,
            wait: None,
        });
        self.open(step);
    }
}

impl Execution {
    /// A node that may be visited now, or the end where every branch ended.
    fn ready(&self) -> Option<EdgeTarget> {
        if self
            .lines
            .iter()
            .all(|line| matches!(line.at, BranchPosition::End))
        {
            return Some(EdgeTarget::End);
        }
        let mut tried: Vec<NodeIx> = Vec::new();
        for line in &self.lines {
            if let BranchPosition::Before(node, _) = line.at
                && !tried.contains(&node)
            {
                if !self.lines.iter().any(|other| self.in_the_way(other, node)) {
                    return Some(EdgeTarget::Node(node));
                }
                tried.push(node);
            }
        }
        None
    }

    /// Whether a branch may still come to a node, so that those which are there have to wait for it.
    fn in_the_way(&self, line: &super::Branch, node: NodeIx) -> bool {
        let reach = &self.graph.reach;
        match line.at {
            BranchPosition::End => false,
            BranchPosition::Step(at) => reach.leads(at, node),
            // Before the header of a loop, the next round waits until this one is over.
            BranchPosition::Before(at, _) => at != node && reach.leads(at, node) && !reach.heads(at, node),
        }
    }
}

/// The keys that are not as they were.
fn changes(before: &Object, after: &Object) -> Object {
    let mut changed = Object::default();
    for (key, value) in after.iter() {
        if before.get(key).is_none_or(|old| old.get() != value.get()) {
            changed.insert(key.clone(), value.clone());
        }
    }
    changed
}
