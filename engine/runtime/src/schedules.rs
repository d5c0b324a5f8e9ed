//! Schedules: one task owns them all. It waits for the next time that one is due, starts its run, and keeps how
//! far the schedule is; who wants to know or change something asks it.
//!
//! A start has a key made of the schedule's name and the time for which it is, so that it is made once, also
//! when the engine stops between the start and the moment at which it is kept how far the schedule is.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use heddle_kernel::{
    Digest, Object, RunId, Timestamp,
    schedule::{CatchUp, Overlap, Progress, Schedule, When, WhenError, check_name, decide},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    answer::{KeyError, RequestKey, Start, StartError},
    engine::Engine,
    inner::Inner,
    ports::{ScheduleRow, StoreError},
};

/// The most schedules.
pub const MAX_SCHEDULES: usize = 10_000;
/// How many of the next times of a schedule are told.
pub const NEXT_LEN: usize = 5;
/// How many questions wait before who asks waits.
const INBOX_LEN: usize = 64;
/// How many schedules that are due together start their runs beside each other.
const FIRE_AT_ONCE: usize = 64;
/// How long to wait where the store gives no answer, in milliseconds.
const STORE_PAUSE_MS: i64 = 1_000;
/// The form of what is kept.
const FORM: u32 = 1;

/// What a schedule starts, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// The graph: its id, or its name, then the newest with it at every start.
    pub graph: String,
    /// The state that its runs begin with.
    pub state: Object,
    /// Their priority.
    pub priority: i32,
    /// When it is due.
    pub when: WhenSpec,
    /// What if its last run is not over.
    pub overlap: Overlap,
    /// What of times that were missed.
    pub catch_up: CatchUp,
    /// Whether it stands still.
    pub paused: bool,
}

/// When a schedule is due, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSpec {
    /// As a cron expression says, by the clocks of a time zone.
    Cron {
        /// The expression.
        cron: String,
        /// The name of the time zone.
        time_zone: String,
    },
    /// Again and again after so long.
    Every {
        /// How long, such as `15m`.
        every: String,
        /// From when on; where it is left out, from when the schedule is created.
        from: Option<Timestamp>,
    },
    /// Once.
    At(Timestamp),
}

/// A schedule as it is told.
#[derive(Clone, Debug)]
pub struct ScheduleView {
    /// Its name.
    pub name: Arc<str>,
    /// What it starts, and when.
    pub spec: ScheduleSpec,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// The next times at which it is due, at most [`NEXT_LEN`]; none while it is paused, or when it is done.
    pub next: Vec<Timestamp>,
    /// How many starts wait.
    pub waiting: usize,
    /// The latest time for which a run was started.
    pub last_at: Option<Timestamp>,
    /// That run.
    pub last_run: Option<RunId>,
    /// Why the latest start did not go well, and when that was.
    pub last_error: Option<(Timestamp, Arc<str>)>,
    /// How many times were left out.
    pub skipped: u64,
}

/// Why something was not done about a schedule.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// No schedule has this name.
    #[error("there is no schedule `{0}`")]
    NoSuchSchedule(String),
    /// It is not well formed.
    #[error("{pointer}: {message}")]
    Invalid {
        /// Where: a JSON pointer into the schedule.
        pointer: &'static str,
        /// What is wrong there.
        message: String,
    },
    /// There are too many.
    #[error("there are {MAX_SCHEDULES} schedules, the limit: delete one first")]
    TooMany,
    /// Its run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Reply<T> = oneshot::Sender<Result<T, ScheduleError>>;

/// What the task is asked.
enum Ask {
    Put(Arc<str>, Box<ScheduleSpec>, Reply<(ScheduleView, bool)>),
    List(Reply<Vec<ScheduleView>>),
    Get(String, Reply<ScheduleView>),
    Delete(String, Reply<()>),
    Pause(String, bool, Reply<ScheduleView>),
    Run(String, Reply<RunId>),
}

/// What the rest of the engine knows of the schedules.
pub(crate) struct Schedules {
    ask: mpsc::Sender<Ask>,
    /// Taken by the task.
    inbox: Mutex<Option<mpsc::Receiver<Ask>>>,
    /// The runs whose end a start waits for.
    awaited: Mutex<HashSet<RunId>>,
    /// Whether there are any, so that a run that ends need not ask.
    any: AtomicBool,
    /// Told when one of them is over.
    over: Notify,
}

