//! Dates with a year, in ISO 8601 or in English notation.

use heddle_plugin::prelude::*;

/// A date in a text.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Date {
    /// The part of the text, as written.
    pub(crate) text: String,
    /// The date in ISO 8601: `2024-03-05`, or `2024-03` for a month. Absent if either of two numbers can be the
    /// month, as in 3/4/2024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) date: Option<String>,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A parsed value, and the rest of the text.
type Parsed<'a, T> = Option<(T, &'a str)>;

/// The meaning of a text that is shaped like a date.
enum Day {
    /// A day of the calendar, or a month of it.
    Iso(String),
    /// Either of two numbers can be the month.
    Ambiguous,
    /// Shaped like a date, but not a date of the calendar.
    Impossible,
}

/// The date that a text begins with, and its length; `None` stands for a length that is shaped like a
/// date and is none. It may be 2024-03-05 (with a time, which is not kept), 2024/03/05, 5/3/2024 or
/// 3/5/2024, 5 March 2024, 5th of March, 2024, March 5th, 2024, Mar. 5 2024, or March 2024.
pub(crate) fn date(text: &str) -> Option<(usize, Option<Date>)> {
    let (day, rest) = match text.bytes().next()? {
        first if first.is_ascii_digit() => iso(text).or_else(|| slashes(text)).or_else(|| day_first(text))?,
        // May and March are also verbs, which have no capital but at a sentence's start.
        first if first.is_ascii_uppercase() => month_first(text)?,
        _ => return None,
    };
    if rest.starts_with(|char: char| char.is_alphanumeric() || char == '_') {
        return None;
    }
    let len = text.len() - rest.len();
    let date = match day {
        Day::Iso(date) => Some(Some(date)),
        Day::Ambiguous => Some(None),
        Day::Impossible => None,
    };
    Some((
        len,
        date.map(|date| Date {
            text: text[..len].to_owned(),
            date,
        }),
    ))
}

/// `2024-03-05`, `2024/03/05`, `2024-03-05T10:00:00Z`.
fn iso(text: &str) -> Parsed<'_, Day> {
    let (year, rest) = digits(text, 4, 4)?;
    let separator = ['-', '/']
        .into_iter()
        .find(|&separator| rest.starts_with(separator))?;
    let (month, rest) = digits(rest.strip_prefix(separator)?, 2, 2)?;
    let (day, rest) = digits(rest.strip_prefix(separator)?, 2, 2)?;
    Some((calendar(year, month, day), time(rest).unwrap_or(rest)))
}

/// What follows a time of day, if one follows a `T`.
fn time(text: &str) -> Option<&str> {
    let (_, rest) = digits(text.strip_prefix('T')?, 2, 2)?;
    let end = rest
        .find(|char: char| !(char.is_ascii_digit() || ":.+-Z".contains(char)))
        .unwrap_or(rest.len());
    // The last full stop or colon is the sentence's.
    Some(&rest[rest[..end].trim_end_matches(['.', ':', '+', '-']).len()..])
}

/// `5/3/2024`, whichever of the two is the month, if only one can be.
fn slashes(text: &str) -> Parsed<'_, Day> {
    let (first, rest) = digits(text, 1, 2)?;
    let (second, rest) = digits(rest.strip_prefix('/')?, 1, 2)?;
    let (year, rest) = digits(rest.strip_prefix('/')?, 4, 4)?;
    let day = match (calendar(year, first, second), calendar(year, second, first)) {
        (Day::Iso(one), Day::Iso(other)) if one != other => Day::Ambiguous,
        (Day::Iso(date), _) | (_, Day::Iso(date)) => Day::Iso(date),
        _ => Day::Impossible,
    };
    Some((day, rest))
}

/// `5 March 2024`, `5th of March, 2024`.
fn day_first(text: &str) -> Parsed<'_, Day> {
    let (day, rest) = day_number(text)?;
    let rest = blank(rest)?;
    let rest = rest.strip_prefix("of").and_then(blank).unwrap_or(rest);
    let (month, rest) = month(rest)?;
    let (year, rest) = year(rest)?;
    Some((calendar(year, month, day), rest))
}

/// `March 5, 2024`, `Mar. 5th 2024`, `March 2024`.
fn month_first(text: &str) -> Parsed<'_, Day> {
    let (month, rest) = month(text)?;
    if let Some((day, rest)) = blank(rest).and_then(day_number) {
        if let Some((year, rest)) = year(rest) {
            return Some((calendar(year, month, day), rest));
        }
    }
    let (year, rest) = year(rest)?;
    Some((Day::Iso(format!("{year:04}-{month:02}")), rest))
}

