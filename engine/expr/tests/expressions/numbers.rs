//! Numbers of the state: exact, however many digits they have.

use super::{evaluate_in, gives_each, refuses_each};
use heddle_expr::{Expr, Want};
use heddle_json::Object;

const STATE: &str = r#"{
    "a": 123456789012345678901, "b": 123456789012345678902, "same": 123456789012345678901.0,
    "neg": -123456789012345678901, "pi": 3.14159265358979323846, "near": 3.14159265358979323847,
    "huge": 1e400, "tiny": 1e-400, "written": 1.50, "hundred": 1E2, "long": 9007199254740993.0,
    "uint": 18446744073709551615, "above": 18446744073709551616, "round": 100000000000000000000,
    "list": [123456789012345678901, 1.50, 1E2], "doc": {"n": 123456789012345678901, "m": [0.10000000000000000001]}
}"#;

fn state() -> Object {
    Object::parse(STATE).unwrap()
}

#[test]
fn long_numbers_compare_exactly() {
    let state = state();
    for source in [
        "state.a != state.b && state.a < state.b && state.b > state.a && state.a <= state.a",
        "state.a == state.same && state.a >= state.same && state.neg < state.a && state.neg < -5",
        "state.pi < state.near && state.pi != state.near && state.pi > 3.14 && state.pi < 4",
        "state.pi != 3.141592653589793 && double(state.pi) == 3.141592653589793",
        "state.huge > state.a && state.huge == state.huge && state.tiny > 0 && state.tiny < 5e-324",
        "state.long == 9007199254740993 && state.long != 9007199254740992 && state.long > 9007199254740992.0",
        "state.above > state.uint && state.above != 18446744073709551615u",
        "state.round == 1e20 && 1e20 == state.round",
        "!(state.a in [state.b]) && state.a in state.list && [state.a] != [state.b] && state.doc.n == state.a",
        "{'n': state.a} == {'n': state.same} && {'n': state.a} != {'n': state.b}",
        "state.a < double('Infinity') && state.a > double('-Infinity') && state.a != double('NaN')",
        "!(state.a in {'x': 1}) && state.long in {9007199254740993: 1} && {9007199254740993: 1}[state.long] == 1",
        "state.list.exists(n, n == state.a) && !state.list.exists(n, n == state.b)",
        "type(state.a) == double && type(state.uint) == uint",
    ] {
        assert_eq!(
            evaluate_in(source, &state).map(|json| json.get().to_owned()),
            Ok("true".into()),
            "{source}"
        );
    }
}

#[test]
fn a_number_that_only_passes_through_keeps_its_text() {
    gives_each(
        &state(),
        &[
            ("state.a", "123456789012345678901"),
            (
                "[state.a, state.written, state.hundred, state.huge]",
                "[123456789012345678901,1.50,1E2,1e400]",
            ),
            ("{'x': {'y': state.written}}", "{\"x\":{\"y\":1.50}}"),
            ("true ? state.hundred : state.a", "1E2"),
            ("state.list[0]", "123456789012345678901"),
            ("state.list.map(n, n)", "[123456789012345678901,1.50,1E2]"),
            ("state.list.filter(n, n > 1.5)", "[123456789012345678901,1E2]"),
            (
                "state.list + [state.pi]",
                "[123456789012345678901,1.50,1E2,3.14159265358979323846]",
            ),
            (
                "{'b': state.doc, 'a': 1}",
                r#"{"a":1,"b":{"n": 123456789012345678901, "m": [0.10000000000000000001]}}"#,
            ),
            (
                "[{'n': state.doc.n}].map(d, d)",
                r#"[{"n":123456789012345678901}]"#,
            ),
            ("dyn(state.long)", "9007199254740993.0"),
            ("string(state.a)", "\"123456789012345678901\""),
            (
                "'%s %d'.format([state.a, state.a])",
                "\"123456789012345678901 123456789012345678901\"",
            ),
            (
                "'%.2f %.3e'.format([state.a, state.pi])",
                "\"123456789012345678901.00 3.142e+00\"",
            ),
            (
                "'%s'.format([state.list])",
                "\"[123456789012345678901, 1.5, 100]\"",
            ),
            ("state.uint - 5", "18446744073709551610"),
        ],
    );
}

