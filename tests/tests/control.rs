//! Runs are paused, retried, upgraded, forked, inspected, exported and imported; repeated requests have no effect.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Response, Server};
use serde_json::{Value, json};

fn set(keys: &Value) -> Value {
    json!({"uses": "basics/set", "config": keys})
}

/// A graph that waits for `go` between two nodes.
fn asks(server: &Server) -> String {
    server.create(&json!({
        "name": "asks", "start": "a",
        "nodes": {"a": set(&json!({"a": 1})), "ask": {"wait": {"signal": "go"}, "output": "said"}, "b": set(&json!({"b": 2}))},
        "edges": {"a": "ask", "ask": "b"},
    }))
}

fn control(server: &Server, run: &str, what: &str, body: &Value) -> Response {
    server.post(&format!("/v1/runs/{run}/{what}"), body)
}

fn shown(server: &Server, run: &str) -> Value {
    server.get(&format!("/v1/runs/{run}")).ok()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

fn numbered(events: &[Value]) {
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1, "a gap or a repeat: {events:?}");
    }
}

/// POSTs with an idempotency key.
fn keyed(server: &Server, path: &str, body: &Value, key: &str) -> Response {
    server.post_with(
        path,
        body.to_string().as_bytes(),
        &[("content-type", "application/json"), ("idempotency-key", key)],
    )
}

#[test]
fn a_paused_run_starts_no_step_until_it_is_resumed() {
    let server = Server::start();
    let run = server.start_run(&asks(&server), &json!({}));
    let seq = control(&server, &run, "pause", &json!({"reason": "not before noon"})).ok()["seq"].clone();
    assert_eq!(shown(&server, &run)["status"], "paused");
    let again = control(&server, &run, "pause", &json!({})).problem(409);
    assert_eq!(again["type"], "urn:heddle:problem:not-now");
    control(&server, &run, "signal", &json!({"name": "go", "payload": "on"})).ok();
    let still = shown(&server, &run);
    assert_eq!(
        (&still["status"], &still["state"]["b"]),
        (&json!("paused"), &Value::Null)
    );
    let listed = server.get("/v1/runs?status=paused").ok();
    assert_eq!(listed["runs"][0]["run_id"], json!(run));

    // It also stays paused over a restart.
    let server = server.restart();
    assert_eq!(shown(&server, &run)["status"], "paused");
    control(&server, &run, "resume", &json!({})).ok();
    let state = server.wait(&run);
    assert_eq!(state["state"], json!({"a": 1, "said": "on", "b": 2}));
    let events = state["logs"].as_array().unwrap();
    numbered(events);
    let paused = &events[usize::try_from(seq.as_u64().unwrap()).unwrap() - 1];
    assert_eq!(
        (&paused["type"], &paused["reason"]),
        (&json!("run_paused"), &json!("not before noon"))
    );
    assert!(kinds(events).contains(&"run_resumed"));
    control(&server, &run, "resume", &json!({})).problem(409);
    control(&server, &run, "pause", &json!({})).problem(409);
}

