//! Plugins in every language with an SDK, in graphs with each other, in the real binary.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{cell::RefCell, process::Command, sync::Once, thread};

use heddle_tests::{Server, ServerConfig, component, repository, wait_for_event};
use serde_json::{Value, json};

/// The languages besides Rust, each with a plugin that uses all features.
const LANGUAGES: [&str; 3] = ["python", "js", "c"];

/// A server with all plugins in other languages than Rust.
fn server() -> Server {
    // The large components compile slowly; the servers of the tests share the cache.
    static COMPILED: Once = Once::new();
    COMPILED.call_once(|| drop(Server::start_with_config(config())));
    Server::start_with_config(config())
}

fn config() -> ServerConfig {
    let config = ServerConfig::default();
    let plugins = config.folder().join("plugins");
    for name in [
        "measure",
        "report",
        "histogram",
        "probe-python",
        "probe-js",
        "probe-c",
    ] {
        let file = component(&format!("languages/{name}"));
        std::fs::copy(file, plugins.join(format!("{name}.wasm"))).unwrap();
    }
    config
}

/// Calls a tool. Returns its output or its failure.
fn call(server: &Server, tool: &str, input: &Value) -> Result<Value, Value> {
    let answer = server.post(&format!("/v1/tools/{tool}/call"), input).json();
    match answer.get("output") {
        Some(output) => Ok(output.clone()),
        None => Err(answer["failure"].clone()),
    }
}

/// The failure of a tool's call.
fn failure(server: &Server, tool: &str, input: &Value) -> Value {
    call(server, tool, input).expect_err("it fails")
}

#[test]
fn one_graph_runs_functions_in_four_languages() {
    let server = server();
    let graph = server.create_file("plugins/report/graph.json");
    let text = "We sold 3, 4, 5.5, 3, 4, 6, 7 and once 92 looms on 5 March 2024.";
    let run = server.run(&graph, &json!({"input": text}));
    assert_eq!(run["status"], "finished", "{}", run["error"]);
    let state = &run["state"];
    // Computed by hand: 3 3 4 4 5.5 6 7 92 sum to 124.5; the median is (4 + 5.5) / 2.
    let statistics = &state["statistics"];
    assert_eq!(
        (&statistics["count"], &statistics["sum"], &statistics["median"]),
        (&json!(8), &json!(124.5), &json!(4.75))
    );
    assert_eq!(statistics["outliers"], json!([92.0]));
    // Five bins of 17.8 each; the checksum is zlib's of the numbers as little-endian doubles.
    assert_eq!(
        state["histogram"],
        json!({"low": 3, "width": 17.8, "counts": [7, 0, 0, 0, 1], "checksum": "1bd3f153"})
    );
    let report = state["report"].as_str().unwrap();
    assert!(
        report
            .starts_with("8 numbers from 3 to 92, 4.75 in the middle.\n     3.0 | #################### 7\n"),
        "{report}"
    );
    assert!(report.ends_with("92 stands out.\n"), "{report}");
}

