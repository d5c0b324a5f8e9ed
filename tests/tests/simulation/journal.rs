//! A simulated disk under the journal: it is slow, stalls, is full for a while, fails reads, and the process dies at a given
//! append with a part of the submitted appends on the disk.
//!
//! The disk decides which appends become durable and when. A [`MemoryJournal`] stores the durable ones and checks that
//! appends are consecutive. Everything runs on the one thread of an engine's lifetime and by its clock, so the result
//! depends only on the seed.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, mpsc},
    time::Duration,
};

use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use heddle_kernel::{Digest, Event, EventRecord, GraphId, RunId, Timestamp};
use heddle_runtime::ports::{
    Ack, Append, AppendError, Catalog, Configuration, EngineId, GraphRow, GraphSummary, Journal, OwnerError,
    OwnerResult, Ownership, PluginRow, PluginSummary, PolicyRow, QueuedRun, Request, RunFilter, RunPosition,
    RunRow, RunSnapshot, ScheduleRow, SecretText, Store, StoreError, Usage,
};
use heddle_store::MemoryJournal;
use heddle_tests::random::Random;
use tokio::{sync::Notify, time::sleep};

/// The faults in one lifetime of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// The append at which the process dies: earlier appends are on the disk, and a prefix of the later ones.
    pub(crate) dies_at: Option<u64>,
    /// One of this number of commits finds the disk full for a while.
    pub(crate) full: Option<u64>,
    /// One of this number of commits stalls for a while.
    pub(crate) frozen: Option<u64>,
    /// One of this number of reads fails.
    pub(crate) unreadable: Option<u64>,
}

impl Faults {
    /// No faults.
    pub(crate) const CALM: Self = Self {
        dies_at: None,
        full: None,
        frozen: None,
        unreadable: None,
    };
}

pub(crate) struct Disk {
    kept: MemoryJournal,
    fate: Faults,
    state: Mutex<State>,
    /// Notified when an append is submitted.
    work: Notify,
    /// Notified when the process dies.
    death: Notify,
}

struct State {
    random: Random,
    queue: VecDeque<Append>,
    /// The number of appends taken from the queue.
    taken: u64,
    /// Whether the disk is full: first appends of runs are refused.
    full: bool,
    /// The runs with a refused append.
    refused: HashSet<RunId>,
    /// The number of submitted snapshots.
    snapshots: u64,
    dead: bool,
}

