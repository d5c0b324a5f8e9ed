//! The four routes of the original engine keep their form, and its graphs run unchanged.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::Server;
use serde_json::{Value, json};

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn the_original_example_runs_unchanged() {
    let server = Server::start();
    let graph = json!({
        "nodes": {"extract": {}, "analyze": {}},
        "edges": {"extract": "analyze", "analyze": "end"},
    });
    let created = server.post("/graph/create", &graph);
    assert_eq!(created.status, 200);
    let graph_id = created.json()["graph_id"].clone();

    let started = server.post(
        "/graph/run",
        &json!({"graph_id": graph_id, "initial_state": {"input": "some data"}}),
    );
    assert_eq!(started.status, 200);
    let run_id = started.json()["run_id"].as_str().unwrap().to_owned();

    let state = server.wait(&run_id);
    assert_eq!(state["run_id"], json!(run_id));
    assert_eq!(state["finished"], true);
    assert_eq!(state["status"], "finished");
    assert_eq!(state["error"], Value::Null);
    assert_eq!(state["state"]["input"], "some data");
    assert_eq!(state["state"]["words"], json!(["some", "data"]));

    let (events, close) = server.watch(&run_id, "");
    assert_eq!(close.0, 1000);
    assert_eq!(
        state["logs"].as_array().unwrap(),
        &events,
        "the logs are what the socket sends"
    );
    let kinds = types(&events);
    assert_eq!(
        (kinds[0], kinds[kinds.len() - 1]),
        ("run_started", "run_finished")
    );
    for (position, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], position + 1);
        assert_eq!(event["run_id"], json!(run_id));
        assert!(
            event["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{event}"
        );
        assert!(
            event["at"].as_str().is_some_and(|at| at.ends_with('Z')),
            "{event}"
        );
    }
}

#[test]
fn the_initial_state_is_accepted_under_any_of_its_three_names() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"extract": {}}}));
    for name in ["initial_state", "state", "input"] {
        let started = server
            .post(
                "/graph/run",
                &json!({"graph_id": graph, name: {"input": "3 apples"}}),
            )
            .ok();
        let state = server.wait(started["run_id"].as_str().unwrap());
        assert_eq!(state["state"]["input"], "3 apples", "{name}");
    }
    let both = json!({"graph_id": graph, "state": {}, "initial_state": {}});
    server.post("/graph/run", &both).problem(422);
}

#[test]
fn a_node_repeats_and_branches_by_the_route_of_its_function() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w2.json");
    let even = server.run(&graph, &json!({}));
    assert_eq!(even["state"]["n"], 100);
    assert!(
        even["state"].get("even").is_some() && even["state"].get("odd").is_none(),
        "{}",
        even["state"]
    );
    let odd = server.create(&json!({
        "start": "count",
        "nodes": {
            "count": {"uses": "bench/count", "config": {"until": 7}},
            "even": {"uses": "bench/touch", "config": {"key": "even"}},
            "odd": {"uses": "bench/touch", "config": {"key": "odd"}},
        },
        "edges": {"even": "end", "odd": "end"},
    }));
    let odd = server.run(&odd, &json!({"n": 4}));
    assert_eq!(odd["state"]["n"], 7);
    assert!(odd["state"].get("odd").is_some(), "{}", odd["state"]);
    let steps = odd["logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "step_finished")
        .count();
    assert_eq!(steps, 4, "three turns of `count` and one of `odd`");
}

#[test]
fn next_and_loop_in_a_tools_result_route_and_stay_out_of_the_state() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"first": {"uses": "bench/echo"}, "second": {"uses": "bench/touch", "config": {"key": "seen"}}},
        "edges": {"first": "end"},
    }));
    // `echo` returns its input, the state: so the `next` of the state becomes a route.
    let run = server.run(&graph, &json!({"next": "second", "loop": false, "x": 1}));
    assert_eq!(run["status"], "finished", "{run}");
    assert!(run["state"].get("seen").is_some(), "{run}");
}

#[test]
fn a_watcher_continues_after_its_last_event() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w1.json");
    let run = server.start_run(&graph, &json!({}));
    let (all, _) = server.watch(&run, "");
    assert_eq!(
        types(&all)
            .iter()
            .filter(|kind| **kind == "step_finished")
            .count(),
        10
    );
    for after in [1, 7, all.len() - 1, all.len()] {
        let (rest, close) = server.watch(&run, &format!("?after={after}"));
        assert_eq!((rest.as_slice(), close.0), (&all[after..], 1000));
    }
}

