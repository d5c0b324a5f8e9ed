//! Forks, joins, and merges of updates.

use expect_test::expect;

use heddle_json::Object;
use heddle_kernel::{Answer, Input, Outcome, Route, Run, Timestamp};

use crate::{
    calls::decide,
    script::{check, play, started},
};

#[test]
fn a_fork_runs_both_arms_and_the_join_runs_once_after_both() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer {"a":1}
           c: answer {"c":1}
           b: answer {"b":1}
           answer {"d":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"a":1}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"c":1}, next d
            7 step 2 gives {"b":1}, next d
            8 step 4 at d, attempt 1, branch 1 joins [2]
            9 step 4 gives {"d":1}, end
            10 run finished
            finished {"a":1,"b":1,"c":1,"d":1}"#]],
    );
}

#[test]
fn a_key_that_both_arms_changed_is_a_conflict_without_a_policy() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer {"x":0}
           c: answer {"x":1}
           b: answer {"x":2}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"x":0}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"x":1}, next d
            7 step 2 gives {"x":2}, next d
            8 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            failed {"x":0}"#]],
    );
}

#[test]
fn policies_fold_in_the_order_of_the_fork_in_every_order_of_ends() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"list": {"merge": "append"}, "sum": {"merge": "add"}, "top": {"merge": "max"}, "low": {"merge": "min"}, "set": {"merge": "union"}, "tree": {"merge": "deep"}, "last": {"merge": "last"}}}
           {"list": [0]}
           answer {"list": ["a"], "sum": 1, "top": 1, "low": 1, "set": [1], "tree": {"a": {"x": 1}}, "last": "a"}
           c: answer {"list": ["c"], "sum": 2.5, "top": 3, "low": 3, "set": [1, 3], "tree": {"a": {"y": 3}}, "last": "c"}
           b: answer {"list": "b", "sum": 2, "top": 2, "low": 0, "set": [2], "tree": {"a": {"x": 2}, "b": 2}, "last": "b"}
           answer {"list": ["d"]}"#,
        expect![[r#"
            1 run started {"list":[0]}
            2 step 1 at a, attempt 1
            3 step 1 gives {"last":"a","list":["a"],"low":1,"set":[1],"sum":1,"top":1,"tree":{"a": {"x": 1}}}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"last":"c","list":["c"],"low":3,"set":[1, 3],"sum":2.5,"top":3,"tree":{"a": {"y": 3}}}, next d
            7 step 2 gives {"last":"b","list":"b","low":0,"set":[2],"sum":2,"top":2,"tree":{"a": {"x": 2}, "b": 2}}, next d
            8 step 4 at d, attempt 1, branch 1 joins [2]
            9 step 4 gives {"list":["d"]}, end
            10 run finished
            finished {"last":"c","list":[0,"a","b","c","d"],"low":0,"set":[1,2,3],"sum":5.5,"top":3,"tree":{"a":{"x":2,"y":3},"b":2}}"#]],
    );
}

/// The state of a run whose two arms contribute these values to a key with a policy, or the error.
fn merged(policy: &str, first: &str, second: &str) -> String {
    let script = format!(
        r#"{{"nodes": {{"a": {{}}, "b": {{}}, "c": {{}}, "d": {{}}}}, "edges": {{"a": ["b", "c"], "b": "d", "c": "d"}}, "state": {{"k": {{"merge": "{policy}"}}}}}}
           {{}}
           answer
           c: answer {{"k":{second}}}
           b: answer {{"k":{first}}}
           answer"#
    );
    let report = play(&script);
    let last = report.lines().last().unwrap_or_default();
    match last.strip_prefix("finished ") {
        Some(state) => state.to_owned(),
        None => report
            .lines()
            .find(|line| line.contains(" run failed "))
            .unwrap_or_default()
            .to_owned(),
    }
}

