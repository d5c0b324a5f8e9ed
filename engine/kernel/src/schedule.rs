//! Schedules: when runs start.
//!
//! [`decide`] gets the time and the state of the schedule's last run. It returns the starts that are due and
//! the schedule's new progress. It starts nothing itself.

mod clock;
mod cron;

use std::{collections::VecDeque, sync::Arc};

use heddle_expr::suggest::nearest;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

pub use self::clock::CronRule;
use self::cron::{Pattern, Reading};
use crate::{
    graph::{duration, duration_text},
    ids::Timestamp,
};

/// The length limit of a schedule's name, in bytes.
pub const MAX_NAME: usize = 100;
/// The shortest interval, in milliseconds.
pub const MIN_EVERY_MS: u64 = 1_000;
/// A start that is later than this many milliseconds counts as missed.
pub const LATE_MS: i64 = 60_000;
/// The number of missed starts that are caught up, the latest ones.
pub const MAX_CATCH_UP: usize = 100;
/// The number of missed times that are counted one by one.
const MAX_MISSED: i64 = 100_000;

/// When runs start.
#[derive(Clone, Debug)]
pub enum When {
    /// At every time that matches a cron expression in a time zone.
    Cron {
        /// The cron expression, exactly as given.
        text: Arc<str>,
        /// The name of the time zone.
        time_zone: Arc<str>,
        /// The parsed expression and time zone.
        rule: Box<CronRule>,
    },
    /// At `from` and then at a fixed interval.
    Every {
        /// The interval in milliseconds.
        ms: u64,
        /// The first time; the others are `ms` apart.
        from: Timestamp,
    },
    /// Once.
    At(Timestamp),
}

impl When {
    /// A cron expression: minute, hour, day of the month, month, day of the week.
    ///
    /// # Errors
    /// The problem and the field.
    pub fn cron(text: &str, time_zone: &str) -> Result<Self, WhenError> {
        Self::read_cron(text, time_zone, Reading::New)
    }

    /// A cron expression from the store. Earlier versions accepted some that are refused in new schedules,
    /// such as `*/61 * * * *`.
    ///
    /// # Errors
    /// The problem and the field.
    pub fn stored_cron(text: &str, time_zone: &str) -> Result<Self, WhenError> {
        Self::read_cron(text, time_zone, Reading::Stored)
    }

    fn read_cron(text: &str, time_zone: &str, reading: Reading) -> Result<Self, WhenError> {
        let zone = zone(time_zone).map_err(WhenError::TimeZone)?;
        let pattern = Pattern::read(text, reading).map_err(WhenError::Cron)?;
        Ok(Self::Cron {
            text: text.into(),
            time_zone: time_zone.into(),
            rule: Box::new(CronRule::new(pattern, zone)),
        })
    }

    /// An interval such as `15m`, from a time on.
    ///
    /// # Errors
    /// The problem of the interval.
    pub fn every(text: &str, from: Timestamp) -> Result<Self, WhenError> {
        let ms = duration(text).map_err(WhenError::Every)?;
        if ms < MIN_EVERY_MS {
            let least = duration_text(MIN_EVERY_MS);
            return Err(WhenError::Every(format!(
                "{text:?} is shorter than {least}, the shortest interval"
            )));
        }
        Ok(Self::Every { ms, from })
    }

    /// The first time after `at`; `None` if there is none.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { rule, .. } => {
                let at = jiff::Timestamp::from_millisecond(at.0).ok()?;
                Some(Timestamp(rule.next_after(at)?.as_millisecond()))
            }
            Self::Every { from, .. } if at < *from => Some(*from),
            Self::Every { ms, from } => {
                let ms = i64::try_from(*ms).ok()?;
                let passed = (at.0.checked_sub(from.0)?) / ms;
                let since = passed.checked_add(1)?.checked_mul(ms)?;
                from.0.checked_add(since).map(Timestamp)
            }
            Self::At(time) => (at < *time).then_some(*time),
        }
    }

    /// The next times after `at`, at most `count` of them.
    pub fn next(&self, at: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.next_after(at);
        std::iter::successors(first, |time| self.next_after(*time))
            .take(count)
            .collect()
    }

    /// The times after `after` up to `until`: the latest `keep` of them, and the number of all, up to the
    /// limit of counting.
    fn between(&self, after: Timestamp, until: Timestamp, keep: usize) -> (VecDeque<Timestamp>, u64) {
        let (mut latest, mut count, mut at) = (VecDeque::new(), 0_u64, after);
        while let Some(next) = self.next_after(at).filter(|next| *next <= until) {
            latest.push_back(next);
            if latest.len() > keep {
                latest.pop_front();
            }
            count += 1;
            at = next;
            if count == MAX_MISSED.unsigned_abs() {
                // At most this many follow, since no rule has more than one time in its shortest interval.
                let interval = match self {
                    Self::Every { ms, .. } => i64::try_from(*ms).unwrap_or(i64::MAX),
                    _ => 60_000,
                };
                at = at.max(Timestamp(
                    until.0.saturating_sub(MAX_MISSED.saturating_mul(interval)),
                ));
            }
        }
        (latest, count)
    }
}

/// The problem of a schedule's rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// The cron expression is invalid.
    #[error("{0}")]
    Cron(String),
    /// The time zone is unknown.
    #[error("{0}")]
    TimeZone(String),
    /// The interval is invalid.
    #[error("{0}")]
    Every(String),
}

