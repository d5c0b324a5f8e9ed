//! Cron expressions: the values that each field matches, and the local times that match all fields.
//!
//! Time zones are left to [`super::clock`], which finds the times at which a zone's clock shows these local
//! times.

use jiff::civil::{Date, DateTime};

/// One field of an expression: its name, its numbers, and the names that may stand for them.
struct Field {
    name: &'static str,
    expected: &'static str,
    least: u8,
    most: u8,
    /// The largest step: as many numbers as there are.
    largest_step: u8,
    /// The names, the first one for `least`.
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MINUTE: Field = Field {
    name: "minute",
    expected: "0 to 59",
    least: 0,
    most: 59,
    largest_step: 60,
    names: &[],
};
const HOUR: Field = Field {
    name: "hour",
    expected: "0 to 23",
    least: 0,
    most: 23,
    largest_step: 24,
    names: &[],
};
const DAY: Field = Field {
    name: "day of the month",
    expected: "1 to 31, or L for the last",
    least: 1,
    most: 31,
    largest_step: 31,
    names: &[],
};
const MONTH: Field = Field {
    name: "month",
    expected: "1 to 12, or JAN to DEC",
    least: 1,
    most: 12,
    largest_step: 12,
    names: &MONTHS,
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    expected: "0 to 7 (both are Sunday), or SUN to SAT",
    least: 0,
    most: 7,
    largest_step: 7,
    names: &WEEKDAYS,
};
/// The fields in the order in which an expression has them.
const FIELDS: [Field; 5] = [MINUTE, HOUR, DAY, MONTH, WEEKDAY];
/// Names for whole expressions.
const NICKNAMES: [(&str, &str); 6] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A year by which every expression that ever matches has matched: the calendar repeats every 400 years.
const FIRST_YEAR: i16 = 2000;

/// The rules by which an expression is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Those for new expressions.
    New,
    /// Those of earlier versions: steps that are too large, names of another field, and list elements without
    /// an effect are allowed.
    Stored,
}

/// A parsed cron expression: the allowed values of each field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    minutes: Set,
    hours: Set,
    months: Set,
    days: Days,
    weekdays: Weekdays,
    /// Whether the day must match both day fields. Otherwise one match is enough if both fields are given.
    both_days: bool,
    /// Whether the minute or the hour contains `*`: then the expression follows the clock. Otherwise it has
    /// fixed times of day.
    pub(super) follows_clock: bool,
}

/// A set of numbers up to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u64);

/// The condition on the day of the month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Days {
    any: bool,
    numbers: Set,
    /// `L`: the last day.
    last: bool,
    /// `LW`: the last day from Monday to Friday.
    last_workday: bool,
    /// `15W`: the day from Monday to Friday that is nearest to this one, in the same month.
    workdays: Set,
}

/// The condition on the day of the week.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Weekdays {
    any: bool,
    numbers: Set,
    /// `5L`: the last one in the month.
    last: Set,
    /// `5#2`: the first to the fifth in the month.
    nth: [Set; 5],
}

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0 & (1 << number) != 0)
    }

    fn add(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    /// The smallest number from `number` on.
    fn from(self, number: i8) -> Option<i8> {
        let rest = self.0 & u64::MAX.checked_shl(u32::try_from(number).ok()?)?;
        let least = rest.trailing_zeros();
        i8::try_from(least).ok().filter(|_| least < u64::BITS)
    }
}

/// One element of a list.
struct Element {
    numbers: Vec<u8>,
    star: bool,
}

