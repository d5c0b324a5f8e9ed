//! The branches of a run as shown to clients, while it is active and after its end.

use expect_test::expect;
use heddle_json::Object;
use heddle_kernel::{Answer, Input, Outcome, Route, Run, RunId, Timestamp};

use crate::calls::decide;
use crate::script::{check, make};

const BOTH: &str =
    r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}"#;

#[test]
fn after_a_conflict_the_state_has_the_agreed_keys_and_each_branch_its_own() {
    check(
        &format!(
            "{BOTH}\n{}",
            r#"{"x": 0, "y": 0}
            answer {"y": 1}
            b: answer {"x": 1, "only_b": true}
            branches
            c: answer {"x": 2, "only_c": true}
            branches"#
        ),
        expect![[r#"
            1 run started {"x":0,"y":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {"y":1}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"only_b":true,"x":1}, next d
            - branch 1 is Before d: {"only_b":true,"x":1}
            - branch 2 is At c, step 3: {}
            7 step 3 gives {"only_c":true,"x":2}, next d
            8 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 1 is Before d: {"only_b":true,"x":1}
            - branch 2 is Before d: {"only_c":true,"x":2}
            failed {"only_b":true,"only_c":true,"x":0,"y":1}"#]],
    );
    // The key was not there when the branches parted.
    check(
        &format!(
            "{BOTH}\n{}",
            r#"{}
            answer
            c: answer {"x": 2}
            b: answer {"x": 1}"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"x":2}, next d
            7 step 2 gives {"x":1}, next d
            8 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            failed {}"#]],
    );
}

#[test]
fn values_that_a_policy_cannot_merge_do_not_show_as_the_runs() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": ["b", "c"]}, "state": {"n": {"merge": "add"}}}
           {"n": 1}
           answer {"n": 1}
           b: answer {"n": 10}
           c: fail permanent no
           branches"#,
        expect![[r#"
            1 run started {"n":1}
            2 step 1 at a, attempt 1
            3 step 1 gives {"n":1}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"n":10}, end
            7 step 3 fails (permanent): no
            8 run failed (permanent) at c: no
            - branch 1 is Ended the end: {"n":12}
            - branch 2 is At c, step 3: {}
            failed {"n":12}"#]],
    );
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": ["b", "c"]}}
           {"x": 0}
           answer
           b: answer {"x": 1}
           c: answer {"x": 2}
           branches"#,
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, end
            7 step 3 gives {"x":2}, end
            8 run failed (conflict) at c: `b` and `c` changed `x` in parallel branches that meet at `end`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 1 is Ended the end: {"x":1}
            - branch 2 is Ended the end: {"x":2}
            failed {"x":0}"#]],
    );
}

#[test]
fn changes_of_a_branch_before_a_second_fork_are_kept() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}, "e": {}, "f": {}}, "edges": {"a": ["b", "c"], "b": ["d", "e"], "d": "f", "e": "f"}}
           {"x": 0}
           answer
           b: answer {"x": 1}
           d: answer {"x": 2}
           e: answer {"x": 3}
           branches"#,
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, fork 3 to d, 4 to e
            7 step 4 at d, attempt 1
            8 step 5 at e, attempt 1
            9 step 4 gives {"x":2}, next f
            10 step 5 gives {"x":3}, next f
            11 run failed (conflict) at f: `d` and `e` changed `x` in parallel branches that meet at `f`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 3 is Before f: {"x":2}
            - branch 4 is Before f: {"x":3}
            - branch 2 is At c, step 3: {}
            failed {"x":0}"#]],
    );
}

