//! Each function through JSON. What is right in UTC and in Berlin was worked out with Python's zoneinfo.

use heddle_plugin::{Kind, prelude::*, testing::call};

fn ok(tool: &str, input: Value) -> Value {
    call(tool, input).unwrap()
}

#[test]
fn a_time_is_given_in_utc_and_in_its_zone() {
    let berlin = json!({
        "time": "2026-03-29T01:30:00Z", "local": "2026-03-29T03:30:00+02:00[Europe/Berlin]", "zone": "Europe/Berlin",
        "offset_s": 7200, "unix_ms": 1_774_747_800_000_i64, "date": "2026-03-29", "weekday": 7, "day_of_year": 88, "week": "2026-W13",
    });
    for time in [
        json!("2026-03-29T01:30:00Z"),
        json!("2026-03-28T21:30:00-04:00[America/New_York]"),
        json!(1_774_747_800),
        json!("2026-03-29 03:30"),
    ] {
        assert_eq!(
            ok("parse", json!({"time": time, "zone": "Europe/Berlin"})),
            berlin,
            "{time}"
        );
    }
    assert_eq!(
        ok(
            "convert",
            json!({"time": "2026-03-29T01:30:00", "zone": "Europe/Berlin"})
        ),
        berlin
    );
    let utc = ok("parse", json!({"time": "2026-01-01"}));
    assert_eq!(
        (&utc["time"], &utc["zone"], &utc["week"]),
        (&json!("2026-01-01T00:00:00Z"), &json!("UTC"), &json!("2026-W01"))
    );
    assert_eq!(
        ok("parse", json!({"time": 0.125}))["time"],
        "1970-01-01T00:00:00.125Z"
    );
}

#[test]
fn a_text_is_read_by_a_format() {
    let read = |text: &str, format: &str| {
        ok(
            "parse",
            json!({"time": text, "format": format, "zone": "Asia/Tokyo"}),
        )["time"]
            .take()
    };
    assert_eq!(read("25/12/2026 18:05", "%d/%m/%Y %H:%M"), "2026-12-25T09:05:00Z");
    assert_eq!(read("Dec 25, 2026", "%b %d, %Y"), "2026-12-24T15:00:00Z");
    assert_eq!(
        read("Fri, 25 Dec 2026 18:05:00 +0100", "%a, %d %b %Y %H:%M:%S %z"),
        "2026-12-25T17:05:00Z"
    );
    assert_eq!(read("1774747800", "%s"), "2026-03-29T01:30:00Z");
    let error = call("parse", json!({"time": "25.12.", "format": "%d/%m"})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(
        error.message.starts_with("`25.12.` is not written as `%d/%m`: "),
        "{error}"
    );
}

#[test]
fn a_time_is_written_in_a_format() {
    let written = |format: &str| {
        ok(
            "format",
            json!({"time": "2026-03-29T01:30:00Z", "format": format, "zone": "Europe/Berlin"}),
        )["text"]
            .take()
    };
    assert_eq!(
        written("%A, %-d %B %Y at %H:%M %Z"),
        "Sunday, 29 March 2026 at 03:30 CEST"
    );
    assert_eq!(written("%F %T %z"), "2026-03-29 03:30:00 +0200");
    let error = call("format", json!({"time": 0, "format": "%"})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
}

#[test]
fn spans_are_added_by_the_calendar_and_the_clocks() {
    let sum = |time: &str, span: &str| {
        ok(
            "add",
            json!({"time": time, "span": span, "zone": "Europe/Berlin"}),
        )["local"]
            .take()
    };
    assert_eq!(
        sum("2026-01-31T12:00", "1 month"),
        "2026-02-28T12:00:00+01:00[Europe/Berlin]"
    );
    assert_eq!(
        sum("2026-03-28T02:30", "1 day"),
        "2026-03-29T03:30:00+02:00[Europe/Berlin]",
        "02:30 is skipped"
    );
    assert_eq!(
        sum("2026-03-28T02:30", "PT24H"),
        "2026-03-29T03:30:00+02:00[Europe/Berlin]"
    );
    assert_eq!(
        sum("2026-10-25T00:00", "1d"),
        "2026-10-26T00:00:00+01:00[Europe/Berlin]"
    );
    assert_eq!(
        sum("2026-10-25T00:00", "24h"),
        "2026-10-25T23:00:00+01:00[Europe/Berlin]"
    );
    assert_eq!(
        sum("2024-02-29T00:00", "-1 year"),
        "2023-02-28T00:00:00+01:00[Europe/Berlin]"
    );
    let floor = |unit: &str| {
        ok(
            "add",
            json!({"time": "2026-11-25T16:45:10.5Z", "span": "0s", "floor": unit}),
        )["time"]
            .take()
    };
    assert_eq!(floor("years"), "2026-01-01T00:00:00Z");
    assert_eq!(floor("weeks"), "2026-11-23T00:00:00Z");
    assert_eq!(floor("days"), "2026-11-25T00:00:00Z");
    assert_eq!(floor("minutes"), "2026-11-25T16:45:00Z");
    for (time, span) in [
        ("2026-01-01", "soon"),
        ("9999-12-31", "1 year"),
        ("yesterday", "1 day"),
    ] {
        assert_eq!(
            call("add", json!({"time": time, "span": span})).unwrap_err().kind,
            Kind::InvalidInput,
            "{time}"
        );
    }
}

#[test]
fn the_span_between_two_times_is_given_in_seconds_and_by_the_calendar() {
    let between = |from: &str, to: &str, largest: &str| {
        ok(
            "diff",
            json!({"from": from, "to": to, "largest": largest, "zone": "Europe/Berlin"}),
        )
    };
    assert_eq!(
        between("2026-03-28T12:00", "2026-03-30T13:30:00", "days"),
        json!({"seconds": 174_600.0, "span": "P2DT1H30M", "text": "2d 1h 30m"})
    );
    assert_eq!(
        between("2026-03-28T12:00", "2026-03-30T13:30:00", "hours")["span"],
        "PT48H30M",
        "an hour is skipped between them"
    );
    assert_eq!(between("2026-11-25", "2024-01-31", "years")["span"], "-P2Y9M25D");
    assert_eq!(ok("diff", json!({"from": 0, "to": 1.5}))["seconds"], 1.5);
}

#[test]
fn a_zone_that_is_none_and_a_time_that_is_none_are_refused() {
    let error = call("now", json!({"zone": "Mars/Olympus"})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(
        error.message.starts_with("there is no time zone `Mars/Olympus`"),
        "{error}"
    );
    let error = call("parse", json!({"time": "2026-02-30T00:00:00Z"})).unwrap_err();
    assert!(
        error
            .message
            .starts_with("`2026-02-30T00:00:00Z` is not a time like"),
        "{error}"
    );
    for seconds in [1e300, 1e15] {
        assert_eq!(
            call("parse", json!({"time": seconds})).unwrap_err().kind,
            Kind::InvalidInput
        );
    }
}

#[test]
fn outside_of_the_engine_now_is_the_real_time() {
    let now = ok("now", json!({}))["unix_ms"].as_i64().unwrap();
    assert!(now > 1_700_000_000_000, "{now}");
}
