//! Retries of failed runs, and forks of runs.

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
        expect![[r#"
            1 run started {}
            2 step 1 at extract, attempt 1
            3 step 1 gives {"x":1}, next analyze
            4 step 2 at analyze, attempt 1
            - refused: the run is running: only a failed run can be retried
            5 step 2 fails (permanent): broke
            6 run failed (permanent) at analyze: broke
            - refused: the run has failed: it can no longer be paused
            - refused: the run has failed: retry it instead
            7 run retried
            8 step 2 at analyze, attempt 2
            9 step 2 gives {"y":2}, end
            10 run finished
            - refused: the run has finished: only a failed run can be retried, so fork it from a step instead
            finished {"x":1,"y":2}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (retryable), again at 1001: busy
            4 step 1 at a, attempt 2
            5 step 1 fails (retryable): busy
            6 run failed (retryable) at a: busy
            7 run retried
            8 step 1 at a, attempt 3
            9 step 1 fails (retryable), again at 2004: busy
            10 step 1 at a, attempt 4
            11 step 1 gives {}, end
            12 run finished
            finished {}"#]],
    );
}

#[test]
fn the_calls_of_other_arms_are_made_again_too() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "ask": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c", "ask"], "b": "d", "c": "d", "ask": "d"}}
           {}
           answer
           c: fail permanent broke
           signal yes
           retry
           signal yes 5
           b: answer {"b": 1}
           c: answer {"c": 2}
           d: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c, 3 to ask
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 4 at ask, attempt 1
            7 step 3 fails (permanent): broke
            8 run failed (permanent) at c: broke
            - refused: the run is over
            9 run retried
            10 step 2 at b, attempt 2
            11 step 3 at c, attempt 2
            12 signal yes 5
            13 step 4 gives {"yes":5} by signal 12, next d
            14 step 2 gives {"b":1}, next d
            15 step 3 gives {"c":2}, next d
            16 step 5 at d, attempt 1, branch 1 joins [2, 3]
            17 step 5 gives {}, end
            18 run finished
            finished {"b":1,"c":2,"yes":5}"#]],
    );
}

