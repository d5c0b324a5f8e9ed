//! The writer thread: takes jobs from its inbox, commits them in one transaction, and answers their callers.
//!
//! If the file cannot be written (a stall), the queue keeps its order and the writer tries again after a pause. Meanwhile
//! jobs that add new work (a run that begins, a graph, a plugin) are refused. If only one job cannot be written, because
//! the rows that it needs are damaged, that job is refused alone.

use std::{
    collections::{HashSet, VecDeque},
    fs::File,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use heddle_kernel::RunId;
use heddle_runtime::ports::{AppendError, StoreError};
use rusqlite::{Connection, ErrorCode};

use super::{
    batch::{self, HeadCache, Verdict},
    deletion_queue::DeletionQueue,
    job::{Answer, Job, WriteFault, answer, closed, fail, size},
    open::{self, FORMAT, Opened},
    store_error,
};

/// The size in bytes from which a transaction takes no further job. It bounds the memory and time of a commit.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The most jobs of one transaction, for the same reason.
const BATCH_JOBS: usize = 8_192;

/// The error that keeps the store from writing, shared with the callers; none if writes work.
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

/// The state of the writer thread.
pub(super) struct Writer {
    connection: Connection,
    lock: File,
    path: PathBuf,
    inbox: Receiver<Job>,
    health: Arc<Health>,
    retry: Duration,
    queue: VecDeque<Job>,
    heads: HeadCache,
    deletions: DeletionQueue,
    stall: Option<Stall>,
}

/// A period in which the file cannot be written.
struct Stall {
    error: StoreError,
    /// Whether the connection must be opened again: one that was opened read-only stays read-only.
    reopen: bool,
    since: Instant,
    next_try: Instant,
    /// Runs that were not allowed to begin: their later appends are refused too.
    not_begun: HashSet<RunId>,
}

/// What [`Writer::receive`] found.
enum Received {
    /// Jobs may be in the queue, or it is time for other work.
    Work,
    Close(Answer<()>),
    /// All senders are dropped.
    Disconnected,
}

impl Writer {
    pub(super) fn new(store: Opened, inbox: Receiver<Job>, health: Arc<Health>, retry: Duration) -> Self {
        let mut heads = HeadCache::default();
        // Until the first step of the deletion queue shows otherwise.
        heads.deletions_pending = true;
        Self {
            connection: store.connection,
            lock: store.lock,
            path: store.path,
            inbox,
            health,
            retry,
            queue: VecDeque::new(),
            heads,
            deletions: DeletionQueue::new(),
            stall: None,
        }
    }

    /// Writes until the store is closed or all senders are dropped. Then refuses every later job.
    pub(super) fn run(mut self) {
        let _guard = PanicGuard(self.health.clone());
        let closer = loop {
            let received = self.receive();
            let due = self
                .stall
                .as_ref()
                .is_none_or(|stall| Instant::now() >= stall.next_try);
            match received {
                Received::Work if due => {
                    let idle = self.queue.is_empty();
                    self.commit();
                    self.delete_rows(idle);
                }
                Received::Work => {}
                Received::Close(closer) => break Some(closer),
                Received::Disconnected => break None,
            }
        };
        self.commit();
        let lost = self.stall.take().filter(|_| !self.queue.is_empty());
        let result = lost.map_or(Ok(()), |stall| Err(stall.error));
        self.queue
            .drain(..)
            .for_each(|job| fail(job, &AppendError::Closed, &closed()));
        close_file(self.connection, self.lock);
        if let Err(error) = &result {
            tracing::error!(store = %self.path.display(), %error, "the store was closed before all waiting writes were committed");
        }
        self.health.set(Some(closed()));
        if let Some(closer) = closer {
            let _ = closer.send(result);
        }
        // Only this thread calls acks: a caller of `append` may hold a lock that its ack takes.
        while let Ok(job) = self.inbox.recv() {
            fail(job, &AppendError::Closed, &closed());
        }
    }

    /// Moves jobs from the inbox to the queue, up to the size of a batch. Waits if there is nothing to do.
    fn receive(&mut self) -> Received {
        let wait = match &self.stall {
            Some(stall) => Some(stall.next_try.saturating_duration_since(Instant::now())),
            None => self.deletions.next_step_in(),
        };
        let first = match wait {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.inbox.recv_timeout(wait),
        };
        let mut job = match first {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => return Received::Work,
            Err(RecvTimeoutError::Disconnected) => return Received::Disconnected,
        };
        let (mut jobs, mut bytes) = (0, 0);
        loop {
            jobs += 1;
            bytes += size(&job);
            match job {
                Job::Close(closer) => return Received::Close(closer),
                Job::InjectFault(fault, answer) => {
                    inject(&self.connection, fault);
                    let _ = answer.send(());
                }
                job => self.enqueue(job),
            }
            if jobs >= BATCH_JOBS || bytes >= BATCH_BYTES {
                return Received::Work;
            }
            job = match self.inbox.try_recv() {
                Ok(job) => job,
                Err(_) => return Received::Work,
            };
        }
    }

    /// Puts a job in the queue. During a stall, refuses every job but appends of runs that have begun.
    fn enqueue(&mut self, job: Job) {
        let Some(stall) = &mut self.stall else {
            return self.queue.push_back(job);
        };
        let refuse = match &job {
            Job::Append(append) if append.begins.is_some() => {
                stall.not_begun.insert(append.run);
                true
            }
            Job::Append(append) => stall.not_begun.contains(&append.run),
            _ => true,
        };
        if refuse {
            fail(job, &AppendError::Unavailable(stall.error.clone()), &stall.error);
        } else {
            self.queue.push_back(job);
        }
    }

    /// Commits the whole queue in batches, until one fails.
    fn commit(&mut self) {
        if self.stall.as_ref().is_some_and(|stall| stall.reopen) {
            self.reopen();
        }
        if self.queue.is_empty() && self.stall.is_some() {
            // Nothing waits, so a write without effect tests whether the file can be written again.
            if let Err(error) = self.connection.pragma_update(None, "user_version", FORMAT) {
                return self.stalled(&error);
            }
        }
        while !self.queue.is_empty() {
            if let Err(error) = self.commit_first(self.next_batch()) {
                return self.stalled(&error);
            }
        }
        self.recover();
    }

    /// How many jobs the next batch takes.
    fn next_batch(&self) -> usize {
        let mut bytes = 0;
        let fits = self.queue.iter().take(BATCH_JOBS).take_while(|job| {
            // A deletion reads the table of runs, so the appends before it must be committed first.
            let fits = bytes < BATCH_BYTES && (bytes == 0 || !matches!(job, Job::DeleteRuns(..)));
            bytes += size(job).max(1);
            fits
        });
        match self.queue.front() {
            Some(Job::DeleteRuns(..)) => 1,
            _ => fits.count(),
        }
    }

    /// Commits the first `count` jobs of the queue. If that fails for a reason other than a stall, commits each half by
    /// itself, down to the job that fails alone; that job is refused.
    fn commit_first(&mut self, count: usize) -> rusqlite::Result<()> {
        let jobs = &self.queue.make_contiguous()[..count];
        let error = match batch::commit(&self.connection, &mut self.heads, jobs) {
            Ok(verdicts) => {
                self.recover();
                for (job, verdict) in self.queue.drain(..count).zip(verdicts) {
                    if matches!(verdict, Verdict::RunsDeleted(1..)) {
                        self.heads.deletions_pending = true;
                        self.deletions.runs_deleted();
                    }
                    answer(job, verdict);
                }
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(store_error(&error), StoreError::Unavailable(_)) {
            return Err(error);
        }
        if count > 1 {
            self.commit_first(count / 2)?;
            return self.commit_first(count - count / 2);
        }
        let verdict = Verdict::Damaged(error.to_string());
        if let Some(job) = self.queue.pop_front() {
            if let Job::Append(append) = &job {
                self.heads.refuse(append.run, verdict.clone());
            }
            answer(job, verdict);
        }
        Ok(())
    }

    /// Does one step of the deletion queue if one is due.
    fn delete_rows(&mut self, idle: bool) {
        if self.stall.is_some() || !self.deletions.is_due(idle) {
            return;
        }
        match self.deletions.step(&self.connection) {
            Ok(()) => self.heads.deletions_pending = self.deletions.has_rows(),
            Err(error) => match store_error(&error) {
                error @ StoreError::Unavailable(_) => {
                    tracing::warn!(%error, "the rows of deleted runs could not be removed; trying again later");
                    self.deletions.pause();
                }
                error => {
                    tracing::error!(%error, "the rows of deleted runs cannot be removed; run `heddle store check` for details");
                    self.deletions.give_up();
                }
            },
        }
    }

    /// Replaces a read-only connection with a new one, if the file can be opened for writing.
    fn reopen(&mut self) {
        match open::connect(&self.path) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::debug!(%error, "the store cannot be opened again"),
        }
    }

    fn stalled(&mut self, error: &rusqlite::Error) {
        let reopen = matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
        );
        let error = store_error(error);
        self.health.set(Some(error.clone()));
        let now = Instant::now();
        let next_try = now + self.retry;
        if let Some(stall) = &mut self.stall {
            (stall.next_try, stall.error, stall.reopen) = (next_try, error, reopen);
            return;
        }
        tracing::error!(%error, "the store cannot be written: active runs wait, and new runs are refused");
        self.stall = Some(Stall {
            error,
            reopen,
            since: now,
            next_try,
            not_begun: HashSet::new(),
        });
        for job in std::mem::take(&mut self.queue) {
            self.enqueue(job);
        }
    }

    /// Ends a stall, if there is one.
    fn recover(&mut self) {
        if let Some(stall) = self.stall.take() {
            tracing::info!(
                seconds = stall.since.elapsed().as_secs_f32(),
                "the store can be written again"
            );
            self.health.set(None);
        }
    }
}

/// Copies the write-ahead log into the file, closes the file, and then releases the lock.
fn close_file(connection: Connection, lock: File) {
    let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = copied {
        tracing::warn!(%error, "the write-ahead log stays beside the store; the next start reads it");
    }
    drop(connection);
    drop(lock);
}

fn inject(connection: &Connection, fault: WriteFault) {
    let _ = match fault {
        WriteFault::MaxPages(pages) => {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        }
        WriteFault::ReadOnly => connection.pragma_update(None, "query_only", true),
    };
}

/// Reports a panic of the writer thread as the health of the store.
struct PanicGuard(Arc<Health>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Some(StoreError::Failed(
                "the writer thread of the store has panicked".to_owned(),
            )));
        }
    }
}
