//! Misbehaving guests: each gets a clear error, and the server and other runs continue.
#![allow(clippy::unwrap_used)] // a test may panic

use std::time::{Duration, Instant};

use heddle_tests::{Server, ServerConfig, component};
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
        ("hostile/recurse", json!(null), "trap", "unbounded recursion"),
        ("hostile/exit", json!(null), "permanent", "exited with status 1"),
        ("hostile/fail-permanent", json!(null), "permanent", ""),
        ("hostile/fail-retryable", json!(null), "retryable", ""),
        ("hostile/big", json!({"bytes": 30_000_000}), "limit", ""),
        ("hostile/handles", json!(null), "limit", "10000 (handles)"),
        (
            "hostile/chunks",
            json!({"count": 100_000, "bytes": 1000}),
            "limit",
            "4 MiB (emit",
        ),
        ("hostile/call", json!({"tool": "stall"}), "timeout", "2 s"),
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
fn unexpected_responses_are_reported() {
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
fn megabytes_of_logs_end_the_step_and_earlier_lines_are_kept() {
    let server = server();
    let run = run_of(&server, "hostile/flood", json!(null));
    assert_eq!(run["status"], "failed", "{run}");
    assert_eq!(run["error"]["code"], "limit");
    assert_eq!(
        run["error"]["message"],
        "`hostile/flood` logged more than its limit of 256 KiB (log, the server's default)"
    );
    let (events, _) = server.watch(run["run_id"].as_str().unwrap(), "");
    let lines = events.iter().filter(|event| event["type"] == "log");
    let bytes: usize = lines.map(|line| line["message"].as_str().unwrap().len()).sum();
    assert!(
        (200 << 10..=256 << 10).contains(&bytes),
        "{bytes} bytes of logs were kept"
    );
}

#[test]
fn a_node_narrows_its_limits_and_wrong_ones_are_found_at_creation() {
    let server = server();
    let graph = |limits: Value| json!({"nodes": {"a": {"uses": "hostile/spin", "limits": limits}}});
    let refused = server
        .post("/v1/graphs", &graph(json!({"memory": "lots", "speed": 1})))
        .problem(422);
    let places: Vec<&Value> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["pointer"])
        .collect();
    assert_eq!(
        places,
        ["/nodes/a/limits/memory", "/nodes/a/limits/speed"],
        "{refused}"
    );
    let fuel = server.create(&graph(json!({"fuel": 1_000_000})));
    let run = server.run(&fuel, &json!({}));
    assert_eq!(
        run["error"]["message"],
        "`hostile/spin` computed more than its limit of 1000000 (fuel, set by the node)"
    );
    // Each item of a map is a separate call.
    let map = server.create(&json!({
        "nodes": {"each": {
            "map": {"over": "[1, 2]", "uses": "hostile/nest", "into": "all", "on_item_error": "collect"},
            "input": {"depth": "item"}, "limits": {"fuel": 1000}
        }}
    }));
    let run = server.run(&map, &json!({}));
    for item in run["state"]["all"].as_array().unwrap() {
        let message = item["error"]["message"].as_str().unwrap();
        assert!(message.contains("1000 (fuel, set by the node)"), "{message}");
    }
}

#[test]
fn output_of_a_guest_becomes_log_events_with_node_step_and_level() {
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
fn a_function_without_grants_is_confined_and_repeats_bit_for_bit() {
    let server = server();
    let graph = server.create(&json!({"nodes": {"bad": {"uses": "hostile/clock"}}}));
    let first = server.run(&graph, &json!({}));
    assert_eq!(first["status"], "finished", "{}", first["error"]);
    let message = first["state"].to_string();
    assert!(
        !message.contains(env!("CARGO_MANIFEST_DIR")),
        "no environment: {message}"
    );
}

/// The attacks. Each would take over the machine without limits.
fn attacks(silent: &str) -> Vec<(&'static str, Value, &'static str)> {
    let call = |tool: &str, input: Value| json!({"tool": tool, "input": input});
    vec![
        ("hostile/spin", json!(null), "timeout"),
        ("hostile/spin", json!(null), "timeout"),
        ("hostile/call", call("stall", json!({})), "timeout"),
        ("hostile/sleep", json!({"ms": 600_000}), "timeout"),
        (
            "hostile/call",
            call("http/request", json!({"url": silent})),
            "timeout",
        ),
        ("hostile/hog", json!(null), "limit"),
        ("hostile/flood", json!(null), "limit"),
        (
            "hostile/chunks",
            json!({"count": 100_000, "bytes": 1000}),
            "limit",
        ),
        ("hostile/big", json!({"bytes": 30_000_000}), "limit"),
        ("hostile/handles", json!(null), "limit"),
        ("hostile/recurse", json!(null), "trap"),
        ("hostile/panic", json!(null), "trap"),
    ]
}

/// The durations of some runs of ordinary functions.
fn times(server: &Server, graph: &str, count: usize) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            let run = server.post("/v1/runs?wait=30s", &json!({"graph": graph}));
            assert_eq!(run.json()["status"], "finished");
            began.elapsed()
        })
        .collect();
    times.sort();
    times
}

#[test]
fn other_clients_are_served_during_all_attacks() {
    // It accepts connections and never responds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = format!("http://{}", silent.local_addr().unwrap());
    let policy = tempfile::NamedTempFile::new().unwrap();
    let granted = json!({"plugins": {"http": {"http": [silent_at]}}});
    std::fs::write(policy.path(), granted.to_string()).unwrap();
    let mut config = ServerConfig::default();
    std::fs::copy(component("http"), config.folder().join("plugins/http.wasm")).unwrap();
    let policy = policy.path().to_str().unwrap();
    let arguments = ["--call-timeout", "20", "--call-memory", "32", "--policy", policy];
    config.arguments.extend(arguments.map(str::to_owned));
    let server = Server::start_with_config(config);
    let good = server.create_file("plugins/bench/w1.json");
    let attacks: Vec<(String, &str, &str)> = attacks(&format!("{silent_at}/"))
        .into_iter()
        .map(|(uses, config, code)| {
            let graph = server.create(&json!({"nodes": {"bad": {"uses": uses, "config": config}}}));
            (graph, uses, code)
        })
        .collect();
    let before = times(&server, &good, 20);
    // Attacks that end immediately are repeated while the others are timed.
    let calm = std::sync::atomic::AtomicBool::new(false);
    let during = std::thread::scope(|scope| {
        let raging: Vec<_> = attacks
            .iter()
            .map(|(graph, uses, code)| {
                let (server, calm) = (&server, &calm);
                scope.spawn(move || {
                    loop {
                        let run = server.run(graph, &json!({}));
                        assert_eq!(run["error"]["code"], *code, "{uses}: {}", run["error"]);
                        if calm.load(std::sync::atomic::Ordering::Relaxed) {
                            break;
                        }
                    }
                })
            })
            .collect();
        let during = times(&server, &good, 20);
        calm.store(true, std::sync::atomic::Ordering::Relaxed);
        raging.into_iter().for_each(|raging| raging.join().unwrap());
        during
    });
    let (median, slowest) = (during[10], during[19]);
    let message = format!("before {:?}, during {median:?}, at most {slowest:?}", before[10]);
    // No run waits for a hostile call to reach its time limit of 20 s.
    assert!(slowest < Duration::from_secs(15), "{message}");
}