impl Default for Schedules {
    fn default() -> Self {
        let (ask, inbox) = mpsc::channel(INBOX_LEN);
        Self {
            ask,
            inbox: Mutex::new(Some(inbox)),
            awaited: Mutex::default(),
            any: AtomicBool::new(false),
            over: Notify::new(),
        }
    }
}

impl Schedules {
    // A std mutex: nothing awaits while it is held.
    fn awaited(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.awaited.lock().expect("no panic under this lock")
    }

    /// A run is over.
    pub(crate) fn over(&self, run: RunId) {
        if self.any.load(Ordering::Acquire) && self.awaited().contains(&run) {
            self.over.notify_one();
        }
    }

    fn wait_for(&self, runs: HashSet<RunId>) {
        let mut awaited = self.awaited();
        self.any.store(!runs.is_empty(), Ordering::Release);
        *awaited = runs;
    }
}

impl Engine {
    /// Creates a schedule, or puts this one instead of the one with its name. Answers whether it is new.
    ///
    /// # Errors
    /// Where something is wrong with it, or it could not be kept.
    pub async fn put_schedule(
        &self,
        name: &str,
        spec: ScheduleSpec,
    ) -> Result<(ScheduleView, bool), ScheduleError> {
        let invalid = |pointer, message| ScheduleError::Invalid { pointer, message };
        check_name(name).map_err(|message| invalid("/name", message))?;
        if self.graph(&spec.graph).await?.is_none() {
            let message = StartError::NoSuchGraph(spec.graph).to_string();
            return Err(invalid("/graph", message));
        }
        let (size, limit) = (spec.state.size(), self.inner.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit }.into());
        }
        let name = name.into();
        self.ask(|reply| Ask::Put(name, spec.into(), reply)).await
    }

    /// Every schedule, by name.
    ///
    /// # Errors
    /// Where the engine is stopping.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ScheduleError> {
        self.ask(Ask::List).await
    }

    /// A schedule.
    ///
    /// # Errors
    /// Where there is none with this name.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.ask(|reply| Ask::Get(name.to_owned(), reply)).await
    }

    /// Deletes a schedule. Its runs go on.
    ///
    /// # Errors
    /// Where there is none with this name.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ScheduleError> {
        self.ask(|reply| Ask::Delete(name.to_owned(), reply)).await
    }

    /// Has a schedule stand still.
    ///
    /// # Errors
    /// Where there is none with this name.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.ask(|reply| Ask::Pause(name.to_owned(), true, reply)).await
    }

    /// Has a schedule go on: with the next time that comes, as those that came meanwhile were not missed.
    ///
    /// # Errors
    /// Where there is none with this name.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.ask(|reply| Ask::Pause(name.to_owned(), false, reply)).await
    }

    /// Starts a schedule's run now, also where it is paused or its last run is not over.
    ///
    /// # Errors
    /// Where there is none with this name, or the run was not started.
    pub async fn run_schedule(&self, name: &str) -> Result<RunId, ScheduleError> {
        self.ask(|reply| Ask::Run(name.to_owned(), reply)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, ScheduleError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || ScheduleError::Start(StartError::Draining);
        let asked = self.inner.schedules.ask.send(ask(reply)).await;
        asked.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Keeps the schedules until the engine stops.
    pub(crate) async fn keep_schedules(self) {
        let inbox = self
            .inner
            .schedules
            .inbox
            .lock()
            .expect("no panic under this lock")
            .take();
        // Another call of this has it.
        let Some(inbox) = inbox else { return };
        let mut keeper = Keeper {
            engine: self,
            all: BTreeMap::new(),
        };
        keeper.keep(inbox).await;
    }
}

/// A schedule as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    form: u32,
    spec: ScheduleSpec,
    created_at: Timestamp,
    updated_at: Timestamp,
    progress: Progress,
    last_at: Option<Timestamp>,
    last_run: Option<RunId>,
    last_error: Option<(Timestamp, Arc<str>)>,
}

/// A schedule in memory.
struct Entry {
    kept: Kept,
    schedule: Schedule,
    /// When it is to be looked at.
    look_at: Option<Timestamp>,
    /// Whether its last run is known to be over.
    over: bool,
    /// Whether it is kept as it is here.
    saved: bool,
}

/// The time that is before every other.
const AT_ONCE: Option<Timestamp> = Some(Timestamp(i64::MIN));

