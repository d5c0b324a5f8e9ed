//! The samples give correct results. The expected results were computed independently: by hand for code-review, by
//! plain
//! Python programs in `plugins/*/tests` for the others. They are in the `expected.json` files of the samples.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;

use heddle_tests::{Server, repository};
use serde_json::{Value, json};

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read_json(path: &str) -> Value {
    serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs the graph of a sample to its end.
fn run(server: &Server, sample: &str, state: &Value) -> Value {
    let graph = server.create_file(&format!("plugins/{sample}/graph.json"));
    let run = server.run(&graph, state);
    assert_eq!(run["status"], "finished", "{}", run["error"]);
    run
}

/// Counts the values of `key` in a list of objects.
fn counts(list: &Value, key: &str) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for item in list.as_array().expect("a list") {
        *counts
            .entry(item[key].as_str().expect("a text").to_owned())
            .or_default() += 1;
    }
    json!(counts)
}

#[test]
fn code_review_measures_scores_and_mends_as_counted_by_hand() {
    let server = Server::start();
    let expected = read_json("plugins/code-review/sample/expected.json");
    let reviewed = run(
        &server,
        "code-review",
        &read_json("plugins/code-review/sample/input.json"),
    );
    let state = &reviewed["state"];
    let functions = state["functions"].as_array().unwrap();
    assert_eq!(functions.len() as u64, expected["functions"].as_u64().unwrap());
    // The functions are those of the improved file; changed functions are measured again.
    assert_eq!(counts(&state["issues"], "rule"), expected["issues_after"]);
    assert_eq!(
        (&state["score_before"], &state["score"]),
        (&expected["score_before"], &expected["score"])
    );
    assert_eq!(
        state["improvements"].as_array().unwrap().len() as u64,
        expected["improvements"].as_u64().unwrap()
    );
    assert_eq!(
        state["files"][0]["source"].as_str().unwrap(),
        read("plugins/code-review/sample/orders.mended.rs")
    );

    let logs = reviewed["logs"].as_array().unwrap();
    let finished = |node: &str| -> Vec<&Value> {
        let of_node = |event: &&Value| event["type"] == "step_finished" && event["node"] == node;
        logs.iter().filter(of_node).collect()
    };
    let measured = finished("measure_complexity");
    let complexity: serde_json::Map<String, Value> = measured[0]["update"]["functions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|function| {
            (
                function["name"].as_str().unwrap().to_owned(),
                function["metrics"]["complexity"].clone(),
            )
        })
        .collect();
    assert_eq!(Value::Object(complexity), expected["complexity"]);
    assert_eq!(
        counts(&finished("detect_issues")[0]["update"]["issues"], "rule"),
        expected["issues_before"]
    );
    let turns = finished("improve");
    let scores: Vec<&Value> = turns
        .iter()
        .map(|turn| &turn["update"]["score"])
        .filter(|score| score.is_number())
        .collect();
    assert_eq!(
        json!(scores),
        expected["scores"],
        "one turn of the loop for each rule, worst first"
    );
}

#[test]
fn code_review_reviews_this_repository() {
    let server = Server::start();
    let files: Vec<Value> = [
        "engine/kernel/src/run/decide.rs",
        "engine/runtime/src/engine.rs",
        "tests/src/lib.rs",
    ]
    .iter()
    .map(|path| json!({"path": path, "source": read(path)}))
    .collect();
    let state = run(&server, "code-review", &json!({"files": files, "threshold": 80}))["state"].clone();
    let names: Vec<&str> = state["functions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|function| function["name"].as_str().unwrap())
        .collect();
    for name in ["decide", "Engine::create_graph", "Server::restart"] {
        assert!(names.contains(&name), "{name} is found: {names:?}");
    }
    assert!(
        state["report"]
            .as_str()
            .unwrap()
            .contains("engine/kernel/src/run/decide.rs")
    );
}

#[test]
fn data_quality_finds_and_repairs_what_an_independent_program_found() {
    let server = Server::start();
    let expected = read_json("plugins/data-quality/expected.json");
    let csv = read("plugins/data-quality/data/birdstrikes.csv");
    let state = run(&server, "data-quality", &json!({"csv": csv, "threshold": 0}))["state"].clone();
    for key in ["anomalies_before", "anomalies_after", "rows", "repairs"] {
        assert_eq!(state[key], expected[key], "{key}");
    }
    // The mean of the repaired speeds equals that of the independent program, up to rounding.
    let repaired = state["csv"].as_str().unwrap();
    assert_eq!(
        repaired.lines().count() as u64,
        expected["rows"].as_u64().unwrap() + 1
    );
    let column = repaired
        .lines()
        .next()
        .unwrap()
        .split(',')
        .position(|name| name == "Speed IAS in knots")
        .unwrap();
    let from_the_right = repaired.lines().next().unwrap().split(',').count() - column;
    // No cell right of a quoted cell is quoted in this file, so the last cells can be counted from the right.
    let speeds: Vec<f64> = repaired
        .lines()
        .skip(1)
        .map(|row| {
            row.rsplit(',')
                .nth(from_the_right - 1)
                .unwrap()
                .parse()
                .expect("a speed")
        })
        .collect();
    let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
    assert!(
        (mean - expected["mean_speed_after"].as_f64().unwrap()).abs() < 1e-6,
        "{mean}"
    );
}

#[test]
fn data_quality_stops_as_soon_as_few_enough_anomalies_are_left() {
    let server = Server::start();
    let csv = read("plugins/data-quality/data/birdstrikes.csv");
    let state = run(&server, "data-quality", &json!({"csv": csv, "threshold": 700}))["state"].clone();
    let left = state["anomalies_after"].as_u64().unwrap();
    assert!(left > 0 && left <= 700, "{left}");
    assert_eq!(
        state["repairs"].as_array().unwrap().len(),
        3,
        "the outliers may stay"
    );
}

#[test]
fn summarize_keeps_the_sentences_that_an_independent_textrank_keeps() {
    let server = Server::start();
    let expected = read_json("plugins/summarize/expected.json");
    let text = read("plugins/summarize/data/alice29.txt");
    let summary = run(
        &server,
        "summarize",
        &json!({"text": text, "limit": expected["limit"]}),
    );
    let state = &summary["state"];
    assert_eq!(state["sentences"], expected["sentences"]);
    assert_eq!(state["characters"], expected["characters"]);
    assert!(state["summary"].as_str().unwrap().chars().count() as u64 <= expected["limit"].as_u64().unwrap());
    let turns = summary["logs"].as_array().unwrap().iter();
    let turns = turns.filter(|event| event["type"] == "step_finished" && event["node"] == "refine_summary");
    assert!(turns.count() > 1, "it loops until the summary is short enough");
}

#[test]
fn starter_splits_a_text() {
    let server = Server::start();
    let text = "On 5 March 2024 we paid 1,234.50 for 3 looms; see https://example.org/looms.";
    let state = run(&server, "starter", &json!({"input": text}))["state"].clone();
    let numbers: Vec<f64> = state["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number["value"].as_f64().unwrap())
        .collect();
    assert_eq!(numbers, [1234.5, 3.0]);
    assert_eq!(state["dates"][0]["date"], "2024-03-05");
    assert_eq!(state["links"], json!(["https://example.org/looms"]));
    assert_eq!(
        state["words"],
        json!(["On", "we", "paid", "for", "looms", "see"]),
        "a date is not a word"
    );
    assert_eq!(state["analysis"]["words"], 6);
}
