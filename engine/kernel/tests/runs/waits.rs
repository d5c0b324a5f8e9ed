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
            3 step 1 fails (expression): a sleep needs a time as RFC 3339 has it, or milliseconds since 1970; the expression gave "soon"
            4 run failed (expression) at pause: a sleep needs a time as RFC 3339 has it, or milliseconds since 1970; the expression gave "soon"
            failed {"when":"soon"}"#]],
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
