//! The fold: what each event makes of a run. Nothing is decided here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use heddle_json::{Json, Object};

use super::{
    ActiveStep, Branch, BranchPosition, Ending, Execution, Items, Kept, ROOT, Run, Signal, Status, StepState,
    Undo, View,
};
use crate::{
    event::{Event, EventRecord, FailureAction, Item, Next, WaitTexts},
    graph::{EdgeTarget, Graph, NodeAction, NodeIx},
    ids::{RunId, Timestamp},
};

/// Why a journal cannot be folded into a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// An event's number does not follow the one before.
    #[error("event {found} follows event {after}")]
    Gap {
        /// The number before.
        after: u64,
        /// The number that was found.
        found: u64,
    },
    /// The first event is another than `RunStarted` or `RunForked`.
    #[error("the journal does not begin with the run's start")]
    NoStart,
    /// A snapshot cannot be read, or does not fit the graphs.
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(String),
    /// An event does not fit what came before it, or the graph.
    #[error("event {seq} does not fit: {problem}")]
    Misfit {
        /// The event.
        seq: u64,
        /// What is wrong with it.
        problem: String,
    },
}

pub(super) type Fold<T = ()> = Result<T, String>;

/// The graphs that a run's graphs name, by how they name them.
pub type Graphs = BTreeMap<Arc<str>, Arc<Graph>>;

impl Run {
    /// Folds a run from its first event on. `graphs` are those that the event names.
    ///
    /// # Errors
    /// Where the event is not the start of a run, or does not fit the graphs.
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

    /// Folds the next event from a journal, which may be damaged.
    ///
    /// # Errors
    /// Where it does not follow, or does not fit. The run is of no further use then.
    pub fn fold(&mut self, recorded: &EventRecord) -> Result<(), FoldError> {
        if recorded.seq != self.seq + 1 {
            return Err(FoldError::Gap {
                after: self.seq,
                found: recorded.seq,
            });
        }
        self.apply(recorded).map_err(|problem| FoldError::Misfit {
            seq: recorded.seq,
            problem,
        })
    }

