//! The standard plugins http, llm, json, text, csv and time in the real binary, against an API on loopback.
#![allow(clippy::unwrap_used)] // a test may panic

mod api;

use std::time::SystemTime;

use futures_util::StreamExt;
use heddle_tests::{Server, ServerConfig, TIMEOUT, component, repository};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use api::{Api, KEY, PIECES};

/// A server with the standard plugins; http and llm may call the API.
fn start(api: &Api) -> Server {
    let mut config = ServerConfig::default();
    for name in ["http", "llm", "json", "text", "csv", "time"] {
        std::fs::copy(
            component(name),
            config.folder().join("plugins").join(format!("{name}.wasm")),
        )
        .unwrap();
    }
    let policy = config.folder().join("policy.json");
    let grant = json!({"http": [api.origin]});
    std::fs::write(
        &policy,
        json!({"plugins": {"http": grant, "llm": grant}}).to_string(),
    )
    .unwrap();
    config
        .arguments
        .extend(["--policy".to_owned(), policy.display().to_string()]);
    Server::start_with_config(config)
}

fn call(server: &Server, tool: &str, input: &Value) -> Value {
    server.post(&format!("/v1/tools/{tool}/call"), input).ok()["output"].take()
}

/// A graph with one node that calls the model.
fn chat_graph(api: &Api, more: Value) -> Value {
    let mut input = json!({
        "base_url": format!("'{}/v1'", api.origin), "authorization": format!("'Bearer {KEY}'"),
        "model": "'loom-1'", "prompt": "'What was ordered?'",
    });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    json!({"nodes": {"ask": {"uses": "llm/chat", "input": input, "output": "said"}}})
}

