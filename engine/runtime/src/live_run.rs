//! A run in memory: its state machine, its inbox, its latest events, and how far its journal is durable.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use heddle_json::Json;
use heddle_kernel::{Decision, EventRecord, Input, Refusal, Run, RunId, Timestamp, decide};
use tokio::sync::{Notify, oneshot, watch};

use crate::{
    admission::slot::AdmissionSlot,
    chunks::{Chunk, Chunks},
    errors::StopReason,
    idempotency::IdempotencyGuard,
    memory_budget::{MemoryBudget, MemoryCharge},
    ports::{Ack, AppendError, Durable},
};

/// How many of the latest events are kept for watchers. A slower watcher reads the journal.
const TAIL_LEN: usize = 64;
/// The maximum size in bytes of these events: they keep values alive that the run has replaced.
const TAIL_BYTES: usize = 64 << 10;

/// A run in memory. Its driver changes it; any task may read it.
pub(crate) struct LiveRun {
    pub(crate) id: RunId,
    /// The number of the last durable event when the run was loaded.
    pub(crate) loaded_seq: u64,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    chunks: OnceLock<Arc<Chunks>>,
    inbox: Mutex<Inbox>,
    /// Notified when the inbox gets a command, the last guard is dropped, or the engine stops.
    pub(crate) wakeup: Notify,
    /// The number of guards.
    guards: AtomicUsize,
    slot: Mutex<AdmissionSlot>,
    /// Whether `slot` occupies an admission slot: read before every call without locking.
    has_slot: AtomicBool,
}

struct State {
    run: Run,
    /// The latest events, each with its size in bytes.
    tail: VecDeque<(usize, Arc<EventRecord>)>,
    /// The sum of these sizes.
    tail_bytes: usize,
    charge: MemoryCharge,
}

/// The commands that the driver has not taken.
#[derive(Default)]
struct Inbox {
    commands: VecDeque<RunCommand>,
    /// Whether the driver has ended and takes no more commands.
    is_closed: bool,
}

/// A command to a run: a signal, or a control operation such as cancel.
pub(crate) struct RunCommand {
    pub(crate) input: Input,
    /// Reserves the request's idempotency key, if it has one.
    pub(crate) idempotency: Option<Arc<IdempotencyGuard>>,
    /// Receives the number of the last event that the command caused, or the refusal.
    pub(crate) reply: oneshot::Sender<Result<u64, Refusal>>,
}

/// Keeps a run in memory while it only waits, until a command has reached it.
pub(crate) struct LiveRunGuard(Arc<LiveRun>);

impl Deref for LiveRunGuard {
    type Target = Arc<LiveRun>;

    fn deref(&self) -> &Arc<LiveRun> {
        &self.0
    }
}

impl Drop for LiveRunGuard {
    fn drop(&mut self) {
        if self.0.guards.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.wakeup.notify_one();
        }
    }
}

/// How far the journal of a run is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The number of the last durable event.
    pub(crate) seq: u64,
    /// Set once this engine no longer drives the run.
    pub(crate) stopped: Option<StopReason>,
}

impl LiveRun {
    /// A run whose journal is durable up to `durable`.
    pub(crate) fn new(run: Run, durable: u64, tail: &[Arc<EventRecord>], memory: &Arc<MemoryBudget>) -> Self {
        let (id, charge) = (run.id, memory.charge(run.memory_bytes()));
        let mut state = State {
            run,
            tail: VecDeque::new(),
            tail_bytes: 0,
            charge,
        };
        state.follow(tail);
        Self {
            id,
            loaded_seq: durable,
            state: Mutex::new(state),
            progress: watch::Sender::new(Progress {
                seq: durable,
                stopped: None,
            }),
            chunks: OnceLock::new(),
            inbox: Mutex::default(),
            wakeup: Notify::new(),
            guards: AtomicUsize::new(0),
            slot: Mutex::default(),
            has_slot: AtomicBool::new(false),
        }
    }

    /// Changes the run's admission slot.
    pub(crate) fn update_slot(&self, change: impl FnOnce(&mut AdmissionSlot)) {
        let mut slot = self.slot.lock().expect("no panic under this lock");
        change(&mut slot);
        self.has_slot.store(slot.is_occupied(), Ordering::Release);
    }

    /// Whether the run occupies an admission slot.
    pub(crate) fn has_slot(&self) -> bool {
        self.has_slot.load(Ordering::Acquire)
    }

    /// Keeps the run in memory until the guard is dropped.
    pub(crate) fn guard(self: &Arc<Self>) -> LiveRunGuard {
        self.guards.fetch_add(1, Ordering::AcqRel);
        LiveRunGuard(self.clone())
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().expect("no panic under this lock")
    }

    /// Puts a command into the inbox. Returns the command if the driver takes no more commands.
    pub(crate) fn send(&self, command: RunCommand) -> Result<(), RunCommand> {
        let mut inbox = self.inbox();
        if inbox.is_closed {
            return Err(command);
        }
        inbox.commands.push_back(command);
        self.wakeup.notify_one();
        Ok(())
    }

    /// Takes the next command from the inbox.
    pub(crate) fn next_command(&self) -> Option<RunCommand> {
        self.inbox().commands.pop_front()
    }

