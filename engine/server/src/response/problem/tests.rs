//! Each conversion of an error, with its complete response.

use axum::body::to_bytes;
use expect_test::{Expect, expect};
use heddle_kernel::{Failure, FailureKind, Level, Refusal};
use heddle_runtime::{CallToolError, CreateGraphError, SendError, StartError, ports::StoreError};

use super::*;

async fn check(problem: Problem, expect: Expect) {
    let response = problem.into_response();
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a problem is small");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("a problem is JSON");
    let retry = parts
        .headers
        .get("retry-after")
        .map(|value| format!("{value:?} "));
    let kind = parts.headers["content-type"].to_str().expect("ASCII");
    expect.assert_eq(&format!(
        "{} {kind} {}{body}",
        parts.status.as_u16(),
        retry.unwrap_or_default()
    ));
}

#[tokio::test]
async fn a_graphs_errors_are_all_listed_with_their_pointers() {
    let found = |severity, pointer: &str, message: &str| Diagnostic {
        severity,
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    };
    let all = vec![
        found(
            Severity::Error,
            "/edges/a",
            "an edge leads to `b`, which is not a node",
        ),
        found(Severity::Warning, "/nodes/c", "nothing leads to `c`"),
        found(Severity::Error, "", "the graph is empty"),
    ];
    check(
        CreateGraphError::Invalid(all).into(),
        expect![[r#"422 application/problem+json {"type":"urn:heddle:problem:invalid-graph","title":"The graph has errors","status":422,"detail":"/edges/a: an edge leads to `b`, which is not a node; the graph is empty","errors":[{"pointer":"/edges/a","message":"an edge leads to `b`, which is not a node","severity":"error"},{"pointer":"/nodes/c","message":"nothing leads to `c`","severity":"warning"},{"pointer":"","message":"the graph is empty","severity":"error"}]}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_busy_engine_says_when_to_retry() {
    check(
        StartError::Busy { limit: 3, retry_after_s: 7 }.into(),
        expect![[r#"429 application/problem+json "7" {"type":"urn:heddle:problem:busy","title":"Too many runs are queued","status":429,"detail":"3 runs are queued, the limit (max_queued): try again in 7 s"}"#]],
    )
    .await;
}

#[tokio::test]
async fn a_payload_that_violates_its_schema_has_pointers() {
    let refusal = Refusal::Payload {
        name: "approval".into(),
        problems: vec![
            (
                "/count".to_owned(),
                "\"two\" is not of type \"integer\"".to_owned(),
            ),
            (String::new(), "\"by\" is a required property".to_owned()),
        ],
    };
    check(SendError::Refused(refusal).into(), expect![[r#"422 application/problem+json {"type":"urn:heddle:problem:invalid-payload","title":"The signal's payload does not match the schema","status":422,"detail":"the payload of `approval` does not match its schema: /payload/count: \"two\" is not of type \"integer\"; /payload: \"by\" is a required property","errors":[{"pointer":"/payload/count","message":"\"two\" is not of type \"integer\"","severity":"error"},{"pointer":"/payload","message":"\"by\" is a required property","severity":"error"}]}"#]]).await;
}

#[tokio::test]
async fn a_run_that_refuses_input_says_why() {
    for refusal in [Refusal::Over, Refusal::Ending] {
        let problem: Problem = SendError::Refused(refusal).into();
        assert_eq!(problem.0.status, StatusCode::CONFLICT);
    }
    let stopping = SendError::Unavailable("the engine is stopping".to_owned());
    check(stopping.into(), expect![[r#"503 application/problem+json "5" {"type":"urn:heddle:problem:not-taken","title":"The request was not accepted","status":503,"detail":"the command was not applied, since the engine is stopping: send it again later"}"#]]).await;
    check(SendError::Refused(Refusal::TooManySignals).into(), expect![[r#"429 application/problem+json "1" {"type":"urn:heddle:problem:too-many-signals","title":"The run holds too many unreceived signals","status":429,"detail":"the run keeps 1000 signals that no wait has taken, the limit: send the signal later"}"#]]).await;
}

#[tokio::test]
async fn a_tools_failure_comes_with_its_kind_and_its_log() {
    let error = CallToolError::Failed {
        failure: Failure::new(FailureKind::Trap, "unreachable"),
        logs: vec![(Level::Warn, "about to fail".into())],
    };
    check(
        error.into(),
        expect![[r#"502 application/problem+json {"type":"urn:heddle:problem:tool-failed","title":"The tool failed","status":502,"detail":"unreachable","failure":{"kind":"trap","message":"unreachable"},"logs":[{"level":"warn","message":"about to fail"}]}"#]],
    )
    .await;
}

#[tokio::test]
async fn details_of_a_store_error_are_only_in_the_log() {
    check(
        StoreError::Failed("/var/lib/heddle.db: broken page 7".to_owned()).into(),
        expect![[r#"500 application/problem+json {"type":"urn:heddle:problem:store-failed","title":"The store failed","status":500,"detail":"the store failed: see the server's log"}"#]],
    )
    .await;
}

#[test]
fn kinds_have_unique_names() {
    let mut slugs: Vec<&str> = ProblemKind::ALL.iter().map(|kind| kind.slug).collect();
    slugs.sort_unstable();
    slugs.dedup();
    assert_eq!(slugs.len(), ProblemKind::ALL.len());
}
