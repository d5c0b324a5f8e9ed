//! Acknowledged runs finish after a kill, and a stop is graceful.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Server, TIMEOUT, component, heddle};
use serde_json::{Value, json};

/// A slow graph with `sleep`s between two keys, so that a kill interrupts its runs.
fn slow(server: &Server) -> String {
    let touch = |key: &str| json!({"uses": "bench/touch", "config": {"key": key}});
    let sleep = json!({"uses": "hostile/sleep", "config": {"ms": 600}});
    server.create(&json!({
        "start": "a",
        "nodes": {"a": touch("a"), "s1": sleep, "b": touch("b"), "s2": sleep, "count": {"uses": "bench/count", "config": {"until": 20}}, "even": touch("even"), "odd": touch("odd")},
        "edges": {"a": "s1", "s1": "b", "b": "s2", "s2": "count", "even": "end", "odd": "end"},
    }))
}

/// Checks that event numbers have no gaps and every step ends once.
fn sound(events: &[Value]) {
    let mut finished = std::collections::BTreeSet::new();
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1, "a gap or a repeat: {events:?}");
        if event["type"] == "step_finished" {
            let step = event["step"].as_u64().expect("an outcome names its step");
            assert!(finished.insert(step), "the outcome of step {step} came twice");
        }
    }
    let last = finished.last().copied().unwrap_or_default();
    assert_eq!(
        finished.len() as u64,
        last,
        "the outcome of a step is missing: {finished:?}"
    );
}

#[test]
fn every_acknowledged_run_finishes_after_kills() {
    let mut server = Server::start();
    let graph = slow(&server);
    let mut runs = Vec::new();
    for _ in 0..3 {
        for _ in 0..40 {
            runs.push(server.start_run(&graph, &json!({})));
        }
        // The latest runs have just started: their calls are active.
        server.kill();
        server = server.restart();
    }
    let mut taken_up = 0;
    for run in &runs {
        let state = server.wait(run);
        assert_eq!(state["status"], "finished", "{state}");
        assert_eq!(
            (&state["state"]["n"], &state["state"]["even"].is_null()),
            (&json!(20), &false)
        );
        let events = state["logs"].as_array().unwrap();
        sound(events);
        taken_up += usize::from(events.iter().any(|event| event["attempt"].as_u64() > Some(1)));
    }
    assert!(taken_up > 0, "no kill came in the middle of a run");
}

/// A graph with everything that a power failure can interrupt: branches of a fork, items of a map, a nested graph, a
/// sleep, a pending retry, and a wait for a signal at the end.
fn everything(server: &Server) -> String {
    let basics = std::fs::read(component("basics")).unwrap();
    server
        .post_with("/v1/plugins", &basics, &[("content-type", "application/wasm")])
        .ok();
    let touch = |key: &str| json!({"uses": "bench/touch", "config": {"key": key}});
    let slow = |ms: u32| json!({"uses": "hostile/sleep", "config": {"ms": ms}});
    server.create(&json!({
        "name": "inner", "start": "x",
        "nodes": {"x": slow(60), "y": touch("y")}, "edges": {"x": "y"},
    }));
    server.create(&json!({
        "start": "a",
        "nodes": {
            "a": touch("a"),
            "arm": slow(80),
            "each": {"map": {"over": "[1, 2, 3, 4, 5, 6]", "as": "text", "uses": "bench/echo", "at_once": 2, "into": "items"}},
            "inner": {"graph": "inner", "input": {}, "output": "inner"},
            "nap": {"sleep": "120ms"},
            "flaky": {"uses": "basics/fail", "config": {"kind": "retryable", "times": 1}, "retry": {"attempts": 9, "backoff": "90ms"}},
            "log": {"uses": "basics/set", "config": {"steps": ["log"]}},
            "join": {"uses": "basics/set", "config": {"steps": ["join"]}},
            "ask": {"wait": {"signal": "go"}, "output": "went"},
        },
        "edges": {
            "a": ["arm", "each", "inner", "nap", "flaky"],
            "arm": "log", "log": "join", "each": "join", "inner": "join", "nap": "join", "flaky": "join",
            "join": "ask",
        },
        "state": {"steps": {"merge": "append"}},
    }))
}