#[test]
fn a_run_that_failed_is_retried_from_where_it_failed() {
    let server = Server::start();
    let graph = server.create(&json!({
        "start": "a",
        "nodes": {"a": set(&json!({"a": 1})), "b": {"uses": "basics/fail", "config": {"times": 1}}, "c": set(&json!({"c": 3}))},
        "edges": {"a": "b", "b": "c"},
    }));
    let run = server.start_run(&graph, &json!({}));
    let failed = server.wait(&run);
    assert_eq!(
        (&failed["status"], &failed["error"]["node"]),
        (&json!("failed"), &json!("b"))
    );
    let until = failed["logs"].as_array().unwrap().len();
    let page = |after: usize| server.get(&format!("/v1/runs/{run}/events?after={after}")).ok();
    assert_eq!(page(0)["over"], true);

    control(&server, &run, "retry", &json!({})).ok();
    let state = server.wait(&run);
    assert_eq!(
        (&state["status"], &state["error"]),
        (&json!("finished"), &Value::Null)
    );
    assert_eq!(state["state"], json!({"a": 1, "c": 3}));
    let (events, close) = server.watch(&run, "");
    assert_eq!(close.0, 1000);
    numbered(&events);
    assert_eq!(events, *state["logs"].as_array().unwrap());
    assert_eq!(
        (&events[until - 1]["type"], &events[until]["type"]),
        (&json!("run_failed"), &json!("run_retried"))
    );
    // A watcher that saw the failure continues after it.
    assert_eq!(server.watch(&run, &format!("?after={until}")).0, events[until..]);
    let (first, rest) = (
        server.get(&format!("/v1/runs/{run}/events?limit={until}")).ok(),
        page(until),
    );
    assert_eq!((&first["over"], &rest["over"]), (&json!(false), &json!(true)));
    let steps = server.get(&format!("/v1/runs/{run}/steps")).ok();
    assert_eq!(steps["steps"][1]["attempts"], 2, "{steps}");
    let refused = control(&server, &run, "retry", &json!({})).problem(409);
    assert_eq!(refused["type"], "urn:heddle:problem:not-now");
}

#[test]
fn a_run_is_upgraded_if_it_fits_and_refused_if_it_does_not() {
    let server = Server::start();
    let run = server.start_run(&asks(&server), &json!({}));
    control(&server, &run, "pause", &json!({})).ok();
    server.create(&json!({
        "name": "asks", "start": "ask",
        "nodes": {"ask": {"wait": {"signal": "go"}, "output": "said"}, "z": set(&json!({"z": 26}))},
        "edges": {"ask": "z"},
    }));
    server.create(&json!({"name": "another", "nodes": {"z": set(&json!({}))}}));
    let refused = control(&server, &run, "upgrade", &json!({"graph": "another"})).problem(409);
    assert!(refused["detail"].as_str().unwrap().contains('`'), "{refused}");
    control(&server, &run, "upgrade", &json!({"graph": "nope"})).problem(404);
    // It may have been paused before its first step ended, and the new graph does not have that step.
    control(&server, &run, "resume", &json!({})).ok();
    waits(&server, &run);
    control(&server, &run, "upgrade", &json!({"graph": "asks"})).ok();
    control(&server, &run, "signal", &json!({"name": "go"})).ok();
    let state = server.wait(&run);
    assert_eq!(state["state"], json!({"a": 1, "said": null, "z": 26}));
    assert!(kinds(state["logs"].as_array().unwrap()).contains(&"run_upgraded"));
    control(&server, &run, "upgrade", &json!({})).problem(409);
}

/// Waits until the event stream shows that a run waits for a signal.
fn waits(server: &Server, run: &str) {
    let url = format!("ws://{}/ws/logs/{run}", server.address);
    heddle_tests::wait_for_event(&url, |event| {
        event["type"] == "step_started" && event["node"] == "ask"
    });
}