#[test]
fn the_state_passes_through_every_language_and_each_logs_and_emits() {
    let server = server();
    let graph = server.create(&json!({
        "nodes": {
            "go": {"wait": {"signal": "go"}},
            "rust": {"uses": "basics/set", "config": {"path": ["rust"]}},
            "python": {"uses": "probe-python/pass_python", "config": {"say": "one"}},
            "js": {"uses": "probe-js/pass_js", "config": {"say": "two"}},
            "c": {"uses": "probe-c/pass_c", "config": {"say": "three"}},
        },
        "edges": {"go": "rust", "rust": "python", "python": "js", "js": "c", "c": "end"},
    }));
    let run = server.start_run(&graph, &json!({}));
    // Only watchers get chunks, so the run waits until there is one.
    let seen = RefCell::new(Vec::new());
    wait_for_event(&format!("ws://{}/ws/logs/{run}", server.address), |event| {
        if seen.borrow().is_empty() {
            server
                .post(&format!("/v1/runs/{run}/signal"), &json!({"name": "go"}))
                .ok();
        }
        seen.borrow_mut().push(event.clone());
        event["type"] == "run_finished"
    });
    let seen = seen.into_inner();
    let chunks: Vec<&Value> = seen
        .iter()
        .filter(|event| event["type"] == "chunk")
        .map(|event| &event["data"])
        .collect();
    let chunk = |language: &str, step: u64| json!({"chunk": language, "step": step});
    assert_eq!(chunks, [&chunk("python", 3), &chunk("js", 4), &chunk("c", 5)]);
    let lines: Vec<(&str, &str)> = seen
        .iter()
        .filter(|event| event["type"] == "log")
        .map(|event| {
            (
                event["level"].as_str().unwrap(),
                event["message"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("info", "python logs: one"),
            ("warn", "python logging: python"),
            ("info", "python prints"),
            ("info", "js logs: two"),
            ("warn", r#"js console: js {"attempt":1}"#),
            ("info", "c logs: three"),
            ("info", "c prints"),
            ("warn", "c warns"),
        ]
    );
    let state = server.get(&format!("/graph/state/{run}")).ok()["state"].clone();
    assert_eq!(state["path"], json!(["rust", "python", "js", "c"]));
}

#[test]
fn failures_of_each_kind_come_out_of_each_language_as_they_went_in() {
    let server = server();
    for language in LANGUAGES {
        let tool = format!("probe-{language}/fail_{language}");
        for how in ["retryable", "permanent", "invalid_input"] {
            let failure = failure(&server, &tool, &json!({"how": how}));
            assert_eq!(failure["kind"], how, "{failure}");
            assert_eq!(failure["message"], format!("{language} fails: {how}"));
            assert!(failure["data"].is_object(), "{failure}");
        }
    }
    // An unexpected error is permanent and reported with its position.
    let broken = json!({"how": "broken"});
    let python = failure(&server, "probe-python/fail_python", &broken);
    assert_eq!(
        (&python["kind"], &python["message"]),
        (&json!("permanent"), &json!("KeyError: 'nothing' (app.py:25)"))
    );
    let js = failure(&server, "probe-js/fail_js", &broken);
    assert_eq!(js["kind"], "permanent");
    assert_eq!(js["message"], "TypeError: cannot read property 'at' of undefined");
    assert_eq!(failure(&server, "probe-c/fail_c", &broken)["kind"], "trap");
}

#[test]
fn tools_are_called_from_each_language_in_each() {
    let server = server();
    // Every language calls a tool in Rust.
    let text = json!({"text": "One loom. Two looms."});
    let expected = call(&server, "starter/reading_ease", &text).unwrap();
    for language in LANGUAGES {
        let tool = format!("probe-{language}/call_{language}");
        let answer = call(
            &server,
            &tool,
            &json!({"tool": "starter/reading_ease", "input": text}),
        )
        .unwrap();
        assert_eq!(answer, json!({"from": language, "answer": expected}));
    }
    // Every language calls every other, also with a failure that keeps its kind and data.
    let mut input = json!({"tool": "probe-python/fail_python", "input": {"how": "retryable"}});
    for language in LANGUAGES {
        input = json!({"tool": format!("probe-{language}/call_{language}"), "input": input});
    }
    let outermost = input["tool"].as_str().unwrap();
    let failed = failure(&server, outermost, &input["input"]);
    assert_eq!(
        (&failed["kind"], &failed["data"]),
        (&json!("retryable"), &json!({"how": "retryable"}))
    );
    // Also from a node function in Rust.
    let graph = server.create(&json!({"nodes": {
        "call": {"uses": "hostile/call", "config": {"tool": "probe-python/call_python", "input": {
            "tool": "probe-js/call_js", "input": {"tool": "probe-c/copy_c", "input": {"value": [1, "ü"]}}}}},
    }}));
    let run = server.run(&graph, &json!({}));
    assert_eq!(run["status"], "finished", "{}", run["error"]);
    let in_c = json!({"value": [1, "ü"]});
    assert_eq!(
        run["state"]["answer"],
        json!({"from": "python", "answer": {"from": "js", "answer": in_c}})
    );
}

#[test]
fn a_node_in_each_language_routes_the_run() {
    let server = server();
    for language in LANGUAGES {
        let graph = server.create(&json!({
            "nodes": {
                "route": {"uses": format!("probe-{language}/route_{language}")},
                "left": {"uses": "basics/set", "config": {"was": "left"}},
                "right": {"uses": "basics/set", "config": {"was": "right"}},
            },
            "edges": {"route": "right", "left": "end", "right": "end"},
        }));
        let left = server.run(&graph, &json!({"to": "left"}));
        assert_eq!(
            left["state"],
            json!({"to": "left", "went": "left", "was": "left"}),
            "{}",
            left["error"]
        );
        let end = server.run(&graph, &json!({"to": "end"}));
        assert_eq!(
            end["state"],
            json!({"to": "end", "went": "end"}),
            "{}",
            end["error"]
        );
    }
}

#[test]
fn c_reads_and_writes_json_of_every_form() {
    let server = server();
    let forms = json!({"value": [
        1, -2.5, 1e300, 1e-7, 0.1, 123456789012_i64, true, false, null, "", "a\"\\/\u{8}\u{c}\n\r\t\u{1}", "é😀\u{7f}",
        [], [[]], [[1, 2], [3]], {}, {"a": [{"b": "]}"}], "": 1},
    ]});
    assert_eq!(call(&server, "probe-c/copy_c", &forms).unwrap(), forms);
}

#[test]
fn many_calls_of_an_interpreter_run_concurrently() {
    let server = server();
    let numbers: Vec<u32> = (1..=1000).collect();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    call(
                        &server,
                        "measure/outliers",
                        &json!({"numbers": numbers, "limit": 1.0}),
                    )
                })
            })
            .collect();
        // The median is 500.5 and the median deviation 250: numbers with a distance of 371 or more are outliers.
        let expected: Vec<f64> = numbers
            .iter()
            .map(|&number| f64::from(number))
            .filter(|number| 0.6745 * (number - 500.5).abs() > 250.0)
            .collect();
        for call in calls {
            assert_eq!(call.join().unwrap().unwrap(), json!(expected));
        }
    });
}

/// Runs tests in another language and shows their output on failure.
fn own_tests(program: &str, words: &[&str], folder: &str) {
    let folder = repository().join(folder);
    let mut tests = Command::new(program);
    tests
        .args(words)
        .current_dir(&folder)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    tests.env("PYTHONPATH", repository().join("plugins/sdk-python"));
    let output = tests
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let printed = [&output.stdout[..], &output.stderr].concat();
    assert!(
        output.status.success(),
        "{}: {}",
        folder.display(),
        String::from_utf8_lossy(&printed)
    );
}

#[test]
fn the_sdks_and_samples_are_tested_without_a_component() {
    own_tests("python3", &["-m", "unittest"], "plugins/sdk-python");
    own_tests("python3", &["-m", "unittest"], "plugins/measure");
    own_tests("node", &["--test"], "plugins/sdk-js");
}
