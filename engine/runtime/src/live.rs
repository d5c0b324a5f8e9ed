//! A run that this engine is driving: its state machine, and how far its journal is durable.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::future::BoxFuture;
use heddle_json::Json;
use heddle_kernel::{EventRecord, Input, Refusal, Run, RunId};
use tokio::sync::{Notify, broadcast, oneshot, watch};

use crate::{
    admission::Seat,
    chunks::{Chunks, Slot},
    memory::{Charge, Memory},
    ports::{Ack, AppendError, Durable},
    requests::Claim,
    watch::Chunk,
};

/// How many of the latest events are kept for watchers that keep up; others read the journal.
const TAIL_LEN: usize = 64;
/// How many bytes these may take: they keep values alive that the run has replaced.
const TAIL_BYTES: usize = 64 << 10;

pub(crate) struct LiveRun {
    pub(crate) id: RunId,
    /// The number of the last event that was durable when this engine took the run up.
    pub(crate) loaded: u64,
    inner: Mutex<Inner>,
    progress: watch::Sender<Progress>,
    chunks: OnceLock<Chunks>,
    inbox: Mutex<Inbox>,
    /// Told when something came into the inbox, nobody holds the run any more, or the engine stops.
    pub(crate) stirred: Notify,
    holds: AtomicUsize,
    /// What it takes of what there is for all.
    seat: Mutex<Seat>,
    /// Whether that is a place among those in flight.
    placed: AtomicBool,
}

/// What was sent to a run from outside, and its driver has not taken.
#[derive(Default)]
struct Inbox {
    letters: VecDeque<Letter>,
    /// The driver gave the run up: it takes nothing more.
    closed: bool,
}

/// Something that happens to a run from outside.
pub(crate) struct Letter {
    pub(crate) input: Input,
    /// The key of the request that sent it, where it has one.
    pub(crate) claim: Option<Arc<Claim>>,
    /// Told the number of the event that followed last.
    pub(crate) reply: oneshot::Sender<Result<u64, Refusal>>,
}

/// Keeps a run in memory, also while it waits: somebody looks at it.
pub(crate) struct Hold(pub(crate) Arc<LiveRun>);

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.stirred.notify_one();
        }
    }
}

struct Inner {
    run: Run,
    /// The latest events, each with how many bytes it takes.
    tail: VecDeque<(usize, Arc<EventRecord>)>,
    /// How many bytes these take together.
    tail_bytes: usize,
    charge: Charge,
}

/// How far the journal of a run is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The number of the last durable event.
    pub(crate) seq: u64,
    /// Why this engine drives the run no longer, where it does not.
    pub(crate) stopped: Option<Stopped>,
}

/// Why an engine stopped driving a run that is not over.
#[derive(Clone, Debug)]
pub(crate) enum Stopped {
    /// Its events could not be kept.
    Lost(AppendError),
    /// The engine is stopping; another start goes on with the run.
    Draining,
    /// It waits, and is taken up again when its time or its signal comes.
    Parked,
}

impl LiveRun {
    /// A run whose journal is durable up to `durable`.
    pub(crate) fn new(run: Run, durable: u64, tail: &[Arc<EventRecord>], memory: &Arc<Memory>) -> Self {
        let (id, charge) = (run.id, memory.charge(run.memory_bytes()));
        let mut inner = Inner {
            run,
            tail: VecDeque::new(),
            tail_bytes: 0,
            charge,
        };
        inner.follow(tail);
        Self {
            id,
            loaded: durable,
            inner: Mutex::new(inner),
            progress: watch::Sender::new(Progress {
                seq: durable,
                stopped: None,
            }),
            chunks: OnceLock::new(),
            inbox: Mutex::default(),
            stirred: Notify::new(),
            holds: AtomicUsize::new(0),
            seat: Mutex::default(),
            placed: AtomicBool::new(false),
        }
    }

    /// Changes what the run takes of what there is for all.
    pub(crate) fn sit(&self, change: impl FnOnce(&mut Seat)) {
        let mut seat = self.seat.lock().expect("nothing panics while it holds a seat");
        change(&mut seat);
        self.placed.store(seat.is_placed(), Ordering::Release);
    }

    /// Whether it has a place among those in flight.
    pub(crate) fn is_placed(&self) -> bool {
        self.placed.load(Ordering::Acquire)
    }

