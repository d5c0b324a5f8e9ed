//! A journal on a disk with a fate: it is slow, it stands still, it is full for a while, its reads fail, and at
//! some append the process dies with a part of what was handed over on the disk.
//!
//! It decides what becomes durable and when; what is durable is kept by a [`MemoryJournal`], which checks that
//! appends follow one another. All of it happens on the one thread of the life that it belongs to, at times of
//! that life's clock, so it follows from the seed.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use heddle_kernel::{Digest, Event, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, GraphRow, GraphSummary, Journal, PluginRow, PluginSummary, PolicyRow,
    QueuedRun, Request, RunFilter, RunPosition, RunRow, RunSnapshot, ScheduleRow, SecretText, StoreError,
    Usage,
};
use heddle_store::MemoryJournal;
use heddle_tests::lot::Lot;
use tokio::{sync::Notify, time::sleep};

/// What goes wrong in one life of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// The append at which the process dies: the ones before it are on the disk, and of this one and those after
    /// it some first ones.
    pub(crate) dies_at: Option<u64>,
    /// One commit in so many finds the disk full for a while.
    pub(crate) full: Option<u64>,
    /// One commit in so many stands still for a while.
    pub(crate) frozen: Option<u64>,
    /// One read in so many fails.
    pub(crate) unreadable: Option<u64>,
}

impl Fate {
    /// Nothing goes wrong.
    pub(crate) const CALM: Self = Self {
        dies_at: None,
        full: None,
        frozen: None,
        unreadable: None,
    };
}

pub(crate) struct Disk {
    kept: MemoryJournal,
    fate: Fate,
    state: Mutex<State>,
    /// Told when something was handed over.
    work: Notify,
    /// Told when the process dies.
    death: Notify,
}

struct State {
    lot: Lot,
    queue: VecDeque<Append>,
    /// How many appends were taken from the queue.
    taken: u64,
    /// The disk is full: what begins is refused.
    full: bool,
    /// Runs of which something was refused.
    refused: HashSet<RunId>,
    /// How many snapshots were handed over.
    snapshots: u64,
    dead: bool,
}

