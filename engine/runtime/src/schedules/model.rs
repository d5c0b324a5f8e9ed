//! Schedules as clients write and read them.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    RunId, Timestamp,
    schedule::{CatchUp, Overlap},
};
use serde::{Deserialize, Serialize};

use crate::{errors::StartError, ports::StoreError};

/// The maximum number of schedules.
pub const MAX_SCHEDULES: usize = 10_000;
/// How many of a schedule's next times are shown.
pub const NEXT_LEN: usize = 5;

/// What a schedule starts, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// The graph's id or name. A name is resolved at every start, to the newest graph that has it.
    pub graph: String,
    /// The initial state of the runs.
    pub state: Object,
    /// The priority of the runs.
    pub priority: i32,
    /// When the schedule is due.
    pub when: WhenSpec,
    /// What to do if the schedule is due while its last run is active.
    pub overlap: Overlap,
    /// What to do about missed times.
    pub catch_up: CatchUp,
    /// Whether the schedule is paused.
    pub paused: bool,
}

/// The times of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenSpec {
    /// The times of a cron expression in a time zone.
    Cron {
        /// The cron expression, as in `0 9 * * 1-5`.
        cron: String,
        /// The name of the time zone.
        time_zone: String,
    },
    /// At a fixed interval.
    Every {
        /// The interval, such as `15m`.
        every: String,
        /// The first time. Default: the creation time of the schedule.
        from: Option<Timestamp>,
    },
    /// Once, at this time.
    At(Timestamp),
}

/// A schedule and its progress.
#[derive(Clone, Debug)]
pub struct ScheduleView {
    /// The schedule's name.
    pub name: Arc<str>,
    /// What the schedule starts, and when.
    pub spec: ScheduleSpec,
    /// When the schedule was created.
    pub created_at: Timestamp,
    /// When the schedule was last changed.
    pub updated_at: Timestamp,
    /// The next due times, at most [`NEXT_LEN`]. Empty while the schedule is paused, or if no time is left.
    pub next: Vec<Timestamp>,
    /// The number of starts that wait for the last run to end.
    pub waiting: usize,
    /// The latest due time for which a run was started.
    pub last_at: Option<Timestamp>,
    /// That run.
    pub last_run: Option<RunId>,
    /// When and why the latest start failed.
    pub last_error: Option<(Timestamp, Arc<str>)>,
    /// The number of due times without a start.
    pub skipped: u64,
}

/// Why an operation on a schedule failed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// No schedule has this name.
    #[error("there is no schedule `{0}`")]
    NoSuchSchedule(String),
    /// The schedule is not valid.
    #[error("{pointer}: {message}")]
    Invalid {
        /// The JSON pointer to the problem in the schedule.
        pointer: &'static str,
        /// Why the value is invalid.
        message: String,
    },
    /// The limit on schedules is reached.
    #[error("there are {MAX_SCHEDULES} schedules, the limit: delete one first")]
    TooMany,
    /// The limit on the memory of all schedules is reached.
    #[error(
        "all schedules would take {bytes} bytes, more than their limit of {limit} (max_schedule_bytes): \
         use a smaller state, or delete a schedule first"
    )]
    TooLarge {
        /// The bytes of all schedules with this one.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The schedule's run was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A read or write of the store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
