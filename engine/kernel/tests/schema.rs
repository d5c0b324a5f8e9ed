//! The JSON Schema of the graph format agrees with the reader: the same keys, forms and limits.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use heddle_kernel::{Definition, graph::SCHEMA};
use jsonschema::Validator;
use serde_json::{Value, json};

fn schema() -> Validator {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::validator_for(&schema).unwrap()
}

/// The errors that the schema and the reader find; both empty for a valid definition.
fn errors_of(schema: &Validator, definition: &Value) -> (String, String) {
    let by_schema: Vec<String> = schema
        .iter_errors(definition)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    let (_, found) = Definition::read(&definition.to_string());
    let by_reader: Vec<String> = found
        .into_shown()
        .iter()
        .map(|found| format!("{}: {}", found.pointer, found.message))
        .collect();
    (by_schema.join("\n"), by_reader.join("\n"))
}

/// The forms of an object in a definition: a good one, and where in it the object is.
fn forms() -> Vec<(Value, &'static str)> {
    let node = |node: Value| json!({"nodes": {"a": node}});
    vec![
        (node(json!({})), ""),
        (node(json!({})), "/nodes/a"),
        (node(json!({"uses": "f"})), "/nodes/a"),
        (
            node(json!({"map": {"over": "state.x", "uses": "f", "into": "y"}})),
            "/nodes/a",
        ),
        (
            node(json!({"map": {"over": "state.x", "uses": "f", "into": "y"}})),
            "/nodes/a/map",
        ),
        (
            node(json!({"map": {"over": "state.x", "graph": "g", "into": "y"}})),
            "/nodes/a/map",
        ),
        (node(json!({"graph": "g"})), "/nodes/a"),
        (node(json!({"sleep": "1s"})), "/nodes/a"),
        (node(json!({"sleep": {"until": "state.x"}})), "/nodes/a/sleep"),
        (node(json!({"sleep": {"for": "state.x"}})), "/nodes/a/sleep"),
        (node(json!({"wait": {"signal": "s"}})), "/nodes/a"),
        (
            node(json!({"wait": {"signal": "s", "timeout": "1s"}})),
            "/nodes/a/wait",
        ),
        (
            node(json!({"wait": {"signal": {"expr": "state.x"}}})),
            "/nodes/a/wait/signal",
        ),
        (
            node(json!({"wait": {"signal": "s", "prompt": {"expr": "'a'"}}})),
            "/nodes/a/wait/prompt",
        ),
        (node(json!({"retry": {"attempts": 2}})), "/nodes/a/retry"),
        (
            json!({"nodes": {"a": {}}, "edges": {"a": {"to": "a"}}}),
            "/edges/a",
        ),
        (
            json!({"nodes": {"a": {}}, "edges": {"a": [{"when": "true", "to": "a"}, {"to": "end"}]}}),
            "/edges/a/1",
        ),
        (
            json!({"nodes": {"a": {}}, "state": {"x": {"merge": "add"}}}),
            "/state/x",
        ),
        (
            json!({"nodes": {"a": {}}, "state": {"x": {"merge": "by_key"}}}),
            "/state/x",
        ),
        (json!({"nodes": {"a": {}}, "limits": {"steps": 5}}), "/limits"),
        (
            json!({"nodes": {"a": {}}, "limits": {"group": {}}}),
            "/limits/group",
        ),
    ]
}

