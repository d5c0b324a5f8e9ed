//! The driver of a run: one task that alone changes the run.
//!
//! The driver waits for the next [`DriverEvent`] and handles it ([`Driver::handle`]): it has the kernel decide what
//! follows, adds the new events to the append buffer, and starts the calls that the run then needs. It does not wait for
//! the disk, except before calls of granted functions and when it is too far ahead. It ends when the run has ended, when
//! the run only waits and can be unloaded, and when the engine stops.

mod call;
mod step_sink;

use std::{
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    sync::Arc,
    time::Duration,
};

use heddle_kernel::{CallId, Decision, Input, Refusal, Run, Timestamp};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};

use self::call::{ActiveCall, CallResult};
use crate::{
    append_buffer::AppendBuffer,
    core::Core,
    errors::StopReason,
    live_run::{LiveRun, RunCommand},
    memory_budget::MEMORY_POLL_INTERVAL,
    ports::AppendError,
};

/// How often the log lines of active calls are journaled.
const LOG_INTERVAL: Duration = Duration::from_millis(100);

/// How long a run that never waits may hold events back, so that steps of microseconds share an append. Then the driver
/// yields to other tasks.
const COALESCE_FOR: Duration = Duration::from_micros(500);

/// The longest time between two looks at the clock, which an operator may set.
const MAX_SLEEP_MS: i64 = 60_000;

/// Everything that can happen to a run's driver.
enum DriverEvent {
    /// A call can start: the run needs it, is not held, and there is memory for a step.
    CallReady(CallId),
    /// A call has ended.
    CallEnded(CallId, CallResult),
    /// A client, or admission, has sent a command.
    Command(RunCommand),
    /// A timer of the run is due.
    TimerDue,
    /// The run is being cancelled, and no call is active any more.
    CancelReady,
    /// Nothing else has happened: the driver is about to wait.
    Idle,
    /// The wait ended for another reason: a notification, or an interval for log lines or memory.
    Woken,
    /// The run has ended.
    RunEnded,
    /// The engine is stopping, and no call is active.
    Draining,
    /// The driver must stop: an append has failed, or the engine has stopped.
    Stopped,
}

/// Spawns the driver of a run.
pub(crate) fn spawn_driver(core: &Arc<Core>, live: Arc<LiveRun>, buffer: AppendBuffer) {
    let id = live.id;
    let (ready_calls, is_held) = live.read(|run| {
        let is_held = run.is_suspended() || run.status.is_over();
        // It is unknown which calls of a held run were made: all of them are made when the run continues.
        let calls = run.pending_calls().filter(|_| !is_held);
        (calls.collect(), is_held)
    });
    let driver = Driver {
        core: core.clone(),
        live,
        buffer,
        ready_calls,
        is_held,
        calls: JoinSet::new(),
        active_calls: HashMap::new(),
        over_limit: None,
        poll_inputs: false,
        due: None,
        is_timer_checked: false,
    };
    core.live_runs.spawn(id, driver.run());
}

struct Driver {
    core: Arc<Core>,
    live: Arc<LiveRun>,
    buffer: AppendBuffer,
    /// The calls that the run needs and that have not started, in order.
    ready_calls: VecDeque<CallId>,
    /// Whether the run is paused, is being cancelled, or has ended: no call starts.
    is_held: bool,
    /// The tasks of the active calls.
    calls: JoinSet<(CallId, CallResult)>,
    /// The active calls, by step.
    active_calls: HashMap<u64, ActiveCall>,
    /// Held while this run takes steps although the memory limit is reached.
    over_limit: Option<OwnedSemaphorePermit>,
    /// Whether to look for results, commands and timers before the next call starts.
    poll_inputs: bool,
    /// The run's earliest timer when the driver last looked.
    due: Option<Timestamp>,
    /// Whether a due timer was handled without effect: it is not handled again before something else happens.
    is_timer_checked: bool,
}

