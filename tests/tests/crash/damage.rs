//! A damaged store: damaged runs stop and are reported; all others continue.

use std::path::Path;

use heddle_tests::Server;
use serde_json::{Value, json};

/// A graph with a long wait, so that its runs are active when the server restarts.
fn waiting(server: &Server) -> String {
    server.create(&json!({
        "start": "note",
        "nodes": {
            "note": {"uses": "bench/echo", "input": {"note": "state.note"}, "output": "noted"},
            "ask": {"wait": {"signal": "go"}, "output": "went"},
        },
        "edges": {"note": "ask"},
    }))
}

/// Overwrites all occurrences of a text in the file with a text of the same length.
fn overwrite(path: &Path, text: &str) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let found: Vec<usize> = bytes
        .windows(text.len())
        .enumerate()
        .filter(|(_, window)| *window == text.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in &found {
        bytes[*at..at + text.len()].fill(b'#');
    }
    std::fs::write(path, bytes).unwrap();
    found.len()
}

#[test]
fn a_run_with_damaged_events_is_named_and_all_others_continue() {
    let mut server = Server::start();
    let graph = waiting(&server);
    let slow = server.create(&json!({
        "nodes": {"s": {"uses": "hostile/sleep", "config": {"ms": 2_000}}, "t": {"uses": "bench/touch", "config": {"key": "t"}}},
        "edges": {"s": "t"},
    }));
    let note = |number: usize| format!("the-note-of-run-{number}");
    let runs: Vec<String> = (0..5)
        .map(|number| server.start_run(&graph, &json!({"note": note(number)})))
        .collect();
    let sleepers: Vec<String> = (0..3)
        .map(|number| server.start_run(&slow, &json!({"note": format!("asleep-{number}")})))
        .collect();
    for run in &runs {
        while server.get(&format!("/v1/runs/{run}")).ok()["status"] != "waiting" {}
    }
    let over = server.run(
        &server.create(&json!({"nodes": {"t": {"uses": "bench/touch", "config": {"key": "t"}}}})),
        &json!({}),
    );
    // A stop copies the write-ahead log into the file.
    assert_eq!(server.stop("TERM").0, Some(0));
    let file = server.folder().join("heddle.db");
    assert!(overwrite(&file, &note(2)) > 0, "the run's events are in the file");
    assert!(overwrite(&file, "asleep-1") > 0);

    let server = server.restart();
    // Active runs are loaded when the server starts. It reports the damaged one with the problem.
    let log = server.log.lock().unwrap().clone();
    let line = log
        .lines()
        .find(|line| line.contains(&sleepers[1]) && line.contains("ERROR"));
    assert!(line.is_some_and(|line| line.contains("damaged")), "{log}");
    for damaged in [&runs[2], &sleepers[1]] {
        let problem = server.get(&format!("/v1/runs/{damaged}")).problem(500);
        assert!(
            problem["detail"].as_str().unwrap().contains(damaged.as_str()),
            "{problem}"
        );
        let signal = server.post(&format!("/v1/runs/{damaged}/signal"), &json!({"name": "go"}));
        let problem = signal.problem(500);
        assert!(
            problem["detail"].as_str().unwrap().contains(damaged.as_str()),
            "{problem}"
        );
    }
    for (number, run) in runs.iter().enumerate().filter(|(number, _)| *number != 2) {
        server
            .post(
                &format!("/v1/runs/{run}/signal"),
                &json!({"name": "go", "payload": number}),
            )
            .ok();
        let end = server.wait(run);
        assert_eq!(end["status"], "finished");
        assert_eq!(
            (&end["state"]["went"], &end["state"]["note"]),
            (&json!(number), &Value::from(note(number)))
        );
    }
    for run in [&sleepers[0], &sleepers[2]] {
        assert_eq!(server.wait(run)["state"]["t"], 1);
    }
    // Ended runs can be read, lists contain all runs, and new runs start.
    let known = server
        .get(&format!("/graph/state/{}", over["run_id"].as_str().unwrap()))
        .ok();
    assert_eq!(known["state"], over["state"]);
    let listed = server.get("/v1/runs").ok();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 9);
    let new = server.start_run(&graph, &json!({"note": "new"}));
    server
        .post(
            &format!("/v1/runs/{new}/signal"),
            &json!({"name": "go", "payload": 1}),
        )
        .ok();
    assert_eq!(server.wait(&new)["status"], "finished");
}
