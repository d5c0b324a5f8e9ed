//! Definitions: their form, the findings of the check, and texts of values.
#![allow(clippy::unwrap_used)] // a test may panic

use expect_test::expect;
use heddle_json::{Object, object};
use heddle_kernel::{Definition, Function, FunctionKind, graph};
use serde_json::json;

fn findings(definition: &str) -> String {
    let known = ["extract", "analyze", "gate"];
    let schema =
        json!({"properties": {"text": {}, "limit": {}}, "required": ["text"], "additionalProperties": false});
    let find = |uses: &str| match known.contains(&uses) {
        _ if uses == "tool" => Ok(Function {
            kind: FunctionKind::Tool,
            routes: Vec::new(),
            input: schema.clone(),
            output: json!(null),
        }),
        true => Ok(Function {
            kind: FunctionKind::Node,
            routes: if uses == "gate" {
                vec!["improve".into(), "end".into()]
            } else {
                Vec::new()
            },
            input: json!(null),
            output: json!(null),
        }),
        false => Err(format!("no registered plugin has a function `{uses}`")),
    };
    let find_graph = |name: &str| match name {
        "child" => Ok(None),
        _ => Err(format!("there is no graph `{name}`")),
    };
    let checked = match Definition::read(definition) {
        (None, findings) => Err(findings),
        (Some(definition), findings) => {
            graph::with_form(findings, graph::check(&definition, find, find_graph))
        }
    };
    let findings = match checked {
        Ok((graph, warnings)) => (format!("starts at {}", graph.node(graph.start).name), warnings),
        Err(findings) => ("refused".to_owned(), findings),
    };
    let (outcome, findings) = (findings.0, findings.1.into_shown());
    let findings = findings.iter().map(|finding| {
        format!(
            "\n{:?} {}: {}",
            finding.severity, finding.pointer, finding.message
        )
    });
    outcome + &findings.collect::<String>()
}

