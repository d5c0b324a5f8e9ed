//! JSON from outside: every entry point has the same rules, every value is one line, and numbers keep their digits.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Response, Server, component, stdout};
use serde_json::{Value, json};

/// A number that a double cannot represent.
const BIG: &str = "123456789012345678901";

fn send(server: &Server, path: &str, body: &str) -> Response {
    server.post_with(path, body.as_bytes(), &[("content-type", "application/json")])
}

/// A graph that waits for the signal `go` and stores its payload under `answer`.
fn waits(server: &Server, name: &str) {
    server.create(&json!({"name": name, "nodes": {"ask": {"wait": {"signal": "go"}, "output": "answer"}}}));
}

/// The run id of a response.
fn run_of(answer: Response) -> String {
    answer.ok()["run_id"].as_str().unwrap().to_owned()
}

/// The state of a run as text.
fn state_of(server: &Server, run: &str) -> String {
    let text = server.get(&format!("/v1/runs/{run}")).text;
    let (_, state) = text.split_once("\"state\":").expect("a run has a state");
    let (state, _) = state.split_once(",\"branches\":").unwrap_or((state, ""));
    state.to_owned()
}

#[test]
fn multi_line_json_is_exported_imported_and_watched_in_one_line() {
    let server = Server::start();
    waits(&server, "waits");
    let pretty = "{\n  \"b\": [\r\n    1.50,\t2\n  ]\n}";
    let body = |rest: &str| format!("{{\n \"graph\": \"waits\",\n {rest}\n}}");
    let first = run_of(send(
        &server,
        "/v1/runs",
        &body(&format!("\"state\": {{\"a\": {pretty}}}")),
    ));
    let second = run_of(send(
        &server,
        "/graph/run",
        &format!("{{\"graph_id\": \"waits\", \"initial_state\": {{\"a\": {pretty}}}}}"),
    ));
    let third = run_of(send(
        &server,
        &format!("/v1/runs/{first}/fork"),
        &format!("{{\"step\": 0, \"state\": {{\"forked\": {pretty}}}}}"),
    ));
    let schedule = format!(
        "{{\"name\": \"s\", \"graph\": \"waits\", \"state\": {{\"a\": {pretty}}}, \"when\": {{\"every\": \"1h\"}}}}"
    );
    assert_eq!(send(&server, "/v1/schedules", &schedule).status, 201);
    let fourth = run_of(server.post("/v1/schedules/s/run", &json!({})));
    let elsewhere = Server::start();
    for run in [first, second, third, fourth] {
        let signal = format!("{{\"name\": \"go\", \"payload\": {pretty}}}");
        send(&server, &format!("/v1/runs/{run}/signal"), &signal).ok();
        server.wait(&run);
        let one_line = r#"{"b":[1.50,2]}"#;
        let state = state_of(&server, &run);
        assert!(state.contains(&format!("\"answer\":{one_line}")), "{state}");
        let export = server.get(&format!("/v1/runs/{run}/export")).text;
        for line in export.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        let ndjson = [("content-type", "application/x-ndjson")];
        elsewhere
            .post_with("/v1/runs:import", export.as_bytes(), &ndjson)
            .ok();
        assert_eq!(state_of(&elsewhere, &run), state);
        let watched = stdout(&server.run_command(&["watch", &run, "--json"]));
        let last = server.get(&format!("/v1/runs/{run}")).ok()["last_seq"]
            .as_u64()
            .unwrap();
        assert_eq!(watched.lines().count() as u64, last, "{watched}");
        assert!(watched.contains(one_line), "{watched}");
    }
}

