//! A function without grants is a pure function of its input.

use serde_json::Value;

use super::*;

async fn seen(host: &Host, step: u64, attempt: u32) -> Value {
    let call = Call {
        step,
        attempt,
        ..call(host, "clock", "{}", "null")
    };
    serde_json::from_str(&outcome(host, call).await.unwrap().update.to_text()).unwrap()
}

#[tokio::test]
async fn a_step_sees_the_same_clocks_and_randomness_at_every_attempt() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let first = seen(&host, 3, 1).await;
    assert_eq!(first, seen(&host, 3, 2).await, "bit for bit");
    let start_ns = 1_700_000_000_123_000_000_u64;
    assert_eq!(
        first["wall_ns"],
        serde_json::json!([start_ns, start_ns]),
        "the wall clock does not advance"
    );
    let ticks: Vec<u64> = serde_json::from_value(first["monotonic_ns"].clone()).unwrap();
    assert!(
        0 < ticks[0] && ticks[0] < ticks[1],
        "the monotonic clock moves with each reading: {ticks:?}"
    );
    let other = seen(&host, 4, 1).await;
    assert_ne!(
        first["random"], other["random"],
        "another step draws other numbers"
    );
    assert_eq!(first["monotonic_ns"], other["monotonic_ns"]);
}

#[tokio::test]
async fn another_host_sees_the_same() {
    let names = ["fixtures/hostile"];
    let one = host_with(settings(), &names).await;
    let other = host_with(settings(), &names).await;
    assert_eq!(seen(&one, 3, 1).await, seen(&other, 3, 1).await);
}

#[tokio::test]
async fn there_is_no_environment_no_file_and_no_network() {
    let host = host_with(settings(), &["fixtures/hostile"]).await;
    let seen = seen(&host, 1, 1).await;
    assert_eq!(seen["env"], serde_json::json!({}));
    // A program's first argument is its own name.
    assert_eq!(seen["arguments"], serde_json::json!(["hostile"]));
    for tried in ["file", "new_file", "folder", "tcp", "lookup"] {
        let came_to = seen[tried].as_str().unwrap();
        assert!(!came_to.contains("worked"), "{tried}: {came_to}");
    }
}

/// The part of a language's probe that would differ between calls if anything outside were visible.
async fn seen_in(host: &Host, language: &str, step: u64, attempt: u32) -> String {
    let call = Call {
        step,
        attempt,
        ..call(host, &format!("seen_{language}"), "{}", "null")
    };
    outcome(host, call).await.unwrap().update.to_text()
}

#[tokio::test]
async fn a_call_gives_the_same_bytes_in_every_language() {
    for language in ["python", "js", "c"] {
        let name = format!("languages/probe-{language}");
        let one = host_with(settings(), &[&name]).await;
        let other = host_with(settings(), &[&name]).await;
        let first = seen_in(&one, language, 3, 1).await;
        assert!(first.len() > 50, "{first}");
        assert_eq!(
            seen_in(&one, language, 3, 2).await,
            first,
            "{language}: the next attempt"
        );
        assert_eq!(
            seen_in(&other, language, 3, 1).await,
            first,
            "{language}: another host"
        );
        let seen: Value = serde_json::from_str(&first).unwrap();
        let later: Value = serde_json::from_str(&seen_in(&one, language, 4, 1).await).unwrap();
        // C has no source of a seed, and a tool in JavaScript starts with its time and input.
        if language == "python" {
            assert_ne!(
                seen["random"], later["random"],
                "{language}: another step draws other numbers"
            );
        }
    }
}
