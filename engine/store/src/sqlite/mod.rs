//! The default store: one SQLite file.
//!
//! One thread writes. It commits all jobs that arrived since its last commit in one transaction and syncs it to the disk,
//! so that all waiting runs share the cost of a sync. Reads use other connections and see committed data only.

mod batch;
mod deletion_queue;
mod job;
mod list;
mod open;
mod read;
mod rows;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::future::BoxFuture;
use heddle_kernel::{Digest, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, Catalog, Configuration, EngineId, GraphRow, GraphSummary, GroupCounts, Journal,
    OwnerResult, Ownership, PluginRow, PluginSummary, PolicyRow, QueuedRun, Request, RunFilter, RunPosition,
    RunRow, RunSnapshot, ScheduleRow, SecretText, Store, StoreError, Usage,
};
use rusqlite::ErrorCode;
use tokio::sync::oneshot;

pub use self::open::OpenError;
use self::{
    job::{Answer, Entry, Job, Table, WriteFault, closed},
    read::Readers,
    writer::{Health, Writer},
};
pub(crate) use self::{
    open::{Exclusive, FORMAT, create_new, open_read_only, owner_only_file},
    rows::{run_id, status_of},
};
use crate::prepared::PreparedAppend;

/// The settings of a SQLite store.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The path of the file. If no file exists, it is created; its folder must exist.
    pub path: PathBuf,
    /// How many reads may run at the same time; others wait. Default: 4.
    pub readers: usize,
    /// The pause before a failed write is tried again. Default: 250 ms.
    pub retry: Duration,
}

impl SqliteSettings {
    /// The default settings for the store at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            retry: Duration::from_millis(250),
        }
    }
}

/// A journal in one SQLite file.
///
/// Reads need a tokio runtime. Dropping the journal commits all appends, closes the file, and blocks until that is done.
/// [`Journal::close`] does the same without blocking and returns an error if it fails. Reads work even after `close`.
pub struct SqliteJournal {
    inbox: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    health: Arc<Health>,
}

impl SqliteJournal {
    /// Opens the store, or creates it. Blocks until the file is open and migrated.
    ///
    /// # Errors
    /// If the file cannot be used; [`OpenError`] has the reasons.
    pub fn open(settings: SqliteSettings) -> Result<Self, OpenError> {
        let store = open::open(&settings.path)?;
        let readers = Arc::new(Readers::new(store.path.clone(), settings.readers));
        let health = Arc::new(Health::default());
        let (sender, inbox) = mpsc::channel();
        let writer = Writer::new(store, inbox, health.clone(), settings.retry);
        let spawned = std::thread::Builder::new()
            .name("heddle-store".to_owned())
            .spawn(|| writer.run());
        let writer = spawned.map_err(|source| OpenError::Access {
            path: settings.path,
            source,
        })?;
        Ok(Self {
            inbox: Some(sender),
            writer: Some(writer),
            readers,
            health,
        })
    }

    /// Limits the file to this many pages, to simulate a full disk. For tests.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) {
        self.inject(WriteFault::MaxPages(pages)).await;
    }

    /// Makes the writing connection read-only, as if the file had been opened while it was read-only. For tests.
    #[doc(hidden)]
    pub async fn lose_the_right_to_write(&self) {
        self.inject(WriteFault::ReadOnly).await;
    }

    async fn inject(&self, fault: WriteFault) {
        let (answer, done) = oneshot::channel();
        self.send(Job::InjectFault(fault, answer));
        let _ = done.await;
    }

    /// Sends a job to the writer thread. Returns the job if that thread has ended.
    fn send(&self, job: Job) -> Option<Job> {
        match &self.inbox {
            Some(inbox) => inbox.send(job).err().map(|error| error.0),
            None => Some(job),
        }
    }

    /// Sends a job to the writer thread and waits for its answer.
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        // Sent before the future is polled, so that jobs reach the writer in the order of the calls.
        self.send(job(answer));
        Box::pin(async move {
            answered
                .await
                .unwrap_or_else(|_| Err(self.health.get().unwrap_or_else(closed)))
        })
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        self.readers.close_idle();
        self.inbox = None;
        if let Some(writer) = self.writer.take() {
            // An ack may own the journal and drop it on the writer thread, which cannot join itself.
            if writer.thread().id() != std::thread::current().id() && writer.join().is_err() {
                tracing::error!("the writer thread of the store has panicked");
            }
        }
    }
}

