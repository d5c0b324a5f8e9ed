//! The graph language over HTTP: branches, waits, signals, cancellation, checks and diagrams.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::Server;
use serde_json::{Value, json};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";

fn set(key: &str) -> Value {
    json!({"uses": "basics/set", "config": {key: true}})
}

fn approval() -> Value {
    json!({
        "name": "approval",
        "nodes": {
            "ask": {
                "wait": {
                    "signal": "approval", "prompt": "Publish it?", "timeout": "1h",
                    "schema": {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}},
                },
                "output": "answer",
            },
            "publish": set("published"),
        },
        "edges": {"ask": [{"when": "state.answer.ok", "to": "publish"}, {"to": "end"}]},
    })
}

fn start(server: &Server, graph: &str) -> String {
    let started = server.post("/v1/runs", &json!({"graph": graph})).ok();
    started["run_id"].as_str().unwrap().to_owned()
}

fn of_type<'e>(events: &'e [Value], kind: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn events_of_forks_and_joins_name_their_branches() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"split": set("split"), "left": set("left"), "right": set("right"), "meet": set("met")},
        "edges": {"split": ["left", "right"], "left": "meet", "right": "meet"},
    }));
    let run = server.start_run(&graph, &json!({}));
    let over = server.wait(&run);
    assert_eq!(
        over["state"],
        json!({"split": true, "left": true, "right": true, "met": true})
    );
    let (events, _) = server.watch(&run, "");
    let finished = of_type(&events, "step_finished");
    let arms = finished[0]["next"].as_array().unwrap();
    let to: Vec<&Value> = arms.iter().map(|arm| &arm["to"]).collect();
    assert_eq!(to, ["left", "right"]);
    let started = of_type(&events, "step_started");
    let meet = started.iter().find(|event| event["node"] == "meet").unwrap();
    assert_eq!(meet["joined"].as_array().unwrap().len(), 1, "{meet}");
    assert_eq!(meet["message"], "meet started, joins 2 branches");
    for arm in arms {
        let of_arm = |event: &&&Value| event["branch"] == arm["branch"] && event["node"] == arm["to"];
        assert!(started.iter().any(|event| of_arm(&event)), "{arm} in {started:?}");
    }
}

#[test]
fn maps_and_nested_graphs_have_their_own_events() {
    let server = Server::start();
    server.create(&json!({"name": "inner", "nodes": {"in": set("inside")}}));
    let graph = server.create(&json!({
        "nodes": {
            "each": {"map": {"over": "state.words", "as": "text", "uses": "basics/upper", "into": "loud"}},
            "child": {"graph": "inner"},
        },
        "edges": {"each": "child"},
    }));
    let run = server.start_run(&graph, &json!({"words": ["a", "b"]}));
    let over = server.wait(&run);
    assert_eq!(over["status"], "finished", "{over}");
    assert_eq!(over["state"]["loud"], json!([{"text": "A"}, {"text": "B"}]));
    let (events, _) = server.watch(&run, "");
    assert_eq!(of_type(&events, "map_started")[0]["items"], json!(["a", "b"]));
    let items = of_type(&events, "item_finished");
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["item"]["of"], of_type(&events, "map_started")[0]["step"]);
    let child = of_type(&events, "graph_started")[0];
    assert_eq!(child["graph"], "inner");
    let within = events.iter().find(|event| event["node"] == "in").unwrap();
    assert_eq!(within["within"], child["step"]);
}

