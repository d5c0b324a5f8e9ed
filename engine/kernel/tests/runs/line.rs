//! Runs of one branch.

use expect_test::expect;
use heddle_json::{Object, object::json};
use heddle_kernel::{FailureKind, Outcome, Route};

use crate::script::{LINE, check};

#[test]
fn a_line_of_nodes_runs_to_its_end_and_merges_key_by_key() {
    check(
        &format!(
            "{LINE}\n{{\"input\":\"some data\"}}\nanswer {{\"words\":2}}\nanswer {{\"words\":3,\"ease\":1}}"
        ),
        expect![[r#"
            1 run started {"input":"some data"}
            2 step 1 at extract, attempt 1
            3 step 1 gives {"words":2}, next analyze
            4 step 2 at analyze, attempt 1
            5 step 2 gives {"ease":1,"words":3}, end
            6 run finished
            finished {"ease":1,"input":"some data","words":3}"#]],
    );
}

#[test]
fn the_next_of_a_node_takes_precedence_over_its_edges() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": "b", "b": "c"}}
           {}
           goto c
           goto a {"x":1}
           end {"y":2}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, next c
            4 step 2 at c, attempt 1
            5 step 2 gives {"x":1}, next a
            6 step 3 at a, attempt 1
            7 step 3 gives {"y":2}, end
            8 run finished
            finished {"x":1,"y":2}"#]],
    );
}

#[test]
fn a_tool_routes_by_keys_that_do_not_enter_the_state() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}, "edges": {"a": "b"}}
           {}
           tool {"n":1,"loop":true}
           tool {"n":2,"loop":true,"next":"b"}
           tool {"n":3,"loop":false,"next":"end"}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"n":1}, next a
            4 step 2 at a, attempt 1
            5 step 2 gives {"n":2}, next a
            6 step 3 at a, attempt 1
            7 step 3 gives {"n":3}, end
            8 run finished
            finished {"n":3}"#]],
    );
}

#[test]
fn a_tool_must_answer_an_object_and_routes_of_the_right_type() {
    for result in [
        "[1,2]",
        r#"{"next": 5}"#,
        r#"{"next": ["a", 1]}"#,
        r#"{"loop": "yes"}"#,
        "\"text\"",
    ] {
        let failure = Outcome::from_tool_result(&json(result).unwrap()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidOutcome, "{result}: {failure}");
    }
    let plain = Outcome::from_tool_result(&json(r#"{"next": null, "loop": null, "x": 1}"#).unwrap()).unwrap();
    assert_eq!(
        plain,
        Outcome {
            update: Object::parse(r#"{"x":1}"#).unwrap(),
            route: Route::Edges
        }
    );
    // A function without a result gives null.
    let nothing = Outcome::from_tool_result(&json(" null").unwrap()).unwrap();
    assert_eq!(
        nothing,
        Outcome {
            update: Object::default(),
            route: Route::Edges
        }
    );
}

#[test]
fn a_next_that_is_not_a_node_fails_the_run_and_keeps_the_state() {
    check(
        r#"{"nodes": {"gate": {}, "improve": {}}, "edges": {"gate": "improve"}}
           {}
           goto improv {"x":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at gate, attempt 1
            3 step 1 fails (invalid_outcome): node `gate` answered `next`: `improv`, which is not a node of the graph; did you mean `improve`?
            4 run failed (invalid_outcome) at gate: node `gate` answered `next`: `improv`, which is not a node of the graph; did you mean `improve`?
            failed {}"#]],
    );
}

#[test]
fn a_loop_ends_at_the_step_limit_with_advice() {
    check(
        r#"{"nodes": {"spin": {}}, "limits": {"steps": 2}}
           {}
           again {"n":1}
           again {"n":2}
           again {"n":3}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at spin, attempt 1
            3 step 1 gives {"n":1}, next spin
            4 step 2 at spin, attempt 1
            5 step 2 gives {"n":2}, next spin
            6 run failed (step_limit) at spin: the run took 2 steps, its limit, and was about to visit `spin`: it may be in an endless loop; if not, raise `limits.steps` in the graph
            - refused: the run is over
            failed {"n":2}"#]],
    );
}

#[test]
fn a_resumed_run_calls_again_and_only_the_latest_attempt_may_answer() {
    check(
        r#"{"nodes": {"a": {}}}
           {}
           log info begins
           resume
           stale {"from":"the dead engine"}
           answer {"from":"the second attempt"}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 logs info: begins
            4 step 1 at a, attempt 2
            - refused: this attempt is not the latest attempt of an active step
            5 step 1 gives {"from":"the second attempt"}, end
            6 run finished
            finished {"from":"the second attempt"}"#]],
    );
}

#[test]
fn a_failure_ends_the_run_with_node_step_attempt_and_message() {
    check(
        r#"{"nodes": {"a": {}, "b": {}}, "edges": {"a": "b"}}
           {"k":0}
           answer {"k":1}
           fail trap out of bounds
           answer"#,
        expect![[r#"
            1 run started {"k":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {"k":1}, next b
            4 step 2 at b, attempt 1
            5 step 2 fails (trap): out of bounds
            6 run failed (trap) at b: out of bounds
            - refused: the run is over
            failed {"k":1}"#]],
    );
}
