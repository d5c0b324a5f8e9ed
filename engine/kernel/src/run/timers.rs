//! Timers: the end of sleeps, of pauses before an attempt, of waits, and of the time limits of graphs and
//! runs.

use heddle_json::Object;

use super::{ActiveStep, ROOT, Run, StepState, decide::Events, waits::WaitPlan};
use crate::{
    event::{Event, Failure, FailureKind},
    graph,
    ids::Timestamp,
};

impl Events<'_> {
    /// Handles every timer that is due.
    pub(super) fn run_due_timers(&mut self) {
        if self.run.is_paused() {
            return;
        }
        if let Some(cancelling) = &self.run.cancelling {
            if cancelling.until <= self.now {
                self.finish_cancellation();
            }
            return;
        }
        let due: Vec<u64> = self
            .run
            .due
            .range(..=(self.now, u64::MAX))
            .map(|(_, step)| *step)
            .collect();
        for step in due {
            if step == ROOT {
                return self.fail_by_time_limit(ROOT);
            }
            // An earlier timer may have ended this step.
            let Some(active_step) = self.run.active_steps.get(&step).cloned() else {
                continue;
            };
            if self.run.is_journal_full() {
                return;
            }
            match &active_step.state {
                StepState::Pause(_) => {
                    self.start_next_attempt(step, &WaitPlan::default());
                    self.start_action(step);
                }
                StepState::Sleep(_) => {
                    self.finish_along_edges(step, &active_step, Object::default(), None, None)
                }
                StepState::Signal(..) => self.wait_timed_out(step, &active_step),
                StepState::Map(_) => self.advance_map(step),
                StepState::Graph(_) => self.fail_by_time_limit(step),
                StepState::Call => {}
            }
        }
    }

    /// Fails an execution that exceeded its time limit.
    fn fail_by_time_limit(&mut self, number: u64) {
        let Some(execution) = self.run.executions.get(&number) else {
            return;
        };
        let ms = execution.graph.max_time_ms.unwrap_or_default();
        let at = execution.at();
        let what = if number == ROOT { "run" } else { "graph" };
        let message =
            format!("the {what} took longer than its limit of {ms} ms (`limits.time` in the graph)");
        let node = at.unwrap_or_else(|| graph::END.into());
        self.fail_execution(number, &node, Failure::new(FailureKind::TimeLimit, message));
    }

    fn wait_timed_out(&mut self, step: u64, active_step: &ActiveStep) {
        let graph = self.run.graph_of(active_step).clone();
        let node = graph.node(active_step.node);
        let Some(place) = node.on_timeout else {
            let signal = self.run.awaited(active_step).map_or("", |(_, signal)| &**signal);
            let message = format!("no signal `{signal}` came to node `{}` in time", node.name);
            return self.fail_step(step, Failure::new(FailureKind::Timeout, message));
        };
        let next = self.next(&[place], active_step);
        self.push(Event::StepFinished {
            step,
            node: node.name.clone(),
            attempt: active_step.attempt,
            update: Object::default(),
            next,
            signal: None,
        });
        self.queue_execution(active_step.within);
    }
}

impl Run {
    /// When the run needs [`Input::Due`](super::Input::Due) at the latest. `None` while the run is paused.
    /// While it is being cancelled, the end of the grace period.
    pub fn due(&self) -> Option<Timestamp> {
        if self.is_paused() {
            return None;
        }
        match &self.cancelling {
            Some(cancelling) => Some(cancelling.until),
            None => self.due.first().map(|(at, _)| *at),
        }
    }
}

impl ActiveStep {
    /// When the step's timer is due.
    pub(super) fn until(&self) -> Option<Timestamp> {
        match &self.state {
            StepState::Pause(until) | StepState::Sleep(until) => Some(*until),
            StepState::Signal(until, _) | StepState::Graph(until) => *until,
            // A map without items has no other event that continues it.
            StepState::Map(items) if items.all.is_empty() => Some(self.started_at),
            StepState::Map(_) | StepState::Call => None,
        }
    }
}
