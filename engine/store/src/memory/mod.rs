//! A journal in memory, for tests. A test can hold back writes, let them fail, and see what a crash would leave.
//!
//! An append that breaks a rule by itself panics in the caller. Events are stored as text and parsed again for every
//! reader, so that a test also covers what serialization changes. Acks come from a separate thread, as from SQLite.

mod configuration;
mod tables;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use heddle_json::object::json;
use heddle_kernel::{Digest, EventRecord, GraphId, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, Catalog, EngineId, GraphRow, GraphSummary, GroupCounts, Journal, OwnerResult,
    Ownership, PluginRow, PluginSummary, QueuedRun, Request, RunFilter, RunPosition, RunRow, RunSnapshot,
    Store, StoreError, Usage,
};
use tokio::sync::oneshot;

use self::tables::{StoredRun, Tables};
use crate::{
    append::{self, Refused},
    codec,
};

/// The size in bytes from which a page of events takes no further event. Small, so that tests read several pages.
const PAGE_BYTES: usize = 16 * 1024;

/// A journal whose data is lost when it is dropped.
pub struct MemoryJournal {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    tables: Tables,
    /// Runs of which an append was refused: their later appends are refused too.
    broken: HashSet<RunId>,
    /// Runs whose last append was refused because a request was answered before: until they are loaded again, their appends
    /// are refused without harm.
    outdated: HashSet<RunId>,
    /// Runs that could not begin during a stall: their later appends fail too, until the stall ends.
    not_begun: HashSet<RunId>,
    /// Set by [`MemoryJournal::hold`].
    held: bool,
    /// Set by [`MemoryJournal::stall`].
    stalled: Option<StoreError>,
    closed: bool,
    dropped: bool,
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    /// An append and the JSON texts of its events.
    Append(Box<Append>, Vec<String>),
    /// A change of any table but that of runs. The function returns whether it changed anything.
    Change(Box<dyn FnOnce(&mut Tables) -> bool + Send>, Answer<bool>),
    DeleteRuns(Vec<RunId>, Answer<usize>),
    Close(Answer<bool>),
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    /// Creates an empty journal that loses its data when it is dropped.
    pub fn new() -> Self {
        Self::with(Tables::default())
    }