#[test]
fn the_example_of_several_plugins_ends_as_documented() {
    let mut api = Api::start();
    api.gate = None;
    let server = start(&api);
    let graph = server.create_file("plugins/llm/graph.json");
    let state = json!({
        "shop": api.origin, "llm": format!("{}/v1/", api.origin), "authorization": format!("Bearer {KEY}"),
    });
    let run = server.run(&graph, &state);
    assert_eq!(run["status"], "finished", "{}", run["error"]);
    let expected = std::fs::read_to_string(repository().join("plugins/llm/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&run["state"][key], value, "{key}");
    }
    let chat = &api.chats()[0];
    assert_eq!(
        chat["messages"][1],
        json!({"role": "user", "content": expected["prompt"]})
    );
    assert_eq!(
        (&chat["stream"], &chat["max_tokens"]),
        (&json!(true), &json!(200))
    );
    let requests = api.requests.lock().unwrap();
    let keys: Vec<_> = requests
        .iter()
        .map(|request| request.header("idempotency-key").unwrap())
        .collect();
    assert_ne!(keys[0], keys[1], "each step has a different key");
}

/// The API sends the next piece after the watcher has received the previous one.
#[test]
fn a_watcher_gets_the_tokens_of_the_model_as_they_arrive() {
    let api = Api::start();
    let server = start(&api);
    let graph = server.create(&json!({
        "nodes": {
            "ready": {"wait": {"signal": "watched"}},
            "ask": chat_graph(&api, json!({}))["nodes"]["ask"],
        },
        "edges": {"ready": "ask"},
    }));
    let run = server.start_run(&graph, &json!({}));
    let gate = api.gate.as_ref().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut deltas, mut kinds) = (Vec::new(), Vec::new());
    let watching = async {
        let url = format!("ws://{}/ws/logs/{run}", server.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        let mut is_asked = false;
        while let Some(Ok(Message::Text(text))) = socket.next().await {
            let event: Value = serde_json::from_str(&text).unwrap();
            // A watcher that received the wait event is connected, so it misses no chunk.
            if !is_asked && event["node"] == "ready" {
                is_asked = true;
                server
                    .post(&format!("/v1/runs/{run}/signal"), &json!({"name": "watched"}))
                    .ok();
            }
            if event["type"] == "step_started" && event["node"] == "ask" {
                gate.send(()).unwrap();
            }
            if event["type"] == "chunk" {
                assert_eq!((&event["node"], &event["kept"]), (&json!("ask"), &json!(false)));
                deltas.push(event["data"].clone());
                let _ = gate.send(());
            }
            kinds.push(event["type"].as_str().unwrap().to_owned());
        }
    };
    runtime
        .block_on(async { tokio::time::timeout(TIMEOUT, watching).await })
        .expect("the run ends");
    let expected: Vec<Value> = PIECES.iter().map(|piece| json!({"delta": piece})).collect();
    assert_eq!(deltas, expected);
    let last_chunk = kinds.iter().rposition(|kind| kind == "chunk").unwrap();
    assert!(
        kinds[last_chunk..].contains(&"step_finished".to_owned()),
        "{kinds:?}"
    );
    let answer = server.get(&format!("/graph/state/{run}")).ok()["state"]["said"].take();
    assert_eq!(answer["text"], PIECES.concat());
    assert_eq!(
        (&answer["finish_reason"], &answer["usage"]["total_tokens"]),
        (&json!("stop"), &json!(57))
    );
}

#[test]
fn temporary_refusals_are_retried_and_others_fail_with_the_message_of_the_api() {
    let mut api = Api::start();
    api.gate = None;
    let server = start(&api);
    let run = |more: Value| {
        let mut graph = chat_graph(&api, more);
        graph["nodes"]["ask"]["retry"] = json!({"attempts": 2, "backoff": "1ms"});
        server.run(&server.create(&graph), &json!({}))
    };
    let busy = run(json!({"model": "'loom-busy'"}));
    assert_eq!(busy["state"]["said"]["text"], PIECES.concat(), "{busy}");
    for (more, attempts, expected) in [
        (
            json!({"model": "'loom-down'"}),
            2,
            "with status 503: The server is overloaded.",
        ),
        (
            json!({"model": "'warp-1'"}),
            1,
            "with status 404: The model `warp-1` does not exist.",
        ),
        (
            json!({"authorization": "'Bearer sk-other'", "model": "'loom-9'"}),
            1,
            "with status 401: Incorrect API key provided.",
        ),
    ] {
        let before = api.chats().len();
        let failed = run(more);
        assert_eq!(failed["status"], "failed", "{failed}");
        assert!(
            failed["error"].to_string().contains(expected),
            "{}",
            failed["error"]
        );
        assert_eq!(api.chats().len() - before, attempts, "{expected}");
    }
    let whole = run(json!({"stream": "false", "schema": "{'type': 'object'}"}));
    assert_eq!(whole["state"]["said"]["json"], json!({"looms": 3}), "{whole}");
}

#[test]
fn every_standard_function_describes_its_input_and_output() {
    let api = Api::start();
    let server = start(&api);
    let mut of_shelf = Vec::new();
    for tool in server.get("/v1/tools").ok()["tools"].as_array().unwrap() {
        let (name, plugin) = (tool["tool"].as_str().unwrap(), tool["plugin"].as_str().unwrap());
        if !["http", "llm", "json", "text", "csv", "time"].contains(&plugin) {
            continue;
        }
        of_shelf.push(name.to_owned());
        let function = &tool["function"];
        assert!(
            function["summary"]
                .as_str()
                .is_some_and(|summary| summary.len() > 20),
            "{tool}"
        );
        for side in ["input", "output"] {
            let properties = function[side]["properties"]
                .as_object()
                .unwrap_or_else(|| panic!("{side} of {tool}"));
            for (property, schema) in properties {
                assert!(
                    schema["description"]
                        .as_str()
                        .is_some_and(|expected| !expected.is_empty()),
                    "{name} says nothing of {side}.{property}"
                );
            }
        }
    }
    assert_eq!(of_shelf.len(), 24, "{of_shelf:?}");
}

#[test]
fn the_standard_plugins_give_the_same_results_in_the_sandbox() {
    let api = Api::start();
    let server = start(&api);
    let tool = |name: &str, input: Value| call(&server, name, &input);
    let value = json!({"a": [{"n": 0.1, "t": "Ær"}, {"n": 7.0, "t": "B"}]});
    let found = tool(
        "json/path",
        json!({"value": value, "path": "$.a[?search(@.t, '^\\\\p{Lu}r')].n"}),
    );
    assert_eq!(found, json!({"values": [0.1], "paths": ["$['a'][0]['n']"]}));
    let patched = tool(
        "json/patch",
        json!({"value": value, "patch": [{"op": "remove", "path": "/a/0"}]}),
    );
    assert_eq!(patched["value"]["a"], json!([{"n": 7.0, "t": "B"}]));
    let rows = tool("csv/parse", json!({"text": "id;size\n1;2,5\n", "delimiter": ";"}));
    assert_eq!(rows["rows"], json!([{"id": "1", "size": "2,5"}]));
    let replaced = tool(
        "text/replace",
        json!({"text": "Ada Lovelace", "pattern": r"(\w+) (\w+)", "with": "$2 $1"}),
    );
    assert_eq!(replaced["text"], "Lovelace Ada");
    let tokyo = tool(
        "time/convert",
        json!({"time": "2026-01-01T00:00:00Z", "zone": "Asia/Tokyo"}),
    );
    assert_eq!(tokyo["local"], "2026-01-01T09:00:00+09:00[Asia/Tokyo]");
    let wrong = server.post(
        "/v1/tools/json/template/call",
        &json!({"template": "{{ x }}", "values": {}}),
    );
    assert!(
        wrong.text.contains("line 1, column 4: `x` is undefined"),
        "{wrong:?}"
    );
}

/// Without the grant of the real clock, the time is the start of the step, the same at every attempt.
#[test]
fn now_is_the_start_time_of_the_step() {
    let api = Api::start();
    let server = start(&api);
    let graph = server.create(&json!({"nodes": {"now": {"uses": "time/now", "input": {}, "output": "now"}}}));
    let unix_ms = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let before = unix_ms();
    let run = server.run(&graph, &json!({}));
    let now = run["state"]["now"]["unix_ms"]
        .as_i64()
        .unwrap_or_else(|| panic!("{run}"));
    // Times in the journal are whole milliseconds.
    assert!((before - 1..=unix_ms()).contains(&now), "{before} <= {now}");
}
