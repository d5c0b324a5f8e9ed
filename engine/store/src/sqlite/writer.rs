//! The thread that writes: it drains its inbox, commits what was in it as one transaction, and
//! tells everyone.
//!
//! While the file cannot be written the queue is kept in its order and tried again and again.
//! What would take up new work (a run that begins, a graph, a plugin) is refused meanwhile.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use heddle_kernel::{RunId, Status, Timestamp};
use heddle_runtime::ports::{Ack, AppendError, GraphRow, NewRun, PluginRow, RunEnd, RunWait, StoreError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    batch::{self, Positions, Verdict},
    open::{FORMAT, Opened},
    store_error,
};
use crate::codec::Chunk;

/// A transaction takes no further job from this many bytes on: it bounds what a commit takes of
/// memory and of time.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Jobs that a transaction takes at most, for the same reason.
const BATCH_JOBS: usize = 8_192;

/// What an append costs beside its events.
const APPEND_BYTES: usize = 128;

/// Something that the thread is to do.
pub(super) enum Job {
    Append(Pending),
    Graph(GraphRow, oneshot::Sender<Result<bool, StoreError>>),
    Plugin(PluginRow, oneshot::Sender<Result<bool, StoreError>>),
    /// Commit everything that came before, then write no more.
    Close(oneshot::Sender<Result<(), StoreError>>),
    /// Limit the file to so many pages: a full disk, for tests.
    MaxPages(u32, oneshot::Sender<()>),
}

/// An append with its events encoded.
pub(super) struct Pending {
    pub(super) run: RunId,
    pub(super) begins: Option<NewRun>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) leaves: Leaves,
    /// Why it cannot be written, whatever the store holds.
    pub(super) fault: Option<String>,
    pub(super) ack: Arc<dyn Ack>,
}

/// How an append leaves its run.
pub(super) enum Leaves {
    Running,
    Waiting(RunWait),
    Over(Ended),
}

/// How a run ended, with its error encoded.
pub(super) struct Ended {
    pub(super) status: Status,
    pub(super) at: Timestamp,
    pub(super) error: Option<String>,
}

impl Ended {
    pub(super) fn of(ends: RunEnd) -> Self {
        let encode = |error| heddle_kernel::object::to_json(&error).get().to_owned();
        Self {
            status: ends.status,
            at: ends.at,
            error: ends.error.map(encode),
        }
    }
}

/// What holds writes up, as others may ask.
#[derive(Default)]
pub(super) struct Health(Mutex<Option<StoreError>>);