#[test]
fn the_command_sends_and_shows_every_number_as_it_is_written() {
    let server = Server::start();
    let file = |name: &str, text: &str| {
        let file = server.folder().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let tool = component("fixtures/raw-tool").display().to_string();
    stdout(&server.run_command(&["plugin", "add", &tool, "--name", "raw-tool"]));
    let graph = file(
        "graph.yaml",
        &format!(
            "name: numbers\nnodes:\n  ask:\n    wait: {{signal: go}}\n    output: answer\n  give:\n    uses: raw-tool/as-given\n    config: {{big: {BIG}, small: 1.50}}\n    output: given\nedges: {{ask: give}}\n"
        ),
    );
    stdout(&server.run_command(&["graph", "create", &graph]));
    let stored = server.get("/v1/graphs/numbers").text;
    assert!(
        stored.contains(&format!("\"config\":{{\"big\":{BIG},\"small\":1.5}}")),
        "{stored}"
    );

    let state = format!("{{\"a\": {BIG}, \"b\": 1.50}}");
    let run = stdout(&server.run_command(&["run", "numbers", "--state", &state]));
    let run = run.trim();
    let from_file = file("state.json", &format!("{{\n  \"a\": {BIG}\n}}\n"));
    let of_file = stdout(&server.run_command(&["run", "numbers", "--state", &format!("@{from_file}")]));
    assert!(state_of(&server, of_file.trim()).contains(&format!("{{\"a\":{BIG}}}")));
    let edits = format!("{{\"c\": [{BIG}]}}");
    let fork = stdout(&server.run_command(&["fork", run, "--step", "0", "--state", &edits]));
    let fork = fork.trim();
    for run in [run, fork] {
        stdout(&server.run_command(&["signal", run, "go", "--payload", &format!("[{BIG}, 1e2]")]));
        server.wait(run);
        let state = state_of(&server, run);
        assert!(
            state.contains(&format!("\"a\":{BIG},\"answer\":[{BIG},1e2],\"b\":1.50")),
            "{state}"
        );
    }
    assert!(state_of(&server, fork).contains(&format!("\"c\":[{BIG}]")));
    let schedule = [
        "schedule", "create", "often", "numbers", "--every", "1h", "--state", &state,
    ];
    stdout(&server.run_command(&schedule));
    for arguments in [
        vec!["schedule", "show", "often"],
        vec!["show", run],
        vec!["show", run, "--step", "1"],
        vec!["show", run, "--json"],
        vec!["watch", run],
        vec!["watch", run, "--json"],
        vec!["diff", run, "0", "1"],
    ] {
        let shown = stdout(&server.run_command(&arguments));
        assert!(
            shown.contains(BIG) && !shown.contains("e+20"),
            "{arguments:?}: {shown}"
        );
    }
}

#[test]
fn an_invalid_argument_is_refused_before_it_is_sent() {
    let server = Server::start();
    waits(&server, "waits");
    for (state, expected) in [
        (
            "{",
            "--state is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "{\"a\": 1E400}",
            "--state: at /a: the number `1E400` is beyond the range of a double",
        ),
        ("{\"a\": \"\\udc00\"}", "--state: at /a: the string has `\\udc00`"),
        ("[1]", "expected a JSON object, got an array"),
    ] {
        let refused = server.run_command(&["run", "waits", "--state", state]);
        assert!(!refused.status.success());
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// Sends a body and returns the response.
fn status_and_detail(answer: &Response) -> String {
    let detail = match answer.json()["detail"].as_str() {
        Some(detail) => format!(" {detail}"),
        None => String::new(),
    };
    format!("{}{detail}", answer.status)
}

#[test]
fn every_body_is_read_by_the_same_rules() {
    let server = Server::start();
    waits(&server, "waits");
    let run = run_of(server.post("/v1/runs", &json!({"graph": "waits"})));
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    // For each path a body with a placeholder, and where the value is stored.
    for (path, body, pointer) in [
        ("/v1/runs", r#"{"graph": "waits", "state": {"v": $}}"#, "/state/v"),
        (
            "/graph/run",
            r#"{"graph_id": "waits", "input": {"v": $}}"#,
            "/input/v",
        ),
        (
            &format!("/v1/runs/{run}/signal"),
            r#"{"name": "go", "payload": [$]}"#,
            "/payload/0",
        ),
        (
            &format!("/v1/runs/{run}/fork"),
            r#"{"step": 0, "state": {"v": $}}"#,
            "/state/v",
        ),
        (
            "/v1/schedules",
            r#"{"name": "s", "graph": "waits", "when": {"every": "1h"}, "state": {"v": $}}"#,
            "/state/v",
        ),
        ("/v1/tools/raw-tool/as-given/call", r#"{"v": $}"#, "/v"),
        (
            "/v1/graphs",
            r#"{"nodes": {"a": {"uses": "basics/set", "config": {"v": $}}}}"#,
            "/nodes/a/config/v",
        ),
        (
            "/graph/create",
            r#"{"nodes": {"a": {"uses": "basics/set", "config": {"v": $}}}}"#,
            "/nodes/a/config/v",
        ),
    ] {
        for (value, expected) in [
            (
                r#""x\ud800""#,
                "the string has `\\ud800`, half of a surrogate pair",
            ),
            ("1E400", "the number `1E400` is beyond the range of a double"),
            (
                "-1e999999999",
                "the number `-1e999999999` is beyond the range of a double",
            ),
            (r#"{"k": 1, "k": 2}"#, "`k` is given twice"),
        ] {
            let answer = send(&server, path, &body.replace('$', value));
            assert_eq!(answer.status, 422, "{path} {value}: {answer:?}");
            let problem = answer.problem(422);
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.starts_with(pointer) && detail.contains(expected),
                "{path}: {detail}"
            );
            assert!(
                problem["errors"][0]["pointer"]
                    .as_str()
                    .unwrap()
                    .starts_with(pointer)
            );
        }
        let answer = send(&server, path, &body.replace('$', &nested(130)));
        let detail = answer.problem(422)["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("nested deeper than 120 levels"),
            "{path}: {detail}"
        );
        let answer = send(&server, path, &body.replace('$', "NaN"));
        assert!(
            status_and_detail(&answer).starts_with("400 the body is not JSON"),
            "{path}: {answer:?}"
        );
        let answer = send(&server, path, "");
        assert_eq!(
            status_and_detail(&answer),
            "400 the body is empty: send JSON",
            "{path}"
        );
    }
    // Accepted values can be shown, watched and forked, however deep they are.
    let deepest = format!(
        r#"{{"graph": "waits", "state": {{"v": {}, "w": 1e-400}}}}"#,
        nested(118)
    );
    let run = run_of(send(&server, "/v1/runs", &deepest));
    server
        .post(&format!("/v1/runs/{run}/signal"), &json!({"name": "go"}))
        .ok();
    server.wait(&run);
    for arguments in [
        ["show", &run].as_slice(),
        &["watch", &run],
        &["fork", &run, "--step", "0"],
    ] {
        stdout(&server.run_command(arguments));
    }
}

#[test]
fn a_malformed_body_is_refused_with_the_problem_and_its_position() {
    let server = Server::start();
    waits(&server, "waits");
    let run = run_of(server.post("/v1/runs", &json!({"graph": "waits"})));
    let of_run = |what: &str| format!("/v1/runs/{run}/{what}");
    for (path, body, expected) in [
        (
            "/v1/runs",
            r#"["waits", {"a": 1}]"#,
            "422 the body must be a JSON object, got an array",
        ),
        ("/v1/runs", "null", "422 the body must be a JSON object, got null"),
        ("/v1/runs", r#"{"state": {}}"#, "422 `graph` is missing"),
        (
            "/v1/runs",
            r#"{"graph": 7}"#,
            "422 /graph: expected a string, got a number",
        ),
        (
            "/v1/runs",
            r#"{"graph": "waits", "state": []}"#,
            "422 /state: expected a JSON object, got an array",
        ),
        (
            "/v1/runs",
            r#"{"graph": "waits", "priority": 1.5}"#,
            "422 /priority: expected a whole number, got 1.5",
        ),
        (
            "/v1/runs",
            r#"{"graph": "waits", "priority": 99999999999999999999}"#,
            "422 /priority: expected a priority from -100 to 100, got 99999999999999999999",
        ),
        (
            "/v1/runs",
            r#"{"graph": "waits", "priorty": 1}"#,
            "422 /priorty: unknown field; known fields: graph, state, priority",
        ),
        (
            "/graph/run",
            r#"["waits"]"#,
            "422 the body must be a JSON object, got an array",
        ),
        ("/graph/run", "{}", "422 `graph_id` is missing"),
        (
            &of_run("signal"),
            r#"["go"]"#,
            "422 the body must be a JSON object, got an array",
        ),
        (
            &of_run("signal"),
            r#"{"name": ["go"]}"#,
            "422 /name: expected a string, got an array",
        ),
        (
            &of_run("fork"),
            r#"{"step": -1}"#,
            "422 /step: expected a whole number, 0 or more, got -1",
        ),
        (
            &of_run("cancel"),
            r#"["why"]"#,
            "422 the body must be a JSON object, got an array",
        ),
        (
            &of_run("cancel"),
            r#"{"grace": 5}"#,
            "422 /grace: expected a string, got a number",
        ),
        (
            &of_run("pause"),
            r#"{"reason": 1}"#,
            "422 /reason: expected a string, got a number",
        ),
        (
            &of_run("resume"),
            r#"{"now": true}"#,
            "422 /now: unknown field; no fields are expected",
        ),
        (
            "/v1/schedules",
            r#"{"name": "s", "graph": "waits", "when": ["1h"]}"#,
            "422 /when: expected an object, got an array",
        ),
        (
            "/v1/schedules",
            r#"{"name": "s", "graph": "waits", "when": {"evry": "1h"}}"#,
            "422 /when/evry: unknown field; known fields: cron, time_zone, every, from, at",
        ),
    ] {
        assert_eq!(
            status_and_detail(&send(&server, path, body)),
            expected,
            "{path} {body}"
        );
    }
}

#[test]
fn a_body_that_may_be_left_out_may_be_null() {
    let server = Server::start();
    waits(&server, "waits");
    for what in ["pause", "upgrade", "resume", "cancel"] {
        let run = run_of(server.post("/v1/runs", &json!({"graph": "waits"})));
        if what == "resume" {
            server.post(&format!("/v1/runs/{run}/pause"), &json!({})).ok();
        }
        if what == "cancel" {
            let graced = run_of(server.post("/v1/runs", &json!({"graph": "waits"})));
            send(
                &server,
                &format!("/v1/runs/{graced}/cancel"),
                r#"{"grace": null}"#,
            )
            .ok();
        }
        let answer = send(&server, &format!("/v1/runs/{run}/{what}"), " null\n");
        assert_eq!(answer.status, 202, "{what}: {answer:?}");
        // Nothing failed, so there is nothing to retry; the body is not the problem.
        let retried = send(&server, &format!("/v1/runs/{run}/retry"), "null");
        retried.problem(409);
        send(&server, &format!("/v1/runs/{run}/retry"), " \r\n").problem(409);
    }
}

#[test]
fn a_graph_that_does_not_exist_is_not_found_though_a_state_has_its_id() {
    let server = Server::start();
    waits(&server, "waits");
    let id = "0123456789abcdef0123456789abcdef";
    run_of(server.post("/v1/runs", &json!({"graph": "waits", "state": {"text": id}})));
    for id in [id, "text", "waits", "a"] {
        let refused = server.delete(&format!("/v1/graphs/{id}")).problem(404);
        assert_eq!(refused["type"], "urn:heddle:problem:no-such-graph", "{id}");
    }
}

#[test]
fn a_query_is_read_by_the_same_rules_everywhere() {
    let server = Server::start();
    waits(&server, "waits");
    let run = run_of(server.post("/v1/runs", &json!({"graph": "waits"})));
    let of_run = |what: &str| format!("/v1/runs/{run}/{what}");
    for (path, expected) in [
        (
            of_run("events?limit=0"),
            "400 `limit`: expected a whole number from 1 to 5000, got 0",
        ),
        (
            of_run("steps?limit=1001"),
            "400 `limit`: expected a whole number from 1 to 1000, got 1001",
        ),
        (
            of_run("events?after=x"),
            r#"400 `after`: expected a whole number, 0 or more, got "x""#,
        ),
        (
            of_run("events?after=1&after=2"),
            "400 `after`: the parameter is repeated",
        ),
        (
            of_run("events?aftr=1"),
            "400 `aftr`: unknown parameter; known parameters: after, limit",
        ),
        (of_run("diff?from=0"), "400 `to` is missing"),
        (
            of_run("diff?from=-1&to=0"),
            "400 `from`: expected a whole number, 0 or more, got -1",
        ),
        (
            of_run("steps/one"),
            r#"400 expected a whole number in the path, got "one""#,
        ),
        (
            "/v1/graphs?page_size=0".to_owned(),
            "400 `page_size`: expected a whole number from 1 to 500, got 0",
        ),
        (
            "/v1/runs?page_size=9999999999999999999999".to_owned(),
            "400 `page_size`: expected a whole number from 0 to 18446744073709551615, got 9999999999999999999999",
        ),
        (
            "/v1/graphs/waits/picture?format=gif".to_owned(),
            r#"400 `format`: expected one of svg, mermaid, dot, got "gif""#,
        ),
    ] {
        assert_eq!(status_and_detail(&server.get(&path)), expected, "{path}");
    }
    let (_, close) = server.watch(&run, "?after=x");
    assert_eq!(close.1, r#"`after`: expected a whole number, 0 or more, got "x""#);
    let removed = server.delete("/v1/plugins/basics?force=yes");
    assert_eq!(
        status_and_detail(&removed),
        r#"400 `force`: expected true or false, got "yes""#
    );
}
