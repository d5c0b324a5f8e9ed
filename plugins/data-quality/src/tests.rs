//! The whole graph on the real data set. What is right was worked out by `tests/expected.py`, which
//! shares no code with the plugin, and is kept in `expected.json`.

use heddle_plugin::{Outcome, Route, testing};
use serde_json::{Map, Value, json};

const EXPECTED: &str = include_str!("../expected.json");
const BIRDSTRIKES: &str = include_str!("../data/birdstrikes.csv");

/// Follows graph.json from its start to `end`, merging key by key. Returns the state and the path.
fn run(state: Value) -> (Map<String, Value>, Vec<String>) {
    let graph: Value = serde_json::from_str(include_str!("../graph.json")).expect("the graph is JSON");
    let Value::Object(mut state) = state else {
        panic!("a state is an object")
    };
    let mut node = graph["start"]
        .as_str()
        .expect("it says where it starts")
        .to_string();
    let mut path = Vec::new();
    while node != "end" {
        path.push(node.clone());
        assert!(path.len() < 50, "the run does not end: {path:?}");
        let Outcome { update, route } =
            testing::run(&node, Value::Object(state.clone()), Value::Null).expect("the node runs");
        if let Value::Object(update) = update {
            state.extend(update);
        }
        node = match route {
            Route::Edges => graph["edges"][&node].as_str().unwrap_or("end").to_string(),
            Route::Again => node,
            Route::To(nodes) => nodes[0].clone(),
            Route::End => "end".to_string(),
        };
    }
    (state, path)
}

#[test]
fn the_birdstrikes_are_profiled_and_repaired_as_worked_out() {
    let expected: Value = serde_json::from_str(EXPECTED).expect("it is JSON");
    let (state, _) = run(json!({ "csv": BIRDSTRIKES, "threshold": 0 }));
    let profile = &state["profile"];
    assert_eq!(profile["rows"], expected["rows_before"]);
    for column in profile["columns"].as_array().expect("there are columns") {
        let right = &expected["columns"][column["name"].as_str().expect("a name")];
        for fact in ["type", "missing", "misfits", "distinct"] {
            assert_eq!(column[fact], right[fact], "{} of {}", fact, column["name"]);
        }
        let stats = &column["stats"];
        for fact in ["min", "q1", "median", "q3", "max", "outliers"] {
            assert_eq!(stats[fact], right[fact], "{} of {}", fact, column["name"]);
        }
        if let (Some(mean), Some(right)) = (stats["mean"].as_f64(), right["mean"].as_f64()) {
            assert!((mean - right).abs() < 1e-9 * right, "mean of {}", column["name"]);
        }
        let fences = &stats["fences"];
        if !fences.is_null() {
            assert_eq!(json!([fences["lower"], fences["upper"]]), right["fences"]);
        }
    }
    let found: Map<String, Value> = state["found"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|anomaly| {
            (
                anomaly["rule"].as_str().expect("an id").to_string(),
                anomaly["count"].clone(),
            )
        })
        .collect();
    assert_eq!(Value::Object(found), expected["found"]);
    for fact in ["repairs", "rows", "anomalies_before", "anomalies_after"] {
        assert_eq!(state[fact], expected[fact], "{fact}");
    }
    let csv = state["csv"].as_str().expect("a text");
    let speeds: Vec<f64> = csv
        .lines()
        .skip(1)
        .map(|line| {
            line.rsplit(',')
                .next()
                .expect("a cell")
                .parse()
                .expect("every gap is filled")
        })
        .collect();
    let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
    assert!((mean - expected["mean_speed_after"].as_f64().expect("a number")).abs() < 1e-9);
}

#[test]
fn repairing_ends_as_soon_as_the_threshold_is_met() {
    let (state, path) = run(json!({ "csv": BIRDSTRIKES, "threshold": 700 }));
    // Without duplicates, misfits and gaps only the 608 outliers are left.
    assert_eq!(state["anomalies_after"], 608);
    assert_eq!(path.iter().filter(|node| *node == "repair_data").count(), 3);
    let report = state["report"].as_str().expect("a text");
    assert!(
        report.contains("608 are left, so the threshold of 700 is met."),
        "{report}"
    );
}

#[test]
fn filling_a_gap_can_make_a_duplicate_which_the_next_turn_drops() {
    let csv = "a,b\n1,x\n,x\n0,y\n2,z\n1,w\n";
    let (state, _) = run(json!({ "csv": csv }));
    // The median of 1, 0, 2, 1 is 1, so the second row becomes the first.
    assert_eq!(state["csv"], "a,b\n1,x\n0,y\n2,z\n1,w\n");
    let kinds: Vec<_> = state["repairs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|repair| &repair["kind"])
        .collect();
    assert_eq!(kinds, ["gaps", "duplicates"]);
}

#[test]
fn a_gap_is_never_filled_with_a_misfit() {
    // Of 41 values one occurs twice, and it is not a date: the gap gets the first of the dates.
    let days = (1..=31)
        .map(|day| format!("2024-01-{day:02},x{day}\n"))
        .chain((1..=8).map(|day| format!("2024-02-{day:02},y{day}\n")));
    let csv = format!("day,n\n{}soon,a\nsoon,b\n,c\n", days.collect::<String>());
    let (state, _) = run(json!({ "csv": csv }));
    let kinds: Vec<_> = state["repairs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|repair| &repair["kind"])
        .collect();
    assert_eq!(kinds, ["misfits", "gaps"]);
    assert!(
        state["csv"]
            .as_str()
            .expect("a text")
            .ends_with("2024-01-01,a\n2024-01-01,b\n2024-01-01,c\n")
    );
    assert_eq!(state["anomalies_after"], 0);
}

#[test]
fn data_without_anomalies_is_left_as_it_is() {
    let csv = "day,n\n2024-01-01,1\n2024-01-02,2\n";
    let (state, path) = run(json!({ "csv": csv }));
    assert_eq!(state["csv"], csv);
    assert_eq!(state["anomalies_before"], 0);
    assert!(!path.contains(&"repair_data".to_string()));
}

#[test]
fn an_empty_csv_is_refused_with_the_reason() {
    let error = testing::run("profile_data", json!({ "csv": "" }), Value::Null).expect_err("it is empty");
    assert_eq!(error.message, "`csv` is empty: give a header and rows");
}
