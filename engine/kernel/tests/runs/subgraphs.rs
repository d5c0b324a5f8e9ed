//! Inner graphs.

use expect_test::expect;

use crate::script::check;

const CHILD: &str = r#"with child {"name": "child", "nodes": {"x": {}, "y": {}}, "edges": {"x": "y"}}"#;

#[test]
fn a_subgraph_has_its_own_state_and_returns_its_output() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"graph": "child", "input": {"doc": "state.doc"}, "output": "published"}, "d": {}}, "edges": {"c": "d"}}
               {"doc": "text", "secret": 1}
               answer {"x": 1}
               answer {"y": 1}
               answer"#
        ),
        expect![[r#"
            1 run started {"doc":"text","secret":1}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {"doc":"text"}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {"x":1}, next y
            6 step 3 at y, attempt 1, within 1
            7 step 3 gives {"y":1}, end
            8 step 1 gives {"published":{"doc":"text","x":1,"y":1}}, next d
            9 step 4 at d, attempt 1
            10 step 4 gives {}, end
            11 run finished
            finished {"doc":"text","published":{"doc":"text","x":1,"y":1},"secret":1}"#]],
    );
}

#[test]
fn without_input_and_output_it_works_on_the_same_keys() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"graph": "child"}, "d": {}}, "edges": {"c": "d"}}
               {"doc": "text", "n": 1}
               answer {"n": 2}
               answer {"y": 1}
               answer"#
        ),
        expect![[r#"
            1 run started {"doc":"text","n":1}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {"doc":"text","n":1}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {"n":2}, next y
            6 step 3 at y, attempt 1, within 1
            7 step 3 gives {"y":1}, end
            8 step 1 gives {"n":2,"y":1}, next d
            9 step 4 at d, attempt 1
            10 step 4 gives {}, end
            11 run finished
            finished {"doc":"text","n":2,"y":1}"#]],
    );
}

#[test]
fn a_graph_that_fails_fails_its_node_which_can_be_tried_again_or_led_elsewhere() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"graph": "child", "output": "o", "retry": {"attempts": 2, "backoff": "5ms"}, "on_error": "d"}, "d": {}}}
               {}
               answer {"x": 1}
               fail retryable busy
               at 10
               answer {"x": 2}
               fail retryable busy still
               d: answer"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {"x":1}, next y
            6 step 3 at y, attempt 1, within 1
            7 step 3 fails (retryable): busy
            8 step 1 fails (retryable), again at 7: graph `child`, node `y`: busy
            9 step 1 at c, attempt 2
            10 step 1 runs child with {}
            11 step 4 at x, attempt 1, within 1
            12 step 4 gives {"x":2}, next y
            13 step 5 at y, attempt 1, within 1
            14 step 5 fails (retryable): busy still
            15 step 1 fails (retryable), next d: graph `child`, node `y`: busy still
            16 step 6 at d, attempt 1
            17 step 6 gives {}, end
            18 run finished
            finished {}"#]],
    );
}

