//! A server whose store is in PostgreSQL.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

#[path = "../../engine/store/tests/store/cluster.rs"]
#[allow(dead_code, reason = "the tests of the store use the rest")]
mod cluster;

use std::process::{Command, Output};

use heddle_tests::{Server, ServerConfig, heddle};
use serde_json::{Value, json};

use self::cluster::{PASSWORD, cluster};

fn config(database: &str) -> ServerConfig {
    ServerConfig::with_store(cluster().url(database))
}

fn store(arguments: &[&str]) -> Output {
    Command::new(heddle())
        .arg("store")
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

/// Two steps with a wait between them.
fn waits(server: &Server) -> String {
    server.create(&json!({
        "start": "a",
        "nodes": {
            "a": {"uses": "bench/touch", "config": {"key": "a"}},
            "w": {"wait": {"signal": "go"}},
            "b": {"uses": "bench/touch", "config": {"key": "b"}},
        },
        "edges": {"a": "w", "w": "b"},
    }))
}

#[test]
fn acknowledged_runs_survive_a_kill_of_the_server() {
    let database = cluster().database();
    let mut server = Server::start_with_config(config(&database));
    let graph = waits(&server);
    let slow = server.create(&json!({
        "start": "s",
        "nodes": {"s": {"uses": "hostile/sleep", "config": {"ms": 600}}, "b": {"uses": "bench/touch", "config": {"key": "b"}}},
        "edges": {"s": "b"},
    }));
    let waiting: Vec<String> = (0..10).map(|_| server.start_run(&graph, &json!({}))).collect();
    let running: Vec<String> = (0..10).map(|_| server.start_run(&slow, &json!({}))).collect();
    server.kill();
    let mut server = server.restart();
    for run in &running {
        assert_eq!(server.wait(run)["status"], "finished");
    }
    for run in &waiting {
        server
            .post(&format!("/v1/runs/{run}/signal"), &json!({"name": "go"}))
            .ok();
        let state = server.wait(run);
        assert_eq!(state["status"], "finished", "{state}");
        let events = state["logs"].as_array().unwrap();
        let numbers: Vec<u64> = events
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    }
    let checked = store(&["check", "--json", "--store", &cluster().url(&database)]);
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (&report["sound"], &report["runs"]),
        (&json!(true), &json!(20)),
        "{report}"
    );
    server.stop("TERM");
}

#[test]
fn a_store_moves_to_postgresql_and_back() {
    let mut server = Server::start();
    let graph = waits(&server);
    let run = server.start_run(&graph, &json!({}));
    server.get(&format!("/v1/runs/{run}?wait=5s"));
    server.stop("TERM");
    let file = format!("sqlite:{}", server.config().store.display());
    let database = cluster().database();
    let copied = store(&["copy", &file, &cluster().url(&database)]);
    assert!(copied.status.success(), "{copied:?}");
    assert!(text(&copied.stdout).contains("runs 1,"), "{copied:?}");
    let mut moved = Server::start_with_config(config(&database));
    moved
        .post(&format!("/v1/runs/{run}/signal"), &json!({"name": "go"}))
        .ok();
    let state = moved.wait(&run);
    assert_eq!(state["status"], "finished", "{state}");
    moved.stop("TERM");
    let mut back = server.config().clone();
    back.store = server.folder().join("back.db");
    let copied = store(&[
        "copy",
        "--json",
        &cluster().url(&database),
        &format!("sqlite:{}", back.store.display()),
    ]);
    let report: Value = serde_json::from_slice(&copied.stdout).unwrap();
    assert_eq!(report["rows"]["runs"], 1, "{report}");
    let server = Server::start_with_config(back);
    assert_eq!(server.wait(&run)["logs"], state["logs"]);
}

#[test]
fn a_password_is_never_shown() {
    let database = cluster().database();
    let config = ServerConfig::with_store(cluster().tcp_url(&database));
    let mut server = Server::start_with_config(config);
    server.stop("TERM");
    let log = server.log.lock().unwrap().clone();
    let place = format!("@127.0.0.1:{}/{database}", cluster().port);
    assert!(log.contains(&place), "{log}");
    for secret in [PASSWORD, "ge%20heim"] {
        assert!(!log.contains(secret), "{log}");
    }
    let port = cluster().port;
    let wrong = store(&[
        "check",
        "--store",
        &format!("postgres://heddle:geheim@127.0.0.1:{port}/{database}"),
    ]);
    let message = text(&wrong.stderr);
    assert!(
        message.contains("password authentication failed") && !message.contains("geheim"),
        "{message}"
    );
    let wrong = store(&["check", "--store", "postgres://heddle:geheim@127.0.0.1:geheim/x"]);
    let message = text(&wrong.stderr);
    assert!(
        message.contains("not a port number") && !message.contains("geheim"),
        "{message}"
    );
    assert_eq!(wrong.status.code(), Some(2));
}
