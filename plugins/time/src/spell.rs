//! Converts texts to times, and times to texts.

use heddle_plugin::prelude::*;
use jiff::{Timestamp, Zoned, fmt::strtime};

use crate::instant::{TimeInput, TimeOutput, local, zone};

/// The input of `parse`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parse {
    /// The time, or the seconds since 1970.
    time: TimeInput,
    /// The format of the text, as in C's `strptime`: `%d/%m/%Y %H:%M`. Default: RFC 3339.
    format: Option<String>,
    /// The time zone of the output, and of the text if it has none: `Europe/Berlin`.
    zone: Option<String>,
}

/// Reads a time from a text, in RFC 3339 or a given format, and returns it in UTC and in a time zone.
#[tool(read_only, idempotent)]
fn parse(input: Parse) -> Result<TimeOutput> {
    let zone_name = input.zone.as_deref();
    match (&input.time, &input.format) {
        (TimeInput::Text(text), Some(format)) => Ok(TimeOutput::of(&read(text, format, zone_name)?)),
        (time, None) => Ok(TimeOutput::of(&time.read(zone_name)?)),
        (TimeInput::Seconds(_), Some(_)) => Err(Error::invalid_input(
            "a `format` is for a text, and `time` is a number",
        )),
    }
}

fn read(text: &str, format: &str, zone_name: Option<&str>) -> Result<Zoned> {
    let wrong = |error| Error::invalid_input(format!("`{text}` is not written as `{format}`: {error}"));
    let parts = strtime::parse(format, text).map_err(wrong)?;
    if let Ok(zoned) = parts.to_zoned() {
        return match zone_name {
            Some(_) => Ok(zoned.with_time_zone(zone(zone_name)?)),
            None => Ok(zoned),
        };
    }
    if let Ok(timestamp) = parts.to_timestamp() {
        return Ok(timestamp.to_zoned(zone(zone_name)?));
    }
    // A day without a time of the day is its first moment.
    let date = parts.to_date().map_err(wrong)?;
    let civil = match parts.hour() {
        Some(_) => date.to_datetime(parts.to_time().map_err(wrong)?),
        None => date.to_datetime(jiff::civil::Time::midnight()),
    };
    local(civil, zone_name)
}

/// The input of `format`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Format {
    /// The time, or the seconds since 1970.
    time: TimeInput,
    /// The format, as in C's `strftime`: `%A, %-d %B %Y at %H:%M`.
    format: String,
    /// The time zone to write it in.
    zone: Option<String>,
}

/// The result of `format`.
#[derive(Serialize, JsonSchema)]
struct Written {
    /// The time in the given format, with English names.
    text: String,
}

/// Writes a time as a text, in a format and a time zone.
#[tool(read_only, idempotent)]
fn format(input: Format) -> Result<Written> {
    let zoned = input.time.read(input.zone.as_deref())?;
    let written = strtime::format(&input.format, &zoned);
    let text = written.map_err(|error| {
        Error::invalid_input(format!("`{}` is not a valid format: {error}", input.format))
    })?;
    Ok(Written { text })
}

/// The input of `convert`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Convert {
    /// The time, or the seconds since 1970. A text without an offset is in UTC.
    time: TimeInput,
    /// The new zone: `Asia/Tokyo`.
    zone: String,
}

/// Converts a time to another time zone.
#[tool(read_only, idempotent)]
fn convert(input: Convert) -> Result<TimeOutput> {
    // A text without an offset is in UTC here: `zone` is where it goes.
    let zoned = input.time.read(None)?;
    Ok(TimeOutput::of(&zoned.with_time_zone(zone(Some(&input.zone))?)))
}

/// The input of `now`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Now {
    /// The time zone of the result.
    zone: Option<String>,
}

/// Returns the start of the step, or the current time if the operator granted the real clock.
#[tool(read_only)]
fn now(input: Now) -> Result<TimeOutput> {
    let zone = zone(input.zone.as_deref())?;
    Ok(TimeOutput::of(&Timestamp::now().to_zoned(zone)))
}
