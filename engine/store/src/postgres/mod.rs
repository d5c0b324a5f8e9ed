//! The store in PostgreSQL.
//!
//! | file | content |
//! |---|---|
//! | `settings.rs`, `passfile.rs`, `tls.rs`, `connect.rs` | where the server is, and how connections are opened |
//! | `schema.rs` | migrations and the checks of the server |
//! | `prepared.rs` → `plan.rs` → `statement.rs` → `writer.rs` | from an append to the commit |
//! | `mismatch.rs` | why a run was not written |
//! | `read.rs`, `list.rs`, `catalog.rs`, `configuration.rs` | the other reads and writes of the port |
//! | `trash.rs` | deleting runs |
//! | `control.rs`, `exclusive.rs` | the connection for short statements, and the lease of an engine that is alone |
//! | `ownership.rs`, `signals.rs` | engines that share the store: claims, commands and notifications |
//!
//! One connection writes appends, one renews the lease and listens, and a small pool reads. A thread of the store drives
//! the first two.
//!
//! Every write of a run checks in its own transaction that the engine's row exists. Graphs, plugins, policies, secrets and
//! schedules belong to no engine, so their writes do not.

mod catalog;
mod configuration;
mod connect;
mod control;
mod error;
mod exclusive;
mod idle;
mod list;
mod mismatch;
mod ownership;
mod passfile;
mod plan;
mod prepared;
mod read;
mod rows;
mod schema;
mod settings;
mod shared;
mod signals;
mod statement;
mod tls;
mod trash;
mod writer;

