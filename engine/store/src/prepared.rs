//! Appends as the writers take them: checked by themselves, with encoded events.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use heddle_kernel::{GraphId, RunId};
use heddle_runtime::ports::{
    Ack, Append, AppendError, CommandAnswer, EngineId, NewRun, Request, RunDisposition, RunSnapshot,
};

use crate::{
    append::violation,
    codec::{self, Chunk},
};

/// The estimated size of an append without its events, in bytes.
pub(crate) const APPEND_BYTES: usize = 128;

/// An append that was checked by itself and whose events are encoded.
pub(crate) struct PreparedAppend {
    pub(crate) run: RunId,
    pub(crate) owner: EngineId,
    pub(crate) begins: Option<NewRun>,
    pub(crate) reopens: bool,
    /// The graph to which these events upgrade the run.
    pub(crate) upgraded: Option<GraphId>,
    pub(crate) chunks: Vec<Chunk>,
    /// The number of the first event.
    pub(crate) first: u64,
    /// The number of the last event.
    pub(crate) last: u64,
    pub(crate) disposition: RunDisposition,
    /// The error of a run that failed, as JSON.
    pub(crate) error: Option<String>,
    pub(crate) requests: Vec<Request>,
    pub(crate) commands: Vec<CommandAnswer>,
    pub(crate) snapshot: Option<RunSnapshot>,
    /// The rule that the append breaks by itself; it is refused.
    pub(crate) fault: Option<String>,
    pub(crate) ack: Arc<dyn Ack>,
}

impl PreparedAppend {
    /// Checks and encodes an append, on the thread of the caller.
    pub(crate) fn new(append: Append) -> Self {
        let (chunks, fault) = match codec::encode(&append.events) {
            Ok(chunks) => (chunks, violation(&append).map(str::to_owned)),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let error = match &append.disposition {
            RunDisposition::Over(end) => end.error.as_ref(),
            _ => None,
        };
        Self {
            run: append.run,
            owner: append.owner,
            upgraded: append.upgraded_to().cloned(),
            begins: append.begins,
            reopens: append.reopens,
            first: chunks.first().map_or(0, |chunk| chunk.first),
            last: chunks.last().map_or(0, |chunk| chunk.last),
            chunks,
            error: error.map(|error| heddle_json::object::to_json(error).get().to_owned()),
            disposition: append.disposition,
            requests: append.requests,
            commands: append.commands,
            snapshot: append.snapshot,
            fault,
            ack: append.ack,
        }
    }

    /// The approximate number of bytes that the append writes.
    pub(crate) fn size(&self) -> usize {
        let events: usize = self.chunks.iter().map(|chunk| chunk.body.len()).sum();
        let snapshot = self.snapshot.as_ref().map_or(0, |taken| taken.body.get().len());
        APPEND_BYTES + events + snapshot
    }

    /// Reports to the caller that the append is durable.
    pub(crate) fn ack_durable(&self) {
        call_ack(|| self.ack.durable(self.last));
    }

    /// Reports to the caller that the append failed.
    pub(crate) fn ack_failed(&self, error: AppendError) {
        call_ack(|| self.ack.failed(error));
    }
}

/// Calls an ack. A panic of the caller's code must not end the writer.
fn call_ack(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("an ack panicked");
    }
}
