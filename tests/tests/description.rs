//! `/openapi.json` is correct: every operation responds as described, and its examples work.
//!
//! The harness checks every response of every test. These tests produce every response that needs no special limit or
//! fault.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeSet;

use heddle_tests::{Server, component, openapi::OpenApi, repository};
use serde_json::{Value, json};

const UNKNOWN: &str = "018f0000-0000-7000-8000-000000000000";
/// Responses that other tests produce because they need a special limit or fault.
const ELSEWHERE: [(&str, &str); 30] = [
    ("call_tool", "502"),
    ("call_tool", "503"),
    ("call_tool", "504"),
    ("cancel_run", "503"),
    ("fork_run", "409"),
    ("fork_run", "429"),
    ("graph_run", "409"),
    ("graph_run", "429"),
    ("import_run", "413"),
    ("inspect_plugin", "409"),
    ("inspect_plugin", "503"),
    ("pause_run", "503"),
    ("put_schedule", "409"),
    ("readyz", "503"),
    ("register_plugin", "409"),
    ("register_plugin", "503"),
    ("resume_run", "503"),
    ("retry_run", "503"),
    ("run_schedule", "409"),
    ("run_schedule", "429"),
    ("signal_run", "429"),
    ("signal_run", "503"),
    ("start_run", "429"),
    ("upgrade_run", "503"),
    ("create_graph", "409"),
    ("delete_graph", "409"),
    ("delete_graph", "503"),
    ("graph_create", "409"),
    ("import_run", "429"),
    ("ws_logs", "503"),
];

/// A server with the graphs of the demo.
fn demo() -> Server {
    let server = Server::start_with(&["--grant-over-http"]);
    for plugin in ["starter", "code-review", "data-quality", "summarize"] {
        server.create_file(&format!("plugins/{plugin}/graph.json"));
    }
    server
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
        .to_owned()
}

/// A run that waits for a signal.
fn waiting(server: &Server) -> String {
    let graph = json!({"name": "ask", "nodes": {"ask": {"wait": {
        "signal": "approval", "schema": {"type": "object", "required": ["approved"]},
    }}}});
    let created = server.post("/v1/graphs", &graph);
    assert!(created.status < 300, "{created:?}");
    let run = text(
        &server.post("/v1/runs", &json!({"graph": "ask"})).json(),
        "run_id",
    );
    heddle_tests::wait_for_event(&format!("ws://{}/ws/logs/{run}", server.address), |event| {
        event["type"] == "step_started"
    });
    run
}

/// A run that failed.
fn failed(server: &Server) -> String {
    let graph = server.create(&json!({"nodes": {"panic": {}}}));
    let run = server.post("/v1/runs?wait=60s", &json!({"graph": graph})).ok();
    assert_eq!(run["status"], "failed", "{run}");
    text(&run, "run_id")
}

fn graphs(server: &Server) {
    let graph = json!({"name": "words", "nodes": {"extract": {}}});
    assert_eq!(server.post("/v1/graphs", &graph).status, 201);
    assert_eq!(server.post("/v1/graphs", &graph).status, 200);
    let wrong = json!({"nodes": {"extract": {}}, "edges": {"extract": "nowhere"}});
    server.post("/v1/graphs", &wrong).problem(422);
    server.post("/graph/create", &wrong).problem(422);
    assert_eq!(server.post("/v1/graphs:check", &wrong).ok()["valid"], false);
    assert_eq!(server.post("/v1/graphs:check", &graph).ok()["valid"], true);
    let json_type = [("content-type", "application/json")];
    server
        .post_with("/v1/graphs:check", b"{", &json_type)
        .problem(400);
    server.get("/v1/graphs?page_size=1").ok();
    server.get("/v1/graph.schema.json").ok();
    for name in ["starter", "code-review", "data-quality", "summarize", "words"] {
        server.get(&format!("/v1/graphs/{name}")).ok();
        for format in ["svg", "mermaid", "dot"] {
            let picture = server.get(&format!("/v1/graphs/{name}/picture?format={format}"));
            assert_eq!(picture.status, 200);
        }
    }
    server.get("/v1/graphs/nope").problem(404);
    server.get("/v1/graphs/nope/picture").problem(404);
}