#[test]
fn a_fork_continues_from_a_step_with_a_changed_state() {
    let server = Server::start();
    let graph = server.create(&json!({
        "name": "gate", "start": "score",
        "nodes": {"score": set(&json!({"score": 70, "by": "machine"})), "good": set(&json!({"end": "good"})), "bad": set(&json!({"end": "bad"}))},
        "edges": {"score": [{"when": "state.score < 80", "to": "bad"}, {"to": "good"}]},
    }));
    let run = server.start_run(&graph, &json!({"doc": "x"}));
    server.wait(&run);
    // The decision of step 1 is kept, so a fork from the first event passes the gate again.
    let fork =
        |step: u64, edits: Value| control(&server, &run, "fork", &json!({"step": step, "state": edits}));
    let started = fork(1, json!({"by": "hand", "more": [1]}));
    assert_eq!(started.status, 202);
    let location = started.location.clone();
    let started = started.json();
    let id = started["run_id"].as_str().unwrap();
    assert_eq!(location, format!("/v1/runs/{id}"));
    let state = server.wait(id);
    assert_eq!(
        state["state"],
        json!({"doc": "x", "score": 70, "by": "hand", "more": [1], "end": "bad"})
    );
    let first = &state["logs"][0];
    assert_eq!(first["type"], "run_forked");
    assert_eq!(first["forked_from"], json!({"run_id": run, "step": 1}));
    assert_eq!(first["edits"], json!({"by": "hand", "more": [1]}));
    assert_eq!(shown(&server, id)["origin"], json!(format!("fork:{run}")));

    let again = fork(0, json!({"doc": "y"})).ok();
    let state = server.wait(again["run_id"].as_str().unwrap());
    assert_eq!(
        state["state"],
        json!({"doc": "y", "score": 70, "by": "machine", "end": "bad"})
    );
    assert_eq!(
        server.get(&format!("/graph/state/{run}")).ok()["state"]["doc"],
        "x",
        "the original run is unchanged"
    );
    let missing = fork(9, json!({})).problem(404);
    assert_eq!(missing["type"], "urn:heddle:problem:no-such-step");
    let key = |body: Value| keyed(&server, &format!("/v1/runs/{run}/fork"), &body, "once");
    let ids: Vec<Value> = (0..2)
        .map(|_| key(json!({"step": 1})).ok()["run_id"].clone())
        .collect();
    assert_eq!(ids[0], ids[1]);
    key(json!({"step": 0})).problem(422);
}

