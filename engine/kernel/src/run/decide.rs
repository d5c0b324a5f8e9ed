//! What follows from what happened: the only place where anything is decided about a run.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};

use super::{
    ActiveStep, Answer, Input, Outcome, ROOT, Refusal, Run, StepState, apply::Graphs, wait::Opening,
};
use crate::{
    event::{Event, EventRecord, Failure, FunctionRef, Level},
    graph::{Graph, Output},
    ids::{RunId, Timestamp},
};

impl Run {
    /// Begins a run: gives it with the events that began it, already applied. `graphs` and
    /// `functions` are those that the graph and its subgraphs name. One that is `queued` takes no step
    /// until [`Input::TakenUp`].
    pub fn start(
        id: RunId,
        graph: Arc<Graph>,
        graphs: Arc<Graphs>,
        state: Object,
        functions: BTreeMap<Arc<str>, FunctionRef>,
        queued: bool,
        now: Timestamp,
    ) -> (Self, Vec<Arc<EventRecord>>) {
        let mut run = Self::empty(id, graph, graphs, now);
        let mut events = Events::new(&mut run, now);
        let started = Event::RunStarted {
            graph: events.run.graph.id.clone(),
            state,
            functions,
            graphs: events.run.graph_ids(),
        };
        events.push(started);
        if !queued {
            events.moved(ROOT);
            events.settle();
        }
        let made = events.made;
        (run, made)
    }
}

/// Decides what follows from `input`, applies it to `run`, and gives the events in order.
///
/// # Errors
/// A refusal where the input speaks for something that the run is not at; the run is as it was.
pub fn decide(run: &mut Run, input: Input, now: Timestamp) -> Result<Vec<Arc<EventRecord>>, Refusal> {
    if run.status.is_over() && !input.steers() {
        return Err(Refusal::Over);
    }
    let mut events = Events::new(run, now);
    match input {
        Input::Answered {
            step,
            attempt,
            result,
        } => {
            events.latest(step, attempt)?;
            events.answered(step, result);
            if events.run.cancelling.is_some() && !events.run.calls() {
                events.give_up();
            }
        }
        Input::Logged { step, attempt, lines } => {
            events.latest(step, attempt)?;
            events.logged(step, attempt, lines);
        }
        Input::Due => events.time_passed(),
        Input::Signal { name, payload, wait } => events.signal(name, payload, wait)?,
        Input::Cancel { reason, grace_ms } => events.cancel(reason, grace_ms)?,
        Input::TakenUp => events.taken_up(),
        Input::Pause { reason } => events.pause(reason)?,
        Input::Resume { under_way } => events.resume(&under_way)?,
        Input::Retry => events.retry()?,
        Input::Upgrade(upgrade) => events.upgrade(*upgrade)?,
    }
    events.settle();
    events.check_memory();
    Ok(events.made)
}

/// Events in the making: each is applied as it is made, so that the next one follows from it.
pub(super) struct Events<'r> {
    pub(super) run: &'r mut Run,
    pub(super) now: Timestamp,
    made: Vec<Arc<EventRecord>>,
    /// The executions in which a branch moved.
    pub(super) moved: Vec<u64>,
    /// The maps of which an item is over.
    pub(super) mapped: Vec<u64>,
}

impl<'r> Events<'r> {
    pub(super) fn new(run: &'r mut Run, now: Timestamp) -> Self {
        Self {
            run,
            now,
            made: Vec::with_capacity(2),
            moved: Vec::new(),
            mapped: Vec::new(),
        }
    }

    /// The events in order.
    pub(super) fn made(self) -> Vec<Arc<EventRecord>> {
        self.made
    }

    pub(super) fn push(&mut self, event: Event) {
        let recorded = Arc::new(EventRecord {
            seq: self.run.seq + 1,
            at: self.now,
            event,
        });
        self.run
            .apply(&recorded)
            .expect("what is decided about a run fits the run");
        self.made.push(recorded);
    }

    pub(super) fn moved(&mut self, execution: u64) {
        if !self.moved.contains(&execution) {
            self.moved.push(execution);
        }
    }

