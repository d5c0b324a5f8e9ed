//! Texts that are not UTF-8, in each place where a guest passes one: words in a component are replaced by invalid
//! bytes.

use std::fmt::Debug;

use heddle_kernel::FailureKind;

use super::*;

/// The component with these words replaced by bytes that are not UTF-8.
fn spoilt(name: &str, words: &str) -> Arc<[u8]> {
    let mut bytes = component(name).to_vec();
    let places: Vec<usize> = bytes
        .windows(words.len())
        .enumerate()
        .filter(|(_, window)| *window == words.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "{name} has no {words:?}");
    for at in places {
        // The first byte of a four-byte character, without the others.
        bytes[at + 1] = 0xf0;
    }
    bytes.into()
}

async fn host_of(name: &str, words: &str) -> Host {
    let host = Host::new(settings()).unwrap();
    register(&host, spoilt(name, words), Some("spoilt"))
        .await
        .unwrap();
    host
}

fn assert_contract_broken<T: Debug>(result: Result<T, Failure>) {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Trap, "{failure}");
    assert!(
        failure.message.contains("broke the contract") && failure.message.contains("utf-8"),
        "{failure}"
    );
}

#[tokio::test]
async fn a_result_that_is_not_utf_8_is_reported() {
    let tool = host_of("fixtures/raw-tool", r#""went": true, "next""#).await;
    assert_contract_broken(call_tool(&tool, "goes-on", "{}").await);
    let node = host_of("fixtures/hostile", r#"{"slept_ms":"#).await;
    assert_contract_broken(run(&node, "sleep", "{}", r#"{"ms": 0}"#).await);
}

#[tokio::test]
async fn a_failure_whose_message_is_not_utf_8_is_reported() {
    let host = host_of("fixtures/hostile", "not this time").await;
    assert_contract_broken(run(&host, "fail-retryable", "{}", "{}").await);
}

#[tokio::test]
async fn a_line_or_a_chunk_that_is_not_utf_8_ends_the_call() {
    for words in ["a chunk of plain words", "a line of plain words"] {
        let host = host_of("fixtures/hostile", words).await;
        assert_contract_broken(run(&host, "plainly", "{}", "null").await);
    }
}

#[tokio::test]
async fn a_tool_name_that_is_not_utf_8_ends_the_call() {
    // The tool calls itself by this name.
    let host = host_of("fixtures/hostile", "hostile/nest").await;
    assert_contract_broken(call_tool(&host, "nest", "{}").await);
}

#[tokio::test]
async fn a_description_that_is_not_utf_8_is_refused() {
    let host = Host::new(settings()).unwrap();
    let component = spoilt("fixtures/raw-tool", "Gives back its input");
    let refused = register(&host, component, Some("spoilt"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("does not describe its functions") && refused.contains("utf-8"),
        "{refused}"
    );
    assert!(host.plugins().is_empty());
}

#[tokio::test]
async fn invalid_utf_8_on_stdout_is_logged_with_replacements() {
    let host = host_of("fixtures/hostile", "on stdout\n").await;
    let heard = Arc::new(Heard::default());
    let call = Call {
        sink: heard.clone(),
        ..call(&host, "say", "{}", "null")
    };
    outcome(&host, call).await.unwrap();
    let lines = heard.lines();
    assert!(
        lines.iter().any(|(_, line)| line == "o\u{fffd} stdout"),
        "{lines:?}"
    );
}