    /// Has the graphs at hand that the next event names, which is a `RunUpgraded`: without them it does not
    /// fold.
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
            kept: None,
            last: Object::default(),
            last_branches: Vec::new(),
            branches: 0,
            steps: 0,
            seq: 0,
            started_at: now,
            updated_at: now,
            error: None,
            max_state_bytes: usize::MAX,
            journal_bytes: 0,
            max_journal_bytes: u64::MAX,
            max_run_bytes: usize::MAX,
            held: Default::default(),
            staged: None,
        }
    }

    pub(super) fn apply(&mut self, recorded: &EventRecord) -> Fold {
        self.seq = recorded.seq;
        self.updated_at = recorded.at;
        let bytes = recorded.event.size();
        self.journal_bytes = self.journal_bytes.saturating_add(bytes as u64);
        self.held.add(bytes);
        match &recorded.event {
            Event::RunStarted { state, functions, .. } => {
                self.functions = Arc::new(functions.clone());
                self.begin(ROOT, (self.graph.clone(), None), 0, state.clone());
            }
            Event::RunForked {
                functions,
                edits,
                run,
                ..
            } => self.forked(run, functions, edits, recorded.at)?,
            Event::StepStarted { .. } => self.step_started(recorded)?,
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
                    .ok_or("it names no step under way")?
                    .within;
                let depth = self
                    .executions
                    .get(&within)
                    .map_or(0, |of| of.depth.saturating_add(1));
                let graph = graph.clone();
                let until = time_limit(&graph, recorded.at);
                self.begin(*step, (graph, Some(name.clone())), depth, state.clone());
                self.wait_for(*step, StepState::Graph(until))?;
            }
            Event::MapStarted { step, items } => {
                self.wait_for(*step, StepState::Map(Items::read(items)?))?;
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
                self.close(*step);
                let of = self
                    .active_steps
                    .get_mut(&item.of)
                    .ok_or("its map is not under way")?;
                let StepState::Map(items) = &mut of.doing else {
                    return Err("its step is no map".to_owned());
                };
                let place = items
                    .results
                    .get_mut(item.index as usize)
                    .ok_or("it names no item")?;
                *place = result.clone();
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
                self.step_failed(*step, then, || super::fail::told(failure, node))?;
            }
            Event::SignalReceived { name, payload, wait } => {
                let (name, payload, wait) = (name.clone(), payload.clone(), *wait);
                self.signals.insert(recorded.seq, Signal { name, payload, wait });
            }
            Event::UndoStarted { error, reason } => {
                self.last = self.state();
                self.last_branches = self.branches();
                self.stop(false);
                self.ending = Some(Ending {
                    error: error.clone(),
                    reason: reason.clone(),
                    problems: Vec::new(),
                });
            }
            Event::RunPaused { reason } => self.paused_at(reason, recorded.at)?,
            Event::RunResumed => self.resumed_at(recorded.at)?,
            Event::RunRetried => self.retried_at(recorded.at)?,
            Event::RunUpgraded {
                graph,
                functions,
                graphs,
            } => self.upgraded(graph, functions, graphs, recorded.at)?,
            Event::CancelRequested { reason, until } => self.cancelling_until(reason, *until)?,
            Event::RunFinished => self.end(Status::Finished),
            Event::RunFailed { error } => {
                self.error = Some(error.clone());
                self.end(Status::Failed);
            }
            Event::RunCancelled { .. } => self.end(Status::Cancelled),
        }
        Ok(())
    }

    /// An execution begins, with one branch before its start.
    fn begin(&mut self, number: u64, graph: (Arc<Graph>, Option<Arc<str>>), depth: u32, state: Object) {
        let (graph, name) = graph;
        let line = Branch {
            id: self.branches,
            view: View::new(state.clone()),
            at: BranchPosition::Before(graph.start, None),
            steps: 0,
        };
        self.branches = self.branches.saturating_add(1);
        let execution = Execution {
            graph,
            name,
            depth,
            input: state,
            parted: None,
            lines: vec![line],
            steps: 0,
        };
        self.executions.insert(number, execution);
    }

    fn step_started(&mut self, recorded: &EventRecord) -> Fold {
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
        } = &recorded.event
        else {
            return Ok(());
        };
        if self.steps == 0 {
            // The time that the run stood in a queue is not its own.
            self.limit(time_limit(&self.graph, recorded.at));
        }
        self.steps = self.steps.max(*step);
        if let Some(task) = self.active_steps.get(step) {
            // The same step again.
            let doing = task.begins(self.graph_of(task), *until, wait);
            self.wait_for(*step, doing)?.attempt = *attempt;
            return Ok(());
        }
        // What a step is within began before it. An import where that is not so would lead around in a circle.
        if *within >= *step || item.is_some_and(|item| item.of >= *step) {
            return Err("it is within a step that did not begin before it".into());
        }
        let mut task = ActiveStep {
            within: *within,
            branch: *branch,
            node: NodeIx(0),
            item: *item,
            attempt: *attempt,
            failures: 0,
            failed: false,
            started_at: recorded.at,
            error: None,
            undo: None,
            doing: StepState::Call,
        };
        if let Some(undone) = undoes {
            let undo = self.undo.pop().filter(|undo| undo.step == *undone);
            let undo = undo.ok_or("it undoes a step that is not the next to be undone")?;
            task.node = undo.node;
            let error = self.ending.as_ref().and_then(|ending| ending.error.as_ref());
            task.error = error.map(|error| super::fail::told(&error.failure(), &error.node));
            task.undo = Some(Arc::new(undo));
            self.active_steps.insert(*step, task);
            return Ok(());
        }
        let execution = self
            .executions
            .get_mut(within)
            .ok_or("it is within no execution under way")?;
        let graph = execution.graph.clone();
        task.node = graph
            .find(node)
            .ok_or_else(|| format!("node `{node}` is not in the graph"))?;
        task.doing = task.begins(&graph, *until, wait);
        if let Some(item) = item {
            let of = self
                .active_steps
                .get_mut(&item.of)
                .ok_or("its map is not under way")?;
            if let StepState::Map(items) = &mut of.doing {
                let next = item.index.checked_add(1).ok_or("an item's index is too large")?;
                items.begun = items.begun.max(next);
                items.open += 1;
            }
        } else {
            execution.steps = execution.steps.checked_add(1).ok_or("it has too many steps")?;
            task.error = execution.join(*branch, joined, task.node)?;
            if !joined.is_empty() && !graph.policies.is_empty() {
                let at = execution.position(*branch)?;
                let state = execution.lines[at].view.state.clone();
                self.count_folded(&graph, &state);
            }
        }
        self.due.extend(task.until().map(|until| (until, *step)));
        self.active_steps.insert(*step, task);
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
        let task = self.close(step).ok_or("it names no step under way")?;
        self.signals.remove(&signal.unwrap_or_default());
        if let Some(undo) = &task.undo {
            if undo.within == ROOT {
                // What does not fit a policy any more says nothing that the event does not say.
                let mut view = View::new(std::mem::take(&mut self.last));
                let _ = view.write(&undo.graph.policies, update, (step, node), false);
                self.last = view.state;
            }
            return Ok(());
        }
        let execution = self
            .executions
            .get_mut(&task.within)
            .ok_or("its execution is over")?;
        let graph = execution.graph.clone();
        let parted = execution.lines.len() > 1;
        let at = execution.position(task.branch)?;
        let line = &mut execution.lines[at];
        line.view
            .write(&graph.policies, update, (step, node), parted)
            .map_err(|(key, problem)| format!("key `{key}`: {problem}"))?;
        let folded = (!graph.policies.is_empty()).then(|| line.view.state.clone());
        if let Some(undo) = graph.node(task.node).compensate {
            self.undo.push(Undo {
                step,
                within: task.within,
                graph: graph.clone(),
                name: execution.name.clone(),
                node: undo,
                view: View::new(line.view.state.clone()),
                input: execution.input.clone(),
                steps: line.steps,
            });
        }
        let place = |name: &str| {
            graph
                .place(name)
                .ok_or_else(|| format!("`{name}` is not in the graph"))
        };
        match next {
            Next::Node(name) => line.at = BranchPosition::place(place(name)?),
            Next::End => line.at = BranchPosition::End,
            Next::Fork(arms) => {
                let (view, steps) = (line.view.clone(), line.steps);
                if !parted && arms.len() > 1 {
                    execution.parted = Some(view.state.clone());
                }
                let mut lines = Vec::with_capacity(arms.len());
                for arm in arms {
                    lines.push(Branch {
                        id: arm.branch,
                        view: view.clone(),
                        at: BranchPosition::place(place(&arm.to)?),
                        steps,
                    });
                    let next = arm
                        .branch
                        .checked_add(1)
                        .ok_or("a branch's number is too large")?;
                    self.branches = self.branches.max(next);
                }
                execution.lines.splice(at..=at, lines);
            }
        }
        if !matches!(next, Next::Node(_)) {
            execution.gather_ends();
        }
        if let Some(state) = folded {
            self.count_folded(&graph, &state);
        }
        Ok(())
    }

    fn step_failed(&mut self, step: u64, then: &FailureAction, error: impl FnOnce() -> Json) -> Fold {
        match then {
            FailureAction::Retry(at) => {
                self.close_below(step);
                self.wait_for(step, StepState::Pause(*at))?.failures += 1;
            }
            FailureAction::Goto(name) => {
                let task = self.close(step).ok_or("it names no step under way")?;
                let execution = self
                    .executions
                    .get_mut(&task.within)
                    .ok_or("its execution is over")?;
                let place = execution.graph.place(name);
                let at = execution.position(task.branch)?;
                execution.lines[at].at = match place {
                    Some(EdgeTarget::Node(node)) => BranchPosition::Before(node, Some(error())),
                    Some(EdgeTarget::End) => BranchPosition::End,
                    None => return Err(format!("`{name}` is not in the graph")),
                };
                if place == Some(EdgeTarget::End) {
                    execution.gather_ends();
                }
            }
            // Where the run ends anyway, it fails nothing else.
            FailureAction::Raise if self.ending.is_some() || self.cancelling.is_some() => {
                self.close(step);
            }
            // What the failure does to the rest is told by the events that follow.
            FailureAction::Raise => {
                let task = self
                    .active_steps
                    .get_mut(&step)
                    .ok_or("it names no step under way")?;
                task.failed = true;
            }
            FailureAction::Item => {}
        }
        Ok(())
    }

    /// Changes what a step waits for, and with it when it wants to be woken.
    pub(super) fn wait_for(&mut self, step: u64, doing: StepState) -> Fold<&mut ActiveStep> {
        let task = self
            .active_steps
            .get_mut(&step)
            .ok_or("it names no step under way")?;
        if let Some(until) = task.until() {
            self.due.remove(&(until, step));
        }
        task.doing = doing;
        self.due.extend(task.until().map(|until| (until, step)));
        Ok(task)
    }

    /// Ends a step, and everything that is under way for it.
    fn close(&mut self, step: u64) -> Option<ActiveStep> {
        self.close_below(step);
        self.take_out(step)
    }

    fn take_out(&mut self, step: u64) -> Option<ActiveStep> {
        let task = self.active_steps.remove(&step)?;
        if let Some(until) = task.until() {
            self.due.remove(&(until, step));
        }
        // No other wait may have what was sent to this one.
        self.signals.retain(|_, signal| signal.wait != Some(step));
        Some(task)
    }

    fn close_below(&mut self, step: u64) {
        let Some(task) = self.active_steps.get(&step) else {
            return;
        };
        // A call has nothing under it, and most steps are calls.
        if !matches!(task.doing, StepState::Graph(_) | StepState::Map(_)) {
            return;
        }
        let mut open = vec![step];
        while let Some(above) = open.pop() {
            self.executions.remove(&above);
            let below = |task: &ActiveStep| match task.item {
                Some(Item { of, .. }) => of == above,
                None => task.within == above,
            };
            let steps: Vec<u64> = self
                .active_steps
                .iter()
                .filter(|(_, task)| below(task))
                .map(|(step, _)| *step)
                .collect();
            for step in steps {
                self.take_out(step);
                open.push(step);
            }
        }
    }

    /// Nothing goes on any more. What was under way may be kept for a retry.
    pub(super) fn stop(&mut self, keep: bool) {
        let kept = Kept {
            executions: std::mem::take(&mut self.executions),
            active_steps: std::mem::take(&mut self.active_steps),
            due: std::mem::take(&mut self.due),
            signals: std::mem::take(&mut self.signals),
        };
        self.kept = keep.then(|| Box::new(kept));
        self.paused = None;
        self.cancelling = None;
    }

    fn end(&mut self, status: Status) {
        let undone = self.ending.take().is_some();
        let kept = status == Status::Failed && !undone;
        if !undone {
            self.last = self.state();
            // What is kept for a retry has them.
            self.last_branches = if kept { Vec::new() } else { self.branches() };
        }
        self.stop(kept);
        self.undo = Vec::new();
        self.status = status;
    }

    /// Sets when the run's time is over.
    pub(super) fn limit(&mut self, until: Option<Timestamp>) {
        self.due.retain(|(_, step)| *step != ROOT);
        self.due.extend(until.map(|until| (until, ROOT)));
    }
}