    fn latest(&self, step: u64, attempt: u32) -> Result<(), Refusal> {
        match self.run.active_steps.get(&step) {
            Some(task) if task.attempt == attempt && matches!(task.doing, StepState::Call) => Ok(()),
            _ => Err(Refusal::Stale),
        }
    }

    pub(super) fn task(&self, step: u64) -> ActiveStep {
        self.run.active_steps[&step].clone()
    }

    pub(super) fn node_name(&self, task: &ActiveStep) -> Arc<str> {
        self.run.graph_of(task).node(task.node).name.clone()
    }

    fn logged(&mut self, step: u64, attempt: u32, lines: impl IntoIterator<Item = (Level, Arc<str>)>) {
        let node = self.node_name(&self.run.active_steps[&step]);
        for (level, message) in lines {
            self.push(Event::Log {
                step,
                node: node.clone(),
                attempt,
                level,
                message,
            });
            if self.run.is_journal_full() && !self.run.is_held() {
                return;
            }
        }
    }

    /// The next attempt of a step, which waits for what `opening` has.
    pub(super) fn again(&mut self, step: u64, opening: &Opening) {
        let task = self.task(step);
        let started = Event::StepStarted {
            step,
            branch: task.branch,
            node: self.node_name(&task),
            attempt: task.attempt + 1,
            within: task.within,
            joined: Vec::new(),
            item: task.item,
            until: opening.until,
            undoes: task.undo.as_ref().map(|undo| undo.step),
            wait: opening.wait.clone(),
        };
        self.push(started);
    }

    fn answered(&mut self, step: u64, result: Result<Answer, Failure>) {
        let task = self.task(step);
        let (item, undoes) = (task.item, task.undo.is_some());
        let given = match (item, undoes) {
            (Some(item), _) => result.and_then(|answer| {
                let value = match answer {
                    Answer::Result(value) => value,
                    Answer::Outcome(outcome) => heddle_json::object::to_json(&outcome.update),
                };
                self.item_answered(step, item, value)
            }),
            (None, true) => result.and_then(|answer| {
                let Outcome { update, .. } = self.outcome(&task, answer)?;
                self.undone(step, update);
                Ok(())
            }),
            (None, false) => result.and_then(|answer| {
                // With an `output`, the update is not the result.
                let result = match &answer {
                    Answer::Result(value) => Some(value.clone()),
                    Answer::Outcome(outcome) => {
                        let output = &self.run.graph_of(&task).node(task.node).output;
                        output
                            .as_ref()
                            .map(|_| heddle_json::object::to_json(&outcome.update))
                    }
                };
                let outcome = self.outcome(&task, answer)?;
                self.finish(step, &task, outcome, result, None)
            }),
        };
        if let Err(failure) = given {
            self.failed(step, failure);
        }
    }

    /// What an answer gives: with `output` in the node, a tool's result is data and routes nowhere.
    fn outcome(&self, task: &ActiveStep, answer: Answer) -> Result<Outcome, Failure> {
        let Some(output) = self.run.graph_of(task).node(task.node).output.clone() else {
            return match answer {
                Answer::Outcome(outcome) => Ok(outcome),
                Answer::Result(result) => Outcome::from_tool_result(&result),
            };
        };
        let (value, route) = match answer {
            Answer::Outcome(outcome) => (heddle_json::object::to_json(&outcome.update), outcome.route),
            Answer::Result(result) => (result, super::Route::Edges),
        };
        let update = self.put(task, &output, value)?;
        Ok(Outcome { update, route })
    }

    /// The update that a node's `output` makes of its result.
    pub(super) fn put(&self, task: &ActiveStep, output: &Output, value: Json) -> Result<Object, Failure> {
        let mut update = Object::default();
        match output {
            Output::Key(key) => update.insert(key.clone(), value),
            Output::Keys(keys) => {
                let mut env = self.run.env(task);
                env.node = Some(value);
                for (key, expr) in keys {
                    update.insert(key.clone(), env.evaluate(expr, &format!("`output.{key}`"))?);
                }
            }
        }
        Ok(update)
    }
}