#[test]
fn branches_maps_graphs_sleeps_retries_and_signals_survive_kills() {
    let mut server = Server::start();
    let graph = everything(&server);
    let mut runs = Vec::new();
    for round in 0..4 {
        for _ in 0..25 {
            let run = server.start_run(&graph, &json!({}));
            // An acknowledged signal counts, whenever it arrived.
            server
                .post(
                    &format!("/v1/runs/{run}/signal"),
                    &json!({"name": "go", "payload": round}),
                )
                .ok();
            runs.push((run, round));
        }
        server.kill();
        server = server.restart();
    }
    let mut taken_up = 0;
    for (run, round) in &runs {
        let state = server.wait(run);
        assert_eq!(state["status"], "finished", "{state}");
        let items: Vec<Value> = (1..=6).map(|item| json!({"text": item})).collect();
        assert_eq!(
            state["state"],
            json!({
                "a": 1, "slept_ms": 80, "inner": {"slept_ms": 60, "y": 1}, "items": items, "steps": ["log", "join"],
                "went": round,
            }),
        );
        let events = state["logs"].as_array().unwrap();
        let mut over = std::collections::HashSet::new();
        for (position, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], position + 1, "a gap or a repeat: {events:?}");
            if event["type"] == "step_finished" || event["type"] == "item_finished" {
                assert!(
                    over.insert(event["step"].as_u64()),
                    "a step has two outcomes: {events:?}"
                );
            }
        }
        taken_up += usize::from(events.iter().any(|event| {
            // The flaky step needs a second attempt in any case.
            event["attempt"].as_u64() > Some(1) && event["node"] != "flaky"
        }));
        // Eight visits in the graph, one wait, two visits in the nested graph, six items.
        assert_eq!(over.len(), 17, "{events:?}");
    }
    assert!(taken_up > 0, "no kill came in the middle of a call");
}

#[test]
fn a_watcher_that_reconnects_after_a_kill_gets_each_event_once() {
    let mut server = Server::start();
    let graph = slow(&server);
    let run = server.start_run(&graph, &json!({}));
    let before = server.get(&format!("/v1/runs/{run}/events")).ok();
    let mut seen: Vec<Value> = before["events"].as_array().unwrap().clone();
    assert!(!seen.is_empty());
    server.kill();
    let server = server.restart();
    let (rest, close) = server.watch(&run, &format!("?after={}", seen.len()));
    assert_eq!(close.0, 1000);
    seen.extend(rest);
    sound(&seen);
    assert_eq!(seen, server.watch(&run, "").0);
}

#[test]
fn a_stop_is_graceful_and_the_run_continues_after_the_next_start() {
    let mut server = Server::start();
    // The call is active when the server stops; the wait keeps the run from ending before.
    let graph = server.create(&json!({
        "nodes": {
            "f": {"uses": "bench/touch", "config": {"key": "f"}},
            "s": {"uses": "hostile/sleep", "config": {"ms": 400}},
            "w": {"wait": {"signal": "go"}},
            "t": {"uses": "bench/touch", "config": {"key": "t"}},
        },
        "edges": {"f": ["s", "w"], "s": "t", "w": "t"},
    }));
    let run = server.start_run(&graph, &json!({}));
    let url = format!("ws://{}/ws/logs/{run}", server.address);
    let (connected, watching) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(heddle_tests::watch_and(&url, |event| {
            // The test may have continued already.
            let _ = connected.send(event["seq"].clone());
        }))
    });
    watching.recv_timeout(TIMEOUT).expect("the watcher gets an event");
    let (code, took) = server.stop("TERM");
    assert_eq!(code, Some(0));
    assert!(took < TIMEOUT, "it took {took:?}");
    let (_, (close, _)) = watcher.join().unwrap();
    assert!([1012, 1001].contains(&close), "the socket closed with {close}");
    let server = server.restart();
    let sent = server.post(&format!("/v1/runs/{run}/signal"), &json!({"name": "go"}));
    assert!(sent.status < 300, "{sent:?}");
    let state = server.wait(&run);
    assert_eq!(state["status"], "finished");
    sound(state["logs"].as_array().unwrap());
}