/// When the time of an execution is over that began then.
pub(super) fn time_limit(graph: &Graph, began: Timestamp) -> Option<Timestamp> {
    let limit = i64::try_from(graph.max_time_ms?).unwrap_or(i64::MAX);
    Some(Timestamp(began.0.saturating_add(limit)))
}

impl BranchPosition {
    fn place(place: EdgeTarget) -> Self {
        match place {
            EdgeTarget::Node(node) => Self::Before(node, None),
            EdgeTarget::End => Self::End,
        }
    }
}

impl ActiveStep {
    /// What a step waits for first.
    fn begins(&self, graph: &Graph, until: Option<Timestamp>, wait: &Option<WaitTexts>) -> StepState {
        match &graph.node(self.node).action {
            NodeAction::Sleep(_) => StepState::Sleep(until.unwrap_or(self.started_at)),
            NodeAction::Wait(_) => StepState::Signal(until, wait.clone().map(Arc::new)),
            does @ NodeAction::Map(_) if self.item.is_some() && does.graph().is_some() => {
                StepState::Graph(None)
            }
            NodeAction::Map(_) if self.item.is_none() => StepState::Map(Items::default()),
            NodeAction::Graph { .. } => StepState::Graph(None),
            NodeAction::Map(_) | NodeAction::Call { .. } => StepState::Call,
        }
    }
}