impl Pattern {
    /// Parses an expression.
    ///
    /// # Errors
    /// The field, the element of the field, and what is expected there.
    pub(super) fn read(text: &str, reading: Reading) -> Result<Self, String> {
        let parts = parts(text)?;
        let wrong = |field: &Field, part: &str, reason: Option<String>| {
            let reason = reason.unwrap_or_else(|| {
                format!(
                    "expected `*`, or numbers from {}, as in `5`, `1,15`, `2-6` or `*/2`",
                    field.expected
                )
            });
            format!("the {}, `{part}`, is wrong: {reason}", field.name)
        };
        let [minute, hour, day, month, weekday] = parts;
        let numbers = |field: &Field, part: &str| {
            let (mut set, mut star) = (Set::default(), false);
            for element in elements(part, reading) {
                let element = read_element(field, element, reading);
                let element = element.map_err(|reason| wrong(field, part, reason))?;
                star |= element.star;
                element.numbers.into_iter().for_each(|number| set.add(number));
            }
            Ok::<_, String>((set, star))
        };
        let (minutes, minute_star) = numbers(&MINUTE, minute)?;
        let (hours, hour_star) = numbers(&HOUR, hour)?;
        let (months, _) = numbers(&MONTH, month)?;
        let days = Days::read(day, reading).map_err(|reason| wrong(&DAY, day, reason))?;
        let both = weekday.strip_prefix('+');
        let weekdays = Weekdays::read(both.unwrap_or(weekday), reading)
            .map_err(|reason| wrong(&WEEKDAY, weekday, reason))?;
        let pattern = Self {
            minutes,
            hours,
            months,
            days,
            weekdays,
            both_days: both.is_some(),
            follows_clock: minute_star || hour_star,
        };
        let first = DateTime::constant(FIRST_YEAR, 1, 1, 0, 0, 0, 0);
        let last = DateTime::constant(FIRST_YEAR + 400, 1, 1, 0, 0, 0, 0);
        // A day that no month has.
        match pattern.first(first, last) {
            Some(_) => Ok(pattern),
            None => Err(format!(
                "`{text}` names no time that ever comes: check its day and month"
            )),
        }
    }

    /// The first whole minute from `from` on and before `end` that matches.
    pub(super) fn first(&self, from: DateTime, end: DateTime) -> Option<DateTime> {
        let (mut date, mut hour, mut minute) = (from.date(), from.hour(), from.minute());
        if from.second() > 0 || from.subsec_nanosecond() > 0 {
            // Minute 60 stands for the next hour.
            minute += 1;
        }
        while date <= end.date() {
            if !self.months.has(date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
                (hour, minute) = (0, 0);
                continue;
            }
            if self.has_day(date)
                && let Some((hour, minute)) = self.time_from(hour, minute)
            {
                let found = date.at(hour, minute, 0, 0);
                return (found < end).then_some(found);
            }
            date = date.tomorrow().ok()?;
            (hour, minute) = (0, 0);
        }
        None
    }

    /// The first time of day from this one on.
    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        if self.hours.has(hour)
            && let Some(minute) = self.minutes.from(minute)
        {
            return Some((hour, minute));
        }
        Some((self.hours.from(hour + 1)?, self.minutes.from(0)?))
    }

    fn has_day(&self, date: Date) -> bool {
        let (day, weekday) = (self.days.has(date), self.weekdays.has(date));
        match (self.days.any, self.weekdays.any) {
            (true, true) => true,
            (false, true) => day,
            (true, false) => weekday,
            (false, false) if self.both_days => day && weekday,
            (false, false) => day || weekday,
        }
    }
}

/// The five fields of an expression.
fn parts(text: &str) -> Result<[&str; 5], String> {
    let mut parts: Vec<&str> = text.split_whitespace().collect();
    if let [name] = &*parts
        && name.starts_with('@')
    {
        let known = NICKNAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, whole) = known.ok_or_else(|| {
            let names = NICKNAMES.map(|(name, _)| name).join(", ");
            format!("unknown name `{name}`; known names: {names}")
        })?;
        parts = whole.split_whitespace().collect();
    }
    let count = parts.len();
    parts.try_into().map_err(|_| {
        let names = FIELDS.map(|field| field.name).join(", ");
        format!("a cron expression has five parts ({names}), as in \"0 9 * * 1-5\"; `{text}` has {count}")
    })
}

/// The elements of a field's list.
fn elements(part: &str, reading: Reading) -> impl Iterator<Item = &str> {
    let all = part.split(',');
    all.filter(move |element| {
        reading == Reading::New || !(element.is_empty() || element.eq_ignore_ascii_case("L"))
    })
}

