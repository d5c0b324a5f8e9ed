//! Definitions that are expensive to check: the responses are short, and the server responds to others meanwhile.

use std::thread;

use heddle_tests::Server;
use serde_json::json;

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

fn definitions() -> Vec<String> {
    let long = "n".repeat(60);
    let nodes = list(2_500, |at| format!(r#""{at:05}{long}":{{}}"#));
    let edges = list(2_500, |at| format!(r#""{at:05}{long}":"{at:05}{long}y""#));
    let names = format!(r#"{{"nodes":{{{nodes}}},"edges":{{{edges}}}}}"#);
    let below = format!(
        r#"{{"nodes":{{"{}":{{"config":[{}]}}}}}}"#,
        "n".repeat(200_000),
        list(80_000, |_| "0".to_owned())
    );
    let patterns = list(300, |at| {
        format!(r#""n{at}":{{"wait":{{"signal":"s","schema":{{"pattern":"(a{{100}}{at}){{50}}"}}}}}}"#)
    });
    let patterns = format!(r#"{{"nodes":{{{patterns}}}}}"#);
    let numbers = list(5_000, |at| format!(r#""n{at}":{{"retry":{{"attempts":1.50}}}}"#));
    let numbers = format!(r#"{{"nodes":{{{numbers}}}}}"#);
    vec![names, below, patterns, numbers]
}

#[test]
fn long_checks_block_nothing_else_and_report_little() {
    let server = Server::start();
    let json = [("content-type", "application/json")];
    thread::scope(|scope| {
        let checks: Vec<_> = definitions()
            .into_iter()
            .map(|definition| {
                let server = &server;
                scope.spawn(move || {
                    let checked = server.post_with("/v1/graphs:check", definition.as_bytes(), &json);
                    let findings = checked.ok()["findings"].as_array().unwrap().len();
                    assert!((1..=202).contains(&findings), "{findings}");
                    server
                        .post_with("/v1/graphs", definition.as_bytes(), &json)
                        .problem(422);
                })
            })
            .collect();
        while checks.iter().any(|check| !check.is_finished()) {
            assert_eq!(server.get("/healthz").status, 200);
            server
                .post("/v1/graphs:check", &json!({"nodes": {"extract": {}}}))
                .ok();
        }
    });
}
