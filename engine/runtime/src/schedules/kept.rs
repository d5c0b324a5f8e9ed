//! A schedule as it is kept, and in memory.

use std::sync::Arc;

use heddle_kernel::{
    RunId, Timestamp,
    graph::check_ahead,
    schedule::{Progress, Schedule, When, WhenError},
};
use serde::{Deserialize, Serialize};

use super::{NEXT_LEN, ScheduleError, ScheduleSpec, ScheduleView, WhenSpec};

/// The form of what is kept.
pub(super) const FORM: u32 = 1;

/// A schedule as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
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
pub(super) struct Entry {
    pub(super) kept: Kept,
    pub(super) schedule: Schedule,
    /// When it is to be looked at.
    pub(super) look_at: Option<Timestamp>,
    /// Whether its last run is known to be over.
    pub(super) over: bool,
    /// Whether it is kept as it is here.
    pub(super) saved: bool,
}

/// The time that is before every other.
pub(super) const AT_ONCE: Option<Timestamp> = Some(Timestamp(i64::MIN));

impl Entry {
    pub(super) fn new(kept: Kept) -> Result<Self, WhenError> {
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

    /// About how many bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        /// What every schedule takes: its fields, the times of its starts that wait, and its last error.
        const FIXED: usize = 2 << 10;
        let spec = &self.kept.spec;
        let when = match &spec.when {
            WhenSpec::Cron { cron, time_zone } => cron.len() + time_zone.len(),
            WhenSpec::Every { every, .. } => every.len(),
            WhenSpec::At(_) => 0,
        };
        FIXED + spec.state.size() + spec.graph.len() + when
    }

    pub(super) fn started(&mut self, at: Timestamp, run: RunId) {
        self.kept.last_at = Some(at);
        self.kept.last_run = Some(run);
        self.kept.last_error = None;
        self.over = false;
    }

    pub(super) fn view(&self, name: &Arc<str>) -> ScheduleView {
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

/// Checks when a new schedule is due, more strictly than one that is kept is read.
pub(super) fn check(when: &WhenSpec, now: Timestamp) -> Result<(), ScheduleError> {
    let ahead = |pointer, at: &Timestamp| {
        check_ahead("then", *at, now).map_err(|message| ScheduleError::Invalid { pointer, message })
    };
    match when {
        WhenSpec::Cron { cron, time_zone } => When::cron(cron, time_zone).map(|_| ()).map_err(where_wrong),
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

pub(super) fn where_wrong(error: WhenError) -> ScheduleError {
    let pointer = match &error {
        WhenError::Cron(_) => "/when/cron",
        WhenError::TimeZone(_) => "/when/time_zone",
        WhenError::Every(_) => "/when/every",
    };
    let message = error.to_string();
    ScheduleError::Invalid { pointer, message }
}
