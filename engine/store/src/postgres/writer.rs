//! The writer: takes appends from its inbox, writes them in batches with one connection, and calls their acks.
//!
//! A thread of its own drives the writer, so that no task of the engine delays a commit. While one batch is committed, the
//! next one collects, so all waiting runs share the cost of a sync.
//!
//! If the server cannot be reached (a stall), the queue keeps its order and the writer tries again after a pause.
//! Meanwhile appends that begin a run are refused. If the response to a batch is lost, the same batch is sent again. The
//! runs that the first attempt has written do not match any more; the writer compares their rows with the batch, and finds
//! that they are durable.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use heddle_kernel::RunId;
use heddle_runtime::ports::{AppendError, EngineId, StoreError};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_postgres::{Client, Statement, error::SqlState};

use super::{
    connect::{Connector, WRITER_SESSION, WriteError, response},
    error::{Kind, kind, needs_reconnect},
    mismatch::{self, Stored},
    plan::{Plan, Refused, Verdict},
    prepared::PostgresAppend,
    signals::Signals,
    statement::{Answer, Columns, Shape},
};

/// The size in bytes from which a batch takes no further append. It bounds the memory and time of a commit.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The most appends of one batch, for the same reason.
const BATCH_APPENDS: usize = 4_096;

/// How often a batch is sent again because requests, deleted runs or other engines' rows were in its way.
const MAX_ROUNDS: usize = 8;

/// The first pause after a failed attempt to connect. It doubles up to the pause of the settings.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The error that keeps the store from writing, shared with the callers; none if writes work.
#[derive(Default)]
pub(super) struct Health(Mutex<HealthState>);

#[derive(Default)]
struct HealthState {
    /// A stall, which ends.
    stall: Option<StoreError>,
    /// Why nothing is written any more.
    end: Option<StoreError>,
}

impl Health {
    /// The error that blocks writes.
    pub(super) fn get(&self) -> Option<StoreError> {
        let state = self.state();
        state.end.clone().or_else(|| state.stall.clone())
    }

    /// Why nothing is written any more, if the store was closed or another engine has taken over.
    pub(super) fn ended(&self) -> Option<StoreError> {
        self.state().end.clone()
    }

    fn set(&self, error: Option<StoreError>) {
        self.state().stall = error;
    }

    /// Reports that nothing is written any more.
    pub(super) fn end(&self, error: StoreError) {
        self.state().end.get_or_insert(error);
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports a panic of the store's thread as the health of the store.
pub(super) struct PanicGuard(pub(super) Arc<Health>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(StoreError::Failed(
                "the thread of the store has panicked".to_owned(),
            ));
        }
    }
}

/// A job of the writer.
pub(super) enum Job {
    Append(Box<PostgresAppend>),
    /// The engine has claimed these runs: appends of them are taken again.
    Claimed(Vec<RunId>),
    /// Answers when all earlier appends are decided, or with the error of a stall.
    Flush(oneshot::Sender<Result<(), StoreError>>),
    /// Writes all earlier appends, then closes the store.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// The error of every call to a closed store.
pub(super) fn closed() -> StoreError {
    StoreError::Failed("the store is closed".to_owned())
}

/// The state of the writer.
pub(super) struct Writer {
    connector: Connector,
    inbox: mpsc::UnboundedReceiver<Job>,
    health: Arc<Health>,
    signals: Signals,
    /// Whether other engines can watch runs, so that appends ask for watchers.
    is_shared: bool,
    session: Option<Session>,
    queue: VecDeque<Box<PostgresAppend>>,
    /// How many appends at the front of the queue were sent without an answer. They may be stored.
    uncertain: usize,
    refused: Refused,
    stall: Option<Stall>,
    /// Answered as soon as the queue is empty.
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

/// The writing connection and its prepared statements.
struct Session {
    client: Client,
    statements: HashMap<Shape, Statement>,
}

/// A period in which the server cannot be reached.
struct Stall {
    error: StoreError,
    since: Instant,
    next_try: Instant,
    pause: Duration,
    /// Runs that were not allowed to begin: their later appends are refused too.
    not_begun: HashSet<RunId>,
}

/// Why a batch could not be written.
enum Failure {
    /// A later attempt may succeed.
    Unavailable(StoreError),
    /// The batch can never be written as it is.
    Refused(StoreError),
}

impl Writer {
    pub(super) fn new(
        connector: Connector,
        inbox: mpsc::UnboundedReceiver<Job>,
        health: Arc<Health>,
        signals: Signals,
        is_shared: bool,
    ) -> Self {
        Self {
            connector,
            inbox,
            health,
            signals,
            is_shared,
            session: None,
            queue: VecDeque::new(),
            uncertain: 0,
            refused: Refused::default(),
            stall: None,
            flushes: Vec::new(),
        }
    }

