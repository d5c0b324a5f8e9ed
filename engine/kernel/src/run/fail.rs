//! Failures: a step is retried, its branch goes to `on_error`, or its graph fails; and compensations when a
//! run fails or is cancelled.

use std::sync::Arc;

use heddle_json::{Json, Object, object::to_json};
use serde::Serialize;
use sha2::Digest as _;

use super::{Ending, ROOT, Run, decide::Events, view::Conflict};
use crate::{
    event::{Event, Failure, FailureAction, FailureKind, Item, RunError},
    graph::{MAX_DURATION_MS, NodeAction, OnItemError, Retry},
    ids::Timestamp,
};

impl Events<'_> {
    /// Handles a failed attempt of a step.
    pub(super) fn fail_step(&mut self, step: u64, failure: Failure) {
        if self.run.cancelling.is_some() {
            // The run is ending; other active calls may still answer.
            return self.push_step_failed(step, failure, FailureAction::Raise);
        }
        let active_step = self.active_step(step);
        let graph = self.run.graph_of(&active_step).clone();
        let node = graph.node(active_step.node);
        let retry = node
            .retry
            .as_ref()
            // The items of a map are retried one by one, and never the map as a whole.
            .filter(|_| !matches!(node.action, NodeAction::Map(_)) || active_step.item.is_some())
            .filter(|retry| retry.on.contains(&failure.kind) && active_step.failures + 1 < retry.attempts);
        if let Some(retry) = retry {
            let at = self.after(backoff_ms(self.run, step, active_step.failures, retry));
            return self.push_step_failed(step, failure, FailureAction::Retry(at));
        }
        if let Some(item) = active_step.item {
            return self.fail_item(step, item, failure);
        }
        if let (Some(place), None) = (node.on_error, &active_step.undo) {
            let then = FailureAction::Goto(graph.name_of(place));
            self.queue_execution(active_step.within);
            return self.push_step_failed(step, failure, then);
        }
        let name = node.name.clone();
        self.push_step_failed(step, failure.clone(), FailureAction::Raise);
        if active_step.undo.is_some() {
            return self.undo_next();
        }
        let error = error_of(failure, name, Some((step, active_step.attempt)));
        self.propagate_failure(active_step.within, error);
    }

    fn push_step_failed(&mut self, step: u64, failure: Failure, then: FailureAction) {
        let active_step = &self.run.active_steps[&step];
        let (node, attempt) = (self.node_name(active_step), active_step.attempt);
        self.push(Event::StepFailed {
            step,
            node,
            attempt,
            failure,
            then,
        });
    }

    fn fail_item(&mut self, step: u64, item: Item, failure: Failure) {
        let map = self.active_step(item.of);
        let policy = match &self.run.graph_of(&map).node(map.node).action {
            NodeAction::Map(map) => map.on_item_error,
            _ => OnItemError::Fail,
        };
        let result = match policy {
            OnItemError::Fail => {
                self.push_step_failed(step, failure.clone(), FailureAction::Raise);
                let name = self.run.item_label(item);
                let message = format!("item {name}: {}", failure.message).into();
                return self.fail_step(item.of, Failure { message, ..failure });
            }
            OnItemError::Skip => None,
            OnItemError::Collect => {
                let active_step = self.active_step(step);
                let error = error_json(&failure, &self.node_name(&active_step));
                let mut result = Object::default();
                result.insert("error", error);
                Some(to_json(&result))
            }
        };
        self.push_step_failed(step, failure, FailureAction::Item);
        self.finish_item(step, item, result);
    }

    /// Fails an execution at a node, for a reason that is not a failure of one step. The error has the step at the node, if
    /// one is active there.
    pub(super) fn fail_execution(&mut self, number: u64, node: &Arc<str>, failure: Failure) {
        let at_node = self.run.active_steps.iter().find(|(_, active_step)| {
            active_step.within == number && active_step.item.is_none() && self.node_name(active_step) == *node
        });
        let step = at_node.map(|(step, active_step)| (*step, active_step.attempt));
        self.propagate_failure(number, error_of(failure, node.clone(), step));
    }

    /// Fails an execution, and with it the step that runs it, or the run.
    fn propagate_failure(&mut self, number: u64, error: RunError) {
        if number == ROOT {
            return self.fail_or_cancel(Some(error), None);
        }
        let graph = self.run.executions[&number].graph.clone();
        let message = format!(
            "graph `{}`, node `{}`: {}",
            graph.title(),
            error.node,
            error.message
        );
        let failure = Failure {
            kind: error.kind,
            message: message.into(),
            data: error.data,
        };
        self.fail_step(number, failure);
    }

    /// Ends the run with an error or a cancellation, after the compensations.
    pub(super) fn fail_or_cancel(&mut self, error: Option<RunError>, reason: Option<Arc<str>>) {
        self.ready_executions.clear();
        if self.run.undo.is_empty() {
            return self.push(final_event(Ending {
                error,
                reason,
                problems: Vec::new(),
            }));
        }
        self.push(Event::UndoStarted { error, reason });
        self.undo_next();
    }

    /// Starts the next compensation, or ends the run if there is none.
    pub(super) fn undo_next(&mut self) {
        if let Some(problem) = self.run.no_room_to_undo()
            && let Some(mut ending) = self.run.ending.clone()
        {
            ending.problems.push(problem.into());
            return self.push(final_event(ending));
        }
        if let Some(undo) = self.run.undo.last() {
            let started = Event::StepStarted {
                step: self.run.steps + 1,
                branch: 0,
                node: undo.graph.node(undo.node).name.clone(),
                attempt: 1,
                within: undo.within,
                joined: Vec::new(),
                item: None,
                until: None,
                undoes: Some(undo.step),
                wait: None,
            };
            return self.push(started);
        }
        if let Some(ending) = self.run.ending.clone() {
            self.push(final_event(ending));
        }
    }

    pub(super) fn finish_undo(&mut self, step: u64, update: Object) {
        let active_step = self.active_step(step);
        self.push(Event::StepFinished {
            step,
            node: self.node_name(&active_step),
            attempt: active_step.attempt,
            update,
            next: crate::event::Next::End,
            signal: None,
        });
        self.undo_next();
    }

    /// The time in `ms` milliseconds.
    pub(super) fn after(&self, ms: u64) -> Timestamp {
        Timestamp(self.now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }
}

