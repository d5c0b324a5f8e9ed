//! The functions, with their values.

use super::{compile, evaluate_in, holds_each, refuses_each};
use heddle_expr::Want;
use heddle_json::Object;

#[test]
fn places_in_strings_are_counted_in_code_points() {
    holds_each(&[
        r#""tacocat".charAt(3) == "o""#,
        r#""tacocat".charAt(7) == """#,
        r#""©αT".charAt(1) == "α" && "©αT".charAt(2) == "T""#,
        r#""tacocat".indexOf("ac") == 1 && "tacocat".indexOf("none") == -1"#,
        r#""tacocat".indexOf("") == 0 && "tacocat".indexOf("", 3) == 3 && "tacocat".indexOf("", 7) == 7"#,
        r#""tacocat".indexOf("a", 3) == 5 && "tacocat".indexOf("a", 5) == 5 && "tacocat".indexOf("a", 6) == -1"#,
        r#""ta©o©αT".indexOf("©", 3) == 4 && "ta©o©αT".indexOf("©α", 5) == -1"#,
        r#""tacocat".lastIndexOf("at") == 5 && "tacocat".lastIndexOf("none") == -1"#,
        r#""tacocat".lastIndexOf("") == 7 && "tacocat".lastIndexOf("", 3) == 3 && "".lastIndexOf("") == 0"#,
        r#""tacocat".lastIndexOf("a", 3) == 1 && "tacocat".lastIndexOf("c", 0) == -1 && "tacocat".lastIndexOf("t", 0) == 0"#,
        r#""ta©o©αT".lastIndexOf("©") == 4 && "ta©o©αT".lastIndexOf("©", 3) == 2"#,
        r#""bananananana".lastIndexOf("nana", 7) == 6 && "aaaa".lastIndexOf("aa") == 2"#,
        r#""aé".lastIndexOf("é", 2) == 1 && "éa".lastIndexOf("abc", 1) == -1"#,
        r#""tacocat".substring(4) == "cat" && "tacocat".substring(0, 4) == "taco""#,
        r#""tacocat".substring(7) == "" && "tacocat".substring(4, 4) == """#,
        r#""ta©o©αT".substring(2, 6) == "©o©α""#,
        r#""Ta©oCαt".reverse() == "tαCo©aT" && "".reverse() == """#,
        r#"size("añb") == 3 && "a\U0001F600b".size() == 3"#,
    ]);
    refuses_each(&[
        (r#""tacocat".charAt(8)"#, "a string of 7 characters has none at 8"),
        (
            r#""tacocat".charAt(-1)"#,
            "a string of 7 characters has none at -1",
        ),
        (
            r#""tacocat".indexOf("a", 30)"#,
            "a string of 7 characters has none at 30",
        ),
        (
            r#""tacocat".lastIndexOf("a", -1)"#,
            "a string of 7 characters has none at -1",
        ),
        (
            r#""tacocat".lastIndexOf("a", 30)"#,
            "a string of 7 characters has none at 30",
        ),
        (
            r#""tacocat".substring(40)"#,
            "a string of 7 characters has none at 40",
        ),
        (
            r#""tacocat".substring(1, 50)"#,
            "a string of 7 characters has none at 50",
        ),
        (r#""tacocat".substring(4, 3)"#, "has no part from 4 to 3"),
        (
            r#"42.charAt(2)"#,
            "`.charAt(…)` needs a string before it, this is an int",
        ),
        (
            r#""a".charAt(true)"#,
            "`.charAt(…)` takes a whole number, this is a bool",
        ),
        (
            r#""a".indexOf("a", "0")"#,
            "`.indexOf(…)` takes a whole number, this is a string",
        ),
        (
            r#""a".indexOf("a", 0, 1)"#,
            "indexOf(…) takes 1 or 2 arguments, not 3",
        ),
    ]);
}

#[test]
fn strings_are_split_joined_and_replaced() {
    holds_each(&[
        r#""a b c".split(" ") == ["a", "b", "c"] && "a".split(" ") == ["a"] && "".split(" ") == [""]"#,
        r#""a b c".split(" ", 0) == [] && "a b c".split(" ", 1) == ["a b c"]"#,
        r#""a b c".split(" ", 2) == ["a", "b c"] && "a b c".split(" ", 9) == ["a", "b", "c"]"#,
        r#""o©o©o".split("©", -1) == ["o", "o", "o"]"#,
        r#""añb".split("") == ["a", "ñ", "b"] && "añb".split("", 2) == ["a", "ñb"] && "".split("") == []"#,
        r#""añb".split("", 0) == [] && "añb".split("", 1) == ["añb"]"#,
        r#"["x", "y"].join() == "xy" && ["x", "y"].join("-") == "x-y" && [].join("-") == """#,
        r#""aaa".replace("a", "b") == "bbb" && "aaa".replace("a", "b", 2) == "bba""#,
        r#""aaa".replace("a", "b", 0) == "aaa" && "aaa".replace("a", "b", -1) == "bbb" && "aaa".replace("a", "b", 9) == "bbb""#,
        r#""ab".replace("", "-") == "-a-b-" && "ab".replace("", "-", 2) == "-a-b""#,
        r#""TacoCÆt".lowerAscii() == "tacocÆt" && "tacoCαt".upperAscii() == "TACOCαT""#,
        r#"" \f\n\r\t\v\u0085\u00a0text\u2028\u3000".trim() == "text" && "\u200btext".trim() == "\u200btext""#,
    ]);
    refuses_each(&[
        (r#""a".split(2)"#, "`.split(…)` takes a string, this is an int"),
        (
            r#""a".split("b", "1")"#,
            "`.split(…)` takes a whole number, this is a string",
        ),
        (
            r#""a".replace("a", "b", "1")"#,
            "`.replace(…)` takes a whole number, this is a string",
        ),
        (
            r#""a".replace("a", "b", 1, 2)"#,
            "replace(…) takes 2 or 3 arguments, not 4",
        ),
    ]);
}

#[test]
fn a_quoted_string_is_a_literal() {
    holds_each(&[
        r#"strings.quote("a\a\b\f\n\r\t\vz") == r'"a\a\b\f\n\r\t\vz"'"#,
        r#"strings.quote('a "b" \\ c') == r'"a \"b\" \\ c"'"#,
        r#"strings.quote("") == '""' && strings.quote("añ😀") == '"añ😀"'"#,
        r#".strings.quote("a") == '"a"'"#,
    ]);
    refuses_each(&[
        (r#"quote("a")"#, "`quote` is called as strings.quote(value)"),
        (r#""a".quote()"#, "`quote` is called as strings.quote(value)"),
        (
            r#"strings.quote(1)"#,
            "strings.quote(…) takes a string, this is an int",
        ),
        (
            r#"strings.unquote("a")"#,
            "there is no function `strings.unquote`",
        ),
    ]);
}

#[test]
fn a_variable_of_the_name_of_a_namespace_is_the_variable() {
    let expr = heddle_expr::Expr::compile("strings.quote", &["strings"], Want::Any).unwrap();
    let strings = heddle_json::object::json(r#"{"quote": 1}"#).unwrap();
    let find = |_: &str| Some(heddle_expr::Bound::Json(&strings));
    assert_eq!(expr.evaluate(find).unwrap().get(), "1");
}

#[test]
fn a_template_takes_the_items_of_a_list() {
    holds_each(&[
        r#""%d %s, %d%%".format([1, "a", 2u]) == "1 a, 2%" && "no".format([]) == "no" && "%s".format([1, 2]) == "1""#,
        r#""%%%s%%".format(["x"]) == "%x%""#,
        r#""%s %s %s %s".format([null, true, 1.5, 999999999999]) == "null true 1.5 999999999999""#,
        r#""%s %s".format([b"xyz", type("a")]) == "xyz string""#,
        r#""%s".format([["abc", 3.14, null, [9, 8]]]) == "[abc, 3.14, null, [9, 8]]""#,
        r#""%s".format([{"b": b"x", "a": {"z": 1, "y": [2]}}]) == "{a: {y: [2], z: 1}, b: x}""#,
        r#""%s".format([{1: "a", 2u: "b", true: double("NaN")}]) == "{1: a, 2: b, true: NaN}""#,
        r#""%d %d".format([-5, 9223372036854775807]) == "-5 9223372036854775807" && "%d %d".format([2.0, 1e3]) == "2 1000""#,
        r#""%f %f %f".format([2.71828, 2, 3u]) == "2.718280 2.000000 3.000000""#,
        r#""%.3f".format([1.2345]) == "1.234" && "%.3f".format([123.4999]) == "123.500""#,
        r#""%.0f %.0f %.0f %.0f".format([1.5, 2.5, 3.5001, 3.4999]) == "2 2 4 3""#,
        r#""%.5f".format([-1.2]) == "-1.20000" && "%.1f".format([9007199254740993]) == "9007199254740993.0""#,
        r#""%e %e".format([2.71828, 2]) == "2.718280e+00 2.000000e+00""#,
        r#""%.6e".format([1052.032911275]) == "1.052033e+03" && "%.1e".format([0.00012]) == "1.2e-04""#,
        r#""%.15e".format([9007199254740993]) == "9.007199254740993e+15" && "%.0e".format([95]) == "1e+02" && "%.0e".format([85]) == "8e+01""#,
        r#""%d %f %e".format([double("NaN"), double("Infinity"), double("-Infinity")]) == "NaN Infinity -Infinity""#,
        r#""%b %b %b %b".format([5, 64u, true, -5]) == "101 1000000 1 -101""#,
        r#""%o %o".format([11, 65535u]) == "13 177777""#,
        r#""%x %X %x %X".format([30, 30, "Hi!", b"\xff"]) == "1e 1E 486921 FF" && "%x".format([-30]) == "-1e""#,
        r#""%b".format([-9223372036854775808]).size() == 65"#,
        r#"state.title.format([]) == "Ode""#,
    ]);
    refuses_each(&[
        (
            r#""%a".format([1])"#,
            "`%a` is not a verb; the verbs are %s, %d, %f, %e, %b, %o, %x and %X, and %% for a percent sign",
        ),
        (r#""%E".format([1.5])"#, "`%E` is not a verb"),
        (
            r#""100%".format([])"#,
            "the template ends after `%`; a percent sign is written %%",
        ),
        (
            r#""%.f".format([1.0])"#,
            "the precision of `%.` must be a number from 0 to 100",
        ),
        (
            r#""%.101f".format([1.0])"#,
            "the precision of `%.101` must be a number from 0 to 100",
        ),
        (r#""%.2d".format([1])"#, "`%d` takes no precision"),
        (
            r#""%d %d %d".format([0, 1])"#,
            "`%d` has no item: the list has 2, and the template needs more",
        ),
        (
            r#""%b".format(["a"])"#,
            "`%b` takes a whole number or a bool, this is a string",
        ),
        (r#""%d".format(["a"])"#, "`%d` takes a number, this is a string"),
        (
            r#""%s %d".format([0, 1.5])"#,
            "item 1: `%d` takes a whole number, and this one has a fraction",
        ),
        (
            r#""%o".format([1.5])"#,
            "`%o` takes a whole number, this is a double",
        ),
        (
            r#""%x".format([0.5])"#,
            "`%x` takes a whole number or a string or bytes, this is a double",
        ),
        (r#""%e".format([null])"#, "`%e` takes a number, this is null"),
        (
            r#""%s".format("a")"#,
            "`.format(…)` takes a list, this is a string",
        ),
        // The same if the template and the items are known only at run time.
        (r#"(state.title + "%q").format([1])"#, "`%q` is not a verb"),
        (
            r#"(state.title + "%s%d").format(["a"])"#,
            "`%d` has no item: the list has 1, and the template needs more",
        ),
        (
            r#""%s%d".format(state.tags)"#,
            "item 1: `%d` takes a number, this is a string",
        ),
    ]);
}

#[test]
fn a_template_that_does_not_fit_its_items_is_found_before_it_runs() {
    for source in [
        r#""%a".format(state.tags)"#,
        r#""%d".format(["a"])"#,
        r#""%d%d".format([1])"#,
    ] {
        compile(source, Want::Any).unwrap_err();
    }
    for source in [
        r#""%d".format(state.tags)"#,
        r#""%d".format([state.score])"#,
        "state.title.format([1])",
    ] {
        compile(source, Want::Any).unwrap();
    }
}

#[test]
fn conversions_keep_to_the_range_of_their_kind() {
    holds_each(&[
        "int(3.9) == 3 && int(-3.9) == -3 && int(42u) == 42 && int('-7') == -7",
        "int(9223372036854774784.0) == 9223372036854774784 && int(-9223372036854774784.0) == -9223372036854774784",
        "int('9223372036854775807') == 9223372036854775807 && int('-9223372036854775808') < 0",
        "uint(3.9) == 3u && uint(42) == 42u && uint('18446744073709551615') == 18446744073709551615u",
        "double('1.5') == 1.5 && double(3) == 3.0 && double(3u) == 3.0 && double('1e-400') == 0.0",
        "double('Infinity') > 1.0 && double('-Infinity') < 1.0 && double('NaN') != double('NaN')",
        "string(1) == '1' && string(1u) == '1' && string(-1.5) == '-1.5' && string(true) == 'true'",
        "string(b'abc') == 'abc' && bytes('ab') == b'ab'",
        "bool('true') && bool('1') && !bool('FALSE') && !bool('f')",
    ]);
    refuses_each(&[
        (
            "int(-9223372036854775808.0)",
            "-9223372036854775808 is too small for an int",
        ),
        (
            "int(9223372036854775808.0)",
            "9223372036854775808 is too large for an int",
        ),
        ("int(1e300)", "is too large for an int"),
        (
            "int(18446744073709551615u)",
            "18446744073709551615 is too large for an int",
        ),
        (
            "int('9223372036854775808')",
            "9223372036854775808 is too large for an int",
        ),
        (
            "int('99999999999999999999999999999999999999999999')",
            "is too large for an int",
        ),
        ("int('1.5')", "`1.5` is not a whole number"),
        ("int('')", "`` is not a whole number"),
        ("int(' 1')", "` 1` is not a whole number"),
        ("int('1\\n')", "is not a whole number"),
        ("uint('1 ')", "`1 ` is not a whole number"),
        ("double(' 1.5')", "` 1.5` is not a number"),
        ("int(double('NaN'))", "NaN has no whole part"),
        ("int(double('Infinity'))", "inf has no whole part"),
        ("uint(-1)", "-1 does not fit a uint: it is negative"),
        ("uint(-0.5)", "-0.5 does not fit a uint: it is negative"),
        (
            "uint(18446744073709551616.0)",
            "18446744073709551616 does not fit a uint",
        ),
        ("uint('-1')", "-1 does not fit a uint"),
        ("double('1e400')", "1e400 is too large for a double"),
        ("double('x')", "`x` is not a number"),
        (r"string(b'\xff')", "these bytes are not UTF-8"),
        ("bool('yes')", "`yes` is not true or false"),
    ]);
}

#[test]
fn whole_numbers_do_not_overflow_into_another_kind() {
    holds_each(&[
        "9223372036854775806 + 1 == 9223372036854775807 && -9223372036854775807 - 1 < 0",
        "9223372036854775807u + 1u == 9223372036854775808u && 18446744073709551614u + 1u == 18446744073709551615u",
        "-5 / 2 == -2 && -5 % 2 == -1 && 5 % -2 == 1",
        "-(5) == -5 && -(-5) == 5 && -(1.5) == -1.5",
        // JSON has one kind of whole number.
        "state.big - 1 == 18446744073709551614u && state.big % 10 == 5",
    ]);
    refuses_each(&[
        (
            "9223372036854775807 + 1",
            "9223372036854775807 + 1 does not fit an int",
        ),
        (
            "-9223372036854775808 - 1",
            "-9223372036854775808 - 1 does not fit an int",
        ),
        (
            "9223372036854775807 * 2",
            "9223372036854775807 * 2 does not fit an int",
        ),
        (
            "-9223372036854775808 / -1",
            "-9223372036854775808 / -1 does not fit an int",
        ),
        (
            "-9223372036854775808 % -1",
            "-9223372036854775808 % -1 does not fit an int",
        ),
        (
            "-(-9223372036854775808)",
            "-(-9223372036854775808) does not fit an int",
        ),
        ("0u - 1u", "0 - 1 does not fit a uint"),
        (
            "18446744073709551615u + 1u",
            "18446744073709551615 + 1 does not fit a uint",
        ),
        (
            "18446744073709551615u * 2u",
            "18446744073709551615 * 2 does not fit a uint",
        ),
        (
            "state.big + 1",
            "18446744073709551615 + 1 does not fit an int or a uint",
        ),
        ("1 / 0", "1 is divided by 0"),
        ("1u % 0u", "1 % 0 has no remainder"),
        (
            "-(42u)",
            "`-` needs an int or a double after it, this is a uint; int(…) makes an int of it",
        ),
        (
            "-state.big",
            "`-` cannot negate a uint; int(…) makes an int of it",
        ),
    ]);
}

#[test]
fn a_number_is_found_among_numbers_of_every_kind() {
    holds_each(&[
        "!(3.1 in {1: 1}) && 3.0 in {3: 1} && 3u in {3: 1} && 3 in {3u: 1} && !(double('NaN') in {1: 1})",
        "{1: 'a'}[1.0] == 'a' && {1u: 'a'}[1] == 'a' && {1: 'a', true: 'b', '1': 'c'}['1'] == 'c'",
        "3.0 in [1, 3] && 3u in [3.0] && !(3.1 in [3])",
        "[7, 8, 9][1.0] == 8 && [7, 8, 9][1u] == 8",
        "1 < 1.5 && 1u < 2 && -1 < 1u && 1.0 == 1u && 9007199254740993 > 9007199254740992.0",
        "[1, 2.0, 3u] == [1.0, 2, 3] && {'a': 1} == {'a': 1.0}",
        "double('NaN') != 1 && !(double('NaN') < 1) && 1 < double('Infinity')",
    ]);
    refuses_each(&[
        ("{1: 1}[3.1]", "a double cannot be a key"),
        ("[1][0.5]", "the list has 1 items, from 0, and none at this"),
        ("{1: 1, 1u: 2}", "the key `1` is given twice"),
        ("null in {1: 1}", "`in` does not fit null and an object"),
    ]);
}

#[test]
fn a_leading_dot_means_the_variable_and_not_the_item() {
    holds_each(&[
        r#"["x"].exists(state, .state.title == "Ode")"#,
        r#"["x"].exists(state, state == "x")"#,
        r#"["x"].exists(title, .state.title == "Ode" && title == "x")"#,
        r#"["x"].all(state, has(.state.title) && .state["title"] == "Ode")"#,
        r#".size([1]) == 1"#,
    ]);
    refuses_each(&[
        (r#"["x"].exists(y, .y == "x")"#, "there is no variable `y`"),
        (
            "[1].map(x, .x)",
            "there is no variable `x`: with a dot before it, a name is not",
        ),
        ("[1].map(x, .x)", "write `x`, without the dot"),
        // The loop's item is not offered.
        ("[1].map(stat, .stae == 1)", "did you mean `state`?"),
    ]);
}

#[test]
fn an_expression_that_ends_with_a_point_says_what_must_follow() {
    refuses_each(&[
        ("1.", "a number has digits after its point, as in 1.0"),
        ("state.n + 12.", "a number has digits after its point, as in 1.0"),
        ("state.", "the expression ends where a key must follow"),
        ("state.a1.", "the expression ends where a key must follow"),
        ("[1].", "the expression ends where a key must follow"),
    ]);
}

#[test]
fn a_method_may_have_a_reserved_name_and_is_an_error_where_it_is_called() {
    holds_each(&[
        "state.title.as() || true",
        "state.title.while(1) || true",
        "!(state.title.if() && false)",
    ]);
    refuses_each(&[
        ("state.title.for()", "there is no function `for`"),
        ("state.title.do()", "there is no function `do`"),
    ]);
}

#[test]
fn escapes_in_strings_are_those_of_the_standard() {
    holds_each(&[
        r#""\a\b\f\n\r\t\v\\\?\"\'\`".size() == 12"#,
        r#""\x41\101\u0041\U00000041" == "AAAA" && r"\n" == "\\n" && R'\'.size() == 1"#,
        r#"b"\xff\377".size() == 2 && b"é".size() == 2 && "\xff" == "ÿ" && '''a"b'c''' == "a\"b'c""#,
    ]);
}

#[test]
fn the_result_of_a_function_is_charged_before_it_is_allocated() {
    let text = "a".repeat(1 << 20);
    let state = Object::parse(&format!(
        r#"{{"text": "{text}", "many": [{}1]}}"#,
        "1,".repeat(20_000)
    ))
    .unwrap();
    for source in [
        "state.many.map(x, state.text.reverse())",
        "state.many.map(x, strings.quote(state.text))",
        "state.many.map(x, '%s'.format([state.text]))",
        "state.many.map(x, '%x'.format([state.text]))",
        "state.many.map(x, '%s'.format([state.many]))",
        "state.many.map(x, state.text.replace('', state.text, 100))",
        "state.many.map(x, state.text.split('', 2))",
        "state.many.map(x, state.text.lastIndexOf('b'))",
        "state.many.map(x, state.text.charAt(1))",
    ] {
        let error = evaluate_in(source, &state).unwrap_err().to_string();
        assert!(
            error.contains("it costs more than the limit"),
            "{source}: {error}"
        );
    }
}