    /// Writes until the store is closed or all senders are dropped. Returns who waits for the end, and the result.
    pub(super) async fn run(
        &mut self,
    ) -> (
        Option<oneshot::Sender<Result<(), StoreError>>>,
        Result<(), StoreError>,
    ) {
        let closer = loop {
            match self.receive().await {
                Received::Work => {
                    let is_due = self
                        .stall
                        .as_ref()
                        .is_none_or(|stall| Instant::now() >= stall.next_try);
                    if is_due {
                        self.commit().await;
                    }
                    self.answer_flushes();
                }
                Received::Close(closer) => break Some(closer),
                Received::Disconnected => break None,
            }
        };
        self.commit().await;
        let lost = self.stall.take().filter(|_| !self.queue.is_empty());
        let result = lost.map_or(Ok(()), |stall| Err(stall.error));
        for append in self.queue.drain(..) {
            append.ack_failed(AppendError::Closed);
        }
        if let Err(error) = &result {
            tracing::error!(store = %self.connector.settings.target, %error, "the store was closed before all waiting writes were committed");
        }
        (closer, result)
    }

    /// Refuses every later job.
    pub(super) async fn refuse_all(mut self) {
        self.session = None;
        // Only this thread calls acks: a caller of `append` may hold a lock that its ack takes.
        while let Some(job) = self.inbox.recv().await {
            match job {
                Job::Append(append) => append.ack_failed(AppendError::Closed),
                Job::Claimed(_) => {}
                Job::Flush(answer) => {
                    let _ = answer.send(Err(closed()));
                }
                Job::Close(closer) => {
                    let _ = closer.send(Ok(()));
                }
            }
        }
    }

    /// Moves appends from the inbox to the queue, up to the size of a batch. Waits if there is nothing to do.
    async fn receive(&mut self) -> Received {
        let first = match &self.stall {
            None => self.inbox.recv().await,
            Some(stall) => {
                let wait = stall.next_try.saturating_duration_since(Instant::now());
                match timeout(wait, self.inbox.recv()).await {
                    Ok(first) => first,
                    Err(_) => return Received::Work,
                }
            }
        };
        let Some(mut job) = first else {
            return Received::Disconnected;
        };
        let (mut appends, mut bytes) = (0, 0);
        loop {
            match job {
                Job::Append(append) => {
                    appends += 1;
                    bytes += append.size();
                    self.enqueue(append);
                }
                Job::Claimed(runs) => self.refused.forget(&runs),
                Job::Flush(answer) => self.flushes.push(answer),
                Job::Close(closer) => return Received::Close(closer),
            }
            if appends >= BATCH_APPENDS || bytes >= BATCH_BYTES {
                return Received::Work;
            }
            job = match self.inbox.try_recv() {
                Ok(job) => job,
                Err(_) => return Received::Work,
            };
        }
    }

    /// Puts an append in the queue. During a stall, refuses appends of runs that have not begun.
    fn enqueue(&mut self, append: Box<PostgresAppend>) {
        if let Some(stall) = &mut self.stall
            && (append.begins.is_some() || stall.not_begun.contains(&append.run))
        {
            stall.not_begun.insert(append.run);
            append.ack_failed(AppendError::Unavailable(stall.error.clone()));
        } else {
            self.queue.push_back(append);
        }
    }

    /// Writes the whole queue in batches, until one fails.
    async fn commit(&mut self) {
        if self.queue.is_empty() && self.stall.is_some() {
            // Nothing waits, so a connection alone shows whether the server can be reached again.
            match self.connect().await {
                Ok(()) => self.recover(),
                Err(error) => self.stalled(error),
            }
            return;
        }
        let mut may_reconnect = self.stall.is_none();
        while !self.queue.is_empty() {
            match self.commit_next().await {
                Ok(()) => may_reconnect = true,
                // A lost connection alone is no stall: another one may be available at once.
                Err(_) if may_reconnect && self.session.is_none() => may_reconnect = false,
                Err(error) => return self.stalled(error),
            }
        }
    }

    /// Answers those that wait until the queue is empty. During a stall, they get its error.
    fn answer_flushes(&mut self) {
        let result = match &self.stall {
            Some(stall) => Err(stall.error.clone()),
            None if self.queue.is_empty() => Ok(()),
            None => return,
        };
        for answer in self.flushes.drain(..) {
            let _ = answer.send(result.clone());
        }
    }