use std::{
    sync::{Arc, mpsc as blocking},
    thread::JoinHandle,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use heddle_kernel::{Digest, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, Catalog, Configuration, EngineId, GraphRow, GraphSummary, GroupCounts, Journal,
    PluginRow, PluginSummary, PolicyRow, QueuedRun, Request, RunFilter, RunPosition, RunRow, RunSnapshot,
    ScheduleRow, SecretText, Store, StoreError, Usage,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use self::{
    configuration::Table,
    connect::{Connector, Readers},
    control::Control,
    ownership::Owners,
    prepared::PostgresAppend,
    rows::text,
    signals::{Collected, Received, Signals},
    writer::{Health, Job, Writer, closed},
};
pub use self::{
    error::OpenError,
    settings::{PostgresSettings, Target},
};
pub(crate) use self::{error::text as error_text, idle::Idle, schema::FORMAT};

/// A store in PostgreSQL.
///
/// Reads need a tokio runtime. Dropping the store commits all appends and blocks until that is done. [`Store::close`] does
/// the same without blocking and returns an error if it fails. Reads work even after `close`.
pub struct PostgresStore {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
    readers: Readers,
    health: Arc<Health>,
    mode: Mode,
    signals: Signals,
    received: Received,
}

/// How the engine of this process uses the store.
enum Mode {
    /// Alone, with this id.
    Exclusive(EngineId),
    Shared(Owners),
}

impl PostgresStore {
    /// Opens the store, or creates it in an empty database. Blocks until the store is migrated and this engine has its
    /// lease.
    ///
    /// # Errors
    /// If the store cannot be used; [`OpenError`] has the reasons.
    pub fn open(settings: PostgresSettings) -> Result<Self, OpenError> {
        let connector = Connector::new(settings)?;
        let readers = connector.pool();
        let health = Arc::new(Health::default());
        let (sender, inbox) = mpsc::unbounded_channel();
        let (opened, result) = blocking::channel();
        let received = Received::default();
        let (signals, collected) = match connector.settings.is_shared {
            true => {
                let (signals, collected) = Signals::shared();
                (signals, Some(collected))
            }
            false => (Signals::default(), None),
        };
        let parts = Parts {
            connector: connector.clone(),
            readers: connector.pool(),
            inbox,
            health: health.clone(),
            signals: signals.clone(),
            collected,
            received: received.clone(),
        };
        let failed = |message: String| OpenError::Connect {
            target: connector.settings.target.clone(),
            message,
        };
        let thread = std::thread::Builder::new()
            .name("heddle-store".to_owned())
            .spawn(move || parts.run(&opened))
            .map_err(|error| failed(error.to_string()))?;
        let (control, engine) = result
            .recv()
            .unwrap_or_else(|_| Err(failed("the thread of the store has ended".to_owned())))?;
        Ok(Self {
            jobs: Some(sender),
            thread: Some(thread),
            readers,
            health,
            mode: match engine {
                Some(engine) => Mode::Exclusive(engine),
                None => Mode::Shared(Owners::new(control, received.clone())),
            },
            signals,
            received,
        })
    }

    /// Sends a job to the writer. Returns the job if the writer has ended.
    fn send(&self, job: Job) -> Option<Job> {
        match &self.jobs {
            Some(jobs) => jobs.send(job).err().map(|error| error.0),
            None => Some(job),
        }
    }

    /// Does a write that is no append, unless the store is closed.
    fn write<'s, T: Send + 's>(
        &'s self,
        write: impl Future<Output = Result<T, StoreError>> + Send + 's,
    ) -> BoxFuture<'s, Result<T, StoreError>> {
        async move {
            if let Some(error) = self.health.ended() {
                return Err(error);
            }
            let written = write.await?;
            self.signals.changed();
            Ok(written)
        }
        .boxed()
    }

    /// The runs that the engine has claimed: their appends are taken again.
    fn claimed(&self, runs: Vec<RunId>) {
        if !runs.is_empty() {
            self.send(Job::Claimed(runs));
        }
    }
}

/// What the thread of the store starts with.
struct Parts {
    connector: Connector,
    readers: Readers,
    inbox: mpsc::UnboundedReceiver<Job>,
    health: Arc<Health>,
    signals: Signals,
    /// What a shared store sends to other engines.
    collected: Option<Collected>,
    received: Received,
}

/// The control connection, and the id of an engine that is alone.
type Opened = Result<(Control, Option<EngineId>), OpenError>;

impl Parts {
    fn run(self, opened: &blocking::Sender<Opened>) {
        let _guard = writer::PanicGuard(self.health.clone());
        let runtime = match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = opened.send(Err(OpenError::Connect {
                    target: self.connector.settings.target.clone(),
                    message: error.to_string(),
                }));
                return;
            }
        };
        runtime.block_on(self.serve(opened));
    }

    async fn serve(self, opened: &blocking::Sender<Opened>) {
        let is_shared = self.connector.settings.is_shared;
        let joined = async {
            schema::prepare(&self.connector).await?;
            Ok(match is_shared {
                true => None,
                false => Some(exclusive::join(&self.connector).await?),
            })
        };
        let engine = match joined.await {
            Ok(engine) => engine,
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let control = Control::new(self.connector.clone(), Handle::current(), self.received);
        let mut tasks = JoinSet::new();
        tasks.spawn(trash::sweep(self.readers));
        if let Some(engine) = engine {
            tasks.spawn(exclusive::renew(control.clone(), engine, self.health.clone()));
        }
        if let Some(collected) = self.collected {
            tasks.spawn(collected.notify(control.clone()));
        }
        let _ = opened.send(Ok((control.clone(), engine)));
        let mut writer = Writer::new(
            self.connector,
            self.inbox,
            self.health.clone(),
            self.signals,
            is_shared,
        );
        let (closer, result) = writer.run().await;
        tasks.shutdown().await;
        if let Some(engine) = engine {
            exclusive::leave(&control, engine).await;
        }
        control.close().await;
        self.health.end(closed());
        if let Some(closer) = closer {
            let _ = closer.send(result);
        }
        writer.refuse_all().await;
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // An ack may own the store and drop it on the store's thread, which cannot join itself.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("the thread of the store has panicked");
            }
        }
    }
}