impl Entry {
    fn new(kept: Kept) -> Result<Self, WhenError> {
        let spec = &kept.spec;
        let schedule = Schedule {
            when: compile(&spec.when, kept.created_at)?,
            overlap: spec.overlap,
            catch_up: spec.catch_up,
            paused: spec.paused,
        };
        Ok(Self {
            over: kept.last_run.is_none(),
            kept,
            schedule,
            look_at: AT_ONCE,
            saved: true,
        })
    }

    fn view(&self, name: &Arc<str>) -> ScheduleView {
        let Kept { spec, progress, .. } = &self.kept;
        let next = match spec.paused {
            true => Vec::new(),
            false => self.schedule.when.next(progress.after, NEXT_LEN),
        };
        ScheduleView {
            name: name.clone(),
            spec: spec.clone(),
            created_at: self.kept.created_at,
            updated_at: self.kept.updated_at,
            next,
            waiting: progress.waiting.len(),
            last_at: self.kept.last_at,
            last_run: self.kept.last_run,
            last_error: self.kept.last_error.clone(),
            skipped: progress.skipped,
        }
    }
}

fn compile(when: &WhenSpec, created_at: Timestamp) -> Result<When, WhenError> {
    match when {
        WhenSpec::Cron { cron, time_zone } => When::cron(cron, time_zone),
        WhenSpec::Every { every, from } => When::every(every, from.unwrap_or(created_at)),
        WhenSpec::At(at) => Ok(When::At(*at)),
    }
}

fn where_wrong(error: WhenError) -> ScheduleError {
    let pointer = match &error {
        WhenError::Cron(_) => "/when/cron",
        WhenError::TimeZone(_) => "/when/time_zone",
        WhenError::Every(_) => "/when/every",
    };
    let message = error.to_string();
    ScheduleError::Invalid { pointer, message }
}

/// Owns the schedules.
struct Keeper {
    engine: Engine,
    all: BTreeMap<Arc<str>, Entry>,
}

impl Keeper {
    fn inner(&self) -> &Arc<Inner> {
        &self.engine.inner
    }

    fn now(&self) -> Timestamp {
        self.inner().ports.clock.now()
    }

