//! Commands with little to report or with invalid input: the exit code, the name of the problem, and a note on stderr
//! for an empty list.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::Output;

use heddle_tests::{Server, component};
use serde_json::{Value, json};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_empty_list_prints_a_note_on_stderr_and_no_json() {
    let server = Server::start();
    for (list, expected) in [
        (&["graph", "list"][..], "no graphs\n"),
        (&["runs"], "no runs\n"),
        (&["runs", "--all", "--status", "failed"], "no runs\n"),
        (&["schedule", "list"], "no schedules\n"),
    ] {
        let listed = server.run_command(list);
        assert_eq!(listed.status.code(), Some(0));
        assert_eq!(texts(&listed), (String::new(), expected.to_owned()), "{list:?}");
        let json = [list, &["--json"]].concat();
        assert_eq!(texts(&server.run_command(&json)), Default::default(), "{json:?}");
    }
    let graph = server.create(&json!({"name": "ask", "nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let run_id = server.start_run(&graph, &json!({}));
    let diff = server.run_command(&["diff", &run_id, "0", "0"]);
    assert_eq!(texts(&diff), (String::new(), "no changes\n".to_owned()));
}

#[test]
fn malformed_arguments_exit_with_2_and_failures_with_1() {
    let server = Server::start();
    server.create(&json!({"name": "ask", "nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let wasm = component("starter").display().to_string();
    for malformed in [
        &["show", "no-uuid"][..],
        &["watch", "no-uuid"],
        &["cancel", UNKNOWN, "--grace", "5"],
        &["cancel", UNKNOWN, "--grace", "2h"],
        &["run", "ask", "--state", "[1]"],
        &["run", "ask", "--state", "{"],
        &["run", "ask", "--idempotency-key", "two words"],
        &["runs", "--status", "nope"],
        &["runs", "--origin", "nope"],
        &["runs", "--started-after", "yesterday"],
        &["schedule", "create", "s", "ask", "--cron", "61 * * * *"],
        &["schedule", "create", "no name", "ask", "--every", "1h"],
        &["schedule", "create", "s", "ask", "--every", "5"],
        &["plugin", "add", &wasm, &wasm, "--name", "given"],
        &["plugin", "add", "https://example.org/a.wasm"],
        &["plugin", "add", "oci://nowhere"],
        &["plugin", "inspect", "starter", "--name", "given"],
        &["plugin", "new", "No Name", "--lang", "rust"],
        &["serve", "--keep", "7", "--store", "sqlite:/dev/null/heddle.db"],
        &["serve", "--allow-origin", "https://me:secret@app.example.org"],
    ] {
        let output = server.run_command(malformed);
        assert_eq!(output.status.code(), Some(2), "{malformed:?}: {output:?}");
        assert!(
            texts(&output).1.starts_with("error: "),
            "{malformed:?}: {output:?}"
        );
        assert!(!texts(&output).1.contains("secret"), "{output:?}");
    }
    for failure in [
        &["show", UNKNOWN][..],
        &["cancel", UNKNOWN],
        &["run", "no-such-graph"],
        &["signal", UNKNOWN, "go"],
        &["schedule", "show", "none"],
        &["plugin", "inspect", "none"],
        &["plugin", "add", "no-such-file.wasm"],
        &["plugin", "remove", "none"],
        &["graph", "create", "no-such-file.json"],
    ] {
        let output = server.run_command(failure);
        assert_eq!(output.status.code(), Some(1), "{failure:?}: {output:?}");
    }
}

#[test]
fn settings_from_the_environment_are_named_by_their_variable() {
    let server = Server::start();
    for (variable, value, flag) in [
        ("HEDDLE_TOKEN", "a\u{7f}b", "--token"),
        ("HEDDLE_HEADERS", "no header", "--header"),
        ("HEDDLE_SERVER", "ftp://example.org", "--server"),
        ("HEDDLE_CA_CERT", "no-such-file.pem", "--ca-cert"),
    ] {
        let url = ("HEDDLE_SERVER", "https://localhost:1");
        let set = server
            .command(&["runs"])
            .envs([url, (variable, value)])
            .output()
            .unwrap();
        let (_, stderr) = texts(&set);
        assert!(
            stderr.contains(variable) && !stderr.contains(&format!("{flag}:")),
            "{stderr}"
        );
        let passed = server
            .command(&["runs", flag, value])
            .envs([url])
            .output()
            .unwrap();
        let (_, stderr) = texts(&passed);
        assert!(stderr.contains(flag) && !stderr.contains(variable), "{stderr}");
    }
}

#[test]
fn a_run_is_shown_with_its_output_its_graph_and_the_whole_of_a_reason() {
    let server = Server::start();
    server.create(&json!({
        "name": "declares", "nodes": {"set": {"uses": "basics/set", "config": {"kept": 1, "given": 2}}},
        "output": ["given"],
    }));
    let (id, _) = texts(&server.run_command(&["run", "declares"]));
    let id = id.trim();
    server.wait(id);
    let (shown, _) = texts(&server.run_command(&["show", id]));
    assert!(shown.contains("\noutput\n{\n  \"given\": "), "{shown}");
    let (watched, _) = texts(&server.run_command(&["watch", id]));
    assert!(watched.contains("run started on graph declares ("), "{watched}");

    server.create(&json!({"name": "ask", "nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let (id, _) = texts(&server.run_command(&["run", "ask"]));
    let id = id.trim();
    let reason = "first line\nsecond \u{1b}[31mline";
    let cancelled = server.run_command(&["cancel", id, "--reason", reason]);
    assert!(cancelled.status.success(), "{cancelled:?}");
    server.wait(id);
    let (watched, _) = texts(&server.run_command(&["watch", id]));
    let line = r"run cancelled: first line\nsecond \u{1b}[31mline";
    assert_eq!(watched.matches(line).count(), 1, "{watched}");
    let events = server.get(&format!("/v1/runs/{id}/events")).ok();
    let last = events["events"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (
            last["message"].as_str().unwrap(),
            last["reason"].as_str().unwrap()
        ),
        (line, reason)
    );
}

#[test]
fn plugins_of_a_folder_are_reported_one_by_one_if_stdout_is_redirected() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for plugin in ["starter", "text"] {
        std::fs::copy(component(plugin), folder.path().join(format!("{plugin}.wasm"))).unwrap();
    }
    let added = server.run_command(&["plugin", "add", folder.path().to_str().unwrap()]);
    let (stdout, stderr) = texts(&added);
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    let blocks: Vec<&str> = stderr.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(blocks, stdout.lines().collect::<Vec<_>>(), "{stderr}");
}

fn steps_of(server: &Server, run: &str, query: &str) -> Vec<Value> {
    let page = server.get(&format!("/v1/runs/{run}/steps{query}")).ok();
    page["steps"].as_array().unwrap().clone()
}

#[test]
fn the_items_around_a_step_or_a_wait_are_shown_from_the_outermost() {
    let server = Server::start();
    server.create(&json!({"name": "cell", "nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let over = json!({"over": "state.row", "as": "cell", "graph": "cell", "into": "out"});
    server.create(&json!({"name": "row", "nodes": {"cells": {"map": over}}}));
    let over = json!({"over": "state.rows", "as": "row", "graph": "row", "into": "out"});
    let graph = server.create(&json!({"nodes": {"rows": {"map": over}}}));
    let id = server.start_run(&graph, &json!({"rows": {"r/1": [1], "r\"2": [2, 3]}}));
    heddle_tests::wait_for_event(&format!("ws://{}/ws/logs/{id}", server.address), |event| {
        event["step"] == 11 && event["type"] == "step_started"
    });
    let place = |item: &Value| (item["node"].clone(), item["index"].clone(), item["key"].clone());
    let path = |of: &Value| {
        of["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(place)
            .collect::<Vec<_>>()
    };
    let waits = server.get(&format!("/v1/runs/{id}")).ok()["waits"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(waits.len(), 3);
    let last = &waits[2];
    let expected = [
        (json!("rows"), json!(1), json!("r\"2")),
        (json!("cells"), json!(1), json!(null)),
    ];
    assert_eq!(path(last), expected);
    assert_eq!(
        (&last["item"], &last["outer_items"][0]),
        (&last["items"][1], &last["items"][0])
    );
    // The page of the last step contains no event of another step.
    let step = last["step"].as_u64().unwrap();
    for query in ["", &format!("?after={}", step - 1)] {
        let steps = steps_of(&server, &id, query);
        let listed = steps.iter().find(|listed| listed["step"] == step).unwrap();
        assert_eq!(path(listed), expected, "{query}");
    }
    let steps = steps_of(&server, &id, "");
    assert_eq!(steps[0].get("items"), None);
    assert_eq!(path(&steps[1]), [(json!("rows"), json!(0), json!("r/1"))]);
    let shown = server.get(&format!("/v1/runs/{id}/steps/{step}")).ok();
    assert_eq!(path(&shown), expected);
    let listed = texts(&server.run_command(&["steps", &id])).0;
    assert!(listed.contains(r#"in item rows["r\"2"]/cells[1]"#), "{listed}");
    let shown = texts(&server.run_command(&["show", &id, "--step", &step.to_string()])).0;
    assert!(shown.contains(r#"item         rows["r\"2"]/cells[1]"#), "{shown}");
    let signal = server.run_command(&["signal", &id, "go", "--wait", &step.to_string()]);
    assert!(signal.status.success(), "{signal:?}");
}
