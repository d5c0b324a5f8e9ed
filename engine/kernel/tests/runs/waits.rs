//! Sleeps, signals and time limits.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_sleep_lasts_as_long_as_it_says_and_survives_a_crash() {
    check(
        r#"{"nodes": {"pause": {"sleep": "10s"}, "b": {}}, "edges": {"pause": "b"}}
           {}
           at 9999
           resume
           at 10000
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at pause, attempt 1, until 10000
            3 step 1 gives {}, next b
            4 step 2 at b, attempt 1
            5 step 2 gives {}, end
            6 run finished
            finished {}"#]],
    );
}

#[test]
fn a_sleep_ends_at_a_time_from_the_state() {
    check(
        r#"{"nodes": {"pause": {"sleep": {"until": "state.when"}}}}
           {"when": "1970-01-01T00:00:05Z"}
           at 5000"#,
        expect![[r#"
            1 run started {"when":"1970-01-01T00:00:05Z"}
            2 step 1 at pause, attempt 1, until 5000
            3 step 1 gives {}, end
            4 run finished
            finished {"when":"1970-01-01T00:00:05Z"}"#]],
    );
    check(
        r#"{"nodes": {"pause": {"sleep": {"for": "state.seconds"}}}}
           {"seconds": 1.5}
           at 1500"#,
        expect![[r#"
            1 run started {"seconds":1.5}
            2 step 1 at pause, attempt 1, until 1500
            3 step 1 gives {}, end
            4 run finished
            finished {"seconds":1.5}"#]],
    );
    check(
        r#"{"nodes": {"pause": {"sleep": {"until": "state.when"}}}}
           {"when": "soon"}"#,
        expect![[r#"
            1 run started {"when":"soon"}
            2 step 1 at pause, attempt 1, until 0
            3 step 1 fails (expression): `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "soon"
            4 run failed (expression) at pause: `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "soon"
            failed {"when":"soon"}"#]],
    );
}

/// A sleep whose expression gives this, when it is a moment or a time.
fn sleeps(key: &str, given: &str, expect: expect_test::Expect) {
    let graph = format!(r#"{{"nodes": {{"pause": {{"sleep": {{"{key}": "state.t"}}}}}}}}"#);
    check(&format!("{graph}\n{{\"t\": {given}}}"), expect);
}

#[test]
fn a_time_is_seconds_or_a_duration_and_at_most_a_hundred_years() {
    sleeps(
        "for",
        "2",
        expect![[r#"
        1 run started {"t":2}
        2 step 1 at pause, attempt 1, until 2000
        waiting {"t":2}"#]],
    );
    sleeps(
        "for",
        "2.0",
        expect![[r#"
        1 run started {"t":2.0}
        2 step 1 at pause, attempt 1, until 2000
        waiting {"t":2.0}"#]],
    );
    sleeps(
        "for",
        "0.0005",
        expect![[r#"
        1 run started {"t":0.0005}
        2 step 1 at pause, attempt 1, until 1
        waiting {"t":0.0005}"#]],
    );
    sleeps(
        "for",
        "\"1h30m\"",
        expect![[r#"
        1 run started {"t":"1h30m"}
        2 step 1 at pause, attempt 1, until 5400000
        waiting {"t":"1h30m"}"#]],
    );
    sleeps(
        "for",
        "\"36500d\"",
        expect![[r#"
        1 run started {"t":"36500d"}
        2 step 1 at pause, attempt 1, until 3153600000000
        waiting {"t":"36500d"}"#]],
    );
    sleeps(
        "for",
        "3153600000",
        expect![[r#"
        1 run started {"t":3153600000}
        2 step 1 at pause, attempt 1, until 3153600000000
        waiting {"t":3153600000}"#]],
    );
    sleeps(
        "for",
        "\"36501d\"",
        expect![[r#"
        1 run started {"t":"36501d"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: "36501d" is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.for`: "36501d" is longer than the longest duration, 36500d (a hundred years)
        failed {"t":"36501d"}"#]],
    );
    sleeps(
        "for",
        "3153600001",
        expect![[r#"
        1 run started {"t":3153600001}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: 3153600001 s is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.for`: 3153600001 s is longer than the longest duration, 36500d (a hundred years)
        failed {"t":3153600001}"#]],
    );
    sleeps(
        "for",
        "1e18",
        expect![[r#"
        1 run started {"t":1e18}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: 1e18 s is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.for`: 1e18 s is longer than the longest duration, 36500d (a hundred years)
        failed {"t":1e18}"#]],
    );
    sleeps(
        "for",
        "18446744073709551615",
        expect![[r#"
        1 run started {"t":18446744073709551615}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: 18446744073709551615 s is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.for`: 18446744073709551615 s is longer than the longest duration, 36500d (a hundred years)
        failed {"t":18446744073709551615}"#]],
    );
    sleeps(
        "for",
        "\"99999999999999999999s\"",
        expect![[r#"
        1 run started {"t":"99999999999999999999s"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: "99999999999999999999s" is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.for`: "99999999999999999999s" is longer than the longest duration, 36500d (a hundred years)
        failed {"t":"99999999999999999999s"}"#]],
    );
    sleeps(
        "for",
        "-5",
        expect![[r#"
        1 run started {"t":-5}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: a duration cannot be negative, got -5
        4 run failed (expression) at pause: `sleep.for`: a duration cannot be negative, got -5
        failed {"t":-5}"#]],
    );
    sleeps(
        "for",
        "-0.5",
        expect![[r#"
        1 run started {"t":-0.5}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: a duration cannot be negative, got -0.5
        4 run failed (expression) at pause: `sleep.for`: a duration cannot be negative, got -0.5
        failed {"t":-0.5}"#]],
    );
    sleeps(
        "for",
        "\"-5s\"",
        expect![[r#"
        1 run started {"t":"-5s"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: a duration cannot be negative, got "-5s"
        4 run failed (expression) at pause: `sleep.for`: a duration cannot be negative, got "-5s"
        failed {"t":"-5s"}"#]],
    );
    sleeps(
        "for",
        "\"5\"",
        expect![[r#"
            1 run started {"t":"5"}
            2 step 1 at pause, attempt 1, until 0
            3 step 1 fails (expression): `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "5": a number has a unit, as in "5s"
            4 run failed (expression) at pause: `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "5": a number has a unit, as in "5s"
            failed {"t":"5"}"#]],
    );
    sleeps(
        "for",
        "true",
        expect![[r#"
        1 run started {"t":true}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.for`: expected seconds, or a duration such as "10m", got a boolean
        4 run failed (expression) at pause: `sleep.for`: expected seconds, or a duration such as "10m", got a boolean
        failed {"t":true}"#]],
    );
}

#[test]
fn a_moment_is_past_or_at_most_a_hundred_years_ahead() {
    sleeps(
        "until",
        "1795988463571.0",
        expect![[r#"
        1 run started {"t":1795988463571.0}
        2 step 1 at pause, attempt 1, until 1795988463571
        waiting {"t":1795988463571.0}"#]],
    );
    sleeps(
        "until",
        "1795988463571",
        expect![[r#"
        1 run started {"t":1795988463571}
        2 step 1 at pause, attempt 1, until 1795988463571
        waiting {"t":1795988463571}"#]],
    );
    sleeps(
        "until",
        "1.5",
        expect![[r#"
        1 run started {"t":1.5}
        2 step 1 at pause, attempt 1, until 2
        waiting {"t":1.5}"#]],
    );
    sleeps(
        "until",
        "-1e300",
        expect![[r#"
        1 run started {"t":-1e300}
        2 step 1 at pause, attempt 1, until -9223372036854775808
        waiting {"t":-1e300}"#]],
    );
    sleeps(
        "until",
        "\"1969-12-31T23:59:59Z\"",
        expect![[r#"
        1 run started {"t":"1969-12-31T23:59:59Z"}
        2 step 1 at pause, attempt 1, until -1000
        waiting {"t":"1969-12-31T23:59:59Z"}"#]],
    );
    sleeps(
        "until",
        "\"2069-12-07T01:00:00+01:00\"",
        expect![[r#"
        1 run started {"t":"2069-12-07T01:00:00+01:00"}
        2 step 1 at pause, attempt 1, until 3153600000000
        waiting {"t":"2069-12-07T01:00:00+01:00"}"#]],
    );
    sleeps(
        "until",
        "3153600000001",
        expect![[r#"
        1 run started {"t":3153600000001}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: the time until 3153600000001 is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.until`: the time until 3153600000001 is longer than the longest duration, 36500d (a hundred years)
        failed {"t":3153600000001}"#]],
    );
    sleeps(
        "until",
        "1e300",
        expect![[r#"
        1 run started {"t":1e300}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: the time until 1e300 is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.until`: the time until 1e300 is longer than the longest duration, 36500d (a hundred years)
        failed {"t":1e300}"#]],
    );
    sleeps(
        "until",
        "\"2069-12-07T00:00:01Z\"",
        expect![[r#"
        1 run started {"t":"2069-12-07T00:00:01Z"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: the time until "2069-12-07T00:00:01Z" is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.until`: the time until "2069-12-07T00:00:01Z" is longer than the longest duration, 36500d (a hundred years)
        failed {"t":"2069-12-07T00:00:01Z"}"#]],
    );
    sleeps(
        "until",
        "\"9999-12-31T23:59:59Z\"",
        expect![[r#"
        1 run started {"t":"9999-12-31T23:59:59Z"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: the time until "9999-12-31T23:59:59Z" is longer than the longest duration, 36500d (a hundred years)
        4 run failed (expression) at pause: `sleep.until`: the time until "9999-12-31T23:59:59Z" is longer than the longest duration, 36500d (a hundred years)
        failed {"t":"9999-12-31T23:59:59Z"}"#]],
    );
    sleeps(
        "until",
        "\"2026-12-01\"",
        expect![[r#"
        1 run started {"t":"2026-12-01"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "2026-12-01"
        4 run failed (expression) at pause: `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "2026-12-01"
        failed {"t":"2026-12-01"}"#]],
    );
    sleeps(
        "until",
        "\"2026-12-01T09:00:00\"",
        expect![[r#"
        1 run started {"t":"2026-12-01T09:00:00"}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "2026-12-01T09:00:00"
        4 run failed (expression) at pause: `sleep.until`: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "2026-12-01T09:00:00"
        failed {"t":"2026-12-01T09:00:00"}"#]],
    );
    sleeps(
        "until",
        "null",
        expect![[r#"
        1 run started {"t":null}
        2 step 1 at pause, attempt 1, until 0
        3 step 1 fails (expression): `sleep.until`: expected milliseconds since 1970, or a time such as "2026-12-01T09:00:00Z" (RFC 3339), got null
        4 run failed (expression) at pause: `sleep.until`: expected milliseconds since 1970, or a time such as "2026-12-01T09:00:00Z" (RFC 3339), got null
        failed {"t":null}"#]],
    );
}

const WAIT: &str = r#"{"nodes": {"ask": {"wait": {"signal": "approval", "schema": {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}, "timeout": "1h", "on_timeout": "late", "prompt": "Publish?"}}, "done": {}, "late": {}}, "edges": {"ask": "done"}}"#;

#[test]
fn a_wait_takes_its_signal_and_goes_on() {
    check(
        &format!(
            "{WAIT}\n{}",
            r#"{}
               signal approval {"ok": true}
               signal approval {"ok": false}
               answer"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at ask, attempt 1, until 3600000
            3 signal approval {"ok": true}
            4 step 1 gives {"approval":{"ok": true}} by signal 3, next done
            5 step 2 at done, attempt 1
            6 signal approval {"ok": false}
            7 step 2 gives {}, end
            8 run finished
            finished {"approval":{"ok": true}}"#]],
    );
}

#[test]
fn a_signal_that_comes_early_is_kept_and_each_is_taken_once() {
    check(
        r#"{"nodes": {"a": {}, "w1": {"wait": {"signal": "s"}, "output": "first"}, "w2": {"wait": {"signal": "s"}, "output": "second"}}, "edges": {"a": "w1", "w1": "w2"}}
           {}
           signal s 1
           answer
           resume
           signal s 2"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 signal s 1
            4 step 1 gives {}, next w1
            5 step 2 at w1, attempt 1
            6 step 2 gives {"first":1} by signal 3, next w2
            7 step 3 at w2, attempt 1
            8 signal s 2
            9 step 3 gives {"second":2} by signal 8, end
            10 run finished
            finished {"first":1,"second":2}"#]],
    );
}

#[test]
fn a_payload_that_does_not_fit_and_a_signal_that_nothing_waits_for_are_refused() {
    check(
        &format!(
            "{WAIT}\n{}",
            r#"{}
               signal approval {"ok": "yes"}
               signal aproval {"ok": true}
               signal other"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at ask, attempt 1, until 3600000
            - refused: the payload of `approval` does not fit: at /ok: "yes" is not of type "boolean"
            - refused: no node of the run's graph waits for a signal `aproval`; did you mean `approval`?
            - refused: no node of the run's graph waits for a signal `other`
            waiting {}"#]],
    );
}

#[test]
fn a_wait_that_lasts_too_long_goes_elsewhere_or_fails() {
    check(
        &format!("{WAIT}\n{{}}\nat 3600000\nanswer"),
        expect![[r#"
        1 run started {}
        2 step 1 at ask, attempt 1, until 3600000
        3 step 1 gives {}, next late
        4 step 2 at late, attempt 1
        5 step 2 gives {}, end
        6 run finished
        finished {}"#]],
    );
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "approval", "timeout": "1s"}}}}
           {}
           at 1000"#,
        expect![[r#"
            1 run started {}
            2 step 1 at ask, attempt 1, until 1000
            3 step 1 fails (timeout): no signal `approval` came to node `ask` in time
            4 run failed (timeout) at ask: no signal `approval` came to node `ask` in time
            failed {}"#]],
    );
}

#[test]
fn a_run_has_a_time_limit() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}, "edges": {"a": "b"}, "limits": {"time": "1m"}}
           {}
           answer
           at 60000"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, next b
            4 step 2 at b, attempt 1
            5 run failed (time_limit) at b: the run took longer than its limit of 60000 ms (`limits.time` in the graph)
            failed {}"#]],
    );
}
