//! Upgrades of runs to other versions of their graphs.

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
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            - refused: the run is running: node `a` is being called, so pause it, and upgrade it after the call
            3 step 1 gives {}, next ask
            4 step 2 at ask, attempt 1
            5 run upgraded
            6 signal yes 1
            7 step 2 gives {"yes":1} by signal 6, next new
            8 step 3 at new, attempt 1
            9 step 3 gives {"new":1}, end
            10 run finished
            - refused: the run has finished: only an active or a failed run can be upgraded
            finished {"new":1,"yes":1}"#]],
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
        expect![[r#"
            1 run started {"n":1}
            2 step 1 at a, attempt 1
            3 step 1 fails (no_case): no case of the edges of `a` holds (state.n > 1): add a last case without `when`
            4 run failed (no_case) at a: no case of the edges of `a` holds (state.n > 1): add a last case without `when`
            - refused: the run has failed: it cannot be upgraded to graph `0b66e92fd3fe1669b8d0f112191d9541`: the run is at node `a`, which calls a function in its graph and sleeps in the new one
            5 run upgraded
            6 run retried
            7 step 1 at a, attempt 2
            8 step 1 gives {}, end
            9 run finished
            finished {"n":1}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at fork, attempt 1
            3 step 1 gives {}, fork 1 to ask, 2 to rest
            4 step 2 at ask, attempt 1
            5 step 3 at rest, attempt 1, until 3600001
            - refused: the run is waiting: it cannot be upgraded to graph `de20f02d98babcb9111da795441c1f17`: the run is at node `rest`, which the new graph does not have
            - refused: the run is waiting: it cannot be upgraded to graph `493d9a6142425334ec64fea09c2cb6ae`: the run is at node `ask`, which waits for signal `yes` in its graph and waits for signal `no` in the new one
            - refused: the run is waiting: it cannot be upgraded to graph `afae4580b6b2006e211d61c1185d0608`: the run is at node `rest`, which sleeps in its graph and calls a function in the new one
            6 signal yes null
            7 step 2 gives {"yes":null} by signal 6, next join
            - refused: the run is waiting: it cannot be upgraded to graph `e15a5d47e8082d24be0a03699364cf3a`: the run waits before node `join`, which the new graph does not have
            8 run upgraded
            9 step 4 at join, attempt 1
            10 step 4 gives {}, end
            waiting {"yes":null}"#]],
    );
}

#[test]
fn a_run_is_not_upgraded_to_a_graph_without_its_compensations() {
    check(
        r#"{"nodes": {"book": {"compensate": "unbook"}, "ask": {"wait": {"signal": "yes"}}, "unbook": {}}, "edges": {"book": "ask"}}
           {}
           answer
           upgrade {"nodes": {"book": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"book": "ask"}}
           upgrade {"nodes": {"book": {"compensate": "unbook"}, "ask": {"wait": {"signal": "yes"}}, "unbook": {"config": 2}}, "edges": {"book": "ask"}}
           cancel not wanted
           upgrade {"nodes": {"book": {}, "ask": {"wait": {"signal": "yes"}}}, "edges": {"book": "ask"}}
           unbook: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at book, attempt 1
            3 step 1 gives {}, next ask
            4 step 2 at ask, attempt 1
            - refused: the run is waiting: it cannot be upgraded to graph `4164eaa570ad8cbb6ffb833fdf9b1f8c`: the run may have to compensate a step with node `unbook`, which the new graph does not have
            5 run upgraded
            6 undo, since not wanted
            7 step 3 at unbook, attempt 1, undoes 1
            - refused: the run is compensating its steps: it can no longer be upgraded
            8 step 3 gives {}, end
            9 run cancelled: not wanted
            cancelled {}"#]],
    );
}

#[test]
fn a_run_is_not_upgraded_to_a_graph_with_other_merge_policies_for_changed_keys() {
    check(
        r#"{"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}}
           {}
           answer
           b: answer {"x": 1}
           upgrade {"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"x": {"merge": "add"}}}
           upgrade {"nodes": {"a": {}, "b": {}, "c": {"wait": {"signal": "yes"}}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"}, "state": {"y": {"merge": "add"}}}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {"x":1}, next d
            - refused: the run is waiting: it cannot be upgraded to graph `9301d12cac50fe0a08bb463bc91949fd`: branches changed `x` and have not met, and the new graph merges it in another way
            7 run upgraded
            waiting {"x":1}"#]],
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
        expect![[r#"
            1 run started {}
            2 step 1 at fork, attempt 1
            3 step 1 gives {}, fork 1 to a, 2 to rest
            4 step 2 at a, attempt 1
            5 step 3 at rest, attempt 1, until 3600001
            6 run paused: stop
            - refused: the run is paused: node `a` is being called, so upgrade it after the call
            7 step 2 gives {}, end
            8 run upgraded
            9 run resumed
            10 run failed (time_limit) at rest: the run took longer than its limit of 9000 ms (`limits.time` in the graph)
            failed {}"#]],
    );
}

#[test]
fn a_run_that_is_inside_of_a_graph_goes_on_in_the_new_one_of_its_name() {
    check(
        r#"{"name": "self", "nodes": {"a": {}, "ask": {"wait": {"signal": "yes"}}, "inner": {"graph": "self"}}, "edges": {"a": [{"when": "has(state.deep)", "to": "ask"}, {"to": "inner"}], "inner": "end"}}
           {}
           answer
           answer {"deep": true}
           upgrade {"name": "self", "nodes": {"a": {}, "inner": {"graph": "self"}}, "edges": {"a": [{"when": "has(state.deep)", "to": "end"}, {"to": "inner"}]}}
           upgrade {"name": "self", "nodes": {"a": {}, "inner": {"graph": "self"}, "ask": {"wait": {"signal": "yes"}}, "more": {}}, "edges": {"a": [{"when": "has(state.deep)", "to": "ask"}, {"to": "inner"}], "ask": "more"}}
           signal yes
           more: answer {"more": 1}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, next inner
            4 step 2 at inner, attempt 1
            5 step 2 runs self with {}
            6 step 3 at a, attempt 1, within 2
            7 step 3 gives {"deep":true}, next ask
            8 step 4 at ask, attempt 1, within 2
            - refused: the run is waiting: it cannot be upgraded to graph `self`: the run is at node `ask`, which the new graph does not have
            9 run upgraded
            10 signal yes null
            11 step 4 gives {"yes":null} by signal 10, next more
            12 step 5 at more, attempt 1, within 2
            13 step 5 gives {"more":1}, end
            14 step 2 gives {"deep":true,"more":1,"yes":null}, end
            15 run finished
            finished {"deep":true,"more":1,"yes":null}"#]],
    );
}