    /// Keeps the run in memory until the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::AcqRel);
        Hold(self.clone())
    }

    /// Puts a letter into the inbox. Gives it back where the driver takes nothing more.
    pub(crate) fn post(&self, letter: Letter) -> Result<(), Letter> {
        let mut inbox = self
            .inbox
            .lock()
            .expect("nothing panics while it holds the inbox");
        if inbox.closed {
            return Err(letter);
        }
        inbox.letters.push_back(letter);
        self.stirred.notify_one();
        Ok(())
    }

    /// The next letter.
    pub(crate) fn letter(&self) -> Option<Letter> {
        let mut inbox = self
            .inbox
            .lock()
            .expect("nothing panics while it holds the inbox");
        inbox.letters.pop_front()
    }

    /// Whether the driver takes nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.inbox
            .lock()
            .expect("nothing panics while it holds the inbox")
            .closed
    }

    /// Closes the inbox. What is in it is dropped, and who waits for an answer sees that.
    pub(crate) fn close(&self) {
        let mut inbox = self
            .inbox
            .lock()
            .expect("nothing panics while it holds the inbox");
        inbox.closed = true;
        inbox.letters.clear();
    }

    /// Closes the inbox if it is empty and nobody holds the run.
    pub(crate) fn close_if_idle(&self) -> bool {
        let mut inbox = self
            .inbox
            .lock()
            .expect("nothing panics while it holds the inbox");
        let idle = inbox.letters.is_empty() && self.holds.load(Ordering::Acquire) == 0;
        inbox.closed |= idle;
        idle
    }

    // A std mutex: nothing awaits while it is held, and a panic under it is a bug of ours.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds a run")
    }

    /// Reads the run.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Run) -> T) -> T {
        read(&self.lock().run)
    }

    /// Changes the run, and keeps the events for watchers.
    pub(crate) fn change<E>(
        &self,
        change: impl FnOnce(&mut Run) -> Result<Vec<Arc<EventRecord>>, E>,
    ) -> Result<Vec<Arc<EventRecord>>, E> {
        let mut inner = self.lock();
        let events = change(&mut inner.run)?;
        inner.follow(&events);
        Ok(events)
    }

    /// The events after `after` up to `until`, if all of them are still at hand.
    pub(crate) fn tail(&self, after: u64, until: u64) -> Option<Vec<Arc<EventRecord>>> {
        let inner = self.lock();
        let first = inner.tail.front()?.1.seq;
        (first <= after + 1).then(|| {
            let tail = inner.tail.iter().map(|(_, event)| event);
            let wanted = tail.filter(|event| event.seq > after && event.seq <= until);
            wanted.cloned().collect()
        })
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Waits until everything up to `seq` is durable.
    pub(crate) async fn durable_to(&self, seq: u64) -> Result<(), Stopped> {
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

    /// Waits until every event that the run has at this moment is durable.
    pub(crate) fn durable_so_far(self: Arc<Self>) -> impl Future<Output = Result<(), Stopped>> + Send {
        let seq = self.read(|run| run.seq);
        async move { self.durable_to(seq).await }
    }

    /// Waits until the run is over and its last event durable.
    pub(crate) async fn over(&self) -> Result<(), Stopped> {
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

    /// Waits until the run's events cannot be kept, which may be never.
    pub(crate) async fn lost(&self) {
        let mut progress = self.progress();
        let lost = progress.wait_for(|progress| matches!(progress.stopped, Some(Stopped::Lost(_))));
        lost.await.expect("the sender lives as long as the run");
    }

    pub(crate) fn stop(&self, stopped: Stopped) {
        self.progress.send_modify(|progress| {
            progress.stopped.get_or_insert(stopped);
        });
    }

    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.progress.borrow().stopped.clone()
    }

    /// Chunks from this moment on.
    pub(crate) fn chunks(&self) -> broadcast::Receiver<Arc<Slot>> {
        self.chunks.get_or_init(Chunks::default).subscribe()
    }

    /// Whether anybody watches, so that a chunk is worth sending.
    pub(crate) fn is_watched(&self) -> bool {
        self.chunks.get().is_some_and(Chunks::is_watched)
    }

    /// Tells who watches what a step's function sent just now.
    pub(crate) fn emit(&self, step: u64, data: Json) {
        let Some(chunks) = self.chunks.get() else { return };
        let place = self.read(|run| run.node_of(step).map(|node| (node, run.seq)));
        if let Some((node, after)) = place {
            chunks.send(Chunk {
                node,
                step,
                data,
                after,
            });
        }
    }
}

impl Inner {
    /// Keeps events that followed for watchers, and charges the run with what it holds.
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
        self.stop(Stopped::Lost(error));
    }
}
