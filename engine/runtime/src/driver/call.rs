//! The calls of a run: starts them, and collects their results and log lines.

use std::{
    collections::{VecDeque, hash_map::Entry},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use heddle_kernel::{Answer, CallId, Failure, FailureKind, Input, Level};
use tokio::task::AbortHandle;

use super::{
    Driver,
    step_sink::{Output, StepSink},
};
use crate::ports::Call;

pub(super) type CallResult = Result<Answer, Failure>;

/// A call that did not return at once.
pub(super) struct ActiveCall {
    attempt: u32,
    sink: Arc<StepSink>,
    abort: AbortHandle,
}

impl Driver {
    /// Starts a call, unless the run no longer needs it. Returns the result of a call that ends at once; another call
    /// becomes an active call.
    pub(super) fn start_call(&mut self, call: CallId) -> Option<CallResult> {
        let CallId { step, attempt } = call;
        let prepared = self
            .live
            .read(|run| run.is_call_pending(call).then(|| run.prepare(step)).flatten())?;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => return Some(Err(failure)),
        };
        let sink = Arc::new(StepSink::new(self.live.clone(), step));
        let request = Call::new(
            prepared,
            self.live.id,
            (step, attempt),
            self.live.clone(),
            sink.clone(),
        );
        self.core.admission.acquire(&self.live);
        let mut result = self.call_when_durable(request);
        if let Some(result) = (&mut result).now_or_never() {
            self.journal_output(call, &sink);
            return Some(result);
        }
        let abort = self.calls.spawn(async move { (call, result.await) });
        let active = ActiveCall { attempt, sink, abort };
        self.active_calls.insert(step, active);
        None
    }

    /// Calls a function. A granted function may have side effects, so it is called only when every event that the run has
    /// now is durable. The call waits for the disk here, before the host gives it permits that other calls need. The host
    /// waits only if the grants change after this check, and for tools that a function without grants calls.
    fn call_when_durable(&mut self, call: Call) -> BoxFuture<'static, CallResult> {
        let is_granted = self.core.ports.functions.is_granted(&call.function);
        let durable = is_granted.then(|| {
            self.flush();
            self.live.clone().durable_so_far()
        });
        let core = self.core.clone();
        Box::pin(async move {
            if let Some(durable) = durable
                && durable.await.is_err()
            {
                // The driver stops, and drops this call.
                return std::future::pending().await;
            }
            let call = AssertUnwindSafe(core.ports.functions.call(call)).catch_unwind();
            call.await.unwrap_or_else(|_| {
                let message = "the engine failed while it called the function: see its log";
                Err(Failure::new(FailureKind::Unavailable, message))
            })
        })
    }

    /// Applies the result of a call.
    pub(super) fn end_call(&mut self, call: CallId, result: CallResult) {
        let CallId { step, attempt } = call;
        let is_latest = self
            .active_calls
            .get(&step)
            .is_some_and(|active| active.attempt == attempt);
        if is_latest && let Some(active) = self.active_calls.remove(&step) {
            self.journal_output(call, &active.sink);
        }
        // The kernel refuses a result that is too late.
        let _ = self.decide(Input::Answered {
            step,
            attempt,
            result,
        });
    }

    /// Aborts those of these calls that are active. The run no longer needs them: their steps failed or were cancelled,
    /// or the run has ended.
    pub(super) fn abort_calls(&mut self, ended: &[CallId]) {
        for CallId { step, attempt } in ended {
            if let Entry::Occupied(active) = self.active_calls.entry(*step)
                && active.get().attempt == *attempt
            {
                active.remove().abort.abort();
            }
        }
    }

    /// Journals what the functions of all active calls have written so far.
    pub(super) fn journal_active_output(&mut self) {
        let active: Vec<(CallId, Arc<StepSink>)> = self
            .active_calls
            .iter()
            .map(|(step, active)| {
                let (step, attempt) = (*step, active.attempt);
                (CallId { step, attempt }, active.sink.clone())
            })
            .collect();
        for (call, sink) in active {
            self.journal_output(call, &sink);
        }
    }

    /// Journals the log lines that a function has written, and sends the watchers the chunks that it emitted between them.
    fn journal_output(&mut self, call: CallId, sink: &StepSink) {
        loop {
            let written = sink.take();
            if written.is_empty() {
                return;
            }
            let mut lines = VecDeque::new();
            for output in written {
                match output {
                    Output::Line(level, line) => lines.push_back((level, line)),
                    Output::Chunk(data) => {
                        self.journal_lines(call, std::mem::take(&mut lines));
                        self.live.emit(call.step, data);
                    }
                }
            }
            self.journal_lines(call, lines);
        }
    }

    fn journal_lines(&mut self, call: CallId, lines: VecDeque<(Level, Arc<str>)>) {
        if !lines.is_empty() {
            let CallId { step, attempt } = call;
            let _ = self.decide(Input::Logged { step, attempt, lines });
        }
    }
}