/// A good value for each key of the language, wherever it may stand.
fn values() -> Value {
    let text = r#"{
        "$schema": "s", "name": "n", "description": "d", "start": "a", "nodes": {"a": {}}, "edges": {"a": "end"}, "state": {},
        "limits": {}, "uses": "f", "map": {"over": "state.x", "uses": "f", "into": "y"}, "graph": "g", "sleep": "1s",
        "wait": {"signal": "s"}, "config": [1], "input": {"x": "state.x"}, "output": "x", "next": ["a"],
        "retry": {"attempts": 2}, "timeout": "1s", "on_error": "a", "compensate": "a", "over": "state.x", "as": "i",
        "at_once": 2, "into": "x", "on_item_error": "skip", "until": "state.x", "for": "1", "signal": "s",
        "schema": {}, "on_timeout": "a", "prompt": "p", "attempts": 2, "backoff": "1s", "factor": 1.5, "max": "1s",
        "jitter": 0.5, "on": ["trap"], "when": "true", "to": "a", "merge": "max", "steps": 5, "time": "1s", "journal": "1MiB",
        "group": {"at_once": 3}, "by": "input.x", "grants": {},
        "expr": "state.x", "key": "id"
    }"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_object_takes_the_keys_in_the_schema_that_it_takes_in_the_reader() {
    let schema = schema();
    let values = values();
    let values = values.as_object().unwrap();
    for (good, pointer) in forms() {
        assert_eq!(
            errors_of(&schema, &good),
            (String::new(), String::new()),
            "{good}"
        );
        let object = good.pointer(pointer).unwrap().as_object().unwrap();
        let keys = values.iter().filter(|(key, _)| !object.contains_key(*key));
        for (key, value) in keys.chain([(&"sort".to_owned(), &json!(1))]) {
            let mut other = good.clone();
            other.pointer_mut(pointer).unwrap()[key] = value.clone();
            let (by_schema, by_reader) = errors_of(&schema, &other);
            assert_eq!(
                by_schema.is_empty(),
                by_reader.is_empty(),
                "`{key}` at {pointer} of {good}\nthe schema: {by_schema}\nthe reader: {by_reader}"
            );
        }
    }
}

#[test]
fn the_keys_of_the_reader_all_have_been_tried_and_are_all_described() {
    let mut known = BTreeSet::new();
    for (mut wrong, pointer) in forms() {
        // The message for a key that resembles no known key lists all known keys.
        wrong.pointer_mut(pointer).unwrap()["qqqqqqqqqqqqqqqqqqqqqq"] = json!(1);
        let found = Definition::parse(&wrong.to_string()).unwrap_err();
        let (_, keys) = found[0]
            .message
            .split_once("known keys: ")
            .expect("the message lists the keys");
        known.extend(keys.split(", ").map(str::to_owned));
    }
    let values = values();
    let tried: BTreeSet<String> = values.as_object().unwrap().keys().cloned().collect();
    assert_eq!(known, tried);

    fn described(at: &Value, pointer: &str, seen: &mut BTreeSet<String>) {
        for (key, property) in at["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, of)| of.is_object())
        {
            seen.insert(key.clone());
            let has = |word: &str| property.get(word).is_some() || property.get("$ref").is_some();
            assert!(
                has("title") && has("description"),
                "{pointer}/{key} is not explained"
            );
            described(property, &format!("{pointer}/{key}"), seen);
        }
    }
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut seen = BTreeSet::new();
    described(&schema, "", &mut seen);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        // The implementation of the functions port checks the keys of a call's limits, not the reader.
        match name.as_str() {
            "callLimits" => described(definition, name, &mut BTreeSet::new()),
            _ => described(definition, name, &mut seen),
        }
    }
    assert_eq!(seen, known);
}

