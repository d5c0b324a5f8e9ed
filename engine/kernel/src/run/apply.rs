//! The fold: how each event changes a run. Nothing is decided here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use heddle_json::{Json, Object};

use super::{
    ActiveStep, Branch, BranchPosition, Ending, Execution, Items, ROOT, RetryPoint, Run, Signal, Status,
    StepState, Undo, View,
    fold::{Fold, FoldError, Graphs},
};
use crate::{
    event::{Event, EventRecord, FailureAction, Item, Next, WaitTexts},
    graph::{EdgeTarget, Graph, NodeAction, NodeIx},
    ids::{RunId, Timestamp},
};

impl Run {
    /// Folds the first event into a new run. `graphs` are those that the event names.
    ///
    /// # Errors
    /// The event does not start a run, or does not fit the graphs.
    pub fn from_first(
        id: RunId,
        graph: Arc<Graph>,
        graphs: Arc<Graphs>,
        first: &EventRecord,
    ) -> Result<Self, FoldError> {
        match (&first.event, first.seq) {
            (Event::RunStarted { .. } | Event::RunForked { .. }, 1) => {
                let mut run = Self::empty(id, graph, graphs, first.at);
                run.fold(first)?;
                Ok(run)
            }
            _ => Err(FoldError::NoStart),
        }
    }

    /// Folds the next event of a journal, which may be damaged.
    ///
    /// # Errors
    /// The event does not follow or does not fit. The run must be discarded then.
    pub fn fold(&mut self, record: &EventRecord) -> Result<(), FoldError> {
        if record.seq != self.seq + 1 {
            return Err(FoldError::Gap {
                after: self.seq,
                found: record.seq,
            });
        }
        self.apply(record).map_err(|problem| FoldError::Misfit {
            seq: record.seq,
            problem,
        })
    }

    /// Provides the graphs of the next event, which is a `RunUpgraded`. Without them the event does not fold.
    pub fn stage(&mut self, graph: Arc<Graph>, graphs: Arc<Graphs>) {
        self.staged = Some((graph, graphs));
    }

    /// A run before its first event.
    pub(super) fn empty(id: RunId, graph: Arc<Graph>, graphs: Arc<Graphs>, now: Timestamp) -> Self {
        Self {
            id,
            graph,
            graphs,
            functions: Arc::default(),
            status: Status::Running,
            executions: BTreeMap::new(),
            active_steps: BTreeMap::new(),
            due: BTreeSet::new(),
            signals: BTreeMap::new(),
            undo: Vec::new(),
            ending: None,
            paused: None,
            cancelling: None,
            retry_point: None,
            last: Object::default(),
            last_branches: Vec::new(),
            next_branch: 0,
            steps: 0,
            seq: 0,
            started_at: now,
            updated_at: now,
            error: None,
            max_state_bytes: usize::MAX,
            journal_bytes: 0,
            max_journal_bytes: u64::MAX,
            max_run_bytes: usize::MAX,
            memory: Default::default(),
            staged: None,
        }
    }

