//! The variable `run.steps`.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_step_sees_its_own_number_on_its_way() {
    check(
        r#"{"nodes": {"a": {"output": {"n": "run.steps"}}, "b": {"output": {"b": "run.steps"}}}, "edges": {"a": [{"when": "run.steps < 3", "to": "a"}, {"to": "b"}]}}
           {}
           answer
           again
           answer
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {"n":1}, next a
            4 step 2 at a, attempt 1
            5 step 2 gives {"n":2}, next a
            6 step 3 at a, attempt 1
            7 step 3 gives {"n":3}, next b
            8 step 4 at b, attempt 1
            9 step 4 gives {"b":4}, end
            10 run finished
            finished {"b":4,"n":3}"#]],
    );
}

#[test]
fn where_branches_join_the_longest_one_counts_in_every_order_of_ends() {
    let graph = r#"{"nodes": {"a": {}, "b": {}, "b2": {}, "c": {}, "d": {"sleep": {"for": "run.steps"}}, "e": {"wait": {"signal": "s"}, "output": {"steps": "run.steps"}}}, "edges": {"a": ["b", "c"], "b": "b2", "b2": "d", "c": "d", "d": "e"}}"#;
    check(
        &format!("{graph}\n{{}}\nanswer\nc: answer\nb: answer\nb2: answer\nat 4004\nsignal s"),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 3 gives {}, next d
            7 step 2 gives {}, next b2
            8 step 4 at b2, attempt 1
            9 step 4 gives {}, next d
            10 step 5 at d, attempt 1, branch 1 joins [2], until 4004
            11 step 5 gives {}, next e
            12 step 6 at e, attempt 1
            13 signal s null
            14 step 6 gives {"steps":5} by signal 13, end
            15 run finished
            finished {"steps":5}"#]],
    );
    check(
        &format!("{graph}\n{{}}\nanswer\nb: answer\nb2: answer\nc: answer\nat 4004\nsignal s"),
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, fork 1 to b, 2 to c
            4 step 2 at b, attempt 1
            5 step 3 at c, attempt 1
            6 step 2 gives {}, next b2
            7 step 4 at b2, attempt 1
            8 step 4 gives {}, next d
            9 step 3 gives {}, next d
            10 step 5 at d, attempt 1, branch 1 joins [2], until 4004
            11 step 5 gives {}, next e
            12 step 6 at e, attempt 1
            13 signal s null
            14 step 6 gives {"steps":5} by signal 13, end
            15 run finished
            finished {"steps":5}"#]],
    );
}

#[test]
fn retries_and_items_do_not_count_and_a_graph_counts_its_own_steps() {
    check(
        r#"with child {"name": "child", "nodes": {"x": {}, "y": {"wait": {"signal": "s"}, "output": {"inner": "run.steps"}}}, "edges": {"x": "y"}}
           {"nodes": {"a": {"retry": {"attempts": 2, "backoff": "1ms"}}, "m": {"map": {"over": "[1, 2]", "uses": "f", "into": "m"}, "input": {"n": "run.steps"}}, "c": {"graph": "child", "input": {"n": "run.steps"}, "output": {"inner": "node.inner", "outer": "run.steps"}}}, "edges": {"a": "m", "m": "c"}}
           {}
           fail retryable once
           at 2
           answer
           m#0: tool 1
           m#1: tool 2
           answer
           signal s"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 fails (retryable), again at 2: once
            4 step 1 at a, attempt 2
            5 step 1 gives {}, next m
            6 step 2 at m, attempt 1
            7 step 2 maps [1,2]
            8 step 3 at m, attempt 1, item 0 of 2
            9 step 4 at m, attempt 1, item 1 of 2
            10 step 3 gives item 0 of 2: 1
            11 step 4 gives item 1 of 2: 2
            12 step 2 gives {"m":[1,2]}, next c
            13 step 5 at c, attempt 1
            14 step 5 runs child with {"n":3}
            15 step 6 at x, attempt 1, within 5
            16 step 6 gives {}, next y
            17 step 7 at y, attempt 1, within 5
            18 signal s null
            19 step 7 gives {"inner":2} by signal 18, end
            20 step 5 gives {"inner":2,"outer":3}, end
            21 run finished
            finished {"inner":2,"m":[1,2],"outer":3}"#]],
    );
}

#[test]
fn a_step_that_undoes_another_one_sees_the_number_of_that_step() {
    check(
        r#"{"start": "a", "nodes": {"a": {}, "b": {"compensate": "undo"}, "c": {}, "undo": {"output": {"n": "run.steps"}}}, "edges": {"a": "b", "b": "c"}}
           {}
           answer
           answer
           fail permanent no
           answer"#,
        expect![[r#"
            1 run started {}
            2 step 1 at a, attempt 1
            3 step 1 gives {}, next b
            4 step 2 at b, attempt 1
            5 step 2 gives {}, next c
            6 step 3 at c, attempt 1
            7 step 3 fails (permanent): no
            8 undo, since no
            9 step 4 at undo, attempt 1, undoes 2
            10 step 4 gives {"n":2}, end
            11 run failed (permanent) at c: no
            failed {"n":2}"#]],
    );
}
