//! Several versions of a plugin: those of graphs, those of runs, and removal.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::{Path, PathBuf};

use heddle_tests::{Server, ServerConfig, component};
use serde_json::{Value, json};

/// Writes a tool plugin of this version into a folder.
fn write(folder: &Path, file: &str, version: &str) {
    let identity = format!("shop@{version}");
    let section = b"heddle-plugin";
    let mut bytes = std::fs::read(component("fixtures/raw-tool")).unwrap();
    let len = |len: usize| u8::try_from(len).unwrap();
    bytes.extend([0, len(1 + section.len() + identity.len()), len(section.len())]);
    bytes.extend(section.iter().chain(identity.as_bytes()));
    std::fs::write(folder.join(file), bytes).unwrap();
}

/// Registers a version over HTTP.
fn add(server: &Server, version: &str) -> Value {
    write(server.folder(), "upload", version);
    let bytes = std::fs::read(server.folder().join("upload")).unwrap();
    let headers = [("content-type", "application/wasm")];
    server.post_with("/v1/plugins", &bytes, &headers).ok()
}

/// A server with an empty plugins folder.
fn server() -> Server {
    let config = ServerConfig::default();
    for file in std::fs::read_dir(plugins(&config)).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    Server::start_with_config(config)
}

fn plugins(config: &ServerConfig) -> PathBuf {
    config.folder().join("plugins")
}

/// The plugin version in the events of a run.
fn version_of(run: &Value) -> String {
    let started = run["logs"].as_array().unwrap();
    let started = started
        .iter()
        .find(|event| event["type"] == "run_started")
        .unwrap();
    let functions = started["functions"].as_object().unwrap();
    functions.values().next().unwrap()["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn go() -> Value {
    json!({"name": "go"})
}

fn graph(uses: &str) -> Value {
    json!({"nodes": {"one": {"uses": uses}}})
}

fn run(server: &Server, graph: &str) -> Value {
    server.run(graph, &json!({"text": "{}"}))
}

#[test]
fn a_graph_keeps_its_function_versions_until_it_is_created_again() {
    let server = server();
    add(&server, "1.2.0");
    let floating = server.create(&graph("shop/as-given"));
    let ranged = server.create(&graph("shop/as-given@^1.2"));
    let exact = server.create(&graph("shop/as-given@1.2.0"));
    add(&server, "1.3.0");
    add(&server, "2.0.0");
    for graph in [&floating, &ranged, &exact] {
        assert_eq!(version_of(&run(&server, graph)), "1.2.0");
    }
    let shown = server.get(&format!("/v1/graphs/{floating}")).ok();
    assert_eq!(shown["functions"]["shop/as-given"]["version"], "1.2.0");

    assert_eq!(server.create(&graph("shop/as-given")), floating, "the same id");
    server.create(&graph("shop/as-given@^1.2"));
    server.create(&graph("shop/as-given@1.2.0"));
    // It is stored, not only in memory.
    let server = server.restart();
    for (graph, version) in [(&floating, "2.0.0"), (&ranged, "1.3.0"), (&exact, "1.2.0")] {
        assert_eq!(version_of(&run(&server, graph)), version);
    }
    let refused = server.post("/v1/graphs", &graph("shop/as-given@^3")).problem(422);
    let detail = refused["errors"][0]["message"].as_str().unwrap();
    assert!(detail.contains("there is 2.0.0, 1.3.0, 1.2.0"), "{detail}");
    let answer = server.post("/v1/tools/shop/as-given@1/call", &json!({"text": "[7]"}));
    assert_eq!(
        answer.ok()["output"],
        json!({"text": "[7]"}),
        "a tool is called so, too"
    );
}

#[test]
fn a_plugin_in_use_is_removed_only_by_force() {
    let server = server();
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| add(&server, version));
    let waits = json!({
        "nodes": {"wait": {"wait": {"signal": "go"}}, "one": {"uses": "shop/as-given@1.0.0"}},
        "edges": {"wait": "one"},
    });
    let waits = server.create(&waits);
    let waiting = server.start_run(&waits, &json!({"text": "{}"}));
    server.delete("/v1/plugins/shop/3.0.0").problem(404);
    server.delete("/v1/plugins/stop").problem(404);
    let refused = server.delete("/v1/plugins/shop/1.0.0").problem(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(&waits) && detail.contains(&waiting), "{detail}");
    assert_eq!(refused["type"], "urn:heddle:problem:plugin-needed");
    server.delete("/v1/plugins/shop").problem(409);

    // Nothing uses the other version.
    let removed = server.delete("/v1/plugins/shop/2.0.0").ok();
    assert_eq!(removed["removed"][0]["digest"], new["digest"]);
    server.get("/v1/plugins/shop/2.0.0").problem(404);
    assert_eq!(server.get("/v1/plugins/shop/1.0.0").ok()["digest"], old["digest"]);

    server.delete("/v1/plugins/shop?force=true").ok();
    let server = server.restart();
    server.get("/v1/plugins/shop").problem(404);
    let start = server
        .post("/v1/runs", &json!({"graph": waits, "state": {}}))
        .problem(409);
    let detail = start["detail"].as_str().unwrap();
    assert!(
        detail.contains("shop@1.0.0") && detail.contains("create the graph again"),
        "{detail}"
    );
    server.post(&format!("/v1/runs/{waiting}/signal"), &go()).ok();
    let run = server.wait(&waiting);
    assert_eq!(run["status"], "failed");
    let detail = run["error"]["message"].as_str().unwrap();
    assert!(
        detail.contains("shop@1.0.0") && detail.contains("is not registered"),
        "{detail}"
    );
}

#[test]
fn a_run_keeps_its_version_when_the_file_in_the_folder_is_another() {
    let server = server();
    write(&plugins(server.config()), "shop.wasm", "1.0.0");
    let server = server.restart();
    let waits = json!({
        "nodes": {"wait": {"wait": {"signal": "go"}}, "one": {"uses": "shop/as-given"}},
        "edges": {"wait": "one"},
    });
    let graph = server.create(&waits);
    let waiting = server.start_run(&graph, &json!({"text": "{}"}));
    write(&plugins(server.config()), "shop.wasm", "1.1.0");
    let server = server.restart();
    let listed = server.get("/v1/plugins").ok();
    assert_eq!(listed["plugins"][0]["version"], "1.1.0");
    assert_eq!(listed["plugins"].as_array().unwrap().len(), 1);
    server.post(&format!("/v1/runs/{waiting}/signal"), &go()).ok();
    let old = server.wait(&waiting);
    assert_eq!(
        (&old["status"], version_of(&old).as_str()),
        (&json!("finished"), "1.0.0")
    );
    // The graph is unchanged too.
    let started = server.start_run(&graph, &json!({"text": "{}"}));
    server.post(&format!("/v1/runs/{started}/signal"), &go()).ok();
    assert_eq!(version_of(&server.wait(&started)), "1.0.0");
}
