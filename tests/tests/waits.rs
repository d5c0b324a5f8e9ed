//! Waits over HTTP and with the command, against the real binary: each is listed with its item, a signal can name one,
//! and a run shows its branches.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::Server;
use serde_json::{Value, json};

/// A graph that waits for each item of `state.of`.
fn asks(server: &Server) -> String {
    server.create(&json!({"name": "ask", "nodes": {"ask": {
        "wait": {"signal": "ok", "prompt": {"expr": "'Pay ' + state.item.who + '?'"}, "timeout": "1h"},
        "output": "answer",
    }}}));
    server.create(&json!({"name": "each", "nodes": {"each": {"map": {"over": "state.of", "graph": "ask", "into": "all"}}}}))
}

fn shown(server: &Server, run: &str) -> Value {
    server.get(&format!("/v1/runs/{run}")).ok()
}

fn command(server: &Server, arguments: &[&str]) -> String {
    let output = server.run_command(arguments);
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8(all).expect("text")
}

#[test]
fn each_item_of_a_map_is_answered_by_the_id_of_its_wait_also_after_a_restart() {
    let server = Server::start();
    let graph = asks(&server);
    let run = server.start_run(
        &graph,
        &json!({"of": {"x": {"who": "Ada"}, "y": {"who": "Grace"}, "z": {"who": "Joan"}}}),
    );
    let run_view = shown(&server, &run);
    let waits = run_view["waits"].as_array().unwrap();
    let items: Vec<(&Value, &Value, &Value)> = waits
        .iter()
        .map(|wait| (&wait["item"]["index"], &wait["item"]["key"], &wait["prompt"]))
        .collect();
    assert_eq!(
        items,
        [
            (&json!(0), &json!("x"), &json!("Pay Ada?")),
            (&json!(1), &json!("y"), &json!("Pay Grace?")),
            (&json!(2), &json!("z"), &json!("Pay Joan?")),
        ],
        "{run_view}"
    );
    for wait in waits {
        assert_eq!(
            (&wait["node"], &wait["item"]["node"], &wait["signal"]),
            (&json!("ask"), &json!("each"), &json!("ok"))
        );
        assert_eq!(wait["id"], wait["step"]);
        assert!(wait["since"].is_string() && wait["until"].is_string(), "{wait}");
    }

    let server = server.restart();
    assert_eq!(shown(&server, &run)["waits"], run_view["waits"]);
    let signal = |body: Value| server.post(&format!("/v1/runs/{run}/signal"), &body);
    let third = signal(json!({"name": "ok", "wait": waits[2]["id"], "payload": 3}));
    assert_eq!(third.status, 202, "{}", third.text);
    let over = signal(json!({"name": "ok", "wait": waits[2]["id"], "payload": 4})).problem(409);
    assert_eq!(over["type"], "urn:heddle:problem:wait-over");
    for (body, detail) in [
        (json!({"name": "ok", "wait": 999}), "no wait 999"),
        (json!({"name": "ok", "wait": 1}), "waits for no signal"),
        (
            json!({"name": "no", "wait": waits[0]["id"]}),
            "is for the signal `ok`",
        ),
    ] {
        let problem = signal(body).problem(404);
        assert_eq!(problem["type"], "urn:heddle:problem:no-such-wait");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
    }
    signal(json!({"name": "ok", "wait": "first"})).problem(422);
    // Without an id the signal goes to the oldest wait.
    let run_view = command(&server, &["signal", &run, "ok", "--payload", "1"]);
    assert!(!run_view.contains("error"), "{run_view}");
    let run_view = command(&server, &["show", &run]);
    let id = &waits[1]["id"];
    assert!(
        run_view.contains(&format!(
            "{id}: at each[\"y\"]/ask for the signal ok (\"Pay Grace?\")"
        )),
        "{run_view}"
    );
    command(
        &server,
        &["signal", &run, "ok", "--wait", &id.to_string(), "--payload", "2"],
    );
    let state = server.wait(&run);
    let answers = ["x", "y", "z"].map(|key| &state["state"]["all"][key]["answer"]);
    assert_eq!(answers, [&json!(1), &json!(2), &json!(3)], "{state}");
    let (events, _) = server.watch(&run, "");
    let named: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "signal_received")
        .map(|event| &event["wait"])
        .collect();
    assert_eq!(named, [&waits[2]["id"], &Value::Null, id]);
    let began = events
        .iter()
        .find(|event| event["wait_prompt"] == "Pay Ada?")
        .unwrap();
    assert_eq!(
        (&began["type"], &began["step"]),
        (&json!("step_started"), &waits[0]["id"])
    );
}

#[test]
fn after_a_conflict_every_answer_has_the_agreed_keys() {
    let server = Server::start();
    let set = |keys: Value| json!({"uses": "basics/set", "config": keys});
    let graph = server.create(&json!({
        "nodes": {"a": set(json!({"y": 1})), "b": set(json!({"x": 1, "b": true})), "c": set(json!({"x": 2})), "d": {"sleep": "1s"}},
        "edges": {"a": ["b", "c"], "b": "d", "c": "d"},
    }));
    let run = server.start_run(&graph, &json!({"x": 0}));
    let agreed = json!({"x": 0, "y": 1, "b": true});
    let over = server.wait(&run);
    assert_eq!((&over["status"], &over["state"]), (&json!("failed"), &agreed));
    let server = server.restart();
    assert_eq!(server.get(&format!("/graph/state/{run}")).ok()["state"], agreed);
    let run_view = shown(&server, &run);
    assert_eq!(
        (&run_view["state"], &run_view["error"]["code"]),
        (&agreed, &json!("conflict"))
    );
    let branches = run_view["branches"].as_array().unwrap();
    let changed: Vec<&Value> = branches.iter().map(|branch| &branch["changed"]).collect();
    assert_eq!(
        changed,
        [&json!({"x": 1, "b": true}), &json!({"x": 2})],
        "{run_view}"
    );
    assert!(
        branches
            .iter()
            .all(|branch| branch["place"] == "before" && branch["node"] == "d")
    );
    let printed = command(&server, &["show", &run]);
    assert!(printed.contains("before d, changed {\"x\":2}"), "{printed}");
    let single = server.start_run(
        &server.create(&json!({"nodes": {"a": set(json!({"a": 1}))}})),
        &json!({}),
    );
    server.wait(&single);
    assert_eq!(shown(&server, &single)["branches"], json!([]));
}

#[test]
fn the_signals_of_a_run_have_a_limit_of_bytes() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"first": {"wait": {"signal": "now"}}, "ask": {"wait": {"signal": "later"}, "output": "got"}, "size": {"wait": {"signal": "now"}}}, "edges": {"first": "ask", "ask": "size"}}));
    let run = server.start_run(&graph, &json!({}));
    let path = format!("/v1/runs/{run}/signal");
    let later = |bytes: usize| server.post(&path, &json!({"name": "later", "payload": "x".repeat(bytes)}));
    assert_eq!(later(9 << 20).status, 202);
    let refused = later(8 << 20).problem(429);
    assert_eq!(refused["type"], "urn:heddle:problem:too-many-signals");
    assert!(
        refused["detail"].as_str().unwrap().contains("max_signal_bytes"),
        "{refused}"
    );
    let server = server.restart();
    let later = |bytes: usize| server.post(&path, &json!({"name": "later", "payload": "x".repeat(bytes)}));
    later(8 << 20).problem(429);
    // After a wait has received it, there is space again.
    assert_eq!(server.post(&path, &json!({"name": "now"})).status, 202);
    assert_eq!(later(8 << 20).status, 202);
}