    pub(super) fn apply(&mut self, record: &EventRecord) -> Fold {
        self.seq = record.seq;
        self.updated_at = record.at;
        let bytes = record.event.size();
        self.journal_bytes = self.journal_bytes.saturating_add(bytes as u64);
        self.memory.add(bytes);
        match &record.event {
            Event::RunStarted { state, functions, .. } => {
                self.functions = Arc::new(functions.clone());
                self.start_execution(ROOT, (self.graph.clone(), None), 0, state.clone());
            }
            Event::RunForked {
                functions,
                edits,
                run,
                ..
            } => self.forked(run, functions, edits, record.at)?,
            Event::StepStarted { .. } => self.step_started(record)?,
            Event::GraphStarted {
                step,
                graph: name,
                state,
            } => {
                let graph = self
                    .graphs
                    .get(name)
                    .ok_or("it names a graph that is not the run's")?;
                let within = self
                    .active_steps
                    .get(step)
                    .ok_or("it names no active step")?
                    .within;
                let depth = self
                    .executions
                    .get(&within)
                    .map_or(0, |of| of.depth.saturating_add(1));
                let graph = graph.clone();
                let until = time_limit(&graph, record.at);
                self.start_execution(*step, (graph, Some(name.clone())), depth, state.clone());
                self.set_step_state(*step, StepState::Graph(until))?;
            }
            Event::MapStarted { step, items } => {
                self.set_step_state(*step, StepState::Map(Items::read(items)?))?;
            }
            Event::Log { .. } => {}
            Event::StepFinished {
                step,
                node,
                update,
                next,
                signal,
                ..
            } => self.step_finished(*step, node, update, next, *signal)?,
            Event::ItemFinished {
                step, item, result, ..
            } => {
                self.remove_step(*step);
                let of = self
                    .active_steps
                    .get_mut(&item.of)
                    .ok_or("its map is not active")?;
                let StepState::Map(items) = &mut of.state else {
                    return Err("its step is not a map".to_owned());
                };
                let slot = items
                    .results
                    .get_mut(item.index as usize)
                    .ok_or("it names no item")?;
                *slot = result.clone();
                items.bytes += result.as_ref().map_or(0, |result| result.get().len());
                items.open = items.open.saturating_sub(1);
            }
            Event::StepFailed {
                step,
                failure,
                then,
                node,
                ..
            } => {
                if let Some(ending) = self.ending.as_mut().filter(|_| *then == FailureAction::Raise) {
                    ending.problems.push(format!("`{node}` failed: {failure}").into());
                }
                self.step_failed(*step, then, || super::fail::error_json(failure, node))?;
            }
            Event::SignalReceived { name, payload, wait } => {
                let (name, payload, wait) = (name.clone(), payload.clone(), *wait);
                self.signals.insert(record.seq, Signal { name, payload, wait });
            }
            Event::UndoStarted { error, reason } => {
                self.last = self.state();
                self.last_branches = self.branches();
                self.clear_active(false);
                self.ending = Some(Ending {
                    error: error.clone(),
                    reason: reason.clone(),
                    problems: Vec::new(),
                });
            }
            Event::RunPaused { reason } => self.paused_at(reason, record.at)?,
            Event::RunResumed => self.resumed_at(record.at)?,
            Event::RunRetried => self.retried_at(record.at)?,
            Event::RunUpgraded {
                graph,
                functions,
                graphs,
            } => self.upgraded(graph, functions, graphs, record.at)?,
            Event::CancelRequested { reason, until } => self.cancelling_until(reason, *until)?,
            Event::RunFinished => self.set_final_status(Status::Finished),
            Event::RunFailed { error } => {
                self.error = Some(error.clone());
                self.set_final_status(Status::Failed);
            }
            Event::RunCancelled { .. } => self.set_final_status(Status::Cancelled),
        }
        Ok(())
    }

    /// Starts an execution with one branch before the graph's start node.
    fn start_execution(
        &mut self,
        number: u64,
        graph: (Arc<Graph>, Option<Arc<str>>),
        depth: u32,
        state: Object,
    ) {
        let (graph, name) = graph;
        let branch = Branch {
            id: self.next_branch,
            view: View::new(state.clone()),
            position: BranchPosition::Before(graph.start, None),
            steps: 0,
        };
        self.next_branch = self.next_branch.saturating_add(1);
        let execution = Execution {
            graph,
            name,
            depth,
            input: state,
            state_at_fork: None,
            branches: vec![branch],
            steps: 0,
        };
        self.executions.insert(number, execution);
    }

    fn step_started(&mut self, record: &EventRecord) -> Fold {
        let Event::StepStarted {
            step,
            branch,
            node,
            attempt,
            within,
            joined,
            item,
            until,
            undoes,
            wait,
        } = &record.event
        else {
            return Ok(());
        };
        if self.steps == 0 {
            // The time limit does not include the time in a queue.
            self.set_time_limit(time_limit(&self.graph, record.at));
        }
        self.steps = self.steps.max(*step);
        if let Some(active_step) = self.active_steps.get(step) {
            // A further attempt of an active step.
            let state = active_step.initial_state(self.graph_of(active_step), *until, wait);
            self.set_step_state(*step, state)?.attempt = *attempt;
            return Ok(());
        }
        // An outer step started earlier. A damaged import in which that is not so would form a cycle.
        if *within >= *step || item.is_some_and(|item| item.of >= *step) {
            return Err("it is within a step that did not begin before it".into());
        }
        let mut active_step = ActiveStep {
            within: *within,
            branch: *branch,
            node: NodeIx(0),
            item: *item,
            attempt: *attempt,
            failures: 0,
            failed: false,
            started_at: record.at,
            error: None,
            undo: None,
            state: StepState::Call,
        };
        if let Some(undone) = undoes {
            let undo = self.undo.pop().filter(|undo| undo.step == *undone);
            let undo = undo.ok_or("it compensates a step that is not the next one to compensate")?;
            active_step.node = undo.node;
            let error = self.ending.as_ref().and_then(|ending| ending.error.as_ref());
            active_step.error = error.map(|error| super::fail::error_json(&error.failure(), &error.node));
            active_step.undo = Some(Arc::new(undo));
            self.active_steps.insert(*step, active_step);
            return Ok(());
        }
        let execution = self
            .executions
            .get_mut(within)
            .ok_or("it is within no active execution")?;
        let graph = execution.graph.clone();
        active_step.node = graph
            .find(node)
            .ok_or_else(|| format!("node `{node}` is not in the graph"))?;
        active_step.state = active_step.initial_state(&graph, *until, wait);
        if let Some(item) = item {
            let of = self
                .active_steps
                .get_mut(&item.of)
                .ok_or("its map is not active")?;
            if let StepState::Map(items) = &mut of.state {
                let next = item.index.checked_add(1).ok_or("an item's index is too large")?;
                items.begun = items.begun.max(next);
                items.open += 1;
            }
        } else {
            execution.steps = execution.steps.checked_add(1).ok_or("it has too many steps")?;
            active_step.error = execution.join(*branch, joined, active_step.node)?;
            if !joined.is_empty() && !graph.policies.is_empty() {
                let at = execution.position(*branch)?;
                let state = execution.branches[at].view.state.clone();
                self.count_merged_values(&graph, &state);
            }
        }
        self.due.extend(active_step.until().map(|until| (until, *step)));
        self.active_steps.insert(*step, active_step);
        Ok(())
    }

