//! The jobs of the writer thread, and how their callers are answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use heddle_kernel::{Digest, GraphId, RunId};
use heddle_runtime::ports::{
    Ack, Append, AppendError, GraphRow, NewRun, PluginRow, Request, RunDisposition, RunSnapshot, StoreError,
};
use tokio::sync::oneshot;

use super::batch::Verdict;
use crate::{
    append::violation,
    codec::{self, Chunk},
};

/// The estimated size of an append without its events, in bytes.
const APPEND_BYTES: usize = 128;

/// Sends the answer to a job that is not an append.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A job of the writer thread. The answer `bool` says whether the job changed anything.
pub(super) enum Job {
    Append(Box<PreparedAppend>),
    Graph(GraphRow, Answer<bool>),
    Plugin(PluginRow, Answer<bool>),
    DeletePlugin(Digest, Answer<bool>),
    DeleteGraph(GraphId, Answer<bool>),
    Put(Table, Entry, Answer<bool>),
    Delete(Table, Arc<str>, Answer<bool>),
    /// Deletes runs that are over; the answer is their count.
    DeleteRuns(Vec<RunId>, Answer<usize>),
    /// Commits all earlier jobs, then closes the store.
    Close(Answer<()>),
    /// Makes later writes fail, for tests.
    InjectFault(WriteFault, oneshot::Sender<()>),
}

/// A table that stores texts by name.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Schedules,
    Policies,
    Secrets,
}

impl Table {
    /// The name of the SQL table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Schedules => "schedules",
            Self::Policies => "policies",
            Self::Secrets => "secrets",
        }
    }
}

/// A row of a [`Table`].
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) body: Arc<str>,
}

/// A fault that keeps the store from writing, for tests.
#[derive(Clone, Copy)]
pub(super) enum WriteFault {
    /// A full disk: the file may have at most this many pages.
    MaxPages(u32),
    /// A connection that was opened while the file was read-only.
    ReadOnly,
}

/// An append that was checked by itself and whose events are encoded.
pub(super) struct PreparedAppend {
    pub(super) run: RunId,
    pub(super) begins: Option<NewRun>,
    pub(super) reopens: bool,
    /// The graph to which these events upgrade the run.
    pub(super) upgraded: Option<GraphId>,
    pub(super) chunks: Vec<Chunk>,
    /// The number of the first event.
    pub(super) first: u64,
    /// The number of the last event.
    pub(super) last: u64,
    pub(super) disposition: RunDisposition,
    /// The error of a run that failed, as JSON.
    pub(super) error: Option<String>,
    pub(super) requests: Vec<Request>,
    pub(super) snapshot: Option<RunSnapshot>,
    /// The rule that the append breaks by itself; it is refused.
    pub(super) fault: Option<String>,
    pub(super) ack: Arc<dyn Ack>,
}

impl PreparedAppend {
    /// Checks and encodes an append, on the thread of the caller.
    pub(super) fn new(append: Append) -> Self {
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
            upgraded: append.upgraded_to().cloned(),
            begins: append.begins,
            reopens: append.reopens,
            first: chunks.first().map_or(0, |chunk| chunk.first),
            last: chunks.last().map_or(0, |chunk| chunk.last),
            chunks,
            error: error.map(|error| heddle_json::object::to_json(error).get().to_owned()),
            disposition: append.disposition,
            requests: append.requests,
            snapshot: append.snapshot,
            fault,
            ack: append.ack,
        }
    }
}

/// Answers the caller of a job that was in a batch.
pub(super) fn answer(job: Job, verdict: Verdict) {
    match (job, verdict) {
        (Job::Append(append), Verdict::Conflict(message)) => {
            let run = append.run;
            refuse(&*append.ack, AppendError::Conflict { run, message });
        }
        (Job::Append(append), Verdict::Duplicate(request)) => {
            call_ack(|| append.ack.failed(AppendError::DuplicateRequest(request)));
        }
        (Job::Append(append), Verdict::Damaged(message)) => {
            let run = append.run;
            refuse(&*append.ack, AppendError::Damaged { run, message });
        }
        (Job::Append(append), _) => call_ack(|| append.ack.durable(append.last)),
        (job, Verdict::Damaged(message)) => fail(job, &AppendError::Closed, &StoreError::Damaged(message)),
        (
            Job::Graph(_, answer)
            | Job::Plugin(_, answer)
            | Job::DeletePlugin(_, answer)
            | Job::DeleteGraph(_, answer)
            | Job::Put(_, _, answer)
            | Job::Delete(_, _, answer),
            verdict,
        ) => {
            let _ = answer.send(Ok(verdict == Verdict::Written));
        }
        (Job::DeleteRuns(_, answer), Verdict::RunsDeleted(count)) => {
            let _ = answer.send(Ok(count));
        }
        (Job::DeleteRuns(..) | Job::Close(_) | Job::InjectFault(..), _) => {}
    }
}

fn refuse(ack: &dyn Ack, error: AppendError) {
    tracing::warn!(%error, "an append was refused");
    call_ack(|| ack.failed(error));
}

/// Answers a job that was not done: an append with the first error, any other job with the second.
pub(super) fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending) => call_ack(|| pending.ack.failed(append.clone())),
        Job::Graph(_, answer)
        | Job::Plugin(_, answer)
        | Job::DeletePlugin(_, answer)
        | Job::DeleteGraph(_, answer)
        | Job::Put(_, _, answer)
        | Job::Delete(_, _, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::DeleteRuns(_, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::Close(answer) => {
            let _ = answer.send(Ok(()));
        }
        Job::InjectFault(_, answer) => {
            let _ = answer.send(());
        }
    }
}

/// Calls an ack. A panic of the caller's code must not end the writer thread.
fn call_ack(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("an ack panicked");
    }
}

/// The approximate number of bytes that a job writes.
pub(super) fn size(job: &Job) -> usize {
    match job {
        Job::Append(append) => {
            let events: usize = append.chunks.iter().map(|chunk| chunk.body.len()).sum();
            let snapshot = append.snapshot.as_ref().map_or(0, |taken| taken.body.get().len());
            APPEND_BYTES + events + snapshot
        }
        Job::Graph(graph, _) => graph.definition.len(),
        Job::Plugin(plugin, _) => plugin.component.len(),
        Job::Put(_, entry, _) => entry.body.len(),
        Job::DeleteRuns(runs, _) => runs.len() * APPEND_BYTES,
        Job::DeletePlugin(..)
        | Job::DeleteGraph(..)
        | Job::Delete(..)
        | Job::Close(_)
        | Job::InjectFault(..) => 0,
    }
}

/// The error of every call to a closed store.
pub(super) fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}