impl Disk {
    /// A disk that holds what this one has for sure.
    pub(crate) fn after(before: Option<&Self>, fate: Fate, lot: Lot) -> Self {
        Self {
            kept: before.map_or_else(MemoryJournal::new, |before| before.kept.after_crash()),
            fate,
            state: Mutex::new(State {
                lot,
                queue: VecDeque::new(),
                taken: 0,
                full: false,
                refused: HashSet::new(),
                snapshots: 0,
                dead: false,
            }),
            work: Notify::new(),
            death: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the process is to die.
    pub(crate) async fn death(&self) {
        self.death.notified().await;
    }

    /// How many snapshots were handed over in this life.
    pub(crate) fn snapshots(&self) -> u64 {
        self.state().snapshots
    }

    /// Whether it died.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Makes durable what was handed over, for as long as the life lasts.
    pub(crate) async fn work(self: Arc<Self>) {
        loop {
            if self.state().queue.is_empty() {
                self.work.notified().await;
                continue;
            }
            let (full, frozen, pause) = {
                let mut state = self.state();
                let mut meets = |times: Option<u64>| times.is_some_and(|times| state.lot.once_in(times));
                let (full, frozen) = (meets(self.fate.full), meets(self.fate.frozen));
                (full, frozen, state.lot.within(0..4))
            };
            if full {
                self.be_full().await;
            }
            let pause = if frozen { 400 } else { pause };
            if pause > 0 {
                sleep(Duration::from_millis(pause)).await;
            }
            if self.commit() {
                self.death.notify_one();
                return;
            }
        }
    }

    /// Refuses what begins, for a while. What goes on waits.
    async fn be_full(&self) {
        self.state().full = true;
        for _ in 0..10 {
            let refused: Vec<Append> = {
                let mut state = self.state();
                let State { queue, refused, .. } = &mut *state;
                let all = std::mem::take(queue);
                let (gone, kept) = all.into_iter().partition(|append| {
                    if append.begins.is_some() {
                        refused.insert(append.run);
                    }
                    refused.contains(&append.run)
                });
                *queue = kept;
                gone.into()
            };
            for append in refused {
                append.ack.failed(AppendError::Unavailable(full()));
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.state().full = false;
    }

    /// Commits some of what waits. Answers whether the process dies with it.
    fn commit(&self) -> bool {
        let (batch, dies) = {
            let mut state = self.state();
            let most = state.queue.len() as u64;
            let mut count = match most {
                0 => return false,
                most => state.lot.within(0..most) + 1,
            };
            let dies = self.fate.dies_at.is_some_and(|at| state.taken + most >= at);
            if dies {
                // It dies in the midst of a commit: what the disk has of it is nobody told of.
                count = state.lot.within(0..most + 1);
                state.dead = true;
            }
            state.taken += count;
            let batch: Vec<Append> = state.queue.drain(..count as usize).collect();
            (batch, dies)
        };
        let (told, becomes) = mpsc::channel();
        let acks: Vec<Arc<dyn Ack>> = batch.iter().map(|append| append.ack.clone()).collect();
        for (at, append) in batch.into_iter().enumerate() {
            let ack = Arc::new(Told(at, told.clone()));
            self.kept.append(Append { ack, ..append });
        }
        for _ in 0..acks.len() {
            let (at, outcome) = becomes.recv().expect("every append is told");
            match outcome {
                _ if dies => {}
                Ok(seq) => acks[at].durable(seq),
                Err(error) => acks[at].failed(error),
            }
        }
        dies
    }

    /// Whether the start of this attempt is durable, with everything before it.
    pub(crate) fn has_started(&self, run: RunId, step: u64, attempt: u32) -> bool {
        self.events_of(run).iter().any(|event| {
            matches!(&event.event, Event::StepStarted { step: of, attempt: number, .. } if (*of, *number) == (step, attempt))
        })
    }

    /// Whether this step is durably over.
    pub(crate) fn is_over(&self, run: RunId, step: u64) -> bool {
        let over = |event: &Arc<EventRecord>| match &event.event {
            Event::StepFinished { step: of, .. } | Event::ItemFinished { step: of, .. } => *of == step,
            _ => false,
        };
        self.events_of(run).iter().any(over)
    }

    /// Every durable event of a run.
    pub(crate) fn events_of(&self, run: RunId) -> Vec<Arc<EventRecord>> {
        let mut all: Vec<Arc<EventRecord>> = Vec::new();
        loop {
            let page = now(self.kept.events(run, all.len() as u64, 10_000));
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// Every durable run.
    pub(crate) fn all_runs(&self) -> Vec<RunRow> {
        now(self.kept.runs(RunFilter::default(), None, usize::MAX))
    }

    /// A read, which may fail.
    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&'a MemoryJournal) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let (pause, fails) = {
                let mut state = self.state();
                let fails = self.fate.unreadable.is_some_and(|times| state.lot.once_in(times));
                (state.lot.once_in(4), fails)
            };
            if pause {
                sleep(Duration::from_millis(1)).await;
            }
            match fails {
                true => Err(StoreError::Unavailable("the disk does not answer".to_owned())),
                false => read(&self.kept).await,
            }
        })
    }

    /// A write of something that is no append.
    fn write<'a, T: Send + 'a>(
        &'a self,
        write: impl FnOnce(&'a MemoryJournal) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            if self.state().full {
                return Err(full());
            }
            // The memory answers from a thread of its own. It is waited for here, so that nothing else happens
            // meanwhile.
            let mut written = write(&self.kept);
            loop {
                match (&mut written).now_or_never() {
                    Some(answer) => return answer,
                    None => std::thread::yield_now(),
                }
            }
        })
    }
}

type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

fn full() -> StoreError {
    StoreError::Unavailable("the disk is full".to_owned())
}

/// What the memory answers at once.
fn now<T>(answer: Answer<'_, T>) -> T {
    answer
        .now_or_never()
        .expect("memory answers at once")
        .expect("memory can be read")
}

/// Passes on what became of an append.
struct Told(usize, mpsc::Sender<(usize, Result<u64, AppendError>)>);

impl Ack for Told {
    fn durable(&self, seq: u64) {
        let _ = self.1.send((self.0, Ok(seq)));
    }

    fn failed(&self, error: AppendError) {
        let _ = self.1.send((self.0, Err(error)));
    }
}

impl Journal for Disk {
    fn append(&self, append: Append) {
        let mut state = self.state();
        if !state.dead {
            state.snapshots += u64::from(append.snapshot.is_some());
            state.queue.push_back(append);
            self.work.notify_one();
        }
    }