    /// How many appends the next batch takes: those of one engine, and exactly the uncertain ones if there are any.
    fn next_batch(&self) -> usize {
        if self.uncertain > 0 {
            return self.uncertain;
        }
        let owner = self.queue.front().map(|append| append.owner);
        let mut bytes = 0;
        let fits = self.queue.iter().take(BATCH_APPENDS).take_while(|append| {
            let fits = bytes < BATCH_BYTES && Some(append.owner) == owner;
            bytes += append.size();
            fits
        });
        fits.count()
    }

    /// Writes the next batch. If that fails for good, writes each half by itself, down to the append that fails alone; that
    /// append is refused. An error is that of a stall.
    async fn commit_next(&mut self) -> Result<(), StoreError> {
        let mut parts = vec![self.next_batch()];
        while let Some(count) = parts.pop() {
            let mut verdicts = vec![None; count];
            match self.write(count, &mut verdicts).await {
                Ok(()) => {
                    self.recover();
                    self.answer(verdicts);
                }
                Err(Failure::Unavailable(error)) => return Err(error),
                Err(Failure::Refused(_)) if count > 1 => {
                    // Those that were decided stay decided: they are at the front of the first half or of the second.
                    parts.extend([count - count / 2, count / 2]);
                }
                Err(Failure::Refused(error)) => {
                    self.answer(vec![Some(Verdict::Damaged(error.to_string()))]);
                }
            }
        }
        Ok(())
    }

    /// Removes a batch from the queue and calls its acks.
    fn answer(&mut self, verdicts: Vec<Option<Verdict>>) {
        self.uncertain = self.uncertain.saturating_sub(verdicts.len());
        for (append, verdict) in self.queue.drain(..verdicts.len()).zip(verdicts) {
            let undecided = || Verdict::Conflict("the store did not decide about the append".to_owned());
            let verdict = verdict.unwrap_or_else(undecided);
            self.refused.remember(&append, &verdict);
            append.answer(verdict);
        }
    }

    /// Writes the first `count` appends of the queue, in as few statements as possible, and decides about each.
    async fn write(&mut self, count: usize, verdicts: &mut [Option<Verdict>]) -> Result<(), Failure> {
        for _ in 0..MAX_ROUNDS {
            let is_uncertain = self.uncertain > 0;
            let appends = &self.queue.make_contiguous()[..count];
            let plan = Plan::new(appends, verdicts, &self.refused);
            if plan.runs.is_empty() {
                return Ok(());
            }
            let owner = appends[0].owner;
            let shape = Shape::of(&plan, self.is_shared);
            let session = match Self::session(&mut self.session, &self.connector).await {
                Ok(session) => session,
                Err(error) => return Err(Failure::Unavailable(error)),
            };
            match session.execute(shape, owner, &plan).await {
                Ok(answer) => {
                    let stored = match session.unwritten(&plan, &answer).await {
                        Ok(stored) => stored,
                        Err(error) => return Err(self.failed(error, count)),
                    };
                    let context = Context {
                        appends,
                        stored: &stored,
                        owner,
                        is_uncertain,
                    };
                    context.decide(&plan, &answer, verdicts);
                    self.signals.written(&plan, &answer);
                }
                // Another engine has stored a request with the same key meanwhile: the next round finds it.
                Err(WriteError::Server(error))
                    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) && shape.has_requests() => {}
                Err(error) => return Err(self.failed(error, count)),
            }
            if verdicts.iter().all(Option::is_some) {
                return Ok(());
            }
        }
        Err(Failure::Refused(StoreError::Failed(
            "the store changed again and again while the append was written".to_owned(),
        )))
    }

    /// Sorts an error by what the writer does about it.
    fn failed(&mut self, error: WriteError, count: usize) -> Failure {
        let (lost, refused) = match &error {
            WriteError::NoResponse => (true, false),
            WriteError::Server(error) => (needs_reconnect(error), kind(error) != Kind::Unavailable),
        };
        if lost {
            self.session = None;
        }
        // An earlier round may have written some runs, and a lost response may be that of a commit.
        self.uncertain = self.uncertain.max(count);
        let error = error.store_error();
        match refused {
            true => Failure::Refused(error),
            false => Failure::Unavailable(error),
        }
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        Self::session(&mut self.session, &self.connector)
            .await
            .map(|_| ())
    }

