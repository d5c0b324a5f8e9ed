//! The jobs of the writer thread, and how their callers are answered.

use std::sync::Arc;

use heddle_kernel::{Digest, GraphId, RunId};
use heddle_runtime::ports::{AppendError, GraphRow, PluginRow, StoreError};
use tokio::sync::oneshot;

use super::batch::Verdict;
use crate::prepared::{APPEND_BYTES, PreparedAppend};

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

/// Answers the caller of a job that was in a batch.
pub(super) fn answer(job: Job, verdict: Verdict) {
    match (job, verdict) {
        (Job::Append(append), Verdict::Conflict(message)) => {
            let run = append.run;
            refuse(&append, AppendError::Conflict { run, message });
        }
        (Job::Append(append), Verdict::Duplicate(request)) => {
            append.ack_failed(AppendError::DuplicateRequest(request));
        }
        (Job::Append(append), Verdict::Damaged(message)) => {
            let run = append.run;
            refuse(&append, AppendError::Damaged { run, message });
        }
        (Job::Append(append), _) => append.ack_durable(),
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

fn refuse(append: &PreparedAppend, error: AppendError) {
    tracing::warn!(%error, "an append was refused");
    append.ack_failed(error);
}

/// Answers a job that was not done: an append with the first error, any other job with the second.
pub(super) fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending) => pending.ack_failed(append.clone()),
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

/// The approximate number of bytes that a job writes.
pub(super) fn size(job: &Job) -> usize {
    match job {
        Job::Append(append) => append.size(),
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
