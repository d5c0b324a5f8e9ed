//! Decisions: the only place that turns an input into events.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};

use super::{
    ActiveStep, Answer, Input, Outcome, ROOT, Refusal, Run, StepState, fold::Graphs, waits::WaitPlan,
};
use crate::{
    event::{Event, EventRecord, Failure, FunctionRef, Level},
    graph::{Graph, Output},
    ids::{RunId, Timestamp},
};

impl Run {
    /// Starts a run. Returns it with its first events, already applied. `graphs` and `functions` are those
    /// that the graph and its inner graphs name. A `queued` run starts no step until [`Input::Activate`].
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
            events.queue_execution(ROOT);
            events.advance();
        }
        let records = events.records;
        (run, records)
    }
}

/// Turns `input` into events, applies them to `run`, and returns them in order.
///
/// # Errors
/// The input does not fit the run, for example because it is for an earlier attempt. The run is unchanged.
pub fn decide(run: &mut Run, input: Input, now: Timestamp) -> Result<Vec<Arc<EventRecord>>, Refusal> {
    if run.status.is_over() && !input.is_control() {
        return Err(Refusal::Over);
    }
    let mut events = Events::new(run, now);
    match input {
        Input::Answered {
            step,
            attempt,
            result,
        } => {
            events.check_latest_attempt(step, attempt)?;
            events.handle_answer(step, result);
            if events.run.cancelling.is_some() && !events.run.has_active_call() {
                events.finish_cancellation();
            }
        }
        Input::Logged { step, attempt, lines } => {
            events.check_latest_attempt(step, attempt)?;
            events.append_log(step, attempt, lines);
        }
        Input::Due => events.run_due_timers(),
        Input::Signal { name, payload, wait } => events.signal(name, payload, wait)?,
        Input::Cancel { reason, grace_ms } => events.cancel(reason, grace_ms)?,
        Input::Activate => events.activate(),
        Input::Pause { reason } => events.pause(reason)?,
        Input::Resume { active_calls } => events.resume(&active_calls)?,
        Input::Retry => events.retry()?,
        Input::Upgrade(upgrade) => events.upgrade(*upgrade)?,
    }
    events.advance();
    events.check_memory();
    Ok(events.records)
}

/// The events of one decision. Each event is applied at once, so that the next decision sees it.
pub(super) struct Events<'r> {
    pub(super) run: &'r mut Run,
    pub(super) now: Timestamp,
    records: Vec<Arc<EventRecord>>,
    /// The executions in which a branch may be able to start a step.
    pub(super) ready_executions: Vec<u64>,
    /// The maps of which an item ended.
    pub(super) ready_maps: Vec<u64>,
}

impl<'r> Events<'r> {
    pub(super) fn new(run: &'r mut Run, now: Timestamp) -> Self {
        Self {
            run,
            now,
            records: Vec::with_capacity(2),
            ready_executions: Vec::new(),
            ready_maps: Vec::new(),
        }
    }

    /// Returns the events in order.
    pub(super) fn into_records(self) -> Vec<Arc<EventRecord>> {
        self.records
    }

    pub(super) fn push(&mut self, event: Event) {
        let record = Arc::new(EventRecord {
            seq: self.run.seq + 1,
            at: self.now,
            event,
        });
        self.run
            .apply(&record)
            .expect("what is decided about a run fits the run");
        self.records.push(record);
    }

    pub(super) fn queue_execution(&mut self, execution: u64) {
        if !self.ready_executions.contains(&execution) {
            self.ready_executions.push(execution);
        }
    }

    fn check_latest_attempt(&self, step: u64, attempt: u32) -> Result<(), Refusal> {
        match self.run.active_steps.get(&step) {
            Some(active_step)
                if active_step.attempt == attempt && matches!(active_step.state, StepState::Call) =>
            {
                Ok(())
            }
            _ => Err(Refusal::Stale),
        }
    }

    pub(super) fn active_step(&self, step: u64) -> ActiveStep {
        self.run.active_steps[&step].clone()
    }