impl Driver {
    /// Drives the run until the driver has nothing more to do.
    async fn run(mut self) {
        loop {
            if let Some(event) = self.next_event().await {
                match self.handle(event) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(()) => break,
                }
            }
            let _ = self.handle(DriverEvent::Idle);
            if self.unload().await {
                break;
            }
            let event = self.wait().await;
            if self.handle(event).is_break() {
                break;
            }
        }
        self.finish().await;
    }

    /// Handles an event. Breaks if the driver has to stop.
    fn handle(&mut self, event: DriverEvent) -> ControlFlow<()> {
        match event {
            DriverEvent::CallReady(call) => {
                if let Some(result) = self.start_call(call) {
                    self.end_call(call, result);
                }
            }
            DriverEvent::CallEnded(call, result) => self.end_call(call, result),
            DriverEvent::Command(command) => self.apply_command(command),
            DriverEvent::TimerDue => {
                self.is_timer_checked = true;
                // Nothing to report: the run's events show what was due.
                let _ = self.decide(Input::Due);
            }
            DriverEvent::CancelReady => {
                let _ = self.decide(Input::Activate);
            }
            DriverEvent::Idle => {
                self.journal_active_output();
                self.flush();
            }
            DriverEvent::Woken => {}
            DriverEvent::Draining => {
                self.live.stop(StopReason::Draining);
                return ControlFlow::Break(());
            }
            DriverEvent::RunEnded | DriverEvent::Stopped => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    /// The next event that has happened already. `None` if the driver has to wait.
    async fn next_event(&mut self) -> Option<DriverEvent> {
        loop {
            if self.live.is_stopped() {
                return Some(DriverEvent::Stopped);
            }
            if self.core.is_draining() && self.active_calls.is_empty() {
                return Some(DriverEvent::Draining);
            }
            if !self.poll_inputs && self.can_call() && self.has_memory() {
                if self.buffer.held_for() >= COALESCE_FOR {
                    self.flush();
                    tokio::task::yield_now().await;
                    self.poll_inputs = true;
                    self.is_timer_checked = false;
                } else if !self.keep_pace_with_disk().await {
                    return Some(DriverEvent::Stopped);
                } else {
                    return self.ready_calls.pop_front().map(DriverEvent::CallReady);
                }
            }
            if let Some(event) = self.next_input() {
                return Some(event);
            }
            if std::mem::take(&mut self.poll_inputs) {
                continue;
            }
            let is_cancelling = || self.live.read(|run| run.is_suspended() && !run.is_paused());
            if self.is_held && self.active_calls.is_empty() && is_cancelling() {
                return Some(DriverEvent::CancelReady);
            }
            return None;
        }
    }

    /// The next result, command or timer that has arrived, or the end of the run.
    fn next_input(&mut self) -> Option<DriverEvent> {
        if self.poll_inputs
            && let Some(Ok((call, result))) = self.calls.try_join_next()
        {
            return Some(DriverEvent::CallEnded(call, result));
        }
        if let Some(command) = self.live.next_command() {
            return Some(DriverEvent::Command(command));
        }
        let (has_ended, due) = self.live.read(|run| (run.status.is_over(), run.due()));
        if has_ended {
            return Some(DriverEvent::RunEnded);
        }
        self.due = due.filter(|_| !self.core.is_draining());
        let is_due = |due: Timestamp| !self.is_timer_checked && due <= self.core.ports.clock.now();
        self.due.is_some_and(is_due).then_some(DriverEvent::TimerDue)
    }

    /// Waits for the next event.
    async fn wait(&mut self) -> DriverEvent {
        self.is_timer_checked = false;
        let sleep = self.due.map(|due| {
            let left = due.0.saturating_sub(self.core.ports.clock.now().0);
            Duration::from_millis(left.clamp(0, MAX_SLEEP_MS).unsigned_abs())
        });
        let has_active_calls = !self.active_calls.is_empty();
        let waits_for_memory = self.can_call();
        let live = self.live.clone();
        tokio::select! {
            biased;
            Some(joined) = self.calls.join_next() => match joined {
                Ok((call, result)) => DriverEvent::CallEnded(call, result),
                // The call was aborted.
                Err(_) => DriverEvent::Woken,
            },
            () = live.append_failed() => DriverEvent::Stopped,
            () = live.wakeup.notified() => DriverEvent::Woken,
            () = tokio::time::sleep(sleep.unwrap_or_default()), if sleep.is_some() => DriverEvent::Woken,
            () = tokio::time::sleep(LOG_INTERVAL), if has_active_calls => DriverEvent::Woken,
            () = tokio::time::sleep(MEMORY_POLL_INTERVAL), if waits_for_memory => DriverEvent::Woken,
        }
    }

    /// Passes an input to the kernel, adds the resulting events to the buffer, and updates the calls. Returns the
    /// number of the last event, or 0 if nothing follows.
    fn decide(&mut self, input: Input) -> Result<u64, Refusal> {
        let now = self.core.ports.clock.now();
        let (decision, is_held) = self
            .live
            .decide(input, now, |run| run.status.is_over() || run.is_suspended())?;
        let Decision {
            events,
            calls_started,
            calls_ended,
        } = decision;
        self.is_held = is_held;
        self.ready_calls.extend(calls_started);
        self.abort_calls(&calls_ended);
        let last = events.last().map_or(0, |last| last.seq);
        if last > 0 {
            self.is_timer_checked = false;
        }
        self.buffer.add(events);
        Ok(last)
    }

    /// Applies a command and sends the reply.
    fn apply_command(&mut self, command: RunCommand) {
        let RunCommand {
            input,
            idempotency,
            reply,
        } = command;
        // Only the driver knows which calls are active.
        let input = match input {
            Input::Resume { .. } => Input::Resume {
                active_calls: self.steps_with_calls(),
            },
            Input::Cancel { reason, .. } if self.active_calls.is_empty() => {
                Input::Cancel { reason, grace_ms: 0 }
            }
            input => input,
        };
        let answer = self.decide(input);
        if let (Some(idempotency), Ok(seq)) = (idempotency, &answer) {
            self.buffer.add_request(idempotency.result(self.live.id, *seq));
            self.core
                .release_when_durable(idempotency, self.live.clone(), *seq);
        }
        // The sender may have disconnected; the command still applies.
        let _ = reply.send(answer);
    }

    /// The steps whose calls are active or have not started.
    fn steps_with_calls(&self) -> Vec<u64> {
        let ready = self.ready_calls.iter().map(|call| call.step);
        self.active_calls.keys().copied().chain(ready).collect()
    }

    /// Whether the run needs a call that may start.
    fn can_call(&self) -> bool {
        !self.is_held && !self.ready_calls.is_empty() && !self.core.is_draining()
    }

    /// Whether there is memory for a step, or this run is the one that may take steps above the limit.
    fn has_memory(&mut self) -> bool {
        let memory = &self.core.memory;
        if !memory.is_over() {
            self.over_limit = None;
            return true;
        }
        if self.over_limit.is_none() {
            self.over_limit = memory.try_over_limit();
        }
        self.over_limit.is_some()
    }

    fn flush(&mut self) {
        self.buffer.flush(&*self.core.ports.store, &self.live);
    }

    /// Waits for the disk if the run is too far ahead of it, since these events are held in memory. False if they never
    /// become durable.
    async fn keep_pace_with_disk(&mut self) -> bool {
        if self.buffer.ahead() <= self.core.settings.run_ahead_bytes {
            return true;
        }
        self.flush();
        self.buffer.caught_up();
        self.is_durable().await
    }

    async fn is_durable(&self) -> bool {
        self.live.clone().durable_so_far().await.is_ok()
    }

    /// Frees the slot of a run that only waits, and removes the run from memory if it has no guards. Returns whether it
    /// was removed: then the driver ends, and a timer or a command loads the run again.
    async fn unload(&mut self) -> bool {
        if !self.active_calls.is_empty() || !self.buffer.is_at_rest() || !self.is_durable().await {
            return false;
        }
        self.core.admission.release(&self.live);
        let due = self.live.read(Run::due);
        let live = &self.live;
        if !self.core.live_runs.remove_if(live, || live.close_if_idle()) {
            return false;
        }
        live.stop(StopReason::Unloaded);
        if let Some(due) = due {
            self.core.timers.add(due);
        }
        true
    }

    /// Appends the last events, and removes the run from memory.
    async fn finish(mut self) {
        self.flush();
        let (core, live) = (&self.core, &self.live);
        let durable = live.clone().durable_so_far().await;
        let is_duplicate = matches!(
            durable,
            Err(StopReason::AppendFailed(AppendError::DuplicateRequest(_)))
        );
        match &durable {
            Err(StopReason::AppendFailed(error)) if is_duplicate => {
                tracing::info!(run = %live.id, %error, "a request was answered by another engine: the run is loaded again");
            }
            Err(StopReason::AppendFailed(error)) => {
                tracing::error!(run = %live.id, %error, "this engine stops driving a run: its events cannot be stored");
            }
            _ => {}
        }
        core.live_runs.remove_if(live, || true);
        core.admission.release(live);
        let has_ended = durable.is_ok() && live.read(|run| run.status.is_over());
        let was_stored = live.durable_seq() > 0;
        if has_ended || !was_stored {
            core.admission.remove(live);
            core.schedules.run_ended(live.id);
        }
        live.close();
        if is_duplicate && was_stored {
            core.spawn_background(core.clone().load_postponed([live.id].into()));
        }
    }
}
