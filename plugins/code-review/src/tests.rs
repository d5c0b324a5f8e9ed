//! The whole graph, on the sample and on this plugin's own sources. What is right for the sample was
//! counted by hand, from the README's rules: `sample/expected.json` and `sample/orders.mended.rs`.

// The report calls this plugin for the distribution of the complexities.
use data_quality as _;
use heddle_plugin::{Outcome, Route, testing};
use serde_json::{Map, Value, json};

const ORDERS: &str = include_str!("../sample/orders.rs");
const MENDED: &str = include_str!("../sample/orders.mended.rs");

/// Follows graph.json from `extract_functions` to `end`, merging key by key. Returns the state after each step.
fn run(state: Value) -> Vec<Map<String, Value>> {
    let graph: Value = serde_json::from_str(include_str!("../graph.json")).expect("the graph is JSON");
    let Value::Object(mut state) = state else {
        panic!("a state is an object")
    };
    let mut node = "extract_functions".to_string();
    let mut states = Vec::new();
    while node != "end" {
        assert!(states.len() < 200, "the run does not end");
        let Outcome { update, route } =
            testing::run(&node, Value::Object(state.clone()), Value::Null).expect("the node runs");
        if let Value::Object(update) = update {
            state.extend(update);
        }
        node = match route {
            Route::Edges => graph["edges"][&node]
                .as_str()
                .expect("every node has an edge")
                .to_string(),
            Route::Again => node,
            Route::To(nodes) => nodes[0].clone(),
            Route::End => "end".to_string(),
        };
        states.push(state.clone());
    }
    states
}

/// How many issues of each rule the state has.
fn by_rule(state: &Map<String, Value>) -> Value {
    let mut counts: Map<String, Value> = Map::new();
    for issue in state["issues"].as_array().expect("a list") {
        let count = counts
            .entry(issue["rule"].as_str().expect("an id"))
            .or_insert(json!(0));
        *count = json!(count.as_u64().expect("a number") + 1);
    }
    Value::Object(counts)
}

#[test]
fn the_sample_is_reviewed_and_improved_as_counted_by_hand() {
    let expected: Value = serde_json::from_str(include_str!("../sample/expected.json")).expect("it is JSON");
    let states = run(serde_json::from_str(include_str!("../sample/input.json")).expect("it is JSON"));

    let before = &states[4];
    assert_eq!(before["score_before"], expected["score_before"]);
    assert_eq!(by_rule(before), expected["issues_before"]);
    let complexity: Map<String, Value> = before["functions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| {
            (
                f["name"].as_str().expect("a name").to_string(),
                f["metrics"]["complexity"].clone(),
            )
        })
        .collect();
    assert_eq!(Value::Object(complexity), expected["complexity"]);

    let turns = &states[5..states.len() - 2];
    let scores: Vec<_> = turns.iter().map(|state| state["score"].clone()).collect();
    assert_eq!(Value::Array(scores), expected["scores"]);
    let rules: Vec<_> = turns
        .iter()
        .map(|state| {
            state["improvements"]
                .as_array()
                .and_then(|all| all.last())
                .expect("a change")["rule"]
                .clone()
        })
        .collect();
    assert_eq!(Value::Array(rules), expected["turns"]);

    let last = states.last().expect("there are steps");
    assert_eq!(last["files"][0]["source"], MENDED);
    assert_eq!(by_rule(last), expected["issues_after"]);
    assert_eq!(last["score"], expected["score"]);
    assert_eq!(
        last["improvements"].as_array().map(Vec::len),
        expected["improvements"].as_u64().map(|n| n as usize)
    );
    let report = last["report"].as_str().expect("a text");
    assert!(
        report.contains(
            "1 file, 7 functions. Score 54.9 of 100 (before: 41.2); the threshold of 80 is not met"
        ),
        "{report}"
    );
    // The complexities are 1, 1, 1, 2, 3, 3, 16: the quartiles are 1 and 3, the upper fence 6.
    assert!(
        report.contains("median 2, upper quartile 3, highest 16; outliers by Tukey's fences (above 6): 1")
    );
}

#[test]
fn improving_ends_as_soon_as_the_threshold_is_met() {
    let states = run(json!({ "files": [{ "path": "orders.rs", "source": ORDERS }], "threshold": 50 }));
    let last = states.last().expect("there are steps");
    assert_eq!(last["score"], 50.0);
    let rules: Vec<_> = last["improvements"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["rule"].clone())
        .collect();
    assert_eq!(rules, ["dbg-left", "dbg-left", "collapsible-if"]);
    assert!(
        last["report"]
            .as_str()
            .expect("a text")
            .contains("the threshold of 50 is met")
    );
}

#[test]
fn a_file_that_does_not_parse_is_an_issue_and_the_others_are_reviewed() {
    let states = run(json!({ "files": [
        { "path": "broken.rs", "source": "fn a() {}\nfn b( {" },
        { "path": "fine.rs", "source": "fn c() -> u8 {\n    return 1;\n}\n" },
    ]}));
    let last = states.last().expect("there are steps");
    let issue = &last["issues"][0];
    assert_eq!(
        (&issue["rule"], &issue["line"], &issue["file"]),
        (&json!("parse-error"), &json!(2), &json!("broken.rs"))
    );
    assert_eq!(last["files"][1]["source"], "fn c() -> u8 {\n    1\n}\n");
}

#[test]
fn the_plugins_own_sources_parse_and_stay_so_when_improved() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files: Vec<Value> = std::fs::read_dir(folder)
        .expect("there are sources")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| json!({ "path": path, "source": std::fs::read_to_string(&path).expect("it is text") }))
        .collect();
    files.sort_by_key(|file| file["path"].to_string());
    let states = run(json!({ "files": files, "threshold": 100 }));
    let last = states.last().expect("there are steps");
    assert!(by_rule(last)["parse-error"].is_null());
    let left = last["issues"]
        .as_array()
        .expect("a list")
        .iter()
        .any(|issue| issue["automatic"] == true);
    assert!(!left, "what can be improved was");
    assert!(last["score"].as_f64() >= states[4]["score"].as_f64());
}

#[test]
fn without_files_there_is_nothing_to_review() {
    let error =
        testing::run("extract_functions", json!({ "files": [] }), Value::Null).expect_err("it is empty");
    assert!(error.message.starts_with("`files` is empty"));
}
