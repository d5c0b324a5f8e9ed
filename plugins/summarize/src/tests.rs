//! The whole graph on the real text. What is right was worked out by `tests/expected.py`, which shares no
//! code with the plugin, and is kept in `expected.json`.

use heddle_plugin::{Outcome, Route, testing};
use serde_json::{Map, Value, json};

const ALICE: &str = include_str!("../data/alice29.txt");

/// Follows graph.json from `split_text`, merging key by key, as far as `report_summary`: that calls another
/// plugin, so the tests against the engine run it. Returns the state after each step.
fn run(state: Value) -> Vec<Map<String, Value>> {
    let graph: Value = serde_json::from_str(include_str!("../graph.json")).expect("the graph is JSON");
    let Value::Object(mut state) = state else {
        panic!("a state is an object")
    };
    let mut node = "split_text".to_string();
    let mut states = Vec::new();
    while node != "report_summary" {
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
            Route::To(_) | Route::End => panic!("no node routes"),
        };
        states.push(state.clone());
    }
    states
}

#[test]
fn alice_is_summarised_as_worked_out() {
    let expected: Value = serde_json::from_str(include_str!("../expected.json")).expect("it is JSON");
    let states = run(json!({ "text": ALICE, "limit": expected["limit"] }));
    let last = states.last().expect("there are steps");
    assert_eq!(
        last["parts"].as_array().map(Vec::len),
        expected["parts"].as_u64().map(|n| n as usize)
    );
    assert_eq!(last["sentence_count"], expected["sentence_count"]);
    let merged = states[2]["sentences"].as_array().map(Vec::len);
    assert_eq!(merged, expected["sentences_merged"].as_u64().map(|n| n as usize));
    let by_turn: Vec<_> = states[3..]
        .iter()
        .map(|state| state["characters"].clone())
        .collect();
    assert_eq!(Value::Array(by_turn), expected["characters_by_turn"]);
    assert_eq!(last["sentences"], expected["sentences"]);
    assert_eq!(last["characters"], expected["characters"]);
}

#[test]
fn every_sentence_of_the_summary_stands_in_the_text() {
    let states = run(json!({ "text": ALICE, "limit": 3000 }));
    let last = states.last().expect("there are steps");
    let text = ALICE.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in last["sentences"].as_array().expect("a list") {
        let sentence = sentence.as_str().expect("a text");
        assert!(text.contains(sentence), "{sentence}");
    }
    assert!(last["characters"].as_u64() <= Some(3000));
}

#[test]
fn short_texts_stay_whole_and_sentences_that_are_too_long_are_cut() {
    let text = "A very short text about one small thing. It ends.";
    let whole = run(json!({ "text": text, "limit": 100 }));
    // A fifth of two sentences is one; of equals the first.
    assert_eq!(
        whole.last().expect("steps")["summary"],
        "A very short text about one small thing."
    );
    assert_eq!(whole.len(), 4);
    let cut = run(json!({ "text": text, "limit": 20 }));
    assert_eq!(cut.last().expect("steps")["summary"], "A very short text…");
}

#[test]
fn a_text_without_sentences_or_a_limit_of_nothing_is_refused() {
    let error =
        testing::run("split_text", json!({ "text": "* * *\n" }), Value::Null).expect_err("no sentence");
    assert_eq!(error.message, "`text` has no sentence in it");
    let state = json!({ "sentences": ["a"], "ranks": [1.0], "limit": 0 });
    let error = testing::run("refine_summary", state, Value::Null).expect_err("no limit");
    assert!(error.message.starts_with("`limit` is 0"));
}
