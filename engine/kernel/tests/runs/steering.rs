//! Runs that are queued, paused, resumed, and cancelled with a grace.

use expect_test::expect;

use crate::script::{LINE, check};

/// Two arms that join.
const DIAMOND: &str =
    r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}"#;

#[test]
fn a_queued_run_begins_when_an_engine_takes_it_up() {
    check(
        &format!(
            "{LINE}
             queued {{}}
             signal go
             pause not yet
             at 60000
             resume
             answer"
        ),
        expect![[]],
    );
    check(
        &format!(
            "{LINE}
             queued {{}}
             cancel not wanted"
        ),
        expect![[]],
    );
}

#[test]
fn the_time_of_a_queued_run_begins_with_its_first_step() {
    check(
        r#"{"nodes": {"a": {}}, "limits": {"time": "1s"}}
           queued {}
           at 60000
           resume
           at 60999
           at 61001"#,
        expect![[]],
    );
}

#[test]
fn while_a_run_is_paused_calls_may_answer_and_nothing_begins() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause look at it
             pause again
             b: answer {{\"b\": 1}}
             log info still there
             at 60000
             go on
             c: answer
             go on
             d: answer"
        ),
        expect![[]],
    );
}

#[test]
fn a_paused_run_ends_when_it_is_resumed() {
    check(
        r#"{"nodes": {"a": {}}}
           {}
           pause stop
           answer {"a": 1}
           go on"#,
        expect![[]],
    );
}

#[test]
fn calls_that_are_not_under_way_any_more_are_made_again() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause stop
             resume
             go on without c
             c: stale
             c: answer
             b: answer
             d: answer"
        ),
        expect![[]],
    );
}

#[test]
fn signals_are_kept_and_what_is_due_waits_while_a_run_is_paused() {
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes", "timeout": "1s"}}, "rest": {"sleep": "10s"}, "fork": {}},
            "start": "fork", "edges": {"fork": ["ask", "rest"]}}
           {}
           answer
           pause stop
           signal yes 1
           at 10001
           go on"#,
        expect![[]],
    );
}

#[test]
fn a_retry_is_made_when_the_run_goes_on() {
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 3, "backoff": "1s"}}}}
           {}
           pause stop
           fail retryable busy
           at 5000
           go on
           answer"#,
        expect![[]],
    );
}

#[test]
fn a_failure_while_it_is_paused_fails_the_run() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {}, "unbook": {}}, "edges": {"book": "pay"}}
           {}
           answer
           pause stop
           fail permanent broke
           pause stop
           answer
           go on"#,
        expect![[]],
    );
}

#[test]
fn the_items_of_a_map_go_on_when_the_run_does() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out", "at_once": 1}}}}
           {"all": [1, 2]}
           tool 10
           pause stop
           each#1: tool 20
           go on"#,
        expect![[]],
    );
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out", "at_once": 1}}}}
           {"all": [1, 2]}
           pause stop
           each#0: tool 10
           go on
           each#1: tool 20"#,
        expect![[]],
    );
}

#[test]
fn the_time_in_which_a_run_stands_still_does_not_count() {
    check(
        r#"with child {"nodes": {"in": {}}, "limits": {"time": "2s"}}
           {"nodes": {"child": {"graph": "child", "on_error": "late"}, "late": {}}, "limits": {"time": "5s"}}
           {}
           at 1000
           pause stop
           at 60000
           go on
           at 60990
           at 61002
           at 64002"#,
        expect![[]],
    );
}

#[test]
fn calls_under_way_may_answer_while_a_run_is_being_cancelled() {
    check(
        r#"{"nodes": {"fork": {}, "book": {"compensate": "unbook"}, "pay": {}, "more": {}, "unbook": {}}, "edges": {"fork": ["book", "pay"], "book": "more"}}
           {}
           answer
           cancel within 5000 not wanted
           signal go
           pause stop
           cancel within 100 again
           book: answer {"booked": 7}
           pay: fail permanent broke
           unbook: answer"#,
        expect![[]],
    );
}

#[test]
fn calls_that_do_not_answer_in_the_grace_are_given_up() {
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             cancel within 5000 not wanted
             b: answer {{\"b\": 1}}
             at 5000
             at 5002
             c: answer"
        ),
        expect![[]],
    );
    check(
        &format!(
            "{DIAMOND}
             {{}}
             answer
             pause stop
             cancel within 5000 not wanted
             cancel now"
        ),
        expect![[]],
    );
}

#[test]
fn without_calls_under_way_a_cancelled_run_ends_at_once() {
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes"}}}}
           {}
           cancel within 5000 not wanted"#,
        expect![[]],
    );
    // After a crash, no call is.
    check(
        &format!(
            "{LINE}
             {{}}
             cancel within 5000 not wanted
             resume"
        ),
        expect![[]],
    );
}