#[test]
fn numbers_are_merged_exactly() {
    for (policy, first, second, expected) in [
        ("add", "9223372036854775807", "1", "9223372036854775808"),
        ("add", "-9223372036854775808", "-1", "-9223372036854775809"),
        (
            "add",
            "18446744073709551615",
            "18446744073709551615",
            "36893488147419103230",
        ),
        ("add", "0.1", "0.2", "0.3"),
        ("add", "1.5", "1.5", "3.0"),
        ("add", "1", "1.0", "2.0"),
        ("add", "1e3", "1", "1001.0"),
        ("add", "123456789012345678901", "0.5", "123456789012345678901.5"),
        (
            "max",
            "18446744073709551614",
            "18446744073709551615",
            "18446744073709551615",
        ),
        (
            "max",
            "18446744073709551615",
            "18446744073709551614",
            "18446744073709551615",
        ),
        (
            "min",
            "-18446744073709551615",
            "-18446744073709551614",
            "-18446744073709551615",
        ),
        ("max", "0.10000000000000000001", "0.1", "0.10000000000000000001"),
        ("max", "1e300", "2", "1e300"),
        ("min", r#""b""#, r#""\u0061""#, r#""\u0061""#),
        (
            "union",
            "[100000000000000000001]",
            "[100000000000000000002]",
            "[100000000000000000001,100000000000000000002]",
        ),
        ("union", "[1,1e2,0.50]", "[1.0,100,0.5,2]", "[1,1e2,0.50,2]"),
        (
            "union",
            r#"[{"a":1,"b":100000000000000000001}]"#,
            r#"[{"b":100000000000000000001,"a":1.0},{"a":1,"b":100000000000000000002}]"#,
            r#"[{"a":1,"b":100000000000000000001},{"a":1,"b":100000000000000000002}]"#,
        ),
        (
            "deep",
            r#"{"n":{"x":100000000000000000001,"y":1.50}}"#,
            r#"{"n":{"x":100000000000000000002}}"#,
            r#"{"n":{"x":100000000000000000002,"y":1.50}}"#,
        ),
        (
            "append",
            "[100000000000000000001]",
            "1.50",
            "[100000000000000000001,1.50]",
        ),
        ("last", "1", "100000000000000000001", "100000000000000000001"),
    ] {
        let state = merged(policy, first, second);
        assert_eq!(
            state,
            format!(r#"{{"k":{expected}}}"#),
            "{policy} {first} {second}"
        );
    }
}

#[test]
fn a_sum_that_cannot_be_exact_is_an_error_that_names_the_key() {
    for (first, second, what) in [
        (
            "1",
            "1e-999999999",
            "`k` in parallel branches that meet at `d` does not merge: the sum of 1 and 1e-999999999 has more than 1200 digits",
        ),
        (
            "1.7e308",
            "1.7e308",
            "`k` in parallel branches that meet at `d` does not merge: `add` exceeded the range of a double",
        ),
        (
            "1",
            r#""1""#,
            "key `k` a value that its merge policy cannot take: `add` needs a number, got a string",
        ),
    ] {
        let state = merged("add", first, second);
        assert!(state.contains(what), "{state}");
    }
}

#[test]
fn an_update_from_before_a_fork_counts_once_however_branches_meet() {
    // b forks again; one of its arms meets c first, and the other one later.
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "x": {}, "y": {}, "j": {}, "k": {}}, "edges": {"a": ["b", "c"], "b": ["x", "y"], "x": "j", "c": "j", "j": "k", "y": "k"}, "state": {"list": {"merge": "append"}}}
           {}
           answer {"list": ["a"]}
           b: answer {"list": ["b"]}
           y: answer {"list": ["y"]}
           c: answer {"list": ["c"]}
           x: answer {"list": ["x"]}
           j: answer {"list": ["j"]}
           k: answer {"list": ["k"]}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"list":["a"]}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"list":["b"]}, fork 3 to x, 4 to y
            7 step 4 at x, attempt 1
            8 step 5 at y, attempt 1
            9 step 5 gives {"list":["y"]}, next k
            10 step 3 gives {"list":["c"]}, next j
            11 step 4 gives {"list":["x"]}, next j
            12 step 6 at j, attempt 1, branch 3 joins [2]
            13 step 6 gives {"list":["j"]}, next k
            14 step 7 at k, attempt 1, branch 3 joins [4]
            15 step 7 gives {"list":["k"]}, end
            16 run finished
            finished {"list":["a","b","x","c","j","y","k"]}"#]],
    );
}

