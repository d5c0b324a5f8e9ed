//! Deserialized bodies and queries, and the messages for invalid ones.

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    after: Option<u64>,
    force: Option<bool>,
    way: Option<Way>,
}

fn check_query(pairs: &[(&str, &str)], expect: Expect) {
    let pairs: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    expect.assert_eq(&match read_query::<Params>(&pairs) {
        Ok(Params { after, force, way }) => format!("{after:?} {force:?} {way:?}"),
        Err(error) => error.parameter_message(),
    });
}

#[test]
fn a_query_is_deserialized_and_errors_name_the_parameter() {
    check_query(
        &[("after", "7"), ("way", "skip")],
        expect!["Some(7) None Some(Skip)"],
    );
    check_query(&[], expect!["None None None"]);
    check_query(
        &[("after", "x")],
        expect![[r#"`after`: expected a whole number, 0 or more, got "x""#]],
    );
    check_query(
        &[("after", "-1")],
        expect!["`after`: expected a whole number, 0 or more, got -1"],
    );
    check_query(
        &[("after", "")],
        expect![[r#"`after`: expected a whole number, 0 or more, got """#]],
    );
    check_query(
        &[("after", "18446744073709551616")],
        expect!["`after`: expected a whole number from 0 to 18446744073709551615, got 18446744073709551616"],
    );
    check_query(
        &[("force", "yes")],
        expect![[r#"`force`: expected true or false, got "yes""#]],
    );
    check_query(
        &[("way", "jump")],
        expect![[r#"`way`: expected one of skip, queue, got "jump""#]],
    );
    check_query(
        &[("aftr", "1")],
        expect!["`aftr`: unknown parameter; known parameters: after, force, way"],
    );
    check_query(
        &[("after", "1"), ("after", "2")],
        expect!["`after`: the parameter is repeated"],
    );
}
