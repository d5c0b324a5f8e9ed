//! Functions that succeed, and functions that return errors.

use heddle_kernel::{FailureKind, Level, Route};
use heddle_runtime::ports::Functions;

use super::*;

#[tokio::test]
async fn a_node_function_updates_the_state_and_routes() {
    let host = host_with(settings(), &["bench"]).await;
    let touched = run(&host, "bench/touch", r#"{"other": 1}"#, r#"{"key": "k"}"#)
        .await
        .unwrap();
    assert_eq!(
        (touched.update.to_text(), touched.route),
        (r#"{"k":1}"#.to_owned(), Route::Edges)
    );
    let config = r#"{"until": 4}"#;
    let counted = run(&host, "count", r#"{"n": 1}"#, config).await.unwrap();
    assert_eq!(
        (counted.update.to_text(), counted.route),
        (r#"{"n":2}"#.to_owned(), Route::Again)
    );
    let counted = run(&host, "count", r#"{"n": 3}"#, config).await.unwrap();
    assert_eq!(counted.route, Route::Goto(vec!["even".to_owned()]));
}

#[tokio::test]
async fn a_tool_is_called_with_json_and_answers_json() {
    let host = host_with(settings(), &["bench"]).await;
    let input = r#"{"a": [1, null, "ü\n"]}"#;
    let answer = call_tool(&host, "bench/echo", input).await.unwrap();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(answer.get()), value(input));
}

#[tokio::test]
async fn a_tool_runs_as_a_node_and_its_keys_next_and_loop_route() {
    let host = host_with(settings(), &["fixtures/raw-tool"]).await;
    let went = run(&host, "goes-on", "{}", "null").await.unwrap();
    assert_eq!(went.update.to_text(), r#"{"went":true}"#);
    assert_eq!(went.route, Route::Goto(vec!["done".to_owned()]));
    let repeated = run(&host, "repeats", "{}", "null").await.unwrap();
    assert_eq!(
        (repeated.update.to_text().as_str(), repeated.route),
        (r#"{"repeated":true}"#, Route::Again)
    );
    let given = run(&host, "as-given", r#"{"a": {"b": 1}}"#, "null")
        .await
        .unwrap();
    assert_eq!(
        given.update.to_text(),
        r#"{"a":{"b":1}}"#,
        "the state is the input"
    );
}

#[tokio::test]
async fn an_error_of_a_function_keeps_its_kind_and_data() {
    let host = host_with(settings(), &["fixtures/hostile", "fixtures/raw-tool", "bench"]).await;
    let retryable = failure(&host, "fail-retryable").await;
    assert_eq!(retryable.kind, FailureKind::Retryable);
    assert_eq!(&*retryable.message, "not this time");
    assert_eq!(retryable.data.unwrap().get(), r#"{"attempt":1}"#);
    let permanent = failure(&host, "fail-permanent").await;
    assert_eq!(
        (permanent.kind, &*permanent.message),
        (FailureKind::Permanent, "not ever")
    );
    let invalid = failure(&host, "touch").await;
    assert_eq!(invalid.kind, FailureKind::InvalidInput, "{invalid}");
    let refused = call_tool(&host, "refuses", "{}").await.unwrap_err();
    assert_eq!(
        (refused.kind, &*refused.message),
        (FailureKind::Permanent, "refused")
    );
    assert!(refused.data.is_none(), "data that is not JSON is left out");
}

#[tokio::test]
async fn a_function_receives_the_number_of_its_attempt() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let mut second = call(&host, "fail-retryable", "{}", r#"{"until": 2}"#);
    second.attempt = 2;
    assert_eq!(
        outcome(&host, second).await.unwrap().update.to_text(),
        r#"{"attempts":2}"#
    );
}

#[tokio::test]
async fn output_of_a_function_is_logged_with_its_level() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let heard = Arc::new(Heard::default());
    let mut say = call(&host, "say", "{}", "null");
    say.sink = heard.clone();
    host.call(say).await.unwrap();
    let expected = [
        (Level::Info, "on stdout"),
        (Level::Warn, "on stderr"),
        (Level::Error, "at error"),
        (Level::Warn, "at warn"),
        (Level::Info, "at info"),
        (Level::Debug, "at debug"),
        (Level::Trace, "at trace"),
    ];
    assert_eq!(
        heard.lines(),
        expected.map(|(level, line)| (level, line.to_owned()))
    );
}

#[tokio::test]
async fn an_answer_that_is_not_a_state_update_is_refused() {
    let host = host_with(settings(), &["fixtures/raw", "fixtures/raw-tool"]).await;
    for (uses, expected) in [
        ("raw/not-json", "not JSON"),
        ("raw/array", "expected a JSON object, got an array"),
        ("raw/empty", "not JSON"),
        ("raw/deep", "nested deeper than 120"),
        ("raw-tool/broken", "not JSON"),
    ] {
        let failure = failure(&host, uses).await;
        assert_eq!(failure.kind, FailureKind::InvalidOutcome);
        assert!(
            failure.message.contains(expected) && failure.message.contains(uses),
            "{failure}"
        );
    }
    let not_json = failure(&host, "raw/not-json").await;
    assert!(
        not_json.message.contains(r#""not json""#),
        "it shows what it got: {not_json}"
    );
}

#[tokio::test]
async fn an_answer_is_let_in_as_all_json_from_outside() {
    let host = host_with(settings(), &["fixtures/raw-tool"]).await;
    // The tool returns its input unchanged; the host does not check inputs of tests.
    let answer = call_tool(
        &host,
        "raw-tool/as-given",
        "{\"a\": {\r\n \"b\": [1.50, 123456789012345678901]}}",
    );
    assert_eq!(
        answer.await.unwrap().get(),
        r#"{"a":{"b":[1.50,123456789012345678901]}}"#
    );
    for (input, expected) in [
        (r#"{"a": ["\ud800"]}"#, "at /a/0: the string has `\\ud800`"),
        (
            r#"{"a": -1E400}"#,
            "at /a: the number `-1E400` is beyond the range of a double",
        ),
        (
            r#"{"a": {"b": 1, "b": 2}}"#,
            "at /a/b: the key `b` is given twice",
        ),
    ] {
        let failure = call_tool(&host, "raw-tool/as-given", input).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidOutcome);
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[tokio::test]
async fn a_function_that_is_not_there_is_unavailable() {
    let host = host_with(settings(), &["bench"]).await;
    let mut gone = call(&host, "touch", "{}", "null");
    gone.function.digest = heddle_kernel::Digest("0".repeat(64).into());
    let gone = host.call(gone).await.unwrap_err();
    assert_eq!(gone.kind, FailureKind::Unavailable);
    assert!(
        gone.message.contains("bench@") && gone.message.contains("not registered"),
        "{gone}"
    );
    let mut other = call(&host, "touch", "{}", "null");
    other.function.function = "push".into();
    assert!(
        host.call(other)
            .await
            .unwrap_err()
            .message
            .contains("no function `push`")
    );
    let node = call_tool(&host, "touch", "{}").await.unwrap_err();
    assert!(node.message.contains("is a node function"), "{node}");
}
