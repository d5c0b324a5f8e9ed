//! The default store: one SQLite file.
//!
//! One thread writes. It commits whatever has gathered since its last commit as one
//! transaction, synced to the disk, so that the cost of a sync is shared by every run that
//! waits. Reads go through other connections and see what is committed.

mod batch;
mod open;
mod read;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use futures_util::future::BoxFuture;
use heddle_kernel::{Digest, GraphId, Recorded, RunId, Timestamp};
use heddle_runtime::ports::{
    self, Append, AppendError, GraphRow, Journal, PluginRow, QueuedRun, Request, RunFilter, RunRow,
    RunSnapshot, ScheduleRow, StoreError,
};
use rusqlite::ErrorCode;
use tokio::sync::oneshot;

pub use self::open::OpenError;
use self::{
    read::Readers,
    writer::{Ended, Health, Job, Leaves, Pending, Writer, closed},
};
use crate::codec;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct SqliteSettings {
    /// The file. It is made where there is none; its folder must exist.
    pub path: PathBuf,
    /// How many reads go on at once, at most; others wait. 4 by default.
    pub readers: usize,
    /// How long to wait before a write that failed is tried again. 250 ms by default.
    pub retry: Duration,
}

impl SqliteSettings {
    /// The defaults, for the store at this path.
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
/// Reading needs a tokio runtime around it. Dropping the journal writes what was appended and
/// closes the file, and blocks meanwhile; [`Journal::close`] does so without blocking, and says
/// whether it went well. Reads are answered after that, too.
pub struct SqliteJournal {
    inbox: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    health: Arc<Health>,
}

impl SqliteJournal {
    /// Opens the store, or makes it. Blocks for as long as that takes.
    pub fn open(settings: SqliteSettings) -> Result<Self, OpenError> {
        let store = open::open(&settings.path)?;
        let readers = Arc::new(Readers::new(store.path.clone(), settings.readers));
        let health = Arc::new(Health::default());
        let (sender, inbox) = mpsc::channel();
        let writer = Writer::new(inbox, health.clone(), settings.retry);
        let spawned = std::thread::Builder::new()
            .name("heddle-store".to_owned())
            .spawn(|| writer.run(store));
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

    /// Lets the file have at most so many pages, which is what a full disk looks like. For tests.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) {
        let (answer, done) = oneshot::channel();
        self.send(Job::MaxPages(pages, answer));
        let _ = done.await;
    }

    /// Hands a job to the writer, or gives it back where that is gone.
    fn send(&self, job: Job) -> Option<Job> {
        match &self.inbox {
            Some(inbox) => inbox.send(job).err().map(|error| error.0),
            None => Some(job),
        }
    }

    /// Hands a job to the writer and waits for its answer.
    fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        // Sent before anything awaits, so that calls reach the writer in the order in which they are made.
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
            // An ack may own the journal, and be what drops it.
            if writer.thread().id() != std::thread::current().id() && writer.join().is_err() {
                tracing::error!("the thread that writes the store had panicked");
            }
        }
    }
}

impl Journal for SqliteJournal {
    fn append(&self, append: Append) {
        let Append {
            run,
            begins,
            events,
            leaves,
            ack,
            ..
        } = append;
        let (chunks, mut fault) = match codec::encode(&events) {
            Ok(chunks) => (chunks, None),
            Err(fault) => (Vec::new(), Some(fault)),
        };
        let first = chunks.first().map_or(0, |chunk| chunk.first);
        let last = chunks.last().map_or(0, |chunk| chunk.last);
        let leaves = match leaves {
            ports::Leaves::Waiting(wait) => Leaves::Waiting(wait),
            ports::Leaves::Over(ends) => {
                if !ends.status.is_over() {
                    fault = Some("an append that ends its run and lets it go on".to_owned());
                }
                Leaves::Over(Ended::of(ends))
            }
            _ => Leaves::Running,
        };
        let pending = Pending {
            run,
            begins,
            chunks,
            first,
            last,
            leaves,
            fault,
            ack,
        };
        if let Some(Job::Append(pending)) = self.send(Job::Append(pending)) {
            pending.ack.failed(AppendError::Closed);
        }
    }

    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.ask(|answer| Job::Graph(graph, answer))
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
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphRow)>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::graphs(connection, after, limit)),
        )
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        Box::pin(self.readers.with(move |connection| read::run(connection, id)))
    }

    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::runs(connection, &filter, before, limit)),
        )
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        Box::pin(self.readers.with(read::unfinished))
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::due(connection, now, limit)),
        )
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        Box::pin(self.readers.with(read::next_due))
    }

    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<Recorded>>, StoreError>> {
        Box::pin(
            self.readers
                .with(move |connection| read::events(connection, run, after, limit)),
        )
    }

    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        let kept = self.ask(|answer| Job::Plugin(plugin, answer));
        Box::pin(async move { kept.await.map(|_| ()) })
    }

    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        let digest = digest.clone();
        Box::pin(
            self.readers
                .with(move |connection| read::plugin(connection, &digest)),
        )
    }

    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginRow>, StoreError>> {
        Box::pin(self.readers.with(read::active_plugins))
    }

    fn snapshot(&self, _: RunId, _: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn request(&self, _: Option<RunId>, _: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn groups(&self) -> BoxFuture<'_, Result<Vec<(Arc<str>, usize)>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn runs_before(
        &self,
        _: Timestamp,
        _: Option<RunId>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        unimplemented!()
    }

    fn forget(&self, _: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        unimplemented!()
    }

    fn put_schedule(&self, _: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        unimplemented!()
    }

    fn delete_schedule(&self, _: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        unimplemented!()
    }

    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn health(&self) -> Result<(), StoreError> {
        self.health.get().map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        // The last connection to go removes the log: let that be the writer's.
        self.readers.close_idle();
        self.ask(Job::Close)
    }
}

/// What an error of SQLite means to who asked.
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
