//! Groups of runs, whose active runs are limited.

use std::sync::Arc;

use heddle_json::Object;
use heddle_kernel::{Run, RunId, Timestamp, run::Graphs};

use crate::script::{functions, make};

/// The name and the limit of the run's group, or the error.
fn group(limits: &str, state: &str) -> String {
    let graph = format!(r#"{{"name": "sync", "nodes": {{"a": {{}}}}, "limits": {limits}}}"#);
    let graph = Arc::new(make(&graph));
    let functions = functions([&graph].into_iter());
    let (id, state) = (RunId(uuid::Uuid::nil()), Object::parse(state).unwrap());
    let graphs = Arc::new(Graphs::new());
    let unstarted = Run::create(id, graph, graphs, state, functions, Timestamp(0));
    match unstarted.run.group() {
        Ok(Some(group)) => format!("{} at once {}", group.name, group.at_once),
        Ok(None) => "none".to_owned(),
        Err(failure) => format!("{}: {failure}", failure.kind.as_str()),
    }
}

#[test]
fn a_group_is_named_by_the_graph_and_the_value_of_its_expression() {
    assert_eq!(group("{}", "{}"), "none");
    assert_eq!(group(r#"{"group": {}}"#, "{}"), "sync at once 1");
    assert_eq!(
        group(r#"{"group": {"at_once": 10000}}"#, "{}"),
        "sync at once 10000"
    );
    let by = r#"{"group": {"by": "input.customer", "at_once": 2}}"#;
    assert_eq!(group(by, r#"{"customer": "acme"}"#), "sync/acme at once 2");
    assert_eq!(group(by, r#"{"customer": 7}"#), "sync/7 at once 2");
    assert_eq!(
        group(by, r#"{"customer": {"id": [1, 2]}}"#),
        r#"sync/{"id":[1,2]} at once 2"#
    );
    let by = r#"{"group": {"by": "state.a + '-' + run.graph"}}"#;
    assert_eq!(group(by, r#"{"a": "x"}"#), "sync/x-sync at once 1");
}

#[test]
fn a_group_without_a_value_or_with_a_long_name_is_an_error() {
    let by = r#"{"group": {"by": "input.customer"}}"#;
    assert!(group(by, "{}").starts_with("expression: `limits.group.by` has no value: "));
    let long = |len: usize| group(by, &format!(r#"{{"customer": "{}"}}"#, "x".repeat(len)));
    assert!(long(195).starts_with("sync/xxx"));
    assert!(long(196).starts_with("limit: the name of the run's group takes 201 bytes"));
}

#[test]
fn runs_are_of_one_group_where_their_keys_are_the_same_number() {
    let by = r#"{"group": {"by": "state.a"}}"#;
    let name = |value: &str| group(by, &format!(r#"{{"a": {value}}}"#));
    assert_eq!(
        name("123456789012345678901"),
        "sync/123456789012345678901 at once 1"
    );
    assert_ne!(name("123456789012345678901"), name("123456789012345678902"));
    assert_ne!(name("0.10000000000000000001"), name("0.1"));
    assert_eq!(name("0.10000000000000000001"), name("0.100000000000000000010"));
    assert_eq!(name("1.50"), name("1.5"));
    assert_eq!(name("1.5"), "sync/1.5 at once 1");
    assert_eq!(
        name("[123456789012345678901]"),
        "sync/[123456789012345678901] at once 1"
    );
    assert_ne!(name(r#""1""#), name(r#""2""#));
    for one in ["1", "1.0", "1e0", "10e-1"] {
        assert_eq!(name(one), "sync/1 at once 1", "{one}");
        assert_eq!(name(&format!("[{one}]")), "sync/[1] at once 1", "{one}");
    }
    for zero in ["0", "-0", "0.0", "-0e7"] {
        assert_eq!(name(zero), "sync/0 at once 1", "{zero}");
    }
    assert_eq!(name("1e2"), "sync/100 at once 1");
    assert_eq!(
        name("0.10000000000000000001"),
        "sync/0.10000000000000000001 at once 1"
    );
}