fn runs(server: &Server) {
    let start = json!({"graph": "starter", "state": {"input": "some data"}, "priority": 5});
    let started = server.post("/v1/runs", &start);
    assert_eq!((started.status, &started.json()["priority"]), (202, &json!(5)));
    let run = text(&server.post("/v1/runs?wait=60s", &start).ok(), "run_id");
    server.post("/v1/runs", &json!({"graph": "nope"})).problem(404);
    server.post("/v1/runs", &json!({"graph": 1})).problem(422);
    server
        .post(
            "/graph/run",
            &json!({"graph_id": "starter", "initial_state": {"input": "a"}}),
        )
        .ok();
    server
        .post("/graph/run", &json!({"graph_id": "nope"}))
        .problem(404);
    server.post("/graph/run", &json!({})).problem(422);
    server.get(&format!("/graph/state/{run}")).ok();
    server.get(&format!("/graph/state/{UNKNOWN}")).problem(404);
    server.get("/v1/runs?page_size=1").ok();
    server.get("/v1/runs?status=finished").ok();
    server.get("/v1/runs?graph=nope");
    server.get(&format!("/ws/logs/{run}")).problem(426);
    server.watch(&run, "");

    let events = format!("/v1/runs/{run}/events");
    server.get(&events).ok();
    let stream = [("accept", "text/event-stream")];
    assert_eq!(server.get_with(&events, &stream).status, 200);
    let last = server.get(&events).ok()["next_after"].to_string();
    let back = [("accept", "text/event-stream"), ("last-event-id", last.as_str())];
    assert_eq!(server.get_with(&events, &back).status, 204);
    server.get(&format!("/v1/runs/{UNKNOWN}/events")).problem(404);

    server.get(&format!("/v1/runs/{run}/steps?limit=1")).ok();
    for step in 0..=2 {
        server.get(&format!("/v1/runs/{run}/steps/{step}")).ok();
    }
    server.get(&format!("/v1/runs/{run}/diff?from=0&to=2")).ok();
    let export = server.get(&format!("/v1/runs/{run}/export"));
    let bytes = [("accept", "application/octet-stream")];
    let same = server.get_with(&format!("/v1/runs/{run}/export"), &bytes);
    assert_eq!((same.status, same.content_type.as_str()), (200, bytes[0].1));
    let import = |export: &str, kind: &str| {
        server.post_with("/v1/runs:import", export.as_bytes(), &[("content-type", kind)])
    };
    import(&export.text, "application/x-ndjson").problem(409);
    import("no export", "application/x-ndjson").problem(422);
    assert_eq!(server.delete(&format!("/v1/runs/{run}")).status, 204);
    assert_eq!(import(&export.text, "application/octet-stream").status, 201);
    for path in ["", "/steps", "/steps/1", "/diff?from=0&to=1", "/export"] {
        server.get(&format!("/v1/runs/{UNKNOWN}{path}")).problem(404);
    }
    server.delete(&format!("/v1/runs/{UNKNOWN}")).problem(404);
}