#[test]
fn a_fork_repeats_calls_that_were_active_beside_its_step() {
    let server = Server::start();
    let graph = server.create(&json!({
        "start": "a",
        "nodes": {
            "a": set(&json!({"a": 1})), "slow": {"uses": "hostile/sleep", "config": {"ms": 300}},
            "quick": set(&json!({"quick": 1})), "join": set(&json!({"joined": true})),
        },
        "edges": {"a": ["slow", "quick"], "slow": "join", "quick": "join"},
    }));
    let run = server.start_run(&graph, &json!({}));
    server.wait(&run);
    let steps = |run: &str, query: &str| -> Vec<(u64, String, u64)> {
        let page = server.get(&format!("/v1/runs/{run}/steps{query}")).ok();
        let steps = page["steps"].as_array().unwrap().iter();
        steps
            .map(|step| {
                assert_eq!(step["status"], "finished", "{step}");
                let node = step["node"].as_str().unwrap().to_owned();
                (
                    step["step"].as_u64().unwrap(),
                    node,
                    step["attempts"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    assert_eq!(steps(&run, "").len(), 4);
    let fork = control(&server, &run, "fork", &json!({"step": 3})).ok();
    let fork = fork["run_id"].as_str().unwrap();
    assert_eq!(server.wait(fork)["state"]["joined"], true);
    let slow = (2, "slow".to_owned(), 2);
    let join = (4, "join".to_owned(), 1);
    assert_eq!(steps(fork, ""), [slow.clone(), join.clone()]);
    assert_eq!(
        (steps(fork, "?limit=1"), steps(fork, "?after=2")),
        (vec![slow], vec![join])
    );
}

#[test]
fn the_steps_of_a_run_are_listed_and_shown() {
    let server = Server::start();
    server.create(&json!({"name": "inner", "nodes": {"x": set(&json!({"x": 1}))}}));
    let graph = server.create(&json!({
        "start": "a",
        "nodes": {
            "a": set(&json!({"list": [1, 2], "n": 1})),
            "each": {"map": {"over": "state.list", "as": "text", "uses": "basics/echo", "into": "out"}},
            "sub": {"graph": "inner", "input": {}, "output": "inner"},
            "flaky": {"uses": "basics/fail", "config": {"kind": "retryable", "times": 1}, "retry": {"attempts": 3, "backoff": "1ms"}},
            "b": set(&json!({"list": [1, 2, 3], "n": 2})),
            "bad": {"uses": "basics/fail", "config": {"message": "no luck"}},
        },
        "edges": {"a": "each", "each": "sub", "sub": "flaky", "flaky": "b", "b": "bad"},
    }));
    let run = server.start_run(&graph, &json!({"n": 0}));
    server.wait(&run);
    let list = |query: &str| server.get(&format!("/v1/runs/{run}/steps{query}")).ok();
    let all = list("");
    let brief: Vec<String> = all["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let more = match (&step["within"], &step["item"]) {
                (Value::Null, Value::Null) => String::new(),
                (within, Value::Null) => format!(" in {within}"),
                (_, item) => format!(" item {} of {}", item["index"], item["of"]),
            };
            format!(
                "{} {} {} {}{more}",
                step["step"],
                step["node"].as_str().unwrap(),
                step["status"].as_str().unwrap(),
                step["attempts"]
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            "1 a finished 1",
            "2 each finished 1",
            "3 each finished 1 item 0 of 2",
            "4 each finished 1 item 1 of 2",
            "5 sub finished 1",
            "6 x finished 1 in 5",
            "7 flaky finished 2",
            "8 b finished 1",
            "9 bad failed 1",
        ]
    );
    assert_eq!(all["steps"][8]["failure"]["message"], "no luck");
    assert_eq!(all["next_after"], Value::Null);
    let page = list("?after=6&limit=2");
    assert_eq!(
        page["steps"].as_array().unwrap()[..],
        all["steps"].as_array().unwrap()[6..8]
    );
    assert_eq!(page["next_after"], 8);

    let step = |number: u64| server.get(&format!("/v1/runs/{run}/steps/{number}")).ok();
    let (begun, first, late) = (step(0), step(1), step(8));
    assert_eq!(begun["state"], json!({"n": 0}));
    assert_eq!(
        (&first["node"], &first["status"], &first["update"]),
        (&json!("a"), &json!("finished"), &json!({"list": [1, 2], "n": 1}))
    );
    assert_eq!(
        late["state"],
        json!({"list": [1, 2, 3], "n": 2, "out": [{"text": 1}, {"text": 2}], "inner": {"x": 1}})
    );
    server.get(&format!("/v1/runs/{run}/steps/10")).problem(404);

    let diff = server.get(&format!("/v1/runs/{run}/diff?from=1&to=8")).ok();
    assert_eq!(
        diff["changes"],
        json!([
            {"key": "inner", "op": "add", "after": {"x": 1}},
            {"key": "list", "op": "replace", "before": [1, 2], "after": [1, 2, 3]},
            {"key": "n", "op": "replace", "before": 1, "after": 2},
            {"key": "out", "op": "add", "after": [{"text": 1}, {"text": 2}]},
        ])
    );
    assert!(
        diff["patch"]
            .as_array()
            .unwrap()
            .contains(&json!({"op": "add", "path": "/list/2", "value": 3})),
        "{diff}"
    );
    let back = server.get(&format!("/v1/runs/{run}/diff?from=8&to=1")).ok();
    assert_eq!(
        back["changes"][0],
        json!({"key": "inner", "op": "remove", "before": {"x": 1}})
    );
}

#[test]
fn long_runs_are_listed_page_by_page() {
    let server = Server::start();
    let graph =
        server.create(&json!({"nodes": {"again": {"uses": "basics/again", "config": {"times": 700}}}}));
    let run = server.start_run(&graph, &json!({}));
    server.wait(&run);
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = server
            .get(&format!("/v1/runs/{run}/steps?after={after}&limit=90"))
            .ok();
        for step in page["steps"].as_array().unwrap() {
            assert_eq!(step["status"], "finished");
            seen.push(step["step"].as_u64().unwrap());
        }
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen, (1..=700).collect::<Vec<_>>());
    let step = server.get(&format!("/v1/runs/{run}/steps/350")).ok();
    assert_eq!(step["state"], json!({"n": 350}));
}

#[test]
fn a_run_is_exported_and_shown_the_same_by_another_server() {
    let (here, there) = (Server::start(), Server::start());
    let graph = asks(&here);
    let over = here.start_run(&graph, &json!({"n": 1}));
    control(&here, &over, "signal", &json!({"name": "go"})).ok();
    here.wait(&over);
    let export = |run: &str| here.get(&format!("/v1/runs/{run}/export"));
    let file = export(&over);
    assert_eq!((file.status, &*file.content_type), (200, "application/x-ndjson"));
    let import = |text: &str| {
        there.post_with(
            "/v1/runs:import",
            text.as_bytes(),
            &[("content-type", "application/x-ndjson")],
        )
    };
    let imported = import(&file.text);
    assert_eq!(
        (imported.status, imported.location.clone()),
        (201, format!("/v1/runs/{over}"))
    );
    for path in ["", "/events", "/steps", "/steps/2", "/diff?from=0&to=3"] {
        let path = format!("/v1/runs/{over}{path}");
        let (mut a, mut b) = (here.get(&path).ok(), there.get(&path).ok());
        for run in [&mut a, &mut b] {
            run.as_object_mut().unwrap().remove("origin");
        }
        if path.ends_with(&over) {
            // An imported graph has no name.
            assert_eq!(a["graph_name"].take(), "asks");
            assert!(b["graph_name"].is_null());
        }
        assert_eq!(a, b, "{path}");
    }
    assert_eq!(shown(&there, &over)["origin"], "import");
    assert_eq!(
        import(&file.text).problem(409)["type"],
        "urn:heddle:problem:run-known"
    );

    // An imported active run is paused until it is resumed.
    let open = here.start_run(&graph, &json!({}));
    waits(&here, &open);
    import(&export(&open).text).ok();
    assert_eq!(shown(&there, &open)["status"], "paused");
    control(&there, &open, "signal", &json!({"name": "go", "payload": 7})).ok();
    control(&there, &open, "resume", &json!({})).ok();
    assert_eq!(there.wait(&open)["state"], json!({"a": 1, "said": 7, "b": 2}));
    assert_eq!(shown(&here, &open)["status"], "waiting", "this one does not know");

    // Truncated, out of order, or not an export: the error names the line.
    let lines: Vec<&str> = file.text.lines().collect();
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    for wrong in [
        lines[1..].join("\n"),
        lines[..3].join("\n"),
        swapped.join("\n"),
        file.text.replacen("\"seq\":3", "\"seq\":4", 1),
    ] {
        let other = wrong.replace(&over, "01a20505-02ed-773b-a8ec-000000000000");
        let problem = import(&other).problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("line "), "{problem}");
    }
    there
        .get("/v1/runs/01a20505-02ed-773b-a8ec-000000000000")
        .problem(404);
    here.get("/v1/runs/01a20505-02ed-773b-a8ec-000000000000/export")
        .problem(404);
}

#[test]
fn a_request_with_a_key_is_carried_out_once() {
    let mut server = Server::start();
    let graph = asks(&server);
    let body = json!({"graph": graph, "state": {"n": 1}, "priority": 5});
    let first = keyed(&server, "/v1/runs", &body, "order-1");
    assert_eq!(first.status, 202);
    let run = first.json()["run_id"].as_str().unwrap().to_owned();
    let again = keyed(&server, "/v1/runs", &body, "order-1");
    assert_eq!(
        (again.status, again.location.clone()),
        (202, format!("/v1/runs/{run}"))
    );
    assert_eq!(again.json()["run_id"], json!(run));
    let other = json!({"graph": graph, "state": {"n": 2}});
    assert_eq!(
        keyed(&server, "/v1/runs", &other, "order-1").problem(422)["type"],
        "urn:heddle:problem:key-reused"
    );
    keyed(&server, "/graph/run", &json!({"graph_id": graph}), "order-1").problem(422);
    assert_eq!(shown(&server, &run)["priority"], 5);

    // Also concurrently: one request starts the run, and the others get the same id or must be repeated.
    let ids: Vec<Option<Value>> = std::thread::scope(|scope| {
        let ask = || {
            let answer = keyed(&server, "/graph/run", &json!({"graph_id": graph}), "order-2");
            match answer.status {
                409 => {
                    assert_eq!(answer.problem(409)["type"], "urn:heddle:problem:key-in-flight");
                    None
                }
                _ => Some(answer.ok()["run_id"].clone()),
            }
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let started: Vec<&Value> = ids.iter().flatten().collect();
    assert!(
        !started.is_empty() && started.iter().all(|id| *id == started[0]),
        "{ids:?}"
    );
    assert_eq!(server.get("/v1/runs").ok()["runs"].as_array().unwrap().len(), 2);

    // A repeated signal counts once, and a key belongs to its run.
    let signal = |server: &Server, run: &str| {
        keyed(
            server,
            &format!("/v1/runs/{run}/signal"),
            &json!({"name": "go", "payload": 1}),
            "signal-1",
        )
    };
    let seq = signal(&server, &run).ok()["seq"].clone();
    assert_eq!(signal(&server, &run).ok()["seq"], seq);
    let second = started[0].as_str().unwrap().to_owned();
    signal(&server, &second).ok();

    // The response is the same after a crash.
    server.kill();
    let server = server.restart();
    assert_eq!(
        keyed(&server, "/v1/runs", &body, "order-1").ok()["run_id"],
        json!(run)
    );
    assert_eq!(signal(&server, &run).ok()["seq"], seq);
    keyed(&server, "/v1/runs", &other, "order-1").problem(422);
    for run in [&run, &second] {
        let state = server.wait(run);
        let events = state["logs"].as_array().unwrap();
        assert_eq!(
            kinds(events)
                .iter()
                .filter(|kind| **kind == "signal_received")
                .count(),
            1
        );
    }
    assert_eq!(server.get("/v1/runs").ok()["runs"].as_array().unwrap().len(), 2);
}

#[test]
fn a_cancelled_run_lets_a_call_finish_within_its_grace_period() {
    let server = Server::start();
    let graph = server.create(&json!({
        "start": "slow",
        "nodes": {"slow": {"uses": "hostile/sleep", "config": {"ms": 400}}, "b": set(&json!({"b": 1}))},
        "edges": {"slow": "b"},
    }));
    let begun = |run: &str| {
        let url = format!("ws://{}/ws/logs/{run}", server.address);
        heddle_tests::wait_for_event(&url, |event| event["type"] == "step_started");
    };
    let run = server.start_run(&graph, &json!({}));
    begun(&run);
    control(
        &server,
        &run,
        "cancel",
        &json!({"reason": "enough", "grace": "30s"}),
    )
    .ok();
    let state = server.wait(&run);
    let events = state["logs"].as_array().unwrap();
    let kinds_seen = kinds(events);
    assert_eq!(state["status"], "cancelled");
    assert!(
        kinds_seen.contains(&"cancel_requested") && kinds_seen.contains(&"step_finished"),
        "{kinds_seen:?}"
    );
    assert_eq!(state["state"]["b"], Value::Null, "no further step began");

    let run = server.start_run(&graph, &json!({}));
    begun(&run);
    control(&server, &run, "cancel", &json!({"grace": "0s"})).ok();
    let state = server.wait(&run);
    let steps = server.get(&format!("/v1/runs/{run}/steps")).ok();
    assert_eq!(
        (&steps["steps"][0]["status"], &steps["steps"][0]["finished_at"]),
        (&json!("given_up"), &Value::Null)
    );
    assert!(
        !kinds(state["logs"].as_array().unwrap()).contains(&"step_finished"),
        "{state}"
    );
}