#[test]
fn a_branch_that_skips_the_join_does_not_block_it() {
    check(
        r#"{"nodes": {"a": {}, "b": {"next": ["end"]}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer
           c: answer {"c":1}
           b: end {"b":1}
           answer {"d":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"c":1}, next d
            7 step 2 gives {"b":1}, end
            8 step 4 at d, attempt 1
            9 step 4 gives {"d":1}, end
            10 run finished
            finished {"b":1,"c":1,"d":1}"#]],
    );
}

#[test]
fn a_loop_in_an_arm_is_waited_for_by_the_join() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "b2": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "b2", "b2": "b", "c": "d"}, "start": "a", "state": {"n": {"merge": "add"}}}
           {}
           answer
           c: answer {"c":1}
           b: answer {"n":1}
           b2: answer {"n":1}
           b: again {"n":1}
           b: end {"n":1}
           d: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"c":1}, next d
            7 step 4 at d, attempt 1
            8 step 2 gives {"n":1}, next b2
            9 step 5 at b2, attempt 1
            10 step 5 gives {"n":1}, next b
            11 step 6 at b, attempt 1
            12 step 6 gives {"n":1}, next b
            13 step 7 at b, attempt 1
            14 step 7 gives {"n":1}, end
            15 step 4 gives {}, end
            16 run finished
            finished {"c":1,"n":4}"#]],
    );
    check(
        r#"{"nodes": {"a": {}, "b": {"next": ["d"]}, "b2": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "b2", "b2": "b", "c": "d"}, "state": {"n": {"merge": "add"}}}
           {}
           answer
           c: answer {"c":1}
           b: answer {"n":1}
           b2: answer {"n":1}
           b: goto d {"n":1}
           d: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"c":1}, next d
            7 step 2 gives {"n":1}, next b2
            8 step 4 at b2, attempt 1
            9 step 4 gives {"n":1}, next b
            10 step 5 at b, attempt 1
            11 step 5 gives {"n":1}, next d
            12 step 6 at d, attempt 1, branch 1 joins [2]
            13 step 6 gives {}, end
            14 run finished
            finished {"c":1,"n":3}"#]],
    );
}