#[test]
fn a_definition_is_refused_with_every_mistake_at_its_place() {
    expect![[r#"
        refused
        Error /nodez: unknown key `nodez`; did you mean `nodes`?
        Error /start: expected a string, got a number
        Error : `nodes` is missing: an object from each node's name to the node, as in {"extract": {}}
        Error /limits/steps: expected a whole number from 1 to 100000000, got 0"#]]
    .assert_eq(&findings(
        r#"{"nodez": {}, "start": 1, "edges": {"a": ["b"]}, "limits": {"steps": 0}}"#,
    ));
    expect![[r#"
        refused
        Error /nodes/extact: no registered plugin has a function `extact`
        Error /edges/extract: an edge leads from `extract`, which is not a node of the graph; did you mean `extact`?
        Error /edges/analyze: an edge leads to `ende`, which is not a node of the graph; did you mean `end`?"#]]
    .assert_eq(&findings(r#"{"nodes": {"extact": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "ende"}}"#));
    expect![[r#"
        refused
        Error /nodes/end: `end` is the name of the end; give the node another name
        Error /nodes/a~1b/confg: unknown key `confg`; did you mean `config`?
        Error /nodes/end: no registered plugin has a function `end`"#]]
    .assert_eq(&findings(
        r#"{"nodes": {"end": {}, "a/b": {"uses": "extract", "confg": 1}}}"#,
    ));
    expect![[r#"
        refused
        Error : the graph is not JSON: EOF while parsing an object at line 1 column 13"#]]
    .assert_eq(&findings(r#"{"nodes": {} "#));
}

#[test]
fn every_construct_reports_its_mistakes_at_their_places() {
    expect![[r#"
        refused
        Error /nodes/extract/config: `config` is not allowed in a node with `sleep`
        Error /nodes/extract/sleep: expected a duration such as "500ms", "10s", "1h30m" or "7d", got "10 parsecs"
        Error /nodes/gate/output: `output` is not allowed in a node with `map`: use `map.into` for the results
        Error /nodes/gate/map/as: expected a name of letters, digits and `_` other than state, input, run, node, got "state"
        Error /nodes/analyze/timeout: `timeout` is not allowed in a node with `wait`: use `wait.timeout`
        Error /nodes/analyze/wait/schema: the schema cannot be used at /type: 7 is not valid under any of the schemas listed in the 'anyOf' keyword
        Error /nodes/analyze/wait/on_timeout: without `timeout` it never goes there: say how long it waits
        Error /nodes/x/graph: a node does one thing, and this one has `uses` already
        Error /nodes/x/when: misplaced key `when`; it belongs in a case of `edges`
        Error /nodes/x/retry/attempts: expected a whole number from 1 to 1000, got 0
        Error /nodes/x/retry/jitter: expected a number from 0 to 1, got 2
        Error /nodes/x/retry/on/0: expected one of retryable, timeout, unavailable, trap, limit, got "never"
        Error /nodes/y/input/a: expected an expression (CEL) as a string, got a number
        Error /nodes/y/output: expected a key of the state, or keys with expressions over `node`, got a number
        Error /nodes/y/next: expected the names of the nodes that the function may go to
        Error /nodes/y/timeout: expected a duration such as "10s" or "1h30m", as a string, got a number
        Error /nodes/y/limits: `limits` must be a JSON object, got a string
        Error /nodes/z/limits: `limits` is not allowed in a node with `sleep`
        Error /nodes/z/sleep: a sleep has either `until` or `for`
        Error /edges/extract: an empty list leads nowhere: name a node, or "end"
        Error /edges/gate/1: `x` is in this fork twice: a fork takes each node once
        Error /edges/analyze/0: a case without `when` always holds, so the cases after it are never used: put it last
        Error /edges/analyze/1: `to` is missing: a node's name, a list of names, or "end"
        Error /edges/analyze/2: cases and names do not mix in one list: write {"to": "y"} for a case that always holds
        Error /edges/x/when: expected an expression (CEL) as a string, got a number
        Error /state/a/merge: expected one of append, add, max, min, union, by_key, deep, last, got "sum"
        Error /state/b: the declaration of a key must be a JSON object, got a number
        Error /state/to/reduce: unknown key `reduce`; known keys: merge, key, description
        Error /limits/at_once: misplaced key `at_once`; it belongs in `map`, or in `group` of `limits`
        Error /limits/steps: expected a whole number from 1 to 100000000, got 1.5
        Error /limits/time: a duration cannot be negative, got "-1s"
        Error /limits/group/key: misplaced key `key`; it belongs in `state`, beside `"merge": "by_key"`
        Error /limits/group/by: column 7: the expression ends where a key must follow, as in state.key
        Error /limits/group/at_once: expected a whole number from 1 to 10000, got 0
        Error /nodes/null/graph: null is not a value here: leave the key out
        Error /nodes/nulls/map/into: null is not a value here: leave the key out
        Error /nodes/ask/wait/signal: null is not a value here: leave the key out
        Error /nodes/y: no registered plugin has a function `y`"#]].assert_eq(&findings(
        r#"{"nodes": {
             "extract": {"sleep": "10 parsecs", "config": 1},
             "gate": {"map": {"over": "state.x", "as": "state"}, "output": "x"},
             "analyze": {"wait": {"signal": "s", "schema": {"type": 7}, "on_timeout": "gate"}, "timeout": "1s"},
             "x": {"uses": "extract", "graph": "child", "retry": {"attempts": 0, "jitter": 2, "on": ["never"]}, "when": "true"},
             "y": {"input": {"a": 1}, "output": 3, "next": [1], "timeout": 5, "limits": "16MiB"},
             "z": {"sleep": {"until": "state.a", "for": "1"}, "limits": {}},
             "null": {"graph": null}, "nulls": {"map": {"over": "state.x", "uses": "extract", "into": null}}, "ask": {"wait": {"signal": null}}},
           "edges": {"extract": [], "gate": ["x", "x"], "analyze": [{"to": "x"}, {"when": "true"}, "y"], "x": {"when": 1, "to": "y"}},
           "state": {"a": {"merge": "sum"}, "b": 1, "to": {"reduce": "add"}},
           "limits": {"time": "-1s", "steps": 1.5, "group": {"by": "state.", "at_once": 0, "key": "x"}, "at_once": 1}}"#,
    ));
}

#[test]
fn a_key_that_is_given_twice_is_an_error() {
    expect![[r#"
        refused
        Error /nodes/extract: `extract` is given twice here: keep one of the two
        Error /nodes/extract/uses: `uses` is given twice here: keep one of the two
        Error /nodes: `nodes` is given twice here: keep one of the two
        Error /nodes: a graph needs at least one node"#]]
    .assert_eq(&findings(
        r#"{"nodes": {"extract": {}, "extract": {"uses": "a", "uses": "b"}}, "nodes": {}}"#,
    ));
}

#[test]
fn every_name_has_to_lead_somewhere() {
    expect![[r#"
        refused
        Error /nodes/child/graph: there is no graph `chlid`
        Error /edges/extract: an edge leads to `repport`, which is not a node of the graph; did you mean `report`?
        Error /edges/end: an edge leads from `end`, which is not a node of the graph: the end has no edges
        Error /edges/analyze/0/to: an edge leads to `en`, which is not a node of the graph; did you mean `end`?
        Error /nodes/extract/next/0: its function may go to `nowhere`, which is not a node of the graph
        Error /nodes/extract/on_error: an error leads to `reprot`, which is not a node of the graph; did you mean `report`?
        Error /nodes/extract/compensate: `report` calls no function, as a node that compensates must
        Error /nodes/analyze/wait/on_timeout: a timeout leads to `repor`, which is not a node of the graph; did you mean `report`?
        Error /start: the graph starts at `exract`, which is not a node of the graph; did you mean `extract`?"#]].assert_eq(&findings(
        r#"{"nodes": {
             "extract": {"on_error": "reprot", "compensate": "report", "next": ["nowhere"]},
             "report": {"sleep": "1s"},
             "analyze": {"wait": {"signal": "s", "timeout": "1s", "on_timeout": "repor"}},
             "child": {"graph": "chlid"}},
           "edges": {"extract": ["analyze", "repport"], "end": "extract", "analyze": [{"when": "true", "to": ["child", "en"]}]},
           "start": "exract"}"#,
    ));
}

#[test]
fn a_graph_that_cannot_end_and_nodes_that_nothing_leads_to_are_errors() {
    expect![[r#"
        refused
        Error /edges: no path leads from the start to the end: the run could only stop at its step limit; add an edge to "end"
        Warning /edges/a: a loop through `a` has no condition: only a function's `next`, or the step limit, ends it"#]].assert_eq(&findings(
        r#"{"nodes": {"a": {"sleep": "1s"}, "b": {"sleep": "1s"}}, "edges": {"a": "b", "b": "a"}}"#,
    ));
    expect![[r#"
        refused
        Error /nodes/b: no edge and no declared route leads to `b` from the start: add an edge to it, or remove it"#]].assert_eq(&findings(
        r#"{"nodes": {"a": {"sleep": "1s"}, "b": {"sleep": "1s"}}, "edges": {"a": "end"}, "start": "a"}"#,
    ));
}

#[test]
fn loops_without_a_condition_and_policies_without_a_writer_are_warned_of() {
    expect![[r#"
        starts at extract
        Warning /edges/extract: a loop through `extract` has no condition: only a function's `next`, or the step limit, ends it
        Warning /state/scores: no node writes `scores`; did you mean `score`?"#]].assert_eq(&findings(
        r#"{"nodes": {"extract": {"output": "text"}, "analyze": {"output": "score"}}, "edges": {"extract": "analyze", "analyze": "extract"},
            "state": {"scores": {"merge": "max"}}}"#,
    ));
}

#[test]
fn each_loop_without_a_condition_is_named_once() {
    // A loop that is entered at its second node; a loop with a condition; and a node with an edge to itself.
    let node = || json!({"uses": "extract"});
    let definition = json!({
        "start": "start",
        "nodes": {"start": node(), "c": node(), "a": node(), "b": node(), "d": node(), "e": node(), "f": node()},
        "edges": {
            "start": ["a", "d", "f"], "a": "b", "b": "c", "c": "a",
            "d": [{"when": "state.x", "to": "e"}, {"to": "end"}], "e": "d",
            "f": "f",
        },
    });
    let findings = findings(&definition.to_string());
    let loops: Vec<&str> = findings
        .lines()
        .filter(|line| line.contains("has no condition"))
        .collect();
    assert!(
        matches!(loops[..], [first, second] if first.contains("through `c`") && second.contains("through `f`")),
        "{findings}"
    );
}

#[test]
fn a_tool_gets_the_parameters_that_it_takes() {
    expect![[r#"
        refused
        Error /nodes/tool/input/txt: the tool takes no `txt`; did you mean `text`?
        Error /nodes/tool/input: the tool needs `text`, which is not given"#]]
    .assert_eq(&findings(r#"{"nodes": {"tool": {"input": {"txt": "state.a"}}}}"#));
}

#[test]
fn warnings_do_not_stop_a_graph() {
    expect![[r#"
        starts at extract
        Warning /nodes/gate: its function may route to `improve`, which is not a node of the graph: the run fails if it does
        Warning /nodes/analyze: no edge and no declared route leads to `analyze` from the start; only a `next` that names it does"#]]
    .assert_eq(&findings(
        r#"{"start": "extract", "nodes": {"extract": {}, "gate": {}, "analyze": {}}, "edges": {"extract": "gate"}}"#,
    ));
}

#[test]
fn the_start_is_said_or_the_one_free_node_or_the_first() {
    assert_eq!(
        findings(r#"{"nodes": {"analyze": {}, "extract": {}}, "edges": {"extract": "analyze"}}"#),
        "starts at extract"
    );
    assert!(
        findings(
            r#"{"nodes": {"analyze": {}, "extract": {}}, "edges": {"extract": "analyze", "analyze": "extract"}}"#
        )
        .starts_with("starts at analyze")
    );
    assert!(findings(r#"{"nodes": {"extract": {}, "analyze": {}}}"#).starts_with("starts at extract"));
    assert!(
        findings(r#"{"nodes": {"extract": {}, "analyze": {}}, "start": "analyze"}"#)
            .starts_with("starts at analyze")
    );
}

#[test]
fn a_graph_has_the_same_id_for_the_same_content_however_it_is_spaced() {
    let id = |definition: &str| {
        let any = |_: &str| {
            Ok(Function {
                kind: FunctionKind::Tool,
                routes: Vec::new(),
                input: json!(null),
                output: json!(null),
            })
        };
        let definition = Definition::parse(definition).unwrap();
        graph::check(&definition, any, |_| Ok(None)).unwrap().0.id
    };
    let line =
        r#"{"nodes": {"extract": {}, "analyze": {}}, "edges": {"extract": "analyze", "analyze": "end"}}"#;
    assert_eq!(id(line), id(&line.replace(": ", " :\n ")));
    assert_ne!(id(line), id(r#"{"nodes": {"extract": {}}}"#));
}

#[test]
fn a_tool_whose_result_is_not_an_update_needs_an_output() {
    let of = |definition: &str, output: serde_json::Value| {
        let find = |_: &str| {
            Ok(Function {
                kind: FunctionKind::Tool,
                routes: Vec::new(),
                input: json!(null),
                output: output.clone(),
            })
        };
        let (definition, _) = Definition::read(definition);
        let definition = definition.unwrap();
        let findings = graph::check(&definition, find, |_| Ok(None))
            .err()
            .unwrap_or_default();
        let findings: Vec<_> = findings
            .into_shown()
            .iter()
            .map(|finding| format!("{}: {}", finding.pointer, finding.message))
            .collect();
        findings.join("\n")
    };
    let plain = r#"{"nodes": {"a/b": {"uses": "t"}}}"#;
    assert_eq!(
        of(plain, json!({"type": "string"})),
        "/nodes/a~1b: the tool's result is of type string, and only an object's keys can enter the state: `output` in \
         the node puts the result under a key"
    );
    for (output, types) in [
        (json!({"type": ["integer", "boolean"]}), "boolean or integer"),
        (json!({"type": ["integer", "null"]}), "integer or null"),
        (
            json!({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
            "null or string",
        ),
        (
            json!({"oneOf": [{"anyOf": [{"type": "array"}]}, {"type": "null"}]}),
            "array or null",
        ),
    ] {
        let found = of(plain, output);
        assert!(found.contains(&format!("of type {types}, and only")), "{found}");
    }
    for fits in [
        json!(null),
        json!(true),
        json!({"type": "object"}),
        json!({"type": ["object", "null"]}),
        // A function without a result changes nothing.
        json!({"type": "null"}),
        json!({"anyOf": [{"type": "string"}, {"type": "object"}]}),
    ] {
        assert_eq!(of(plain, fits.clone()), "", "{fits}");
    }
    for with_output in [
        r#"{"nodes": {"a": {"uses": "t", "output": "x"}}}"#,
        r#"{"nodes": {"a": {"map": {"over": "[1]", "uses": "t", "into": "y"}}}}"#,
    ] {
        assert_eq!(of(with_output, json!({"type": "string"})), "", "{with_output}");
    }
}

#[test]
fn values_keep_their_text_through_a_merge() {
    let mut state = Object::parse(r#"{"big": 12345678901234567890123, "pi": 3.10, "s": "\u00e9"}"#).unwrap();
    state.merge(&Object::parse(r#"{"new": {"b": 1, "a": 2}}"#).unwrap());
    assert_eq!(
        state.to_text(),
        r#"{"big":12345678901234567890123,"new":{"b": 1, "a": 2},"pi":3.10,"s":"\u00e9"}"#
    );
    assert!(
        Object::parse("[1]")
            .unwrap_err()
            .to_string()
            .contains("got an array")
    );
    assert!(
        Object::parse("not json")
            .unwrap_err()
            .to_string()
            .contains("not JSON")
    );
    assert_eq!(object::kind_of(" {"), Some("an object"));
}

#[test]
fn a_graph_in_which_everything_leads_everywhere_is_refused_soon() {
    let name = |at: usize| format!("n{at}");
    let all: Vec<String> = (0..500).map(name).collect();
    let nodes: serde_json::Map<_, _> = all
        .iter()
        .map(|node| (node.clone(), json!({"uses": "extract"})))
        .collect();
    let edges: serde_json::Map<_, _> = all.iter().map(|node| (node.clone(), json!(all))).collect();
    let findings = findings(&json!({"nodes": nodes, "edges": edges}).to_string());
    assert!(findings.contains("split the graph"), "{findings}");
}

#[test]
fn narrowed_grants_of_a_node_are_kept_as_written_with_their_place() {
    let any = |_: &str| {
        Ok(Function {
            kind: FunctionKind::Tool,
            routes: Vec::new(),
            input: json!(null),
            output: json!(null),
        })
    };
    let text = r#"{"nodes": {
        "a/b": {"uses": "f", "limits": {"fuel": 10}, "grants": {"http": []}},
        "m": {"map": {"over": "input.x", "uses": "g", "into": "y"}, "grants": {}},
        "n": {"limits": {"memory": "1MiB"}},
        "p": {}}}"#;
    let definition = Definition::parse(text).unwrap();
    let narrowed: Vec<_> = definition.narrowed().map(|(at, uses, _)| (at, uses)).collect();
    let places = ["/nodes/a~1b", "/nodes/m", "/nodes/n"].map(str::to_owned);
    assert_eq!(
        narrowed,
        places.into_iter().zip(["f", "g", "n"]).collect::<Vec<_>>()
    );
    let (graph, _) = graph::check(&definition, any, |_| Ok(None)).unwrap();
    let bounds: Vec<_> = graph.nodes.iter().map(|node| node.bounds.as_ref()).collect();
    let first = bounds[0].unwrap();
    assert_eq!(*first.of, *format!("{}/a/b", graph.id));
    assert_eq!(first.limits.as_ref().unwrap().get(), r#"{"fuel":10}"#);
    assert_eq!(first.grants.as_ref().unwrap().get(), r#"{"http":[]}"#);
    assert!(bounds[1].unwrap().limits.is_none() && bounds[3].is_none());
}

#[test]
fn an_output_is_a_list_of_keys() {
    let graph = |output: &str| {
        findings(&format!(
            r#"{{"nodes": {{"extract": {{}}}}, "output": {output}}}"#
        ))
    };
    assert_eq!(graph(r#"["a", "b"]"#), "starts at extract");
    expect![[r#"
        refused
        Error /output: null is not a value here: leave the key out"#]]
    .assert_eq(&graph("null"));
    expect![[r#"
        refused
        Error /output: `output` of a graph is a list of one or more keys of the state, as in ["answer"], got an empty list"#]].assert_eq(&graph("[]"));
    expect![[r#"
        refused
        Error /output: `output` of a graph is a list of one or more keys of the state, as in ["answer"], got a string"#]].assert_eq(&graph(r#""a""#));
    expect![[r#"
        refused
        Error /output/1: expected a key of the state, got a number
        Error /output/2: `a` is in the list twice"#]]
    .assert_eq(&graph(r#"["a", 1, "a"]"#));
    expect![[r#"
        starts at extract
        Warning /output/1: no node writes `txt`: it is in the output only where a run begins with it; did you mean `text`?"#]].assert_eq(&findings(
        r#"{"nodes": {"extract": {"output": "text"}}, "output": ["text", "txt"]}"#,
    ));
}

#[test]
fn a_policy_by_key_may_name_its_key_and_no_other_policy_may() {
    let graph = |key: &str| {
        findings(&format!(
            r#"{{"nodes": {{"extract": {{}}}}, "state": {{"list": {key}}}}}"#
        ))
    };
    assert_eq!(graph(r#"{"merge": "by_key"}"#), "starts at extract");
    assert_eq!(
        graph(r#"{"merge": "by_key", "key": "name"}"#),
        "starts at extract"
    );
    expect![[r#"
        refused
        Error /state/list/key: the name of a key has at least one character"#]]
    .assert_eq(&graph(r#"{"merge": "by_key", "key": ""}"#));
    expect![[r#"
        refused
        Error /state/list/key: `key` tells the elements of a list apart, which only the policy `by_key` does"#]].assert_eq(&graph(r#"{"merge": "append", "key": "name"}"#));
    expect![[r#"
        refused
        Error /state/list/merge: expected one of append, add, max, min, union, by_key, deep, last, got "by-key""#]].assert_eq(&graph(r#"{"merge": "by-key"}"#));
}

#[test]
fn a_whole_number_may_have_a_point_or_an_exponent_and_is_reported_as_written() {
    let with = |steps: &str, attempts: &str| {
        findings(&format!(
            r#"{{"nodes": {{"extract": {{"retry": {{"attempts": {attempts}}}}}}}, "limits": {{"steps": {steps}}}}}"#
        ))
    };
    for (steps, attempts) in [("1", "2"), ("1.0", "2.0"), ("1e2", "0.2e1"), ("1E+0", "20e-1")] {
        assert_eq!(with(steps, attempts), "starts at extract", "{steps} {attempts}");
    }
    for wrong in [
        "100000000000000000001",
        "1.50",
        "-0",
        "1e20",
        "1e9",
        r#""\u0031""#,
        "[ 1 ]",
    ] {
        let report = with(wrong, "2");
        let got = wrong.replace(' ', "");
        assert!(report.ends_with(&format!("100000000, got {got}")), "{report}");
    }
    assert!(with("1", "2.50").ends_with("got 2.50"));
    let factor =
        r#"{"nodes": {"extract": {"retry": {"attempts": 2, "factor": 100.00000000000000000001e1}}}}"#;
    assert!(findings(factor).ends_with("from 1 to 100, got 100.00000000000000000001e1"));
}

#[test]
fn a_literal_that_loses_digits_is_refused_in_a_new_graph_and_kept_in_an_old_one() {
    let graph = r#"{"nodes": {"extract": {}}, "edges": {"extract": {"when": "state.a > 0.12345678901234567890123", "to": "end"}}}"#;
    let report = findings(graph);
    assert!(
        report.contains("/edges/extract/when: column 11: the number 0.12345678901234567890123"),
        "{report}"
    );
    assert!(Definition::parse(graph).is_ok());
}
