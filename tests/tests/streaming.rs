//! What functions send while they run reaches who watches: live, in its place between the events, and not kept.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::io::{BufRead, BufReader};

use heddle_tests::Server;
use serde_json::{Value, json};

/// How many chunks a function sends.
const COUNT: usize = 40;

/// A run that waits before it sends, so that who watches is there in time.
fn waiting(server: &Server, nested: bool) -> String {
    let graph = server.create(&json!({
        "nodes": {
            "ready": {"wait": {"signal": "ready"}},
            "send": {"uses": "hostile/chunks", "config": {"count": COUNT, "log_every": 10, "nested": nested}},
            "after": {"uses": "bench/touch", "config": {"key": "k"}}
        },
        "edges": {"ready": "send", "send": "after"}
    }));
    server.start_run(&graph, &json!({}))
}

fn go_on(server: &Server, run: &str) {
    let signal = server.post(&format!("/v1/runs/{run}/signal"), &json!({"name": "ready"}));
    assert!((200..300).contains(&signal.status), "{signal:?}");
}

/// The chunks and lines of what was told, in order, each as its number; every chunk is of the step that sent it and
/// stands between the events that begin and end that step.
fn written(told: &[Value]) -> Vec<String> {
    let at = |kind: &str| {
        let is = |event: &Value| event["type"] == kind && event["node"] == "send";
        told.iter()
            .position(is)
            .unwrap_or_else(|| panic!("{kind}: {told:?}"))
    };
    let step = at("step_started")..at("step_finished");
    let mut written = Vec::new();
    for (place, event) in told.iter().enumerate() {
        match event["type"].as_str().unwrap() {
            "chunk" => {
                assert!(step.contains(&place), "{place} is not in {step:?}");
                assert_eq!((&event["kept"], &event["node"]), (&json!(false), &json!("send")));
                assert_eq!(event["step"], told[step.start]["step"]);
                written.push(format!("chunk {}", event["data"]["n"]));
            }
            "log" if event["node"] == "send" => {
                written.push(format!("line {}", event["message"].as_str().unwrap()))
            }
            "chunks_missed" => panic!("{event}"),
            _ => {}
        }
    }
    written
}

fn expected() -> Vec<String> {
    let chunk = |n: usize| {
        let line = (n + 1).is_multiple_of(10).then(|| format!("line {n}"));
        [Some(format!("chunk {n}")), line]
    };
    (0..COUNT).flat_map(chunk).flatten().collect()
}

#[test]
fn chunks_reach_a_web_socket_in_order_and_are_not_kept() {
    let server = Server::start();
    for nested in [false, true] {
        let run = waiting(&server, nested);
        let told = server.watch_from(&run, || go_on(&server, &run));
        assert_eq!(written(&told), expected(), "nested: {nested}");
        let (again, _) = server.watch(&run, "");
        assert!(
            again.iter().all(|event| event["type"] != "chunk"),
            "chunks are not kept"
        );
        assert_eq!(again.len() + COUNT, told.len());
    }
}

#[test]
fn chunks_reach_a_stream_of_events_in_order() {
    let server = Server::start();
    let run = waiting(&server, true);
    let url = format!("http://{}/v1/runs/{run}/events", server.address);
    let answer = ureq::get(&url)
        .header("accept", "text/event-stream")
        .call()
        .unwrap();
    let mut lines = BufReader::new(answer.into_body().into_reader())
        .lines()
        .map_while(Result::ok);
    // The stream is open: its first line is there.
    assert!(lines.next().is_some());
    go_on(&server, &run);
    let (mut told, mut kind, mut id) = (Vec::new(), None, None);
    for line in lines {
        if let Some(name) = line.strip_prefix("event: ") {
            kind = Some(name.to_owned());
        } else if let Some(number) = line.strip_prefix("id: ") {
            id = Some(number.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).unwrap();
            match (kind.take().as_deref(), id.take()) {
                (Some("end"), _) => break,
                (Some("chunk"), id) => assert!(id.is_none() && data["kept"] == false),
                (_, id) => assert!(id.is_some(), "an event has its number: {data}"),
            }
            told.push(data);
        }
    }
    assert_eq!(written(&told), expected());
}

#[test]
fn a_slow_watcher_blocks_nobody_and_gets_the_number_of_missed_chunks() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {
            "ready": {"wait": {"signal": "ready"}},
            "send": {"uses": "hostile/chunks", "config": {"count": 4_000, "bytes": 900}}
        },
        "edges": {"ready": "send"}
    }));
    let run = server.start_run(&graph, &json!({}));
    let told = server.watch_from(&run, || {
        go_on(&server, &run);
        // It reads nothing until the run is over.
        assert_eq!(server.wait(&run)["status"], "finished");
    });
    let chunks: Vec<u64> = told
        .iter()
        .filter(|event| event["type"] == "chunk")
        .map(|event| event["data"]["n"].as_u64().unwrap())
        .collect();
    let missed: u64 = told
        .iter()
        .filter(|event| event["type"] == "chunks_missed")
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert!(chunks.is_sorted());
    assert_eq!(chunks.len() as u64 + missed, 4_000, "each is told or counted");
    let seqs: Vec<u64> = told.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "no event is missed"
    );
}