fn steering(server: &Server) {
    let run = waiting(server);
    let at = |path: &str| format!("/v1/runs/{run}/{path}");
    let of_none = |path: &str| format!("/v1/runs/{UNKNOWN}/{path}");
    assert!(
        !server.get(&format!("/v1/runs/{run}")).ok()["waits"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    server.delete(&format!("/v1/runs/{run}")).problem(409);
    for command in ["pause", "resume", "retry", "upgrade", "cancel"] {
        server.post(&of_none(command), &json!({})).problem(404);
    }
    server.post(&at("resume"), &json!({})).problem(409);
    server.post(&at("retry"), &json!({})).problem(409);
    server.post(&at("pause"), &json!({"reason": "a look"})).ok();
    server.post(&at("pause"), &json!({})).problem(409);
    server.post(&at("upgrade"), &json!({})).ok();
    server.post(&at("resume"), &json!({})).ok();
    server
        .post(&of_none("signal"), &json!({"name": "approval"}))
        .problem(404);
    server.post(&at("signal"), &json!({"name": "other"})).problem(404);
    server
        .post(&at("signal"), &json!({"name": "approval", "payload": {}}))
        .problem(422);
    server
        .post(
            &at("signal"),
            &json!({"name": "approval", "payload": {"approved": true}}),
        )
        .ok();
    server.wait(&run);
    server
        .post(&at("signal"), &json!({"name": "approval"}))
        .problem(409);
    server.post(&at("cancel"), &json!({})).problem(409);
    server.post(&at("upgrade"), &json!({})).problem(409);
    server
        .post(&at("fork"), &json!({"step": 0, "state": {"approved": null}}))
        .ok();
    server.post(&at("fork"), &json!({"step": 7})).problem(404);
    server.post(&at("fork"), &json!({})).problem(422);
    let other = waiting(server);
    server
        .post(&format!("/v1/runs/{other}/cancel"), &json!({"grace": "0s"}))
        .ok();
    let failed = failed(server);
    server.get(&format!("/v1/runs/{failed}/steps")).ok();
    server.post(&format!("/v1/runs/{failed}/retry"), &json!({})).ok();

    let key = [
        ("content-type", "application/json"),
        ("idempotency-key", "the-same"),
    ];
    let start = |body: &Value| server.post_with("/v1/runs", body.to_string().as_bytes(), &key);
    start(&json!({"graph": "starter", "state": {"input": "a"}})).ok();
    start(&json!({"graph": "starter", "state": {"input": "a"}})).ok();
    start(&json!({"graph": "starter", "state": {"input": "b"}})).problem(422);
}

fn schedules(server: &Server) {
    let schedule = |graph: &str| json!({"name": "hourly", "graph": graph, "when": {"every": "1h"}});
    assert_eq!(server.post("/v1/schedules", &schedule("starter")).status, 201);
    assert_eq!(server.post("/v1/schedules", &schedule("words")).status, 200);
    server.post("/v1/schedules", &schedule("nope")).problem(422);
    server.get("/v1/schedules").ok();
    server.get("/v1/schedules/hourly").ok();
    for command in ["pause", "resume", "run"] {
        server
            .post(&format!("/v1/schedules/hourly/{command}"), &json!({}))
            .ok();
        server
            .post(&format!("/v1/schedules/nope/{command}"), &json!({}))
            .problem(404);
    }
    server.get("/v1/schedules/hourly").ok();
    assert_eq!(server.delete("/v1/schedules/hourly").status, 204);
    server.delete("/v1/schedules/hourly").problem(404);
    server.get("/v1/schedules/hourly").problem(404);
}

fn plugins(server: &Server) {
    let bytes = std::fs::read(component("fixtures/raw-tool")).unwrap();
    let upload =
        |path: &str, bytes: &[u8], kind: &str| server.post_with(path, bytes, &[("content-type", kind)]);
    let (add, wasm) = ("/v1/plugins?name=echoes", "application/wasm");
    upload(
        "/v1/plugins:inspect?name=echoes",
        &bytes,
        "application/octet-stream",
    )
    .ok();
    upload("/v1/plugins:inspect", b"text", wasm).problem(422);
    assert_eq!(upload(add, &bytes, wasm).status, 201);
    assert_eq!(upload(add, &bytes, "application/octet-stream").status, 200);
    upload(add, b"text", wasm).problem(422);
    server.get("/v1/plugins").ok();
    server.get("/v1/plugins/echoes").ok();
    server.get("/v1/plugins/nope").problem(404);
    let version = text(&server.get("/v1/plugins/starter").ok()["versions"][0], "version");
    server.get(&format!("/v1/plugins/starter/{version}")).ok();
    server.get("/v1/plugins/starter/0.0.0").problem(404);
    server.delete("/v1/plugins/starter").problem(409);
    server
        .delete(&format!("/v1/plugins/starter/{version}"))
        .problem(409);
    server.delete("/v1/plugins/nope").problem(404);
    server.delete("/v1/plugins/nope/1.0.0").problem(404);
    server.delete("/v1/plugins/echoes").ok();
    let bench = text(&server.get("/v1/plugins/bench").ok()["versions"][0], "version");
    server
        .delete(&format!("/v1/plugins/bench/{bench}?force=true"))
        .ok();

    server.get("/v1/tools").ok();
    server.get("/v1/tools/starter/reading_ease").ok();
    server.get("/v1/tools/starter/nope").problem(404);
    server
        .post(
            "/v1/tools/starter/reading_ease/call",
            &json!({"text": "One. Two."}),
        )
        .ok();
    server
        .post("/v1/tools/starter/reading_ease/call", &json!({"txt": 1}))
        .problem(422);
    server
        .post("/v1/tools/starter/nope/call", &json!({}))
        .problem(404);

    let policy = "/v1/plugins/granted/policy";
    server.get(policy).ok();
    server.put(policy, &json!({"env": {"COLOUR": "green"}})).ok();
    server.put(policy, &json!({"envs": {}})).problem(422);
    assert_eq!(server.delete(policy).status, 204);
    server.delete(policy).problem(404);
    server.delete("/v1/plugins/no%20name/policy").problem(422);
}

/// Operations that the operator's settings forbid.
fn policies_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, "plugins:\n  granted:\n    env: {COLOUR: blue}\n").unwrap();
    let policy = "/v1/plugins/granted/policy";
    let server = Server::start_with(&["--grant-over-http", "--policy", file.to_str().unwrap()]);
    server.put(policy, &json!({})).problem(409);
    server.delete(policy).problem(409);
    let closed = Server::start();
    closed.get(policy).problem(403);
    closed.put(policy, &json!({})).problem(403);
    closed.delete(policy).problem(403);
}