#[test]
fn a_wait_is_shown_with_its_prompt_and_continues_with_its_signal() {
    let server = Server::start();
    server.create(&approval());
    let run = start(&server, "approval");
    let path = format!("/v1/runs/{run}");
    let run_view = server.get(&path).ok();
    assert_eq!(run_view["status"], "waiting");
    let waits = run_view["waits"].as_array().unwrap();
    assert_eq!(waits.len(), 1, "{run_view}");
    assert_eq!(
        (&waits[0]["node"], &waits[0]["signal"], &waits[0]["prompt"]),
        (&json!("ask"), &json!("approval"), &json!("Publish it?"))
    );
    assert_eq!(waits[0]["schema"]["required"], json!(["ok"]));
    assert!(waits[0]["until"].as_str().unwrap().ends_with('Z'), "{run_view}");
    let listed = server.get("/v1/runs?status=waiting").ok();
    assert_eq!(listed["runs"][0]["run_id"], json!(run));

    let signal = |body: Value| server.post(&format!("{path}/signal"), &body);
    let unknown = signal(json!({"name": "aproval"})).problem(404);
    assert!(
        unknown["detail"].as_str().unwrap().contains("`approval`"),
        "{unknown}"
    );
    let wrong = signal(json!({"name": "approval", "payload": {"ok": 1}})).problem(422);
    assert_eq!(wrong["errors"][0]["pointer"], "/payload/ok");
    signal(json!({"payload": 1})).problem(422);
    server
        .post(
            &format!("/v1/runs/{UNKNOWN}/signal"),
            &json!({"name": "approval"}),
        )
        .problem(404);

    let sent = signal(json!({"name": "approval", "payload": {"ok": true}}));
    assert_eq!(sent.status, 202);
    assert!(sent.json()["seq"].is_u64(), "{sent:?}");
    let over = server.wait(&run);
    assert_eq!(over["state"], json!({"answer": {"ok": true}, "published": true}));
    let (events, _) = server.watch(&run, "");
    let received = of_type(&events, "signal_received")[0];
    assert_eq!(
        (&received["name"], &received["payload"]),
        (&json!("approval"), &json!({"ok": true}))
    );
    assert_eq!(of_type(&events, "step_finished")[0]["signal"], received["seq"]);
    assert_eq!(server.get(&path).ok()["waits"], json!([]));
    let late = signal(json!({"name": "approval", "payload": {"ok": true}})).problem(409);
    assert_eq!(late["type"], "urn:heddle:problem:run-over");
}

#[test]
fn a_run_keeps_a_thousand_signals_and_no_more() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"first": {"wait": {"signal": "go"}}, "second": {"wait": {"signal": "later"}}},
        "edges": {"first": "second"},
    }));
    let run = start(&server, &graph);
    let send = || server.post(&format!("/v1/runs/{run}/signal"), &json!({"name": "later"}));
    for _ in 0..1_000 {
        assert_eq!(send().status, 202);
    }
    let refused = send().problem(429);
    assert_eq!(refused["type"], "urn:heddle:problem:too-many-signals");
}

#[test]
fn a_waiting_run_survives_a_kill_and_continues() {
    let mut server = Server::start();
    server.create(&approval());
    let run = start(&server, "approval");
    server.kill();
    let server = server.restart();
    assert_eq!(server.get(&format!("/v1/runs/{run}")).ok()["status"], "waiting");
    let body = json!({"name": "approval", "payload": {"ok": false}});
    server.post(&format!("/v1/runs/{run}/signal"), &body).ok();
    assert_eq!(server.wait(&run)["state"], json!({"answer": {"ok": false}}));
}

#[test]
fn a_run_is_cancelled_once_and_its_compensations_run() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {
            "book": {"uses": "basics/set", "config": {"booked": 1}, "compensate": "unbook"},
            "ask": {"wait": {"signal": "paid"}},
            "unbook": {"uses": "basics/log", "config": {"message": "booking taken back"}},
        },
        "edges": {"book": "ask"},
    }));
    let run = start(&server, &graph);
    let path = format!("/v1/runs/{run}/cancel");
    server
        .post(&path, &json!({"reason": "x".repeat(5_000)}))
        .problem(422);
    server.post(&path, &json!({"why": "no"})).problem(422);
    let sent = server.post(&path, &json!({"reason": "the guest left"}));
    assert_eq!(sent.status, 202, "{sent:?}");
    let over = server.wait(&run);
    assert_eq!(over["status"], "cancelled");
    let (events, _) = server.watch(&run, "");
    assert_eq!(of_type(&events, "undo_started")[0]["reason"], "the guest left");
    let undone = events.iter().find(|event| event["node"] == "unbook").unwrap();
    assert_eq!(undone["undoes"], 1);
    assert_eq!(events.last().unwrap()["reason"], "the guest left");
    let again = server.post(&path, &json!({})).problem(409);
    assert_eq!(again["type"], "urn:heddle:problem:run-over");
    server
        .post(&format!("/v1/runs/{UNKNOWN}/cancel"), &json!({}))
        .problem(404);
}

