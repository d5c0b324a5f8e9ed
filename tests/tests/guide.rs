//! The examples of docs/graphs.md, each as it stands there, sent to the server as a reader would.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::collections::BTreeMap;

use heddle_tests::{Server, component, repository};
use serde_json::{Value, json};

/// The blocks of the page that are fenced as ```` ```json WHAT=EXAMPLE ````, in order: what, example, text.
fn blocks(page: &str) -> Vec<(&str, &str, Value)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((what, example)) = line
            .strip_prefix("```json ")
            .and_then(|info| info.split_once('='))
        else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let value =
            serde_json::from_str(&text.join("\n")).unwrap_or_else(|error| panic!("{example}: {error}"));
        blocks.push((what, example, value));
    }
    blocks
}

/// Starts a run, sends it its signals, and gives how it ended.
fn run(server: &Server, graph: &str, state: &Value, signals: &[Value]) -> Value {
    let started = server
        .post("/v1/runs", &json!({"graph": graph, "state": state}))
        .ok();
    let run = started["run_id"].as_str().unwrap();
    for signal in signals {
        let sent = server.post(&format!("/v1/runs/{run}/signal"), signal);
        assert!((200..300).contains(&sent.status), "{sent:?}");
    }
    server.wait(run);
    server.get(&format!("/v1/runs/{run}")).ok()
}

#[test]
fn every_example_of_the_guide_ends_as_it_says() {
    let server = Server::start();
    let basics = std::fs::read(component("basics")).unwrap();
    let registered = server.post_with("/v1/plugins", &basics, &[("content-type", "application/wasm")]);
    assert!((200..300).contains(&registered.status), "{registered:?}");

    let page = std::fs::read_to_string(repository().join("docs/graphs.md")).unwrap();
    let mut graphs: BTreeMap<&str, String> = BTreeMap::new();
    let (mut state, mut signals, mut ran) = (json!({}), Vec::new(), 0);
    for (what, example, value) in blocks(&page) {
        match what {
            "graph" => {
                graphs.insert(example, server.create(&value));
            }
            "state" => state = value,
            "signal" => signals.push(value),
            "ends" => {
                let ended = run(&server, &graphs[example], &state, &signals);
                for (key, told) in value.as_object().unwrap() {
                    // Of an error, the page tells a part.
                    for (part, told) in told.as_object().filter(|_| key == "error").into_iter().flatten() {
                        assert_eq!(&ended[key][part], told, "{example}: {ended}");
                    }
                    assert!(
                        key == "error" || &ended[key] == told,
                        "{example} ends with another {key}: {ended}"
                    );
                }
                (state, signals) = (json!({}), Vec::new());
                ran += 1;
            }
            "wrong" => {
                // What is found at which place is held by the kernel's own test of the page.
                server.post("/v1/graphs", &value).problem(422);
            }
            _ => {}
        }
    }
    assert!(ran >= 30, "{ran} examples ran");
}
