//! Schedules: start runs at given times.
//!
//! One task, the scheduler, owns all schedules: it waits for the next due time, starts runs, and stores the progress of
//! each schedule. The engine's operations send it commands.
//!
//! A start's idempotency key consists of the schedule's name and the due time. So each start happens once, even if the
//! engine stops after the start and before the schedule's progress is stored.

pub(crate) mod handle;
mod model;
mod scheduler;
mod stored;

use heddle_kernel::{RunId, schedule::check_name};
use tokio::sync::oneshot;

use self::handle::{Reply, ScheduleCommand};
pub use self::model::{MAX_SCHEDULES, NEXT_LEN, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec};
use crate::{engine::Engine, errors::StartError};

impl Engine {
    /// Creates a schedule, or replaces the one with the same name. If `paused` is `None`, a replaced schedule stays paused
    /// or active, and a new one is active. Returns the schedule and whether it is new.
    ///
    /// # Errors
    /// If the schedule is not valid or could not be stored.
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
        let (size, limit) = (spec.state.size(), self.core.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit }.into());
        }
        let name = name.into();
        self.send_schedule_command(|reply| ScheduleCommand::Put(name, spec.into(), paused, reply))
            .await
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// If the engine is stopping.
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, ScheduleError> {
        self.send_schedule_command(ScheduleCommand::List).await
    }

    /// The schedule with this name.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.send_schedule_command(|reply| ScheduleCommand::Get(name.to_owned(), reply))
            .await
    }

    /// Deletes a schedule. Its runs continue.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub async fn delete_schedule(&self, name: &str) -> Result<(), ScheduleError> {
        self.send_schedule_command(|reply| ScheduleCommand::Delete(name.to_owned(), reply))
            .await
    }

    /// Pauses a schedule.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.send_schedule_command(|reply| ScheduleCommand::SetPaused(name.to_owned(), true, reply))
            .await
    }

    /// Resumes a schedule with its next due time. Times that passed while it was paused do not count as missed.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleView, ScheduleError> {
        self.send_schedule_command(|reply| ScheduleCommand::SetPaused(name.to_owned(), false, reply))
            .await
    }

    /// Starts a run of a schedule now, even if the schedule is paused or its last run is active.
    ///
    /// # Errors
    /// If there is no such schedule, or the run was not started.
    pub async fn run_schedule(&self, name: &str) -> Result<RunId, ScheduleError> {
        self.send_schedule_command(|reply| ScheduleCommand::RunNow(name.to_owned(), reply))
            .await
    }

    async fn send_schedule_command<T>(
        &self,
        command: impl FnOnce(Reply<T>) -> ScheduleCommand,
    ) -> Result<T, ScheduleError> {
        let (reply, answer) = oneshot::channel();
        let stopping = || ScheduleError::Start(StartError::Draining);
        let sent = self.core.schedules.commands.send(command(reply)).await;
        sent.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}