/// Parses `*`, `5`, `2-6`, `*/10` or `2-6/2`. The error explains the problem unless it is evident.
fn read_element(field: &Field, element: &str, reading: Reading) -> Result<Element, Option<String>> {
    let (range, step) = match element.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (element, None),
    };
    let star = range == "*";
    let (least, most) = match range.split_once('-') {
        _ if star => (field.least, field.most),
        Some((least, most)) => {
            let least = number(field, least, reading).ok_or(None)?;
            let mut last = number(field, most, reading).ok_or(None)?;
            if last == 0 && field.most == WEEKDAY.most && most.eq_ignore_ascii_case(WEEKDAYS[0]) {
                // Sunday ends a week, too.
                last = WEEKDAY.most;
            }
            if least > last {
                return Err(Some(format!(
                    "the range `{range}` ends before it begins: write it as two, separated by a comma"
                )));
            }
            (least, last)
        }
        None => {
            let number = number(field, range, reading).ok_or(None)?;
            if step.is_some() {
                return Err(Some(format!(
                    "a step follows `*` or a range, as in `*/2` or `{number}-{}/2`",
                    field.most
                )));
            }
            (number, number)
        }
    };
    let step = match step {
        None => 1,
        Some(step) => {
            let largest = field.largest_step;
            let digits = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
            let number = step.parse::<u16>().ok().filter(|step| digits && *step > 0);
            match number {
                Some(number) if number <= largest.into() || reading == Reading::Stored => number,
                _ => {
                    return Err(Some(format!(
                        "the step of `{element}` has to be a whole number from 1 to {largest}"
                    )));
                }
            }
        }
    };
    let numbers = (least..=most).step_by(step.into()).collect();
    Ok(Element { numbers, star })
}

/// A number of a field, or the name that stands for it.
fn number(field: &Field, text: &str, reading: Reading) -> Option<u8> {
    let place = |names: &[&str], least: u8| {
        let at = names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
        Some(least + u8::try_from(at).ok()?)
    };
    if let Some(number) = place(field.names, field.least) {
        return Some(number);
    }
    let elsewhere = || place(&MONTHS, MONTH.least).or_else(|| place(&WEEKDAYS, WEEKDAY.least));
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match digits {
        true => text.parse().ok(),
        false if reading == Reading::Stored => elsewhere(),
        false => None,
    };
    number.filter(|number| (field.least..=field.most).contains(number))
}

impl Days {
    fn read(part: &str, reading: Reading) -> Result<Self, Option<String>> {
        let mut days = Self {
            any: part == "*" || part == "?",
            ..Self::default()
        };
        if days.any {
            return Ok(days);
        }
        for element in part.split(',') {
            let upper = element.to_ascii_uppercase();
            match upper.strip_suffix('W') {
                _ if element.is_empty() && reading == Reading::Stored => {}
                _ if upper == "L" => days.last = true,
                Some("L") => days.last_workday = true,
                Some(day) => days.workdays.add(number(&DAY, day, reading).ok_or(None)?),
                None => {
                    let element = read_element(&DAY, element, reading)?;
                    element.numbers.into_iter().for_each(|day| days.numbers.add(day));
                }
            }
        }
        Ok(days)
    }

    fn has(&self, date: Date) -> bool {
        let (day, last) = (date.day(), date.days_in_month());
        self.numbers.has(day)
            || (self.last && day == last)
            || (self.last_workday && day == nearest_workday(date.last_of_month()))
            || (day.saturating_sub(2).max(1)..=(day + 2).min(last)).any(|near| {
                let named = self.workdays.has(near);
                named
                    && Date::new(date.year(), date.month(), near)
                        .is_ok_and(|date| nearest_workday(date) == day)
            })
    }
}

/// The day from Monday to Friday that is nearest to a day, in the same month.
fn nearest_workday(date: Date) -> i8 {
    let day = date.day();
    match date.weekday().to_sunday_zero_offset() {
        6 if day > 1 => day - 1,
        6 => day + 2,
        0 if day < date.days_in_month() => day + 1,
        0 => day - 2,
        _ => day,
    }
}

