//! Tests of the policy file, and of limits together with the host's settings.

use std::time::Duration;

use heddle_json::{deserialize::NullRule, object};

use super::{
    document::{MAX_BYTES, PluginPolicy},
    *,
};
use crate::settings::HostSettings;

fn limits(text: &str) -> Limits {
    Limits::of_node(&object::json(text).unwrap(), NullRule::Refused).unwrap()
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
            "line 1, column 1: /plugin: unknown field; known fields: plugins",
        ),
        (
            "plugins:\n  a:\n    htp: []",
            "line 3, column 5: /plugins/a/htp: unknown field; known fields: digest, http, env",
        ),
        (
            "plugins:\n  a:\n    limits: {at_once: 0}",
            "line 3, column 23: /plugins/a/limits/at_once: expected a whole number from 1",
        ),
        (
            "plugins:\n  a:\n    limits: {memory: many}",
            "line 3, column 22: /plugins/a/limits/memory: expected a number of bytes of at most 4096 MiB",
        ),
        (
            "plugins:\n  a: {}\n  a: {}",
            "line 3, column 3: duplicate mapping key: a",
        ),
        (
            "plugins:\n  a:\n    http:\n      - host: a.org\n        method: [GET]",
            "line 5, column 9: /plugins/a/http/0/method: unknown field; known fields: host, methods, paths, exact, private",
        ),
        (
            "plugins:\n  a:\n    http:\n      - https://a.org/v1",
            "line 4, column 9: /plugins/a/http/0: `https://a.org/v1` has more than a host",
        ),
        (
            "plugins:\n  a:\n    http: [{methods: [GET]}]",
            "line 3, column 12: /plugins/a/http/0: `host` is missing",
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

#[test]
fn null_is_refused_everywhere() {
    // A key whose value is commented out is null in YAML.
    let methods = "plugins:\n  a:\n    http:\n    - host: a.org\n      methods:\n      # - GET\n";
    assert_eq!(
        refusal(methods),
        "line 5, column 14: /plugins/a/http/0/methods: null is not a value here: leave the key out"
    );
    for (body, pointer) in [
        (r#"{"http": null}"#, "/http"),
        (r#"{"http": [null]}"#, "/http/0"),
        (r#"{"http": [{"host": null}]}"#, "/http/0/host"),
        (
            r#"{"http": [{"host": "a.org", "methods": null}]}"#,
            "/http/0/methods",
        ),
        (
            r#"{"http": [{"host": "a.org", "methods": [null]}]}"#,
            "/http/0/methods/0",
        ),
        (r#"{"http": [{"host": "a.org", "paths": null}]}"#, "/http/0/paths"),
        (r#"{"http": [{"host": "a.org", "exact": null}]}"#, "/http/0/exact"),
        (
            r#"{"http": [{"host": "a.org", "private": null}]}"#,
            "/http/0/private",
        ),
        (r#"{"env": null}"#, "/env"),
        (r#"{"env": {"A": null}}"#, "/env/A"),
        (r#"{"env": {"A": {"from": null}}}"#, "/env/A/from"),
        (r#"{"secrets": null}"#, "/secrets"),
        (r#"{"secrets": {"a": null}}"#, "/secrets/a"),
        (
            r#"{"secrets": {"a": {"hosts": ["a.org"], "file": null}}}"#,
            "/secrets/a/file",
        ),
        (
            r#"{"secrets": {"a": {"hosts": ["a.org"], "from_env": null}}}"#,
            "/secrets/a/from_env",
        ),
        (r#"{"dirs": null}"#, "/dirs"),
        (r#"{"dirs": [{"path": null}]}"#, "/dirs/0/path"),
        (r#"{"dirs": [{"path": "/a", "at": null}]}"#, "/dirs/0/at"),
        (r#"{"dirs": [{"path": "/a", "write": null}]}"#, "/dirs/0/write"),
        (r#"{"digest": null}"#, "/digest"),
        (r#"{"digest": [null]}"#, "/digest/0"),
        (r#"{"clock": null}"#, "/clock"),
        (r#"{"random": null}"#, "/random"),
        (r#"{"limits": null}"#, "/limits"),
        (r#"{"limits": {"memory": null}}"#, "/limits/memory"),
        ("null", ""),
    ] {
        let error = PluginPolicy::of(&object::json(body).unwrap()).unwrap_err();
        assert_eq!(error.pointer, pointer, "{body}: {error}");
        assert!(error.message.contains("null"), "{body}: {error}");
        let file = format!("plugins: {{a: {body}}}");
        let refusal = refusal(&file);
        assert!(
            refusal.contains(&format!("/plugins/a{pointer}: ")),
            "{body}: {refusal}"
        );
    }
}

#[test]
fn a_value_of_another_type_is_not_converted() {
    for (body, expected) in [
        (
            r#"{"clock": "true"}"#,
            "/clock: expected true or false, got a string",
        ),
        (r#"{"clock": 1}"#, "/clock: expected true or false, got a number"),
        (r#"{"http": {}}"#, "/http: expected an array, got an object"),
        (
            r#"{"http": [{"host": "a.org", "paths": "/a"}]}"#,
            "/http/0/paths: expected an array, got a string",
        ),
        (
            r#"{"dirs": [{"path": 1}]}"#,
            "/dirs/0/path: expected a string, got a number",
        ),
        (
            r#"{"digest": 2.0}"#,
            "/digest: expected the digest of a component",
        ),
        (
            r#"{"env": {"A": 1}}"#,
            "/env/A: expected a string (a number in quotes)",
        ),
        (
            r#"{"limits": {"at_once": 1.5}}"#,
            "/limits/at_once: expected a whole number from 1",
        ),
        (r#"[]"#, "expected an object, got an array"),
    ] {
        let error = PluginPolicy::of(&object::json(body).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{body}: {error}");
        let refusal = refusal(&format!("plugins: {{a: {body}}}"));
        assert!(refusal.contains(expected), "{body}: {refusal}");
    }
}
