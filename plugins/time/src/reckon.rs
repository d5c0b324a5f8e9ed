//! Calculates with times: differences between times, and sums of times and spans.

use heddle_plugin::prelude::*;
use jiff::{Span, Unit, ZonedDifference, ZonedRound};

use crate::instant::{TimeInput, TimeOutput};

/// The unit of a difference or of a floor.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum TimeUnit {
    /// Years, of 12 months.
    Years,
    /// Calendar months.
    Months,
    /// Weeks, of 7 days.
    Weeks,
    /// Days on the clocks of the zone, most of 24 hours.
    Days,
    /// Hours.
    Hours,
    /// Minutes.
    Minutes,
    /// Seconds.
    Seconds,
}

impl TimeUnit {
    fn unit(self) -> Unit {
        match self {
            Self::Years => Unit::Year,
            Self::Months => Unit::Month,
            Self::Weeks => Unit::Week,
            Self::Days => Unit::Day,
            Self::Hours => Unit::Hour,
            Self::Minutes => Unit::Minute,
            Self::Seconds => Unit::Second,
        }
    }
}

/// The input of `add`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Add {
    /// The time before the addition.
    time: TimeInput,
    /// How much to add: `1 month 2 days`, `-90m`, or in ISO 8601, `P1M2DT3H`. A month after 31 January is the last day of
    /// February; a day later is the same time on the clocks of the zone.
    span: String,
    /// The time zone for the calculation.
    zone: Option<String>,
    /// The unit whose beginning is the result, after the addition: of the day, the hour.
    floor: Option<TimeUnit>,
}

/// Adds a span to a time, or subtracts it, by the calendar and the clocks of a time zone.
#[tool(read_only, idempotent)]
fn add(input: Add) -> Result<TimeOutput> {
    let span: Span = input.span.trim().parse().map_err(|error| {
        let span = &input.span;
        Error::invalid_input(format!(
            "`{span}` is not a span of time such as `1 day 2 hours` or P1DT2H: {error}"
        ))
    })?;
    let zoned = input.time.read(input.zone.as_deref())?;
    let mut sum = zoned.checked_add(span).map_err(|error| {
        Error::invalid_input(format!(
            "`{}` from {zoned} is beyond the years -9999 to 9999: {error}",
            input.span
        ))
    })?;
    if let Some(unit) = input.floor {
        sum = floor(&sum, unit)?;
    }
    Ok(TimeOutput::of(&sum))
}

fn floor(zoned: &jiff::Zoned, unit: TimeUnit) -> Result<jiff::Zoned> {
    let date = zoned.date();
    let first = match unit {
        TimeUnit::Years => date.first_of_year(),
        TimeUnit::Months => date.first_of_month(),
        TimeUnit::Weeks => date.checked_sub(Span::new().days(date.weekday().to_monday_zero_offset()))?,
        TimeUnit::Days => date,
        TimeUnit::Hours | TimeUnit::Minutes | TimeUnit::Seconds => {
            let round = ZonedRound::new()
                .smallest(unit.unit())
                .mode(jiff::RoundMode::Floor);
            return Ok(zoned.round(round)?);
        }
    };
    // The first moment of a day, which is not midnight where the clocks are put forward then.
    Ok(first.to_zoned(zoned.time_zone().clone())?.start_of_day()?)
}

/// Two times.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Diff {
    /// The time to count from.
    from: TimeInput,
    /// The time to count to; before `from`, all is negative.
    to: TimeInput,
    /// The largest unit in `span`.
    #[serde(default = "days")]
    largest: TimeUnit,
    /// The time zone for the calculation.
    zone: Option<String>,
}

fn days() -> TimeUnit {
    TimeUnit::Days
}

/// The difference between two times.
#[derive(Serialize, JsonSchema)]
struct Between {
    /// The whole difference in seconds.
    seconds: f64,
    /// The difference by the calendar and the clocks, in ISO 8601: `P3DT4H`.
    span: String,
    /// The same for people: `3d 4h`.
    text: String,
}

/// Returns the difference between two times, in seconds and by the calendar.
#[tool(read_only, idempotent)]
fn diff(input: Diff) -> Result<Between> {
    let zone = input.zone.as_deref();
    let from = input.from.read(zone)?;
    // Days are only counted within one zone: that of `from`.
    let to = input.to.read(zone)?.with_time_zone(from.time_zone().clone());
    let span = from.until(ZonedDifference::new(&to).largest(input.largest.unit()))?;
    let nanoseconds = to.timestamp().as_nanosecond() - from.timestamp().as_nanosecond();
    Ok(Between {
        // Whole seconds and what is left of one are exact each.
        seconds: (nanoseconds / 1_000_000_000) as f64 + (nanoseconds % 1_000_000_000) as f64 / 1e9,
        span: span.to_string(),
        text: format!("{span:#}"),
    })
}
