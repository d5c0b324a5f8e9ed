//! Chunks and log lines of running functions reach watchers: live, in their position between the events. Chunks are not
//! stored.
#![allow(clippy::unwrap_used)] // a test may panic

use std::io::{BufRead, BufReader};

use heddle_tests::Server;
use serde_json::{Value, json};

/// The number of chunks that a function sends.
const COUNT: usize = 40;

/// A run that waits before it sends, so that watchers can connect first.
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

fn send_go(server: &Server, run: &str) {
    let signal = server.post(&format!("/v1/runs/{run}/signal"), &json!({"name": "ready"}));
    assert!((200..300).contains(&signal.status), "{signal:?}");
}

/// The chunks and log lines of the messages, in order, each as its number. Checks that every chunk has the step that
/// sent
/// it and is between the first and the last event of that step.
fn written(messages: &[Value]) -> Vec<String> {
    let at = |kind: &str| {
        let is = |event: &Value| event["type"] == kind && event["node"] == "send";
        messages
            .iter()
            .position(is)
            .unwrap_or_else(|| panic!("{kind}: {messages:?}"))
    };
    let step = at("step_started")..at("step_finished");
    let mut written = Vec::new();
    for (place, event) in messages.iter().enumerate() {
        match event["type"].as_str().unwrap() {
            "chunk" => {
                assert!(step.contains(&place), "{place} is not in {step:?}");
                assert_eq!((&event["kept"], &event["node"]), (&json!(false), &json!("send")));
                assert_eq!(event["step"], messages[step.start]["step"]);
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
        let messages = server.watch_from(&run, || send_go(&server, &run));
        assert_eq!(written(&messages), expected(), "nested: {nested}");
        let (again, _) = server.watch(&run, "");
        assert!(
            again.iter().all(|event| event["type"] != "chunk"),
            "chunks are not kept"
        );
        assert_eq!(again.len() + COUNT, messages.len());
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
    // The stream is open once its first line has arrived.
    assert!(lines.next().is_some());
    send_go(&server, &run);
    let (mut messages, mut kind, mut id) = (Vec::new(), None, None);
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
            messages.push(data);
        }
    }
    assert_eq!(written(&messages), expected());
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
    let messages = server.watch_from(&run, || {
        send_go(&server, &run);
        // The client reads nothing until the run has ended.
        assert_eq!(server.wait(&run)["status"], "finished");
    });
    let chunks: Vec<u64> = messages
        .iter()
        .filter(|event| event["type"] == "chunk")
        .map(|event| event["data"]["n"].as_u64().unwrap())
        .collect();
    let missed: u64 = messages
        .iter()
        .filter(|event| event["type"] == "chunks_missed")
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert!(chunks.is_sorted());
    assert_eq!(
        chunks.len() as u64 + missed,
        4_000,
        "each chunk is delivered or counted as missed"
    );
    let seqs: Vec<u64> = messages
        .iter()
        .filter_map(|event| event["seq"].as_u64())
        .collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "no event is missed"
    );
}
