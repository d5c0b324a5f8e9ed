//! Plugins that call the tools of other plugins.

use heddle_kernel::FailureKind;
use heddle_runtime::ports::Functions;

use super::*;

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
async fn what_a_tool_writes_goes_where_its_callers_output_goes() {
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
