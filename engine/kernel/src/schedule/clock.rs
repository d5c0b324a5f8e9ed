//! The times at which the clock of a time zone shows the times of a cron expression.
//!
//! An expression that follows the clock is due whenever the clock shows a matching time. An expression with
//! fixed times of day is due once for each of them: at the first occurrence if the clock shows it twice, and
//! right after the gap if the clock skips it. This is the rule of Vixie's cron.

use jiff::{
    Timestamp, ToSpan,
    civil::DateTime,
    tz::{Offset, TimeZone, TimeZoneTransition},
};

use super::cron::Pattern;

/// How many years ahead a time is searched. The rarest expressions, such as the fifth Friday of a February,
/// match once in 40 years.
const HORIZON_YEARS: i64 = 100;

/// A change of a zone's offset from UTC.
struct Change {
    at: Timestamp,
    before: Offset,
    after: Offset,
}

impl Change {
    fn read(zone: &TimeZone, transition: &TimeZoneTransition<'_>) -> Self {
        let at = transition.timestamp();
        let just_before = at.checked_sub(1.nanosecond()).unwrap_or(at);
        Self {
            at,
            before: zone.to_offset(just_before),
            after: transition.offset(),
        }
    }

    /// What the clock would show without the change, and what it shows with it.
    fn shown(&self) -> (DateTime, DateTime) {
        (self.before.to_datetime(self.at), self.after.to_datetime(self.at))
    }
}

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct CronRule {
    pattern: Pattern,
    zone: TimeZone,
}

impl CronRule {
    pub(super) fn new(pattern: Pattern, zone: TimeZone) -> Self {
        Self { pattern, zone }
    }

    /// The first time after `after` at which the expression is due.
    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        next_after(&self.pattern, &self.zone, after)
    }
}

fn next_after(pattern: &Pattern, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let first = after.checked_add(1.nanosecond()).ok()?;
    let last_year = after.checked_add((HORIZON_YEARS * 366 * 24).hours());
    let horizon = last_year.unwrap_or(Timestamp::MAX);
    let mut since = zone.preceding(first).next().map(|last| Change::read(zone, &last));
    let mut from = first;
    for change in zone.following(after).map(|next| Change::read(zone, &next)) {
        if change.at >= horizon {
            break;
        }
        let (end, resumes) = change.shown();
        let offset = change.before;
        if let Some(found) = in_stretch(pattern, since.as_ref(), (from, offset), end) {
            return Some(found);
        }
        if !pattern.follows_clock && pattern.first(end, resumes).is_some() {
            return Some(change.at);
        }
        from = change.at;
        since = Some(change);
    }
    let offset = zone.to_offset(from);
    in_stretch(
        pattern,
        since.as_ref(),
        (from, offset),
        offset.to_datetime(horizon),
    )
}

/// The first match in a period without a change of the offset, from `from` until the clock shows `end`.
/// `since` is the change at the start of the period.
fn in_stretch(
    pattern: &Pattern,
    since: Option<&Change>,
    (from, offset): (Timestamp, Offset),
    end: DateTime,
) -> Option<Timestamp> {
    let mut shown = offset.to_datetime(from);
    if let Some((before, _)) = since.filter(|_| !pattern.follows_clock).map(Change::shown) {
        // Up to this time, the clock shows its times for the second time.
        shown = shown.max(before);
    }
    offset.to_timestamp(pattern.first(shown, end)?).ok()
}
