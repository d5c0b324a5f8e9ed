//! Steering: a run that is taken up, paused, resumed, cancelled, or retried after it failed.
//!
//! While a run is paused or being cancelled, nothing begins: calls under way may answer, their outcomes
//! enter the state, and what would follow from them waits until the run goes on.

use std::sync::Arc;

use super::{
    Cancelling, Input, Paused, ROOT, Refusal, RetryPoint, Run, Status, StepState,
    apply::{Fold, time_limit},
    decide::Events,
    waits::WaitPlan,
};
use crate::{event::Event, graph::Graph, ids::Timestamp};

impl Events<'_> {
    /// An engine took the run up: no call of it is under way.
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
            return Err(run.refusal("there is nothing to pause any more"));
        }
        if run.is_paused() {
            return Err(run.refusal("resume it to have it go on"));
        }
        if run.is_queued() {
            return Err(run.refusal("pause it once it has begun, or cancel it"));
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
        let Some(kept) = &self.run.retry_point else {
            return Err(self.run.refusal(match self.run.status {
                Status::Failed => "what it did was undone, so fork it from a step instead",
                status if status.is_over() => {
                    "only a failed run can be retried, so fork it from a step instead"
                }
                _ => "only a failed run can be retried",
            }));
        };
        let failed = failed_steps(kept.active_steps.iter());
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

    /// Ends a run that is being cancelled. False where it is not.
    pub(super) fn finish_cancellation(&mut self) -> bool {
        let Some(Cancelling { reason, .. }) = self.run.cancelling.clone() else {
            return false;
        };
        self.fail_or_cancel(None, Some(reason));
        true
    }

    /// Goes on wherever that is possible: calls that are not under way are made again as the next
    /// attempt, steps that failed before they did anything are opened again, and what waited for this is
    /// looked at anew.
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

    /// Opens a step again that failed by itself: a sleep, a wait, or what has nothing under way below it.
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
            let does = &execution.graph.node(active_step.node).action;
            let wait_plan = self.wait_plan(execution, branch.view.state.clone(), branch.steps, does);
            self.start_next_attempt(step, &wait_plan);
            self.start_action_unless(step, wait_plan.problem);
        }
    }
}

/// The steps that failed for good, and of which the run did not.
pub(super) fn failed_steps<'t>(
    active_steps: impl Iterator<Item = (&'t u64, &'t super::ActiveStep)>,
) -> Vec<u64> {
    active_steps
        .filter(|(_, active_step)| active_step.failed)
        .map(|(step, _)| *step)
        .collect()
}

impl Run {
    /// A refusal that says how the run stands, and what to do instead.
    pub(super) fn refusal(&self, instead: &str) -> Refusal {
        let stands = match self.status {
            Status::Finished => "has finished",
            Status::Failed => "has failed",
            Status::Cancelled => "was cancelled",
            _ if self.ending.is_some() => "is undoing what it did",
            _ if self.cancelling.is_some() => "is being cancelled",
            _ if self.is_paused() => "is paused",
            _ if self.is_queued() => "is queued and has not begun",
            _ if self.is_waiting() => "is waiting",
            _ => "is running",
        };
        Refusal::NotNow(format!("the run {stands}: {instead}"))
    }

    /// Whether it is at a step whose function was called.
    pub(super) fn has_active_call(&self) -> bool {
        self.active_steps
            .values()
            .any(|active_step| matches!(active_step.state, StepState::Call))
    }

    /// The fold of `RunPaused`.
    pub(super) fn paused_at(&mut self, reason: &Arc<str>, at: Timestamp) -> Fold {
        if self.status.is_over() {
            return Err("the run is over".to_owned());
        }
        let since = self.paused.as_ref().map_or(at, |paused| paused.since);
        let reason = reason.clone();
        self.paused = Some(Paused { reason, since });
        Ok(())
    }

    /// The fold of `RunResumed`: the time that it stood still does not count for the limits of its graphs.
    pub(super) fn resumed_at(&mut self, at: Timestamp) -> Fold {
        let paused = self.paused.take().ok_or("the run is not paused")?;
        let stood = at.0.saturating_sub(paused.since.0).max(0);
        self.set_limits(|_, _, until| Some(Timestamp(until?.0.saturating_add(stood))))
    }

    /// The fold of `CancelRequested`.
    pub(super) fn cancelling_until(&mut self, reason: &Arc<str>, until: Timestamp) -> Fold {
        if self.status.is_over() || self.ending.is_some() {
            return Err("the run is over, or ending".to_owned());
        }
        let reason = reason.clone();
        self.cancelling = Some(Cancelling { reason, until });
        self.paused = None;
        Ok(())
    }

    /// The fold of `RunRetried`.
    pub(super) fn retried_at(&mut self, at: Timestamp) -> Fold {
        if !self.restore_retry_point() {
            return Err("the run did not fail, or what it did was undone".to_owned());
        }
        self.status = Status::Running;
        self.error = None;
        self.clear_failures(at)
    }

    /// Has a run that failed be where it was then. False where that is not kept.
    pub(super) fn restore_retry_point(&mut self) -> bool {
        let Some(kept) = self.retry_point.take() else {
            return false;
        };
        let RetryPoint {
            executions,
            active_steps,
            due,
            signals,
        } = *kept;
        self.executions = executions;
        self.active_steps = active_steps;
        self.due = due;
        self.signals = signals;
        true
    }

    /// Forgets what failed, and has the time limits count from here.
    pub(super) fn clear_failures(&mut self, at: Timestamp) -> Fold {
        for active_step in self.active_steps.values_mut() {
            if active_step.failed || matches!(active_step.state, StepState::Call) {
                active_step.failures = 0;
            }
            active_step.failed = false;
        }
        self.set_limits(|_, graph, _| time_limit(graph, at))
    }

    /// Sets the time limit of every execution, from its graph and what it was.
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
    /// Whether it may mean something to a run that is over, or says why not.
    pub(super) fn is_control(&self) -> bool {
        matches!(
            self,
            Self::Pause { .. } | Self::Resume { .. } | Self::Retry | Self::Upgrade(_)
        )
    }
}
