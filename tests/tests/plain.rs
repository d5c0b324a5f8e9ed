//! A component without Heddle's WIT, over HTTP: registered, called, and used as a node.
#![allow(clippy::unwrap_used)] // a test may panic

use std::process::Command;

use heddle_tests::{Server, component, heddle};
use serde_json::{Value, json};

/// A server with the component, and the response to its registration.
fn server() -> (Server, Value) {
    let server = Server::start();
    let bytes = std::fs::read(component("fixtures/typed")).unwrap();
    let wasm = [("content-type", "application/wasm")];
    let registered = server.post_with("/v1/plugins?name=typed", &bytes, &wasm);
    assert_eq!(registered.status, 201);
    let plugin = registered.json();
    (server, plugin)
}

#[test]
fn registration_reports_the_tools_and_the_exports_without_a_tool() {
    let (server, plugin) = server();
    let left_out = plugin["left_out"].as_array().unwrap();
    assert_eq!(left_out.len(), 4);
    assert!(
        left_out[0].as_str().unwrap().contains("a resource"),
        "{left_out:?}"
    );
    let tools = server.get("/v1/tools").ok();
    let mut names = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["tool"]);
    assert!(names.any(|name| name == "typed/shapes.divide"), "{tools}");
    let server = server.restart();
    let again = server.get("/v1/plugins/typed").ok();
    assert_eq!(again["versions"][0], plugin, "it is kept");
}

#[test]
fn the_command_reports_the_exports_without_a_tool() {
    let server = Server::start();
    let typed = component("fixtures/typed").display().to_string();
    for arguments in [["inspect", &typed, "--name"], ["add", &typed, "--name"]] {
        let printed = Command::new(heddle())
            .arg("plugin")
            .args(arguments)
            .arg("typed")
            .env("HEDDLE_SERVER", format!("http://{}", server.address))
            .output()
            .unwrap();
        assert!(printed.status.success(), "{printed:?}");
        let printed = [printed.stdout, printed.stderr].concat();
        let printed = String::from_utf8_lossy(&printed);
        assert!(
            printed.contains("left out") && printed.contains("#open`: it returns"),
            "{printed}"
        );
    }
}

#[test]
fn its_functions_are_called_by_their_dotted_names() {
    let (server, _) = server();
    let call = |tool: &str, input: &Value| server.post(&format!("/v1/tools/typed/{tool}/call"), input);
    let quotient = call("shapes.divide", &json!({"a": i64::MAX, "b": 1})).ok();
    assert_eq!(quotient["output"], json!(i64::MAX));
    assert_eq!(
        call("greet", &json!({"name": "you"})).ok()["output"],
        json!("Hello, you!")
    );
    let refused = call("shapes.divide", &json!({"a": 1, "b": 0.5, "c": 2})).problem(422);
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("at /b: expected a whole number")
            && detail.contains("at /c: there is no such parameter"),
        "{refused}"
    );
    let failed = call("shapes.divide", &json!({"a": 1, "b": 0}));
    assert!(failed.status >= 400, "an error of the function is not an answer");
    assert!(failed.json().to_string().contains("by-zero"));
}

#[test]
fn its_functions_are_nodes_of_a_graph() {
    let (server, _) = server();
    let graph = server.create(&json!({
        "nodes": {
            "total": {"uses": "typed/shapes.divide", "input": {"a": "state.total", "b": "2"}, "output": "half"},
            // The state has the parameters of the function by name, among other keys.
            "greet": {"uses": "greet", "output": "greeting"},
            "echo": {"uses": "bench/touch", "config": {"key": "seen"}},
        },
        "edges": {"total": "greet", "greet": "echo"},
    }));
    let run = server.run(&graph, &json!({"total": 9, "name": "you"}));
    assert_eq!(run["status"], "finished", "{run}");
    assert_eq!(
        (&run["state"]["half"], &run["state"]["greeting"]),
        (&json!(4), &json!("Hello, you!"))
    );

    let failed = server.create(&json!({
        "nodes": {"total": {"uses": "typed/shapes.divide", "input": {"a": "1", "b": "0"}, "output": "half"}},
    }));
    let run = server.run(&failed, &json!({}));
    assert_eq!(
        (&run["status"], &run["error"]["code"]),
        (&json!("failed"), &json!("permanent")),
        "{run}"
    );
    assert!(
        run["error"]["message"].as_str().unwrap().contains("by-zero"),
        "{run}"
    );
}

#[test]
fn functions_without_a_result_are_nodes_and_results_that_are_not_updates_need_an_output() {
    let (server, _) = server();
    let graph = server.create(&json!({"nodes": {"nothing": {"uses": "typed/shapes.nothing"}}}));
    let run = server.run(&graph, &json!({"a": 1}));
    assert_eq!(
        (&run["status"], &run["state"]),
        (&json!("finished"), &json!({"a": 1})),
        "{run}"
    );
    let refused = server.post(
        "/v1/graphs",
        &json!({"nodes": {"greet": {"uses": "typed/greet"}}}),
    );
    let errors = refused.problem(422)["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/nodes/greet", "{errors}");
    assert!(
        errors[0]["message"].as_str().unwrap().contains("of type string"),
        "{errors}"
    );
}

#[test]
fn a_graph_with_input_that_a_function_does_not_accept_is_refused() {
    let (server, _) = server();
    let graph = json!({
        "nodes": {"total": {"uses": "typed/shapes.divide", "input": {"a": "1", "c": "2"}, "output": "half"}},
    });
    let refused = server.post("/v1/graphs", &graph).problem(422).to_string();
    assert!(
        refused.contains("/nodes/total/input/c") && refused.contains('b'),
        "{refused}"
    );
}
