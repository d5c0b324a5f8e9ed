//! Large definitions: a check takes time in proportion to the length, and reports few findings.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_expr::suggest::MAX_SUGGESTIONS;
use heddle_kernel::{
    Definition, Diagnostic, Function, FunctionKind,
    graph::{self, MAX_FINDINGS},
};
use serde_json::{Value, json};

/// The findings in a definition whose functions are all known.
fn findings(definition: &str) -> Vec<Diagnostic> {
    let (read, form) = Definition::read(definition);
    let Some(read) = read else {
        return form.into_shown();
    };
    let find = |uses: &str| match uses.starts_with("unknown") {
        true => Err(format!("there is no `{uses}`")),
        false => Ok(Function {
            kind: FunctionKind::Tool,
            routes: Vec::new(),
            input: json!({"properties": {"text": {}}, "additionalProperties": false}),
            output: Value::Null,
        }),
    };
    match graph::with_form(form, graph::check(&read, find, |_| Ok(None))) {
        Ok((_, found)) | Err(found) => found.into_shown(),
    }
}

/// The findings, which must be few and suggest few names.
fn few(definition: &str) -> Vec<Diagnostic> {
    let found = findings(definition);
    assert!(found.len() <= 2 * (MAX_FINDINGS + 1), "{} findings", found.len());
    let suggested = found
        .iter()
        .filter(|found| found.message.contains("did you mean"));
    // The form and the names of a definition are looked at one after the other.
    assert!(suggested.count() <= 3 * MAX_SUGGESTIONS);
    found
}

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

#[test]
fn many_unknown_names_are_counted_and_few_are_suggested() {
    let name = |at: usize, end: &str| format!("{at:05}{}{end}", "n".repeat(50));
    let nodes = list(5_000, |at| format!(r#""{}":{{"sleep":"1s"}}"#, name(at, "x")));
    let edges = list(5_000, |at| format!(r#""{}":"{}""#, name(at, "x"), name(at, "y")));
    let found = few(&format!(r#"{{"nodes":{{{nodes}}},"edges":{{{edges}}}}}"#));
    assert!(
        found.last().unwrap().message.contains("and at least"),
        "{found:?}"
    );

    let keys = list(100_000, |at| format!(r#""nodez{at}":0"#));
    let found = few(&format!(r#"{{"nodes":{{"a":{{}}}},{keys}}}"#));
    assert!(
        found
            .iter()
            .any(|found| found.message.starts_with("and 99900 more errors")),
        "{found:?}"
    );
    let inputs = list(20_000, |at| format!(r#""texd{at}":"1""#));
    few(&format!(r#"{{"nodes":{{"a":{{"input":{{{inputs}}}}}}}}}"#));
    let nodes = list(10_000, |at| format!(r#""n{at}":{{"uses":"unknown{at}"}}"#));
    few(&format!(r#"{{"nodes":{{{nodes}}}}}"#));
    let calls = list(500, |at| format!("mach{at}()"));
    let inputs = list(1_000, |at| format!(r#""i{at}":"[{calls}]""#));
    few(&format!(r#"{{"nodes":{{"a":{{"input":{{{inputs}}}}}}}}}"#));
}

#[test]
fn findings_below_a_long_name_do_not_repeat_the_name() {
    let long = "n".repeat(1 << 20);
    let items = list(300_000, |_| "0".to_owned());
    let found = few(&format!(r#"{{"nodes":{{"{long}":{{"config":[{items}]}}}}}}"#));
    assert!(
        found[0].message.ends_with("… of 1048576 bytes"),
        "{}",
        found[0].message
    );
    let cases = list(100_000, |_| r#"{"to":1}"#.to_owned());
    few(&format!(
        r#"{{"nodes":{{"a":{{}}}},"edges":{{"{long}":[{cases}]}}}}"#
    ));
    let twice = list(200_000, |_| r#""a":0"#.to_owned());
    few(&format!(r#"{{"nodes":{{"{long}":{{"config":{{{twice}}}}}}}}}"#));
}

#[test]
fn keys_that_two_graphs_combine_are_found_once_for_a_graph() {
    let nodes = list(5_000, |at| format!(r#""n{at}":{{"graph":"me"}}"#));
    let narrow = list(5_000, |at| {
        format!(r#""m{at}":{{"graph":"me","input":{{"other":"1"}}}}"#)
    });
    let keys = list(50_000, |at| format!(r#""k{at}":{{"merge":"append"}}"#));
    few(&format!(
        r#"{{"name":"me","start":"n0","nodes":{{{nodes}}},"state":{{{keys}}}}}"#
    ));
    // Each key is followed from one graph to the next, here as many times as there are keys.
    let renamed = list(5_000, |at| {
        format!(
            r#""r{at}":{{"graph":"me","input":{{"k{}":"state.k{at}"}},"output":{{"k{at}":"node.k{}"}}}}"#,
            at + 1,
            at + 1
        )
    });
    few(&format!(
        r#"{{"name":"me","start":"r0","nodes":{{{renamed}}},"state":{{"k0":{{"merge":"append"}}}}}}"#
    ));
    few(&format!(
        r#"{{"name":"me","start":"m0","nodes":{{{narrow}}},"state":{{{keys}}}}}"#
    ));
    let keys = list(50_000, |at| format!(r#""k{at}":{{"merge":"add"}}"#));
    let output = list(50_000, |at| format!(r#""o{at}""#));
    few(&format!(
        r#"{{"nodes":{{"a":{{"sleep":"1s"}}}},"state":{{{keys}}},"output":[{output}]}}"#
    ));
}

#[test]
fn wrong_numbers_are_reported_as_written_without_a_second_parse() {
    let nodes = list(9_000, |at| format!(r#""n{at}":{{"retry":{{"attempts":1.50}}}}"#));
    let found = few(&format!(r#"{{"nodes":{{{nodes}}}}}"#));
    assert!(found[0].message.ends_with("got 1.50"), "{}", found[0].message);
}

#[test]
fn expressions_and_patterns_have_limits_for_the_whole_graph() {
    let input = |count: usize, expression: &str| {
        let inputs = list(count, |at| format!(r#""i{at}":"{expression}""#));
        format!(r#"{{"nodes":{{"a":{{"uses":"any","input":{{{inputs}}}}}}}}}"#)
    };
    let named = |definition: &str, limit: &str| {
        let found = findings(definition);
        assert!(
            found.iter().any(|found| found.message.contains(limit)),
            "{found:?}"
        );
    };
    named(&input(50_001, "1"), "(graph_expressions)");
    let long = format!("'{}'", "x".repeat(4_000));
    named(&input(300, &long), "(graph_expression_bytes)");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let config = list(10_100, |_| deep.clone());
    named(
        &format!(r#"{{"nodes":{{"a":{{"config":[{config}]}}}}}}"#),
        "(graph_values)",
    );
    let waits = list(400, |at| {
        let schema = format!(r#"{{"pattern":"(a{{100}}{at}){{50}}"}}"#);
        format!(r#""n{at}":{{"wait":{{"signal":"s","schema":{schema}}}}}"#)
    });
    named(&format!(r#"{{"nodes":{{{waits}}}}}"#), "(pattern_bytes)");
    // A stored definition stays valid.
    assert!(Definition::parse(&input(50_001, "1")).is_ok());
    assert!(Definition::parse_imported(&input(50_001, "1")).is_err());
}