    fn with(tables: Tables) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                tables,
                ..State::default()
            }),
            ..Shared::default()
        });
        let writer = std::thread::spawn({
            let shared = shared.clone();
            move || shared.write()
        });
        Self {
            shared,
            writer: Some(writer),
        }
    }

    /// Holds back every write from now on: nothing becomes durable until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.change(|state| state.held = true);
    }

    /// Ends a [`hold`](Self::hold) or a [`stall`](Self::stall): waiting writes become durable.
    pub fn release(&self) {
        self.shared.change(|state| {
            state.held = false;
            state.stalled = None;
            state.not_begun.clear();
        });
    }

    /// Simulates a disk that cannot be written: appends of known runs wait, all other writes fail with this error.
    pub fn stall(&self, error: StoreError) {
        self.shared.change(|state| state.stalled = Some(error));
    }

    /// A new journal with the data that is durable now: what a restart after a crash would find.
    pub fn after_crash(&self) -> Self {
        Self::with(self.shared.state().tables.clone())
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let answer = read(&self.shared.state().tables);
        Box::pin(async { answer })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Tables) -> bool + Send + 'static,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.submit(|answer| Job::Change(Box::new(change), answer))
    }

    fn put(
        &self,
        change: impl FnOnce(&mut Tables) + Send + 'static,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let changed = self.change(|tables| {
            change(tables);
            true
        });
        changed.map(|changed| changed.map(|_| ())).boxed()
    }

    /// Queues a job and waits for its answer.
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        self.shared.change(|state| state.queue.push_back(job(answer)));
        answered
            .map(|answer| answer.unwrap_or_else(|_| Err(closed())))
            .boxed()
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.shared.change(|state| state.dropped = true);
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Journal for MemoryJournal {
    fn append(&self, append: Append) {
        if let Some(rule) = append::violation(&append) {
            panic!("the caller broke a rule of appends: {rule}");
        }
        if let Err(message) = codec::encode(&append.events) {
            panic!("the caller broke a rule of appends: {message}");
        }
        let text = |event: &Arc<EventRecord>| serde_json::to_string(&**event).expect("events serialize");
        let texts = append.events.iter().map(text).collect();
        self.shared
            .change(|state| state.queue.push_back(Job::Append(append.into(), texts)));
    }

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        self.read(|tables| Ok(tables.runs.get(&id).map(|run| tables.row(run))))
    }

    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        self.read(|tables| {
            let rows = tables.runs.values().map(|run| tables.row(run));
            let fits =
                rows.filter(|row| before.is_none_or(|before| row.position() < before) && filter.fits(row));
            let mut found: Vec<RunRow> = fits.collect();
            found.sort_by_key(|row| std::cmp::Reverse(row.position()));
            Ok(found.into_iter().take(limit).map(RunRow::listed).collect())
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        self.read(|tables| {
            let rows = tables.runs.values().map(|run| &run.row);
            let running = rows.filter(|row| row.status == Status::Running);
            Ok(running.map(|row| row.id).collect())
        })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.read(|tables| Ok(tables.due.first().map(|(at, _)| *at)))
    }

    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>> {
        self.read(|tables| {
            let texts = tables.runs.get(&run).map_or(&[][..], |run| &run.events);
            let after = usize::try_from(after).unwrap_or(usize::MAX);
            let mut bytes = 0;
            let page = texts.iter().skip(after).take(limit).take_while(|text| {
                let fits = bytes < PAGE_BYTES;
                bytes += text.len();
                fits
            });
            let damaged = |error| StoreError::Damaged(format!("run {run}: {error}"));
            page.map(|text| serde_json::from_str(text).map(Arc::new).map_err(damaged))
                .collect()
        })
    }

    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        self.read(|tables| {
            let taken = tables
                .runs
                .get(&run)
                .and_then(|run| run.snapshots.range(..=until).next_back());
            let damaged = |error| StoreError::Damaged(format!("run {run}: {error}"));
            let read = |(seq, text): (&u64, &String)| {
                let body = json(text).map_err(damaged)?;
                Ok(RunSnapshot { seq: *seq, body })
            };
            taken.map(read).transpose()
        })
    }

    fn request(&self, run: Option<RunId>, key: &str) -> BoxFuture<'_, Result<Option<Request>, StoreError>> {
        self.read(|tables| Ok(tables.requests.get(&(run, key.into())).cloned()))
    }

    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        self.read(|tables| {
            let queued = tables.runs.values();
            let queued = queued.filter(|run| run.row.status == Status::Queued);
            let mut queued: Vec<_> = queued
                .map(|run| QueuedRun {
                    run: run.row.id,
                    priority: run.row.priority,
                    group: run.row.group.clone(),
                    group_limit: run.group_limit,
                    bytes: run.events.first().map_or(0, |event| event.len() as u64),
                })
                .collect();
            // A stable sort: runs of the same priority stay in the order of their ids.
            queued.sort_by_key(|queued| std::cmp::Reverse(queued.priority));
            Ok(queued)
        })
    }

    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>> {
        self.read(|tables| Ok(tables.groups()))
    }

    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        self.read(|tables| {
            let began = tables
                .runs
                .values()
                .filter(|run| run.row.created_at < before && after.is_none_or(|after| run.row.id > after));
            Ok(began.take(limit).map(|run| tables.row(run).listed()).collect())
        })
    }

    fn delete_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.submit(|answer| Job::DeleteRuns(runs, answer))
    }
}

impl Catalog for MemoryJournal {
    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(|tables| tables.put_graph(graph))
    }

    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        self.read(|tables| Ok(tables.graphs.iter().find(|graph| graph.id == *id).cloned()))
    }

    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        self.read(|tables| {
            let named = tables
                .graphs
                .iter()
                .filter(|graph| graph.name.as_deref() == Some(name));
            // Of several graphs with the greatest time, `max_by_key` takes the last.
            Ok(named.max_by_key(|graph| graph.created_at).cloned())
        })
    }

    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>> {
        self.read(|tables| {
            let placed = (1..)
                .zip(&tables.graphs)
                .filter(|(position, _)| after.is_none_or(|after| *position < after));
            let mut graphs: Vec<_> = placed
                .map(|(position, graph)| {
                    let GraphRow {
                        id, name, created_at, ..
                    } = graph.clone();
                    (position, GraphSummary { id, name, created_at })
                })
                .collect();
            graphs.reverse();
            graphs.truncate(limit);
            Ok(graphs)
        })
    }

    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|tables| tables.put_plugin(plugin))
    }

    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        self.read(|tables| {
            Ok(tables
                .plugins
                .iter()
                .find(|plugin| plugin.digest == *digest)
                .cloned())
        })
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        self.read(|tables| {
            let has = |graph: &&GraphRow| graph.functions.values().any(|at| at.digest == *digest);
            let found = tables.graphs.iter().filter(has).take(limit);
            Ok(found.map(|graph| graph.id.clone()).collect())
        })
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let named: Arc<str> = graph.into();
        self.read(move |tables| {
            let names = |other: &&GraphRow| codec::runs_graph(&other.definition, &named);
            let found = tables.graphs.iter().filter(names).take(limit);
            Ok(found.map(|graph| graph.id.clone()).collect())
        })
    }

    fn run_naming(&self, graph: &GraphId, _: i64) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>> {
        let id = graph.clone();
        self.read(move |tables| {
            let names_graph = |event: &String| {
                serde_json::from_str::<EventRecord>(event).is_ok_and(|record| record.event.names_graph(&id))
            };
            let names = |run: &&StoredRun| run.events.iter().any(names_graph);
            Ok((tables.runs.values().find(names).map(|run| run.row.id), 0))
        })
    }

    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let id = id.clone();
        self.change(move |tables| tables.delete_graph(&id))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.read(|tables| Ok(tables.usage()))
    }

    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>> {
        let digest = digest.clone();
        self.change(move |tables| tables.delete_plugin(&digest))
    }

    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>> {
        self.read(|tables| {
            let active = tables.plugins.iter().filter(|plugin| plugin.active);
            Ok(active
                .map(|plugin| PluginSummary {
                    digest: plugin.digest.clone(),
                    name: plugin.name.clone(),
                    version: plugin.version.clone(),
                })
                .collect())
        })
    }
}

