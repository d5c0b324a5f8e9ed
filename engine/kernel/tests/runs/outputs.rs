//! The output of a graph that declares one.

use std::sync::Arc;

use expect_test::expect;
use heddle_json::Object;
use heddle_kernel::{Input, Run, RunId, Timestamp, run::Graphs};

use crate::calls::decide;
use crate::script::{check, functions, make};

const CHILD: &str = r#"with child {"name": "child", "nodes": {"x": {}}, "output": ["answer", "missing"]}"#;

#[test]
fn a_node_that_runs_a_graph_is_given_the_output_and_nothing_else() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"graph": "child", "output": "result"}}}
               {"question": 1}
               answer {"answer": 42, "draft": "…"}"#
        ),
        expect![[r#"
            1 run started {"question":1}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {"question":1}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {"answer":42,"draft":"…"}, end
            6 step 1 gives {"result":{"answer":42}}, end
            7 run finished
            finished {"question":1,"result":{"answer":42}}"#]],
    );
}

#[test]
fn without_an_output_of_the_node_the_changed_keys_of_the_output_are_the_update() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"graph": "child"}}}
               {"question": 1}
               answer {"answer": 42, "draft": "…"}"#
        ),
        expect![[r#"
            1 run started {"question":1}
            2 step 1 at c, attempt 1
            3 step 1 runs child with {"question":1}
            4 step 2 at x, attempt 1, within 1
            5 step 2 gives {"answer":42,"draft":"…"}, end
            6 step 1 gives {"answer":42}, end
            7 run finished
            finished {"answer":42,"question":1}"#]],
    );
}

#[test]
fn the_result_of_an_item_is_the_output() {
    check(
        &format!(
            "{CHILD}\n{}",
            r#"{"nodes": {"c": {"map": {"over": "[1]", "graph": "child", "into": "all"}}}}
               {}
               answer {"answer": 42, "draft": "…"}"#
        ),
        expect![[r#"
            1 run started {}
            2 step 1 at c, attempt 1
            3 step 1 maps [1]
            4 step 2 at c, attempt 1, item 0 of 1
            5 step 2 runs child with {"item":1}
            6 step 3 at x, attempt 1, within 2
            7 step 3 gives {"answer":42,"draft":"…"}, end
            8 step 2 gives item 0 of 1: {"answer":42}
            9 step 1 gives {"all":[{"answer":42}]}, end
            10 run finished
            finished {"all":[{"answer":42}]}"#]],
    );
}

#[test]
fn a_run_has_its_output_once_it_has_finished_and_keeps_its_state() {
    let start = |output: &str| {
        let graph = Arc::new(make(&format!(
            r#"{{"nodes": {{"s": {{"sleep": "5ms"}}}}{output}}}"#
        )));
        let state = Object::parse(r#"{"a": 1.50, "b": 2}"#).unwrap();
        let id = RunId(uuid::Uuid::nil());
        let (graphs, none) = (Arc::new(Graphs::new()), functions([].into_iter()));
        Run::create(id, graph, graphs, state, none, Timestamp(0))
            .start()
            .0
    };
    let mut run = start(r#", "output": ["a", "c"]"#);
    assert_eq!(run.output(), None);
    decide(&mut run, Input::Due, Timestamp(5)).unwrap();
    assert_eq!(run.output().unwrap().to_text(), r#"{"a":1.50}"#);
    assert_eq!(run.state().to_text(), r#"{"a":1.50,"b":2}"#);
    let mut run = start("");
    decide(&mut run, Input::Due, Timestamp(5)).unwrap();
    assert_eq!(run.output(), None);
}