impl Weekdays {
    fn read(part: &str, reading: Reading) -> Result<Self, Option<String>> {
        let mut weekdays = Self {
            any: part == "*" || part == "?",
            ..Self::default()
        };
        if weekdays.any {
            return Ok(weekdays);
        }
        for element in elements(part, reading) {
            if element.eq_ignore_ascii_case("L") {
                let message = "`L` alone is for the day of the month; the last Friday of a month is `FRIL`";
                return Err(Some(message.to_owned()));
            }
            let last = element.strip_suffix(['L', 'l']);
            let (range, nth) = match (last, element.split_once('#')) {
                (None, Some((range, nth))) => (range, Some(nth)),
                (last, _) => (last.map_or(element, |range| range.trim_end_matches('#')), None),
            };
            let set = match nth {
                None if last.is_some() => &mut weekdays.last,
                None => &mut weekdays.numbers,
                Some(nth) => {
                    let nth = nth.parse::<usize>().ok();
                    let set = nth.and_then(|nth| weekdays.nth.get_mut(nth.checked_sub(1)?));
                    set.ok_or_else(|| {
                        let message = "after `#` comes which one of the month: 1 to 5, as in `MON#1`";
                        Some(message.to_owned())
                    })?
                }
            };
            let numbers = read_element(&WEEKDAY, range, reading)?.numbers;
            numbers.into_iter().for_each(|day| set.add(day % 7));
        }
        Ok(weekdays)
    }

    fn has(&self, date: Date) -> bool {
        let (day, weekday) = (date.day(), date.weekday().to_sunday_zero_offset());
        let nth = usize::try_from((day - 1) / 7).ok();
        self.numbers.has(weekday)
            || nth.is_some_and(|nth| self.nth[nth].has(weekday))
            || (self.last.has(weekday) && day + 7 > date.days_in_month())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_a_whole_minute_from_the_start_on_and_before_the_end() {
        let first = |pattern: &str, from: &str, end: &str| {
            let pattern = Pattern::read(pattern, Reading::New).unwrap();
            let found = pattern.first(from.parse().unwrap(), end.parse().unwrap());
            found.map(|found| found.to_string())
        };
        for (pattern, from, end, found) in [
            (
                "* * * * *",
                "2026-01-01T10:05",
                "2026-01-02T00:00",
                "2026-01-01T10:05:00",
            ),
            (
                "* * * * *",
                "2026-01-01T10:05:01",
                "2026-01-02T00:00",
                "2026-01-01T10:06:00",
            ),
            (
                "* * * * *",
                "2026-01-01T10:05:00.5",
                "2026-01-02T00:00",
                "2026-01-01T10:06:00",
            ),
            (
                "* * * * *",
                "2026-01-01T10:59:30",
                "2026-01-02T00:00",
                "2026-01-01T11:00:00",
            ),
            (
                "* * * * *",
                "2026-01-01T23:59:30",
                "2026-01-02T00:01",
                "2026-01-02T00:00:00",
            ),
            (
                "30 9 * * *",
                "2026-01-01T09:30",
                "2026-01-01T09:31",
                "2026-01-01T09:30:00",
            ),
            (
                "30 9 * * *",
                "2026-01-01T09:31",
                "2026-01-03T00:00",
                "2026-01-02T09:30:00",
            ),
            (
                "0 0 1 3 *",
                "2026-01-15T12:00",
                "2027-01-01T00:00",
                "2026-03-01T00:00:00",
            ),
            (
                "0 0 29 2 *",
                "2026-12-31T12:00",
                "2030-01-01T00:00",
                "2028-02-29T00:00:00",
            ),
        ] {
            assert_eq!(
                first(pattern, from, end).as_deref(),
                Some(found),
                "{pattern} from {from}"
            );
        }
        for (pattern, from, end) in [
            ("* * * * *", "2026-01-01T10:05", "2026-01-01T10:05"),
            ("30 9 * * *", "2026-01-01T09:30", "2026-01-01T09:30"),
            ("30 9 * * *", "2026-01-01T09:30:01", "2026-01-02T09:30"),
            ("0 0 29 2 *", "2025-03-01T00:00", "2028-02-29T00:00"),
        ] {
            assert_eq!(
                first(pattern, from, end),
                None,
                "{pattern} from {from} until {end}"
            );
        }
    }
}
