//! Durations as text: `500ms`, `10s`, `1h30m`, `7d`.
//!
//! All durations follow these rules: in graphs, from expressions, in requests and in options.

use heddle_json::{Json, object::kind_of};
use serde_json::Value;

use crate::ids::Timestamp;

/// The longest duration: a hundred years of 365 days, in milliseconds.
pub const MAX_DURATION_MS: u64 = 100 * 365 * DAY;

const DAY: u64 = 24 * 60 * 60 * 1_000;
const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", DAY),
    ("w", 7 * DAY),
];

/// Parses a duration and returns milliseconds: `500ms`, `10s`, `1h30m`, `7d`.
///
/// # Errors
/// The form of a duration.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || {
        let seconds = text.trim();
        let is_bare = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        let unit = match is_bare {
            true => format!(": a number has a unit, as in \"{seconds}s\""),
            false => String::new(),
        };
        format!("expected a duration such as \"500ms\", \"10s\", \"1h30m\" or \"7d\", got {text:?}{unit}")
    };
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(negative(&format!("{text:?}")));
    }
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        if digits == 0 {
            return Err(wrong());
        }
        let number = &rest[..digits];
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
        // A number with too many digits is too large.
        let number = number.parse::<u64>().ok();
        total = number
            .and_then(|number| number.checked_mul(*unit))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MAX_DURATION_MS)
            .ok_or_else(|| too_long(&format!("{text:?}")))?;
    }
    Ok(total)
}

/// The milliseconds of a duration that an expression gave: a number of seconds, or a text.
///
/// # Errors
/// The problem of the value.
pub(crate) fn of_json(given: &Json) -> Result<u64, String> {
    let text = given.get();
    match serde_json::from_str(text) {
        Ok(Value::String(text)) => parse(&text),
        Ok(Value::Number(seconds)) => {
            let whole = seconds.as_u64().map(|seconds| seconds.checked_mul(1_000));
            let ms = match (whole, seconds.as_f64()) {
                (Some(ms), _) => ms,
                (None, Some(seconds)) if seconds < 0.0 => return Err(negative(text)),
                // A value that is too large becomes the largest number.
                (None, seconds) => seconds.map(|seconds| (seconds * 1e3).round() as u64),
            };
            let ms = ms.filter(|ms| *ms <= MAX_DURATION_MS);
            ms.ok_or_else(|| too_long(&format!("{text} s")))
        }
        _ => Err(format!(
            "expected seconds, or a duration such as \"10m\", got {}",
            kind_of(text).unwrap_or("nothing")
        )),
    }
}

/// The time that an expression gave: milliseconds since 1970, or an RFC 3339 text. It may be in the past.
///
/// # Errors
/// The problem of the value.
pub(crate) fn moment_of_json(given: &Json, now: Timestamp) -> Result<Timestamp, String> {
    let text = given.get();
    let at = match serde_json::from_str(text) {
        Ok(Value::String(moment)) => Timestamp::parse(&moment).ok_or_else(|| {
            format!("expected a time such as \"2026-12-01T09:00:00Z\" (RFC 3339), got {text}")
        })?,
        Ok(Value::Number(ms)) => match (ms.as_i64(), ms.as_f64()) {
            (Some(ms), _) => Timestamp(ms),
            // A fraction of a millisecond rounds up, so that the time is not reached too early.
            (None, Some(ms)) => Timestamp(ms.ceil() as i64),
            (None, None) => Timestamp(i64::MAX),
        },
        _ => {
            return Err(format!(
                "expected milliseconds since 1970, or a time such as \"2026-12-01T09:00:00Z\" (RFC 3339), got {}",
                kind_of(text).unwrap_or("nothing")
            ));
        }
    };
    check_ahead(text, at, now)?;
    Ok(at)
}

/// Checks that a time is not farther ahead than the longest duration; `text` is the time as written.
///
/// # Errors
/// A message with the limit, if `at` is farther ahead.
pub fn check_ahead(text: &str, at: Timestamp, now: Timestamp) -> Result<(), String> {
    let ahead = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or_default();
    match ahead <= MAX_DURATION_MS {
        true => Ok(()),
        false => Err(too_long(&format!("the time until {text}"))),
    }
}

fn too_long(what: &str) -> String {
    format!(
        "{what} is longer than the longest duration, {} (a hundred years)",
        in_units(MAX_DURATION_MS)
    )
}

fn negative(what: &str) -> String {
    format!("a duration cannot be negative, got {what}")
}

/// Formats milliseconds in the largest unit that divides them.
pub fn in_units(ms: u64) -> String {
    let mut units = UNITS.iter().rev();
    let whole = units.find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or_else(|| "0ms".to_owned(), |(name, unit)| format!("{}{name}", ms / unit))
}