    /// Whether the driver takes no more commands.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox().is_closed
    }

    /// Closes the inbox and drops its commands. Their senders see a closed reply channel.
    pub(crate) fn close(&self) {
        let mut inbox = self.inbox();
        inbox.is_closed = true;
        inbox.commands.clear();
    }

    /// Closes the inbox if it is empty and the run has no guards. Returns whether it did.
    pub(crate) fn close_if_idle(&self) -> bool {
        let mut inbox = self.inbox();
        let is_idle = inbox.commands.is_empty() && self.guards.load(Ordering::Acquire) == 0;
        inbox.is_closed |= is_idle;
        is_idle
    }

    // A std mutex: nothing awaits while it is held, and a panic under it is a bug of the engine.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// Reads the run.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.state().run)
    }

    /// Passes an input to the kernel and applies the resulting events. Returns the decision and the result of `read` on
    /// the changed run.
    pub(crate) fn decide<T>(
        &self,
        input: Input,
        now: Timestamp,
        read: impl FnOnce(&Run) -> T,
    ) -> Result<(Decision, T), Refusal> {
        let mut state = self.state();
        let decision = decide(&mut state.run, input, now)?;
        state.follow(&decision.events);
        let read = read(&state.run);
        Ok((decision, read))
    }

    /// The events after `after` up to `until`, if all of them are in memory.
    pub(crate) fn tail(&self, after: u64, until: u64) -> Option<Vec<Arc<EventRecord>>> {
        let state = self.state();
        let first = state.tail.front()?.1.seq;
        (first <= after + 1).then(|| {
            let tail = state.tail.iter().map(|(_, event)| event);
            let wanted = tail.filter(|event| event.seq > after && event.seq <= until);
            wanted.cloned().collect()
        })
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The number of the last durable event.
    pub(crate) fn durable_seq(&self) -> u64 {
        self.progress.borrow().seq
    }

    /// Waits until every event up to `seq` is durable.
    pub(crate) async fn durable_to(&self, seq: u64) -> Result<(), StopReason> {
        let mut progress = self.progress();
        let reached = progress
            .wait_for(|progress| progress.seq >= seq || progress.stopped.is_some())
            .await
            .expect("the sender lives as long as the run");
        match &reached.stopped {
            Some(stopped) if reached.seq < seq => Err(stopped.clone()),
            _ => Ok(()),
        }
    }

    /// Waits until every event that the run has when this is called is durable.
    pub(crate) fn durable_so_far(self: Arc<Self>) -> impl Future<Output = Result<(), StopReason>> + Send {
        let seq = self.read(|run| run.seq);
        async move { self.durable_to(seq).await }
    }

    /// Waits until the run has ended and its last event is durable.
    pub(crate) async fn over(&self) -> Result<(), StopReason> {
        let mut progress = self.progress();
        loop {
            let Progress { seq, stopped } = progress.borrow_and_update().clone();
            if self.read(|run| run.status.is_over() && run.seq <= seq) {
                return Ok(());
            }
            if let Some(stopped) = stopped {
                return Err(stopped);
            }
            progress
                .changed()
                .await
                .expect("the sender lives as long as the run");
        }
    }

    /// Waits until an append of the run fails, which may never happen.
    pub(crate) async fn append_failed(&self) {
        let mut progress = self.progress();
        let failed =
            progress.wait_for(|progress| matches!(progress.stopped, Some(StopReason::AppendFailed(_))));
        failed.await.expect("the sender lives as long as the run");
    }

    /// Records why this engine stops driving the run. The first reason is kept.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.progress.send_modify(|progress| {
            progress.stopped.get_or_insert(reason);
        });
    }

    /// Whether this engine stops driving the run.
    pub(crate) fn is_stopped(&self) -> bool {
        self.progress.borrow().stopped.is_some()
    }

    /// The run's chunks.
    pub(crate) fn chunks(&self) -> &Arc<Chunks> {
        self.chunks.get_or_init(Arc::default)
    }

    /// Sends the run's chunks to watchers that subscribed before the run was loaded.
    pub(crate) fn set_chunks(&self, chunks: Arc<Chunks>) {
        let _ = self.chunks.set(chunks);
    }

    /// Whether the run has watchers, so that a chunk is worth sending.
    pub(crate) fn is_watched(&self) -> bool {
        self.chunks.get().is_some_and(|chunks| chunks.is_watched())
    }

    /// Sends the watchers a chunk that a step's function has emitted.
    pub(crate) fn emit(&self, step: u64, data: Json) {
        let Some(chunks) = self.chunks.get() else { return };
        let position = self.read(|run| run.node_of(step).map(|node| (node, run.seq)));
        if let Some((node, after)) = position {
            chunks.send(Chunk {
                node,
                step,
                data,
                after,
            });
        }
    }
}

impl State {
    /// Keeps new events for watchers, and updates the run's memory charge.
    fn follow(&mut self, events: &[Arc<EventRecord>]) {
        for event in events {
            let bytes = event.event.size();
            self.tail_bytes += bytes;
            self.tail.push_back((bytes, event.clone()));
        }
        while (self.tail.len() > TAIL_LEN || self.tail_bytes > TAIL_BYTES)
            && let Some((bytes, _)) = self.tail.pop_front()
        {
            self.tail_bytes -= bytes;
        }
        self.charge.set(self.run.memory_bytes());
    }
}

impl Durable for LiveRun {
    fn wait(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let seq = self.read(|run| run.seq);
            self.durable_to(seq).await.is_ok()
        })
    }
}

impl Ack for LiveRun {
    fn durable(&self, seq: u64) {
        self.progress
            .send_modify(|progress| progress.seq = progress.seq.max(seq));
    }

    fn failed(&self, error: AppendError) {
        self.stop(StopReason::AppendFailed(error));
    }
}