#[test]
fn a_step_that_failed_in_a_subgraph_is_retried_in_the_subgraph() {
    check(
        r#"with child {"nodes": {"in": {}, "out": {}}, "edges": {"in": "out"}}
           {"nodes": {"child": {"graph": "child", "output": "got"}}}
           {}
           in: answer {"in": 1}
           out: fail permanent broke
           retry
           out: answer {"out": 2}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at child, attempt 1
            3 step 1 runs child with {}
            4 step 2 at in, attempt 1, within 1
            5 step 2 gives {"in":1}, next out
            6 step 3 at out, attempt 1, within 1
            7 step 3 fails (permanent): broke
            8 step 1 fails (permanent): graph `7bc83ca94e48b64a7c44f8bb0fe4c01f`, node `out`: broke
            9 run failed (permanent) at child: graph `7bc83ca94e48b64a7c44f8bb0fe4c01f`, node `out`: broke
            10 run retried
            11 step 3 at out, attempt 2, within 1
            12 step 3 gives {"out":2}, end
            13 step 1 gives {"got":{"in":1,"out":2}}, end
            14 run finished
            finished {"got":{"in":1,"out":2}}"#]],
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
        expect![[r#"
            1 run started {"all":[1, 2, 3]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1, 2, 3]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 3 at each, attempt 1, item 1 of 1
            6 step 2 gives item 0 of 1: 10
            7 step 4 at each, attempt 1, item 2 of 1
            8 step 3 fails (permanent): broke
            9 step 1 fails (permanent): item 1: broke
            10 run failed (permanent) at each: item 1: broke
            11 run retried
            12 step 3 at each, attempt 2, item 1 of 1
            13 step 4 at each, attempt 2, item 2 of 1
            14 step 4 gives item 2 of 1: 30
            15 step 3 gives item 1 of 1: 20
            16 step 1 gives {"out":[10,20,30]}, end
            17 run finished
            finished {"all":[1, 2, 3],"out":[10,20,30]}"#]],
    );
}

#[test]
fn steps_that_failed_before_they_did_anything_are_opened_again() {
    check(
        r#"{"nodes": {"rest": {"sleep": {"for": "state.seconds"}}}}
           {"seconds": "soon"}
           retry"#,
        expect![[r#"
            1 run started {"seconds":"soon"}
            2 step 1 at rest, attempt 1, until 0
            3 step 1 fails (expression): `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "soon"
            4 run failed (expression) at rest: `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "soon"
            5 run retried
            6 step 1 at rest, attempt 2, until 1
            7 step 1 fails (expression): `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "soon"
            8 run failed (expression) at rest: `sleep.for`: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "soon"
            failed {"seconds":"soon"}"#]],
    );
    check(
        r#"{"nodes": {"ask": {"wait": {"signal": "yes", "timeout": "1s"}}}}
           {}
           at 1000
           retry
           at 2000
           signal yes 1"#,
        expect![[r#"
            1 run started {}
            2 step 1 at ask, attempt 1, until 1000
            3 step 1 fails (timeout): no signal `yes` came to node `ask` in time
            4 run failed (timeout) at ask: no signal `yes` came to node `ask` in time
            5 run retried
            6 step 1 at ask, attempt 2, until 2001
            7 signal yes 1
            8 step 1 gives {"yes":1} by signal 7, end
            9 run finished
            finished {"yes":1}"#]],
    );
    check(
        r#"{"nodes": {"each": {"map": {"over": "state.all", "uses": "f", "into": "out"}}}}
           {"all": 7}
           retry"#,
        expect![[r#"
            1 run started {"all":7}
            2 step 1 at each, attempt 1
            3 step 1 fails (expression): `map.over` has no value: `state.all`: the result must be a list or an object, and is a number
            4 run failed (expression) at each: `map.over` has no value: `state.all`: the result must be a list or an object, and is a number
            5 run retried
            6 step 1 at each, attempt 2
            7 step 1 fails (expression): `map.over` has no value: `state.all`: the result must be a list or an object, and is a number
            8 run failed (expression) at each: `map.over` has no value: `state.all`: the result must be a list or an object, and is a number
            failed {"all":7}"#]],
    );
    check(
        r#"with child {"nodes": {"in": {}}}
           {"nodes": {"child": {"graph": "child", "input": {"x": "state.x"}}}}
           {}
           retry"#,
        expect![[r#"
            1 run started {}
            2 step 1 at child, attempt 1
            3 step 1 fails (expression): `input.x` has no value: `state.x`: state has no key `x`; it has none; has(state.x) tests whether the key exists
            4 run failed (expression) at child: `input.x` has no value: `state.x`: state has no key `x`; it has none; has(state.x) tests whether the key exists
            5 run retried
            6 step 1 at child, attempt 2
            7 step 1 fails (expression): `input.x` has no value: `state.x`: state has no key `x`; it has none; has(state.x) tests whether the key exists
            8 run failed (expression) at child: `input.x` has no value: `state.x`: state has no key `x`; it has none; has(state.x) tests whether the key exists
            failed {}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at child, attempt 1
            3 step 1 runs child with {}
            4 step 2 at in, attempt 1, within 1
            5 step 1 fails (time_limit): graph `36d88dc2e76e3f7ce895ea71abad9f1a`, node `in`: the graph took longer than its limit of 1000 ms (`limits.time` in the graph)
            6 run failed (time_limit) at child: graph `36d88dc2e76e3f7ce895ea71abad9f1a`, node `in`: the graph took longer than its limit of 1000 ms (`limits.time` in the graph)
            7 run retried
            8 step 2 at in, attempt 2, within 1
            9 step 1 fails (time_limit): graph `36d88dc2e76e3f7ce895ea71abad9f1a`, node `in`: the graph took longer than its limit of 1000 ms (`limits.time` in the graph)
            10 run failed (time_limit) at child: graph `36d88dc2e76e3f7ce895ea71abad9f1a`, node `in`: the graph took longer than its limit of 1000 ms (`limits.time` in the graph)
            11 run retried
            12 step 2 at in, attempt 3, within 1
            13 step 2 gives {}, end
            14 step 1 gives {}, end
            15 run finished
            finished {}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, next d
            7 step 3 gives {"x":2}, next d
            8 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            9 run retried
            10 run failed (conflict) at d: `b` and `c` changed `x` in parallel branches that meet at `d`, and the graph does not say how to merge them: give the key a policy, as in "state": {"x": {"merge": "append"}}, or let each branch write a separate key
            failed {}"#]],
    );
}

#[test]
fn a_compensated_run_is_forked_instead() {
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
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {"booked":7}, next pay
            4 step 2 at pay, attempt 1
            5 step 2 fails (permanent): broke
            6 undo, since broke
            7 step 3 at unbook, attempt 1, undoes 1
            8 step 3 gives {}, end
            9 run failed (permanent) at pay: broke
            - refused: the run has failed: its steps were compensated, so fork it from a step instead
            - refused: the run is compensating its steps: only an earlier state can be forked, so name an earlier step
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 2 with {"card":"other"}
            2 step 2 at pay, attempt 2
            3 step 2 gives {}, end
            4 run finished
            finished {"booked":7,"card":"other"}"#]],
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
        expect![[r#"
            1 run started {"x":1}
            2 step 1 at extract, attempt 1
            3 step 1 gives {"y":2}, next analyze
            4 step 2 at analyze, attempt 1
            5 step 2 gives {"z":3}, end
            6 run finished
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 1 with {"new":true,"y":20}
            2 step 2 at analyze, attempt 1
            3 step 2 gives {"z":30}, end
            4 run finished
            finished {"new":true,"x":1,"y":20,"z":30}"#]],
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
        expect![[r#"
            1 run started {"x":1}
            2 step 1 at extract, attempt 1
            3 step 1 gives {}, next analyze
            4 step 2 at analyze, attempt 1
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 0 with {"x":2}
            2 step 1 at extract, attempt 1
            3 step 1 gives {}, next analyze
            4 step 2 at analyze, attempt 1
            5 step 2 gives {"z":3}, end
            6 run finished
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 2 with {"z":4}
            2 run finished
            finished {"x":2,"z":4}"#]],
    );
}

#[test]
fn a_fork_repeats_the_active_calls_and_sets_the_state_of_every_arm() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"n": {"merge": "add"}}}
           {"n": 1}
           answer
           b: answer {"n": 10}
           c: answer {"n": 100}
           fork 2 {"n": 1000}
           c: answer {"n": 5}
           d: answer"#,
        expect![[r#"
            1 run started {"n":1}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"n":10}, next d
            7 step 3 gives {"n":100}, next d
            8 step 4 at d, attempt 1, branch 1 joins [2]
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 2 with {"n":1000}
            2 step 3 at c, attempt 2
            3 step 3 gives {"n":5}, next d
            4 step 4 at d, attempt 1, branch 1 joins [2]
            5 step 4 gives {}, end
            6 run finished
            finished {"n":1005}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 signal yes 1
            4 run paused: stop
            5 step 1 gives {}, next ask
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 1 with {}
            2 signal yes 1
            3 step 2 at ask, attempt 1
            4 step 2 gives {"yes":1} by signal 2, end
            5 run finished
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 2 with {}
            2 run finished
            finished {"yes":1}"#]],
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
        expect![[r#"
            1 run started {"all":[1, 2]}
            2 step 1 at each, attempt 1
            3 step 1 maps [1, 2]
            4 step 2 at each, attempt 1, item 0 of 1
            5 step 2 runs child with {"item":1}
            6 step 3 at in, attempt 1, within 2
            7 step 3 gives {"in":1}, next out
            8 step 4 at out, attempt 1, within 2
            9 step 4 gives {}, end
            10 step 2 gives item 0 of 1: {"in":1,"item":1}
            11 step 5 at each, attempt 1, item 1 of 1
            12 step 5 runs child with {"item":2}
            13 step 6 at in, attempt 1, within 5
            1 run forked from 00000000-0000-0000-0000-000000000000 after step 3 with {"later":true}
            2 step 4 at out, attempt 1, within 2
            3 step 4 gives {}, end
            4 step 2 gives item 0 of 1: {"in":1,"item":1}
            5 step 5 at each, attempt 1, item 1 of 1
            6 step 5 runs child with {"item":2}
            7 step 6 at in, attempt 1, within 5
            8 step 6 gives {}, next out
            9 step 7 at out, attempt 1, within 5
            10 step 7 gives {}, end
            11 step 5 gives item 1 of 1: {"item":2}
            12 step 1 gives {"got":[{"in":1,"item":1},{"item":2}]}, end
            13 run finished
            finished {"all":[1, 2],"got":[{"in":1,"item":1},{"item":2}],"later":true}"#]],
    );
}
