//! Inputs that are checked against a function's schema before the call, and inputs that are not.

use heddle_kernel::FailureKind;
use heddle_runtime::ports::Functions;

use super::*;

/// The message of a failed check of a function's input.
fn says(function: &str, problems: &str) -> String {
    format!("`{function}` was not called: its input does not fit its schema: {problems}")
}

fn mapped(host: &Host, uses: &str, input: &str, config: &str) -> Call {
    Call {
        mapped: true,
        ..call(host, uses, input, config)
    }
}

#[tokio::test]
async fn a_mapped_input_that_does_not_fit_is_refused_before_the_call() {
    let host = host_with(settings(), &["basics", "bench"]).await;
    let refused = outcome(
        &host,
        mapped(
            &host,
            "basics/join",
            r#"{"parts": ["a", 2, 3], "with": null}"#,
            "null",
        ),
    )
    .await
    .unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    let problems = [
        r#"at /parts/1: 2 is not of type "string""#,
        r#"at /parts/2: 3 is not of type "string""#,
        r#"at /with: null is not of type "string""#,
    ];
    assert_eq!(&*refused.message, says("basics/join", &problems.join("; ")));
    let data: serde_json::Value = serde_json::from_str(refused.data.unwrap().get()).unwrap();
    assert_eq!(data["problems"][2]["pointer"], "/with");

    let fits = mapped(
        &host,
        "basics/join",
        r#"{"parts": ["a", "b"], "with": "-"}"#,
        "null",
    );
    assert_eq!(
        outcome(&host, fits).await.unwrap().update.to_text(),
        r#"{"text":"a-b"}"#
    );
}

#[tokio::test]
async fn a_mapped_input_of_a_node_function_is_checked_too() {
    let host = host_with(settings(), &["bench"]).await;
    let refused = host
        .call(mapped(&host, "count", r#"{"n": -1}"#, r#"{"until": 3}"#))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    assert_eq!(
        &*refused.message,
        says("bench/count", "at /n: -1 is less than the minimum of 0")
    );
}

#[tokio::test]
async fn a_state_that_nothing_mapped_is_left_to_the_function() {
    let host = host_with(settings(), &["bench"]).await;
    let refused = run(&host, "count", r#"{"n": -1}"#, r#"{"until": 3}"#)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    assert!(
        refused.message.starts_with("`count` does not take this state: "),
        "the guest says it itself: {refused}"
    );
}

#[tokio::test]
async fn an_input_from_outside_is_checked() {
    let host = host_with(settings(), &["basics"]).await;
    let refused = call_tool(&host, "upper", r#"{"txt": "a"}"#).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    assert_eq!(
        &*refused.message,
        says("basics/upper", r#""text" is a required property"#)
    );
    let upper = call_tool(&host, "upper", r#"{"text": "a", "more": 1}"#)
        .await
        .unwrap();
    assert_eq!(upper.get(), r#"{"text":"A"}"#);
}

#[tokio::test]
async fn an_input_from_another_plugin_is_checked() {
    let host = host_with(settings(), &["fixtures/hostile", "basics"]).await;
    let config = r#"{"tool": "basics/sum", "input": {"numbers": "none"}}"#;
    let refused = run(&host, "call", "{}", config).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::InvalidInput);
    assert_eq!(
        &*refused.message,
        says("basics/sum", r#"at /numbers: "none" is not of type "array""#)
    );
}

#[tokio::test]
async fn a_tools_result_is_handed_over_whole() {
    let host = host_with(settings(), &["basics"]).await;
    let input = r#"{"text":"a b","next":"x"}"#;
    for (uses, expected) in [("echo", input), ("words", r#"{"words":["a","b"]}"#)] {
        match host.call(mapped(&host, uses, input, "null")).await.unwrap() {
            Answer::Result(result) => {
                let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
                assert_eq!(value(result.get()), value(expected));
            }
            Answer::Outcome(outcome) => panic!("{uses} is a tool: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_plugin_whose_schema_is_elsewhere_is_refused_and_nothing_is_fetched() {
    let host = Host::new(settings()).unwrap();
    let error = register(&host, component("fixtures/elsewhere"), Some("elsewhere"))
        .await
        .unwrap_err();
    assert!(matches!(error, RegisterError::Refused(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the component's description cannot be used: the input schema of `look` refers to \
         \"https://example.com/order.json\": nothing is fetched, so put what is meant under `$defs` and refer to it by `#/$defs/…`"
    );
    assert!(host.plugins().is_empty());
}