#[test]
fn a_run_that_undid_or_was_cancelled_still_tells_its_branches() {
    check(
        r#"{"nodes": {"a": {"compensate": "u"}, "b": {}, "c": {}, "d": {}, "u": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {"x": 0}
           answer
           b: answer {"x": 1}
           c: answer {"x": 2}
           u: answer {"undone": true}
           branches"#,
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, next d
            7 step 3 gives {"x":2}, next d
            8 undo, since `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            9 step 4 at u, attempt 1, undoes 1
            10 step 4 gives {"undone":true}, end
            11 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 1 is Before d: {"x":1}
            - branch 2 is Before d: {"x":2}
            failed {"undone":true,"x":0}"#]],
    );
    check(
        &format!(
            "{BOTH}\n{}",
            r#"{"x": 0}
            answer
            b: answer {"x": 1}
            cancel enough
            branches"#
        ),
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, next d
            7 run cancelled: enough
            - branch 1 is Before d: {"x":1}
            - branch 2 is At c, step 3: {}
            cancelled {"x":1}"#]],
    );
}

#[test]
fn the_list_of_branches_is_limited_in_bytes() {
    let large = "x".repeat(700_000);
    let graph = std::sync::Arc::new(make(BOTH));
    let id = RunId(uuid::Uuid::nil());
    let state = Object::default();
    let (mut run, _) = Run::create(
        id,
        graph,
        Default::default(),
        state,
        Default::default(),
        Timestamp(0),
    )
    .start();
    let mut answer = |step, update: &str| {
        let update = Object::parse(update).unwrap();
        let route = Route::Edges;
        let result = Ok(Answer::Outcome(Outcome { update, route }));
        decide(
            &mut run,
            Input::Answered {
                step,
                attempt: 1,
                result,
            },
            Timestamp(1),
        )
        .unwrap();
        run.branches()
    };
    answer(1, "{}");
    answer(2, &format!(r#"{{"b": "{large}"}}"#));
    let branches = answer(3, &format!(r#"{{"b": 1, "c": "{large}"}}"#));
    let shown = branches
        .iter()
        .map(|branch| (branch.changed.len(), branch.left_out));
    assert_eq!(shown.collect::<Vec<_>>(), [(1, 0), (1, 1)]);
}

#[test]
fn the_branches_of_a_nested_graph_are_listed_with_its_step() {
    check(
        &format!(
            "with inner {}\n{}",
            BOTH.replacen('{', r#"{"name": "inner", "#, 1),
            r#"{"nodes": {"run": {"graph": "inner"}}}
            {"x": 0}
            answer
            b: answer {"x": 1}
            c: answer {"x": 2}
            branches"#
        ),
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at run, attempt 1
            3 step 1 runs inner with {"x":0}
            4 step 2 at a, attempt 1, within 1
            5 step 2 gives {}, fork 2 to b, 3 to c
            6 step 3 at b, attempt 1, within 1
            7 step 4 at c, attempt 1, within 1
            8 step 3 gives {"x":1}, next d
            9 step 4 gives {"x":2}, next d
            10 step 1 fails (conflict): graph `inner`, node `d`: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            11 run failed (conflict) at run: graph `inner`, node `d`: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 2 within 1 is Before d: {"x":1}
            - branch 3 within 1 is Before d: {"x":2}
            failed {"x":0}"#]],
    );
}

#[test]
fn a_fork_with_an_edit_and_a_retry_agree_on_the_edited_value() {
    check(
        &format!(
            "{BOTH}\n{}",
            r#"{"x": 0}
            answer
            fork 1 {"x": 7}
            b: answer {"x": 1}
            c: answer {"x": 2}
            branches"#
        ),
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 1 with {"x":7}
            2 step 2 at b, attempt 1
            3 step 3 at c, attempt 1
            4 step 2 gives {"x":1}, next d
            5 step 3 gives {"x":2}, next d
            6 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            - branch 1 is Before d: {"x":1}
            - branch 2 is Before d: {"x":2}
            failed {"x":7}"#]],
    );
    check(
        &format!(
            "{BOTH}\n{}",
            r#"{"x": 0}
            answer
            b: answer {"x": 1}
            c: fail permanent no
            retry
            c: answer {"y": 2}
            branches"#
        ),
        expect![[r#"
            1 run started {"x":0}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, next d
            7 step 3 fails (permanent): no
            8 run failed (permanent) at c: no
            9 run retried
            10 step 3 at c, attempt 2
            11 step 3 gives {"y":2}, next d
            12 step 4 at d, attempt 1, branch 1 joins [2]
            running {"x":1,"y":2}"#]],
    );
}
