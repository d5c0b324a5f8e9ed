//! The port to the journal: runs, their events, and what is listed of them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use heddle_kernel::{Event, EventRecord, GraphId, RunError, RunId, Status, Timestamp};

use super::{
    errors::{AppendError, StoreError},
    list::{RunFilter, RunPosition},
    ownership::{CommandAnswer, EngineId},
    rows::{GroupCounts, NewRun, QueuedRun, Request, RunRow, RunSnapshot},
};

/// Stores runs and their events across crashes. Reads return only durable data.
pub trait Journal: Send + Sync + 'static {
    /// Queues events to be made durable, and returns at once.
    ///
    /// The appends of one run become durable in order, each completely or not at all; then the store calls `append.ack`.
    /// Appends of many runs share a commit. While the store cannot write (for example on a full disk), appends wait in
    /// order, and appends that create a run fail.
    ///
    /// A refused append harms no other run, and the store reports it with [`Ack::failed`]:
    /// - [`AppendError::Conflict`]: the events do not follow the run's last event, or another engine owns the run. A run
    ///   without an owner accepts the append, because the number of its last event shows that no other engine has changed it.
    /// - [`AppendError::DuplicateRequest`]: one of `requests` was answered before. The run continues with its last durable
    ///   event once it is loaded again.
    /// - [`AppendError::Fenced`]: the row of the engine `owner` was deleted ([`Ownership`](super::Ownership)).
    ///
    /// A store that loses the response to a commit looks up whether the append is stored. If the run has these events and
    /// still has the same owner, or has none as `disposition` requires, the append is durable.
    fn append(&self, append: Append);

    /// The latest snapshot of a run that was taken at or before the event `until`.
    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>>;
    /// The stored result of the request with this idempotency key: among requests to `run`, or among start requests if
    /// `run` is `None`.
    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>>;
    /// At most `limit` events of a run with a number above `after`, in order. Returns fewer if they are large, and none
    /// only if no such event is durable.
    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>>;

    /// The row of the run with this id.
    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>>;
    /// Runs that match the filter, newest first and then by descending id, starting after `before` in that order. Each
    /// row is shortened by [`RunRow::listed`].
    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// At most `limit` runs of any status that were created before `before`, by ascending id, starting after the id
    /// `after`. Each row is shortened by [`RunRow::listed`].
    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>>;
    /// Deletes ended runs with everything that belongs to them, and returns how many were deleted. Runs that have not
    /// ended, or do not exist, are skipped. The deletion is durable when this returns; the store frees the disk space
    /// gradually afterwards, between other writes.
    fn delete_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// The ids of all runs with the status running, oldest first.
    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>>;
    /// All queued runs, by descending priority and then oldest first.
    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>>;
    /// For each group, the number of its runs that are running, waiting or paused. Groups without such runs are left out.
    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>>;
    /// The earliest timer of all waiting runs. It may have passed already.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>>;
}

/// Events of one run that become durable together.
pub struct Append {
    /// The id of the run that the events belong to.
    pub run: RunId,
    /// The engine that executes the run. After the append it owns the run if the run is running; otherwise the run has no
    /// owner. An exclusive store ignores this field.
    pub owner: EngineId,
    /// The row of a new run. Set on a run's first append only.
    pub begins: Option<NewRun>,
    /// Whether the append may change an ended run: a failed run is retried or upgraded. Otherwise an append to an ended
    /// run is refused.
    pub reopens: bool,
    /// At least one event. The first one follows the last event of the previous append. If events include
    /// `RunUpgraded`, the run is listed under the graph that the last of them names.
    pub events: Vec<Arc<EventRecord>>,
    /// The run's status after these events.
    pub disposition: RunDisposition,
    /// The requests whose results become durable with these events.
    pub requests: Vec<Request>,
    /// The answers to commands of other engines that these events are the result of. In the same transaction the store
    /// deletes the commands and stores the answers ([`Ownership::commands`](super::Ownership::commands)).
    pub commands: Vec<CommandAnswer>,
    /// The run after these events, if a snapshot is due.
    pub snapshot: Option<RunSnapshot>,
    /// Receives the result of the append.
    pub ack: Arc<dyn Ack>,
}

impl Append {
    /// The graph that these events upgrade the run to.
    pub fn upgraded_to(&self) -> Option<&GraphId> {
        self.events.iter().rev().find_map(|record| match &record.event {
            Event::RunUpgraded { graph, .. } => Some(graph),
            _ => None,
        })
    }
}

/// A run's status after an append.
#[derive(Clone, Debug)]
pub enum RunDisposition {
    /// The run is in the admission queue.
    Queued,
    /// The run is running.
    Running,
    /// The run waits for a timer or a signal.
    Waiting(RunWait),
    /// The run is paused.
    Paused,
    /// The run has ended.
    Over(RunEnd),
}

impl RunDisposition {
    /// The status that the run is listed with.
    pub fn status(&self) -> Status {
        match self {
            Self::Queued => Status::Queued,
            Self::Running => Status::Running,
            Self::Waiting(_) => Status::Waiting,
            Self::Paused => Status::Paused,
            Self::Over(end) => end.status,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// `Finished`, `Failed` or `Cancelled`.
    pub status: Status,
    /// When the run ended.
    pub at: Timestamp,
    /// Why the run failed.
    pub error: Option<RunError>,
}

/// The timer of a waiting run. The engine holds nothing of such a run in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunWait {
    /// When the run's earliest timer is due. `None` if only a signal resumes the run.
    pub until: Option<Timestamp>,
}

/// Receives the result of an append. The store calls it from its own thread, so it must not block.
pub trait Ack: Send + Sync {
    /// Every event of the run up to `seq` is durable.
    fn durable(&self, seq: u64);
    /// The append failed and nothing of it is stored. Later appends of the run fail too.
    fn failed(&self, error: AppendError);
}
