//! Failures: tried again, led elsewhere, or the end of the graph that the step belongs to; and what
//! is undone when a run ends badly.

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
    /// An attempt of a step failed.
    pub(super) fn fail_step(&mut self, step: u64, failure: Failure) {
        if self.run.cancelling.is_some() {
            // It ends anyway, and other calls under way may still answer.
            return self.push_step_failed(step, failure, FailureAction::Raise);
        }
        let active_step = self.active_step(step);
        let graph = self.run.graph_of(&active_step).clone();
        let node = graph.node(active_step.node);
        let retry = node
            .retry
            .as_ref()
            // A map's items are tried again each by itself, and never the whole of it.
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
        let error = error_of(failure, name, step, active_step.attempt);
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

    /// Something that no step is to blame for alone fails an execution at a node.
    pub(super) fn fail_execution(&mut self, number: u64, node: &Arc<str>, failure: Failure) {
        let step = self.run.steps;
        let attempt = self
            .run
            .active_steps
            .get(&step)
            .map_or(1, |active_step| active_step.attempt);
        self.propagate_failure(number, error_of(failure, node.clone(), step, attempt));
    }

    /// An execution fails: with it the step that it is for, or the run.
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

    /// The run ends badly: once everything that can be is undone.
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

    /// Undoes the last step that is not undone, or ends the run.
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

    /// The time so many milliseconds from now.
    pub(super) fn after(&self, ms: u64) -> Timestamp {
        Timestamp(self.now.0.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
    }
}

/// The last event of a run that ends badly.
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
                error.message = format!("{}; what could not be undone: {problems}", error.message).into();
            }
            Event::RunFailed { error }
        }
        None => Event::RunCancelled {
            reason: reason.unwrap_or_default(),
            problems,
        },
    }
}

/// How long to wait before the next attempt. The jitter is drawn from what the attempt is, so that
/// the same run decides the same.
fn backoff_ms(run: &Run, step: u64, failures: u32, retry: &Retry) -> u64 {
    let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
    let pause = (retry.backoff_ms as f64 * retry.factor.powi(exponent)).min(retry.max_ms as f64);
    let sum = sha2::Sha256::digest(format!("{} {step} {failures}", run.id));
    let drawn = f64::from(u32::from_be_bytes([sum[0], sum[1], sum[2], sum[3]])) / f64::from(u32::MAX);
    let pause = pause * (1.0 + retry.jitter * (2.0 * drawn - 1.0));
    (pause.max(0.0) as u64).min(MAX_DURATION_MS)
}

fn error_of(failure: Failure, node: Arc<str>, step: u64, attempt: u32) -> RunError {
    RunError {
        kind: failure.kind,
        message: failure.message,
        node,
        step,
        attempt,
        data: failure.data,
    }
}

/// A failure as a node is shown it that an error leads to, and as it stands among a map's results. It
/// has no number of a step or an attempt: those depend on what came first, and this enters the state.
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
                 or have each write a key of its own"
            ),
            Some(problem) => format!(
                "what `{a}` and `{b}` gave `{key}` in parallel branches that meet at `{node}` does not merge: {problem}"
            ),
        };
        Failure::new(FailureKind::Conflict, message)
    }
}
