use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expect: Expect) {
    let tree = parse(text).map_err(|error| vec![error]);
    let read = tree.and_then(|tree| json(&tree, text));
    expect.assert_eq(&match read {
        Ok(json) => json,
        Err(errors) => {
            let lines = errors.iter().map(|error| match error.position {
                Some(Position { line, column }) => format!("{line}:{column} {}", error.message),
                None => error.message.clone(),
            });
            lines.collect::<Vec<_>>().join("\n")
        }
    });
}

#[test]
fn values_are_those_of_yaml_1_2_in_the_order_of_the_text() {
    check(
        "b: [on, no, yes, ~, true]\na: {z: 1, y: 1.5, x: 007, w: 1_000, v: 2026-01-01}\nc: |\n  two\n  lines\n",
        expect![[
            r#"{"b":["on","no","yes",null,true],"a":{"z":1,"y":1.5,"x":"007","w":"1_000","v":"2026-01-01"},"c":"two\nlines\n"}"#
        ]],
    );
    check(
        "a: &x {k: v}\nb: *x\n",
        expect![[r#"{"a":{"k":"v"},"b":{"k":"v"}}"#]],
    );
    check(
        r#"{"a": [1, {"b": "\u00e9"}]}"#,
        expect![[r#"{"a":[1,{"b":"é"}]}"#]],
    );
}

#[test]
fn numbers_keep_their_digits() {
    check(
        "a: [123456789012345678901, 1.50, 0.12345678901234567890, -9223372036854775809, 18446744073709551616]\n",
        expect![[
            r#"{"a":[123456789012345678901,1.50,0.12345678901234567890,-9223372036854775809,18446744073709551616]}"#
        ]],
    );
    check(
        "a: &big 100000000000000000001\nb: *big\né: {c: *big, d: +5, e: .5, f: 1., g: 1e3, h: 0x1F}\n",
        expect![[
            r#"{"a":100000000000000000001,"b":100000000000000000001,"é":{"c":100000000000000000001,"d":5,"e":0.5,"f":1.0,"g":1e3,"h":31}}"#
        ]],
    );
}

#[test]
fn whole_numbers_in_other_bases_keep_their_values() {
    check(
        "a: [0xFFFFFFFFFFFFFFFFFF, 0o7777777777777777777777777, -0x10000000000000000, 0xFf, -0o17, 0b101]\n",
        expect![[
            r#"{"a":[4722366482869645213695,37778931862957161709567,-18446744073709551616,255,-15,5]}"#
        ]],
    );
    check(
        "a: [\"0xFFFFFFFFFFFFFFFFFF\", '0x10000000000000000', 0xFFFFFFFFFFFFFFFFFG, 0x]\nb: |-\n  0xFFFFFFFFFFFFFFFFFF\n",
        expect![[
            r#"{"a":["0xFFFFFFFFFFFFFFFFFF","0x10000000000000000","0xFFFFFFFFFFFFFFFFFG","0x"],"b":"0xFFFFFFFFFFFFFFFFFF"}"#
        ]],
    );
}

#[test]
fn values_are_nested_as_deep_as_in_json() {
    let nested = |depth: usize| format!("a: {}{}\n", "[".repeat(depth), "]".repeat(depth));
    for depth in [MAX_DEPTH - 1, MAX_DEPTH] {
        let text = nested(depth);
        let tree = parse(&text).expect("the parser reads a little deeper than JSON may be");
        let admitted = heddle_json::object::admit(&json(&tree, &text).expect("it is JSON"));
        assert_eq!(admitted.is_ok(), depth < MAX_DEPTH, "{depth}");
    }
    let deep = parse(&nested(MAX_DEPTH + 100)).expect_err("it is too deep");
    assert_eq!(deep.message, "nested deeper than 120 levels (json_depth)");
}

#[test]
fn values_that_json_cannot_express_are_refused_with_their_position() {
    check(
        "a: 1\nb: 2\na: 3\n",
        expect!["3:1 `a` is given twice here: keep one of the two"],
    );
    check(
        "nodes:\n  1: {}\n  true: {}\n  ~: {}\n  1.50: {}\n  0x1F: {}\n  123456789012345678901: {}\n",
        expect![[r#"
            2:3 a key is a text: write "1", in quotes
            3:3 a key is a text: write "true", in quotes
            4:3 a key is a text: write "~", in quotes
            5:3 a key is a text: write "1.50", in quotes
            6:3 a key is a text: write "0x1F", in quotes
            7:3 a key is a text: write "123456789012345678901", in quotes"#]],
    );
    check("? [a]\n: 1\n", expect!["1:3 a key is a text, and this is a list"]);
    check(
        "? {a: b}\n: 1\n",
        expect!["1:3 a key is a text, and this is a map"],
    );
    check(
        "a: .inf\n",
        expect!["1:4 JSON has no such number: write it as a text, in quotes, or as null"],
    );
    check(
        "a: *x\n",
        expect!["1:4 this alias (`*name`) has no anchor (`&name`) before it"],
    );
    check(
        "a: b: c\n",
        expect!["1:5 a `:` cannot stand here: put a text that has one in quotes"],
    );
    check(
        "a: \"b\n",
        expect!["1:4 the quote that begins here is not closed"],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect!["3:1 a second document begins here: a file holds one graph"],
    );
    check(
        "a: [1,\n b: }\n",
        expect!["1:4 this bracket is closed by one of another kind"],
    );
}

#[test]
fn a_small_text_stays_small() {
    let mut lines = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for (name, inner) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip("abcdefgh".chars())
    {
        let nine = vec![format!("*{inner}"); 9].join(", ");
        lines += &format!("{name}: &{name} [{nine}]\n");
    }
    check(
        &lines,
        expect!["6:16 this is too large: at most 250000 values and 16 MiB, with aliases expanded"],
    );
    let fat = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(100_000),
        vec!["*a"; 1_000].join(", ")
    );
    check(
        &fat,
        expect!["2:669 this is too large: at most 250000 values and 16 MiB, with aliases expanded"],
    );
    check(
        &"[".repeat(10_000),
        expect!["1:256 nested deeper than 120 levels (json_depth)"],
    );
    check(
        &"- ".repeat(10_000),
        expect!["1:249 nested deeper than 120 levels (json_depth)"],
    );
}

#[test]
fn a_pointer_leads_to_a_key_or_the_nearest_value_around_it() {
    let tree = parse("nodes:\n  a/b: {uses: x}\nedges:\n  a/b:\n    - {to: c}\n").expect("it is YAML");
    let at = |pointer: &str| {
        let Position { line, column } = find(&tree, pointer);
        (line, column)
    };
    assert_eq!(at(""), (1, 1));
    assert_eq!(at("/nodes/a~1b"), (2, 3));
    assert_eq!(at("/nodes/a~1b/uses"), (2, 9));
    assert_eq!(at("/edges/a~1b/0/to"), (5, 8));
    assert_eq!(at("/edges/a~1b/0/when"), (5, 7));
    assert_eq!(at("/limits"), (1, 1));
}