/// A graph whose function was removed.
fn broken(server: &Server) {
    server.create(&json!({"name": "needs", "nodes": {"upper": {"uses": "basics/upper"}}}));
    server.delete("/v1/plugins/basics?force=true").ok();
    server.post("/v1/runs", &json!({"graph": "needs"})).problem(409);
}

/// Responses of all operations, and of all operations with a body.
fn common(server: &Server) {
    let json_type = ("content-type", "application/json");
    server
        .post_with("/v1/runs", b"{}", &[("content-type", "text/plain")])
        .problem(415);
    server.post_with("/v1/runs", b"{", &[json_type]).problem(400);
    server
        .post_with("/v1/runs", b"{}", &[json_type, ("idempotency-key", "two words")])
        .problem(400);
    server
        .get_with("/v1/runs", &[("host", "example.org")])
        .problem(421);
    server
        .get_with("/v1/runs", &[("origin", "https://example.org")])
        .problem(403);
    server.put("/v1/runs", &json!({})).problem(405);
    let graph = server.create(&json!({"name": "deleted", "nodes": {"a": {"uses": "basics/upper"}}}));
    let path = format!("/v1/graphs/{graph}");
    assert_eq!(server.delete(&path).status, 204);
    server.delete(&path).problem(404);
    server.get("/v1/runs/nonsense").problem(400);
    let large = format!(
        "{{\"graph\": \"starter\", \"state\": {{\"a\": \"{}\"}}}}",
        "x".repeat(17 << 20)
    );
    server
        .post_with("/v1/runs", large.as_bytes(), &[json_type])
        .problem(413);
    server.get("/v1/plugins/basics/grants").ok();
    server.get("/healthz").ok();
    server.get("/readyz").ok();
}

/// The responses that an operation itself describes.
fn particular(description: &OpenApi) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for (id, operation) in description.operations() {
        let responses = operation["responses"].as_object().unwrap();
        for (status, response) in responses {
            if response.get("$ref").is_none() {
                all.insert((id.to_owned(), status.clone()));
            }
        }
    }
    all
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let server = demo();
    graphs(&server);
    runs(&server);
    steering(&server);
    schedules(&server);
    common(&server);
    plugins(&server);
    broken(&server);
    policies_elsewhere();
    let mut missing = particular(server.openapi());
    missing.remove(&("ws_logs".to_owned(), "101".to_owned()));
    for seen in server.openapi().seen() {
        missing.remove(&seen);
    }
    for (id, status) in ELSEWHERE {
        let known = missing.remove(&(id.to_owned(), status.to_owned()));
        assert!(known, "{id} is not described to answer {status}, or was seen to");
    }
    assert!(missing.is_empty(), "described and never answered: {missing:?}");
}