/// A day of a month, with or without `st`, `nd`, `rd`, `th`.
fn day_number(text: &str) -> Parsed<'_, u32> {
    let (day, rest) = digits(text, 1, 2)?;
    let rest = ["st", "nd", "rd", "th"]
        .into_iter()
        .find_map(|suffix| rest.strip_prefix(suffix))
        .unwrap_or(rest);
    Some((day, rest))
}

/// A month's name or its first three letters, with or without a full stop.
fn month(text: &str) -> Parsed<'_, u32> {
    let end = text
        .find(|char: char| !char.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let name = text[..end].to_ascii_lowercase();
    let month = MONTHS.iter().position(|month| {
        *month == name || month[..3] == name || (name == "sept" && month.starts_with("sept"))
    })?;
    let rest = &text[end..];
    Some((month as u32 + 1, rest.strip_prefix('.').unwrap_or(rest)))
}

/// A year of four digits, after a blank, with or without a comma before that.
fn year(text: &str) -> Parsed<'_, u32> {
    digits(blank(text.strip_prefix(',').unwrap_or(text))?, 4, 4)
}

/// What follows at least one blank.
fn blank(text: &str) -> Option<&str> {
    let rest = text.trim_start();
    (rest.len() < text.len()).then_some(rest)
}

/// All digits at the start of a text, if their number is in the range.
fn digits(text: &str, at_least: usize, at_most: usize) -> Parsed<'_, u32> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    if !(at_least..=at_most).contains(&len) {
        return None;
    }
    Some((text[..len].parse().ok()?, &text[len..]))
}

/// The day of the Gregorian calendar, if it has one.
fn calendar(year: u32, month: u32, day: u32) -> Day {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Day::Impossible,
    };
    match (1..=days).contains(&day) {
        true => Day::Iso(format!("{year:04}-{month:02}-{day:02}")),
        false => Day::Impossible,
    }
}

#[cfg(test)]
mod tests {
    use crate::elements::Elements;

    fn dates(text: &str) -> Vec<(String, Option<String>)> {
        Elements::of(text)
            .dates
            .into_iter()
            .map(|date| (date.text, date.date))
            .collect()
    }

    fn read(text: &str) -> Option<String> {
        match &dates(text)[..] {
            [(_, date)] => date.clone(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_day_is_read_however_it_is_written() {
        for text in [
            "2024-03-05",
            "2024/03/05",
            "2024-03-05T10:20:30.5+01:00",
            "5 March 2024",
            "5th of March, 2024",
            "March 5, 2024",
            "Mar. 5th 2024",
            "5 MAR 2024",
            "March\n5, 2024",
        ] {
            assert_eq!(read(text).as_deref(), Some("2024-03-05"), "{text}");
            assert_eq!(
                read(&format!("on {text}, or ({text}).")[..text.len() + 4]).as_deref(),
                Some("2024-03-05")
            );
        }
        assert_eq!(read("Sept. 30, 1999").as_deref(), Some("1999-09-30"));
        assert_eq!(read("in May 2024.").as_deref(), Some("2024-05"));
    }

    #[test]
    fn the_text_of_a_date_ends_with_it() {
        let found = dates("From 2024-03-05T10:20. To March 5, 2024, and 1 May 2025.");
        let texts: Vec<_> = found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["2024-03-05T10:20", "March 5, 2024", "1 May 2025"]);
    }

    #[test]
    fn a_day_in_slashes_is_read_if_there_is_one_way_to() {
        assert_eq!(read("25/12/2024").as_deref(), Some("2024-12-25"));
        assert_eq!(read("12/25/2024").as_deref(), Some("2024-12-25"));
        assert_eq!(read("3/3/2024").as_deref(), Some("2024-03-03"));
        assert_eq!(read("3/4/2024"), None);
    }

    #[test]
    fn february_has_29_days_in_leap_years_alone() {
        assert_eq!(read("2024-02-29").as_deref(), Some("2024-02-29"));
        assert_eq!(read("2000-02-29").as_deref(), Some("2000-02-29"));
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "31 April 2024",
            "99/99/2024",
        ] {
            let found = Elements::of(text);
            assert_eq!((found.dates.len(), found.numbers.len()), (0, 0), "{text}");
        }
    }

    #[test]
    fn text_that_only_resembles_a_date_is_not_a_date() {
        for text in [
            "you may 2024 times",
            "Marching 5, 2024",
            "2024-03-051",
            "March 5",
            "12024-03-05",
            "5 Marches 2024",
        ] {
            assert_eq!(dates(text), [], "{text}");
        }
    }
}
