//! The `heddle` command against a running server: what it prints, and how it exits.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::process::{Command, Output};

use heddle_tests::{Server, component, heddle, repository};
use serde_json::Value;

fn run(server: &Server, arguments: &[&str]) -> Output {
    let url = format!("http://{}", server.address);
    Command::new(heddle())
        .args(arguments)
        .env("HEDDLE_SERVER", url)
        .output()
        .expect("the command runs")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("stdout is text")
}

fn file(path: &str) -> String {
    repository().join(path).display().to_string()
}

#[test]
fn a_plugin_is_added_and_listed() {
    let server = Server::start();
    let raw = component("fixtures/raw-tool").display().to_string();
    assert_eq!(
        stdout(&run(&server, &["plugin", "add", &raw, "--name", "given"])),
        "given@0.0.0\n"
    );
    let listed = stdout(&run(&server, &["plugin", "list"]));
    assert!(
        listed.contains("given@0.0.0") && listed.contains("as-given"),
        "{listed}"
    );
    assert!(
        listed.contains("bench@0.1.0") && listed.contains("touch"),
        "{listed}"
    );

    let other = component("fixtures/other").display().to_string();
    let refused = run(&server, &["plugin", "add", &other]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        told.starts_with("error: ") && told.contains("heddle:plugin/node"),
        "{told}"
    );
}

#[test]
fn a_graph_is_created_run_and_followed_to_its_final_state() {
    let server = Server::start();
    let id = stdout(&run(
        &server,
        &["graph", "create", &file("plugins/starter/graph.json")],
    ));
    assert!(stdout(&run(&server, &["graph", "list"])).contains(id.trim()));
    let followed = stdout(&run(
        &server,
        &[
            "run",
            "starter",
            "--state",
            r#"{"input": "one 2 three"}"#,
            "--follow",
        ],
    ));
    assert!(
        followed.contains("run finished") && followed.contains("Final state"),
        "{followed}"
    );
    assert!(followed.contains("\"three\""), "{followed}");

    let started = stdout(&run(&server, &["run", "starter", "--state", r#"{"input": "x"}"#]));
    let lines = stdout(&run(&server, &["watch", started.trim(), "--json"]));
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["type"], "run_started");
    assert_eq!(events[events.len() - 1]["type"], "run_finished");
    let rest = stdout(&run(
        &server,
        &["watch", started.trim(), "--json", "--after", "3"],
    ));
    assert_eq!(rest.lines().count(), events.len() - 3);
}

#[test]
fn what_goes_wrong_is_told_on_stderr_with_an_exit_code() {
    let server = Server::start();
    let code = |arguments: &[&str]| run(&server, arguments).status.code();
    let broken = server.folder().join("graph.json");
    std::fs::write(&broken, r#"{"nodes": {"extrakt": {}}}"#).unwrap();
    let refused = run(&server, &["graph", "create", &broken.display().to_string()]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        told.contains("/nodes/extrakt") && told.contains("extract"),
        "{told}"
    );

    std::fs::write(&broken, r#"{"name": "bad", "nodes": {"panic": {}}}"#).unwrap();
    stdout(&run(&server, &["graph", "create", &broken.display().to_string()]));
    assert_eq!(code(&["run", "bad", "--follow"]), Some(1), "a run that failed");
    assert_eq!(code(&["run", "bad", "--state", "nonsense"]), Some(1));
    assert_eq!(code(&["watch", "018f0000-0000-7000-8000-000000000000"]), Some(1));
    assert_eq!(code(&["no-such-command"]), Some(2));
    let nobody = Command::new(heddle())
        .args(["plugin", "list", "--server", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&nobody.stderr).contains("heddle serve"),
        "{nobody:?}"
    );
}
