//! Limits: no expression takes long, uses all memory, or panics.

use std::time::Duration;

use expect_test::expect;
use heddle_expr::{EvalError, MAX_CHAIN, MAX_NESTING, MAX_SOURCE_LEN, Want};
use heddle_json::{Object, object::json};
use proptest::prelude::*;

use super::{STATE, compile, evaluate_in};

/// The processor time of this thread. Unlike wall-clock time, it does not include other programs of a busy
/// machine.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is not negative")
}

/// Asserts that each expression soon ends with the limit.
fn reaches_the_limit(source: &str, state: &Object) {
    let begun = cpu_time();
    match evaluate_in(source, state) {
        Err(EvalError::Limit { .. }) => {}
        other => panic!("{source:.80}: {other:?}"),
    }
    let took = cpu_time() - begun;
    // Far more than expected: the test asserts that nothing explodes.
    assert!(took.as_secs() < 4, "{source:.80}: {took:?}");
}

#[test]
fn exponential_expressions_end_at_the_limit() {
    let many: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let many = Object::parse(&format!(r#"{{"many": [{}]}}"#, many.join(","))).unwrap();
    let repeat =
        |start: &str, step: &str, times: usize, end: &str| format!("{start}{}{end}", step.repeat(times));
    let doubled = repeat("[1]", ".map(a,[a,a])", 100, "");
    for source in [
        "state.many.all(x, state.many.all(y, x + y >= 0))".to_owned(),
        "state.many.map(x, state.many)".into(),
        "state.many.map(x, state.many.map(y, [x, y]))".into(),
        "state.many.exists(x, state.many.exists(y, y == -1))".into(),
        "state.many.map(x, state.many + state.many)".into(),
        "state.many.all(x, state.many == state.many)".into(),
        "state.many.all(x, state.many.all(y, state.nope || true))".into(),
        "state.many.map(x, string(state.many.map(y, string(y)).join(',')))".into(),
        "state.many.filter(x, state.many.map(y, 'a').join('b').matches('(a|b)*c'))".into(),
        "state.many.all(x, !'aaaa'.matches(string(x) + 'b'))".into(),
        repeat("['aaaa']", ".map(a,a+a)", 100, ""),
        repeat("['aaaa']", ".map(a,a+a)", 40, "[0].size()"),
        repeat("['aaaa']", ".map(a,a.replace('',a))", 40, ""),
        repeat("[[1]]", ".map(a,a+a)", 100, ""),
        repeat("[b'aaaa']", ".map(a,a+a)", 100, ""),
        doubled.clone(),
        format!("{0} == {0}", repeat("[1]", ".map(a,[a,a])", 40, "")),
        repeat("[1]", ".map(a,{'a':a,'b':a})", 100, ""),
        repeat("['a']", ".map(a,[a,a].join(a))", 40, ""),
        repeat(
            "['a'.split('')]",
            ".map(a,[a,a].map(b,b.join(b.join(''))).join('').split(''))",
            40,
            "",
        ),
    ] {
        reaches_the_limit(&source, &many);
    }
    // A shared value costs nothing until it is read.
    let shared = format!("{doubled}.size()");
    assert_eq!(evaluate_in(&shared, &many).unwrap().get(), "1");
}

#[test]
fn a_large_state_is_not_read_beyond_the_limit() {
    let mut state = Object::default();
    state.insert("list", json(&format!("[{}1]", "1,".repeat(8 << 20))).unwrap());
    state.insert("text", json(&format!("\"{}\"", "a".repeat(16 << 20))).unwrap());
    state.insert("score", json("1").unwrap());
    let given = |source| evaluate_in(source, &state).unwrap().get().to_owned();
    assert_eq!(given("state.score == 1"), "true");
    assert_eq!(given("state.text.startsWith('ab')"), "false");
    assert_eq!(given("state.text").len(), (16 << 20) + 2);
    reaches_the_limit("size(state.list)", &state);
    reaches_the_limit("size(state)", &state);
    reaches_the_limit("state.text.matches('(a|b)*c')", &state);
}

#[test]
fn deep_state_is_an_error_and_not_a_crash() {
    let deep = format!(r#"{{"deep": {}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let state = Object::parse(&deep).unwrap();
    let error = evaluate_in("size(state.deep)", &state).unwrap_err().to_string();
    expect!["`size(state.deep)`: state.deep cannot be read: it is nested more than 128 levels deep"]
        .assert_eq(&error);
    assert_eq!(evaluate_in("state.deep", &state).unwrap().get().len(), 10_000);
}

#[test]
fn every_pathological_text_ends_soon_and_without_a_panic() {
    let pieces = [
        "[",
        "(",
        "{",
        "{1:",
        "f(",
        "a[",
        "a?",
        "a?b:",
        "!",
        "-",
        "!(",
        "-(",
        "1+",
        "1<",
        "a.",
        "a.b(",
        "a&&",
        "a||",
        "[1].all(x,",
        "has(",
        "'",
        "\"",
        "r'",
        "b\"",
        "\"\"\"",
        "`",
        "\\",
        "//",
        "/",
        "\n",
        "a in ",
        "[[",
        "[{",
        "({[",
        "1e",
        "0x",
        "a.?b",
        "[?",
        "{?",
        "é",
        "\u{0}",
        "..",
        ",",
        "]",
        "][",
        "T{",
        "T{a:",
        "a.b.c{",
        "?:",
        "=",
        "-9",
        "(!",
        "((a",
        "[a,[",
        "{1:{",
        "a ? (",
        "-!",
        "!-",
        "- ",
    ];
    for piece in pieces {
        for len in [126, 1_000, MAX_SOURCE_LEN] {
            let times = len / piece.len();
            let open = piece.repeat(times);
            let close = |end: &str| {
                format!("{open}1{}", end.repeat(times))
                    .chars()
                    .take(len)
                    .collect::<String>()
            };
            for source in [
                open.clone(),
                close(""),
                close(")"),
                close("]"),
                close("}"),
                close(":1"),
                format!("{open}a"),
            ] {
                let begun = cpu_time();
                let _ = compile(&source, Want::Any);
                let took = cpu_time() - begun;
                assert!(took.as_millis() < 2_000, "{source:.40} of {len}: {took:?}");
            }
        }
    }
}

#[test]
fn the_deepest_expressions_work() {
    let state = Object::parse(r#"{"a": 1}"#).unwrap();
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    for source in [
        nested("[", "1", "]", MAX_NESTING),
        nested("(", "1", ")", MAX_NESTING),
        nested("{'a':", "1", "}", MAX_NESTING),
        nested("[1].map(x,", "x", ")", MAX_NESTING),
        nested("", "1", "+1", MAX_CHAIN),
        nested("true?1:", "2", "", MAX_CHAIN),
        nested("!", "true", "", 1_000),
        nested("true && ", "true", "", 400),
        nested("", "[[[1]]]", "[0]", 3),
        format!("[{}1]", "1,".repeat(2_000)),
    ] {
        evaluate_in(&source, &state).unwrap_or_else(|error| panic!("{source:.40}: {error}"));
    }
    // A value can be nested deeper than the expression that builds it.
    let wrap = nested("[", "a", "]", MAX_NESTING - 2);
    let deep = |times: usize| format!("[1]{}", format!(".map(a,{wrap})").repeat(times));
    let value = evaluate_in(&deep(3), &state).unwrap();
    assert_eq!(value.get().len(), 2 * (MAX_NESTING - 2) * 3 + 3);
    // A value that is too deep to be stored can be an operand.
    let deep = deep(55);
    let refused = evaluate_in(&deep, &state).unwrap_err().to_string();
    assert!(refused.contains("nested deeper than 120 levels"), "{refused}");
    assert_eq!(
        evaluate_in(&format!("{deep} == [1]"), &state).unwrap().get(),
        "false"
    );

    let problem = |source: String| compile(&source, Want::Any).unwrap_err();
    expect!["column 33: brackets are nested more than 32 deep; move parts to separate nodes"]
        .assert_eq(&problem(nested("[", "1", "]", MAX_NESTING + 1)));
    expect!["column 514: more than 256 operators depend on one another; move parts to separate nodes"]
        .assert_eq(&problem(nested("", "1", "+1", MAX_CHAIN + 1)));
    expect!["an expression has at most 4096 bytes, this one has 4097; a function can do more"]
        .assert_eq(&problem(" ".repeat(MAX_SOURCE_LEN + 1)));
    expect!["the expression is empty"].assert_eq(&problem(" \n".into()));
}

/// Brackets and selections are counted also where the text before them looks like the start of a string or a name.
#[test]
fn nesting_cannot_hide_in_what_the_parser_does_not_take_for_a_string_or_a_name() {
    let deep = [
        "x.all(".repeat(600),
        "(".repeat(3_000),
        "[".repeat(3_000),
        "+x.a()".repeat(600),
    ];
    for deep in &deep {
        for (before, after) in [
            ("state.`", "`"),
            ("`", "`"),
            // The lexer takes these letters for a name, or for the end of a number, and only the next for a prefix.
            (r#"rb"\" ""#, r#"""#),
            (r#"rr'\' '"#, "'"),
            (r#"bb"\" ""#, r#"""#),
            (r#"0x1r"\""#, r#"""#),
            (r#"0x1br"\""#, r#"""#),
            (r#"1ur"\""#, r#"""#),
            (r#".5ur"\" ""#, r#"""#),
            (r#"1.5ur"\" ""#, r#"""#),
            (r#"1e5r"\""#, r#"""#),
            (r#"br"\""#, r#"""#),
            (r#""\q"#, r#"""#),
            ("\"\n", "\""),
            ("// \r", "\n"),
        ] {
            let source = format!("{before}{deep}{after}");
            for want in [Want::Any, Want::Bool] {
                let refused = compile(&source, want).unwrap_err();
                assert!(refused.len() < 1_000, "{before}: {refused}");
            }
        }
    }
    let problem = |source: &str| compile(source, Want::Any).unwrap_err();
    expect!["column 12: a name in backticks has only letters from a to z, digits, `_`, `.`, `-`, `/` and spaces; a key with other characters is read as state[\"…\"]"]
        .assert_eq(&problem("state.`call(me)`"));
    expect!["column 7: there is no name between these backticks"].assert_eq(&problem("state.``"));
}

/// Random nested expressions of every construct; most have type errors.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1"),
        Just("0"),
        Just("-7"),
        Just("2u"),
        Just("1.5"),
        Just("9223372036854775807"),
        Just("'a'"),
        Just("''"),
        Just("b'x'"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("state"),
        Just("state.score"),
        Just("state.tags"),
        Just("state.items"),
        Just("state.doc.by"),
        Just("state.missing"),
        Just("input.limit"),
        Just("x"),
        Just("[]"),
        Just("{}"),
        Just("string"),
        Just("has(state.a.b)"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(5, 40, 3, |inner| {
        let operators = prop_oneof![
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("&&"),
            Just("||"),
            Just(" in "),
        ];
        let functions = prop_oneof![
            Just("size"),
            Just("int"),
            Just("uint"),
            Just("double"),
            Just("string"),
            Just("bool"),
            Just("bytes"),
            Just("type"),
            Just("dyn"),
            Just("!"),
            Just("-"),
            Just("has"),
            Just("nope"),
        ];
        let methods = prop_oneof![
            Just("contains"),
            Just("matches"),
            Just("split"),
            Just("join"),
            Just("startsWith"),
            Just("indexOf"),
            Just("substring"),
            Just("nope"),
        ];
        let loops = prop_oneof![
            Just("all"),
            Just("exists"),
            Just("exists_one"),
            Just("map"),
            Just("filter")
        ];
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a}{op}{b})")),
            (functions, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), methods, inner.clone()).prop_map(|(a, f, b)| format!("({a}).{f}({b})")),
            (inner.clone(), loops, inner.clone()).prop_map(|(a, f, b)| format!("({a}).{f}(x, {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            inner.clone().prop_map(|a| format!("({a}).n")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(source in "\\PC{0,60}") {
        let _ = compile(&source, Want::Any);
    }

    #[test]
    fn no_text_of_its_signs_panics(source in "[a-c0-9 .,?:!=<>&|+*/%'\"\\\\`(){}\\[\\]\n\u{e9}-]{0,60}") {
        let _ = compile(&source, Want::Any);
    }

    #[test]
    fn no_expression_panics_and_each_gives_the_same_twice(source in expressions()) {
        let state = Object::parse(STATE).unwrap();
        let wrapped = format!("[0].map(x, {source})");
        for source in [source, wrapped] {
            if compile(&source, Want::Any).is_ok() {
                let _ = evaluate_in(&source, &state);
            }
        }
    }

    #[test]
    fn the_order_in_which_an_object_was_made_does_not_show(keys in proptest::collection::btree_set("[a-z]{1,3}", 1..12)) {
        let forth: Vec<_> = keys.iter().map(|key| format!("\"{key}\": 1")).collect();
        let back: Vec<_> = forth.iter().rev().cloned().collect();
        let of = |entries: &[String]| {
            let state = Object::parse(&format!(r#"{{"o": {{{}}}}}"#, entries.join(","))).unwrap();
            evaluate_in("[[state.o][0], state.o.map(k, k)]", &state).unwrap().get().to_owned()
        };
        prop_assert_eq!(of(&forth), of(&back));
    }
}