#[test]
fn a_graph_that_runs_itself_is_stopped_at_a_depth() {
    check(
        r#"{"name": "self", "nodes": {"again": {"graph": "self", "output": "o"}}}
           {}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at again, attempt 1
            3 step 1 runs self with {}
            4 step 2 at again, attempt 1, within 1
            5 step 2 runs self with {}
            6 step 3 at again, attempt 1, within 2
            7 step 3 runs self with {}
            8 step 4 at again, attempt 1, within 3
            9 step 4 runs self with {}
            10 step 5 at again, attempt 1, within 4
            11 step 5 runs self with {}
            12 step 6 at again, attempt 1, within 5
            13 step 6 runs self with {}
            14 step 7 at again, attempt 1, within 6
            15 step 7 runs self with {}
            16 step 8 at again, attempt 1, within 7
            17 step 8 runs self with {}
            18 step 9 at again, attempt 1, within 8
            19 step 9 runs self with {}
            20 step 10 at again, attempt 1, within 9
            21 step 10 runs self with {}
            22 step 11 at again, attempt 1, within 10
            23 step 11 runs self with {}
            24 step 12 at again, attempt 1, within 11
            25 step 12 runs self with {}
            26 step 13 at again, attempt 1, within 12
            27 step 13 runs self with {}
            28 step 14 at again, attempt 1, within 13
            29 step 14 runs self with {}
            30 step 15 at again, attempt 1, within 14
            31 step 15 runs self with {}
            32 step 16 at again, attempt 1, within 15
            33 step 16 runs self with {}
            34 step 17 at again, attempt 1, within 16
            35 step 17 fails (depth_limit): graph `self` was not run: inner graphs are nested deeper than the limit of 16
            36 step 16 fails (depth_limit): graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            37 step 15 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            38 step 14 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            39 step 13 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            40 step 12 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            41 step 11 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            42 step 10 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            43 step 9 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            44 step 8 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            45 step 7 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            46 step 6 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            47 step 5 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            48 step 4 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            49 step 3 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            50 step 2 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            51 step 1 fails (depth_limit): graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            52 run failed (depth_limit) at again: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self`, node `again`: graph `self` was not run: inner graphs are nested deeper than the limit of 16
            failed {}"#]],
    );
}

#[test]
fn steps_of_a_graph_count_for_itself() {
    check(
        r#"with child {"name": "child", "nodes": {"x": {}}, "limits": {"steps": 1}}
           {"nodes": {"c": {"graph": "child", "output": "o"}}, "limits": {"steps": 1}}
           {}
           again
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {}, next x
            6 step 1 fails (step_limit): graph `child`, node `x`: the graph took 1 steps, its limit, and was about to visit `x`: it may be in an endless loop; if not, raise `limits.steps` in the graph
            7 run failed (step_limit) at c: graph `child`, node `x`: the graph took 1 steps, its limit, and was about to visit `x`: it may be in an endless loop; if not, raise `limits.steps` in the graph
            - refused: the run is over
            failed {}"#]],
    );
}

#[test]
fn a_graph_has_a_time_limit_of_its_own() {
    check(
        r#"with child {"name": "child", "nodes": {"x": {}}, "limits": {"time": "1s"}}
           {"nodes": {"c": {"graph": "child", "output": "o", "on_error": "d"}, "d": {}}}
           {}
           at 999
           resume
           at 1000
           d: answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {}
            4 step 2 at x, attempt 1, within 1
            5 step 2 at x, attempt 2, within 1
            6 step 1 fails (time_limit), next d: graph `child`, node `x`: the graph took longer than its limit of 1000 ms (`limits.time` in the graph)
            7 step 3 at d, attempt 1
            8 step 3 gives {}, end
            9 run finished
            finished {}"#]],
    );
}

#[test]
fn a_graph_is_cancelled_with_its_run_and_its_steps_are_undone_with_it() {
    check(
        r#"with child {"name": "child", "nodes": {"x": {"compensate": "unx"}, "nap": {"sleep": "1h"}, "unx": {}}, "edges": {"x": "nap"}, "start": "x"}
           {"nodes": {"a": {"compensate": "una"}, "c": {"graph": "child", "output": "o"}, "una": {}}, "edges": {"a": "c"}, "start": "a"}
           {}
           answer {"a": 1}
           answer {"x": 1}
           cancel not wanted
           at 3600000
           answer {"x": 0}
           answer {"a": 0}"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"a":1}, next c
            4 step 2 at c, attempt 1
            5 step 2 runs child with {"a":1}
            6 step 3 at x, attempt 1, within 2
            7 step 3 gives {"x":1}, next nap
            8 step 4 at nap, attempt 1, within 2, until 3600002
            9 undo, since not wanted
            10 step 5 at unx, attempt 1, within 2, undoes 3
            11 step 5 gives {"x":0}, end
            12 step 6 at una, attempt 1, undoes 1
            13 step 6 gives {"a":0}, end
            14 run cancelled: not wanted
            cancelled {"a":0}"#]],
    );
}
