//! Lists whose elements are updated, added and removed by a key.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{
    Answer, FailureKind, Input, Outcome, PendingWork, Route, Run, RunId, Status, Timestamp, run::Graphs,
};

use crate::calls::decide;
use crate::script::{functions, make};

const FORK: &str = r#"{"nodes": {"a": {}, "b": {}, "c": {}, "d": {}}, "edges": {"a": ["b", "c"], "b": "d", "c": "d"},
    "state": {"list": {"merge": "by_key"}}}"#;

/// The value of the key `list` after each node contributed, or the error of the run. Of the active nodes, the
/// last one in `order` answers first.
fn ends(graph: &str, before: &str, gives: &[(&str, &str)], order: &[&str]) -> String {
    let graph = Arc::new(make(graph));
    let functions = functions([&graph].into_iter());
    let state = Object::parse(&format!(r#"{{"list": {before}}}"#)).unwrap();
    let id = RunId(uuid::Uuid::nil());
    let (mut run, _) =
        Run::create(id, graph, Arc::new(Graphs::new()), state, functions, Timestamp(0)).start();
    while !run.status.is_over() {
        let calls = run.pending_work().filter_map(|pending_work| match pending_work {
            PendingWork::Call { step, attempt } => Some((run.node_of(step).unwrap(), step, attempt)),
            PendingWork::Wait { .. } => None,
        });
        let place = |node: &str| order.iter().position(|name| *name == node);
        let (node, step, attempt) = calls.max_by_key(|(node, ..)| place(node)).unwrap();
        let given = gives.iter().find(|(name, _)| *name == &*node);
        let update = given.map_or("{}".to_owned(), |(_, list)| format!(r#"{{"list": {list}}}"#));
        let outcome = Outcome {
            update: Object::parse(&update).unwrap(),
            route: Route::Edges,
        };
        let result = Ok(Answer::Outcome(outcome));
        decide(
            &mut run,
            Input::Answered {
                step,
                attempt,
                result,
            },
            Timestamp(1),
        )
        .unwrap();
    }
    match (&run.error, run.status) {
        (None, Status::Finished) => run
            .state()
            .get("list")
            .map(|list| list.get().to_owned())
            .unwrap_or_default(),
        (Some(error), _) => {
            assert!(matches!(
                error.kind,
                FailureKind::InvalidOutcome | FailureKind::Conflict
            ));
            error.message.to_string()
        }
        _ => panic!("{:?}", run.status),
    }
}

/// One update of a list by a single branch.
fn update(before: &str, list: &str) -> String {
    let graph = r#"{"nodes": {"a": {}}, "state": {"list": {"merge": "by_key"}}}"#;
    ends(graph, before, &[("a", list)], &[])
}

#[test]
fn an_element_replaces_the_one_with_the_same_key_and_a_new_one_comes_last() {
    let before = r#"[{"id": 1, "text": "a"}, {"id": "x", "text": "b"}]"#;
    assert_eq!(
        update(before, r#"[{"id": "y"}, {"text": "c", "id": 1}]"#),
        r#"[{"text": "c", "id": 1},{"id": "x", "text": "b"},{"id": "y"}]"#
    );
    // One element without a list around it, and a key without a value before.
    assert_eq!(
        update(before, r#"{"id": "x"}"#),
        r#"[{"id": 1, "text": "a"},{"id": "x"}]"#
    );
    assert_eq!(update("null", r#"{"id": 1}"#), r#"[{"id": 1}]"#);
    assert_eq!(update("[]", "[]"), "[]");
}

#[test]
fn an_element_that_says_so_removes_the_one_with_its_key() {
    let before = r#"[{"id": 1}, {"id": 2}, {"id": 3}]"#;
    assert_eq!(
        update(before, r#"[{"id": 2, "$remove": true}]"#),
        r#"[{"id": 1},{"id": 3}]"#
    );
    // What is not there is removed already, and what was removed may come again: then it comes last.
    assert_eq!(
        update(
            before,
            r#"[{"id": 9, "$remove": true}, {"id": 1, "$remove": true}, {"id": 1, "n": 2}]"#
        ),
        r#"[{"id": 2},{"id": 3},{"id": 1, "n": 2}]"#
    );
    assert_eq!(update(r#"[{"id": 1}]"#, r#"{"id": 1, "$remove": true}"#), "[]");
}

#[test]
fn keys_are_the_same_where_they_are_the_same_string_or_the_same_number() {
    assert_eq!(
        update(r#"[{"id": 1}]"#, r#"[{"id": 1.0}, {"id": "1"}]"#),
        r#"[{"id": 1.0},{"id": "1"}]"#
    );
    assert_eq!(
        update(r#"[{"id": "\u0061"}]"#, r#"[{"id": "a", "n": 1}]"#),
        r#"[{"id": "a", "n": 1}]"#
    );
    let large = r#"[{"id": 123456789012345678901}]"#;
    assert_eq!(
        update(large, r#"{"id": 123456789012345678902, "n": 1.50}"#),
        r#"[{"id": 123456789012345678901},{"id": 123456789012345678902, "n": 1.50}]"#
    );
    // Of two elements with one key the later one counts, at the place of the first.
    assert_eq!(
        update(r#"[{"id": 1, "n": 1}, {"id": 2}, {"id": 1, "n": 2}]"#, "[]"),
        r#"[{"id": 1, "n": 2},{"id": 2}]"#
    );
}

#[test]
fn the_key_may_have_another_name() {
    let graph = r#"{"nodes": {"a": {}}, "state": {"list": {"merge": "by_key", "key": "name"}}}"#;
    let ends = ends(
        graph,
        r#"[{"name": "a", "id": 1}]"#,
        &[("a", r#"[{"name": "a", "id": 2}, {"name": "b"}]"#)],
        &[],
    );
    assert_eq!(ends, r#"[{"name": "a", "id": 2},{"name": "b"}]"#);
}

#[test]
fn an_element_without_a_key_is_refused() {
    for (list, says) in [
        (r#"["a"]"#, "`by_key` needs objects with the key `id`, got \"a\""),
        ("7", "`by_key` needs objects with the key `id`, got 7"),
        (
            r#"[{"id": 1}, {"n": 1}]"#,
            "tells the elements of the list apart by their key `id`, and this one has none: {\"n\": 1}",
        ),
        (
            r#"[{"id": null}]"#,
            "the key `id` of an element must be a string or a number, got null",
        ),
        (r#"[{"id": [1]}]"#, "must be a string or a number, got an array"),
        (
            r#"[{"id": 1, "$remove": 1}]"#,
            "`$remove` in an element must be true, which removes the element with its key, got 1",
        ),
    ] {
        let found = update("[]", list);
        assert!(
            found.contains("node `a` gave key `list`") && found.contains(says),
            "{list}: {found}"
        );
    }
    let found = update("7", "[]");
    assert!(
        found.contains("`by_key` adds to a list, and the key holds a number"),
        "{found}"
    );
}

#[test]
fn branches_are_folded_in_the_order_of_the_fork_in_every_order_of_ends() {
    let before = r#"[{"id": 1, "n": 0}, {"id": 2}, {"id": 3}]"#;
    let gives = [
        (
            "b",
            r#"[{"id": 1, "n": "b"}, {"id": 2, "$remove": true}, {"id": 3, "n": "b"}, {"id": 4, "n": "b"}]"#,
        ),
        (
            "c",
            r#"[{"id": 5, "n": "c"}, {"id": 1, "n": "c"}, {"id": 2, "n": "c"}, {"id": 3, "$remove": true}]"#,
        ),
        ("d", r#"{"id": 6}"#),
    ];
    let expected =
        r#"[{"id": 1, "n": "c"},{"id": 4, "n": "b"},{"id": 5, "n": "c"},{"id": 2, "n": "c"},{"id": 6}]"#;
    assert_eq!(ends(FORK, before, &gives, &["b", "c"]), expected);
    assert_eq!(ends(FORK, before, &gives, &["c", "b"]), expected);
}

#[test]
fn an_element_that_both_branches_remove_is_removed_once() {
    let gives = [
        ("b", r#"{"id": 1, "$remove": true}"#),
        ("c", r#"{"id": 1, "$remove": true}"#),
    ];
    assert_eq!(
        ends(FORK, r#"[{"id": 1}, {"id": 2}]"#, &gives, &["b", "c"]),
        r#"[{"id": 2}]"#
    );
}
