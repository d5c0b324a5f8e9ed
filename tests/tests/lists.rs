//! Lists of runs by every filter, over HTTP and with the command, and the inputs of steps.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::Server;
use serde_json::{Value, json};

/// The output of a command.
fn run_command(server: &Server, arguments: &[&str]) -> (bool, String, String) {
    let output = server.run_command(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

fn prints(server: &Server, arguments: &[&str]) -> String {
    let (well, out, err) = run_command(server, arguments);
    assert!(well, "{arguments:?}: {err}");
    out
}

/// The ids of the runs that match a query, read in pages of two.
fn listed(server: &Server, query: &str) -> Vec<String> {
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/runs?page_size=2&{query}{token}")).ok();
        let runs = page["runs"].as_array().unwrap();
        ids.extend(runs.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()));
        match page["next_page_token"].as_str() {
            Some(next) => token = format!("&page_token={next}"),
            None => return ids,
        }
    }
}

/// Starts a run, waits for its end, and returns its id.
fn over(server: &Server, graph: &str, state: &Value) -> String {
    let run = server
        .post("/v1/runs?wait=60s", &json!({"graph": graph, "state": state}))
        .ok();
    run["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_graphs_name_lists_the_runs_of_all_of_its_versions() {
    let server = Server::start();
    let version = |n: u32| {
        server.create(&json!({"name": "greet", "nodes": {"hi": {"uses": "basics/set", "config": {"n": n}}}}))
    };
    let first = version(1);
    let old = over(&server, "greet", &json!({}));
    let second = version(2);
    assert_ne!(first, second);
    assert_eq!(listed(&server, "graph=greet"), std::slice::from_ref(&old));
    let new = over(&server, "greet", &json!({}));
    let unnamed = server.create(&json!({"nodes": {"hi": {"uses": "basics/set", "config": {"n": 3}}}}));
    let other = over(&server, &unnamed, &json!({}));

    assert_eq!(listed(&server, "graph=greet"), [new.clone(), old.clone()]);
    assert_eq!(
        listed(&server, &format!("graph={first}")),
        std::slice::from_ref(&old)
    );
    assert_eq!(
        listed(&server, &format!("graph={second}")),
        std::slice::from_ref(&new)
    );
    assert_eq!(
        listed(&server, &format!("graph={unnamed}")),
        std::slice::from_ref(&other)
    );
    let page = server.get("/v1/runs").ok();
    let names: Vec<_> = page["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| &run["graph_name"])
        .collect();
    assert_eq!(names, [&Value::Null, &json!("greet"), &json!("greet")]);
    assert_eq!(server.get(&format!("/v1/runs/{old}")).ok()["graph_name"], "greet");
    assert_eq!(
        server.get(&format!("/v1/runs/{other}")).ok()["graph_name"],
        Value::Null
    );
    let problem = server.get("/v1/runs?graph=greeting").problem(404);
    assert!(
        problem["detail"].as_str().unwrap().contains("`greeting`"),
        "{problem}"
    );
}

#[test]
fn runs_are_filtered_by_status_origin_time_and_error() {
    let server = Server::start();
    server.create(&json!({"name": "fails", "nodes": {
        "first": {"uses": "basics/set", "config": {"n": 1}},
        "charge": {"uses": "basics/fail", "config": {"message": "the Card (100%) was \"declined\""}}},
        "edges": {"first": "charge"}}));
    server.create(&json!({"name": "works", "nodes": {"ok": {"uses": "basics/set", "config": {"n": 1}}}}));
    server.create(&json!({"name": "waits", "nodes": {"ask": {"wait": {"signal": "go"}}}}));
    let failed = over(&server, "fails", &json!({}));
    let finished = over(&server, "works", &json!({}));
    let waiting = server.start_run("waits", &json!({}));
    server
        .post(
            "/v1/schedules",
            &json!({"name": "nightly", "graph": "works", "when": {"every": "24h"}, "paused": true}),
        )
        .ok();
    let scheduled = server.post("/v1/schedules/nightly/run", &json!({})).ok();
    let scheduled = scheduled["run_id"].as_str().unwrap().to_owned();
    server.wait(&scheduled);
    let forked = server
        .post(&format!("/v1/runs/{finished}/fork"), &json!({"step": 0}))
        .ok();
    let forked = forked["run_id"].as_str().unwrap().to_owned();
    server.wait(&forked);

    for (query, expected) in [
        ("", vec![&forked, &scheduled, &waiting, &finished, &failed]),
        ("status=failed", vec![&failed]),
        ("status=failed,waiting", vec![&waiting, &failed]),
        ("status=waiting&status=failed", vec![&waiting, &failed]),
        ("status=paused", vec![]),
        ("origin=api", vec![&waiting, &finished, &failed]),
        ("origin=schedule", vec![&scheduled]),
        ("origin=schedule:nightly", vec![&scheduled]),
        ("origin=schedule:other", vec![]),
        ("origin=fork", vec![&forked]),
        (&*format!("origin=fork:{finished}"), vec![&forked]),
        (&*format!("origin=fork:{failed}"), vec![]),
        ("origin=import", vec![]),
        ("origin=api&status=finished&graph=works", vec![&finished]),
        ("error=declined", vec![&failed]),
        ("error=CARD+(100%25)", vec![&failed]),
        ("error=%25&graph=fails", vec![&failed]),
        ("error=_", vec![]),
        ("error=charge", vec![]),
        (
            "started_after=2000-01-01T00:00:00%2B02:00&status=failed",
            vec![&failed],
        ),
    ] {
        let expected: Vec<String> = expected.into_iter().cloned().collect();
        assert_eq!(listed(&server, query), expected, "{query}");
    }
    // Intervals are half-open: every run is in exactly one of two adjacent intervals.
    let started = |run: &String| {
        server.get(&format!("/v1/runs/{run}")).ok()["started_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let at = started(&waiting);
    let (later, earlier): (Vec<String>, Vec<String>) = [&forked, &scheduled, &waiting, &finished, &failed]
        .map(String::clone)
        .into_iter()
        .partition(|run| started(run) >= at);
    assert_eq!(listed(&server, &format!("started_after={at}")), later);
    assert_eq!(listed(&server, &format!("started_before={at}")), earlier);
    assert_eq!(
        listed(&server, &format!("started_after={at}&started_before={at}")),
        [] as [String; 0]
    );

    for wrong in [
        "status=odd",
        "status=",
        "origin=cron",
        "started_after=yesterday",
        "started_before=2026-11-29",
        "error=",
        "created_after=2026-11-29T00:00:00Z",
    ] {
        let problem = server.get(&format!("/v1/runs?{wrong}")).problem(400);
        let name = wrong.split('=').next().unwrap();
        assert!(
            problem["detail"].as_str().unwrap().contains(name),
            "{wrong}: {problem}"
        );
    }
    let first = server.get("/v1/runs?page_size=1&status=finished").ok();
    let token = first["next_page_token"].as_str().unwrap();
    let problem = server
        .get(&format!("/v1/runs?page_size=1&page_token={token}"))
        .problem(400);
    assert!(
        problem["detail"].as_str().unwrap().contains("other filters"),
        "{problem}"
    );

    let export = server.get(&format!("/v1/runs/{failed}/export")).text;
    let elsewhere = Server::start();
    let kind = [("content-type", "application/x-ndjson")];
    elsewhere
        .post_with("/v1/runs:import?names=true", export.as_bytes(), &kind)
        .ok();
    assert_eq!(
        listed(
            &elsewhere,
            "origin=import&graph=fails&status=failed&error=declined"
        ),
        [failed]
    );
    assert_eq!(listed(&elsewhere, "origin=api"), [] as [String; 0]);
}

#[test]
fn the_command_lists_runs_by_every_filter_and_shows_why_one_failed() {
    let server = Server::start();
    let graph = json!({"name": "order", "nodes": {
        "take": {"uses": "basics/set", "config": {"n": 1}},
        "charge": {"uses": "basics/fail", "config": {"message": "the card was declined", "kind": "retryable"}, "retry": {"attempts": 3, "backoff": "1ms"}}},
        "edges": {"take": "charge"}});
    server.create(&graph);
    server.create(&json!({"name": "fine", "nodes": {"take": {"uses": "basics/set", "config": {"n": 1}}}}));
    let failed = over(&server, "order", &json!({}));
    let fine: Vec<String> = (0..3).map(|_| over(&server, "fine", &json!({}))).collect();

    let all = prints(&server, &["runs"]);
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(lines.len(), 4, "{all}");
    assert!(
        lines[0].starts_with(&fine[2]) && lines[0].contains("finished"),
        "{all}"
    );
    assert!(
        lines[3].starts_with(&failed)
            && lines[3].ends_with("order                 charge: the card was declined"),
        "{all}"
    );
    for (flags, count) in [
        (vec!["--graph", "order"], 1),
        (vec!["--status", "failed,cancelled"], 1),
        (vec!["--status", "failed", "--status", "finished"], 4),
        (vec!["--origin", "api", "--graph", "fine"], 3),
        (vec!["--origin", "schedule:nightly"], 0),
        (vec!["--started-after", "1h"], 4),
        (vec!["--started-before", "1h"], 0),
        (
            vec![
                "--started-after",
                "2000-01-01T00:00:00+02:00",
                "--error",
                "Card was",
            ],
            1,
        ),
        (vec!["--limit", "2"], 2),
        (vec!["--all"], 4),
    ] {
        let found = prints(&server, &[&["runs"][..], flags.as_slice()].concat());
        assert_eq!(found.lines().count(), count, "{flags:?}: {found}");
    }
    let (_, _, note) = run_command(&server, &["runs", "--limit", "2"]);
    assert!(note.contains("--all"), "{note}");
    let json_lines = prints(&server, &["runs", "--json", "--status", "failed"]);
    let run: Value = serde_json::from_str(json_lines.trim()).unwrap();
    assert_eq!(
        (&run["run_id"], &run["graph_name"], &run["error"]["node"]),
        (&json!(failed), &json!("order"), &json!("charge"))
    );
    for wrong in [
        vec!["runs", "--status", "odd"],
        vec!["runs", "--limit", "0"],
        vec!["runs", "--limit", "-1"],
        vec!["runs", "--started-after", "soon"],
        vec!["runs", "--graph", "nope"],
    ] {
        let (well, _, message) = run_command(&server, &wrong);
        assert!(!well && message.starts_with("error: "), "{wrong:?}: {message}");
    }

    let shown = prints(&server, &["show", &failed]);
    assert!(shown.contains("\ngraph name   order\n"), "{shown}");
    assert!(
        shown.contains(
            "error        node charge (step 2, 3 attempts, basics/fail 0.1.0): the card was declined ("
        ),
        "{shown}"
    );
    let step = prints(&server, &["show", &failed, "--step", "2"]);
    for part in [
        "\nfunction     basics/fail 0.1.0\n",
        "\nerror        the card was declined (",
        "\nconfig\n",
        "\ninput\n{\n  \"n\": 1\n}\n",
    ] {
        assert!(step.contains(part), "{part:?}: {step}");
    }
}

#[test]
fn the_recorded_input_of_a_step_is_the_input_of_its_function() {
    let server = Server::start();
    let echo = |input: Value| json!({"uses": "basics/echo", "input": input, "output": "seen"});
    server.create(&json!({"name": "inner", "nodes": {"e": echo(json!({"all": "state", "began": "input"}))}}));
    let graph = server.create(&json!({"name": "outer", "start": "whole", "nodes": {
        "whole": {"uses": "basics/echo", "output": "copy"},
        "mapped": echo(json!({"n": "state.n + 1", "who": "run.graph", "text": "'ä' + state.text", "list": "[1, 2.5, null]"})),
        "each": {"map": {"over": "state.items", "as": "item", "uses": "basics/echo", "into": "results"},
                 "input": {"item": "item", "n": "state.n"}},
        "child": {"graph": "inner", "input": {"doc": "state.items"}, "output": "child"}},
        "edges": {"whole": "mapped", "mapped": "each", "each": "child"}}));
    let state = json!({"n": 1, "text": "x\ny", "items": [{"a": 1}, "b"], "big": 123_456_789_012_345_u64});
    let run = over(&server, &graph, &state);
    let steps = server.get(&format!("/v1/runs/{run}/steps")).ok();
    let mut echoed = 0;
    for step in steps["steps"].as_array().unwrap() {
        let number = &step["step"];
        let shown = server.get(&format!("/v1/runs/{run}/steps/{number}")).ok();
        let update = &shown["update"];
        match (step["node"].as_str().unwrap(), &step["item"]) {
            ("whole", _) => {
                assert_eq!(shown["input"], update["copy"]);
                assert_eq!(shown["input"], state);
                assert_eq!(shown["function"]["function"], "echo");
            }
            ("mapped", _) => assert_eq!(shown["input"], update["seen"]),
            ("e", _) => {
                assert_eq!(shown["input"], update["seen"]);
                assert_eq!(shown["input"]["began"], json!({"doc": state["items"]}));
            }
            ("each", Value::Null) => {
                assert_eq!(shown["input"], state["items"]);
                assert_eq!(shown["function"], Value::Null);
            }
            ("each", item) => {
                let index = item["index"].as_u64().unwrap() as usize;
                let results = server.get(&format!("/v1/runs/{run}")).ok();
                assert_eq!(shown["input"], results["state"]["results"][index]);
            }
            ("child", _) => assert_eq!(shown["input"], json!({"doc": state["items"]})),
            (other, _) => panic!("{other}"),
        }
        echoed += 1;
    }
    assert_eq!(echoed, 7, "{steps}");
    let beginning = server.get(&format!("/v1/runs/{run}/steps/0")).ok();
    assert_eq!(
        (&beginning["input"], &beginning["function"]),
        (&Value::Null, &Value::Null)
    );
}
