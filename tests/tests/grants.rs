//! Grants of plugins: by the policy file, over HTTP, and narrowed by nodes.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Server, ServerConfig, fault};
use serde_json::{Value, json};

const POLICY: &str = "/v1/plugins/granted/policy";

/// The result of a run of `granted/env`.
fn env(server: &Server, grants: Option<Value>) -> Value {
    let mut node = json!({"uses": "granted/env"});
    if let Some(grants) = grants {
        node["grants"] = grants;
    }
    let graph = server.create(&json!({"nodes": {"env": node}}));
    let run = server.run(&graph, &json!({}));
    assert_eq!(run["status"], "finished", "{run}");
    run["state"]["env"].clone()
}

#[test]
fn grants_are_set_over_http_if_the_operator_allows_it_and_stored() {
    let closed = Server::start();
    for answer in [
        closed.get(POLICY),
        closed.put(POLICY, &json!({})),
        closed.delete(POLICY),
    ] {
        let problem = answer.problem(403);
        assert!(
            problem["detail"].as_str().unwrap().contains("--grant-over-http"),
            "{problem}"
        );
    }
    drop(closed);

    let server = Server::start_with(&["--grant-over-http"]);
    assert_eq!(server.get(POLICY).ok()["from"], "nobody");
    assert_eq!(env(&server, None), json!({}));
    let policy = json!({"env": {"COLOUR": "green"}});
    let set = server.put(POLICY, &policy).ok();
    assert_eq!(
        set,
        json!({"plugin": "granted", "from": "api", "policy": policy, "grants": ["env: COLOUR"]})
    );
    assert_eq!(env(&server, None), json!({"COLOUR": "green"}));
    assert_eq!(env(&server, Some(json!({}))), json!({}), "a node leaves nothing");
    let plugin = server.get("/v1/plugins/granted").ok();
    assert_eq!(plugin["versions"][0]["grants"], json!(["env: COLOUR"]));

    let refused = server.put(POLICY, &json!({"envs": {}})).problem(422);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("/envs: unknown field"),
        "{refused}"
    );
    let server = server.restart();
    assert_eq!(env(&server, None), json!({"COLOUR": "green"}), "kept");

    let mut without = server.config().clone();
    without.arguments.clear();
    let server = server.restart_with_config(without);
    server.until_logged("--grant-over-http restores them");
    assert_eq!(env(&server, None), json!({}), "the flag is gone");
    let mut with: ServerConfig = server.config().clone();
    with.arguments.push("--grant-over-http".to_owned());
    let server = server.restart_with_config(with);
    assert_eq!(server.delete(POLICY).status, 204);
    server.delete(POLICY).problem(404);
    assert_eq!(env(&server, None), json!({}));
}

#[test]
fn the_policy_file_overrides_stored_policies() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, "plugins:\n  granted:\n    env: {COLOUR: blue}\n").unwrap();
    let server = Server::start_with(&["--grant-over-http", "--policy", file.to_str().unwrap()]);
    assert_eq!(server.get(POLICY).ok()["from"], "file");
    server.put(POLICY, &json!({})).problem(409);
    server.delete(POLICY).problem(409);
    assert_eq!(env(&server, None), json!({"COLOUR": "blue"}));
    let graph = json!({"nodes": {"env": {"uses": "granted/env", "grants": {"env": "COLOUR"}}}});
    let refused = server.post("/v1/graphs", &graph).problem(422);
    assert!(
        refused["errors"][0]["pointer"] == "/nodes/env/grants/env",
        "{refused}"
    );
}

#[test]
fn a_hanging_file_system_blocks_only_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let (data, gate) = (folder.path().join("data"), folder.path().join("gate"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("a.txt"), "an answer").unwrap();
    std::fs::write(&gate, "").unwrap();
    let policy = folder.path().join("policy.yaml");
    let granted = json!({"plugins": {"granted": {"dirs": [{"path": data, "at": "/data"}]}}});
    std::fs::write(&policy, granted.to_string()).unwrap();
    let mut config = ServerConfig::default();
    config
        .arguments
        .extend(["--call-timeout", "1", "--policy", policy.to_str().unwrap()].map(str::to_owned));
    config.environment.extend(fault::stalled(&data, &gate));
    let server = Server::start_with_config(config);
    let node = json!({"uses": "granted/file", "config": {"tries": ["read /data/a.txt"]}});
    let reads = server.create(&json!({"nodes": {"read": node}}));

    // More calls than the plugin may have threads.
    let runs: Vec<_> = (0..20).map(|_| server.start_run(&reads, &json!({}))).collect();
    for run in runs {
        assert_eq!(server.wait(&run)["status"], "failed");
    }
    // No call waits for a thread that never becomes free.
    let refused = server.run(&reads, &json!({}));
    assert_eq!(refused["error"]["code"], "unavailable", "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("all 16 threads for files that plugin `granted` may have"),
        "{message}"
    );
    // Everything else continues.
    let words = server.create(&json!({"nodes": {"extract": {}}}));
    assert_eq!(
        server.run(&words, &json!({"input": "warp"}))["status"],
        "finished"
    );
    assert_eq!(server.get("/readyz").status, 200);

    std::fs::remove_file(&gate).unwrap();
    server.until_logged("no thread for files is stuck any more");
    assert_eq!(server.run(&reads, &json!({}))["state"]["text"], "an answer");
}
