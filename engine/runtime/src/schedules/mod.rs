//! Schedules: one task owns them all. It waits for the next time that one is due, starts its run, and keeps how
//! far the schedule is; who wants to know or change something asks it.
//!
//! A start has a key made of the schedule's name and the time for which it is, so that it is made once, also
//! when the engine stops between the start and the moment at which it is kept how far the schedule is.

mod keeper;
mod kept;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use heddle_json::Object;
use heddle_kernel::{
    RunId, Timestamp,
    schedule::{CatchUp, Overlap, check_name},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{answer::StartError, engine::Engine, ports::StoreError};

/// The most schedules.
pub const MAX_SCHEDULES: usize = 10_000;
/// How many of the next times of a schedule are told.
pub const NEXT_LEN: usize = 5;
/// How many questions wait before who asks waits.
const INBOX_LEN: usize = 64;

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
    /// Together they would take more memory than they may.
    #[error(
        "with this one the schedules would take {bytes} bytes, more than their limit of {limit} (max_schedule_bytes): \
         give it a smaller state, or delete one first"
    )]
    TooLarge {
        /// How many bytes they would take.
        bytes: usize,
        /// How many they may take.
        limit: usize,
    },
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
    Put(
        Arc<str>,
        Box<ScheduleSpec>,
        Option<bool>,
        Reply<(ScheduleView, bool)>,
    ),
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
    /// Creates a schedule, or replaces the one with its name. Without `paused`, a schedule that is replaced stays
    /// paused or active as it is, and a new one is active. Answers whether it is new.
    ///
    /// # Errors
    /// Where something is wrong with it, or it could not be kept.
    pub async fn put_schedule(
        &self,
        name: &str,
        spec: ScheduleSpec,
        paused: Option<bool>,
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
        self.ask(|reply| Ask::Put(name, spec.into(), paused, reply)).await
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
}
