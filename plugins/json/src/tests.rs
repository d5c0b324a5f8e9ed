//! Each function through JSON, with the examples of the RFCs.

use heddle_plugin::{
    Kind,
    prelude::*,
    testing::{call, call_text},
};

fn shop() -> Value {
    json!({"books": [
        {"title": "Sayings", "price": 8.95}, {"title": "Moby Dick", "price": 8.99, "isbn": "0-553"},
        {"title": "Das Boot", "price": 22}, {"title": "Ære\nx", "price": 1},
    ]})
}

fn titles(path: &str) -> Value {
    call("path", json!({"value": shop(), "path": path})).unwrap()["values"].take()
}

#[test]
fn a_path_finds_values_and_says_where_they_are() {
    let found = call(
        "path",
        json!({"value": shop(), "path": "$..books[?@.price < 9 && @.isbn].title"}),
    )
    .unwrap();
    assert_eq!(
        found,
        json!({"values": ["Moby Dick"], "paths": ["$['books'][1]['title']"]})
    );
    assert_eq!(titles("$.books[-2:].title"), json!(["Das Boot", "Ære\nx"]));
    assert_eq!(
        titles("$.books[?length(@.title) > 8].title"),
        json!(["Moby Dick"])
    );
    assert_eq!(titles("$.nothing"), json!([]));
}

#[test]
fn patterns_in_a_path_are_those_of_the_rfc() {
    assert_eq!(
        titles("$.books[?match(@.title, '[A-Z].*s')].title"),
        json!(["Sayings"])
    );
    assert_eq!(
        titles("$.books[?search(@.title, '[bB]oo')].title"),
        json!(["Das Boot"])
    );
    assert_eq!(
        titles("$.books[?match(@.title, '\\\\p{Lu}re.x')].title"),
        json!([]),
        "a dot is not the end of a line"
    );
    assert_eq!(
        titles("$.books[?search(@.title, '^\\\\p{Lu}re')].title"),
        json!(["Ære\nx"])
    );
    assert_eq!(
        titles("$.books[?match(@.price, '8')].title"),
        json!([]),
        "a number is not text"
    );
    assert_eq!(
        titles("$.books[?match(@.title, 'a|Sayings|b')].title"),
        json!(["Sayings"])
    );
    assert_eq!(
        titles("$.books[?match(@.title, '(')].title"),
        json!([]),
        "an invalid pattern matches nothing"
    );
}