#[test]
fn a_check_reports_all_problems_and_stores_nothing() {
    let server = Server::start();
    let check = |graph: &Value| server.post("/v1/graphs:check", graph).ok();
    let wrong = check(&json!({"nodes": {"a": {"uses": "basics/sett"}}, "edges": {"a": "b"}}));
    assert_eq!((&wrong["valid"], &wrong["start"]), (&json!(false), &Value::Null));
    let pointers: Vec<&Value> = wrong["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| &found["pointer"])
        .collect();
    assert_eq!(pointers, ["/nodes/a/uses", "/edges/a"], "{wrong}");
    assert_eq!(
        check(&approval()),
        json!({"valid": true, "findings": [], "start": "ask"})
    );
    assert_eq!(server.get("/v1/graphs").ok()["graphs"], json!([]));
    let json_type = [("content-type", "application/json")];
    server
        .post_with("/v1/graphs:check", b"{", &json_type)
        .problem(400);
}

#[test]
fn a_check_warns_of_a_key_that_a_graph_and_one_that_it_runs_append_to() {
    let server = Server::start();
    let append = json!({"log": {"merge": "append"}});
    let combines =
        json!({"name": "inner", "nodes": {"say": {"uses": "basics/echo", "output": "log"}}, "state": append});
    server.create(&combines);
    server.create(&json!({"name": "mid", "nodes": {"on": {"graph": "inner"}}}));
    server.create(&json!({"name": "rest", "nodes": {"rest": {"sleep": "1ms"}}, "state": append}));
    let outer = |node: Value| {
        let checked = server.post(
            "/v1/graphs:check",
            &json!({"nodes": {"ask": node}, "state": append}),
        );
        let found = checked.ok()["findings"].as_array().unwrap().clone();
        found.iter().any(|found| {
            let message = found["message"].as_str().unwrap();
            found["pointer"] == "/nodes/ask/graph" && message.starts_with("both this graph and `inner`")
        })
    };
    assert!(outer(json!({"graph": "inner"})));
    assert!(outer(json!({"graph": "inner", "output": {"log": "node.log"}})));
    assert!(outer(json!({"graph": "mid"})));
    assert!(!outer(json!({"graph": "rest"})));
    assert!(!outer(json!({"graph": "inner", "input": {"text": "'a'"}})));
}

#[test]
fn a_graph_is_drawn_by_id_and_name_and_its_schema_is_served() {
    let server = Server::start();
    let id = server.create(&approval());
    let svg = server.get(&format!("/v1/graphs/{id}/picture"));
    assert_eq!((svg.status, svg.content_type.as_str()), (200, "image/svg+xml"));
    assert!(svg.text.contains(r#"data-node="ask""#), "{}", svg.text);
    let draw = |format: &str| server.get(&format!("/v1/graphs/approval/picture?format={format}"));
    assert_eq!(draw("svg").text, svg.text);
    assert_eq!(draw("mermaid").content_type, "application/vnd.mermaid");
    assert!(draw("mermaid").text.contains("flowchart"));
    assert!(draw("dot").content_type.starts_with("text/vnd.graphviz"));
    assert!(draw("dot").text.starts_with("digraph"));
    draw("png").problem(400);
    server.get("/v1/graphs/nope/picture").problem(404);

    let schema = server.get("/v1/graph.schema.json");
    assert_eq!(schema.content_type, "application/schema+json");
    assert!(schema.json()["properties"]["nodes"].is_object());
}
