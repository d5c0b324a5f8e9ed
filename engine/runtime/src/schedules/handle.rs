//! The connection between the engine and the task that owns the schedules.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use heddle_kernel::RunId;
use tokio::sync::{Notify, futures::Notified, mpsc, oneshot};

use super::model::{ScheduleError, ScheduleSpec, ScheduleView};

/// How many commands are queued before senders wait.
const INBOX_LEN: usize = 64;

pub(super) type Reply<T> = oneshot::Sender<Result<T, ScheduleError>>;

/// A command to the scheduler.
pub(super) enum ScheduleCommand {
    Put(
        Arc<str>,
        Box<ScheduleSpec>,
        Option<bool>,
        Reply<(ScheduleView, bool)>,
    ),
    List(Reply<Vec<ScheduleView>>),
    Get(String, Reply<ScheduleView>),
    Delete(String, Reply<()>),
    SetPaused(String, bool, Reply<ScheduleView>),
    RunNow(String, Reply<RunId>),
}

/// The engine's handle on the scheduler.
pub(crate) struct Schedules {
    pub(super) commands: mpsc::Sender<ScheduleCommand>,
    /// Taken by the scheduler when it starts.
    inbox: Mutex<Option<mpsc::Receiver<ScheduleCommand>>>,
    /// The runs whose end a waiting start needs.
    awaited_runs: Mutex<HashSet<RunId>>,
    /// Whether there are such runs, so that the end of another run needs no lock.
    has_awaited_runs: AtomicBool,
    /// Notified when one of these runs has ended.
    awaited_run_ended: Notify,
}

impl Default for Schedules {
    fn default() -> Self {
        let (commands, inbox) = mpsc::channel(INBOX_LEN);
        Self {
            commands,
            inbox: Mutex::new(Some(inbox)),
            awaited_runs: Mutex::default(),
            has_awaited_runs: AtomicBool::new(false),
            awaited_run_ended: Notify::new(),
        }
    }
}

impl Schedules {
    // A std mutex: nothing awaits while it is held.
    fn awaited_runs(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.awaited_runs.lock().expect("no panic under this lock")
    }

    /// The receiver of the commands. `None` if another scheduler has taken it.
    pub(super) fn take_inbox(&self) -> Option<mpsc::Receiver<ScheduleCommand>> {
        self.inbox.lock().expect("no panic under this lock").take()
    }

    /// A run has ended.
    pub(crate) fn run_ended(&self, run: RunId) {
        if self.has_awaited_runs.load(Ordering::Acquire) && self.awaited_runs().contains(&run) {
            self.awaited_run_ended.notify_one();
        }
    }

    /// Waits until an awaited run has ended.
    pub(super) fn awaited_run_ended(&self) -> Notified<'_> {
        self.awaited_run_ended.notified()
    }

    /// Replaces the awaited runs. Returns whether any of them is new.
    pub(super) fn set_awaited_runs(&self, runs: HashSet<RunId>) -> bool {
        let mut awaited = self.awaited_runs();
        let has_new = runs.iter().any(|run| !awaited.contains(run));
        self.has_awaited_runs.store(!runs.is_empty(), Ordering::Release);
        *awaited = runs;
        has_new
    }
}
