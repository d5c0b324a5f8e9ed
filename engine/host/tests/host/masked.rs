//! Attacks on secrets, and on grants for some methods and paths, by requests of guests and responses of servers.

use serde_json::{Value, json};

use super::*;
use crate::server::{Answer, Server};

const VALUE: &str = "sk-correct/horse+battery";

/// A host whose plugin may send its secret to the server.
async fn with_secret(server: &Server) -> (Host, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), VALUE).unwrap();
    let policy = json!({"plugins": {"outgoing": {
        "http": [server.url("")],
        "secrets": {"key": {"file": file.path(), "hosts": [server.url("")]}},
    }}});
    (
        host_with(granting(&policy.to_string()), &["fixtures/outgoing"]).await,
        file,
    )
}

/// What a call of the fixture's `fetch` sees.
async fn fetch(host: &Host, config: Value) -> Vec<String> {
    let call = call(host, "outgoing/fetch", "{}", &config.to_string());
    let update = outcome(host, call).await.unwrap().update.to_text();
    let update: Value = serde_json::from_str(&update).unwrap();
    serde_json::from_value(update["answers"].clone()).unwrap()
}

fn base64(text: &str) -> &'static str {
    match text {
        "x:sk-correct/horse+battery" => "eDpzay1jb3JyZWN0L2hvcnNlK2JhdHRlcnk=",
        _ => unreachable!("only this one is needed"),
    }
}

#[tokio::test]
async fn a_secret_is_replaced_in_the_usual_forms_and_remembered_ones() {
    let server = Server::answering(|request| {
        let sent = request.header("authorization").unwrap_or(VALUE);
        let body = format!(
            "{sent} {} {} {}",
            sent.replace('/', "%2F").replace('+', "%2B"),
            sent.replace('/', "\\/"),
            base64(&format!("x:{}", sent.trim_start_matches("Bearer "))),
        );
        Answer::ok(&body)
    })
    .await;
    let (host, _file) = with_secret(&server).await;
    let url = server.url("/");
    let sent = json!({"urls": [url], "headers": [["authorization", "Bearer ${secret.key}"]]});
    // The second request has no secret; the server responds with what it received before.
    for config in [sent, json!({"urls": [url]})] {
        let answer = &fetch(&host, config).await[0];
        assert_eq!(answer.matches("[secret]").count(), 4, "{answer}");
        for part in ["correct", "horse", "battery", "Y29ycmVjd", "L2hvcnNl"] {
            assert!(!answer.contains(part), "{part} in {answer}");
        }
    }
}

#[tokio::test]
async fn headers_that_make_another_request_are_left_out_where_a_grant_is_for_some_only() {
    let server = Server::answering(|request| Answer::ok(&request.line)).await;
    let headers = json!([
        ["X-HTTP-Method-Override", "DELETE"],
        ["x_http_method_override", "DELETE"],
        ["X-Original-URL", "/admin"],
        ["X-Forwarded-Prefix", "/admin"],
        ["x-request-id", "7"],
    ]);
    for (grant, kept) in [
        (json!({"host": server.url(""), "methods": ["GET"]}), false),
        (json!({"host": server.url(""), "paths": ["/v1/"]}), false),
        (json!({"host": server.url(""), "exact": ["/v1/a"]}), false),
        (json!(server.url("")), true),
    ] {
        let policy = json!({"plugins": {"outgoing": {"http": [grant]}}});
        let host = host_with(granting(&policy.to_string()), &["fixtures/outgoing"]).await;
        fetch(&host, json!({"urls": [server.url("/v1/a")], "headers": headers})).await;
        let request = server.requests().pop().unwrap();
        assert_eq!(request.header("x-request-id"), Some("7"));
        for name in [
            "x-http-method-override",
            "x_http_method_override",
            "x-original-url",
            "x-forwarded-prefix",
        ] {
            assert_eq!(request.header(name).is_some(), kept, "{name} under {grant}");
        }
    }
}

#[tokio::test]
async fn a_path_that_servers_read_in_two_ways_is_not_sent() {
    let server = Server::answering(|request| Answer::ok(&request.line)).await;
    let policy = json!({"plugins": {"outgoing": {"http": [{"host": server.url(""), "paths": ["/v1/"]}]}}});
    let host = host_with(granting(&policy.to_string()), &["fixtures/outgoing"]).await;
    for path in [
        "/v1//admin",
        "/v1/%00/admin",
        "/v1/%2e%2e/admin",
        "/v1/%252e%252e/admin",
        "/v1/%c0%ae%c0%ae/admin",
        "/v1/%e0%80%ae%e0%80%ae/admin",
        "/v1/..%2fadmin",
        "/v1/..%5cadmin",
        "/v1/..%c0%afadmin",
        "/v1/..;/admin",
        "/v1/..%20/admin",
        "/v1/%ef%bc%8e%ef%bc%8e/admin",
        "/v1/..\\admin",
    ] {
        let answer = &fetch(&host, json!({"urls": [server.url(path)]})).await[0];
        assert!(answer.starts_with("Permanent: "), "{path}: {answer}");
    }
    assert!(server.requests().is_empty());
}
