//! Numbers with more digits than a double keep all digits through the standard plugins, in the real binary.
#![allow(clippy::unwrap_used)] // a test may panic

use heddle_tests::{Response, Server, ServerConfig, component};
use serde_json::json;

const LONG: &str = "123456789012345678901";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn start() -> Server {
    let config = ServerConfig::default();
    for name in ["basics", "csv", "json"] {
        let to = config.folder().join("plugins").join(format!("{name}.wasm"));
        std::fs::copy(component(name), to).unwrap();
    }
    Server::start_with_config(config)
}

fn call(server: &Server, tool: &str, input: &str) -> Response {
    server.post_with(&format!("/v1/tools/{tool}/call"), input.as_bytes(), &JSON)
}

#[test]
fn tools_keep_all_digits() {
    let server = start();
    for (tool, input, output) in [
        (
            "basics/sum",
            r#"{"numbers":[123456789012345678901,1]}"#,
            r#"{"sum":123456789012345678902}"#,
        ),
        ("basics/sum", r#"{"numbers":[0.1,0.2]}"#, r#"{"sum":0.3}"#),
        (
            "basics/echo",
            r#"{"a":[1.50,123456789012345678901]}"#,
            r#"{"a":[1.50,123456789012345678901]}"#,
        ),
        (
            "json/diff",
            r#"{"from":{"a":123456789012345678901},"to":{"a":123456789012345678902}}"#,
            r#"{"same":false,"patch":[{"op":"replace","path":"/a","value":123456789012345678902}]}"#,
        ),
        (
            "json/patch",
            r#"{"value":{"a":123456789012345678901},"patch":[{"op":"move","from":"/a","path":"/b"}]}"#,
            r#"{"value":{"b":123456789012345678901}}"#,
        ),
        (
            "json/path",
            r#"{"value":[9007199254740993,9007199254740992,123456789012345678901],"path":"$[?@ > 9007199254740992]"}"#,
            r#"{"values":[9007199254740993,123456789012345678901],"paths":["$[0]","$[2]"]}"#,
        ),
        (
            "json/template",
            r#"{"template":"{{ n }} {{ n + 1 }}","values":{"n":123456789012345678901}}"#,
            r#"{"text":"123456789012345678901 123456789012345678902"}"#,
        ),
        (
            "csv/write",
            r#"{"rows":[{"a":123456789012345678901,"b":1.50}]}"#,
            r#"{"text":"a,b\n123456789012345678901,1.50\n","columns":["a","b"]}"#,
        ),
    ] {
        let answer = call(&server, tool, input);
        assert_eq!(answer.status, 200, "{tool}: {answer:?}");
        assert!(answer.text.contains(output), "{tool}: {}", answer.text);
    }
    let refused = call(
        &server,
        "json/template",
        r#"{"template":"{{ n }}","values":{"n":0.10000000000000000001}}"#,
    );
    let problem = refused.problem(422)["detail"].as_str().unwrap().to_owned();
    assert!(
        problem.contains("`values.n`: 0.10000000000000000001 has more digits"),
        "{problem}"
    );
}

#[test]
fn nodes_keep_all_digits() {
    let server = start();
    let definition = format!(
        r#"{{"nodes": {{
            "set": {{"uses": "basics/set", "config": {{"a": {LONG}, "b": [0.10000000000000000001]}}}},
            "count": {{"uses": "basics/count", "config": {{"key": "a", "by": 1}}}},
            "goto": {{"uses": "basics/goto", "config": {{"to": "end", "set": {{"c": {LONG}}}}}}}
        }}, "edges": {{"set": "count", "count": "goto"}}}}"#
    );
    let created = server.post_with("/v1/graphs", definition.as_bytes(), &JSON).ok();
    let run = server.post("/v1/runs?wait=60s", &json!({"graph": created["graph_id"]}));
    let state =
        r#""state":{"a":123456789012345678902,"b":[0.10000000000000000001],"c":123456789012345678901}"#;
    assert!(run.text.contains(state), "{}", run.text);
}
