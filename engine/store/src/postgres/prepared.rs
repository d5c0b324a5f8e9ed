//! Appends as the writer takes them: checked by themselves, with encoded events.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use heddle_kernel::{GraphId, RunId, graph::Pins};
use heddle_runtime::ports::{
    Ack, Append, AppendError, CommandAnswer, EngineId, NewRun, Request, RunDisposition, RunSnapshot,
};

use super::plan::Verdict;
use crate::{
    append::violation,
    codec::{self, Chunk},
};

/// The estimated size of an append without its events, in bytes.
const APPEND_BYTES: usize = 128;

/// The rule that PostgreSQL adds: its texts cannot contain this character.
const NUL_RULE: &str = "a text with the character U+0000 cannot be stored in PostgreSQL";

/// An append that was checked by itself and whose events are encoded.
pub(super) struct PreparedAppend {
    pub(super) run: RunId,
    pub(super) owner: EngineId,
    pub(super) begins: Option<NewRun>,
    pub(super) reopens: bool,
    /// The graph to which these events upgrade the run.
    pub(super) upgraded: Option<GraphId>,
    /// The ids of the other graphs that these events name, separated by commas; none if there are none.
    pub(super) graphs: Option<String>,
    pub(super) chunks: Vec<Chunk>,
    /// The number of the first event.
    pub(super) first: u64,
    /// The number of the last event.
    pub(super) last: u64,
    pub(super) disposition: RunDisposition,
    /// The error of a run that failed, as JSON.
    pub(super) error: Option<String>,
    pub(super) requests: Vec<Request>,
    pub(super) commands: Vec<CommandAnswer>,
    pub(super) snapshot: Option<RunSnapshot>,
    /// The rule that the append breaks by itself; it is refused.
    pub(super) fault: Option<String>,
    pub(super) ack: Arc<dyn Ack>,
}

impl PreparedAppend {
    /// Checks and encodes an append, on the thread of the caller.
    pub(super) fn new(append: Append) -> Self {
        let (chunks, fault) = match codec::encode(&append.events) {
            Ok(chunks) => (
                chunks,
                violation(&append).or_else(|| nul(&append)).map(str::to_owned),
            ),
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
            graphs: graphs(&append),
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
    pub(super) fn size(&self) -> usize {
        let events: usize = self.chunks.iter().map(|chunk| chunk.body.len()).sum();
        let snapshot = self.snapshot.as_ref().map_or(0, |taken| taken.body.get().len());
        APPEND_BYTES + events + snapshot
    }
}

impl PreparedAppend {
    /// Calls the ack with this verdict.
    pub(super) fn answer(&self, verdict: Verdict) {
        let run = self.run;
        let error = match verdict {
            Verdict::Written => return call_ack(|| self.ack.durable(self.last)),
            Verdict::Conflict(message) => AppendError::Conflict { run, message },
            Verdict::Damaged(message) => AppendError::Damaged { run, message },
            Verdict::Duplicate(request) => AppendError::DuplicateRequest(request),
            Verdict::Fenced => AppendError::Fenced,
        };
        tracing::warn!(%run, %error, "an append was refused");
        self.ack_failed(error);
    }

    /// Calls the ack with this error.
    pub(super) fn ack_failed(&self, error: AppendError) {
        call_ack(|| self.ack.failed(error));
    }
}

/// Calls an ack. A panic of the caller's code must not end the writer.
fn call_ack(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("an ack panicked");
    }
}

/// The ids of the graphs that these events pin the run to, besides the graph of the run.
fn graphs(append: &Append) -> Option<String> {
    let pins = append.events.iter().filter_map(|record| Pins::of(&record.event));
    let ids: BTreeSet<&str> = pins
        .flat_map(|pins| pins.graphs.values().chain([pins.graph]))
        .map(|id| &*id.0)
        .collect();
    let all = ids.into_iter().collect::<Vec<_>>().join(",");
    (!all.is_empty()).then_some(all)
}

/// The rule against NUL, if a text of the append breaks it. Events and errors are JSON, which has no such character.
fn nul(append: &Append) -> Option<&'static str> {
    let row = append
        .begins
        .iter()
        .flat_map(|run| [Some(&run.graph.0), run.group.as_ref(), run.origin.as_ref()]);
    let keys = append.requests.iter().map(|request| Some(&request.key));
    let mut texts = row.chain(keys).flatten();
    texts.any(|text| text.contains('\0')).then_some(NUL_RULE)
}