/// The example of a request body.
fn example(server: &Server, id: &str) -> Value {
    let description = server.openapi();
    let (_, operation) = description.operations().find(|(known, _)| *known == id).unwrap();
    let content = &operation["requestBody"]["content"]["application/json"];
    if content.get("example").is_some() {
        return content["example"].clone();
    }
    let schema = &content["schema"];
    let name = schema["$ref"]
        .as_str()
        .or_else(|| schema["oneOf"][0]["$ref"].as_str())
        .unwrap();
    let document = description.document();
    document
        .pointer(&format!("{}/example", &name[1..]))
        .unwrap_or_else(|| panic!("{id} has no example"))
        .clone()
}

#[test]
fn the_examples_of_requests_work_on_the_samples() {
    let server = demo();
    let ok = |path: &str, id: &str| server.post(path, &example(&server, id)).ok();
    ok("/graph/create", "graph_create");
    ok("/v1/graphs", "create_graph");
    assert_eq!(ok("/v1/graphs:check", "check_graph")["valid"], true);
    let run = text(&ok("/graph/run", "graph_run"), "run_id");
    assert_eq!(server.wait(&run)["status"], "finished");
    let run = ok("/v1/runs?wait=30s", "start_run");
    assert_eq!(run["status"], "finished", "{run}");
    let fork = ok(&format!("/v1/runs/{}/fork", text(&run, "run_id")), "fork_run");
    assert_eq!(server.wait(&text(&fork, "run_id"))["status"], "finished");
    assert_eq!(ok("/v1/schedules", "put_schedule")["name"], "morning-report");
    ok("/v1/tools/starter/reading_ease/call", "call_tool");
    let policy = server
        .put(
            "/v1/plugins/starter/policy",
            &example(&server, "set_plugin_policy"),
        )
        .ok();
    assert!(!policy["grants"].as_array().unwrap().is_empty(), "{policy}");

    let run = waiting(&server);
    ok(&format!("/v1/runs/{run}/pause"), "pause_run");
    ok(&format!("/v1/runs/{run}/resume"), "resume_run");
    ok(&format!("/v1/runs/{run}/signal"), "signal_run");
    assert_eq!(server.wait(&run)["status"], "finished");
    let run = waiting(&server);
    ok(&format!("/v1/runs/{run}/cancel"), "cancel_run");
    let failed = server
        .post("/v1/runs?wait=60s", &json!({"graph": "starter"}))
        .ok();
    ok(
        &format!("/v1/runs/{}/upgrade", text(&failed, "run_id")),
        "upgrade_run",
    );
}

#[test]
fn the_examples_of_parameters_exist_in_the_samples() {
    let server = demo();
    server
        .post("/v1/schedules", &example(&server, "put_schedule"))
        .ok();
    let paths = server.openapi().document()["paths"].as_object().unwrap();
    let mut count = 0;
    for (path, operations) in paths {
        let operation = &operations["get"];
        let mut address = path.clone();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if let (Some(name), Some(example)) = (parameter["name"].as_str(), parameter["example"].as_str()) {
                address = address.replace(&format!("{{{name}}}"), example);
            }
        }
        if operation.is_object() && !address.contains('{') {
            let answer = server.get(&address);
            assert_eq!(answer.status, 200, "{address}: {answer:?}");
            count += 1;
        }
    }
    assert!(count >= 14, "{count}");
}

#[test]
fn an_editor_s_graph_without_edges_state_and_limits_fits_its_description() {
    let server = Server::start();
    let definition = json!({"nodes": {"extract": {}}});
    let created = server.post("/v1/graphs", &definition).ok();
    let graph = server
        .get(&format!("/v1/graphs/{}", text(&created, "graph_id")))
        .ok();
    assert_eq!(graph["definition"], definition);
    let written = std::fs::read_to_string(repository().join("docs/graph.schema.json")).unwrap();
    let format: Value = serde_json::from_str(&written).unwrap();
    let described = &server.openapi().document()["components"]["schemas"]["GraphDefinition"];
    assert_eq!(described["required"], format["required"]);
    let keys = |schema: &Value| -> BTreeSet<String> {
        schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(described), keys(&format));
}
