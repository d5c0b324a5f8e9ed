//! Rules for new definitions. Stored ones may break them.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use heddle_kernel::Definition;

/// The errors of form of a new definition, one in each line.
fn findings(text: &str) -> String {
    let (_, found) = Definition::read(text);
    let found: Vec<String> = found
        .into_shown()
        .iter()
        .map(|found| format!("{}: {}", found.pointer, found.message))
        .collect();
    found.join("\n")
}

#[test]
fn null_is_refused_in_a_new_definition_and_read_in_a_stored_one() {
    // The keys for which earlier versions accepted null.
    let accepted_before = [
        ("/name", r#"{"name": null, "nodes": {"extract": {}}}"#),
        (
            "/description",
            r#"{"description": null, "nodes": {"extract": {}}}"#,
        ),
        ("/$schema", r#"{"$schema": null, "nodes": {"extract": {}}}"#),
        ("/start", r#"{"start": null, "nodes": {"extract": {}}}"#),
        ("/output", r#"{"output": null, "nodes": {"extract": {}}}"#),
        (
            "/state/k/merge",
            r#"{"state": {"k": {"merge": null}}, "nodes": {"extract": {}}}"#,
        ),
        (
            "/state/k/key",
            r#"{"state": {"k": {"key": null}}, "nodes": {"extract": {}}}"#,
        ),
        (
            "/limits/time",
            r#"{"limits": {"time": null}, "nodes": {"extract": {}}}"#,
        ),
        ("/nodes/extract/uses", r#"{"nodes": {"extract": {"uses": null}}}"#),
        (
            "/nodes/extract/description",
            r#"{"nodes": {"extract": {"description": null}}}"#,
        ),
        (
            "/nodes/extract/timeout",
            r#"{"nodes": {"extract": {"timeout": null}}}"#,
        ),
        (
            "/nodes/extract/on_error",
            r#"{"nodes": {"extract": {"on_error": null}}}"#,
        ),
        (
            "/nodes/extract/compensate",
            r#"{"nodes": {"extract": {"compensate": null}}}"#,
        ),
        (
            "/nodes/a~1b/wait/prompt",
            r#"{"nodes": {"a/b": {"wait": {"signal": "s", "prompt": null}}}}"#,
        ),
        (
            "/nodes/a/wait/timeout",
            r#"{"nodes": {"a": {"wait": {"signal": "s", "timeout": null}}}}"#,
        ),
        (
            "/nodes/a/map/as",
            r#"{"nodes": {"a": {"map": {"over": "state.x", "as": null, "uses": "f", "into": "y"}}}}"#,
        ),
        (
            "/nodes/a/map/graph",
            r#"{"nodes": {"a": {"map": {"over": "state.x", "graph": null, "uses": "f", "into": "y"}}}}"#,
        ),
    ];
    for (pointer, text) in accepted_before {
        let (_, found) = Definition::read(text);
        let found = found.into_shown();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(&*found[0].pointer, pointer);
        assert_eq!(found[0].message, "null is not a value here: leave the key out");
        Definition::parse(text).unwrap();
        Definition::parse_imported(text).unwrap();
    }
    for (pointer, text) in [
        ("/nodes", r#"{"nodes": null}"#),
        ("/nodes/a", r#"{"nodes": {"a": null}}"#),
        ("/edges", r#"{"nodes": {"a": {}}, "edges": null}"#),
        ("/edges/a/0", r#"{"nodes": {"a": {}}, "edges": {"a": [null]}}"#),
        (
            "/edges/a/when",
            r#"{"nodes": {"a": {}}, "edges": {"a": {"when": null, "to": "a"}}}"#,
        ),
        ("/state", r#"{"nodes": {"a": {}}, "state": null}"#),
        ("/state/k", r#"{"nodes": {"a": {}}, "state": {"k": null}}"#),
        ("/limits", r#"{"nodes": {"a": {}}, "limits": null}"#),
        (
            "/limits/steps",
            r#"{"nodes": {"a": {}}, "limits": {"steps": null}}"#,
        ),
        ("/nodes/a/input", r#"{"nodes": {"a": {"input": null}}}"#),
        ("/nodes/a/input/x", r#"{"nodes": {"a": {"input": {"x": null}}}}"#),
        ("/nodes/a/output", r#"{"nodes": {"a": {"output": null}}}"#),
        ("/nodes/a/next", r#"{"nodes": {"a": {"next": null}}}"#),
        ("/nodes/a/retry", r#"{"nodes": {"a": {"retry": null}}}"#),
        (
            "/nodes/a/retry/on/0",
            r#"{"nodes": {"a": {"retry": {"attempts": 2, "on": [null]}}}}"#,
        ),
        ("/nodes/a/limits", r#"{"nodes": {"a": {"limits": null}}}"#),
        ("/nodes/a/grants", r#"{"nodes": {"a": {"grants": null}}}"#),
        ("/nodes/a/sleep", r#"{"nodes": {"a": {"sleep": null}}}"#),
        (
            "/nodes/a/wait/schema",
            r#"{"nodes": {"a": {"wait": {"signal": "s", "schema": null}}}}"#,
        ),
    ] {
        let (_, found) = Definition::read(text);
        let found = found.into_shown();
        assert!(
            found.iter().any(|found| *found.pointer == *pointer),
            "{text}: {found:?}"
        );
    }
    // Here null is a value.
    for text in [
        r#"{"nodes": {"extract": {"config": null}}}"#,
        r#"{"nodes": {"extract": {"config": {"a": [null, {"b": null}]}}}}"#,
        r#"{"nodes": {"extract": {"input": {"x": "null"}}}}"#,
        r#"{"nodes": {"extract": {"wait": {"signal": "s", "schema": {"enum": [null, 1], "default": null}}}}}"#,
        r#"{"nodes": {"extract": {}}, "edges": {"extract": null}}"#,
        r#"{"nodes": {"extract": {}}, "edges": {"extract": [{"when": "state.x", "to": null}, {"to": null}]}}"#,
    ] {
        assert_eq!(findings(text), "", "{text}");
    }
}

#[test]
fn a_name_of_a_map_is_no_word_of_expressions() {
    let map = |name: &str| {
        format!(
            r#"{{"nodes": {{"a": {{"map": {{"over": "state.x", "as": "{name}", "uses": "extract", "into": "y"}}}}}}}}"#
        )
    };
    for word in ["true", "false", "null", "in", "as", "if", "while", "namespace"] {
        let text = map(word);
        let (_, found) = Definition::read(&text);
        let found = found.into_shown();
        assert_eq!(&*found[0].pointer, "/nodes/a/map/as", "{word}");
        assert!(found[0].message.contains("is a word of expressions"), "{found:?}");
        // A stored graph may have one.
        Definition::parse(&text).unwrap();
    }
    assert_eq!(findings(&map("inn")), "");
}

#[test]
fn the_value_of_a_constant_sleep_is_checked() {
    let sleep =
        |key: &str, expr: &str| format!(r#"{{"nodes": {{"extract": {{"sleep": {{"{key}": {expr}}}}}}}}}"#);
    for (key, expr, message) in [
        ("for", r#""-5""#, "a duration cannot be negative, got -5"),
        ("for", r#""true""#, "expected seconds"),
        ("for", r#""'10 parsecs'""#, "expected a duration"),
        ("until", r#""'tomorrow'""#, "expected a time such as"),
        ("until", r#""[1]""#, "expected milliseconds since 1970"),
    ] {
        let text = sleep(key, expr);
        let (_, found) = Definition::read(&text);
        let found = found.into_shown();
        assert!(
            found.len() == 1 && found[0].message.contains(message),
            "{text}: {found:?}"
        );
        assert_eq!(found[0].pointer, format!("/nodes/extract/sleep/{key}"));
        Definition::parse(&text).unwrap();
    }
    for (key, expr) in [
        ("for", r#""5""#),
        ("for", r#""'10m'""#),
        ("for", r#""-state.x""#),
        ("until", r#""'2026-12-01T09:00:00Z'""#),
        ("until", r#""0""#),
    ] {
        assert_eq!(findings(&sleep(key, expr)), "");
    }
}

#[test]
fn a_graphs_name_does_not_have_the_form_of_an_id() {
    let text = r#"{"name": "0123456789abcdef0123456789abcdef", "nodes": {"extract": {}}}"#;
    assert_eq!(
        findings(text),
        "/name: the name has the form of a graph's id, which finds a graph first: choose another name"
    );
    Definition::parse(text).unwrap();
    let short = r#"{"name": "0123456789abcdef", "nodes": {"extract": {}}}"#;
    assert_eq!(findings(short), "");
}