impl Ownership for MemoryJournal {
    fn claim_due(&self, _: EngineId, now: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        let due = self.read(|tables| {
            let due = tables.due.iter().take_while(|(at, _)| *at <= now);
            Ok(due.map(|(_, run)| *run).take(limit).collect())
        });
        Box::pin(async move { Ok(due.await?) })
    }
}

impl Store for MemoryJournal {
    fn health(&self) -> Result<(), StoreError> {
        let state = self.shared.state();
        match &state.stalled {
            _ if state.closed => Err(closed()),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.submit(Job::Close).map(|closed| closed.map(|_| ())).boxed()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// The loop of the writer thread. It processes jobs in order and answers them without holding the lock.
    fn write(&self) {
        let mut state = self.state();
        loop {
            let mut answers: Vec<Box<dyn FnOnce()>> = Vec::new();
            let mut waiting = VecDeque::new();
            if state.held && state.dropped {
                // The writes that are held back when the journal is dropped are never durable.
                (state.held, state.stalled) = (false, Some(closed()));
            }
            if !state.held {
                while let Some(job) = state.queue.pop_front() {
                    match state.process(job, &mut waiting) {
                        Ok(answer) => answers.push(answer),
                        Err(job) => waiting.push_back(job),
                    }
                }
                state.queue = waiting;
            }
            if !answers.is_empty() {
                drop(state);
                answers.into_iter().for_each(|answer| answer());
                state = self.state();
            } else if state.dropped {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl State {
    /// Processes a job and returns the call that answers it, or returns the job if it must wait behind `waiting`.
    fn process(&mut self, job: Job, waiting: &mut VecDeque<Job>) -> Result<Box<dyn FnOnce()>, Job> {
        let stalled = self.stalled.clone();
        Ok(match (job, stalled) {
            (Job::Close(answer), stalled) => {
                self.closed = true;
                let lost = std::mem::take(waiting);
                let result = if lost.is_empty() {
                    Ok(true)
                } else {
                    Err(stalled.unwrap_or_else(closed))
                };
                Box::new(move || {
                    lost.into_iter()
                        .for_each(|job| fail(job, &AppendError::Closed, &closed()));
                    let _ = answer.send(result);
                })
            }
            (job, _) if self.closed => Box::new(|| fail(job, &AppendError::Closed, &closed())),
            (job, Some(_)) if self.dropped => Box::new(|| fail(job, &AppendError::Closed, &closed())),
            (Job::Append(append, texts), Some(error)) => {
                if append.begins.is_some() {
                    self.not_begun.insert(append.run);
                }
                if !self.not_begun.contains(&append.run) {
                    return Err(Job::Append(append, texts));
                }
                Box::new(move || append.ack.failed(AppendError::Unavailable(error)))
            }
            (job, Some(error)) => Box::new(move || fail(job, &AppendError::Closed, &error)),
            (Job::Append(append, texts), None) => match self.tables.append(&append, texts, &self.broken) {
                Ok(seq) => {
                    self.outdated.remove(&append.run);
                    Box::new(move || append.ack.durable(seq))
                }
                Err(Refused::Duplicate(request)) => {
                    self.outdated.insert(append.run);
                    let error = AppendError::DuplicateRequest(request);
                    Box::new(move || append.ack.failed(error))
                }
                Err(Refused::Conflict(message)) => {
                    if !self.outdated.contains(&append.run) {
                        self.broken.insert(append.run);
                    }
                    let error = AppendError::Conflict {
                        run: append.run,
                        message,
                    };
                    Box::new(move || append.ack.failed(error))
                }
            },
            (Job::Change(change, answer), None) => {
                let changed = change(&mut self.tables);
                Box::new(move || drop(answer.send(Ok(changed))))
            }
            (Job::DeleteRuns(runs, answer), None) => {
                let count = self.tables.delete_runs(&runs);
                Box::new(move || drop(answer.send(Ok(count))))
            }
        })
    }
}

/// Answers a job with an error: appends with the first, other jobs with the second.
fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending, _) => pending.ack.failed(append.clone()),
        Job::Change(_, answer) | Job::Close(answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::DeleteRuns(_, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
    }
}

fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}