#[test]
fn an_unknown_run_closes_the_socket_with_a_code_and_a_reason() {
    let server = Server::start();
    let (events, (code, reason)) = server.watch("018f0000-0000-7000-8000-000000000000", "");
    assert!(events.is_empty());
    assert_eq!(code, 4404);
    assert!(reason.contains("018f0000"), "{reason}");
    let (_, (code, reason)) = server.watch("nonsense", "");
    assert!((4000..5000).contains(&code), "{code} {reason}");
}

#[test]
fn errors_explain_the_problem_in_detail() {
    let server = Server::start();
    server
        .get("/graph/state/018f0000-0000-7000-8000-000000000000")
        .problem(404);
    server
        .post("/graph/run", &json!({"graph_id": "nope", "initial_state": {}}))
        .problem(404);
    let problem = server
        .post(
            "/graph/create",
            &json!({"nodes": {"extrakt": {}}, "edges": {"extrakt": "gone"}}),
        )
        .problem(422);
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!(errors[0]["pointer"], "/nodes/extrakt");
    assert!(
        errors[0]["message"].as_str().unwrap().contains("extract"),
        "a hint at what was meant: {problem}"
    );
    assert_eq!(errors[1]["pointer"], "/edges/extrakt");
    let list = server.post("/graph/run", &json!({"graph_id": "x", "initial_state": [1]}));
    assert!((400..500).contains(&list.status));
    list.problem(422);
    let broken = server.post_with(
        "/graph/create",
        b"{\"nodes\": ",
        &[("content-type", "application/json")],
    );
    let status = broken.status;
    assert!(status == 400 || status == 422, "{broken:?}");
    broken.problem(status);
}

#[test]
fn a_failed_run_reports_node_and_message_and_keeps_its_state() {
    let server = Server::start();
    let graph = server.create(&json!({
        "nodes": {"t": {"uses": "bench/touch", "config": {"key": "k"}}, "panic": {}},
        "edges": {"t": "panic"},
    }));
    let run = server.run(&graph, &json!({"a": 1}));
    assert_eq!(
        (&run["finished"], &run["status"]),
        (&json!(true), &json!("failed"))
    );
    assert_eq!(run["error"]["node"], "panic");
    assert!(
        run["error"]["message"]
            .as_str()
            .unwrap()
            .contains("panics on purpose"),
        "{run}"
    );
    assert!(run["state"].get("k").is_some() && run["state"]["a"] == 1);
}

#[test]
fn a_run_cancelled_while_waiting_is_reported_in_the_same_form() {
    let server = Server::start();
    let graph = server.create(&json!({"nodes": {"ask": {"wait": {"signal": "answer"}}}}));
    let run = server.start_run(&graph, &json!({"a": 1}));
    let waiting = server.get(&format!("/graph/state/{run}")).ok();
    assert_eq!(
        (&waiting["finished"], &waiting["status"], &waiting["error"]),
        (&json!(false), &json!("waiting"), &Value::Null)
    );
    assert_eq!(waiting["state"], json!({"a": 1}));
    server
        .post(&format!("/v1/runs/{run}/cancel"), &json!({"reason": "no answer"}))
        .ok();
    let over = server.wait(&run);
    assert_eq!(
        (&over["finished"], &over["status"], &over["error"]),
        (&json!(true), &json!("cancelled"), &Value::Null)
    );
    let logs = over["logs"].as_array().unwrap();
    assert_eq!(types(logs), ["run_started", "step_started", "run_cancelled"]);
    assert_eq!(logs[2]["message"], "run cancelled: no answer");
}

#[test]
fn many_watchers_slow_ones_included_miss_nothing() {
    let server = Server::start();
    let graph = server.create_file("plugins/bench/w2.json");
    let run = server.start_run(&graph, &json!({}));
    let url = format!("ws://{}/ws/logs/{run}", server.address);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .unwrap();
    let all = runtime.block_on(async {
        let watchers = (0..64).map(|_| {
            tokio::spawn({
                let url = url.clone();
                async move { heddle_tests::watch(&url).await }
            })
        });
        futures_util::future::join_all(watchers).await
    });
    let (first, _) = server.watch(&run, "");
    assert_eq!(first.last().unwrap()["type"], "run_finished");
    for watcher in all {
        let (events, close) = watcher.unwrap();
        assert_eq!(close.0, 1000);
        assert_eq!(events, first);
    }
}
