//! Control: a run is activated, paused, resumed, cancelled or retried.
//!
//! While a run is paused or being cancelled, no step starts. Active calls may answer and their outcomes enter
//! the state; further steps start when the run continues.

use std::sync::Arc;

use super::{
    Cancelling, Input, Paused, ROOT, Refusal, RetryPoint, Run, Status, StepState, apply::time_limit,
    decide::Events, fold::Fold, waits::WaitPlan,
};
use crate::{event::Event, graph::Graph, ids::Timestamp};

impl Events<'_> {
    /// Continues a run without active calls.
    pub(super) fn activate(&mut self) {
        if self.run.is_paused() {
            return;
        }
        if !self.finish_cancellation() {
            self.continue_from(&[], Vec::new());
        }
    }

    pub(super) fn pause(&mut self, reason: Arc<str>) -> Result<(), Refusal> {
        let run = &self.run;
        if run.status.is_over() || run.ending.is_some() || run.cancelling.is_some() {
            return Err(run.refusal("it can no longer be paused"));
        }
        if run.is_paused() {
            return Err(run.refusal("resume it to continue"));
        }
        if run.is_queued() {
            return Err(run.refusal("pause it after its start, or cancel it"));
        }
        self.push(Event::RunPaused { reason });
        Ok(())
    }

    pub(super) fn resume(&mut self, active_calls: &[u64]) -> Result<(), Refusal> {
        if !self.run.is_paused() {
            return Err(self.run.refusal(match self.run.status {
                Status::Failed => "retry it instead",
                _ => "only a paused run can be resumed",
            }));
        }
        self.push(Event::RunResumed);
        if !self.finish_cancellation() {
            self.continue_from(active_calls, Vec::new());
            self.run_due_timers();
        }
        Ok(())
    }

    pub(super) fn retry(&mut self) -> Result<(), Refusal> {
        let Some(retry_point) = &self.run.retry_point else {
            return Err(self.run.refusal(match self.run.status {
                Status::Failed => "its steps were compensated, so fork it from a step instead",
                status if status.is_over() => {
                    "only a failed run can be retried, so fork it from a step instead"
                }
                _ => "only a failed run can be retried",
            }));
        };
        let failed = failed_steps(retry_point.active_steps.iter());
        self.run.journal_takes(Event::RunRetried.size())?;
        self.push(Event::RunRetried);
        self.continue_from(&[], failed);
        Ok(())
    }

    pub(super) fn cancel(&mut self, reason: Arc<str>, grace_ms: u64) -> Result<(), Refusal> {
        if self.run.ending.is_some() || (self.run.cancelling.is_some() && grace_ms > 0) {
            return Err(Refusal::Ending);
        }
        if grace_ms > 0 && self.run.has_active_call() {
            let until = self.after(grace_ms);
            self.push(Event::CancelRequested { reason, until });
        } else {
            self.fail_or_cancel(None, Some(reason));
        }
        Ok(())
    }

    /// Ends a run that is being cancelled. Returns false if it is not being cancelled.
    pub(super) fn finish_cancellation(&mut self) -> bool {
        let Some(Cancelling { reason, .. }) = self.run.cancelling.clone() else {
            return false;
        };
        self.fail_or_cancel(None, Some(reason));
        true
    }

    /// Continues everything that can continue: calls that are not active are repeated as the next attempt,
    /// failed steps that started nothing start again, and kept signals, maps and executions are checked.
    pub(super) fn continue_from(&mut self, active_calls: &[u64], failed: Vec<u64>) {
        let active_steps = self.run.active_steps.iter();
        let calls = active_steps.filter(|(step, active_step)| {
            matches!(active_step.state, StepState::Call) && !active_calls.contains(step)
        });
        for step in calls.map(|(step, _)| *step).collect::<Vec<_>>() {
            self.start_next_attempt(step, &WaitPlan::default());
        }
        failed.into_iter().for_each(|step| self.restart_step(step));
        self.deliver_all();
        let maps = self.run.active_steps.iter();
        let maps = maps.filter(|(_, active_step)| matches!(active_step.state, StepState::Map(_)));
        self.ready_maps.extend(maps.map(|(step, _)| *step));
        let executions: Vec<u64> = self.run.executions.keys().copied().collect();
        executions
            .into_iter()
            .for_each(|execution| self.queue_execution(execution));
    }

    /// Starts a failed step again if nothing is active inside of it: a sleep, a wait, a map or an inner
    /// graph.
    fn restart_step(&mut self, step: u64) {
        let Some(active_step) = self.run.active_steps.get(&step).cloned() else {
            return;
        };
        let below = match &active_step.state {
            StepState::Call | StepState::Pause(_) => return,
            StepState::Sleep(_) | StepState::Signal(..) => false,
            StepState::Map(items) => !items.all.is_empty(),
            StepState::Graph(_) => self.run.executions.contains_key(&step),
        };
        let (Some(execution), Some(branch)) = (
            self.run.executions.get(&active_step.within),
            self.run.branch(active_step.within, active_step.branch),
        ) else {
            return;
        };
        if !below {
            let action = &execution.graph.node(active_step.node).action;
            let wait_plan = self.wait_plan(execution, branch.view.state.clone(), branch.steps, action);
            self.start_next_attempt(step, &wait_plan);
            self.start_action_unless(step, wait_plan.problem);
        }
    }
}

