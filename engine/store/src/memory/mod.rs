//! A journal in memory, for tests: stricter with its caller than a real one, and steered by hand.
//!
//! A caller that breaks the port's rules within one append panics there. Events are kept as
//! text and parsed again for every reader, so nothing passes that would not survive a restart.
//! Acks come from a thread of the journal's own, as they do from a real store.

mod check;
mod kept;

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use heddle_json::object::json;
use heddle_kernel::{Digest, Event, EventRecord, GraphId, RunId, Status, Timestamp};
use heddle_runtime::ports::{
    Append, AppendError, GraphRow, GraphSummary, GroupCounts, Journal, PluginRow, PluginSummary, PolicyRow,
    QueuedRun, Request, RunDisposition, RunFilter, RunPosition, RunRow, RunSnapshot, ScheduleRow, SecretText,
    StoreError, Usage,
};
use tokio::sync::oneshot;

use self::check::check;
use self::kept::{Kept, KeptRun};

/// One answer's events take no further one from this many bytes on: few, so that callers must go on asking.
const PAGE_BYTES: usize = 16 * 1024;

/// A journal that is gone with the process.
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
    kept: Kept,
    broken: HashSet<RunId>,
    refused: HashSet<RunId>,
    held: bool,
    stalled: Option<StoreError>,
    closed: bool,
    dropped: bool,
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Append(Box<Append>, Vec<String>),
    /// What is of no run; it answers whether there was something to change.
    Change(Box<dyn FnOnce(&mut Kept) -> bool + Send>, Answer<bool>),
    Forget(Vec<RunId>, Answer<usize>),
    Close(Answer<bool>),
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::with(Kept::default())
    }

    fn with(kept: Kept) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                kept,
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

    /// From here on nothing becomes durable: appends, and graphs and plugins that are put, wait.
    pub fn hold(&self) {
        self.shared.change(|state| state.held = true);
    }

    /// Lets what waits become durable, and ends a [`stall`](Self::stall).
    pub fn release(&self) {
        self.shared.change(|state| {
            state.held = false;
            state.stalled = None;
            state.refused.clear();
        });
    }

    /// From here on nothing can be written: appends wait, and what begins something fails with this error.
    pub fn stall(&self, error: StoreError) {
        self.shared.change(|state| state.stalled = Some(error));
    }

    /// A journal that holds what is durable at this moment: what a restart after a crash would find.
    pub fn after_crash(&self) -> Self {
        Self::with(self.shared.state().kept.clone())
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Kept) -> Result<T, StoreError>,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let answer = read(&self.shared.state().kept);
        Box::pin(async { answer })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Kept) -> bool + Send + 'static,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.ask(|answer| Job::Change(Box::new(change), answer))
    }

    fn put(&self, change: impl FnOnce(&mut Kept) + Send + 'static) -> BoxFuture<'_, Result<(), StoreError>> {
        let changed = self.change(|kept| {
            change(kept);
            true
        });
        changed.map(|kept| kept.map(|_| ())).boxed()
    }

    fn ask<T: Send + 'static>(
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
        let texts = check(&append);
        self.shared
            .change(|state| state.queue.push_back(Job::Append(append.into(), texts)));
    }

    fn put_graph(&self, graph: GraphRow) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.change(|kept| kept.put_graph(graph))
    }

    fn graph(&self, id: &GraphId) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        self.read(|kept| Ok(kept.graphs.iter().find(|graph| graph.id == *id).cloned()))
    }

    fn graph_named(&self, name: &str) -> BoxFuture<'_, Result<Option<GraphRow>, StoreError>> {
        self.read(|kept| {
            let named = kept
                .graphs
                .iter()
                .filter(|graph| graph.name.as_deref() == Some(name));
            // Of several that are the greatest, this takes the last.
            Ok(named.max_by_key(|graph| graph.created_at).cloned())
        })
    }

    fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, GraphSummary)>, StoreError>> {
        self.read(|kept| {
            let placed = (1..)
                .zip(&kept.graphs)
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

    fn run(&self, id: RunId) -> BoxFuture<'_, Result<Option<RunRow>, StoreError>> {
        self.read(|kept| Ok(kept.runs.get(&id).map(|run| kept.row(run))))
    }

    fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        self.read(|kept| {
            let rows = kept.runs.values().map(|run| kept.row(run));
            let fits =
                rows.filter(|row| before.is_none_or(|before| row.position() < before) && filter.fits(row));
            let mut found: Vec<RunRow> = fits.collect();
            found.sort_by_key(|row| std::cmp::Reverse(row.position()));
            Ok(found.into_iter().take(limit).map(RunRow::listed).collect())
        })
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        self.read(|kept| {
            let rows = kept.runs.values().map(|run| &run.row);
            let running = rows.filter(|row| row.status == Status::Running);
            Ok(running.map(|row| row.id).collect())
        })
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        self.read(|kept| {
            let due = kept.due.iter().take_while(|(at, _)| *at <= now);
            Ok(due.map(|(_, run)| *run).take(limit).collect())
        })
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        self.read(|kept| Ok(kept.due.first().map(|(at, _)| *at)))
    }

    fn events(
        &self,
        run: RunId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<EventRecord>>, StoreError>> {
        self.read(|kept| {
            let texts = kept.runs.get(&run).map_or(&[][..], |run| &run.events);
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

    fn put_plugin(&self, plugin: PluginRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|kept| kept.put_plugin(plugin))
    }

    fn plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<Option<PluginRow>, StoreError>> {
        self.read(|kept| {
            Ok(kept
                .plugins
                .iter()
                .find(|plugin| plugin.digest == *digest)
                .cloned())
        })
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        self.read(|kept| {
            let has = |graph: &&GraphRow| graph.functions.values().any(|at| at.digest == *digest);
            let found = kept.graphs.iter().filter(has).take(limit);
            Ok(found.map(|graph| graph.id.clone()).collect())
        })
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> BoxFuture<'_, Result<Vec<GraphId>, StoreError>> {
        let named = crate::codec::naming(graph);
        self.read(move |kept| {
            let names = |other: &&GraphRow| other.definition.contains(&named);
            let found = kept.graphs.iter().filter(names).take(limit);
            Ok(found.map(|graph| graph.id.clone()).collect())
        })
    }

    fn run_naming(&self, graph: &GraphId, _: i64) -> BoxFuture<'_, Result<(Option<RunId>, i64), StoreError>> {
        let id = graph.0.clone();
        self.read(move |kept| {
            let names = |run: &&KeptRun| run.events.iter().any(|event| event.contains(&*id));
            Ok((kept.runs.values().find(names).map(|run| run.row.id), 0))
        })
    }

    fn delete_graph(&self, id: &GraphId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let id = id.clone();
        self.change(move |kept| kept.delete_graph(&id))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        self.read(|kept| Ok(kept.usage()))
    }

    fn delete_plugin(&self, digest: &Digest) -> BoxFuture<'_, Result<bool, StoreError>> {
        let digest = digest.clone();
        self.change(move |kept| kept.delete_plugin(&digest))
    }

    fn active_plugins(&self) -> BoxFuture<'_, Result<Vec<PluginSummary>, StoreError>> {
        self.read(|kept| {
            let active = kept.plugins.iter().filter(|plugin| plugin.active);
            Ok(active
                .map(|plugin| PluginSummary {
                    digest: plugin.digest.clone(),
                    name: plugin.name.clone(),
                    version: plugin.version.clone(),
                })
                .collect())
        })
    }

    fn snapshot(&self, run: RunId, until: u64) -> BoxFuture<'_, Result<Option<RunSnapshot>, StoreError>> {
        self.read(|kept| {
            let taken = kept
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
        self.read(|kept| Ok(kept.requests.get(&(run, key.into())).cloned()))
    }

    fn queued(&self) -> BoxFuture<'_, Result<Vec<QueuedRun>, StoreError>> {
        self.read(|kept| {
            let rows = kept.runs.values().map(|run| &run.row);
            let queued = rows.filter(|row| row.status == Status::Queued);
            let mut queued: Vec<_> = queued
                .map(|row| QueuedRun {
                    run: row.id,
                    priority: row.priority,
                    group: row.group.clone(),
                })
                .collect();
            // Those of one priority stay in the order of their ids.
            queued.sort_by_key(|queued| std::cmp::Reverse(queued.priority));
            Ok(queued)
        })
    }

    fn groups(&self) -> BoxFuture<'_, Result<GroupCounts, StoreError>> {
        self.read(|kept| Ok(kept.groups()))
    }

    fn runs_before(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<RunRow>, StoreError>> {
        self.read(|kept| {
            let began = kept
                .runs
                .values()
                .filter(|run| run.row.created_at < before && after.is_none_or(|after| run.row.id > after));
            Ok(began.take(limit).map(|run| kept.row(run).listed()).collect())
        })
    }

    fn forget(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.ask(|answer| Job::Forget(runs, answer))
    }

    fn put_schedule(&self, schedule: ScheduleRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|kept| drop(kept.schedules.insert(schedule.name, schedule.body)))
    }

    fn delete_schedule(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name: Arc<str> = name.into();
        self.change(move |kept| kept.schedules.remove(&name).is_some())
    }

    fn schedules(&self) -> BoxFuture<'_, Result<Vec<ScheduleRow>, StoreError>> {
        self.read(|kept| {
            let rows = kept.schedules.iter().map(|(name, body)| ScheduleRow {
                name: name.clone(),
                body: body.clone(),
            });
            Ok(rows.collect())
        })
    }

    fn put_secret(&self, name: &str, value: SecretText) -> BoxFuture<'_, Result<(), StoreError>> {
        let name = name.into();
        self.put(|kept| drop(kept.secrets.insert(name, value)))
    }

    fn secret(&self, name: &str) -> BoxFuture<'_, Result<Option<SecretText>, StoreError>> {
        let name = name.to_owned();
        self.read(move |kept| Ok(kept.secrets.get(&*name).cloned()))
    }

    fn put_policy(&self, policy: PolicyRow) -> BoxFuture<'_, Result<(), StoreError>> {
        self.put(|kept| drop(kept.policies.insert(policy.name, policy.body)))
    }

    fn delete_policy(&self, name: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name: Arc<str> = name.into();
        self.change(move |kept| kept.policies.remove(&name).is_some())
    }

    fn policies(&self) -> BoxFuture<'_, Result<Vec<PolicyRow>, StoreError>> {
        self.read(|kept| {
            let rows = kept.policies.iter().map(|(name, body)| PolicyRow {
                name: name.clone(),
                body: body.clone(),
            });
            Ok(rows.collect())
        })
    }

    fn health(&self) -> Result<(), StoreError> {
        let state = self.shared.state();
        match &state.stalled {
            _ if state.closed => Err(closed()),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.ask(Job::Close).map(|closed| closed.map(|_| ())).boxed()
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

    /// The writer's thread: takes jobs in order, and tells each when the lock is let go.
    fn write(&self) {
        let mut state = self.state();
        loop {
            let mut told: Vec<Box<dyn FnOnce()>> = Vec::new();
            let mut waiting = VecDeque::new();
            if state.held && state.dropped {
                // Held back to the end: none of it is ever durable.
                (state.held, state.stalled) = (false, Some(closed()));
            }
            if !state.held {
                while let Some(job) = state.queue.pop_front() {
                    match state.take(job, &mut waiting) {
                        Ok(tell) => told.push(tell),
                        Err(job) => waiting.push_back(job),
                    }
                }
                state.queue = waiting;
            }
            if !told.is_empty() {
                drop(state);
                told.into_iter().for_each(|tell| tell());
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
    /// Does a job and answers whom to tell, or gives back one that must wait behind `waiting`.
    fn take(&mut self, job: Job, waiting: &mut VecDeque<Job>) -> Result<Box<dyn FnOnce()>, Job> {
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
                    self.refused.insert(append.run);
                }
                if !self.refused.contains(&append.run) {
                    return Err(Job::Append(append, texts));
                }
                Box::new(move || append.ack.failed(AppendError::Unavailable(error)))
            }
            (job, Some(error)) => Box::new(move || fail(job, &AppendError::Closed, &error)),
            (Job::Append(append, texts), None) => match self.kept.append(&append, texts, &self.broken) {
                Ok(seq) => Box::new(move || append.ack.durable(seq)),
                Err(message) => {
                    self.broken.insert(append.run);
                    let error = AppendError::Conflict {
                        run: append.run,
                        message,
                    };
                    Box::new(move || append.ack.failed(error))
                }
            },
            (Job::Change(change, answer), None) => {
                let changed = change(&mut self.kept);
                Box::new(move || drop(answer.send(Ok(changed))))
            }
            (Job::Forget(runs, answer), None) => {
                let count = self.kept.forget(&runs);
                Box::new(move || drop(answer.send(Ok(count))))
            }
        })
    }
}

fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending, _) => pending.ack.failed(append.clone()),
        Job::Change(_, answer) | Job::Close(answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::Forget(_, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
    }
}

fn closed() -> StoreError {
    StoreError::Failed("it is closed".to_owned())
}
