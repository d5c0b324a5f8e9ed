//! What the thread that writes is asked to do, and how those who asked are answered.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use heddle_kernel::{Digest, Event, GraphId, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    self, Ack, Append, AppendError, GraphRow, NewRun, PluginRow, Request, RunSnapshot, RunWait, StoreError,
};
use tokio::sync::oneshot;

use super::batch::Verdict;
use crate::codec::{self, Chunk};

/// What an append costs beside its events.
const APPEND_BYTES: usize = 128;

/// Who waits for the answer to a job that is no append.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something that the thread is to do.
pub(super) enum Job {
    Append(Box<Pending>),
    Graph(GraphRow, Answer<bool>),
    Plugin(PluginRow, Answer<bool>),
    DeletePlugin(Digest, Answer<bool>),
    DeleteGraph(GraphId, Answer<bool>),
    Put(Table, Entry, Answer<bool>),
    Delete(Table, Arc<str>, Answer<bool>),
    Forget(Vec<RunId>, Answer<usize>),
    /// Commit everything that came before, then write no more.
    Close(Answer<()>),
    /// Make the connection one that cannot write, or limit the file to so many pages: for tests.
    Hinder(Hindrance, oneshot::Sender<()>),
}

/// A table of texts by their names.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Schedules,
    Policies,
    Secrets,
}

impl Table {
    /// As it is in the file.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Schedules => "schedules",
            Self::Policies => "policies",
            Self::Secrets => "secrets",
        }
    }
}

/// A row of such a table.
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) body: Arc<str>,
}

/// What keeps a test's store from writing.
#[derive(Clone, Copy)]
pub(super) enum Hindrance {
    /// A full disk: at most so many pages.
    Pages(u32),
    /// A connection that could only be opened for reading.
    ReadOnly,
}

/// An append with its events encoded.
pub(super) struct Pending {
    pub(super) run: RunId,
    pub(super) begins: Option<NewRun>,
    pub(super) reopens: bool,
    /// The graph that the run was upgraded to by these events.
    pub(super) upgraded: Option<GraphId>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) disposition: RunDisposition,
    pub(super) requests: Vec<Request>,
    pub(super) snapshot: Option<RunSnapshot>,
    /// Why it cannot be written, whatever the store holds.
    pub(super) fault: Option<String>,
    pub(super) ack: Arc<dyn Ack>,
}

/// How an append leaves its run.
pub(super) enum RunDisposition {
    Queued,
    Running,
    Waiting(RunWait),
    Paused,
    Over(Ended),
}

/// How a run ended, with its error encoded.
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) at: Timestamp,
    pub(super) error: Option<String>,
}

impl Pending {
    /// Encodes an append, on the thread of whoever makes it.
    pub(super) fn of(append: Append) -> Self {
        let (chunks, fault) = match codec::encode(&append.events) {
            Ok(chunks) => (chunks, fault(&append)),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        Self {
            run: append.run,
            upgraded: append.upgraded_to().cloned(),
            begins: append.begins,
            reopens: append.reopens,
            first: chunks.first().map_or(0, |chunk| chunk.first),
            last: chunks.last().map_or(0, |chunk| chunk.last),
            chunks,
            disposition: RunDisposition::of(append.disposition),
            requests: append.requests,
            snapshot: append.snapshot,
            fault,
            ack: append.ack,
        }
    }
}

/// What no correct caller appends, whatever the store holds.
fn fault(append: &Append) -> Option<String> {
    let last = append.events.last().map_or(0, |event| event.seq);
    let fault = match &append.disposition {
        ports::RunDisposition::Over(end) if !end.status.is_over() => {
            "an append that ends its run and lets it go on"
        }
        ports::RunDisposition::Queued if append.events.iter().any(|event| has_begun(&event.event)) => {
            "an append that leaves a run queued that has begun"
        }
        _ if append.snapshot.as_ref().is_some_and(|taken| taken.seq != last) => {
            "an append with a snapshot of another event than its last"
        }
        _ if append
            .requests
            .iter()
            .any(|request| request.run != append.run || request.to.is_some_and(|to| to != append.run)) =>
        {
            "an append with a request that went to another run"
        }
        _ => return None,
    };
    Some(fault.to_owned())
}

/// Whether a run with this event has begun: one that is queued may be sent signals, and that is all.
fn has_begun(event: &Event) -> bool {
    !matches!(event, Event::RunStarted { .. } | Event::SignalReceived { .. })
}

impl RunDisposition {
    fn of(disposition: ports::RunDisposition) -> Self {
        let encode = |error| heddle_json::object::to_json(&error).get().to_owned();
        match disposition {
            ports::RunDisposition::Queued => Self::Queued,
            ports::RunDisposition::Running => Self::Running,
            ports::RunDisposition::Waiting(wait) => Self::Waiting(wait),
            ports::RunDisposition::Paused => Self::Paused,
            ports::RunDisposition::Over(end) => Self::Over(Ended {
                status: end.status,
                at: end.at,
                error: end.error.map(encode),
            }),
        }
    }
}

/// Tells who asked what became of a job.
pub(super) fn answer(job: Job, verdict: Verdict) {
    match (job, verdict) {
        (Job::Append(append), Verdict::Conflict(message)) => {
            let run = append.run;
            refuse(&*append.ack, AppendError::Conflict { run, message });
        }
        (Job::Append(append), Verdict::Damaged(message)) => {
            let run = append.run;
            refuse(&*append.ack, AppendError::Damaged { run, message });
        }
        (Job::Append(append), _) => tell(|| append.ack.durable(append.last)),
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
            let _ = answer.send(Ok(verdict == Verdict::Durable));
        }
        (Job::Forget(_, answer), Verdict::Forgotten(count)) => {
            let _ = answer.send(Ok(count));
        }
        (Job::Forget(..) | Job::Close(_) | Job::Hinder(..), _) => {}
    }
}

fn refuse(ack: &dyn Ack, error: AppendError) {
    tracing::warn!(%error, "an append was refused");
    tell(|| ack.failed(error));
}

/// Tells who asked that nothing became of a job: an append by the first error, anything else by the other.
pub(super) fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending) => tell(|| pending.ack.failed(append.clone())),
        Job::Graph(_, answer)
        | Job::Plugin(_, answer)
        | Job::DeletePlugin(_, answer)
        | Job::DeleteGraph(_, answer)
        | Job::Put(_, _, answer)
        | Job::Delete(_, _, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::Forget(_, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::Close(answer) => {
            let _ = answer.send(Ok(()));
        }
        Job::Hinder(_, answer) => {
            let _ = answer.send(());
        }
    }
}

/// Calls somebody's ack. One that panics must not take the store with it.
fn tell(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("an ack panicked");
    }
}

/// About how many bytes a job writes.
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
        Job::Forget(runs, _) => runs.len() * APPEND_BYTES,
        Job::DeletePlugin(..) | Job::DeleteGraph(..) | Job::Delete(..) | Job::Close(_) | Job::Hinder(..) => 0,
    }
}

/// What a closed store answers.
pub(super) fn closed() -> StoreError {
    StoreError::Failed("it is closed".to_owned())
}
