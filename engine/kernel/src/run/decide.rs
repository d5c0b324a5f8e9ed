//! Decisions: the only place that turns an input into events.

use std::sync::Arc;

use heddle_json::{Json, Object};

use super::{ActiveStep, Answer, CallId, Input, Outcome, Refusal, Run, StepState, waits::WaitPlan};
use crate::{
    event::{Event, EventRecord, Failure, Level},
    graph::Output,
    ids::Timestamp,
};

/// The result of a decision: new events, and the calls that start and end with them.
///
/// The calls are the difference between the run's [pending work](Run::pending_work) before the decision and
/// after it.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The new events in order, already applied to the run.
    pub events: Vec<Arc<EventRecord>>,
    /// The calls to make, in the order of the events that start them.
    pub calls_started: Vec<CallId>,
    /// The calls that the run no longer needs, in the order of the steps. A call whose answer is the input is
    /// left out.
    pub calls_ended: Vec<CallId>,
}

/// Turns `input` into events, and applies them to `run`.
///
/// # Errors
/// The input does not fit the run, for example because it is for an earlier attempt. The run is unchanged.
pub fn decide(run: &mut Run, input: Input, now: Timestamp) -> Result<Decision, Refusal> {
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
            events.answered = Some(CallId { step, attempt });
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
    Ok(events.into_decision())
}

/// The events of one decision. Each event is applied at once, so that the next decision sees it.
pub(super) struct Events<'r> {
    pub(super) run: &'r mut Run,
    pub(super) now: Timestamp,
    records: Vec<Arc<EventRecord>>,
    /// The calls that the events started. Later events of the same decision may end some of them.
    calls_started: Vec<CallId>,
    /// The pending calls before the first event that may end calls, without `answered`.
    calls_before: Option<Vec<CallId>>,
    /// The call whose answer is the input.
    answered: Option<CallId>,
    /// The executions in which a branch may be able to start a step.
    pub(super) ready_executions: Vec<u64>,
    /// The maps with an item that ended.
    pub(super) ready_maps: Vec<u64>,
}

impl<'r> Events<'r> {
    pub(super) fn new(run: &'r mut Run, now: Timestamp) -> Self {
        Self::with_records(run, now, Vec::with_capacity(2))
    }

    /// Continues a decision that has these events so far.
    pub(super) fn with_records(run: &'r mut Run, now: Timestamp, records: Vec<Arc<EventRecord>>) -> Self {
        Self {
            run,
            now,
            records,
            calls_started: Vec::new(),
            calls_before: None,
            answered: None,
            ready_executions: Vec::new(),
            ready_maps: Vec::new(),
        }
    }

    /// Returns the events in order.
    pub(super) fn into_records(self) -> Vec<Arc<EventRecord>> {
        self.records
    }

    fn into_decision(self) -> Decision {
        let Self {
            run,
            records,
            mut calls_started,
            calls_before,
            ..
        } = self;
        let mut calls_ended = Vec::new();
        // Most decisions end no call.
        if let Some(before) = calls_before {
            calls_ended = before;
            calls_ended.retain(|call| !run.is_call_pending(*call) && !calls_started.contains(call));
            calls_started.retain(|call| run.is_call_pending(*call));
        }
        Decision {
            events: records,
            calls_started,
            calls_ended,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.calls_before.is_none() && self.run.may_end_calls(&event) {
            let calls = self.run.pending_calls();
            self.calls_before = Some(calls.filter(|call| Some(*call) != self.answered).collect());
        }
        let record = Arc::new(EventRecord {
            seq: self.run.seq + 1,
            // The clock may have been set back, or another machine's clock may be behind: event times never go backwards.
            at: self.now.max(self.run.updated_at),
            event,
        });
        self.run
            .apply(&record)
            .expect("what is decided about a run fits the run");
        if let Event::StepStarted { step, attempt, .. } = record.event {
            let call = CallId { step, attempt };
            if self.run.is_call_pending(call) {
                self.calls_started.push(call);
            }
        }
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