    fn events(&self, run: RunId, after: u64, limit: usize) -> Answer<'_, Vec<Arc<EventRecord>>> {
        self.read(move |kept| kept.events(run, after, limit))
    }

    fn snapshot(&self, run: RunId, until: u64) -> Answer<'_, Option<RunSnapshot>> {
        self.read(move |kept| kept.snapshot(run, until))
    }

    fn request(&self, run: Option<RunId>, key: &str) -> Answer<'_, Option<Request>> {
        let key = key.to_owned();
        self.read(move |kept| kept.request(run, &key))
    }

    fn put_graph(&self, graph: GraphRow) -> Answer<'_, bool> {
        self.write(move |kept| kept.put_graph(graph))
    }

    fn graph(&self, id: &GraphId) -> Answer<'_, Option<GraphRow>> {
        let id = id.clone();
        self.read(move |kept| kept.graph(&id))
    }

    fn graph_named(&self, name: &str) -> Answer<'_, Option<GraphRow>> {
        let name = name.to_owned();
        self.read(move |kept| kept.graph_named(&name))
    }

    fn graphs(&self, after: Option<i64>, limit: usize) -> Answer<'_, Vec<(i64, GraphSummary)>> {
        self.read(move |kept| kept.graphs(after, limit))
    }

    fn run(&self, id: RunId) -> Answer<'_, Option<RunRow>> {
        self.read(move |kept| kept.run(id))
    }

    fn runs(&self, filter: RunFilter, before: Option<RunPosition>, limit: usize) -> Answer<'_, Vec<RunRow>> {
        self.read(move |kept| kept.runs(filter, before, limit))
    }

    fn unfinished(&self) -> Answer<'_, Vec<RunId>> {
        self.read(|kept| kept.unfinished())
    }

    fn queued(&self) -> Answer<'_, Vec<QueuedRun>> {
        self.read(|kept| kept.queued())
    }

    fn groups(&self) -> Answer<'_, Vec<(Arc<str>, usize)>> {
        self.read(|kept| kept.groups())
    }

    fn runs_before(&self, before: Timestamp, after: Option<RunId>, limit: usize) -> Answer<'_, Vec<RunRow>> {
        self.read(move |kept| kept.runs_before(before, after, limit))
    }

    fn forget(&self, runs: Vec<RunId>) -> Answer<'_, usize> {
        self.write(move |kept| kept.forget(runs))
    }

    fn due(&self, at: Timestamp, limit: usize) -> Answer<'_, Vec<RunId>> {
        self.read(move |kept| kept.due(at, limit))
    }

    fn next_due(&self) -> Answer<'_, Option<Timestamp>> {
        self.read(|kept| kept.next_due())
    }

    fn put_plugin(&self, plugin: PluginRow) -> Answer<'_, ()> {
        self.write(move |kept| kept.put_plugin(plugin))
    }

    fn plugin(&self, digest: &Digest) -> Answer<'_, Option<PluginRow>> {
        let digest = digest.clone();
        self.read(move |kept| kept.plugin(&digest))
    }

    fn active_plugins(&self) -> Answer<'_, Vec<PluginSummary>> {
        self.read(|kept| kept.active_plugins())
    }

    fn graphs_with(&self, digest: &Digest, limit: usize) -> Answer<'_, Vec<GraphId>> {
        let digest = digest.clone();
        self.read(move |kept| kept.graphs_with(&digest, limit))
    }

    fn usage(&self) -> Answer<'_, Usage> {
        self.read(|kept| kept.usage())
    }

    fn graphs_naming(&self, graph: &str, limit: usize) -> Answer<'_, Vec<GraphId>> {
        let graph = graph.to_owned();
        self.read(move |kept| kept.graphs_naming(&graph, limit))
    }

    fn run_naming(&self, graph: &GraphId, after: i64) -> Answer<'_, (Option<RunId>, i64)> {
        let graph = graph.clone();
        self.read(move |kept| kept.run_naming(&graph, after))
    }

    fn delete_graph(&self, id: &GraphId) -> Answer<'_, bool> {
        let id = id.clone();
        self.write(move |kept| kept.delete_graph(&id))
    }

    fn delete_plugin(&self, digest: &Digest) -> Answer<'_, bool> {
        let digest = digest.clone();
        self.write(move |kept| kept.delete_plugin(&digest))
    }

    fn put_policy(&self, policy: PolicyRow) -> Answer<'_, ()> {
        self.write(move |kept| kept.put_policy(policy))
    }

    fn delete_policy(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |kept| kept.delete_policy(&name))
    }

    fn policies(&self) -> Answer<'_, Vec<PolicyRow>> {
        self.read(|kept| kept.policies())
    }

    fn put_secret(&self, name: &str, value: SecretText) -> Answer<'_, ()> {
        let name = name.to_owned();
        self.write(move |kept| kept.put_secret(&name, value))
    }

    fn secret(&self, name: &str) -> Answer<'_, Option<SecretText>> {
        let name = name.to_owned();
        self.read(move |kept| kept.secret(&name))
    }

    fn put_schedule(&self, schedule: ScheduleRow) -> Answer<'_, ()> {
        self.write(move |kept| kept.put_schedule(schedule))
    }

    fn delete_schedule(&self, name: &str) -> Answer<'_, bool> {
        let name = name.to_owned();
        self.write(move |kept| kept.delete_schedule(&name))
    }

    fn schedules(&self) -> Answer<'_, Vec<ScheduleRow>> {
        self.read(|kept| kept.schedules())
    }

    fn health(&self) -> Result<(), StoreError> {
        match self.state().full {
            true => Err(full()),
            false => Ok(()),
        }
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            while !self.state().queue.is_empty() && !self.is_dead() {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        })
    }
}