impl Disk {
    /// A new disk with the durable contents of this one.
    pub(crate) fn after(before: Option<&Self>, fate: Faults, random: Random) -> Self {
        Self {
            kept: before.map_or_else(MemoryJournal::new, |before| before.kept.after_crash()),
            fate,
            state: Mutex::new(State {
                random,
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

    /// Waits for the death of the process.
    pub(crate) async fn death(&self) {
        self.death.notified().await;
    }

    /// The number of snapshots submitted in this lifetime.
    pub(crate) fn snapshots(&self) -> u64 {
        self.state().snapshots
    }

    /// Whether the process died.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// Commits the submitted appends until the lifetime ends.
    pub(crate) async fn work(self: Arc<Self>) {
        loop {
            if self.state().queue.is_empty() {
                self.work.notified().await;
                continue;
            }
            let (full, frozen, pause) = {
                let mut state = self.state();
                let mut meets = |times: Option<u64>| times.is_some_and(|times| state.random.one_in(times));
                let (full, frozen) = (meets(self.fate.full), meets(self.fate.frozen));
                (full, frozen, state.random.in_range(0..4))
            };
            if full {
                self.refuse_first_appends().await;
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

    /// Refuses first appends for a while. Other appends wait.
    async fn refuse_first_appends(&self) {
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

    /// Commits some of the waiting appends. Returns whether the process dies with the commit.
    fn commit(&self) -> bool {
        let (batch, dies) = {
            let mut state = self.state();
            let most = state.queue.len() as u64;
            let mut count = match most {
                0 => return false,
                most => state.random.in_range(0..most) + 1,
            };
            let dies = self.fate.dies_at.is_some_and(|at| state.taken + most >= at);
            if dies {
                // The process dies during a commit: appends on the disk are not acknowledged.
                count = state.random.in_range(0..most + 1);
                state.dead = true;
            }
            state.taken += count;
            let batch: Vec<Append> = state.queue.drain(..count as usize).collect();
            (batch, dies)
        };
        let (outcomes, becomes) = mpsc::channel();
        let acks: Vec<Arc<dyn Ack>> = batch.iter().map(|append| append.ack.clone()).collect();
        for (at, append) in batch.into_iter().enumerate() {
            let ack = Arc::new(ForwardingAck(at, outcomes.clone()));
            self.kept.append(Append { ack, ..append });
        }
        for _ in 0..acks.len() {
            let (at, outcome) = becomes.recv().expect("every append has an outcome");
            match outcome {
                _ if dies => {}
                Ok(seq) => acks[at].durable(seq),
                Err(error) => acks[at].failed(error),
            }
        }
        dies
    }

    /// Whether the start of this attempt and everything before it is durable.
    pub(crate) fn has_started(&self, run: RunId, step: u64, attempt: u32) -> bool {
        self.events_of(run).iter().any(|event| {
            matches!(&event.event, Event::StepStarted { step: of, attempt: number, .. } if (*of, *number) == (step, attempt))
        })
    }

    /// Whether the end of this step is durable.
    pub(crate) fn is_over(&self, run: RunId, step: u64) -> bool {
        let over = |event: &Arc<EventRecord>| match &event.event {
            Event::StepFinished { step: of, .. } | Event::ItemFinished { step: of, .. } => *of == step,
            _ => false,
        };
        self.events_of(run).iter().any(over)
    }

    /// All durable events of a run.
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

    /// All durable runs.
    pub(crate) fn all_runs(&self) -> Vec<RunRow> {
        now(self.kept.runs(RunFilter::default(), None, usize::MAX))
    }

    /// A read, which may fail by plan.
    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&'a MemoryJournal) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let (pause, fails) = {
                let mut state = self.state();
                let fails = self
                    .fate
                    .unreadable
                    .is_some_and(|times| state.random.one_in(times));
                (state.random.one_in(4), fails)
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

    /// A write that is not an append.
    fn write<'a, T: Send + 'a>(
        &'a self,
        write: impl FnOnce(&'a MemoryJournal) -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            if self.state().full {
                return Err(full());
            }
            // The memory journal responds from its own thread. Waiting here keeps other tasks from running meanwhile.
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

/// The response of the memory journal.
fn now<T>(answer: Answer<'_, T>) -> T {
    answer
        .now_or_never()
        .expect("memory answers at once")
        .expect("memory can be read")
}

/// Forwards the outcome of an append.
struct ForwardingAck(usize, mpsc::Sender<(usize, Result<u64, AppendError>)>);

impl Ack for ForwardingAck {
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

    fn delete_runs(&self, runs: Vec<RunId>) -> Answer<'_, usize> {
        self.write(move |kept| kept.delete_runs(runs))
    }

    fn next_due(&self) -> Answer<'_, Option<Timestamp>> {
        self.read(|kept| kept.next_due())
    }
}

impl Catalog for Disk {
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
}

impl Configuration for Disk {
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
}

impl Ownership for Disk {
    fn claim_due(&self, engine: EngineId, at: Timestamp, limit: usize) -> OwnerResult<'_, Vec<RunId>> {
        let due = self.read(move |kept| {
            let due = kept.claim_due(engine, at, limit);
            due.map_err(|error| match error {
                OwnerError::Store(error) => error,
                OwnerError::Fenced => unreachable!("one engine uses this disk"),
            })
            .boxed()
        });
        due.map_err(OwnerError::from).boxed()
    }
}

impl Store for Disk {
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
