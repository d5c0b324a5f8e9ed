//! Tests of the policy file, and of limits together with the host's settings.

use std::time::Duration;

use super::{document::MAX_BYTES, *};
use crate::settings::HostSettings;

fn limits(text: &str) -> Limits {
    Limits::of_node(&heddle_json::object::json(text).unwrap()).unwrap()
}

fn refusal(text: &str) -> String {
    Policy::parse(text).unwrap_err().to_string()
}

#[test]
fn a_policy_is_read_from_yaml_and_from_json() {
    let yaml = "plugins:\n  a:\n    limits: {at_once: 4}\n    http: [https://api.example.org]\n  b: {}\n";
    let json =
        r#"{"plugins": {"a": {"limits": {"at_once": 4}, "http": [{"host": "api.example.org"}]}, "b": {}}}"#;
    for text in [yaml, json] {
        let own = HostSettings::default().call_limits();
        let rules: Vec<_> = Policy::parse(text).unwrap().rules(&own, &[]).unwrap();
        assert_eq!(
            (&*rules[0].plugin, rules[0].limit_lines()),
            ("a", vec!["at_once: 4".to_owned()])
        );
        assert_eq!(rules[0].grant_lines(), ["http: https://api.example.org"]);
        assert!(rules[0].is_granted() && !rules[1].is_granted());
    }
}

#[test]
fn unknown_keys_are_refused_with_their_position() {
    let cases = [
        (
            "plugin: {}",
            "line 1, column 1: unknown field `plugin`, expected one of plugins",
        ),
        (
            "plugins:\n  a:\n    htp: []",
            "line 3, column 5: unknown field `htp`, expected one of digest, http, env",
        ),
        (
            "plugins:\n  a:\n    limits: {at_once: 0}",
            "line 3, column 23: expected a whole number from 1",
        ),
        (
            "plugins:\n  a:\n    limits: {memory: many}",
            "line 3, column 22: expected a number of bytes of at most 4096 MiB",
        ),
        (
            "plugins:\n  a: {}\n  a: {}",
            "line 3, column 3: duplicate mapping key: a",
        ),
        (
            "plugins:\n  a:\n    http:\n      - host: a.org\n        method: [GET]",
            "line 5, column 9: unknown field `method`, expected one of host, methods, paths, exact, private",
        ),
        (
            "plugins:\n  a:\n    http:\n      - https://a.org/v1",
            "line 4, column 9: `https://a.org/v1` has more than a host",
        ),
        (
            "plugins:\n  a:\n    http: [{methods: [GET]}]",
            "line 3, column 13: missing field `host`",
        ),
    ];
    for (text, expected) in cases {
        let refusal = refusal(text);
        assert!(refusal.starts_with(expected), "{text:?}: {refusal}");
    }
    assert!(refusal(&" ".repeat(MAX_BYTES + 1)).contains("1 MiB"));
}

#[test]
fn the_policy_sets_and_a_node_only_narrows() {
    let own = HostSettings::default().call_limits();
    let plugin = own.with_policy(&limits(r#"{"memory": "128MiB", "time": "10s", "fuel": 500}"#));
    assert_eq!(
        plugin.memory.bytes("memory"),
        "128 MiB (memory, set by the policy)"
    );
    assert_eq!(plugin.log.bytes("log"), "256 KiB (log, the server's default)");
    let node = plugin.narrowed_to(&limits(
        r#"{"memory": "256MiB", "time": "5s", "fuel": 100, "log": "1KiB"}"#,
    ));
    assert_eq!(node.memory.bytes("memory"), "128 MiB (memory, set by the policy)");
    assert_eq!(node.time.span(), "5 s (time, set by the node)");
    assert_eq!(node.fuel.unwrap().fuel(), "100 (fuel, set by the node)");
    assert_eq!(node.log.bytes("log"), "1 KiB (log, set by the node)");
    assert_eq!(own.narrowed_to(&limits(r#"{"fuel": 7}"#)).fuel.unwrap().value, 7);
    let timeout = node
        .time
        .narrow(Some(Duration::from_secs(1)), LimitSource::Timeout);
    assert_eq!(timeout.span(), "1 s (the node's timeout)");
}
