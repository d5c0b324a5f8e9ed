//! Inputs that do not match the schema: each is refused with its pointer.

use super::*;

#[tokio::test]
async fn values_that_do_not_match_are_refused_with_their_pointers() {
    let host = typed().await;
    for (change, pointer, problem) in [
        (json!({"yes": 1}), "/value/yes", "expected true or false, got 1"),
        (
            json!({"letter": "ab"}),
            "/value/letter",
            "expected a string of one character, got \"ab\"",
        ),
        (json!({"letter": ""}), "/value/letter", "one character"),
        (
            json!({"text": null}),
            "/value/text",
            "expected a string, got null",
        ),
        (
            json!({"single": 1e39}),
            "/value/single",
            "expected a number (f32)",
        ),
        (json!({"double": "1"}), "/value/double", "expected a number (f64)"),
        (
            json!({"bytes": [0, 256]}),
            "/value/bytes/1",
            "a whole number from 0 to 255 (u8), got 256",
        ),
        (
            json!({"bytes": "AAEC"}),
            "/value/bytes",
            "expected an array (list<u8>), got \"AAEC\"",
        ),
        (
            json!({"pair": [1]}),
            "/value/pair",
            "expected an array of 2, got one of 1",
        ),
        (json!({"pair": [-1, "x"]}), "/value/pair/0", "got -1"),
        (
            json!({"point": {"x": 0}}),
            "/value/point",
            "the field `y` (s32) is missing",
        ),
        (json!({"point": {"x": 0, "y": 0.5}}), "/value/point/y", "got 0.5"),
        (
            json!({"point": {"x": 0, "y": 0, "z/~": 0}}),
            "/value/point/z~1~0",
            "there is no such field",
        ),
        (
            json!({"point": []}),
            "/value/point",
            "expected an object of fields, got an array",
        ),
        (
            json!({"figures": ["nothing", {"square": 1}]}),
            "/value/figures/1/square",
            "`circle`, `path` or `maybe`",
        ),
        (
            json!({"figures": ["circle"]}),
            "/value/figures/0",
            "the case `circle` has a value",
        ),
        (
            json!({"figures": [{"nothing": null}]}),
            "/value/figures/0/nothing",
            "no such case",
        ),
        (
            json!({"figures": ["square"]}),
            "/value/figures/0",
            "there is no case \"square\"",
        ),
        (
            json!({"figures": [{"maybe": 1, "path": []}]}),
            "/value/figures/0",
            "an object with one key",
        ),
        (
            json!({"figures": [{"path": [{"x": 0, "y": "0"}]}]}),
            "/value/figures/0/path/0/y",
            "got \"0\"",
        ),
        (
            json!({"colour": "blue"}),
            "/value/colour",
            "expected `red`, `green` or `dark-blue`, got \"blue\"",
        ),
        (
            json!({"access": ["read", "own"]}),
            "/value/access/1",
            "there is no flag \"own\"",
        ),
        (
            json!({"access": ["read", "read"]}),
            "/value/access/1",
            "given twice",
        ),
        (
            json!({"access": {"read": true}}),
            "/value/access",
            "got an object",
        ),
        (json!({"maybe": -1}), "/value/maybe", "got -1"),
        (
            json!({"doubly": "bare"}),
            "/value/doubly",
            "an object with one key of `some`",
        ),
        (
            json!({"results": [{"ok": 256}]}),
            "/value/results/0/ok",
            "got 256",
        ),
        (
            json!({"results": [{"err": "x"}]}),
            "/value/results/0/err",
            "expected `ok` or `error`",
        ),
        (
            json!({"bare": [{"ok": 1}]}),
            "/value/bare/0/ok",
            "expected null, got 1",
        ),
        (
            json!({"integers": {}}),
            "/value/integers",
            "the field `s8` (s8) is missing",
        ),
    ] {
        let mut value = everything();
        let object = value.as_object_mut().unwrap();
        object.extend(change.as_object().unwrap().clone());
        let input = json!({"value": value}).to_string();
        let found = problems(&host, "shapes.echo", &input).await;
        assert!(
            found[0].0 == pointer && found[0].1.contains(problem),
            "{change}: {found:?}"
        );
    }
}

#[tokio::test]
async fn integers_out_of_their_range_are_refused() {
    let host = typed().await;
    for (name, below, above) in [
        ("s8", "-129", "128"),
        ("u8", "-1", "256"),
        ("s16", "-32769", "32768"),
        ("u16", "-1", "65536"),
        ("s32", "-2147483649", "2147483648"),
        ("u32", "-1", "4294967296"),
        ("s64", "-9223372036854775809", "9223372036854775808"),
        ("u64", "-1", "18446744073709551616"),
    ] {
        for number in [
            below,
            above,
            "1e300",
            "1e999",
            "0.5",
            "123456789012345678901234567890123456789012",
        ] {
            let mut value = everything();
            value["integers"][name] = json!("here");
            let input = json!({"value": value}).to_string().replace("\"here\"", number);
            let found = problems(&host, "shapes.echo", &input).await;
            assert_eq!(found[0].0, format!("/value/integers/{name}"), "{number}");
            assert!(
                found[0]
                    .1
                    .ends_with(&format!("got {}", &number[..number.len().min(40)]))
                    || found[0].1.ends_with('…'),
                "{found:?}"
            );
        }
    }
}

#[tokio::test]
async fn missing_and_extra_parameters_are_refused_and_all_problems_are_reported_together() {
    let host = typed().await;
    let found = problems(&host, "shapes.divide", r#"{"b": "x", "c": 1}"#).await;
    let found: Vec<_> = found
        .iter()
        .map(|(at, problem)| (at.as_str(), problem.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("/c", "there is no such parameter: expected `a` or `b`"),
            ("", "the parameter `a` (s64) is missing"),
            (
                "/b",
                "expected a whole number from -9223372036854775808 to 9223372036854775807 (s64), got \"x\""
            ),
        ]
    );
    let many = call_tool(&host, "typed/shapes.sum", "{}").await.unwrap_err();
    assert!(many.message.ends_with("; and 11 more"), "{many}");
    let none = problems(&host, "shapes.nothing", r#"{"a": 1}"#).await;
    assert_eq!(none[0].1, "there is no such parameter: expected none");
    let other = problems(&host, "shapes.nothing", "[1]").await;
    assert_eq!(
        other[0],
        (
            String::new(),
            "expected an object of parameters, got an array".to_owned()
        )
    );
    let half = problems(&host, "greet", r#"{"name": "\ud800"}"#).await;
    assert_eq!(half[0].0, "/name");
}
