//! Warnings about keys that both a graph and an inner graph combine.
#![allow(clippy::unwrap_used)] // a test may panic

use expect_test::expect;
use heddle_kernel::{Definition, Function, FunctionKind, graph};
use serde_json::json;

/// A function of unknown schema.
fn any(_: &str) -> Result<Function, String> {
    Ok(Function {
        kind: FunctionKind::Node,
        routes: Vec::new(),
        input: json!(null),
        output: json!(null),
    })
}

/// The warnings of a graph whose node `c` is this and runs `inner`, which has these policies.
fn nested(outer: &str, node: &str, inner: &str) -> String {
    let inner = Definition::parse(&format!(r#"{{"nodes": {{"x": {{}}}}, {inner}}}"#)).unwrap();
    let outer = Definition::parse(&format!(r#"{{"nodes": {{"c": {node}}}, "state": {outer}}}"#)).unwrap();
    let (_, warnings) = graph::check(&outer, any, |_| Ok(Some(&inner))).unwrap();
    let warnings = warnings.into_shown();
    let warnings = warnings
        .iter()
        .map(|found| format!("{}: {}", found.pointer, found.message));
    warnings.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_key_that_an_outer_and_an_inner_graph_both_append_to_is_a_warning() {
    let (append, runs) = (r#"{"log": {"merge": "append"}}"#, r#"{"graph": "inner"}"#);
    let inner = |merge: &str| format!(r#""state": {{"log": {{"merge": "{merge}"}}}}"#);
    expect!["/nodes/c/graph: both this graph and `inner` combine `log` (`append` and `append`): `inner` begins with the value of this graph, so the elements that it began with are appended again; give the node an `input` without `log`, or say with its `output` what it adds"].assert_eq(&nested(append, runs, &inner("append")));
    expect!["/nodes/c/graph: both this graph and `inner` combine `log` (`add` and `add`): `inner` begins with the value of this graph, so the number that it began with is added again; give the node an `input` without `log`, or say with its `output` what it adds"].assert_eq(&nested(r#"{"log": {"merge": "add"}}"#, runs, &inner("add")));
    expect!["/nodes/c/graph: both this graph and `inner` combine `log` (`by_key` and `by_key`): `inner` begins with the value of this graph, so an element that it removes stays; give the node an `input` without `log`, or say with its `output` what it adds"].assert_eq(&nested(r#"{"log": {"merge": "by_key"}}"#, runs, &inner("by_key")));
    let passed = r#"{"graph": "inner", "input": {"log": "state.log"}}"#;
    assert_ne!(nested(append, passed, &inner("append")), "");
    let whole = r#"{"graph": "inner", "input": {"log": "[state].map(s, s.log)[0]"}}"#;
    assert_ne!(nested(append, whole, &inner("union")), "");
    // Each of these appends once.
    for (node, inner) in [
        (
            r#"{"graph": "inner", "input": {"text": "state.text"}}"#,
            inner("append"),
        ),
        (r#"{"graph": "inner", "input": {"log": "[]"}}"#, inner("append")),
        (
            r#"{"graph": "inner", "output": {"log": "node.new"}}"#,
            inner("append"),
        ),
        (
            r#"{"graph": "inner"}"#,
            format!("{}, \"output\": [\"text\"]", inner("append")),
        ),
        (r#"{"graph": "inner"}"#, inner("last")),
        (
            r#"{"map": {"over": "state.all", "graph": "inner", "into": "results"}}"#,
            inner("append"),
        ),
    ] {
        let found = nested(append, node, &inner);
        assert!(!found.contains("both this graph and"), "{node}: {found}");
    }
    assert!(!nested(r#"{"log": {"merge": "union"}}"#, runs, &inner("union")).contains("both"));
}

#[test]
fn a_key_that_is_combined_twice_is_found_through_output_and_in_graphs_further_in() {
    let append = r#"{"log": {"merge": "append"}}"#;
    let inner = r#""state": {"log": {"merge": "append"}, "lines": {"merge": "add"}}"#;
    for node in [
        r#"{"graph": "inner", "output": {"log": "node.log"}}"#,
        r#"{"graph": "inner", "output": {"other": "1", "log": "node['log']"}}"#,
        r#"{"graph": "inner", "input": {"log": "state.log + ['x']"}, "output": {"log": "node.log"}}"#,
    ] {
        let found = nested(append, node, inner);
        assert!(
            found.contains("both this graph and `inner` combine `log`"),
            "{node}: {found}"
        );
    }
    let renamed = r#"{"graph": "inner", "input": {"lines": "state.log"}, "output": {"log": "node.lines"}}"#;
    expect!["/nodes/c/graph: both this graph and `inner` combine `log`, there `lines`, (`append` and `add`): `inner` begins with the value of this graph, so the elements that it began with are appended again; give the node an `input` without `lines`, or say with its `output` what it adds"]
        .assert_eq(&nested(append, renamed, inner));
    // Each of these contributes once.
    for node in [
        r#"{"graph": "inner", "output": {"log": "node.log.filter(line, !(line in state.log))"}}"#,
        r#"{"graph": "inner", "output": {"log": "node.lines"}}"#,
        r#"{"graph": "inner", "output": {"other": "node.log"}}"#,
        r#"{"graph": "inner", "output": "log"}"#,
        r#"{"graph": "inner", "input": {"log": "[]"}, "output": {"log": "node.log"}}"#,
    ] {
        let found = nested(append, node, inner);
        assert!(!found.contains("both"), "{node}: {found}");
    }

    let graphs = |all: &[(&str, &str)]| {
        let all: Vec<_> = all
            .iter()
            .map(|(name, text)| (*name, Definition::parse(text).unwrap()))
            .collect();
        let find = |name: &str| {
            Ok(all
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, graph)| graph))
        };
        let (_, warnings) = graph::check(&all[0].1, any, find).unwrap();
        let warnings = warnings.into_shown();
        let warnings = warnings.iter().map(|found| found.message.clone());
        warnings.collect::<Vec<_>>().join("\n")
    };
    let outer = r#"{"nodes": {"c": {"graph": "mid"}}, "state": {"log": {"merge": "append"}}}"#;
    let mid = r#"{"nodes": {"m": {"graph": "inner"}}}"#;
    let last = r#"{"nodes": {"m": {"graph": "mid2"}}, "state": {"log": {"merge": "last"}}}"#;
    let inner = r#"{"nodes": {"x": {}}, "state": {"log": {"merge": "append"}}}"#;
    expect!["both this graph and `inner`, which `mid` runs, combine `log` (`append` and `append`): `mid` begins with the value of this graph, so the elements that it began with are appended again; give the node an `input` without `log`, or say with its `output` what it adds"]
        .assert_eq(&graphs(&[("outer", outer), ("mid", mid), ("inner", inner)]));
    let deep = graphs(&[("outer", outer), ("mid", last), ("mid2", mid), ("inner", inner)]);
    assert!(
        deep.contains("`inner`, which `mid2` runs, which `mid` runs, combine `log`"),
        "{deep}"
    );
    let apart = r#"{"nodes": {"m": {"graph": "inner", "input": {}}}}"#;
    assert_eq!(graphs(&[("outer", outer), ("mid", apart), ("inner", inner)]), "");
    let around = r#"{"nodes": {"m": {"graph": "mid"}, "n": {"graph": "inner", "input": {}}}}"#;
    assert_eq!(graphs(&[("outer", outer), ("mid", around), ("inner", inner)]), "");
}

#[test]
fn a_policy_of_a_key_that_no_node_of_the_inner_graph_writes_combines_nothing() {
    let append = r#"{"log": {"merge": "append"}}"#;
    let warned = |nodes: &str, output: serde_json::Value| {
        let inner = format!(r#"{{"nodes": {nodes}, "state": {append}}}"#);
        let inner = Definition::parse(&inner).unwrap();
        let outer = format!(r#"{{"nodes": {{"c": {{"graph": "inner"}}}}, "state": {append}}}"#);
        let outer = Definition::parse(&outer).unwrap();
        let function = |name: &str| {
            any(name).map(|function| Function {
                output: output.clone(),
                ..function
            })
        };
        let (_, warnings) = graph::check(&outer, function, |_| Ok(Some(&inner))).unwrap();
        let warnings = warnings.into_shown();
        !warnings.is_empty()
    };
    let named = json!({"type": "object", "properties": {"text": {}}});
    for (nodes, output, expected) in [
        (r#"{"x": {"sleep": "1s"}}"#, json!(null), false),
        (r#"{"x": {"output": "text"}}"#, json!(null), false),
        (r#"{"x": {"output": {"text": "node"}}}"#, json!(null), false),
        (r#"{"x": {}}"#, named, false),
        (
            r#"{"x": {"map": {"over": "[1]", "uses": "f", "into": "text"}}}"#,
            json!(null),
            false,
        ),
        (
            r#"{"x": {"wait": {"signal": "s"}, "output": "text"}}"#,
            json!(null),
            false,
        ),
        (r#"{"x": {}}"#, json!(null), true),
        (r#"{"x": {}}"#, json!({"properties": {"log": {}}}), true),
        (
            r#"{"x": {}}"#,
            json!({"properties": {"text": {}}, "additionalProperties": true}),
            true,
        ),
        (r#"{"x": {"output": "log"}}"#, json!(null), true),
        (
            r#"{"x": {"sleep": "1s"}, "y": {"wait": {"signal": "s"}}}"#,
            json!(null),
            true,
        ),
        (
            r#"{"x": {"map": {"over": "[1]", "uses": "f", "into": "log"}}}"#,
            json!(null),
            true,
        ),
    ] {
        assert_eq!(warned(nodes, output), expected, "{nodes}");
    }
}

#[test]
fn a_graph_that_runs_itself_and_appends_is_a_warning() {
    let tree = r#"{"name": "tree", "nodes": {"extract": {"output": "log"}, "more": {"graph": "tree"}},
        "edges": {"extract": [{"when": "state.deep", "to": "more"}, {"to": "end"}]}, "state": {"log": {"merge": "append"}}}"#;
    let tree = Definition::parse(tree).unwrap();
    let (_, warnings) = graph::check(&tree, any, |_| Ok(None)).unwrap();
    let found = &warnings.into_shown()[0].message;
    assert!(
        found.contains("both this graph and `tree` combine `log`"),
        "{found}"
    );
}
