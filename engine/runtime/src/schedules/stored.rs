//! A schedule as stored, and in memory.

use std::sync::Arc;

use heddle_kernel::{
    RunId, Timestamp,
    graph::check_ahead,
    schedule::{Progress, Schedule, When, WhenError},
};
use serde::{Deserialize, Serialize};

use super::model::{NEXT_LEN, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec};

/// The version of the stored format.
pub(super) const FORMAT_VERSION: u32 = 1;

/// A stored schedule and its progress.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredSchedule {
    pub(super) form: u32,
    pub(super) spec: ScheduleSpec,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) progress: Progress,
    pub(super) last_at: Option<Timestamp>,
    pub(super) last_run: Option<RunId>,
    pub(super) last_error: Option<(Timestamp, Arc<str>)>,
}

/// A schedule in memory.
pub(super) struct ScheduleEntry {
    pub(super) stored: StoredSchedule,
    pub(super) schedule: Schedule,
    /// When the scheduler checks the schedule next.
    pub(super) next_check: Option<Timestamp>,
    /// Whether the last run is known to have ended.
    pub(super) last_run_ended: bool,
    /// Whether the store has the current progress.
    pub(super) is_stored: bool,
}

/// A time before every other.
pub(super) const IMMEDIATELY: Option<Timestamp> = Some(Timestamp(i64::MIN));

impl ScheduleEntry {
    pub(super) fn new(stored: StoredSchedule) -> Result<Self, WhenError> {
        let spec = &stored.spec;
        let schedule = Schedule {
            when: compile(&spec.when, stored.created_at)?,
            overlap: spec.overlap,
            catch_up: spec.catch_up,
            paused: spec.paused,
        };
        Ok(Self {
            last_run_ended: stored.last_run.is_none(),
            stored,
            schedule,
            next_check: IMMEDIATELY,
            is_stored: true,
        })
    }

    /// The approximate bytes that the schedule takes in memory.
    pub(super) fn bytes(&self) -> usize {
        /// The bytes of every schedule: its fields, the times of its waiting starts, and its last error.
        const FIXED: usize = 2 << 10;
        let spec = &self.stored.spec;
        let when = match &spec.when {
            WhenSpec::Cron { cron, time_zone } => cron.len() + time_zone.len(),
            WhenSpec::Every { every, .. } => every.len(),
            WhenSpec::At(_) => 0,
        };
        FIXED + spec.state.size() + spec.graph.len() + when
    }

    /// A run was started for the due time `at`.
    pub(super) fn run_started(&mut self, at: Timestamp, run: RunId) {
        self.stored.last_at = Some(at);
        self.stored.last_run = Some(run);
        self.stored.last_error = None;
        self.last_run_ended = false;
    }

    /// The schedule as clients see it.
    pub(super) fn view(&self, name: &Arc<str>) -> ScheduleView {
        let StoredSchedule { spec, progress, .. } = &self.stored;
        let next = match spec.paused {
            true => Vec::new(),
            false => self.schedule.when.next(progress.after, NEXT_LEN),
        };
        ScheduleView {
            name: name.clone(),
            spec: spec.clone(),
            created_at: self.stored.created_at,
            updated_at: self.stored.updated_at,
            next,
            waiting: progress.waiting.len(),
            last_at: self.stored.last_at,
            last_run: self.stored.last_run,
            last_error: self.stored.last_error.clone(),
            skipped: progress.skipped,
        }
    }
}

/// Checks the times of a new schedule, more strictly than those of a stored one.
pub(super) fn check_when(when: &WhenSpec, now: Timestamp) -> Result<(), ScheduleError> {
    let ahead = |pointer, at: &Timestamp| {
        check_ahead("then", *at, now).map_err(|message| ScheduleError::Invalid { pointer, message })
    };
    match when {
        WhenSpec::Cron { cron, time_zone } => When::cron(cron, time_zone).map(|_| ()).map_err(invalid_when),
        WhenSpec::Every { from, .. } => from.iter().try_for_each(|from| ahead("/when/from", from)),
        WhenSpec::At(at) => ahead("/when/at", at),
    }
}

fn compile(when: &WhenSpec, created_at: Timestamp) -> Result<When, WhenError> {
    match when {
        WhenSpec::Cron { cron, time_zone } => When::stored_cron(cron, time_zone),
        WhenSpec::Every { every, from } => When::every(every, from.unwrap_or(created_at)),
        WhenSpec::At(at) => Ok(When::At(*at)),
    }
}

/// The error for times that are not valid.
pub(super) fn invalid_when(error: WhenError) -> ScheduleError {
    let pointer = match &error {
        WhenError::Cron(_) => "/when/cron",
        WhenError::TimeZone(_) => "/when/time_zone",
        WhenError::Every(_) => "/when/every",
    };
    let message = error.to_string();
    ScheduleError::Invalid { pointer, message }
}