/// The time zones that come with Heddle.
fn zones() -> TimeZoneDatabase {
    TimeZoneDatabase::bundled()
}

fn zone(name: &str) -> Result<TimeZone, String> {
    zones().get(name).map_err(|_| {
        let zones = zones();
        let names: Vec<String> = zones.available().map(|name| name.to_string()).collect();
        // Authors give half a name, such as a city, more often than a misspelt one.
        let wanted = name.to_lowercase();
        let mut near: Vec<&str> = names.iter().map(String::as_str).collect();
        near.retain(|zone| !wanted.is_empty() && zone.to_lowercase().contains(&wanted));
        near.truncate(3);
        if near.is_empty() {
            near.extend(nearest(name, names.iter().map(String::as_str)));
        }
        let near: Vec<String> = near.into_iter().map(|name| format!("`{name}`")).collect();
        let hint = match near.is_empty() {
            true => "a name of the IANA time zone database is expected, as in `Europe/Zurich`".to_owned(),
            false => format!("did you mean {}?", near.join(" or ")),
        };
        format!("there is no time zone `{name}`; {hint}")
    })
}

/// What happens to a start while the schedule's last run is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The start is skipped.
    #[default]
    Skip,
    /// The start waits for the end of that run. One start waits; further ones are skipped.
    Queue,
    /// The start is made.
    Allow,
}

/// What happens to starts that were missed while no engine ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are skipped.
    None,
    /// One start is made for all of them.
    #[default]
    One,
    /// Each start is made, at most [`MAX_CATCH_UP`] of them.
    All,
}

/// The rule of a schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// When starts are due.
    pub when: When,
    /// What happens to a start while the last run is active.
    pub overlap: Overlap,
    /// What happens to missed starts.
    pub catch_up: CatchUp,
    /// Whether the schedule is paused.
    pub paused: bool,
}

/// The progress of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every time up to this one was handled.
    pub after: Timestamp,
    /// Due times whose starts are still to be made, in order.
    #[serde(default)]
    pub waiting: VecDeque<Timestamp>,
    /// The earliest time of the next try, after a start failed.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// The number of skipped times.
    #[serde(default)]
    pub skipped: u64,
}

impl Progress {
    /// The progress of a schedule that begins at this time.
    pub fn new(after: Timestamp) -> Self {
        Self {
            after,
            waiting: VecDeque::new(),
            not_before: None,
            skipped: 0,
        }
    }
}

/// What a schedule needs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The times for which runs must be started.
    pub fire: Vec<Timestamp>,
    /// The progress of the schedule after these starts.
    pub progress: Progress,
    /// When to decide again; `None` if only a change of the schedule or the end of its last run matters.
    pub wake_at: Option<Timestamp>,
}

/// Decides which starts are due at `now`; `busy` says that the last run is active.
pub fn decide(schedule: &Schedule, progress: &Progress, busy: bool, now: Timestamp) -> Decision {
    let mut progress = progress.clone();
    if schedule.paused {
        return Decision {
            fire: Vec::new(),
            progress,
            wake_at: None,
        };
    }
    come(schedule, &mut progress, now);
    let held_up = progress.not_before.is_some_and(|at| now < at);
    let mut fire = Vec::new();
    if !held_up {
        progress.not_before = None;
        match schedule.overlap {
            Overlap::Allow => fire.extend(progress.waiting.drain(..)),
            _ if !busy => fire.extend(progress.waiting.pop_front()),
            _ => {}
        }
        let room = match schedule.overlap {
            Overlap::Skip => 0,
            Overlap::Queue if schedule.catch_up == CatchUp::All => MAX_CATCH_UP,
            Overlap::Queue => 1,
            Overlap::Allow => MAX_CATCH_UP,
        };
        progress.skipped += progress.waiting.len().saturating_sub(room) as u64;
        progress.waiting.truncate(room);
    }
    let next = schedule.when.next_after(progress.after);
    let wake_at = match progress.not_before {
        Some(at) => Some(next.map_or(at, |next| next.min(at))),
        None => next,
    };
    Decision {
        fire,
        progress,
        wake_at,
    }
}

/// Adds the times that are due to those that wait.
fn come(schedule: &Schedule, progress: &mut Progress, now: Timestamp) {
    if now <= progress.after {
        return;
    }
    let (mut come, count) = schedule.when.between(progress.after, now, MAX_CATCH_UP);
    progress.after = now;
    let on_time = come.back().is_some_and(|last| now.0 - last.0 <= LATE_MS);
    let keep = match schedule.catch_up {
        CatchUp::None => usize::from(on_time),
        CatchUp::One => 1,
        CatchUp::All => MAX_CATCH_UP,
    };
    while come.len() > keep {
        come.pop_front();
    }
    progress.skipped += count - come.len() as u64;
    progress.waiting.extend(come);
    // The number of waiting starts is limited, however long starts fail.
    while progress.waiting.len() > MAX_CATCH_UP {
        progress.waiting.pop_front();
        progress.skipped += 1;
    }
}

/// Checks the name of a schedule.
///
/// # Errors
/// The rule for names.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits) && !name.chars().all(|c| c == '.') {
        return Ok(());
    }
    Err(format!(
        "the name of a schedule is of 1 to {MAX_NAME} letters, digits and `_-.`, got {name:?}"
    ))
}