    pub(super) fn node_name(&self, active_step: &ActiveStep) -> Arc<str> {
        self.run.graph_of(active_step).node(active_step.node).name.clone()
    }

    fn append_log(&mut self, step: u64, attempt: u32, lines: impl IntoIterator<Item = (Level, Arc<str>)>) {
        let node = self.node_name(&self.run.active_steps[&step]);
        for (level, message) in lines {
            self.push(Event::Log {
                step,
                node: node.clone(),
                attempt,
                level,
                message,
            });
            if self.run.is_journal_full() && !self.run.is_suspended() {
                return;
            }
        }
    }

    /// Starts the next attempt of a step, with the timer and the texts of `wait_plan`.
    pub(super) fn start_next_attempt(&mut self, step: u64, wait_plan: &WaitPlan) {
        let active_step = self.active_step(step);
        let started = Event::StepStarted {
            step,
            branch: active_step.branch,
            node: self.node_name(&active_step),
            attempt: active_step.attempt + 1,
            within: active_step.within,
            joined: Vec::new(),
            item: active_step.item,
            until: wait_plan.until,
            undoes: active_step.undo.as_ref().map(|undo| undo.step),
            wait: wait_plan.wait.clone(),
        };
        self.push(started);
    }

    fn handle_answer(&mut self, step: u64, result: Result<Answer, Failure>) {
        let active_step = self.active_step(step);
        let (item, undoes) = (active_step.item, active_step.undo.is_some());
        let given = match (item, undoes) {
            (Some(item), _) => result.and_then(|answer| {
                let value = match answer {
                    Answer::Result(value) => value,
                    Answer::Outcome(outcome) => heddle_json::object::to_json(&outcome.update),
                };
                self.check_and_finish_item(step, item, value)
            }),
            (None, true) => result.and_then(|answer| {
                let Outcome { update, .. } = self.outcome_of(&active_step, answer)?;
                self.finish_undo(step, update);
                Ok(())
            }),
            (None, false) => result.and_then(|answer| {
                // With an `output`, the update differs from the result.
                let result = match &answer {
                    Answer::Result(value) => Some(value.clone()),
                    Answer::Outcome(outcome) => {
                        let output = &self.run.graph_of(&active_step).node(active_step.node).output;
                        output
                            .as_ref()
                            .map(|_| heddle_json::object::to_json(&outcome.update))
                    }
                };
                let outcome = self.outcome_of(&active_step, answer)?;
                self.finish(step, &active_step, outcome, result, None)
            }),
        };
        if let Err(failure) = given {
            self.fail_step(step, failure);
        }
    }

    /// The outcome of an answer. With an `output` in the node, a tool's result is data only and does not
    /// route.
    fn outcome_of(&self, active_step: &ActiveStep, answer: Answer) -> Result<Outcome, Failure> {
        let Some(output) = self
            .run
            .graph_of(active_step)
            .node(active_step.node)
            .output
            .clone()
        else {
            return match answer {
                Answer::Outcome(outcome) => Ok(outcome),
                Answer::Result(result) => Outcome::from_tool_result(&result),
            };
        };
        let (value, route) = match answer {
            Answer::Outcome(outcome) => (heddle_json::object::to_json(&outcome.update), outcome.route),
            Answer::Result(result) => (result, super::Route::Edges),
        };
        let update = self.output_update(active_step, &output, value)?;
        Ok(Outcome { update, route })
    }

    /// The update that a node's `output` makes of the result.
    pub(super) fn output_update(
        &self,
        active_step: &ActiveStep,
        output: &Output,
        value: Json,
    ) -> Result<Object, Failure> {
        let mut update = Object::default();
        match output {
            Output::Key(key) => update.insert(key.clone(), value),
            Output::Keys(keys) => {
                let mut env = self.run.step_env(active_step);
                env.node = Some(value);
                for (key, expr) in keys {
                    update.insert(key.clone(), env.evaluate(expr, &format!("`output.{key}`"))?);
                }
            }
        }
        Ok(update)
    }
}