    fn step_finished(
        &mut self,
        step: u64,
        node: &Arc<str>,
        update: &Object,
        next: &Next,
        signal: Option<u64>,
    ) -> Fold {
        let active_step = self.remove_step(step).ok_or("it names no active step")?;
        self.signals.remove(&signal.unwrap_or_default());
        if let Some(undo) = &active_step.undo {
            if undo.within == ROOT {
                // A value that no longer fits a policy is left out: the event has it.
                let mut view = View::new(std::mem::take(&mut self.last));
                let _ = view.write(&undo.graph.policies, update, (step, node), false);
                self.last = view.state;
            }
            return Ok(());
        }
        let execution = self
            .executions
            .get_mut(&active_step.within)
            .ok_or("its execution has ended")?;
        let graph = execution.graph.clone();
        let is_forked = execution.branches.len() > 1;
        let at = execution.position(active_step.branch)?;
        let branch = &mut execution.branches[at];
        branch
            .view
            .write(&graph.policies, update, (step, node), is_forked)
            .map_err(|(key, problem)| format!("key `{key}`: {problem}"))?;
        let folded = (!graph.policies.is_empty()).then(|| branch.view.state.clone());
        if let Some(undo) = graph.node(active_step.node).compensate {
            self.undo.push(Undo {
                step,
                within: active_step.within,
                graph: graph.clone(),
                name: execution.name.clone(),
                node: undo,
                view: View::new(branch.view.state.clone()),
                input: execution.input.clone(),
                steps: branch.steps,
            });
        }
        let target_of = |name: &str| {
            graph
                .target(name)
                .ok_or_else(|| format!("`{name}` is not in the graph"))
        };
        match next {
            Next::Node(name) => branch.position = BranchPosition::at_target(target_of(name)?),
            Next::End => branch.position = BranchPosition::End,
            Next::Fork(arms) => {
                let (view, steps) = (branch.view.clone(), branch.steps);
                if !is_forked && arms.len() > 1 {
                    execution.state_at_fork = Some(view.state.clone());
                }
                let mut branches = Vec::with_capacity(arms.len());
                for arm in arms {
                    branches.push(Branch {
                        id: arm.branch,
                        view: view.clone(),
                        position: BranchPosition::at_target(target_of(&arm.to)?),
                        steps,
                    });
                    let next = arm
                        .branch
                        .checked_add(1)
                        .ok_or("a branch's number is too large")?;
                    self.next_branch = self.next_branch.max(next);
                }
                execution.branches.splice(at..=at, branches);
            }
        }
        if !matches!(next, Next::Node(_)) {
            execution.merge_ended_branches();
        }
        if let Some(state) = folded {
            self.count_merged_values(&graph, &state);
        }
        Ok(())
    }

    fn step_failed(&mut self, step: u64, then: &FailureAction, error: impl FnOnce() -> Json) -> Fold {
        match then {
            FailureAction::Retry(at) => {
                self.remove_descendants(step);
                self.set_step_state(step, StepState::Pause(*at))?.failures += 1;
            }
            FailureAction::Goto(name) => {
                let active_step = self.remove_step(step).ok_or("it names no active step")?;
                let execution = self
                    .executions
                    .get_mut(&active_step.within)
                    .ok_or("its execution has ended")?;
                let target = execution.graph.target(name);
                let at = execution.position(active_step.branch)?;
                execution.branches[at].position = match target {
                    Some(EdgeTarget::Node(node)) => BranchPosition::Before(node, Some(error())),
                    Some(EdgeTarget::End) => BranchPosition::End,
                    None => return Err(format!("`{name}` is not in the graph")),
                };
                if target == Some(EdgeTarget::End) {
                    execution.merge_ended_branches();
                }
            }
            // If the run is ending, the failure does not propagate.
            FailureAction::Raise if self.ending.is_some() || self.cancelling.is_some() => {
                self.remove_step(step);
            }
            // The following events record the effect on the rest of the run.
            FailureAction::Raise => {
                let active_step = self
                    .active_steps
                    .get_mut(&step)
                    .ok_or("it names no active step")?;
                active_step.failed = true;
            }
            FailureAction::Item => {}
        }
        Ok(())
    }

