//! Guests that misbehave: each gets a clear error, and the server and other runs carry on.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::time::{Duration, Instant};

use heddle_tests::Server;
use serde_json::{Value, json};

fn server() -> Server {
    Server::start_with(&["--call-timeout", "2", "--call-memory", "32"])
}

fn run_of(server: &Server, uses: &str, config: Value) -> Value {
    let graph = server.create(&json!({"nodes": {"bad": {"uses": uses, "config": config}}}));
    server.run(&graph, &json!({}))
}

#[test]
fn every_bad_guest_fails_its_step_with_a_clear_error() {
    let server = server();
    for (uses, config, code, words) in [
        ("hostile/spin", json!(null), "timeout", "2 s"),
        ("hostile/sleep", json!({"ms": 60_000}), "timeout", "2 s"),
        ("hostile/hog", json!(null), "limit", "32"),
        ("hostile/panic", json!(null), "trap", "panics on purpose"),
        ("hostile/trap", json!(null), "trap", "unreachable"),
        ("hostile/recurse", json!(null), "trap", "nest without an end"),
        ("hostile/exit", json!(null), "trap", "exit"),
        ("hostile/fail-permanent", json!(null), "permanent", ""),
        ("hostile/fail-retryable", json!(null), "retryable", ""),
        ("hostile/big", json!({"bytes": 30_000_000}), "limit", ""),
        (
            "hostile/wander",
            json!({"to": ["nowhere"]}),
            "invalid_outcome",
            "nowhere",
        ),
    ] {
        let run = run_of(&server, uses, config);
        assert_eq!(run["status"], "failed", "{uses}: {run}");
        let error = &run["error"];
        assert_eq!(error["code"], code, "{uses}: {error}");
        assert_eq!(
            (&error["node"], &error["step"]),
            (&json!("bad"), &json!(1)),
            "{uses}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{uses}: {error}"
        );
        assert!(
            !error["message"].as_str().unwrap().contains("wasm backtrace"),
            "{uses}: {error}"
        );
    }
    assert_eq!(
        run_of(&server, "bench/touch", json!({"key": "k"}))["status"],
        "finished"
    );
}

#[test]
fn answers_that_are_not_what_they_should_be_are_named() {
    let server = server();
    let plugins = server.get("/v1/plugins/raw").ok();
    let functions = plugins["versions"][0]["functions"]
        .as_array()
        .or(plugins["functions"].as_array())
        .unwrap()
        .clone();
    let mut failed = 0;
    for function in functions {
        let run = run_of(
            &server,
            &format!("raw/{}", function["name"].as_str().unwrap()),
            json!(null),
        );
        if run["status"] == "failed" {
            failed += 1;
            assert_eq!(run["error"]["code"], "invalid_outcome", "{run}");
        }
    }
    assert!(failed >= 2, "invalid JSON and an array are refused");
}

#[test]
fn megabytes_of_logs_are_cut_with_a_line_that_says_so() {
    let server = server();
    let run = run_of(&server, "hostile/flood", json!(null));
    assert_eq!(run["status"], "finished", "{}", run["error"]);
    let (events, _) = server.watch(run["run_id"].as_str().unwrap(), "");
    let lines: Vec<&Value> = events.iter().filter(|event| event["type"] == "log").collect();
    let bytes: usize = lines
        .iter()
        .map(|line| line["message"].as_str().unwrap().len())
        .sum();
    assert!(bytes < 1 << 20, "{bytes} bytes of logs were kept");
    assert!(
        lines.last().unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("limit"),
        "{:?}",
        lines.last()
    );
}

#[test]
fn what_a_guest_writes_becomes_log_events_with_node_step_and_level() {
    let server = server();
    let run = run_of(&server, "hostile/say", json!(null));
    let logs: Vec<&Value> = run["logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "log")
        .collect();
    assert!(
        logs.iter().all(|line| line["node"] == "bad" && line["step"] == 1),
        "{logs:?}"
    );
    for level in ["info", "warn", "error"] {
        assert!(
            logs.iter().any(|line| line["level"] == level),
            "{level}: {logs:?}"
        );
    }
}

#[test]
fn a_function_can_do_nothing_that_it_was_not_granted_and_repeats_bit_for_bit() {
    let server = server();
    let graph = server.create(&json!({"nodes": {"bad": {"uses": "hostile/clock"}}}));
    let first = server.run(&graph, &json!({}));
    assert_eq!(first["status"], "finished", "{}", first["error"]);
    let told = first["state"].to_string();
    assert!(
        !told.contains(env!("CARGO_MANIFEST_DIR")),
        "no environment: {told}"
    );
}

#[test]
fn endless_loops_do_not_harm_the_latency_of_others() {
    let server = Server::start_with(&["--call-timeout", "5"]);
    let spin = server.create(&json!({"nodes": {"bad": {"uses": "hostile/spin"}}}));
    let good = server.create_file("plugins/bench/w1.json");
    let spinning: Vec<String> = (0..8).map(|_| server.start_run(&spin, &json!({}))).collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let began = Instant::now();
        let run = server.post("/v1/runs?wait=30s", &json!({"graph": good}));
        assert_eq!(run.json()["status"], "finished");
        slowest = slowest.max(began.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(4),
        "a run beside endless loops took {slowest:?}"
    );
    for run in spinning {
        assert_eq!(server.wait(&run)["error"]["code"], "timeout");
    }
}