#[test]
fn ctrl_c_stops_it_as_well() {
    let mut server = Server::start();
    assert_eq!(server.stop("INT").0, Some(0));
}

#[test]
fn thousands_of_runs_of_real_components_are_active_at_once() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w1.json");
    let start = || {
        (0..125)
            .map(|_| server.start_run(&graph, &json!({})))
            .collect::<Vec<_>>()
    };
    let runs: Vec<String> = std::thread::scope(|scope| {
        let starters: Vec<_> = (0..16).map(|_| scope.spawn(start)).collect();
        starters
            .into_iter()
            .flat_map(|starter| starter.join().unwrap())
            .collect()
    });
    assert_eq!(runs.len(), 2_000);
    for run in &runs {
        let mut state = server.get(&format!("/v1/runs/{run}")).ok();
        if state["status"] == "running" {
            server.wait(run);
            state = server.get(&format!("/v1/runs/{run}")).ok();
        }
        assert_eq!(
            (&state["status"], &state["state"]["k9"]),
            (&json!("finished"), &json!(1))
        );
    }
}

#[test]
fn a_run_keeps_the_plugin_version_that_it_started_with() {
    let mut server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"s": {"uses": "hostile/sleep", "config": {"ms": 300}}, "t": {"uses": "bench/touch", "config": {"key": "t"}}},
        "edges": {"s": "t"},
    }));
    let run = server.start_run(&graph, &json!({}));
    server.kill();
    std::fs::remove_file(server.folder().join("plugins/bench.wasm")).unwrap();
    std::fs::remove_file(server.folder().join("plugins/hostile.wasm")).unwrap();
    let server = server.restart();
    assert!(!server.get("/v1/plugins").text.contains("\"bench\""));
    assert_eq!(
        server.wait(&run)["status"],
        "finished",
        "the store kept what the run needs"
    );
    // The graph keeps its function versions; created again, it would need a missing one.
    assert_eq!(server.run(&graph, &json!({}))["status"], "finished");
    let definition = server.get(&format!("/v1/graphs/{graph}")).ok()["definition"].clone();
    let problem = server.post("/graph/create", &definition).problem(422);
    assert!(
        problem["detail"].as_str().unwrap().contains("hostile/sleep"),
        "{problem}"
    );
}

#[test]
fn a_second_server_on_the_same_store_is_refused() {
    let server = Server::start();
    let store = format!("sqlite:{}", server.folder().join("heddle.db").display());
    let output = std::process::Command::new(heddle())
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &store])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("heddle.db"), "{stderr}");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn an_invalid_start_prints_advice() {
    let output = |arguments: &[&str]| {
        let output = std::process::Command::new(heddle())
            .arg("serve")
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(output(&["--store", "mysql:x"]).contains("sqlite:PATH"));
    assert!(output(&["--store", "sqlite:/no/such/folder/x.db"]).contains("/no/such/folder"));
    let folder = tempfile::TempDir::new().unwrap();
    let store = format!("sqlite:{}", folder.path().join("h.db").display());
    assert!(output(&["--store", &store, "--plugins", "/no/such/plugins"]).contains("/no/such/plugins"));
    assert!(output(&["--store", &store, "--listen", "nonsense"]).contains("ADDRESS:PORT"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(output(&["--store", &store, "--listen", &address]).contains(&address));
}
