//! The thread that writes: it drains its inbox, commits what was in it as one transaction, and
//! tells everyone.
//!
//! While the file cannot be written the queue is kept in its order and tried again and again.
//! What would take up new work (a run that begins, a graph, a plugin) is refused meanwhile. What cannot be
//! written because the file is damaged where it belongs is refused alone, and the rest goes on.

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
    batch::{self, Positions, Verdict},
    job::{Answer, Hindrance, Job, answer, closed, fail, size},
    open::{self, FORMAT, Opened},
    store_error,
    trash::Trash,
};

/// A transaction takes no further job from this many bytes on: it bounds what a commit takes of
/// memory and of time.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Jobs that a transaction takes at most, for the same reason.
const BATCH_JOBS: usize = 8_192;

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
    connection: Connection,
    lock: File,
    path: PathBuf,
    inbox: Receiver<Job>,
    health: Arc<Health>,
    retry: Duration,
    queue: VecDeque<Job>,
    positions: Positions,
    trash: Trash,
    stall: Option<Stall>,
}

/// The file could not be written.
struct Stall {
    error: StoreError,
    /// Whether the connection may be what is wrong: one that could open the file only to read it stays so.
    reopen: bool,
    since: Instant,
    next: Instant,
    /// Runs that were refused to begin: nothing that follows is taken either.
    refused: HashSet<RunId>,
}

/// What the thread goes on with.
enum Told {
    Work,
    Close(Answer<()>),
    /// Nobody is left to send anything.
    Left,
}

impl Writer {
    pub(super) fn new(store: Opened, inbox: Receiver<Job>, health: Arc<Health>, retry: Duration) -> Self {
        let mut positions = Positions::default();
        // Until the trash was looked into.
        positions.has_trash = true;
        Self {
            connection: store.connection,
            lock: store.lock,
            path: store.path,
            inbox,
            health,
            retry,
            queue: VecDeque::new(),
            positions,
            trash: Trash::new(),
            stall: None,
        }
    }

    /// Writes until it is told to close or nobody is left, and then refuses whatever comes.
    pub(super) fn run(mut self) {
        let _gone = Gone(self.health.clone());
        let closer = loop {
            let told = self.receive();
            let due = self
                .stall
                .as_ref()
                .is_none_or(|stall| Instant::now() >= stall.next);
            match told {
                Told::Work if due => {
                    let idle = self.queue.is_empty();
                    self.commit();
                    self.tidy(idle);
                }
                Told::Work => {}
                Told::Close(closer) => break Some(closer),
                Told::Left => break None,
            }
        };
        self.commit();
        let lost = self.stall.take().filter(|_| !self.queue.is_empty());
        let result = lost.map_or(Ok(()), |stall| Err(stall.error));
        self.queue
            .drain(..)
            .for_each(|job| fail(job, &AppendError::Closed, &closed()));
        finish(self.connection, self.lock);
        if let Err(error) = &result {
            tracing::error!(store = %self.path.display(), %error, "closed without writing everything");
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
    fn receive(&mut self) -> Told {
        let wait = match &self.stall {
            Some(stall) => Some(stall.next.saturating_duration_since(Instant::now())),
            None => self.trash.waits(),
        };
        let first = match wait {
            None => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.inbox.recv_timeout(wait),
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
                Job::Hinder(hindrance, answer) => {
                    hinder(&self.connection, hindrance);
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
    fn commit(&mut self) {
        if self.stall.as_ref().is_some_and(|stall| stall.reopen) {
            self.reopen();
        }
        if self.queue.is_empty() && self.stall.is_some() {
            // Nothing waits, so a write that changes nothing tells whether writes go through.
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

    /// How many jobs go into the next transaction.
    fn next_batch(&self) -> usize {
        let mut bytes = 0;
        let fits = self.queue.iter().take(BATCH_JOBS).take_while(|job| {
            // What is forgotten is looked for in the file: the appends before it must be there.
            let fits = bytes < BATCH_BYTES && (bytes == 0 || !matches!(job, Job::Forget(..)));
            bytes += size(job).max(1);
            fits
        });
        match self.queue.front() {
            Some(Job::Forget(..)) => 1,
            _ => fits.count(),
        }
    }

    /// Commits the first jobs of the queue together. Where that fails for good, each half of them by
    /// itself, down to the job that fails alone: that one is refused.
    fn commit_first(&mut self, count: usize) -> rusqlite::Result<()> {
        let jobs = &self.queue.make_contiguous()[..count];
        let error = match batch::commit(&self.connection, &mut self.positions, jobs) {
            Ok(verdicts) => {
                self.recover();
                for (job, verdict) in self.queue.drain(..count).zip(verdicts) {
                    if matches!(verdict, Verdict::Forgotten(1..)) {
                        self.positions.has_trash = true;
                        self.trash.filled();
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
                self.positions.refuse(append.run, verdict.clone());
            }
            answer(job, verdict);
        }
        Ok(())
    }

    /// Does a piece of what is left of forgotten runs, where it is time.
    fn tidy(&mut self, idle: bool) {
        if self.stall.is_some() || !self.trash.is_due(idle) {
            return;
        }
        match self.trash.piece(&self.connection) {
            Ok(()) => self.positions.has_trash = self.trash.is_deleting(),
            Err(error) => match store_error(&error) {
                error @ StoreError::Unavailable(_) => {
                    tracing::warn!(%error, "what was forgotten is deleted later");
                    self.trash.rest();
                }
                error => {
                    tracing::error!(%error, "what was forgotten cannot be deleted: `heddle store check` says more");
                    self.trash.give_up();
                }
            },
        }
    }

    /// Takes a new connection instead of one that could only read, if there is one to have.
    fn reopen(&mut self) {
        match open::connect(&self.path) {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::debug!(%error, "the store cannot be opened anew"),
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
        let next = now + self.retry;
        if let Some(stall) = &mut self.stall {
            (stall.next, stall.error, stall.reopen) = (next, error, reopen);
            return;
        }
        tracing::error!(%error, "the store cannot be written: runs wait, and none begins");
        self.stall = Some(Stall {
            error,
            reopen,
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

fn hinder(connection: &Connection, hindrance: Hindrance) {
    let _ = match hindrance {
        Hindrance::Pages(pages) => {
            connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        }
        Hindrance::ReadOnly => connection.pragma_update(None, "query_only", true),
    };
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
