//! Ids and times.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a run: a UUID of version 7, so that ids sort by the time of the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl RunId {
    /// The time in the id, if it is a UUID of version 7.
    pub fn created_at(self) -> Option<Timestamp> {
        let ms = i64::try_from(self.0.as_u128() >> 80).ok();
        ms.filter(|_| self.0.get_version_num() == 7).map(Timestamp)
    }
}

impl FromStr for RunId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(RunId)
    }
}

/// The id of a graph: 32 hexadecimal digits of the SHA-256 of its definition.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct GraphId(pub Arc<str>);

impl fmt::Display for GraphId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SHA-256 of a plugin's component, as 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Digest(pub Arc<str>);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(bytes, 32).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The first `len` bytes of the SHA-256 of `bytes`, in hexadecimal.
pub(crate) fn hex(bytes: &[u8], len: usize) -> String {
    use std::fmt::Write;

    use sha2::Digest as _;
    let sum = sha2::Sha256::digest(bytes);
    sum.iter()
        .take(len)
        .fold(String::with_capacity(2 * len), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
}

/// A time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Formats as RFC 3339, or as milliseconds if the calendar has no such date.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => moment.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Timestamp {
    /// Parses an RFC 3339 time and drops fractions of a millisecond. A time beyond the range of the calendar,
    /// such as the end of the year 9999 in some offsets, gives the last or the first time.
    pub fn parse(text: &str) -> Option<Self> {
        read(text).map(|(at, _)| at)
    }

    /// Like [`Self::parse`], but rounds a fraction of a millisecond up.
    pub fn parse_up(text: &str) -> Option<Self> {
        read(text).map(|(at, is_between)| Self(at.0.saturating_add(i64::from(is_between))))
    }
}

/// The time in milliseconds, and whether a fraction was dropped.
fn read(text: &str) -> Option<(Timestamp, bool)> {
    if !offset_is_known(text) {
        return None;
    }
    let text = &*without_long_fraction(text);
    let split = |at: jiff::Timestamp| {
        let ns = at.as_nanosecond();
        let ms = i64::try_from(ns.div_euclid(1_000_000)).ok()?;
        Some((ms, ns.rem_euclid(1_000_000) > 0))
    };
    if let Some(before) = before_leap_second(text) {
        let before: jiff::Timestamp = before.parse().ok()?;
        let is_last = before.strftime("%H:%M:%S").to_string() == "23:59:59";
        let (ms, is_between) = split(before)?;
        return is_last.then_some((Timestamp(ms + 1_000), is_between));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        let (ms, is_between) = split(at)?;
        return Some((Timestamp(ms), is_between));
    }
    let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
    let complete = pieces.time().is_some() && pieces.offset().is_some();
    let at = Timestamp(match pieces.date().year() < 0 {
        true => i64::MIN,
        false => i64::MAX,
    });
    complete.then_some((at, false))
}

/// The time with at most nine digits of a second; RFC 3339 allows any number. If a dropped digit is not 0,
/// the last digit is not 0 either.
fn without_long_fraction(text: &str) -> Cow<'_, str> {
    const MOST: usize = 9;
    let fraction = text.find(['.', ',']).map_or(text.len(), |point| point + 1);
    let digits = text[fraction..].bytes().take_while(u8::is_ascii_digit).count();
    if digits <= MOST {
        return Cow::Borrowed(text);
    }
    let (kept, rest) = text[fraction..fraction + digits].split_at(MOST - 1);
    let last = match rest.bytes().all(|digit| digit == b'0') {
        true => '0',
        false => rest.chars().next().filter(|digit| *digit != '0').unwrap_or('1'),
    };
    Cow::Owned(format!(
        "{}{kept}{last}{}",
        &text[..fraction],
        &text[fraction + digits..]
    ))
}

/// The time one second earlier, if this one has the second 60. A leap second exists only at the end of a UTC
/// day. Like other systems, Heddle counts it as the next second.
fn before_leap_second(text: &str) -> Option<String> {
    let time = text.find(['T', 't', ' '])? + 1;
    let at = [(":", time + 6), ("", time + 4)]
        .into_iter()
        .find_map(|(colon, at)| {
            let is_colon = text.get(at.checked_sub(colon.len())?..at)? == colon;
            (is_colon && text.get(at..at + 2)? == "60").then_some(at)
        })?;
    // If an offset precedes it, the time has no seconds.
    let is_time = text[time..at]
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b':');
    is_time.then(|| format!("{}59{}", &text[..at], &text[at + 2..]))
}

/// Whether the hours of the offset are at most 23, as in RFC 3339. The Temporal format allows up to 25.
fn offset_is_known(text: &str) -> bool {
    let time = text.split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
    let offset = time.split_once(['+', '-']).map_or("", |(_, offset)| offset);
    let hours = offset.get(..2).and_then(|hours| hours.parse::<u8>().ok());
    hours.is_none_or(|hours| hours <= 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_second_is_at_the_end_of_a_day_and_counts_as_the_next_second() {
        let at = |text| Timestamp::parse(text).map(|at| at.0);
        let midnight = at("2017-01-01T00:00:00Z");
        assert!(midnight.is_some());
        assert_eq!(at("2016-12-31T23:59:60Z"), midnight);
        assert_eq!(at("2017-01-01T00:59:60+01:00"), midnight);
        assert_eq!(at("2016-12-31T23:59:60.250Z"), midnight.map(|at| at + 250));
        for wrong in [
            "2016-12-31T12:00:60Z",
            "2016-12-31T23:59:60+01:00",
            "2016-12-31T23:59:61Z",
            "2016-12-31T23:60:00Z",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_second_has_any_number_of_digits() {
        let at = |text| Timestamp::parse(text).map(|at| at.0);
        let up = |text| Timestamp::parse_up(text).map(|at| at.0);
        for (text, down, later) in [
            ("1970-01-01T00:00:01.5Z", 1_500, 1_500),
            ("1970-01-01T00:00:01.500000000000000Z", 1_500, 1_500),
            ("1970-01-01T00:00:01.123456789123456789+00:00", 1_123, 1_124),
            ("1970-01-01T00:00:01.000000000000001Z", 1_000, 1_001),
            ("1969-12-31T23:59:59.9999Z", -1, 0),
            ("2016-12-31T23:59:60.0001Z", 1_483_228_800_000, 1_483_228_800_001),
        ] {
            assert_eq!((at(text), up(text)), (Some(down), Some(later)), "{text}");
        }
        let end = "9999-12-31T23:59:59.9Z";
        assert_eq!((at(end), up(end)), (Some(i64::MAX), Some(i64::MAX)));
        assert_eq!(at("1970-01-01T00:00:01.Z"), None);
    }

    #[test]
    fn an_offset_is_less_than_a_day() {
        let at = |text| Timestamp::parse(text).map(|at| at.0);
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("1970-01-02T00:00:00+23:59"), Some(60_000));
        assert_eq!(at("1969-12-31T00:00:00-23:59"), Some(-60_000));
        for wrong in [
            "1970-01-02T00:00:00+24:00",
            "1970-01-02T00:00:00+25:00",
            "1970-01-02T00:00:00-25:59",
            "1970-01-02T00:00:00.5+2500",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