#[test]
fn a_join_in_a_loop_joins_each_round() {
    check(
        r#"{"nodes": {"s": {}, "x": {}, "y": {}, "j": {"next": ["end", "s"]}}, "edges": {"s": ["x", "y"], "x": "j", "y": "j", "j": "s"}, "start": "s", "state": {"n": {"merge": "add"}}}
           {}
           answer
           x: answer {"n":1}
           y: answer {"n":10}
           j: answer
           s: answer
           y: answer {"n":10}
           x: answer {"n":1}
           j: end"#,
        expect![[r#"
            1 run started {}
            2 step 1 at s, attempt 1
            3 step 1 gives {}, fork 1 to x, 2 to y
            4 step 2 at x, attempt 1
            5 step 3 at y, attempt 1
            6 step 2 gives {"n":1}, next j
            7 step 3 gives {"n":10}, next j
            8 step 4 at j, attempt 1, branch 1 joins [2]
            9 step 4 gives {}, next s
            10 step 5 at s, attempt 1
            11 step 5 gives {}, fork 3 to x, 4 to y
            12 step 6 at x, attempt 1
            13 step 7 at y, attempt 1
            14 step 7 gives {"n":10}, next j
            15 step 6 gives {"n":1}, next j
            16 step 8 at j, attempt 1, branch 3 joins [4]
            17 step 8 gives {}, end
            18 run finished
            finished {"n":22}"#]],
    );
}

#[test]
fn a_join_that_is_the_head_of_its_loop_waits_for_the_whole_round() {
    check(
        r#"{"nodes": {"s": {"next": ["end"]}, "x": {}, "y": {}, "y2": {}}, "edges": {"s": ["x", "y"], "x": "s", "y": "y2", "y2": "s"}, "start": "s", "state": {"n": {"merge": "add"}}}
           {}
           answer
           x: answer {"n":1}
           y: answer
           y2: answer {"n":10}
           s: end"#,
        expect![[r#"
            1 run started {}
            2 step 1 at s, attempt 1
            3 step 1 gives {}, fork 1 to x, 2 to y
            4 step 2 at x, attempt 1
            5 step 3 at y, attempt 1
            6 step 2 gives {"n":1}, next s
            7 step 3 gives {}, next y2
            8 step 4 at y2, attempt 1
            9 step 4 gives {"n":10}, next s
            10 step 5 at s, attempt 1, branch 1 joins [2]
            11 step 5 gives {}, end
            12 run finished
            finished {"n":11}"#]],
    );
}

#[test]
fn a_branch_that_is_ready_for_the_next_round_does_not_block_this_one() {
    // x goes back to the head while y is on its way to the join: this round's join comes first.
    check(
        r#"{"nodes": {"s": {"next": ["end"]}, "x": {"next": ["s", "j"]}, "y": {}, "j": {}}, "edges": {"s": ["x", "y"], "x": "j", "y": "j", "j": "s"}, "start": "s"}
           {}
           answer
           x: goto s {"x":1}
           y: answer {"y":1}
           j: answer {"j":1}
           s: end"#,
        expect![[r#"
            1 run started {}
            2 step 1 at s, attempt 1
            3 step 1 gives {}, fork 1 to x, 2 to y
            4 step 2 at x, attempt 1
            5 step 3 at y, attempt 1
            6 step 2 gives {"x":1}, next s
            7 step 3 gives {"y":1}, next j
            8 step 4 at j, attempt 1
            9 step 4 gives {"j":1}, next s
            10 step 5 at s, attempt 1, branch 1 joins [2]
            11 step 5 gives {}, end
            12 run finished
            finished {"j":1,"x":1,"y":1}"#]],
    );
}

#[test]
fn several_branches_at_the_end_give_one_state() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": ["b", "c", "end"]}, "state": {"list": {"merge": "append"}}}
           {}
           answer {"list": [0]}
           c: answer {"list": [2], "c": 1}
           b: answer {"list": [1], "b": 1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"list":[0]}, fork 1 to b, 2 to c, 3 to end
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"c":1,"list":[2]}, end
            7 step 2 gives {"b":1,"list":[1]}, end
            8 run finished
            finished {"b":1,"c":1,"list":[0,1,2]}"#]],
    );
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": ["b", "c"]}}
           {}
           answer
           c: answer {"x": 2}
           b: answer {"x": 1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {"x":2}, end
            7 step 2 gives {"x":1}, end
            8 run failed (conflict) at c: `b` and `c` changed `x` in parallel branches that meet at `end`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            failed {}"#]],
    );
}

#[test]
fn a_function_forks_by_naming_several_nodes() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"b": "c"}, "start": "a"}
           {}
           goto b,c,b {"x":1}
           b: answer {"b":1}
           answer {"c":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"x":1}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 2 gives {"b":1}, next c
            6 step 3 at c, attempt 1, branch 1 joins [2]
            7 step 3 gives {"c":1}, end
            8 run finished
            finished {"b":1,"c":1,"x":1}"#]],
    );
}

#[test]
fn a_node_that_was_not_declared_is_followed_by_one_branch_and_refused_to_several() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"]}}
           {}
           answer
           b: goto d {"x":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 fails (invalid_outcome): node `b` answered `next`: `d`, and the run has several branches: where they meet depends on where each can go, so declare it in the node, as in "next": ["d"]
            7 run failed (invalid_outcome) at b: node `b` answered `next`: `d`, and the run has several branches: where they meet depends on where each can go, so declare it in the node, as in "next": ["d"]
            failed {}"#]],
    );
}

#[test]
fn a_failed_arm_cancels_its_siblings() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}}, "edges": {"a": ["b", "c"]}}
           {}
           answer {"a":1}
           c: fail permanent it broke
           b: answer {"b":1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"a":1}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 fails (permanent): it broke
            7 run failed (permanent) at c: it broke
            - refused: the run is over
            failed {"a":1}"#]],
    );
}

