//! Cron expressions in time zones: named cases, and a comparison with a clock that advances minute by minute,
//! as in Vixie's cron.
#![allow(clippy::unwrap_used)]

use expect_test::{Expect, expect};
use heddle_kernel::{Timestamp, schedule::When};
use jiff::{
    ToSpan,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};
use proptest::prelude::*;

fn moment(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

/// The local times at which an expression is due in the days from `from` on.
fn check(expression: &str, zone: &str, (from, days): (&str, i64), expect: Expect) {
    let report = match When::cron(expression, zone) {
        Err(error) => error.to_string(),
        Ok(when) => {
            let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
            let from = from.parse::<DateTime>().unwrap();
            let end = zone.to_timestamp(from + days.days()).unwrap();
            let due = due(&when, zone.to_timestamp(from).unwrap(), end);
            let shown = due.into_iter().map(|at| {
                let shown = at.to_zoned(zone.clone());
                format!("{}{}", shown.strftime("%d %H:%M"), shown.strftime("%:z"))
            });
            shown.collect::<Vec<_>>().join(", ")
        }
    };
    expect.assert_eq(&report);
}

/// The times of a rule from `from` until `end`.
fn due(when: &When, from: jiff::Timestamp, end: jiff::Timestamp) -> Vec<jiff::Timestamp> {
    let mut at = Timestamp(from.as_millisecond() - 1);
    let mut due = Vec::new();
    while let Some(next) = when.next_after(at) {
        assert!(next > at, "times go forward");
        let next_at = jiff::Timestamp::from_millisecond(next.0).unwrap();
        if next_at >= end {
            break;
        }
        due.push(next_at);
        at = next;
    }
    due
}

const TORONTO: &str = "America/Toronto";
/// The days on which 02:00 is followed by 03:00, and by 01:00.
const SPRING: (&str, i64) = ("2027-03-14T00:00", 1);
const AUTUMN: (&str, i64) = ("2027-11-07T00:00", 1);

#[test]
fn a_fixed_time_that_the_clock_leaves_out_is_due_once_right_after_the_gap() {
    let check = |expression, expect| check(expression, TORONTO, SPRING, expect);
    check("30 2 * * *", expect!["14 03:00-04:00"]);
    check("15 2,14 * * *", expect!["14 03:00-04:00, 14 14:15-04:00"]);
    check("0,30 2 * * *", expect!["14 03:00-04:00"]);
    check(
        "0,30 1-3 * * *",
        expect!["14 01:00-05:00, 14 01:30-05:00, 14 03:00-04:00, 14 03:30-04:00"],
    );
    check("0-40/20 2 * * *", expect!["14 03:00-04:00"]);
    check("0 2,3 * * *", expect!["14 03:00-04:00"]);
    check("30 2 14 3 *", expect!["14 03:00-04:00"]);
    check("30 2 13 3 *", expect![""]);
    check("30 2 * * SUN", expect!["14 03:00-04:00"]);
}

#[test]
fn an_expression_with_a_star_for_its_minute_or_hour_has_nothing_to_make_up_for() {
    let check = |expression, expect| check(expression, TORONTO, SPRING, expect);
    check("*/20 2 * * *", expect![""]);
    check(
        "30 */2 * * *",
        expect![
            "14 00:30-05:00, 14 04:30-04:00, 14 06:30-04:00, 14 08:30-04:00, 14 10:30-04:00, 14 12:30-04:00, 14 14:30-04:00, 14 16:30-04:00, 14 18:30-04:00, 14 20:30-04:00, 14 22:30-04:00"
        ],
    );
    check(
        "*/30 1-3 * * *",
        expect!["14 01:00-05:00, 14 01:30-05:00, 14 03:00-04:00, 14 03:30-04:00"],
    );
}

#[test]
fn a_fixed_time_that_comes_twice_is_due_at_the_first_alone() {
    let check = |expression, expect| check(expression, TORONTO, AUTUMN, expect);
    check("30 1 * * *", expect!["07 01:30-04:00"]);
    check("30 1,13 * * *", expect!["07 01:30-04:00, 07 13:30-05:00"]);
    check(
        "0,30 0-2 * * *",
        expect![
            "07 00:00-04:00, 07 00:30-04:00, 07 01:00-04:00, 07 01:30-04:00, 07 02:00-05:00, 07 02:30-05:00"
        ],
    );
    check(
        "*/30 1 * * *",
        expect!["07 01:00-04:00, 07 01:30-04:00, 07 01:00-05:00, 07 01:30-05:00"],
    );
    check(
        "30 * 7 11 *",
        expect![
            "07 00:30-04:00, 07 01:30-04:00, 07 01:30-05:00, 07 02:30-05:00, 07 03:30-05:00, 07 04:30-05:00, 07 05:30-05:00, 07 06:30-05:00, 07 07:30-05:00, 07 08:30-05:00, 07 09:30-05:00, 07 10:30-05:00, 07 11:30-05:00, 07 12:30-05:00, 07 13:30-05:00, 07 14:30-05:00, 07 15:30-05:00, 07 16:30-05:00, 07 17:30-05:00, 07 18:30-05:00, 07 19:30-05:00, 07 20:30-05:00, 07 21:30-05:00, 07 22:30-05:00, 07 23:30-05:00"
        ],
    );
}

#[test]
fn changes_of_half_an_hour_at_midnight_and_of_a_whole_day_follow_the_same_rule() {
    // On Lord Howe Island 02:00 is followed by 02:30, and in autumn by 01:30.
    check(
        "15,45 2 * * *",
        "Australia/Lord_Howe",
        ("2027-10-03T00:00", 1),
        expect!["03 02:30+11:00, 03 02:45+11:00"],
    );
    check(
        "15,45 1 * * *",
        "Australia/Lord_Howe",
        ("2027-04-04T00:00", 1),
        expect!["04 01:15+11:00, 04 01:45+11:00"],
    );
    // In São Paulo and Beirut a day began at 01:00.
    check(
        "0 0 * * *",
        "America/Sao_Paulo",
        ("2018-11-03T00:00", 2),
        expect!["03 00:00-03:00, 04 01:00-02:00"],
    );
    check(
        "0 0 * * *",
        "Asia/Beirut",
        ("2027-03-27T00:00", 2),
        expect!["27 00:00+02:00, 28 01:00+03:00"],
    );
    check(
        "@daily",
        "America/Havana",
        ("2026-03-08T00:00", 2),
        expect!["08 01:00-04:00, 09 00:00-04:00"],
    );
    // In Havana 01:00 is followed by 00:00.
    check(
        "0,30 0 * * *",
        "America/Havana",
        ("2026-11-01T00:00", 1),
        expect!["01 00:00-04:00, 01 00:30-04:00"],
    );
    // Samoa had no 30 December 2011.
    check(
        "0 9,17 * * *",
        "Pacific/Apia",
        ("2011-12-29T12:00", 2),
        expect!["29 17:00-10:00, 31 00:00+14:00, 31 09:00+14:00"],
    );
}

#[test]
fn days_that_few_months_have_are_found() {
    let year = ("2027-01-01T00:00", 365);
    check(
        "0 0 31 * *",
        "UTC",
        year,
        expect![
            "31 00:00+00:00, 31 00:00+00:00, 31 00:00+00:00, 31 00:00+00:00, 31 00:00+00:00, 31 00:00+00:00, 31 00:00+00:00"
        ],
    );
    check(
        "0 0 L 1-4 *",
        "UTC",
        year,
        expect!["31 00:00+00:00, 28 00:00+00:00, 31 00:00+00:00, 30 00:00+00:00"],
    );
    check(
        "0 0 1,L FEB *",
        "UTC",
        year,
        expect!["01 00:00+00:00, 28 00:00+00:00"],
    );
    check(
        "0 0 L 2 *",
        "UTC",
        ("2028-01-01T00:00", 365),
        expect!["29 00:00+00:00"],
    );
    check(
        "0 0 29 2 *",
        "UTC",
        ("2096-01-01T00:00", 366 * 9),
        expect!["29 00:00+00:00, 29 00:00+00:00"],
    );
    check(
        "0 0 * 2 FRI#5",
        "UTC",
        ("2027-01-01T00:00", 366 * 45),
        expect!["29 00:00+00:00, 29 00:00+00:00"],
    );
    // 31 January and 30 May 2027 are Sundays, 28 February is one, too.
    check(
        "0 0 LW 1-3 *",
        "UTC",
        year,
        expect!["29 00:00+00:00, 26 00:00+00:00, 31 00:00+00:00"],
    );
    check(
        "0 0 1W,16W 5 *",
        "UTC",
        year,
        expect!["03 00:00+00:00, 17 00:00+00:00"],
    );
    check(
        "0 0 * 3 MON#1,FRIL",
        "UTC",
        year,
        expect!["01 00:00+00:00, 26 00:00+00:00"],
    );
}

#[test]
fn either_day_will_do_where_both_are_given() {
    let month = ("2027-08-01T00:00", 31);
    check(
        "0 0 13 * FRI",
        "UTC",
        month,
        expect!["06 00:00+00:00, 13 00:00+00:00, 20 00:00+00:00, 27 00:00+00:00"],
    );
    check(
        "0 0 14 * FRI",
        "UTC",
        month,
        expect!["06 00:00+00:00, 13 00:00+00:00, 14 00:00+00:00, 20 00:00+00:00, 27 00:00+00:00"],
    );
    check("0 0 13 * +FRI", "UTC", month, expect!["13 00:00+00:00"]);
    check(
        "0 0 ? * SAT-SUN",
        "UTC",
        ("2027-08-01T00:00", 9),
        expect!["01 00:00+00:00, 07 00:00+00:00, 08 00:00+00:00"],
    );
    check(
        "0 0 * * 0,7",
        "UTC",
        ("2027-08-01T00:00", 9),
        expect!["01 00:00+00:00, 08 00:00+00:00"],
    );
}

#[test]
fn a_value_out_of_range_is_refused_with_its_field() {
    let check = |expression, expect| check(expression, "UTC", SPRING, expect);
    check(
        "*/61 * * * *",
        expect!["the minute, `*/61`, is wrong: the step of `*/61` has to be a whole number from 1 to 60"],
    );
    check(
        "0 */25 * * *",
        expect!["the hour, `*/25`, is wrong: the step of `*/25` has to be a whole number from 1 to 24"],
    );
    check(
        "0 0 */32 * *",
        expect![
            "the day of the month, `*/32`, is wrong: the step of `*/32` has to be a whole number from 1 to 31"
        ],
    );
    check(
        "0 0 1 */13 *",
        expect!["the month, `*/13`, is wrong: the step of `*/13` has to be a whole number from 1 to 12"],
    );
    check(
        "0 0 * * */8",
        expect![
            "the day of the week, `*/8`, is wrong: the step of `*/8` has to be a whole number from 1 to 7"
        ],
    );
    check(
        "*/0 * * * *",
        expect!["the minute, `*/0`, is wrong: the step of `*/0` has to be a whole number from 1 to 60"],
    );
    check(
        "5,10-20/99 * * * *",
        expect![
            "the minute, `5,10-20/99`, is wrong: the step of `10-20/99` has to be a whole number from 1 to 60"
        ],
    );
    check(
        "5/10 * * * *",
        expect!["the minute, `5/10`, is wrong: a step follows `*` or a range, as in `*/2` or `5-59/2`"],
    );
    check(
        "0 22-2 * * *",
        expect![
            "the hour, `22-2`, is wrong: the range `22-2` ends before it begins: write it as two, separated by a comma"
        ],
    );
    check(
        "0 0 * * L",
        expect![
            "the day of the week, `L`, is wrong: `L` alone is for the day of the month; the last Friday of a month is `FRIL`"
        ],
    );
    check(
        "0 0 * * MON#6",
        expect![
            "the day of the week, `MON#6`, is wrong: after `#` comes which one of the month: 1 to 5, as in `MON#1`"
        ],
    );
    check(
        "0 MON * * *",
        expect![
            "the hour, `MON`, is wrong: expected `*`, or numbers from 0 to 23, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "0 L * * *",
        expect![
            "the hour, `L`, is wrong: expected `*`, or numbers from 0 to 23, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "1,,2 * * * *",
        expect![
            "the minute, `1,,2`, is wrong: expected `*`, or numbers from 0 to 59, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "-5 * * * *",
        expect![
            "the minute, `-5`, is wrong: expected `*`, or numbers from 0 to 59, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "99999999999 * * * *",
        expect![
            "the minute, `99999999999`, is wrong: expected `*`, or numbers from 0 to 59, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "0 0 0 * *",
        expect![
            "the day of the month, `0`, is wrong: expected `*`, or numbers from 1 to 31, or L for the last, as in `5`, `1,15`, `2-6` or `*/2`"
        ],
    );
    check(
        "0 0 31 2,4,6,9,11 *",
        expect!["`0 0 31 2,4,6,9,11 *` names no time that ever comes: check its day and month"],
    );
    check(
        "0 0 30 2 +MON",
        expect!["`0 0 30 2 +MON` names no time that ever comes: check its day and month"],
    );
}

#[test]
fn an_expression_that_an_earlier_version_accepted_is_still_read_from_a_store() {
    let same = |stored: &str, as_new: &str| {
        let stored = When::stored_cron(stored, TORONTO).unwrap();
        let new = When::cron(as_new, TORONTO).unwrap();
        let after = Timestamp(moment("2027-01-01T00:00:00Z").as_millisecond());
        assert_eq!(stored.next(after, 20), new.next(after, 20));
    };
    same("*/61 * * * *", "0 * * * *");
    same("0 */25 * * *", "0 */24 * * *");
    same("0 MON * * *", "0 1 * * *");
    same("1,,2 * * * *", "1,2 * * * *");
    same("0 0 1 */13 *", "0 0 1 1 *");
    assert!(When::stored_cron("0 99 * * *", TORONTO).is_err());
}

/// Whether a number matches a field. The field is parsed again for each number, so that nothing is shared
/// with the tested code.
fn matches(field: &str, number: i8, (least, most): (i8, i8)) -> bool {
    field.split(',').any(|element| {
        let (range, step) = element.split_once('/').unwrap_or((element, "1"));
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        (from..=to).contains(&number) && (number - from) % step.parse::<i8>().unwrap() == 0
    })
}

fn shows(fields: &[String; 5], clock: DateTime) -> bool {
    let [minute, hour, day, month, weekday] = fields;
    let sunday = clock.weekday().to_sunday_zero_offset();
    let day_matches = match day.as_str() {
        "L" => clock.day() == clock.days_in_month(),
        day => matches(day, clock.day(), (1, 31)),
    };
    let weekday_matches = matches(weekday, sunday, (0, 7)) || (sunday == 0 && matches(weekday, 7, (0, 7)));
    let days = match (day == "*", weekday == "*") {
        (false, false) => day_matches || weekday_matches,
        _ => day_matches && weekday_matches,
    };
    matches(minute, clock.minute(), (0, 59))
        && matches(hour, clock.hour(), (0, 23))
        && matches(month, clock.month(), (1, 12))
        && days
}

/// Advances a zone's clock minute by minute.
fn walked(
    fields: &[String; 5],
    zone: &TimeZone,
    from: jiff::Timestamp,
    end: jiff::Timestamp,
) -> Vec<jiff::Timestamp> {
    let fixed = !fields[0].contains('*') && !fields[1].contains('*');
    let mut due = Vec::new();
    // Times before `from` matter only for the clock's previous hours.
    let mut at = from - 30.hours();
    let mut latest = zone.to_datetime(at - 1.minute());
    while at < end {
        let clock = zone.to_datetime(at);
        let mut hit = shows(fields, clock) && !(fixed && clock <= latest);
        let mut left_out = latest + 1.minute();
        while fixed && left_out < clock {
            hit |= shows(fields, left_out);
            left_out += 1.minute();
        }
        if hit && at >= from {
            due.push(at);
        }
        latest = latest.max(clock);
        at += 1.minute();
    }
    due
}

/// The changes of a zone's offset since 2000, when every offset was whole minutes.
fn changes(zone: &TimeZone) -> Vec<jiff::Timestamp> {
    let all = zone.following(moment("2000-01-01T00:00:00Z"));
    let all = all.map(|change| change.timestamp());
    all.take_while(|at| *at < moment("2032-01-01T00:00:00Z"))
        .collect()
}

fn field(least: i8, most: i8) -> impl Strategy<Value = String> {
    let number = least..=most;
    let range = (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let element = prop_oneof![
        4 => number.prop_map(|number| number.to_string()),
        2 => range.clone(),
        1 => (range, 1..=most).prop_map(|(range, step)| format!("{range}/{step}")),
    ];
    prop_oneof![
        3 => prop::collection::vec(element, 1..4).prop_map(|all| all.join(",")),
        1 => Just("*".to_owned()),
        1 => (1..=most).prop_map(|step| format!("*/{step}")),
    ]
}

/// Expressions that are often due in the hours of clock changes.
fn expression() -> impl Strategy<Value = [String; 5]> {
    let hour = prop_oneof![field(0, 4), field(0, 23)];
    let day = prop_oneof![6 => Just("*".to_owned()), 1 => field(1, 31), 1 => Just("L".to_owned())];
    let month = prop_oneof![6 => Just("*".to_owned()), 1 => field(1, 12)];
    let weekday = prop_oneof![6 => Just("*".to_owned()), 1 => field(0, 7)];
    (field(0, 59), hour, day, month, weekday)
        .prop_map(|(minute, hour, day, month, weekday)| [minute, hour, day, month, weekday])
}

fn zones() -> Vec<TimeZone> {
    let database = TimeZoneDatabase::bundled();
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let zones = names.iter().map(|name| database.get(name).unwrap());
    let zones: Vec<TimeZone> = zones.filter(|zone| !changes(zone).is_empty()).collect();
    assert!(zones.len() > 300);
    zones
}

/// Compares an expression with the advancing clock, in the days around a change.
fn compare(fields: &[String; 5], zone: &TimeZone, change: jiff::Timestamp) {
    let Ok(when) = When::cron(&fields.join(" "), zone.iana_name().unwrap()) else {
        return;
    };
    let (from, end) = (change - 26.hours(), change + 26.hours());
    let found = due(&when, from, end);
    assert_eq!(
        found,
        walked(fields, zone, from, end),
        "{fields:?} in {zone:?} around {change}"
    );
}

#[test]
fn times_are_those_of_a_clock_that_is_walked_minute_by_minute() {
    let zones = zones();
    let any = (
        expression(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
    );
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let result = runner.run(&any, |(fields, zone, change)| {
        let zone = zone.get(&zones);
        compare(&fields, zone, *change.get(&changes(zone)));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn zones_with_rare_changes_of_the_clock_are_walked_one_by_one() {
    let fields = |expression: &str| {
        expression
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    };
    for (zone, change) in [
        ("Australia/Lord_Howe", "2027-10-02T15:30:00Z"),
        ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
        ("America/Havana", "2026-03-08T05:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
        ("America/Sao_Paulo", "2019-02-17T02:00:00Z"),
        ("Asia/Beirut", "2027-03-27T22:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Africa/Casablanca", "2027-02-07T02:00:00Z"),
        ("Asia/Pyongyang", "2018-05-04T15:00:00Z"),
        ("America/Caracas", "2007-12-09T07:00:00Z"),
        ("Antarctica/Troll", "2027-03-28T01:00:00Z"),
    ] {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        for expression in [
            "0,30 0-2 * * *",
            "*/15 0-3 * * *",
            "45 * * * *",
            "10,40 23,0,1 * * *",
            "5 0 * * 0",
            "59 23 L * *",
            "0 0 1 * *",
        ] {
            compare(&fields(expression), &zone, moment(change));
        }
    }
}