    async fn keep(&mut self, mut inbox: mpsc::Receiver<Ask>) {
        while let Err(error) = self.load().await {
            tracing::error!(%error, "the schedules cannot be read: it is tried again");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(STORE_PAUSE_MS.unsigned_abs())) => {}
                () = self.engine.inner.drains() => return,
            }
        }
        let inner = self.inner().clone();
        while !inner.is_draining() {
            let next = self.look().await;
            let sleep = async {
                match next {
                    Some(at) => inner.ports.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = inner.drains() => return,
                ask = inbox.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                () = inner.schedules.over.notified() => self.look_at_those_that_wait(),
                () = sleep => {}
            }
        }
    }

    async fn load(&mut self) -> Result<(), StoreError> {
        for ScheduleRow { name, body } in self.inner().ports.journal.schedules().await? {
            let kept: Result<Kept, _> = serde_json::from_str(&body);
            let entry = kept
                .map_err(|error| error.to_string())
                .and_then(|kept| Entry::new(kept).map_err(|error| error.to_string()));
            match entry {
                Ok(entry) => {
                    self.all.insert(name, entry);
                }
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "a schedule cannot be read: it does nothing");
                }
            }
        }
        Ok(())
    }

    /// Does what is due, and says when something will be.
    async fn look(&mut self) -> Option<Timestamp> {
        let now = self.now();
        let engine = &self.engine;
        let due = self
            .all
            .iter_mut()
            .filter(|(_, entry)| entry.look_at.is_some_and(|at| at <= now));
        stream::iter(due)
            .for_each_concurrent(FIRE_AT_ONCE, |(name, entry)| engine.step(name, entry, now))
            .await;
        // A run may be over before its end is waited for: so it is looked at again after that.
        let waits = |entry: &Entry| !entry.over && !entry.kept.progress.waiting.is_empty();
        let awaited: HashSet<RunId> = self
            .all
            .values()
            .filter(|entry| waits(entry))
            .filter_map(|entry| entry.kept.last_run)
            .collect();
        let new = {
            let known = self.inner().schedules.awaited();
            awaited.iter().any(|run| !known.contains(run))
        };
        self.inner().schedules.wait_for(awaited);
        if new {
            self.look_at_those_that_wait();
        }
        self.all.values().filter_map(|entry| entry.look_at).min()
    }

    fn look_at_those_that_wait(&mut self) {
        for entry in self.all.values_mut() {
            if !entry.kept.progress.waiting.is_empty() {
                entry.look_at = AT_ONCE;
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Who asked may be gone: it is done all the same.
        match ask {
            Ask::Put(name, spec, reply) => {
                let _ = reply.send(self.put(name, *spec).await);
            }
            Ask::List(reply) => {
                let all = self.all.iter().map(|(name, entry)| entry.view(name));
                let _ = reply.send(Ok(all.collect()));
            }
            Ask::Get(name, reply) => {
                let _ = reply.send(self.find(&name).map(|(name, entry)| entry.view(name)));
            }
            Ask::Delete(name, reply) => {
                let _ = reply.send(self.delete(&name).await);
            }
            Ask::Pause(name, paused, reply) => {
                let _ = reply.send(self.pause(&name, paused).await);
            }
            Ask::Run(name, reply) => {
                let _ = reply.send(self.run(&name).await);
            }
        }
    }

    fn find(&self, name: &str) -> Result<(&Arc<str>, &Entry), ScheduleError> {
        let found = self.all.get_key_value(name);
        found.ok_or_else(|| ScheduleError::NoSuchSchedule(name.to_owned()))
    }

    async fn put(
        &mut self,
        name: Arc<str>,
        mut spec: ScheduleSpec,
    ) -> Result<(ScheduleView, bool), ScheduleError> {
        let now = self.now();
        let old = self.all.get(&name).map(|entry| entry.kept.clone());
        if old.is_none() && self.all.len() >= MAX_SCHEDULES {
            return Err(ScheduleError::TooMany);
        }
        // What is said again goes on as it is: an interval does not begin anew.
        if let WhenSpec::Every { every, from } = &mut spec.when
            && from.is_none()
        {
            *from = Some(match old.as_ref().map(|old| &old.spec.when) {
                Some(WhenSpec::Every { every: before, from }) if before == every => from.unwrap_or(now),
                _ => now,
            });
        }
        let same = old.as_ref().filter(|old| old.spec.when == spec.when);
        if let WhenSpec::At(at) = &spec.when
            && *at <= now
            && same.is_none()
        {
            let message = "this time is over: nothing would ever be started".to_owned();
            return Err(ScheduleError::Invalid {
                pointer: "/when/at",
                message,
            });
        }
        let mut progress = Progress::new(now);
        if let Some(same) = same.filter(|same| !same.spec.paused) {
            progress = same.progress.clone();
        }
        progress.skipped = old.as_ref().map_or(0, |old| old.progress.skipped);
        let kept = Kept {
            form: FORM,
            spec,
            created_at: old.as_ref().map_or(now, |old| old.created_at),
            updated_at: now,
            progress,
            last_at: old.as_ref().and_then(|old| old.last_at),
            last_run: old.as_ref().and_then(|old| old.last_run),
            last_error: None,
        };
        let entry = Entry::new(kept).map_err(where_wrong)?;
        self.engine.save(&name, &entry.kept).await?;
        let view = entry.view(&name);
        self.all.insert(name, entry);
        Ok((view, old.is_none()))
    }

    async fn delete(&mut self, name: &str) -> Result<(), ScheduleError> {
        // One that cannot be read can be deleted, too.
        let there = self.inner().ports.journal.delete_schedule(name).await?;
        match self.all.remove(name).is_some() || there {
            true => Ok(()),
            false => Err(ScheduleError::NoSuchSchedule(name.to_owned())),
        }
    }

    async fn pause(&mut self, name: &str, paused: bool) -> Result<ScheduleView, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let mut kept = entry.kept.clone();
        if kept.spec.paused != paused {
            kept.spec.paused = paused;
            kept.updated_at = now;
            if !paused {
                kept.progress.after = kept.progress.after.max(now);
            }
            self.engine.save(&name, &kept).await?;
            let entry = Entry::new(kept).map_err(where_wrong)?;
            self.all.insert(name.clone(), entry);
        }
        Ok(self.all[&name].view(&name))
    }

    async fn run(&mut self, name: &str) -> Result<RunId, ScheduleError> {
        let now = self.now();
        let (name, entry) = self.find(name)?;
        let name = name.clone();
        let run = self.engine.fire(&name, &entry.kept.spec, now).await?;
        let entry = self.all.get_mut(&name).expect("it was just found");
        entry.started(now, run);
        if let Err(error) = self.engine.save(&name, &entry.kept).await {
            // The run was started, and who asked is told of it.
            tracing::error!(schedule = %name, %error, "how far a schedule is could not be kept");
            entry.saved = false;
            entry.look_at = AT_ONCE;
        }
        Ok(run)
    }
}