/// The steps that failed without failing the run.
pub(super) fn failed_steps<'t>(
    active_steps: impl Iterator<Item = (&'t u64, &'t super::ActiveStep)>,
) -> Vec<u64> {
    active_steps
        .filter(|(_, active_step)| active_step.failed)
        .map(|(step, _)| *step)
        .collect()
}

impl Run {
    /// A refusal with the status of the run, and what to do instead.
    pub(super) fn refusal(&self, instead: &str) -> Refusal {
        let status = match self.status {
            Status::Finished => "has finished",
            Status::Failed => "has failed",
            Status::Cancelled => "was cancelled",
            _ if self.ending.is_some() => "is compensating its steps",
            _ if self.cancelling.is_some() => "is being cancelled",
            _ if self.is_paused() => "is paused",
            _ if self.is_queued() => "is queued and has not started",
            _ if self.is_waiting() => "is waiting",
            _ => "is running",
        };
        Refusal::NotNow(format!("the run {status}: {instead}"))
    }

    /// Whether a call of the run is pending or active.
    pub(super) fn has_active_call(&self) -> bool {
        self.active_steps
            .values()
            .any(|active_step| matches!(active_step.state, StepState::Call))
    }

    /// Folds `RunPaused`.
    pub(super) fn paused_at(&mut self, reason: &Arc<str>, at: Timestamp) -> Fold {
        if self.status.is_over() {
            return Err("the run is over".to_owned());
        }
        let since = self.paused.as_ref().map_or(at, |paused| paused.since);
        let reason = reason.clone();
        self.paused = Some(Paused { reason, since });
        Ok(())
    }

    /// Folds `RunResumed`. The time of the pause does not count for time limits.
    pub(super) fn resumed_at(&mut self, at: Timestamp) -> Fold {
        let paused = self.paused.take().ok_or("the run is not paused")?;
        let stood = at.0.saturating_sub(paused.since.0).max(0);
        self.set_limits(|_, _, until| Some(Timestamp(until?.0.saturating_add(stood))))
    }

    /// Folds `CancelRequested`.
    pub(super) fn cancelling_until(&mut self, reason: &Arc<str>, until: Timestamp) -> Fold {
        if self.status.is_over() || self.ending.is_some() {
            return Err("the run is over, or ending".to_owned());
        }
        let reason = reason.clone();
        self.cancelling = Some(Cancelling { reason, until });
        self.paused = None;
        Ok(())
    }

    /// Folds `RunRetried`.
    pub(super) fn retried_at(&mut self, at: Timestamp) -> Fold {
        if !self.restore_retry_point() {
            return Err("the run did not fail, or what it did was undone".to_owned());
        }
        self.status = Status::Running;
        self.error = None;
        self.clear_failures(at)
    }

    /// Restores the active parts of a failed run. Returns false if they were not kept.
    pub(super) fn restore_retry_point(&mut self) -> bool {
        let Some(retry_point) = self.retry_point.take() else {
            return false;
        };
        let RetryPoint {
            executions,
            active_steps,
            due,
            signals,
        } = *retry_point;
        self.executions = executions;
        self.active_steps = active_steps;
        self.due = due;
        self.signals = signals;
        true
    }

    /// Clears failures and restarts the time limits at `at`.
    pub(super) fn clear_failures(&mut self, at: Timestamp) -> Fold {
        for active_step in self.active_steps.values_mut() {
            if active_step.failed || matches!(active_step.state, StepState::Call) {
                active_step.failures = 0;
            }
            active_step.failed = false;
        }
        self.set_limits(|_, graph, _| time_limit(graph, at))
    }

    /// Sets the time limit of every execution, from its graph and its current limit.
    pub(super) fn set_limits(
        &mut self,
        limit: impl Fn(u64, &Graph, Option<Timestamp>) -> Option<Timestamp>,
    ) -> Fold {
        let own = self.due.iter().find(|(_, step)| *step == ROOT);
        self.set_time_limit(limit(ROOT, &self.graph, own.map(|(at, _)| *at)));
        let nested = self.executions.iter().filter(|(number, _)| **number != ROOT);
        let nested: Vec<(u64, Arc<Graph>)> = nested.map(|(number, of)| (*number, of.graph.clone())).collect();
        for (step, graph) in nested {
            if let Some(StepState::Graph(until)) =
                self.active_steps.get(&step).map(|active_step| &active_step.state)
            {
                self.set_step_state(step, StepState::Graph(limit(step, &graph, *until)))?;
            }
        }
        Ok(())
    }
}

impl Input {
    /// Whether the input may apply to a run that has ended, or is refused for a more specific reason.
    pub(super) fn is_control(&self) -> bool {
        matches!(
            self,
            Self::Pause { .. } | Self::Resume { .. } | Self::Retry | Self::Upgrade(_)
        )
    }
}