#[test]
fn a_path_that_is_none_is_refused_with_its_place() {
    let error = call("path", json!({"value": 1, "path": "$.a[?@.b ="})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(
        error
            .message
            .starts_with("`$.a[?@.b =` is no JSONPath: at character "),
        "{error}"
    );
}

#[test]
fn a_pointer_names_one_value() {
    let value = json!({"a/b": {"m~n": [1, {"": null}]}});
    let at = |pointer: &str| call("pointer", json!({"value": value, "pointer": pointer}));
    assert_eq!(at("/a~1b/m~0n/0").unwrap(), json!({"value": 1, "found": true}));
    assert_eq!(
        at("/a~1b/m~0n/1/").unwrap(),
        json!({"value": null, "found": true})
    );
    assert_eq!(at("").unwrap()["value"], value);
    let error = at("/a~1b/x/0").unwrap_err();
    assert!(
        error
            .message
            .contains("the longest part of the pointer with a value is `/a~1b`"),
        "{error}"
    );
    assert_eq!(at("a").unwrap_err().kind, Kind::InvalidInput);
    for default in [json!(null), json!([0])] {
        let given = call(
            "pointer",
            json!({"value": value, "pointer": "/x", "default": default}),
        )
        .unwrap();
        assert_eq!(given, json!({"value": default, "found": false}));
    }
}

fn fill(template: &str, values: Value) -> Result<String> {
    let filled = call("template", json!({"template": template, "values": values}))?;
    Ok(filled["text"].as_str().unwrap().to_owned())
}

#[test]
fn a_template_is_filled_in() {
    let values =
        json!({"name": "Ada & Co", "items": [{"n": 2, "what": "looms"}, {"n": 1.5, "what": "yards"}]});
    let template = "Dear {{ name }},\n{% for item in items %}{{ loop.index }}. {{ item.n }} {{ item.what|upper }}\n{% endfor %}";
    assert_eq!(
        fill(template, values).unwrap(),
        "Dear Ada & Co,\n1. 2 LOOMS\n2. 1.5 YARDS\n"
    );
    let values = json!({"a": [1, {"b": 0.1, "c": true}], "big": 9_007_199_254_740_993_u64});
    let filled = fill(
        "{{ a|tojson }} {{ big }} {{ 'x' if missing is defined else 'y' }} {{ gone|default('-') }}",
        values,
    );
    assert_eq!(
        filled.unwrap(),
        r#"[1, {"b": 0.1, "c": true}] 9007199254740993 y -"#
    );
    assert_eq!(fill("plain", Value::Null).unwrap(), "plain");
}

#[test]
fn a_name_that_stands_for_nothing_is_an_error_with_its_place() {
    let error = fill("Dear\n  {{ user.nmae }}", json!({"user": {"name": "Ada"}})).unwrap_err();
    assert_eq!(
        error.message,
        "the template, line 2, column 6: `user.nmae` is undefined"
    );
    let error = fill("{{ a }}", json!({})).unwrap_err();
    assert_eq!(error.message, "the template, line 1, column 4: `a` is undefined");
    let error = fill("é {% for x in y %}", json!({"y": []})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(error.message.starts_with("the template, line 1"), "{error}");
    assert_eq!(fill("", json!([1])).unwrap_err().kind, Kind::InvalidInput);
}

#[test]
fn a_template_cannot_work_without_end() {
    let error = fill(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        json!({}),
    );
    assert!(error.unwrap_err().message.contains("fuel"));
}

#[test]
fn a_difference_is_a_patch_that_makes_one_of_the_other() {
    let (from, to) = (
        json!({"a": [1, 2], "b": "x", "c/d": 1}),
        json!({"a": [1, 3, 4], "c/d": 1.5}),
    );
    let difference = call("diff", json!({"from": from, "to": to})).unwrap();
    assert_eq!(difference["same"], false);
    let changed = call("patch", json!({"value": from, "patch": difference["patch"]})).unwrap();
    assert_eq!(changed["value"], to);
    let same = call("diff", json!({"from": from, "to": from})).unwrap();
    assert_eq!(same, json!({"same": true, "patch": []}));
}

#[test]
fn a_patch_is_applied_whole_or_refused_with_the_operation() {
    let patch = json!([
        {"op": "test", "path": "/a", "value": 1}, {"op": "move", "from": "/a", "path": "/b"},
        {"op": "add", "path": "/list/-", "value": 2}, {"op": "copy", "from": "/list/0", "path": "/list/0"},
    ]);
    let changed = call("patch", json!({"value": {"a": 1, "list": [0]}, "patch": patch})).unwrap();
    assert_eq!(changed["value"], json!({"b": 1, "list": [0, 0, 2]}));
    let patch = json!([{"op": "add", "path": "/b", "value": 1}, {"op": "remove", "path": "/x"}]);
    let error = call("patch", json!({"value": {}, "patch": patch})).unwrap_err();
    assert!(
        error.message.starts_with("operation 1 of the patch, at `/x`: "),
        "{error}"
    );
    assert_eq!(error.data, Some(json!({"operation": 1, "path": "/x"})));
    let error = call(
        "patch",
        json!({"value": {}, "patch": [{"op": "mend", "path": ""}]}),
    )
    .unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
}

/// The cases of RFC 7386, appendix A.
#[test]
fn a_merge_is_the_rfcs() {
    for (value, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (
            json!({"a": {"b": "c"}}),
            json!({"a": {"b": "d", "c": null}}),
            json!({"a": {"b": "d"}}),
        ),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (
            json!({}),
            json!({"a": {"bb": {"ccc": null}}}),
            json!({"a": {"bb": {}}}),
        ),
    ] {
        let merged = call("merge", json!({"value": value, "patch": patch})).unwrap();
        assert_eq!(merged["value"], expected, "{value} with {patch}");
    }
}

#[test]
fn a_number_is_returned_exactly_as_received() {
    for text in ["9007199254740993", "-9223372036854775808", "18446744073709551615"] {
        assert_eq!(read(text).to_string(), text);
    }
    // Doubles of every size: the bits of a sequence that a linear congruence makes (Knuth's MMIX).
    let mut bits = 1_u64;
    for _ in 0..20_000 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let double = f64::from_bits(bits);
        if double.is_finite() {
            let text = format!("{double:e}");
            assert_eq!(
                read(&text).as_f64(),
                Some(double),
                "{text} is read as another double"
            );
        }
    }
}

fn read(number: &str) -> Value {
    let text = call(
        "pointer",
        serde_json::from_str(&format!("{{\"value\": {number}, \"pointer\": \"\"}}")).unwrap(),
    );
    text.unwrap()["value"].take()
}

#[test]
fn no_digit_of_a_number_is_lost() {
    let (a, b, c) = (
        "123456789012345678901",
        "123456789012345678902",
        "-0.10000000000000000001",
    );
    let called = |tool, input: String| call_text(tool, &input).unwrap();
    for number in [a, c, "9007199254740993", "18446744073709551615", "1e-400", "1.5"] {
        let value = format!(r#"{{"a/b":[{number}]}}"#);
        assert_eq!(
            called("pointer", format!(r#"{{"value":{value},"pointer":"/a~1b/0"}}"#)),
            format!(r#"{{"value":{number},"found":true}}"#)
        );
        assert_eq!(
            called("path", format!(r#"{{"value":{value},"path":"$..*"}}"#)),
            format!(r#"{{"values":[[{number}],{number}],"paths":["$['a/b']","$['a/b'][0]"]}}"#)
        );
        assert_eq!(
            called("merge", format!(r#"{{"value":{{"x":0}},"patch":{value}}}"#)),
            format!(r#"{{"value":{{"a/b":[{number}],"x":0}}}}"#)
        );
        assert_eq!(
            called("diff", format!(r#"{{"from":{{"x":0}},"to":{{"x":{number}}}}}"#)),
            format!(r#"{{"same":false,"patch":[{{"op":"replace","path":"/x","value":{number}}}]}}"#)
        );
        let patch = format!(
            r#"[{{"op":"add","path":"/n","value":{number}}},{{"op":"copy","from":"/n","path":"/m"}}]"#
        );
        assert_eq!(
            called("patch", format!(r#"{{"value":{{}},"patch":{patch}}}"#)),
            format!(r#"{{"value":{{"m":{number},"n":{number}}}}}"#)
        );
        assert_eq!(
            called(
                "pointer",
                format!(r#"{{"value":{{}},"pointer":"/x","default":{number}}}"#)
            ),
            format!(r#"{{"value":{number},"found":false}}"#)
        );
    }
    let differ = called("diff", format!(r#"{{"from":{a},"to":{b}}}"#));
    assert_eq!(
        differ,
        format!(r#"{{"same":false,"patch":[{{"op":"replace","path":"","value":{b}}}]}}"#)
    );
    let test = |held| format!(r#"{{"value":{a},"patch":[{{"op":"test","path":"","value":{held}}}]}}"#);
    assert!(call_text("patch", &test(a)).is_ok() && call_text("patch", &test(b)).is_err());
}

#[test]
fn a_filter_compares_all_digits() {
    let values = "[9007199254740992,9007199254740993,9007199254740994,123456789012345678901,123456789012345678902,0.1,0.10000000000000000001,2.00000000000000000001,\"ab\",[1,2]]";
    let found = |path: &str| {
        let input = format!(r#"{{"value":{values},"path":{}}}"#, json!(path));
        let found = call_text("path", &input).unwrap();
        let (found, _) = found.split_once(",\"paths\"").unwrap();
        found.strip_prefix("{\"values\":").unwrap().to_owned()
    };
    assert_eq!(found("$[?@ == $[1]]"), "[9007199254740993]");
    assert_eq!(found("$[?@ < $[1] && @ > 3]"), "[9007199254740992]");
    assert_eq!(
        found("$[?@ > 9007199254740992 && @ <= 9007199254740994]"),
        "[9007199254740993,9007199254740994]"
    );
    assert_eq!(found("$[?@ > $[3]]"), "[123456789012345678902]");
    assert_eq!(
        found("$[?@ >= $[3]]"),
        "[123456789012345678901,123456789012345678902]"
    );
    assert_eq!(found("$[?@ > 0.1 && @ < 1]"), "[0.10000000000000000001]");
    assert_eq!(found("$[?length(@) == $[7]]"), "[]");
    assert_eq!(found("$[?length(@) == 2]"), "[\"ab\",[1,2]]");
    assert_eq!(found("$[?@ == 123456789012345678902]"), "[123456789012345678902]");
    assert_eq!(
        found("$[?@ < 123456789012345678902 && @ >= 9007199254740993 && @ != 9007199254740994]"),
        "[9007199254740993,123456789012345678901]"
    );
    assert_eq!(found("$[?@ == 9007199254740992]"), "[9007199254740992]");
    assert_eq!(
        found("$[?@ > -123456789012345678902 && @ < 0.11]"),
        "[0.1,0.10000000000000000001]"
    );
    let input = format!(r#"{{"value":{values},"path":"$[?@ == 0.10000000000000000002]"}}"#);
    let error = call_text("path", &input).unwrap_err();
    assert!(
        error
            .message
            .contains("character 9 of the path: 0.10000000000000000002 has more digits"),
        "{error}"
    );
    let ids: Vec<String> = (0..500)
        .map(|at| format!("{}", 1_234_567_890_123_456_000_u64 + at))
        .collect();
    let input = format!(
        r#"{{"value":[{}],"path":"$[?@ >= {} && @ < {}]"}}"#,
        ids.join(","),
        ids[100],
        ids[103]
    );
    let found = call_text("path", &input).unwrap();
    assert!(
        found.starts_with(&format!(
            r#"{{"values":[{},{},{}],"#,
            ids[100], ids[101], ids[102]
        )),
        "{found}"
    );
}

#[test]
fn a_template_has_all_digits_or_names_the_key() {
    let fill = |template: &str, n: &str| {
        let filled = call_text(
            "template",
            &format!(r#"{{"template":{},"values":{{"n":[{n}]}}}}"#, json!(template)),
        );
        filled.map(|filled| filled[r#"{"text":""#.len()..filled.len() - 2].to_owned())
    };
    for (template, n, filled) in [
        ("{{ n[0] }}", "123456789012345678901", "123456789012345678901"),
        ("{{ n[0] + 1 }}", "123456789012345678901", "123456789012345678902"),
        (
            "{{ n[0] > 123456789012345678900 }}",
            "123456789012345678901",
            "True",
        ),
        (
            "{{ n|tojson }}",
            "123456789012345678901",
            "[123456789012345678901]",
        ),
        ("{{ n[0] + 1 }}", "9223372036854775807", "9223372036854775808"),
    ] {
        assert_eq!(fill(template, n).as_deref(), Ok(filled), "{template} {n}");
    }
    for n in [
        "0.10000000000000000001",
        "1234567890123456789012345678901234567890123",
    ] {
        let error = fill("{{ n }}", n).unwrap_err();
        assert!(
            error
                .message
                .starts_with(&format!("`values.n[0]`: {n} has more digits")),
            "{error}"
        );
    }
}
