//! Times as input and output.

use heddle_plugin::prelude::*;
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};

/// A time as an input: a text or a number.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum TimeInput {
    /// A text in RFC 3339 or RFC 9557: `2026-03-29T01:30:00Z`, `2026-03-29T02:30:00+01:00[Europe/Berlin]`. Without an
    /// offset, or as a day alone, it is a time in `zone`.
    Text(String),
    /// The seconds since 1970 in UTC, which may have a fraction.
    Seconds(f64),
}

/// A time as an output: as instant, in its zone, and by the calendar.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TimeOutput {
    /// The instant in UTC, in RFC 3339: `2026-03-29T01:30:00Z`.
    time: String,
    /// The time in its zone, in RFC 9557: `2026-03-29T03:30:00+02:00[Europe/Berlin]`.
    local: String,
    /// The IANA name of the zone, such as `Europe/Berlin`.
    zone: String,
    /// The offset of the zone from UTC at that time, in seconds; positive to the east.
    offset_s: i32,
    /// The milliseconds since 1970 in UTC.
    unix_ms: i64,
    /// The day in the zone: `2026-03-29`.
    date: String,
    /// The day of the week in the zone, from 1 for Monday to 7 for Sunday.
    weekday: i8,
    /// The day of the year, from 1.
    day_of_year: i16,
    /// The week of ISO 8601 in which the day is: `2026-W13`.
    week: String,
}

/// The zone with this name. None is UTC.
pub(crate) fn zone(name: Option<&str>) -> Result<TimeZone> {
    match name {
        None => Ok(TimeZone::UTC),
        Some(name) => TimeZone::get(name).map_err(|_| {
            Error::invalid_input(format!(
                "there is no time zone `{name}`: write it like Europe/Berlin or America/New_York"
            ))
        }),
    }
}

impl TimeInput {
    /// The time, in the requested zone, else in its own.
    pub(crate) fn read(&self, zone_name: Option<&str>) -> Result<Zoned> {
        let text = match self {
            Self::Text(text) => text.trim(),
            Self::Seconds(seconds) => return Ok(of_seconds(*seconds)?.to_zoned(zone(zone_name)?)),
        };
        if let Ok(zoned) = text.parse::<Zoned>() {
            return match zone_name {
                Some(_) => Ok(zoned.with_time_zone(zone(zone_name)?)),
                None => Ok(zoned),
            };
        }
        if let Ok(timestamp) = text.parse::<Timestamp>() {
            return Ok(timestamp.to_zoned(zone(zone_name)?));
        }
        let civil = text.parse::<civil::DateTime>().map_err(|error| {
            Error::invalid_input(format!(
                "`{text}` is not a time like 2026-03-29T01:30:00Z: {error}. The function `parse` reads others by a `format`"
            ))
        })?;
        local(civil, zone_name)
    }
}

/// A time on the clocks of a zone. A clock that is put forward skips an hour: a time in it is the one an hour later; of an hour
/// that comes twice, it is the first.
pub(crate) fn local(civil: civil::DateTime, zone_name: Option<&str>) -> Result<Zoned> {
    let zoned = civil.to_zoned(zone(zone_name)?);
    zoned.map_err(|error| {
        Error::invalid_input(format!("`{civil}` is outside of the supported times: {error}"))
    })
}

fn of_seconds(seconds: f64) -> Result<Timestamp> {
    let out = || {
        Error::invalid_input(format!(
            "{seconds} seconds since 1970 is not in the years -9999 to 9999"
        ))
    };
    // Microseconds are as much as a double can tell apart in our days.
    let micros = (seconds * 1e6).round();
    if !micros.is_finite() || micros.abs() > i64::MAX as f64 {
        return Err(out());
    }
    Timestamp::from_microsecond(micros as i64).map_err(|_| out())
}

impl TimeOutput {
    pub(crate) fn of(zoned: &Zoned) -> Self {
        let week = zoned.date().iso_week_date();
        Self {
            time: zoned.timestamp().to_string(),
            local: zoned.to_string(),
            zone: zoned
                .time_zone()
                .iana_name()
                .map_or_else(|| zoned.offset().to_string(), str::to_owned),
            offset_s: zoned.offset().seconds(),
            unix_ms: zoned.timestamp().as_millisecond(),
            date: zoned.date().to_string(),
            weekday: zoned.weekday().to_monday_one_offset(),
            day_of_year: zoned.day_of_year(),
            week: format!("{:04}-W{:02}", week.year(), week.week()),
        }
    }
}
