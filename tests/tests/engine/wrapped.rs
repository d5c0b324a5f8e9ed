//! A journal around another one: it counts reads and can report a run as damaged.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use heddle_kernel::{Digest, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, Catalog, Configuration, EngineId, GraphRow, GraphSummary, Journal, OwnerResult,
    Ownership, PluginRow, PluginSummary, PolicyRow, QueuedRun, Request, RunFilter, RunPosition, RunRow,
    RunSnapshot, ScheduleRow, SecretText, Store, StoreError, Usage,
};

pub(crate) struct Wrapped<J> {
    pub(crate) journal: J,
    /// The number of events read.
    pub(crate) events: AtomicUsize,
    /// The runs whose rows the store reports as damaged.
    pub(crate) damaged: Mutex<HashSet<RunId>>,
    /// Whether all snapshots are damaged.
    pub(crate) no_snapshots: bool,
    /// Whether stored requests are not found, as if another engine stored them a moment later.
    pub(crate) hides_requests: AtomicBool,
}

impl<J: Store> Wrapped<J> {
    pub(crate) fn of(journal: J) -> Self {
        Self {
            journal,
            events: AtomicUsize::new(0),
            damaged: Mutex::default(),
            no_snapshots: false,
            hides_requests: AtomicBool::new(false),
        }
    }

    /// The number of events read since the last call.
    pub(crate) fn events_read(&self) -> usize {
        self.events.swap(0, Ordering::SeqCst)
    }

    fn is_damaged(&self, run: RunId) -> bool {
        self.damaged.lock().unwrap().contains(&run)
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

fn damaged() -> StoreError {
    StoreError::Damaged("the sum of a row is another".to_owned())
}

impl<J: Store> Journal for Wrapped<J> {
    fn append(&self, append: Append) {
        match self.is_damaged(append.run) {
            true => append.ack.failed(AppendError::Damaged {
                run: append.run,
                message: damaged().to_string(),
            }),
            false => self.journal.append(append),
        }
    }

    fn events(&self, run: RunId, after: u64, limit: usize) -> Answer<'_, Vec<Arc<EventRecord>>> {
        Box::pin(async move {
            if self.is_damaged(run) {
                return Err(damaged());
            }
            let events = self.journal.events(run, after, limit).await?;
            self.events.fetch_add(events.len(), Ordering::SeqCst);
            Ok(events)
        })
    }

    fn snapshot(&self, run: RunId, until: u64) -> Answer<'_, Option<RunSnapshot>> {
        match self.no_snapshots {
            true => Box::pin(async { Err(damaged()) }),
            false => self.journal.snapshot(run, until),
        }
    }

    fn request(&self, run: Option<RunId>, key: &str) -> Answer<'_, Option<Request>> {
        match self.hides_requests.load(Ordering::SeqCst) {
            true => Box::pin(async { Ok(None) }),
            false => self.journal.request(run, key),
        }
    }

    fn run(&self, id: RunId) -> Answer<'_, Option<RunRow>> {
        self.journal.run(id)
    }

    fn runs(&self, filter: RunFilter, before: Option<RunPosition>, limit: usize) -> Answer<'_, Vec<RunRow>> {
        self.journal.runs(filter, before, limit)
    }

    fn unfinished(&self) -> Answer<'_, Vec<RunId>> {
        self.journal.unfinished()
    }

    fn queued(&self) -> Answer<'_, Vec<QueuedRun>> {
        self.journal.queued()
    }

    fn groups(&self) -> Answer<'_, Vec<(Arc<str>, usize)>> {
        self.journal.groups()
    }

    fn runs_before(&self, before: Timestamp, after: Option<RunId>, limit: usize) -> Answer<'_, Vec<RunRow>> {
        self.journal.runs_before(before, after, limit)
    }

    fn delete_runs(&self, runs: Vec<RunId>) -> Answer<'_, usize> {
        self.journal.delete_runs(runs)
    }

    fn next_due(&self) -> Answer<'_, Option<Timestamp>> {
        self.journal.next_due()
    }
}

impl<J: Store> Catalog for Wrapped<J> {
    fn put_graph(&self, graph: GraphRow) -> Answer<'_, bool> {
        self.journal.put_graph(graph)
    }

    fn graph(&self, id: &GraphId) -> Answer<'_, Option<GraphRow>> {
        self.journal.graph(id)
    }

    fn graph_named(&self, name: &str) -> Answer<'_, Option<GraphRow>> {
        self.journal.graph_named(name)
    }

    fn graphs(&self, after: Option<i64>, limit: usize) -> Answer<'_, Vec<(i64, GraphSummary)>> {
        self.journal.graphs(after, limit)
    }

    fn put_plugin(&self, plugin: PluginRow) -> Answer<'_, ()> {
        self.journal.put_plugin(plugin)
    }

    fn plugin(&self, digest: &Digest) -> Answer<'_, Option<PluginRow>> {
        self.journal.plugin(digest)
    }

    fn active_plugins(&self) -> Answer<'_, Vec<PluginSummary>> {
        self.journal.active_plugins()
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> Answer<'_, Vec<GraphId>> {
        self.journal.graphs_with(digest, limit)
    }

    fn usage(&self) -> Answer<'_, Usage> {
        self.journal.usage()
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> Answer<'_, Vec<GraphId>> {
        self.journal.graphs_naming(graph, limit)
    }

    fn run_naming(&self, graph: &GraphId, after: i64) -> Answer<'_, (Option<RunId>, i64)> {
        self.journal.run_naming(graph, after)
    }

    fn delete_graph(&self, id: &GraphId) -> Answer<'_, bool> {
        self.journal.delete_graph(id)
    }

    fn delete_plugin(&self, digest: &Digest) -> Answer<'_, bool> {
        self.journal.delete_plugin(digest)
    }
}

impl<J: Store> Configuration for Wrapped<J> {
    fn put_policy(&self, policy: PolicyRow) -> Answer<'_, ()> {
        self.journal.put_policy(policy)
    }

    fn delete_policy(&self, name: &str) -> Answer<'_, bool> {
        self.journal.delete_policy(name)
    }

    fn policies(&self) -> Answer<'_, Vec<PolicyRow>> {
        self.journal.policies()
    }

    fn put_secret(&self, name: &str, value: SecretText) -> Answer<'_, ()> {
        self.journal.put_secret(name, value)
    }

    fn secret(&self, name: &str) -> Answer<'_, Option<SecretText>> {
        self.journal.secret(name)
    }

    fn put_schedule(&self, schedule: ScheduleRow) -> Answer<'_, ()> {
        self.journal.put_schedule(schedule)
    }

    fn delete_schedule(&self, name: &str) -> Answer<'_, bool> {
        self.journal.delete_schedule(name)
    }

    fn schedules(&self) -> Answer<'_, Vec<ScheduleRow>> {
        self.journal.schedules()
    }
}

impl<J: Store> Ownership for Wrapped<J> {
    fn claim_due(&self, engine: EngineId, now: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        self.journal.claim_due(engine, now, limit)
    }
}

impl<J: Store> Store for Wrapped<J> {
    fn health(&self) -> Result<(), StoreError> {
        self.journal.health()
    }

    fn close(&self) -> Answer<'_, ()> {
        self.journal.close()
    }
}