/// The last event of a run that fails or is cancelled.
fn final_event(ending: Ending) -> Event {
    let Ending {
        error,
        reason,
        problems,
    } = ending;
    match error {
        Some(mut error) => {
            if !problems.is_empty() {
                let problems = problems.join("; ");
                error.message = format!("{}; failed compensations: {problems}", error.message).into();
            }
            Event::RunFailed { error }
        }
        None => Event::RunCancelled {
            reason: reason.unwrap_or_default(),
            problems,
        },
    }
}

/// The pause before the next attempt, in milliseconds. The jitter is derived from the attempt, so that the
/// same run always decides the same.
fn backoff_ms(run: &Run, step: u64, failures: u32, retry: &Retry) -> u64 {
    let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
    let pause = (retry.backoff_ms as f64 * retry.factor.powi(exponent)).min(retry.max_ms as f64);
    let sum = sha2::Sha256::digest(format!("{} {step} {failures}", run.id));
    let drawn = f64::from(u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]])) / f64::from(u32::MAX);
    let pause = pause * (1.0 + retry.jitter * (2.0 * drawn - 1.0));
    (pause.max(0.0) as u64).min(MAX_DURATION_MS)
}

fn error_of(failure: Failure, node: Arc<str>, step: Option<(u64, u32)>) -> RunError {
    RunError {
        kind: failure.kind,
        message: failure.message,
        node,
        step: step.map(|(step, _)| step),
        attempt: step.map(|(_, attempt)| attempt),
        data: failure.data,
    }
}

/// The JSON of a failure for a node that `on_error` leads to, and for the results of a map. It contains no
/// number of a step or an attempt: those depend on the order of completion, and this value enters the state.
pub(super) fn error_json(failure: &Failure, node: &Arc<str>) -> Json {
    let Failure { kind, message, data } = failure;
    #[derive(Serialize)]
    struct ErrorJson<'f> {
        code: FailureKind,
        message: &'f Arc<str>,
        node: &'f Arc<str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'f Json>,
    }
    to_json(&ErrorJson {
        code: *kind,
        message,
        node,
        data: data.as_ref(),
    })
}

impl Conflict {
    pub(super) fn failure(&self, node: &str) -> Failure {
        let Self {
            key,
            nodes: [a, b],
            problem,
        } = self;
        let message = match problem {
            None => format!(
                "`{a}` and `{b}` changed `{key}` in parallel branches that meet at `{node}`, and the graph does not say \
                 how to merge them: give the key a policy, as in \"state\": {{\"{key}\": {{\"merge\": \"append\"}}}}, \
                 or let each branch write a separate key"
            ),
            Some(problem) => format!(
                "what `{a}` and `{b}` gave `{key}` in parallel branches that meet at `{node}` does not merge: {problem}"
            ),
        };
        Failure::new(FailureKind::Conflict, message)
    }
}