impl Health {
    pub(super) fn get(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<StoreError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// The thread's own things.
pub(super) struct Writer {
    inbox: Receiver<Job>,
    health: Arc<Health>,
    retry: Duration,
    queue: VecDeque<Job>,
    positions: Positions,
    stall: Option<Stall>,
}

/// The file could not be written.
struct Stall {
    error: StoreError,
    since: Instant,
    next: Instant,
    /// Runs that were refused to begin: nothing that follows is taken either.
    refused: HashSet<RunId>,
}

/// What the thread goes on with.
enum Told {
    Work,
    Close(oneshot::Sender<Result<(), StoreError>>),
    /// Nobody is left to send anything.
    Left,
}

impl Writer {
    pub(super) fn new(inbox: Receiver<Job>, health: Arc<Health>, retry: Duration) -> Self {
        let (queue, positions) = (VecDeque::new(), Positions::default());
        Self {
            inbox,
            health,
            retry,
            queue,
            positions,
            stall: None,
        }
    }

    /// Writes until it is told to close or nobody is left, and then refuses whatever comes.
    pub(super) fn run(mut self, store: Opened) {
        let Opened {
            connection,
            lock,
            path,
        } = store;
        let _gone = Gone(self.health.clone());
        let closer = loop {
            let told = self.receive(&connection);
            let due = self
                .stall
                .as_ref()
                .is_none_or(|stall| Instant::now() >= stall.next);
            match told {
                Told::Work if due => self.commit(&connection),
                Told::Work => {}
                Told::Close(closer) => break Some(closer),
                Told::Left => break None,
            }
        };
        self.commit(&connection);
        let lost = self.stall.take().filter(|_| !self.queue.is_empty());
        let result = lost.map_or(Ok(()), |stall| Err(stall.error));
        self.queue
            .drain(..)
            .for_each(|job| fail(job, &AppendError::Closed, &closed()));
        finish(connection, lock);
        if let Err(error) = &result {
            tracing::error!(store = %path.display(), %error, "closed without writing everything");
        }
        self.health.set(Some(closed()));
        if let Some(closer) = closer {
            let _ = closer.send(result);
        }
        // Acks are called from this thread alone, so that no caller of `append` meets its own lock.
        while let Ok(job) = self.inbox.recv() {
            fail(job, &AppendError::Closed, &closed());
        }
    }

    /// Takes what the inbox holds, up to a batch; waits where there is nothing to do.
    fn receive(&mut self, connection: &Connection) -> Told {
        let first = match &self.stall {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(stall) => self
                .inbox
                .recv_timeout(stall.next.saturating_duration_since(Instant::now())),
        };
        let mut job = match first {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => return Told::Work,
            Err(RecvTimeoutError::Disconnected) => return Told::Left,
        };
        let (mut jobs, mut bytes) = (0, 0);
        loop {
            jobs += 1;
            bytes += size(&job);
            match job {
                Job::Close(closer) => return Told::Close(closer),
                Job::MaxPages(pages, answer) => {
                    let _ = connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
                    let _ = answer.send(());
                }
                job => self.take(job),
            }
            if jobs >= BATCH_JOBS || bytes >= BATCH_BYTES {
                return Told::Work;
            }
            job = match self.inbox.try_recv() {
                Ok(job) => job,
                Err(_) => return Told::Work,
            };
        }
    }

    /// Puts a job in the queue; while nothing can be written, fails what would begin something.
    fn take(&mut self, job: Job) {
        let Some(stall) = &mut self.stall else {
            return self.queue.push_back(job);
        };
        let refuse = match &job {
            Job::Append(append) if append.begins.is_some() => {
                stall.refused.insert(append.run);
                true
            }
            Job::Append(append) => stall.refused.contains(&append.run),
            _ => true,
        };
        if refuse {
            fail(job, &AppendError::Unavailable(stall.error.clone()), &stall.error);
        } else {
            self.queue.push_back(job);
        }
    }

    /// Commits the queue, in as many transactions as it takes, until one fails.
    fn commit(&mut self, connection: &Connection) {
        if self.queue.is_empty() && self.stall.is_some() {
            // Nothing waits, so a write that changes nothing tells whether writes go through.
            if let Err(error) = connection.pragma_update(None, "user_version", FORMAT) {
                return self.stalled(&error);
            }
        }
        while !self.queue.is_empty() {
            let mut bytes = 0;
            let fits = self.queue.iter().take(BATCH_JOBS).take_while(|job| {
                let fits = bytes < BATCH_BYTES;
                bytes += size(job);
                fits
            });
            let count = fits.count();
            match batch::commit(
                connection,
                &mut self.positions,
                &self.queue.make_contiguous()[..count],
            ) {
                Ok(verdicts) => {
                    self.recover();
                    for (job, verdict) in self.queue.drain(..count).zip(verdicts) {
                        answer(job, verdict);
                    }
                }
                Err(error) => return self.stalled(&error),
            }
        }
        self.recover();
    }

    fn stalled(&mut self, error: &rusqlite::Error) {
        let error = store_error(error);
        self.health.set(Some(error.clone()));
        let now = Instant::now();
        let next = now + self.retry;
        if let Some(stall) = &mut self.stall {
            (stall.next, stall.error) = (next, error);
            return;
        }
        tracing::error!(%error, "the store cannot be written: runs wait, and none begins");
        self.stall = Some(Stall {
            error,
            since: now,
            next,
            refused: HashSet::new(),
        });
        for job in std::mem::take(&mut self.queue) {
            self.take(job);
        }
    }

    fn recover(&mut self) {
        if let Some(stall) = self.stall.take() {
            tracing::info!(
                seconds = stall.since.elapsed().as_secs_f32(),
                "the store is written again"
            );
            self.health.set(None);
        }
    }
}

/// Copies the log into the file, closes that, and only then lets others have it.
fn finish(connection: Connection, lock: File) {
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = copied {
        tracing::warn!(%error, "the log was left beside the store; the next start takes it in");
    }
    drop(connection);
    drop(lock);
}

fn answer(job: Job, verdict: Verdict) {
    match (job, verdict) {
        (Job::Append(append), Verdict::Conflict(message)) => {
            let error = AppendError::Conflict {
                run: append.run,
                message,
            };
            tracing::warn!(%error, "an append was refused");
            tell(|| append.ack.failed(error));
        }
        (Job::Append(append), _) => tell(|| append.ack.durable(append.last)),
        (Job::Graph(_, answer) | Job::Plugin(_, answer), verdict) => {
            let _ = answer.send(Ok(verdict == Verdict::Durable));
        }
        (Job::Close(_) | Job::MaxPages(..), _) => {}
    }
}

fn fail(job: Job, append: &AppendError, other: &StoreError) {
    match job {
        Job::Append(pending) => tell(|| pending.ack.failed(append.clone())),
        Job::Graph(_, answer) | Job::Plugin(_, answer) => {
            let _ = answer.send(Err(other.clone()));
        }
        Job::Close(answer) => {
            let _ = answer.send(Ok(()));
        }
        Job::MaxPages(_, answer) => {
            let _ = answer.send(());
        }
    }
}

/// Calls somebody's ack. One that panics must not take the store with it.
fn tell(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("an ack panicked");
    }
}

fn size(job: &Job) -> usize {
    match job {
        Job::Append(append) => {
            APPEND_BYTES + append.chunks.iter().map(|chunk| chunk.body.len()).sum::<usize>()
        }
        Job::Graph(graph, _) => graph.definition.len(),
        Job::Plugin(plugin, _) => plugin.component.len(),
        Job::Close(_) | Job::MaxPages(..) => 0,
    }
}

/// What a closed store answers.
pub(super) fn closed() -> StoreError {
    StoreError::Failed("it is closed".to_owned())
}

/// Says so where the thread went away by a panic.
struct Gone(Arc<Health>);

impl Drop for Gone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Some(StoreError::Failed(
                "the thread that writes has panicked".to_owned(),
            )));
        }
    }
}
