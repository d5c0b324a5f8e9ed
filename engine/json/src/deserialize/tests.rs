//! Deserialized values, and the messages for invalid ones.

use expect_test::{Expect, expect};

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'b> {
    graph: String,
    #[serde(borrow, default)]
    state: Option<&'b RawValue>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    step: u64,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    when: Option<When>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    way: Option<Way>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    every: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    Skip,
    Queue,
}

fn check(body: &str, expect: Expect) {
    let raw: &RawValue = serde_json::from_str(body).expect("JSON");
    expect.assert_eq(&match read::<Body<'_>>(raw) {
        Ok(Body {
            graph,
            state,
            priority,
            step,
            paused,
            when,
            names,
            way,
        }) => {
            let state = state.map(RawValue::get);
            let every = when.map(|when| when.every);
            format!("{graph:?} {state:?} {priority} {step} {paused} {every:?} {names:?} {way:?}")
        }
        Err(FieldError { pointer, message }) => format!("{pointer}: {message}"),
    });
}

#[test]
fn a_body_is_deserialized_and_raw_values_keep_their_text() {
    check(
        r#"{"graph": "g", "state": {"a": 1.50}, "priority": -3, "step": 3.0, "paused": true, "when": {"every": "1s"}, "names": ["a"], "way": "skip"}"#,
        expect![[r#""g" Some("{\"a\": 1.50}") -3 3 true Some(Some("1s")) ["a"] Some(Skip)"#]],
    );
    check(
        r#"{"graph": "\u0067", "state": null, "when": null, "way": "queue"}"#,
        expect![[r#""g" None 0 0 false None [] Some(Queue)"#]],
    );
}

#[test]
fn errors_have_a_pointer_and_use_the_terms_of_json() {
    check(r#"["g", {}]"#, expect![": expected an object, got an array"]);
    check("{}", expect![": `graph` is missing"]);
    check(
        r#"{"graph": 1}"#,
        expect!["/graph: expected a string, got a number"],
    );
    check(
        r#"{"graph": null}"#,
        expect!["/graph: expected a string, got null"],
    );
    check(
        r#"{"grap": 1}"#,
        expect!["/grap: unknown field; known fields: graph, state, priority, step, paused, when, names, way"],
    );
    check(
        r#"{"graph": "g", "when": {"evry": "1s"}}"#,
        expect!["/when/evry: unknown field; known fields: every"],
    );
    check(
        r#"{"graph": "g", "when": ["1s"]}"#,
        expect!["/when: expected an object, got an array"],
    );
    check(
        r#"{"graph": "g", "priority": 3000000000}"#,
        expect!["/priority: expected a whole number from -2147483648 to 2147483647, got 3000000000"],
    );
    check(
        r#"{"graph": "g", "priority": 1.5}"#,
        expect!["/priority: expected a whole number, got 1.5"],
    );
    check(
        r#"{"graph": "g", "step": -1}"#,
        expect!["/step: expected a whole number, 0 or more, got -1"],
    );
    check(
        r#"{"graph": "g", "step": "1"}"#,
        expect!["/step: expected a whole number, 0 or more, got a string"],
    );
    check(
        r#"{"graph": "g", "paused": 1}"#,
        expect!["/paused: expected true or false, got a number"],
    );
    check(
        r#"{"graph": "g", "names": ["a", 1]}"#,
        expect!["/names/1: expected a string, got a number"],
    );
    check(
        r#"{"graph": "g", "names": {}}"#,
        expect!["/names: expected an array, got an object"],
    );
    check(
        r#"{"graph": "g", "way": "jump"}"#,
        expect![[r#"/way: expected one of skip, queue, got "jump""#]],
    );
}

#[test]
fn an_integer_may_have_a_fraction_of_zeros_or_an_exponent() {
    check(
        r#"{"graph": "g", "priority": -1e2, "step": 1E+2}"#,
        expect![[r#""g" None -100 100 false None [] None"#]],
    );
    check(
        r#"{"graph": "g", "step": 1e300}"#,
        expect!["/step: expected a whole number from 0 to 18446744073709551615, got 1e300"],
    );
    check(
        r#"{"graph": "g", "step": -1e300}"#,
        expect!["/step: expected a whole number, 0 or more, got -1e300"],
    );
}

#[test]
fn null_is_refused_for_optional_fields_where_it_is_no_value() {
    let refusal = |body: &str| {
        let raw: &RawValue = serde_json::from_str(body).expect("JSON");
        read_without_null::<Body<'_>>(raw).expect_err("null").to_string()
    };
    for (body, pointer) in [
        (r#"{"graph": "g", "when": null}"#, "/when"),
        (r#"{"graph": "g", "when": {"every": null}}"#, "/when/every"),
    ] {
        assert_eq!(refusal(body), format!("{pointer}: {NULL}"));
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "the test prints the values")]
enum Event {
    Started { step: u64 },
    Moved(Vec<u64>),
    Over,
}

#[test]
fn variants_have_data_under_their_name() {
    let shown = |text: &str| {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        match read::<Event>(raw) {
            Ok(event) => format!("{event:?}"),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(shown(r#"{"started": {"step": 1}}"#), "Started { step: 1 }");
    assert_eq!(shown(r#"{"moved": [1, 2]}"#), "Moved([1, 2])");
    assert_eq!(shown(r#""over""#), "Over");
    assert_eq!(
        shown(r#"{"started": {"step": 1.5}}"#),
        "/started/step: expected a whole number, 0 or more, got 1.5"
    );
    assert_eq!(
        shown(r#"{"started": 1}"#),
        "/started: expected an object, got a number"
    );
    assert_eq!(
        shown(r#"{"moved": [1, "x"]}"#),
        "/moved/1: expected a whole number, 0 or more, got a string"
    );
    assert_eq!(
        shown(r#"{"foo": 1}"#),
        r#"expected one of started, moved, over, got "foo""#
    );
    assert_eq!(
        shown(r#"{"a": 1, "b": 2}"#),
        "expected an object with one key, got an object"
    );
    assert_eq!(shown("1"), "expected a string, got a number");
}

#[test]
fn a_visitor_of_any_value_gets_the_terms_of_json() {
    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "the test prints the values")]
    enum Any {
        Number(f64),
        Text(String),
        Flag(bool),
        Nothing(()),
    }
    for (text, expected) in [
        ("1.5", "Number(1.5)"),
        ("2", "Number(2.0)"),
        (r#""a""#, r#"Text("a")"#),
        ("true", "Flag(true)"),
        ("null", "Nothing(())"),
    ] {
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        assert_eq!(format!("{:?}", read::<Any>(raw).expect("any")), expected);
    }
}
