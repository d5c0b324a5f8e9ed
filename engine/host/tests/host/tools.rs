//! Plugins that call the tools of other plugins.

use heddle_kernel::FailureKind;
use heddle_runtime::ports::Functions;
use serde_json::json;

use super::*;
use crate::server::{Answer, Server};

async fn called(host: &Host, tool: &str, input: &str) -> Result<String, Failure> {
    let config = format!(r#"{{"tool": "{tool}", "input": {input}}}"#);
    let outcome = run(host, "call", "{}", &config).await?;
    Ok(outcome.update.get("answer").unwrap().get().to_owned())
}

#[tokio::test]
async fn a_tool_of_another_plugin_is_found_by_its_name() {
    let host = host_with(settings(), &["fixtures/hostile", "bench"]).await;
    assert_eq!(called(&host, "bench/echo", "[1,2]").await.unwrap(), "[1,2]");
    assert_eq!(called(&host, "echo", r#"{"a":1}"#).await.unwrap(), r#"{"a":1}"#);
    let unknown = called(&host, "bench/ecko", "1").await.unwrap_err();
    assert!(unknown.message.contains("did you mean bench/echo?"), "{unknown}");
    let node = called(&host, "touch", "1").await.unwrap_err();
    assert!(
        node.message.contains("`bench/touch` is a node function"),
        "{node}"
    );
}

#[tokio::test]
async fn a_failure_of_a_tool_reaches_its_caller_with_its_kind() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    for (asked, kind) in [
        ("retryable", FailureKind::Retryable),
        ("permanent", FailureKind::Permanent),
        ("invalid-input", FailureKind::InvalidInput),
    ] {
        let input = format!(r#"{{"kind": "{asked}", "message": "as asked"}}"#);
        let failure = called(&host, "fail", &input).await.unwrap_err();
        assert_eq!((failure.kind, &*failure.message), (kind, "as asked"));
    }
    let trapped = called(&host, "fail", r#"{"kind": "panic", "message": "oh no"}"#)
        .await
        .unwrap_err();
    assert_eq!(
        trapped.kind,
        FailureKind::Permanent,
        "a trap would not go better at once"
    );
    assert!(
        trapped.message.contains("`hostile/fail` trapped: ") && trapped.message.contains("oh no"),
        "{trapped}"
    );
}

#[tokio::test]
async fn calls_are_nested_no_deeper_than_their_limit() {
    let settings = HostSettings {
        call_repeats: 100,
        ..settings()
    };
    let host = host_with(settings, &["fixtures/hostile"]).await;
    let nested = call_tool(&host, "nest", "{}").await.unwrap();
    let nested: serde_json::Value = serde_json::from_str(nested.get()).unwrap();
    assert_eq!(nested["depth"], 7, "the eighth is the last");
    let refused = nested["refused"].as_str().unwrap();
    assert!(
        refused.contains("`hostile/nest` was not called") && refused.contains("limit of 8 (call_depth)"),
        "{refused}"
    );
}

#[tokio::test]
async fn output_of_a_tool_goes_to_its_callers_sink() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let heard = Arc::new(Heard::default());
    let config = r#"{"tool": "fail", "input": {"kind": "panic", "message": "heard above"}}"#;
    let call = Call {
        sink: heard.clone(),
        ..call(&host, "call", "{}", config)
    };
    host.call(call).await.unwrap_err();
    assert!(
        heard.lines().iter().any(|(_, line)| line.contains("heard above")),
        "{:?}",
        heard.lines()
    );
}

/// A host with the hostile plugin under these names.
async fn host_of(settings: HostSettings, names: &[&str]) -> Host {
    let host = Host::new(settings).unwrap();
    for name in names {
        hostile_as(&host, name).await;
    }
    host
}

#[tokio::test]
async fn no_tool_occurs_in_one_chain_of_calls_more_often_than_its_limit() {
    let host = host_of(settings(), &["a", "b"]).await;
    let through = |tools: &[&str]| json!({ "through": tools }).to_string();
    let straight = call_tool(
        &host,
        "a/pass",
        &through(&["b/pass", "a/pass", "b/pass", "a/pass"]),
    )
    .await;
    assert_eq!(straight.unwrap().get(), "4", "three times each");
    let failure = call_tool(
        &host,
        "a/pass",
        &through(&["b/pass", "a/pass", "b/pass", "a/pass", "b/pass", "a/pass"]),
    )
    .await
    .unwrap_err();
    assert_eq!(
        &*failure.message,
        "`a/pass` was not called: it would occur in one chain of calls more often than the limit of 3 \
         (call_repeats): \
         a/pass → b/pass → a/pass → b/pass → a/pass → b/pass → a/pass"
    );
    let once = HostSettings {
        call_repeats: 1,
        ..settings()
    };
    let host = host_of(once, &["a", "b"]).await;
    let failure = call_tool(&host, "a/pass", &through(&["b/pass", "a/pass"]))
        .await
        .unwrap_err();
    assert!(
        failure
            .message
            .ends_with("(call_repeats): a/pass → b/pass → a/pass"),
        "{failure}"
    );
    // Calls that have ended do not count.
    for _ in 0..5 {
        assert!(call_tool(&host, "a/pass", &through(&["b/pass"])).await.is_ok());
    }
}

#[tokio::test]
async fn grants_pass_neither_from_a_caller_to_its_tool_nor_back() {
    let server = Server::answering(|_| Answer::ok("yes")).await;
    let request = json!({"tool": "http/request", "input": {"url": server.url("/")}}).to_string();
    for (granted, refused) in [("hostile", true), ("http", false)] {
        let policy = json!({"plugins": {granted: {"http": [server.url("")]}}});
        let host = host_with(granting(&policy.to_string()), &["fixtures/hostile", "http"]).await;
        let answered = run(&host, "hostile/call", "{}", &request).await;
        match refused {
            true => {
                let failure = answered.unwrap_err();
                let expected = "plugin `http` was not granted the request";
                assert!(failure.message.contains(expected), "{failure}");
            }
            false => assert!(answered.is_ok(), "{answered:?}"),
        }
    }
    assert_eq!(server.requests().len(), 1);
    // The tool's grants do not apply to its caller.
    let policy = json!({"plugins": {"http": {"http": [server.url("")]}}});
    let host = host_with(granting(&policy.to_string()), &["fixtures/outgoing", "http"]).await;
    let fetched = run(
        &host,
        "fetch",
        "{}",
        &json!({"urls": [server.url("/")]}).to_string(),
    )
    .await;
    let fetched = fetched.unwrap().update.to_text();
    assert!(fetched.contains("plugin `outgoing` was not granted"), "{fetched}");
    assert_eq!(server.requests().len(), 1);
}