impl Journal for PostgresStore {
    fn append(&self, append: Append) {
        let mut prepared = Box::new(PostgresAppend::new(append));
        if let Mode::Exclusive(engine) = self.mode {
            prepared.owner = engine;
        }
        if let Some(Job::Append(prepared)) = self.send(Job::Append(prepared)) {
            prepared.ack_failed(AppendError::Closed);
        }
    }

    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        read::snapshot(&self.readers, run, until).boxed()
    }

    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>> {
        let key = key.to_owned();
        async move { read::request(&self.readers, run, &key).await }.boxed()
    }

    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>> {
        read::events(&self.readers, run, after, limit).boxed()
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        read::run(&self.readers, id).boxed()
    }

    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        async move { list::runs(&self.readers, &filter, before, limit).await }.boxed()
    }

    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        read::runs_before(&self.readers, before, after, limit).boxed()
    }

    fn delete_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        // An append that is still queued may reopen one of these runs. Sent before the future is polled.
        let (answer, flushed) = oneshot::channel();
        self.send(Job::Flush(answer));
        self.write(async move {
            flushed.await.unwrap_or_else(|_| Err(closed()))?;
            let mut count = 0;
            for part in runs.chunks(trash::DELETE_RUNS) {
                count += trash::delete_runs(&self.readers, part).await?;
            }
            Ok(count)
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        read::unfinished(&self.readers).boxed()
    }

    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        read::queued(&self.readers).boxed()
    }

    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>> {
        read::groups(&self.readers).boxed()
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        read::next_due(&self.readers).boxed()
    }
}

impl Catalog for PostgresStore {
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write(catalog::put_graph(&self.readers, graph))
    }

    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        let id = id.clone();
        async move { catalog::graph(&self.readers, &id).await }.boxed()
    }

    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        let name = name.to_owned();
        async move { catalog::graph_named(&self.readers, &name).await }.boxed()
    }

    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>> {
        catalog::graphs(&self.readers, after, limit).boxed()
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let digest = digest.clone();
        async move { catalog::graphs_with(&self.readers, &digest, limit).await }.boxed()
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let graph = graph.to_owned();
        async move { catalog::graphs_naming(&self.readers, &graph, limit).await }.boxed()
    }

    fn run_naming(&self, graph: &GraphId, _: i64) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>> {
        let graph = graph.clone();
        async move { catalog::run_naming(&self.readers, &graph).await }.boxed()
    }

    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let id = id.clone();
        self.write(async move { catalog::delete_graph(&self.readers, &id).await })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        catalog::usage(&self.readers).boxed()
    }

    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(catalog::put_plugin(&self.readers, plugin))
    }

    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        let digest = digest.clone();
        async move { catalog::plugin(&self.readers, &digest).await }.boxed()
    }

    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>> {
        catalog::active_plugins(&self.readers).boxed()
    }

    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>> {
        let digest = digest.clone();
        self.write(async move { catalog::delete_plugin(&self.readers, &digest).await })
    }
}

impl PostgresStore {
    fn put(&self, table: Table, name: Arc<str>, body: Arc<str>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(async move { configuration::put(&self.readers, table, &name, &body).await })
    }

    fn delete(&self, table: Table, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name = name.to_owned();
        self.write(async move { configuration::delete(&self.readers, table, &name).await })
    }
}

impl Configuration for PostgresStore {
    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(Table::Policies, policy.name, policy.body)
    }

    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.delete(Table::Policies, name)
    }

    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>> {
        async move {
            let rows = configuration::all(&self.readers, Table::Policies).await?;
            let policy = |row: &tokio_postgres::Row| {
                Ok(PolicyRow {
                    name: text(row, 0)?,
                    body: text(row, 1)?,
                })
            };
            rows.iter().map(policy).collect()
        }
        .boxed()
    }

    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(Table::Secrets, name.into(), value.0)
    }

    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>> {
        let name = name.to_owned();
        async move {
            let row = configuration::one(&self.readers, Table::Secrets, &name).await?;
            row.map(|row| text(&row, 0).map(SecretText)).transpose()
        }
        .boxed()
    }

    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(Table::Schedules, schedule.name, schedule.body)
    }

    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.delete(Table::Schedules, name)
    }

    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        async move {
            let rows = configuration::all(&self.readers, Table::Schedules).await?;
            let schedule = |row: &tokio_postgres::Row| {
                Ok(ScheduleRow {
                    name: text(row, 0)?,
                    body: text(row, 1)?,
                })
            };
            rows.iter().map(schedule).collect()
        }
        .boxed()
    }
}

impl Store for PostgresStore {
    fn health(&self) -> Result<(), StoreError> {
        self.health.get().map_or(Ok(()), Err)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let (closer, result) = oneshot::channel();
        // Sent before the future is polled, so that jobs reach the writer in the order of the calls.
        self.send(Job::Close(closer));
        async move {
            result
                .await
                .unwrap_or_else(|_| Err(self.health.get().unwrap_or_else(closed)))
        }
        .boxed()
    }
}
