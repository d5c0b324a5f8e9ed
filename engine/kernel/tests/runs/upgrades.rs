//! Runs that keep to another version of their graph from some point on.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_run_that_waits_goes_on_in_the_new_graph() {
    check(
        r#"{"nodes": {"a": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"a": "ask"}}
           {}
           upgrade {"nodes": {"a": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"a": "ask"}}
           answer
           upgrade {"nodes": {"new": {}, "ask": {"wait": {"signal": "yes"}}, "a": {}}, "edges": {"a": "ask", "ask": "new"}}
           signal yes 1
           answer {"new": 1}
           upgrade {"nodes": {"a": {}}}"#,
        expect![[]],
    );
}

#[test]
fn a_failed_run_is_upgraded_and_then_retried() {
    check(
        r#"{"nodes": {"a": {}, "b": {"input": {"x": "state.x"}}}, "edges": {"a": [{"when": "state.n > 1", "to": "b"}]}}
           {"n": 1}
           answer
           upgrade {"nodes": {"a": {"sleep": "1s"}}}
           upgrade {"nodes": {"b": {}, "a": {}}, "edges": {"a": [{"when": "state.n > 1", "to": "b"}, {"to": "end"}]}}
           retry
           answer"#,
        expect![[]],
    );
}

#[test]
fn a_run_is_not_upgraded_to_a_graph_in_which_it_has_no_place() {
    check(
        r#"{"nodes": {"fork": {}, "ask": {"wait": {"signal": "yes"}}, "rest": {"sleep": "1h"}, "join": {}}, "edges": {"fork": ["ask", "rest"], "ask": "join", "rest": "join"}}
           {}
           answer
           upgrade {"nodes": {"fork": {}, "ask": {"wait": {"signal": "yes"}}}}
           upgrade {"nodes": {"fork": {}, "ask": {"wait": {"signal": "no"}}, "rest": {"sleep": "1h"}}, "edges": {"fork": ["ask", "rest"]}}
           upgrade {"nodes": {"fork": {}, "ask": {"wait": {"signal": "yes"}}, "rest": {}}, "edges": {"fork": ["ask", "rest"]}}
           signal yes
           upgrade {"nodes": {"fork": {}, "ask": {"wait": {"signal": "yes"}}, "rest": {"sleep": "1h"}}, "edges": {"fork": ["ask", "rest"]}}
           upgrade {"nodes": {"fork": {}, "ask": {"wait": {"signal": "yes"}}, "rest": {"sleep": "1h"}, "join": {}}, "edges": {"fork": ["ask", "rest"], "ask": "join", "rest": "end"}}
           join: answer"#,
        expect![[]],
    );
}

#[test]
fn a_run_is_not_upgraded_to_a_graph_that_cannot_undo_what_it_did() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "ask": {"wait": {"signal": "yes"}}, "unbook": {}}, "edges": {"book": "ask"}}
           {}
           answer
           upgrade {"nodes": {"book": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"book": "ask"}}
           upgrade {"nodes": {"book": {"compensate": "unbook"}, "ask": {"wait": {"signal": "yes"}}, "unbook": {"config": 2}}, "edges": {"book": "ask"}}
           cancel not wanted
           upgrade {"nodes": {"book": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"book": "ask"}}
           unbook: answer"#,
        expect![[]],
    );
}

#[test]
fn a_run_is_not_upgraded_to_a_graph_that_merges_otherwise_what_its_arms_changed() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer
           b: answer {"x": 1}
           upgrade {"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"x": {"merge": "add"}}}
           upgrade {"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"y": {"merge": "add"}}}"#,
        expect![[]],
    );
}

#[test]
fn a_paused_run_is_upgraded_once_its_calls_have_answered_and_gets_the_new_time_limit() {
    check(
        r#"{"nodes": {"a": {}, "rest": {"sleep": "1h"}, "fork": {}}, "start": "fork", "edges": {"fork": ["a", "rest"]}, "limits": {"time": "5s"}}
           {}
           answer
           at 1000
           pause stop
           upgrade {"nodes": {"a": {}, "rest": {"sleep": "1h"}, "fork": {}}, "start": "fork", "edges": {"fork": ["a", "rest"]}}
           a: answer
           upgrade {"nodes": {"a": {}, "rest": {"sleep": "1h"}, "fork": {}}, "start": "fork", "edges": {"fork": ["a", "rest"]}, "limits": {"time": "9s"}}
           at 20000
           go on
           at 27999
           at 28000"#,
        expect![[]],
    );
}

#[test]
fn a_run_that_is_inside_of_a_graph_goes_on_in_the_new_one_of_its_name() {
    check(
        r#"{"name": "self", "nodes": {"a": {}, "ask": {"wait": {"signal": "yes"}}, "inner": {"graph": "self"}}, "edges": {"a": [{"when": "has(state.deep)", "to": "ask"}, {"to": "inner"}], "inner": "end"}}
           {}
           answer {"deep": true}
           upgrade {"name": "self", "nodes": {"a": {}, "inner": {"graph": "self"}}, "edges": {"a": [{"when": "has(state.deep)", "to": "end"}, {"to": "inner"}]}}
           upgrade {"name": "self", "nodes": {"a": {}, "inner": {"graph": "self"}, "ask": {"wait": {"signal": "yes"}}, "more": {}}, "edges": {"a": [{"when": "has(state.deep)", "to": "ask"}, {"to": "inner"}], "ask": "more"}}
           signal yes
           more: answer"#,
        expect![[]],
    );
}