#[test]
fn a_contribution_that_its_policy_cannot_take_fails_the_step() {
    check(
        r#"{"nodes": {"a": {}}, "state": {"n": {"merge": "add"}}}
           {"n": 1}
           answer {"n": "two"}"#,
        expect![[r#"
            1 run started {"n":1}
            2 step 1 at a, attempt 1
            3 step 1 fails (invalid_outcome): node `a` gave key `n` a value that its merge policy cannot take: `add` needs a number, got a string
            4 run failed (invalid_outcome) at a: node `a` gave key `n` a value that its merge policy cannot take: `add` needs a number, got a string
            failed {"n":1}"#]],
    );
}

#[test]
fn of_a_loop_with_two_entrances_the_first_node_is_the_header() {
    // h and n lead to each other, and each is come to from outside: n waits for p until that is before h.
    check(
        r#"{"nodes": {"f": {}, "p": {}, "q": {}, "h": {}, "n": {"next": ["end"]}}, "edges": {"f": ["p", "q"], "p": "h", "q": "n", "h": "n", "n": "h"}, "start": "f"}
           {}
           answer
           q: answer {"q":1}
           p: answer {"p":1}
           n: answer {"n":1}
           h: answer {"h":1}
           n: end"#,
        expect![[r#"
            1 run started {}
            2 step 1 at f, attempt 1
            3 step 1 gives {}, fork 1 to p, 2 to q
            4 step 2 at p, attempt 1
            5 step 3 at q, attempt 1
            6 step 3 gives {"q":1}, next n
            7 step 2 gives {"p":1}, next h
            8 step 4 at n, attempt 1
            9 step 4 gives {"n":1}, next h
            10 step 5 at h, attempt 1, branch 1 joins [2]
            11 step 5 gives {"h":1}, next n
            12 step 6 at n, attempt 1
            13 step 6 gives {}, end
            14 run finished
            finished {"h":1,"n":1,"p":1,"q":1}"#]],
    );
}

#[test]
fn an_error_names_a_step_only_if_that_step_is_at_its_node() {
    let answer = |run: &mut Run, step: u64, update: &str| {
        let answered = Input::Answered {
            step,
            attempt: 1,
            result: Ok(Answer::Outcome(Outcome {
                update: Object::parse(update).expect("an update"),
                route: Route::Edges,
            })),
        };
        decide(run, answered, Timestamp(1)).expect("the answer counts");
    };
    let error = |run: &Run| {
        let error = run.error.clone().expect("an error");
        (error.node, error.step, error.attempt)
    };
    let nodes = r#""a": {}, "b0": {}, "b1": {}, "b2": {}, "j": {}"#;
    let arms = r#""b0": "j", "b1": "j", "b2": "j""#;
    // The branches conflict before `j`, at which no step began. The last step is that of `b2`.
    let mut run = started(
        &format!(r#"{{"nodes": {{{nodes}}}, "edges": {{"a": ["b0", "b1", "b2"], {arms}}}}}"#),
        |_| {},
    );
    answer(&mut run, 1, "{}");
    for (step, update) in [(3, r#"{"x":1}"#), (2, r#"{"x":2}"#), (4, "{}")] {
        answer(&mut run, step, update);
    }
    assert_eq!(error(&run), ("j".into(), None, None));

    // The limit of steps ends the run before `j`.
    let limited = format!(
        r#"{{"nodes": {{{nodes}}}, "edges": {{"a": ["b0", "b1", "b2"], {arms}}}, "limits": {{"steps": 4}}}}"#
    );
    let mut run = started(&limited, |_| {});
    for step in 1..=4 {
        answer(&mut run, step, "{}");
    }
    assert_eq!(error(&run), ("j".into(), None, None));

    // The time limit ends the run while a step is active at the node.
    let timed = r#"{"nodes": {"a": {}}, "limits": {"time": "1s"}}"#;
    let mut run = started(timed, |_| {});
    decide(&mut run, Input::Due, Timestamp(1_000)).expect("the timer is due");
    assert_eq!(error(&run), ("a".into(), Some(1), Some(1)));
}