#[test]
fn every_definition_that_one_refuses_both_refuse() {
    let schema = schema();
    let node = |node: Value| json!({"nodes": {"a": node}});
    let edge = |edge: Value| json!({"nodes": {"a": {}}, "edges": {"a": edge}});
    let retry = |retry: Value| json!({"nodes": {"a": {"retry": retry}}});
    let map = |key: &str, value: Value| {
        let mut map = json!({"over": "state.x", "uses": "f", "into": "y"});
        map[key] = value;
        json!({"nodes": {"a": {"map": map}}})
    };
    let wrong = [
        json!([]),
        json!({}),
        json!({"nodes": []}),
        json!({"nodes": {}}),
        json!({"nodes": {"end": {}}}),
        json!({"nodes": {"": {}}}),
        json!({"nodes": {"a,b": {}}}),
        json!({"nodes": {"a": {}}, "name": "a\nb"}),
        json!({"nodes": {"a": {}}, "name": "x".repeat(101)}),
        json!({"nodes": {"a": {}}, "start": 1}),
        json!({"nodes": {"a": {}}, "state": {"x": 1}}),
        json!({"nodes": {"a": {}}, "state": {"x": {"merge": "sum"}}}),
        json!({"nodes": {"a": {}}, "limits": {"steps": 0}}),
        json!({"nodes": {"a": {}}, "limits": {"steps": 100_000_001}}),
        json!({"nodes": {"a": {}}, "limits": {"steps": 1.5}}),
        json!({"nodes": {"a": {}}, "limits": {"time": "1 parsec"}}),
        json!({"nodes": {"a": {}}, "limits": {"time": 10}}),
        json!({"nodes": {"a": {}}, "limits": {"journal": 0}}),
        json!({"nodes": {"a": {}}, "limits": {"journal": "16MB"}}),
        json!({"nodes": {"a": {}}, "limits": {"journal": null}}),
        json!({"nodes": {"a": {}}, "limits": {"time": null}}),
        json!({"nodes": {"a": {}}, "limits": null}),
        json!({"nodes": {"a": {}}, "name": null}),
        json!({"nodes": {"a": {}}, "name": "0123456789abcdef0123456789abcdef"}),
        json!({"nodes": {"a": {}}, "description": null}),
        json!({"nodes": {"a": {}}, "$schema": null}),
        json!({"nodes": {"a": {}}, "start": null}),
        json!({"nodes": {"a": {}}, "output": null}),
        json!({"nodes": {"a": {}}, "edges": null}),
        json!({"nodes": {"a": {}}, "edges": {"a": {"when": null, "to": "a"}}}),
        json!({"nodes": {"a": {}}, "edges": {"a": [null]}}),
        json!({"nodes": {"a": {}}, "state": {"x": {"merge": null}}}),
        json!({"nodes": {"a": {}}, "state": {"x": {"description": null}}}),
        node(json!({"uses": null})),
        node(json!({"description": null})),
        node(json!({"input": null})),
        node(json!({"output": null})),
        node(json!({"next": null})),
        node(json!({"retry": null})),
        node(json!({"timeout": null})),
        node(json!({"on_error": null})),
        node(json!({"compensate": null})),
        node(json!({"limits": null})),
        node(json!({"grants": null})),
        node(json!({"wait": {"signal": null}})),
        node(json!({"wait": {"signal": "s", "prompt": null}})),
        node(json!({"wait": {"signal": "s", "timeout": null}})),
        map("as", json!(null)),
        map("as", json!("true")),
        map("as", json!("in")),
        map("at_once", json!(null)),
        map("on_item_error", json!(null)),
        json!({"nodes": {"a": {}}, "limits": {"group": "customer"}}),
        json!({"nodes": {"a": {}}, "limits": {"group": {"by": 1}}}),
        json!({"nodes": {"a": {}}, "limits": {"group": {"by": ""}}}),
        json!({"nodes": {"a": {}}, "limits": {"group": {"at_once": 0}}}),
        json!({"nodes": {"a": {}}, "limits": {"group": {"at_once": 10_001}}}),
        node(json!(null)),
        node(json!({"uses": 1})),
        node(json!({"input": ["state.x"]})),
        node(json!({"input": {"x": 1}})),
        node(json!({"input": {"x": ""}})),
        node(json!({"output": 3})),
        node(json!({"output": {"x": 3}})),
        node(json!({"next": {"a": 1}})),
        node(json!({"next": [1]})),
        node(json!({"timeout": 5})),
        node(json!({"timeout": "5"})),
        node(json!({"timeout": ""})),
        node(json!({"on_error": ["a"]})),
        node(json!({"limits": "16MiB"})),
        node(json!({"grants": [1]})),
        node(json!({"graph": "g", "grants": {}})),
        node(json!({"map": {"over": "state.x", "graph": "g", "into": "y"}, "limits": {}})),
        node(json!({"sleep": 5})),
        node(json!({"sleep": "5"})),
        node(json!({"sleep": {}})),
        node(json!({"sleep": {"until": "1", "for": "1"}})),
        node(json!({"wait": {}})),
        node(json!({"wait": "s"})),
        node(json!({"wait": {"signal": ""}})),
        node(json!({"wait": {"signal": {}}})),
        node(json!({"wait": {"signal": {"expr": 1}}})),
        node(json!({"wait": {"signal": ["s"]}})),
        node(json!({"wait": {"signal": "s", "schema": 7}})),
        node(json!({"wait": {"signal": "s", "on_timeout": "a"}})),
        node(json!({"wait": {"signal": "s", "prompt": ["?"]}})),
        node(json!({"map": {"uses": "f", "into": "y"}})),
        node(json!({"map": {"over": "state.x", "uses": "f"}})),
        node(json!({"map": {"over": "state.x", "into": "y"}})),
        map("graph", json!("g")),
        map("as", json!("state")),
        map("as", json!("1st")),
        map("at_once", json!(0)),
        map("at_once", json!(1_001)),
        map("on_item_error", json!("ignore")),
        retry(json!(3)),
        retry(json!({})),
        retry(json!({"attempts": 0})),
        retry(json!({"attempts": 1_001})),
        retry(json!({"attempts": 2, "factor": 0.5})),
        retry(json!({"attempts": 2, "factor": 101})),
        retry(json!({"attempts": 2, "jitter": -1})),
        retry(json!({"attempts": 2, "jitter": 2})),
        retry(json!({"attempts": 2, "on": "trap"})),
        retry(json!({"attempts": 2, "on": ["permanent"]})),
        edge(json!(1)),
        edge(json!([])),
        edge(json!(["a", "a"])),
        edge(json!(["a", 1])),
        edge(json!({"when": "true"})),
        edge(json!({"when": 1, "to": "a"})),
        edge(json!([{"when": "true", "to": "a"}, "end"])),
        edge(json!([{"when": "true"}])),
        edge(json!([{"to": []}])),
    ];
    for wrong in wrong {
        let (by_schema, by_reader) = errors_of(&schema, &wrong);
        assert!(!by_schema.is_empty(), "the schema takes {wrong}: {by_reader}");
        assert!(!by_reader.is_empty(), "the reader takes {wrong}: {by_schema}");
    }
}