    /// The open session; opens one if there is none.
    async fn session<'s>(
        session: &'s mut Option<Session>,
        connector: &Connector,
    ) -> Result<&'s mut Session, StoreError> {
        if session.as_ref().is_none_or(|session| session.client.is_closed()) {
            *session = Some(Session {
                client: connector.connect(WRITER_SESSION).await?,
                statements: HashMap::new(),
            });
        }
        Ok(session.as_mut().expect("it was opened above"))
    }

    fn stalled(&mut self, error: StoreError) {
        self.health.set(Some(error.clone()));
        let now = Instant::now();
        if let Some(stall) = &mut self.stall {
            stall.pause = (stall.pause * 2).min(self.connector.settings.retry);
            (stall.next_try, stall.error) = (now + stall.pause, error);
            return;
        }
        tracing::error!(%error, "the store cannot be written: active runs wait, and new runs are refused");
        self.stall = Some(Stall {
            error,
            since: now,
            next_try: now + FIRST_PAUSE,
            pause: FIRST_PAUSE,
            not_begun: HashSet::new(),
        });
        // The uncertain ones may be stored, so they stay until that is known.
        for append in self.queue.split_off(self.uncertain) {
            self.enqueue(append);
        }
    }

    /// Ends a stall, if there is one.
    fn recover(&mut self) {
        if let Some(stall) = self.stall.take() {
            let seconds = stall.since.elapsed().as_secs_f32();
            tracing::info!(seconds, "the store can be written again");
            self.health.set(None);
        }
    }
}

/// What [`Writer::receive`] found.
enum Received {
    /// Appends may be in the queue, or it is time to try again.
    Work,
    Close(oneshot::Sender<Result<(), StoreError>>),
    /// All senders are dropped.
    Disconnected,
}

impl Session {
    async fn execute(
        &mut self,
        shape: Shape,
        engine: EngineId,
        plan: &Plan<'_>,
    ) -> Result<Answer, WriteError> {
        let statement = match self.statements.get(&shape) {
            Some(statement) => statement,
            None => {
                let statement = response(self.client.prepare(&shape.sql())).await?;
                self.statements.entry(shape).or_insert(statement)
            }
        };
        let columns = Columns::new(shape, engine, plan);
        let row = response(self.client.query_one(statement, &columns.values())).await?;
        Answer::read(shape, &row).map_err(WriteError::Server)
    }

    /// What the store has of the runs that were not written.
    async fn unwritten(
        &self,
        plan: &Plan<'_>,
        answer: &Answer,
    ) -> Result<HashMap<RunId, Stored>, WriteError> {
        if !answer.is_live || answer.written.len() == plan.runs.len() {
            return Ok(HashMap::new());
        }
        let written: HashSet<_> = answer.written.iter().collect();
        let rest: Vec<_> = plan
            .runs
            .iter()
            .filter(|run| !written.contains(&run.run.0))
            .collect();
        response(mismatch::stored(&self.client, &rest)).await
    }
}

/// What decides about the appends of a plan, besides the answer of the statement.
struct Context<'a> {
    appends: &'a [Box<PostgresAppend>],
    stored: &'a HashMap<RunId, Stored>,
    owner: EngineId,
    is_uncertain: bool,
}

impl Context<'_> {
    /// Gives a verdict to every append of the plan whose result is known.
    fn decide(&self, plan: &Plan<'_>, answer: &Answer, verdicts: &mut [Option<Verdict>]) {
        let written: HashSet<_> = answer.written.iter().collect();
        for run in &plan.runs {
            let mut give = |verdict: Verdict| {
                for index in &run.appends {
                    verdicts[*index] = Some(verdict.clone());
                }
            };
            if !answer.is_live {
                give(Verdict::Fenced);
            } else if written.contains(&run.run.0) {
                give(Verdict::Written);
            } else if let Some(stored) = self.stored.get(&run.run) {
                if self.is_uncertain && stored.is_written(run, self.owner) {
                    give(Verdict::Written);
                } else if stored.is_in_trash && run.begins.is_some() {
                    // The remains were deleted: the next round writes the run.
                } else if let Some(message) = stored.mismatch(run, self.owner) {
                    // The next plan refuses the further appends of the run.
                    verdicts[run.appends[0]] = Some(Verdict::Conflict(message));
                } else if let Some(request) = answer.repeated.iter().find(|request| run.has_request(request))
                {
                    run.repeat(request, self.appends, verdicts);
                }
                // Otherwise the run has changed since the statement: the next round decides.
            }
        }
    }
}
