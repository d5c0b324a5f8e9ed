//! Runs that failed and are retried, and runs that are forked from others.

use expect_test::expect;

use crate::script::{LINE, check};

#[test]
fn a_failed_run_goes_on_from_where_it_failed() {
    check(
        &format!(
            "{LINE}
             {{}}
             answer {{\"x\": 1}}
             retry
             fail permanent broke
             pause stop
             go on
             retry
             answer {{\"y\": 2}}
             retry"
        ),
        expect![[]],
    );
}

#[test]
fn a_retried_step_has_all_of_its_attempts_again() {
    check(
        r#"{"nodes": {"a": {"retry": {"attempts": 2, "backoff": "1s"}}}}
           {}
           fail retryable busy
           at 1001
           fail retryable busy
           retry
           fail retryable busy
           at 2005
           answer"#,
        expect![[]],
    );
}

#[test]
fn the_calls_of_other_arms_are_made_again_too() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "ask": {"wait": {"signal": "yes"}}, "d": {}},
            "edges": {"a": ["b", "c", "ask"], "b": "d", "c": "d", "ask": "d"}}
           {}
           answer
           c: fail permanent broke
           signal yes
           retry
           signal yes 5
           b: answer {"b": 1}
           c: answer {"c": 2}
           d: answer"#,
        expect![[]],
    );
}

#[test]
fn what_failed_inside_of_a_graph_goes_on_inside_of_it() {
    check(
        r#"with child {"nodes": {"in": {}, "out": {}}, "edges": {"in": "out"}}
           {"nodes": {"child": {"graph": "child", "output": "got"}}}
           {}
           in: answer {"in": 1}
           out: fail permanent broke
           retry
           out: answer {"out": 2}"#,
        expect![[]],
    );
}

#[test]
fn a_map_keeps_the_results_that_it_has() {
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out", "at_once": 2}}}}
           {"all": [1, 2, 3]}
           each#0: tool 10
           each#1: fail permanent broke
           retry
           each#2: tool 30
           each#1: tool 20"#,
        expect![[]],
    );
}

#[test]
fn steps_that_failed_before_they_did_anything_are_opened_again() {
    check(
        r#"{"nodes": {"rest": {"sleep": {"for": "state.seconds"}}}}
           {"seconds": "soon"}
           retry"#,
        expect![[]],
    );
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes", "timeout": "1s"}}}}
           {}
           at 1000
           retry
           at 2000
           signal yes 1"#,
        expect![[]],
    );
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out"}}}}
           {"all": 7}
           retry"#,
        expect![[]],
    );
    check(
        r#"with child {"nodes": {"in": {}}}
           {"nodes": {"child": {"graph": "child", "input": {"x": "state.x"}}}}
           {}
           retry"#,
        expect![[]],
    );
}

#[test]
fn a_run_that_was_out_of_time_has_its_time_again() {
    check(
        r#"with child {"nodes": {"in": {}}, "limits": {"time": "1s"}}
           {"nodes": {"child": {"graph": "child"}}, "limits": {"time": "3s"}}
           {}
           at 1000
           retry
           at 2000
           at 2001
           retry
           answer"#,
        expect![[]],
    );
}

#[test]
fn a_conflict_is_met_again() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer
           b: answer {"x": 1}
           c: answer {"x": 2}
           retry"#,
        expect![[]],
    );
}

#[test]
fn a_run_that_undid_what_it_did_is_forked_instead() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "pay": {}, "unbook": {}}, "edges": {"book": "pay"}}
           {}
           answer {"booked": 7}
           fail permanent broke
           answer
           retry
           fork 3
           fork 2 {"card": "other"}
           pay: answer"#,
        expect![[]],
    );
}

#[test]
fn a_fork_goes_on_from_a_step_with_another_state() {
    check(
        &format!(
            "{LINE}
             {{\"x\": 1}}
             answer {{\"y\": 2}}
             answer {{\"z\": 3}}
             fork 1 {{\"y\": 20, \"new\": true}}
             answer {{\"z\": 30}}"
        ),
        expect![[]],
    );
    // From its beginning, and from its end.
    check(
        &format!(
            "{LINE}
             {{\"x\": 1}}
             answer
             fork 0 {{\"x\": 2}}
             answer
             answer {{\"z\": 3}}
             fork 2 {{\"z\": 4}}"
        ),
        expect![[]],
    );
}

#[test]
fn a_fork_makes_the_calls_again_that_were_under_way_and_sets_the_state_of_every_arm() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"n": {"merge": "add"}}}
           {"n": 1}
           answer
           b: answer {"n": 10}
           c: answer {"n": 100}
           fork 2 {"n": 1000}
           c: answer {"n": 5}
           d: answer"#,
        expect![[]],
    );
}

#[test]
fn a_fork_takes_the_signals_with_it_and_is_neither_paused_nor_cancelled() {
    check(
        r#"{"nodes": {"a": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"a": "ask"}}
           {}
           signal yes 1
           pause stop
           answer
           fork 1
           fork 2"#,
        expect![[]],
    );
}

#[test]
fn a_fork_goes_on_with_maps_and_graphs_where_they_were() {
    check(
        r#"with child {"nodes": {"in": {}, "out": {}}, "edges": {"in": "out"}}
           {"nodes": {"each": {"map": {"over": "state.all", "graph": "child", "into": "got", "at_once": 1}}}}
           {"all": [1, 2]}
           in: answer {"in": 1}
           out: answer
           fork 3 {"later": true}
           out: answer
           in: answer
           out: answer"#,
        expect![[]],
    );
}