#[test]
fn a_number_that_a_double_holds_is_calculated_with() {
    gives_each(
        &state(),
        &[
            ("state.written + 1", "2.5"),
            ("state.hundred * 2", "200.0"),
            ("-state.written", "-1.5"),
            ("int(state.hundred)", "100"),
            ("string(state.written)", "\"1.5\""),
            ("double(state.a)", "1.2345678901234568e+20"),
            ("int(state.pi)", "3"),
            ("int(state.long)", "9007199254740993"),
            ("uint(state.long)", "9007199254740993"),
            ("int(state.tiny)", "0"),
        ],
    );
}

#[test]
fn calculating_with_more_digits_than_a_double_has_is_an_error_that_names_the_key() {
    let state = state();
    for (source, says) in [
        (
            "state.a + 1",
            "`+` cannot calculate exactly with 123456789012345678901 of state.a, which has more digits than a double; double(…) makes the nearest double of it",
        ),
        (
            "1.5 * state.pi",
            "`*` cannot calculate exactly with 3.14159265358979323846 of state.pi",
        ),
        (
            "-state.a",
            "`-` cannot calculate exactly with 123456789012345678901 of state.a",
        ),
        (
            "state.list.map(n, n * 2)",
            "`*` cannot calculate exactly with 123456789012345678901 of state.list",
        ),
        (
            "state.doc.m[0] - 1",
            "`-` cannot calculate exactly with 0.10000000000000000001 of state.doc.m",
        ),
        (
            "state.above + 1",
            "`+` cannot calculate exactly with 18446744073709551616 of state.above",
        ),
        ("int(state.a)", "123456789012345678901 is too large for an int"),
        (
            "uint(state.neg)",
            "-123456789012345678901 does not fit a uint: it is negative",
        ),
        ("int(state.huge)", "1e400 is too large for an int"),
        ("'%f'.format([state.b - 1])", "state.b"),
        ("state.a % 2", "state.a"),
    ] {
        let error = evaluate_in(source, &state).unwrap_err().to_string();
        assert!(error.contains(says), "{source}: {error}");
    }
}

#[test]
fn the_digits_of_numbers_are_within_the_budget() {
    let digits = "9".repeat(1 << 20);
    let many = format!("[{}1]", "1.50,".repeat(300_000));
    let state = Object::parse(&format!(
        r#"{{"n": {digits}, "many": {many}, "few": [{}1]}}"#,
        "1,".repeat(50_000)
    ))
    .unwrap();
    assert_eq!(evaluate_in("state.n == state.n", &state).unwrap().get(), "true");
    for source in [
        "state.few.all(x, state.n > x)",
        "size(state.many)",
        "state.few.map(x, [state.n] == [state.n])",
    ] {
        let error = evaluate_in(source, &state).unwrap_err().to_string();
        assert!(
            error.contains("it costs more than the limit"),
            "{source}: {error}"
        );
    }
}

#[test]
fn a_literal_with_more_digits_than_a_double_holds_is_refused_and_such_a_value_is_compared_exactly() {
    refuses_each(&[
        (
            "state.score > 0.12345678901234567890123",
            "column 15: the number 0.12345678901234567890123 has more digits than a double holds",
        ),
        (
            "[1.5, -12345678901234567890.5][0]",
            "column 8: the number 12345678901234567890.5 has more digits",
        ),
        (
            "1 + .12345678901234567890123",
            "column 5: the number .12345678901234567890123",
        ),
        (
            "0.10000000000000000001e2 - 1",
            "the number 0.10000000000000000001e2 has more",
        ),
    ]);
    let state = Object::parse(r#"{"a": 0.12345678901234567890123, "l": [0.5]}"#).unwrap();
    gives_each(
        &state,
        &[
            ("state.a == 0.12345678901234568", "false"),
            ("state.a < 0.12345678901234568", "true"),
            ("state.a == state.a", "true"),
            ("1.5000000000000000000000", "1.5"),
            ("0.30000000000000004 > 0.3", "true"),
            ("1e-300 < 1.7976931348623157e308", "true"),
            (
                "'0.12345678901234567890123' != ''  // 0.12345678901234567890123",
                "true",
            ),
            ("state.l[0]+1.5-0x10", "-14.0"),
        ],
    );
    let source = "0.12345678901234567890123";
    assert!(Expr::compile_stored(source, &[], Want::Any).is_ok());
}