impl Journal for SqliteJournal {
    fn append(&self, append: Append) {
        let pending = Box::new(PreparedAppend::new(append));
        if let Some(Job::Append(pending)) = self.send(Job::Append(pending)) {
            pending.ack.failed(AppendError::Closed);
        }
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        Box::pin(self.readers.with(move |connection| read::run(connection, id)))
    }

    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| list::runs(connection, &filter, before, limit)),
        )
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        Box::pin(self.readers.with(read::unfinished))
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        Box::pin(self.readers.with(read::next_due))
    }

    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::events(connection, run, after, limit)),
        )
    }

    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::snapshot(connection, run, until)),
        )
    }

    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>> {
        let key = key.to_owned();
        Box::pin(
            self.readers
                .with(move |connection| read::request(connection, run, &key)),
        )
    }

    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        Box::pin(self.readers.with(read::queued))
    }

    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>> {
        Box::pin(self.readers.with(read::groups))
    }

    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::runs_before(connection, before, after, limit)),
        )
    }

    fn delete_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        let parts = runs.chunks(deletion_queue::DELETE_RUNS).map(|part| {
            (
                part.to_vec(),
                self.submit(|answer| Job::DeleteRuns(part.to_vec(), answer)),
            )
        });
        let parts: Vec<_> = parts.collect();
        Box::pin(async move {
            let mut count = 0;
            for (part, deleted) in parts {
                match deleted.await {
                    Ok(some) => count += some,
                    // One row of the part is damaged: deletes the other runs one by one.
                    Err(StoreError::Damaged(_)) => {
                        for run in part {
                            match self.submit(|answer| Job::DeleteRuns(vec![run], answer)).await {
                                Ok(some) => count += some,
                                Err(error @ StoreError::Damaged(_)) => {
                                    tracing::error!(%run, %error, "the run cannot be deleted")
                                }
                                Err(error) => return Err(error),
                            }
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(count)
        })
    }
}

impl Catalog for SqliteJournal {
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::Graph(graph, answer))
    }

    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        let id = id.clone();
        Box::pin(self.readers.with(move |connection| read::graph(connection, &id)))
    }

    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        let name = name.to_owned();
        Box::pin(
            self.readers
                .with(move |connection| read::graph_named(connection, &name)),
        )
    }

    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::graphs(connection, after, limit)),
        )
    }

    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        let written = self.submit(|answer| Job::Plugin(plugin, answer));
        Box::pin(async move { written.await.map(|_| ()) })
    }

    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        let digest = digest.clone();
        Box::pin(
            self.readers
                .with(move |connection| read::plugin(connection, &digest)),
        )
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let digest = digest.clone();
        Box::pin(
            self.readers
                .with(move |connection| read::graphs_with(connection, &digest, limit)),
        )
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let named = Arc::<str>::from(graph);
        Box::pin(
            self.readers
                .with(move |connection| read::graphs_naming(connection, &named, limit)),
        )
    }

    fn run_naming(
        &self,
        graph: &GraphId,
        after: i64,
    ) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>> {
        let graph = graph.clone();
        Box::pin(
            self.readers
                .with(move |connection| read::run_naming(connection, &graph, after)),
        )
    }

    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::DeleteGraph(id.clone(), answer))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(self.readers.with(read::usage))
    }

    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::DeletePlugin(digest.clone(), answer))
    }

    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>> {
        Box::pin(self.readers.with(read::active_plugins))
    }
}

impl Configuration for SqliteJournal {
    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        let ScheduleRow { name, body } = schedule;
        let written = self.submit(|answer| Job::Put(Table::Schedules, Entry { name, body }, answer));
        Box::pin(async move { written.await.map(|_| ()) })
    }

    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::Delete(Table::Schedules, name.into(), answer))
    }

    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        Box::pin(self.readers.with(read::schedules))
    }

    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>> {
        let PolicyRow { name, body } = policy;
        let written = self.submit(|answer| Job::Put(Table::Policies, Entry { name, body }, answer));
        Box::pin(async move { written.await.map(|_| ()) })
    }

    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::Delete(Table::Policies, name.into(), answer))
    }

    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>> {
        Box::pin(self.readers.with(read::policies))
    }

    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>> {
        let (name, SecretText(body)) = (name.into(), value);
        let written = self.submit(|answer| Job::Put(Table::Secrets, Entry { name, body }, answer));
        Box::pin(async move { written.await.map(|_| ()) })
    }

    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>> {
        let name = name.to_owned();
        Box::pin(
            self.readers
                .with(move |connection| read::secret(connection, &name)),
        )
    }
}

impl Ownership for SqliteJournal {
    fn claim_due(&self, _: EngineId, now: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        let due = self
            .readers
            .with(move |connection| read::due(connection, now, limit));
        Box::pin(async move { Ok(due.await?) })
    }
}

impl Store for SqliteJournal {
    fn health(&self) -> Result<(), StoreError> {
        self.health.get().map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // The last connection that is closed removes the log. That should be the writer's.
        self.readers.close_idle();
        self.submit(Job::Close)
    }
}

/// Converts an error of SQLite to an error of the port.
fn store_error(error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error as E;
    match (error, error.sqlite_error_code()) {
        (
            _,
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::OutOfMemory,
            ),
        ) => StoreError::Unavailable(error.to_string()),
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        | (E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..), _) => {
            StoreError::Damaged(error.to_string())
        }
        _ => StoreError::Failed(error.to_string()),
    }
}