#[test]
fn every_definition_that_one_accepts_both_accept() {
    let schema = schema();
    let good = [
        json!({"nodes": {"a": {}, "b c.d-e_f:g/h é": {}}, "edges": {"a": null}}),
        json!({"nodes": {"a": {}}, "edges": {"a": "end"}, "limits": {"steps": 1, "time": " 1h 30m "}}),
        json!({"nodes": {"a": {}}, "limits": {"group": {"by": "input.customer + state.x", "at_once": 10_000}}}),
        json!({"nodes": {"a": {}, "b": {}}, "edges": {"a": ["b", "end"], "b": {"when": "node.x > 1", "to": ["end"]}}}),
        json!({"nodes": {"a": {}}, "edges": {"a": [{"when": "state.x", "to": "a"}, {"to": null}]}}),
        json!({"nodes": {"a": {"next": "a", "output": {"x": "node"}, "config": null}}}),
        json!({"nodes": {"a": {"retry": {"attempts": 1000, "backoff": "0s", "factor": 1, "max": "1w", "jitter": 1, "on": []}}}}),
        json!({"nodes": {"a": {"sleep": {"for": "state.x"}, "compensate": "a"}}}),
        json!({"nodes": {"a": {"wait": {"signal": "s", "schema": true, "timeout": "1d", "on_timeout": "end"}, "on_error": "a"}}}),
        json!({"nodes": {"a": {"map": {"over": "state.x", "as": "_x1", "graph": "g", "at_once": 1000, "into": "y"}, "timeout": "1s", "retry": {"attempts": 2}}}}),
        json!({"nodes": {"a": {"graph": "g", "input": {}, "output": {}, "retry": {"attempts": 2}}}}),
        json!({"nodes": {"a": {}}, "state": {"x": {}, "y": {"merge": "deep", "description": "d"}}}),
        json!({"nodes": {"a": {"limits": {"memory": "16MiB", "time": "5s", "fuel": 1000, "at_once": 2, "log": 4096}, "grants": {}}}}),
        json!({"nodes": {"a": {"map": {"over": "state.x", "uses": "f", "into": "y"}, "limits": {"result": "1 KiB"}}}}),
    ];
    for good in good {
        assert_eq!(
            errors_of(&schema, &good),
            (String::new(), String::new()),
            "{good}"
        );
    }
}

/// The graph files of the samples.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, found);
        } else if name.ends_with(".json") {
            found.push(path);
        }
    }
}

#[test]
fn the_graphs_of_the_samples_are_good() {
    let schema = schema();
    let mut found = Vec::new();
    files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins"),
        &mut found,
    );
    let mut graphs = 0;
    for path in found {
        let value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_default();
        if value["nodes"].is_object() {
            graphs += 1;
            assert_eq!(
                errors_of(&schema, &value),
                (String::new(), String::new()),
                "{}",
                path.display()
            );
        }
    }
    assert!(graphs >= 5, "{graphs} graphs");
}