    /// Sets the state of a step, and with it the step's timer.
    pub(super) fn set_step_state(&mut self, step: u64, state: StepState) -> Fold<&mut ActiveStep> {
        let active_step = self
            .active_steps
            .get_mut(&step)
            .ok_or("it names no active step")?;
        if let Some(until) = active_step.until() {
            self.due.remove(&(until, step));
        }
        active_step.state = state;
        self.due.extend(active_step.until().map(|until| (until, step)));
        Ok(active_step)
    }

    /// Removes a step and everything that runs inside of it.
    fn remove_step(&mut self, step: u64) -> Option<ActiveStep> {
        self.remove_descendants(step);
        self.remove_one_step(step)
    }

    fn remove_one_step(&mut self, step: u64) -> Option<ActiveStep> {
        let active_step = self.active_steps.remove(&step)?;
        if let Some(until) = active_step.until() {
            self.due.remove(&(until, step));
        }
        // A signal that names this wait is not for any other wait.
        self.signals.retain(|_, signal| signal.wait != Some(step));
        Some(active_step)
    }

    fn remove_descendants(&mut self, step: u64) {
        let Some(active_step) = self.active_steps.get(&step) else {
            return;
        };
        // Most steps are calls, which contain nothing.
        if !matches!(active_step.state, StepState::Graph(_) | StepState::Map(_)) {
            return;
        }
        let mut open = vec![step];
        while let Some(above) = open.pop() {
            self.executions.remove(&above);
            let below = |active_step: &ActiveStep| match active_step.item {
                Some(Item { of, .. }) => of == above,
                None => active_step.within == above,
            };
            let steps: Vec<u64> = self
                .active_steps
                .iter()
                .filter(|(_, active_step)| below(active_step))
                .map(|(step, _)| *step)
                .collect();
            for step in steps {
                self.remove_one_step(step);
                open.push(step);
            }
        }
    }

    /// Removes everything active; with `keep`, a retry can continue from it.
    pub(super) fn clear_active(&mut self, keep: bool) {
        let kept = RetryPoint {
            executions: std::mem::take(&mut self.executions),
            active_steps: std::mem::take(&mut self.active_steps),
            due: std::mem::take(&mut self.due),
            signals: std::mem::take(&mut self.signals),
        };
        self.retry_point = keep.then(|| Box::new(kept));
        self.paused = None;
        self.cancelling = None;
    }

    fn set_final_status(&mut self, status: Status) {
        let undone = self.ending.take().is_some();
        let kept = status == Status::Failed && !undone;
        if !undone {
            self.last = self.state();
            // The retry point has them.
            self.last_branches = if kept { Vec::new() } else { self.branches() };
        }
        self.clear_active(kept);
        self.undo = Vec::new();
        self.status = status;
    }

    /// Sets the timer of the run's time limit.
    pub(super) fn set_time_limit(&mut self, until: Option<Timestamp>) {
        self.due.retain(|(_, step)| *step != ROOT);
        self.due.extend(until.map(|until| (until, ROOT)));
    }
}

/// The end of the time limit of an execution that started at `began`.
pub(super) fn time_limit(graph: &Graph, began: Timestamp) -> Option<Timestamp> {
    let limit = i64::try_from(graph.max_time_ms?).unwrap_or(i64::MAX);
    Some(Timestamp(began.0.saturating_add(limit)))
}

impl BranchPosition {
    fn at_target(target: EdgeTarget) -> Self {
        match target {
            EdgeTarget::Node(node) => Self::Before(node, None),
            EdgeTarget::End => Self::End,
        }
    }
}

impl ActiveStep {
    /// The first state of a step.
    fn initial_state(&self, graph: &Graph, until: Option<Timestamp>, wait: &Option<WaitTexts>) -> StepState {
        match &graph.node(self.node).action {
            NodeAction::Sleep(_) => StepState::Sleep(until.unwrap_or(self.started_at)),
            NodeAction::Wait(_) => StepState::Signal(until, wait.clone().map(Arc::new)),
            action @ NodeAction::Map(_) if self.item.is_some() && action.graph().is_some() => {
                StepState::Graph(None)
            }
            NodeAction::Map(_) if self.item.is_none() => StepState::Map(Items::default()),
            NodeAction::Graph { .. } => StepState::Graph(None),
            NodeAction::Map(_) | NodeAction::Call { .. } => StepState::Call,
        }
    }
}