impl Entry {
    fn started(&mut self, at: Timestamp, run: RunId) {
        self.kept.last_at = Some(at);
        self.kept.last_run = Some(run);
        self.kept.last_error = None;
        self.over = false;
    }
}

impl Engine {
    /// Looks at one schedule: starts what is due, and keeps how far it is.
    async fn step(&self, name: &Arc<str>, entry: &mut Entry, now: Timestamp) {
        let later = Some(Timestamp(now.0.saturating_add(STORE_PAUSE_MS)));
        let busy = match self.is_busy(entry).await {
            Ok(busy) => busy,
            Err(error) => {
                tracing::error!(schedule = %name, %error, "it cannot be told whether the last run of a schedule is over");
                entry.look_at = later;
                return;
            }
        };
        let decision = decide(&entry.schedule, &entry.kept.progress, busy, now);
        let moved = decision.progress.waiting != entry.kept.progress.waiting
            || decision.progress.skipped != entry.kept.progress.skipped
            || !decision.fire.is_empty();
        entry.kept.progress = decision.progress;
        entry.look_at = decision.wake_at;
        let mut due = decision.fire.into_iter();
        while let Some(at) = due.next() {
            match self.fire(name, &entry.kept.spec, at).await {
                Ok(run) => entry.started(at, run),
                // Another start of the engine finds the schedule as it was.
                Err(StartError::Draining) => return,
                Err(error) => {
                    tracing::warn!(schedule = %name, %error, "the run of a schedule was not started");
                    entry.kept.last_error = Some((now, error.to_string().into()));
                    let progress = &mut entry.kept.progress;
                    let Some(pause_s) = retry_after_s(&error) else {
                        progress.skipped += 1;
                        continue;
                    };
                    let not_before = Timestamp(now.0.saturating_add(i64::from(pause_s) * 1_000));
                    progress.not_before = Some(not_before);
                    let left: Vec<Timestamp> = [at].into_iter().chain(due.by_ref()).collect();
                    left.into_iter()
                        .rev()
                        .for_each(|at| progress.waiting.push_front(at));
                    entry.look_at = entry
                        .look_at
                        .map_or(Some(not_before), |at| Some(at.min(not_before)));
                }
            }
        }
        if moved || !entry.saved {
            entry.saved = match self.save(name, &entry.kept).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(schedule = %name, %error, "how far a schedule is could not be kept");
                    entry.look_at = later;
                    false
                }
            };
        }
    }

    /// Whether the last run of a schedule is not over.
    async fn is_busy(&self, entry: &mut Entry) -> Result<bool, StoreError> {
        let Some(run) = entry.kept.last_run.filter(|_| !entry.over) else {
            return Ok(false);
        };
        if entry.schedule.overlap == Overlap::Allow || entry.schedule.paused {
            return Ok(false);
        }
        // One that was forgotten was over.
        let row = self.inner.ports.journal.run(run).await?;
        entry.over = row.is_none_or(|row| row.status.is_over());
        Ok(!entry.over)
    }

    /// Starts the run of a schedule for a time, once.
    async fn fire(&self, name: &str, spec: &ScheduleSpec, at: Timestamp) -> Result<RunId, StartError> {
        let key = format!("schedule:{name}:{}", at.0);
        let start = Start {
            graph: spec.graph.clone(),
            state: spec.state.clone(),
            priority: spec.priority,
            key: Some(RequestKey {
                digest: Digest::of(key.as_bytes()),
                key: key.into(),
            }),
            origin: Some(format!("schedule:{name}").into()),
        };
        Ok(self.start_run(start).await?.id)
    }

    async fn save(&self, name: &Arc<str>, kept: &Kept) -> Result<(), StoreError> {
        let body = serde_json::to_string(kept).expect("Heddle's own types serialize");
        let row = ScheduleRow {
            name: name.clone(),
            body: body.into(),
        };
        self.inner.ports.journal.put_schedule(row).await
    }
}

/// In how many seconds a start that did not go through may. None where it will not.
fn retry_after_s(error: &StartError) -> Option<u32> {
    const SOON_S: u32 = 5;
    match error {
        StartError::Busy { retry_after_s, .. } => Some(*retry_after_s),
        StartError::Store(_) | StartError::Draining | StartError::Key(KeyError::InFlight(_)) => Some(SOON_S),
        StartError::NoSuchGraph(_)
        | StartError::Broken(_)
        | StartError::TooLarge { .. }
        | StartError::Group(_)
        | StartError::Key(KeyError::Reused(_)) => None,
    }
}
