//! Schedules: when runs are to be started, and what follows when a time has come.
//!
//! A schedule is asked with the time and with what became of its last run; it answers which starts are to be
//! made and how far it is then. It starts nothing itself.

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

/// The longest name of a schedule, in bytes.
pub const MAX_NAME: usize = 100;
/// The shortest interval.
pub const MIN_EVERY_MS: u64 = 1_000;
/// A time that is over by more than this was missed; by less, it is on time.
pub const LATE_MS: i64 = 60_000;
/// How many missed times are made up for at most: the latest ones.
pub const MAX_CATCH_UP: usize = 100;
/// How many missed times are counted one by one.
const MAX_MISSED: i64 = 100_000;

/// When runs are to be started.
#[derive(Clone, Debug)]
pub enum When {
    /// At every time that fits a cron expression, as the clocks of a time zone show it.
    Cron {
        /// The expression as it was written.
        text: Arc<str>,
        /// The name of the time zone.
        time_zone: Arc<str>,
        /// What both mean.
        rule: Box<CronRule>,
    },
    /// Every so many milliseconds from a time on, and at that time.
    Every {
        /// How many.
        ms: u64,
        /// From when on.
        from: Timestamp,
    },
    /// Once.
    At(Timestamp),
}

impl When {
    /// A cron expression: minute, hour, day of the month, month, day of the week.
    ///
    /// # Errors
    /// What is wrong with it: which field.
    pub fn cron(text: &str, time_zone: &str) -> Result<Self, WhenError> {
        Self::read_cron(text, time_zone, Reading::New)
    }

    /// A cron expression that a store has: earlier versions of Heddle accepted some that are refused in a new
    /// schedule, such as `*/61 * * * *`.
    ///
    /// # Errors
    /// What is wrong with it: which field.
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

    /// Every `text`, such as `15m`, from a time on.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// The first time after `at`; None where none follows.
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

    /// The times after `after` and up to `until`: the latest ones, at most `keep` of them, and how many they are
    /// in all, as far as they are counted.
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
                // No more than this many follow, as no rule names more than one time in its shortest interval.
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

/// What is wrong with when a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// The cron expression.
    #[error("{0}")]
    Cron(String),
    /// The time zone.
    #[error("{0}")]
    TimeZone(String),
    /// The interval.
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
        // Half a name is more often given than one with a slip in it: a city, a country.
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

/// What happens to a start while the run before is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is left out.
    #[default]
    Skip,
    /// It waits until that is over. One start waits; further ones are left out.
    Queue,
    /// It is made all the same.
    Allow,
}

/// What becomes of times that were missed while no engine ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are left out.
    None,
    /// One start is made for all of them.
    #[default]
    One,
    /// A start is made for each, at most [`MAX_CATCH_UP`] of them.
    All,
}

/// What a schedule is.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// When it is due.
    pub when: When,
    /// What if its last run is not over.
    pub overlap: Overlap,
    /// What of times that were missed.
    pub catch_up: CatchUp,
    /// Whether it stands still.
    pub paused: bool,
}

/// How far a schedule is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every time up to this one is dealt with.
    pub after: Timestamp,
    /// Times that came and whose starts are still to be made, in order.
    #[serde(default)]
    pub waiting: VecDeque<Timestamp>,
    /// Not before then: a start did not go through.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
    /// How many times were left out.
    #[serde(default)]
    pub skipped: u64,
}

impl Progress {
    /// That of a schedule which begins at this time.
    pub fn new(after: Timestamp) -> Self {
        Self {
            after,
            waiting: VecDeque::new(),
            not_before: None,
            skipped: 0,
        }
    }
}

/// What is to be done about a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The times for which a run is to be started.
    pub fire: Vec<Timestamp>,
    /// How far the schedule is when that is done.
    pub progress: Progress,
    /// When to ask again. None where only a change, or the end of its last run, leads to anything.
    pub wake_at: Option<Timestamp>,
}

/// What follows for a schedule at the time `now`; `busy` says that its last run is not over.
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

/// Takes the times that have come among those that wait.
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
    // However long a start does not go through, only so many wait.
    while progress.waiting.len() > MAX_CATCH_UP {
        progress.waiting.pop_front();
        progress.skipped += 1;
    }
}

/// Checks the name of a schedule.
///
/// # Errors
/// What a name looks like, where this is none.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fits) && !name.chars().all(|c| c == '.') {
        return Ok(());
    }
    Err(format!(
        "the name of a schedule is of 1 to {MAX_NAME} letters, digits and `_-.`, got {name:?}"
    ))
}
