//! Errors that the check of an expression reports.

use std::collections::BTreeMap;

use expect_test::expect;
use heddle_expr::{Bound, Expr, Want};
use heddle_json::{Json, object::json};

use super::{compile, says};

#[test]
fn syntax_errors_are_explained() {
    says(
        r#"
        state.score <
        state.score = 80
        state.score === 80
        state.a and state.b
        not state.a
        state.a & state.b
        (state.a
        state.a)
        [1, 2}
        "abc
        'it's'
        "\q"
        state.a state.b
        state.a ? 1
        state.a ? 1 :
        [1,,2]
        {"a":}
        {a: 1}
        size(1,)
        état == 1
        state.été
        state.if
        state.in
        state.null == 1
        state.a in
        if
        99999999999999999999
        state.?a
        has(1)
        state.a.all(1, true)
        state..a
        #
        T{a: 1}
        state.a.1
        "é" b
        “a”
        == 1
        "#,
        Want::Any,
        expect![[r#"
            state.score <
                column 14: the expression ends where a value must follow
            state.score = 80
                column 13: `=` is not an operator; values are compared with `==`
            state.score === 80
                column 13: CEL compares with `==` and `!=`, not with three signs
            state.a and state.b
                column 9: CEL writes `&&` for `and`
            not state.a
                column 1: CEL writes `!` for `not`
            state.a & state.b
                column 9: `&` is not an operator; both conditions must hold with `&&`
            (state.a
                column 1: this `(` is never closed
            state.a)
                column 8: this `)` closes nothing
            [1, 2}
                column 6: this `}` does not close the `[` before it: `]` is expected
            "abc
                column 1: this string has no end: its " is missing
            'it's'
                column 6: this string has no end: its ' is missing
            "\q"
                column 2: this is not an escape; a backslash itself is written \\, or the string as r"…"
            state.a state.b
                column 9: `state` cannot follow here; an operator, a comma or a bracket is missing before it
            state.a ? 1
                column 12: the expression ends too early: the `:` of `… ? … : …` is missing
            state.a ? 1 :
                column 14: the expression ends where a value must follow
            [1,,2]
                column 4: a value must stand here, not `,`
            {"a":}
                column 6: a value must stand here, not `}`
            {a: 1}
                column 2: write a key in quotes: "a"
            size(1,)
                column 8: a value must stand here, not `)`
            état == 1
                column 1: `é` cannot stand in a name, whose letters are a to z; a key with it is read as state["é…"]
            state.été
                column 7: `é` cannot stand in a name, whose letters are a to z; a key with it is read as state["é…"]
            state.if
                nothing
            state.in
                column 7: `in` is a reserved word; a key with this name is read as …["in"]
            state.null == 1
                column 7: `null` is a reserved word; a key with this name is read as …["null"]
            state.a in
                column 11: the expression ends where a value must follow
            if
                column 1: `if` is a reserved word; a key with this name is read as state["if"]
            99999999999999999999
                column 1: the number 99999999999999999999 is too large for an int
            state.?a
                column 6: CEL has no such `?` here; has(state.key) tells whether a key is there
            has(1)
                column 5: has() needs a key, as in has(state.score)
            state.a.all(1, true)
                column 13: the first argument names the item, as in state.items.all(item, item > 0)
            state..a
                column 7: a key must stand here, not `.`
            #
                column 1: `#` has no meaning here
            T{a: 1}
                column 1: `T` is not a type that an expression can create; an object is written {"key": value}
            state.a.1
                column 8: the item at a place is read as list[1], from 0
            "é" b
                column 5: `b` cannot follow here; an operator, a comma or a bracket is missing before it
            “a”
                column 1: strings stand in plain quotes, not in “
            == 1
                column 1: a value must stand here, not `=`
        "#]],
    );
}

#[test]
fn certain_errors_are_found_before_evaluation() {
    says(
        r#"
        stat.score < 80
        state.status == done
        "a" + 1
        1 && true
        !"x"
        -"x"
        1 < "a"
        1 == "a"
        [1] + 1
        "a" in "abc"
        1 in 2
        5.0 % 2
        siz(state.a)
        state.a.contain("x")
        contains(state.a, "x")
        state.a.int()
        size(1, 2)
        size(7)
        "abc".startsWith(1)
        state.a.split()
        state.a.substring()
        state.a.all(x)
        all(state.a, x, x)
        has(state.a, state.b)
        "a".b
        has((1 + 2).x)
        1[0]
        [1]["a"]
        [1, 2].all(x, x)
        ["a"].map(x, x + 1)
        (1).map(x, x)
        "a" ? 1 : 2
        state.a.matches("(")
        state.a.matches("(?:\\w{100}){100}")
        timestamp("2024-01-01T00:00:00Z")
        now()
        math.abs(1)
        type(1)
        b"x"
        {[1]: 2}
        state.my-key > 1
        stat.a + stae.b + "a" * 2
        "#,
        Want::Any,
        expect![[r#"
            stat.score < 80
                column 1: there is no variable `stat`; did you mean `state`?
            state.status == done
                column 17: there is no variable `done`; there are `state`, `input`, `run`, `node`; write a string in quotes: "done"
            "a" + 1
                column 5: `+` does not fit a string and an int; string(…) makes a string of a value
            1 && true
                column 1: a condition of `&&` is a bool, this is an int
            !"x"
                column 2: a condition after `!` is a bool, this is a string
            -"x"
                column 1: `-` needs an int or a double after it, this is a string
            1 < "a"
                column 3: `<` does not fit an int and a string; double(…) reads a number from a string
            1 == "a"
                column 3: `==` does not fit an int and a string; it would never hold
            [1] + 1
                column 5: `+` does not fit a list and an int
            "a" in "abc"
                column 5: `in` does not fit a string and a string; a part of a string is found by text.contains(part)
            1 in 2
                column 3: `in` does not fit an int and an int
            5.0 % 2
                column 5: `%` does not fit a double and an int; int(…) drops the fraction
            siz(state.a)
                column 1: there is no function `siz`; did you mean `size`?
            state.a.contain("x")
                column 9: there is no function `contain`; did you mean `contains`?
            contains(state.a, "x")
                column 1: `contains` is called on a value: value.contains(…)
            state.a.int()
                column 9: `int` is called as int(value)
            size(1, 2)
                column 1: size(…) takes 1 argument, not 2
            size(7)
                column 6: size(…) takes a string or bytes or a list or an object, this is an int
            "abc".startsWith(1)
                column 18: `.startsWith(…)` takes a string, this is an int
            state.a.split()
                column 9: split(…) takes 1 or 2 arguments, not 0
            state.a.substring()
                column 9: substring(…) takes 1 or 2 arguments, not 0
            state.a.all(x)
                column 9: `.all(…)` takes a name for the item and a condition, not 1 argument
            all(state.a, x, x)
                column 1: `all` is called on a list or an object: list.all(item, …)
            has(state.a, state.b)
                column 1: has(…) takes one key, as in has(state.score)
            "a".b
                column 4: `.b` needs an object before it, this is a string
            has((1 + 2).x)
                column 4: `.x` needs an object before it, this is an int
            1[0]
                column 2: `[…]` needs a list or an object before it, this is an int
            [1]["a"]
                column 4: the index of a list is a whole number, this is a string
            [1, 2].all(x, x)
                column 15: a condition of a loop is a bool, this is an int
            ["a"].map(x, x + 1)
                column 16: `+` does not fit a string and an int; string(…) makes a string of a value
            (1).map(x, x)
                column 8: a loop needs a list or an object before it, this is an int
            "a" ? 1 : 2
                column 1: a condition before `?` is a bool, this is a string
            state.a.matches("(")
                column 17: this is not a regular expression: unclosed group
            state.a.matches("(?:\\w{100}){100}")
                column 17: this pattern is too large; repeat less in it
            timestamp("2024-01-01T00:00:00Z")
                column 1: there is no function `timestamp`: expressions know no times; a node can wait or sleep
            now()
                column 1: there is no function `now`: expressions know no times; a node can wait or sleep
            math.abs(1)
                column 6: there is no function `abs`
            type(1)
                column 1: the result must be JSON, and is a type; string(…) makes a string of it
            b"x"
                column 1: the result must be JSON, and is bytes; string(…) makes a string of it
            {[1]: 2}
                column 2: a key is a string, a number or a bool, this is a list
            state.my-key > 1
                column 9: this subtracts; a key with a dash is read as state["my-key"]
            stat.a + stae.b + "a" * 2
                column 1: there is no variable `stat`; did you mean `state`?
                column 10: there is no variable `stae`; did you mean `state`?
                column 23: `*` does not fit a string and an int
        "#]],
    );
}

#[test]
fn a_condition_that_is_certainly_no_bool_is_refused() {
    says(
        r#"
        state.score
        state.score + 1
        state.a ? 1 : 2
        state.a ? 1 : true
        "yes"
        state.items.map(x, x)
        state.a == 1
        size(state.a)
        "#,
        Want::Bool,
        expect![[r#"
            state.score
                nothing
            state.score + 1
                column 1: the result must be a bool, and is a number
            state.a ? 1 : 2
                column 1: the result must be a bool, and is an int
            state.a ? 1 : true
                nothing
            "yes"
                column 1: the result must be a bool, and is a string
            state.items.map(x, x)
                column 1: the result must be a bool, and is a list
            state.a == 1
                nothing
            size(state.a)
                column 1: the result must be a bool, and is an int
        "#]],
    );
    says(
        r#"
        state.items
        [1]
        {"a": 1}
        "a"
        state.a + state.b
        "#,
        Want::Items,
        expect![[r#"
            state.items
                nothing
            [1]
                nothing
            {"a": 1}
                nothing
            "a"
                column 1: the result must be a list or an object, and is a string
            state.a + state.b
                nothing
        "#]],
    );
}

#[test]
fn possibly_valid_expressions_are_accepted() {
    for source in [
        "state.a + state.b < input.c",
        "state[state.key].x[0]",
        "state.a == null || state.a == 'x'",
        "(state.a ? 1 : 'x') == 'x'",
        "[1, 'a'].exists(x, x == 'a')",
        "[1, true].all(x, x)",
        "dyn(1) == 'a'",
        "state.a[state.i] in state.b",
        "state.all(key, key != 'x')",
        "state.a.size() > 1 && size(state) < 3",
        "{'a': 1}['a'] + 1 > 1",
        "[[1]][0][0] + 1 == 2",
        "type(state.a) == list",
        "!(state.a in [1, 'a', null])",
    ] {
        compile(source, Want::Bool).unwrap_or_else(|problems| panic!("{source}: {problems}"));
    }
}

#[test]
fn the_place_of_a_problem_is_a_line_and_a_column_of_characters() {
    let problem = |source| compile(source, Want::Any).unwrap_err();
    expect!["column 7: there is no variable `stat`; did you mean `state`?"]
        .assert_eq(&problem("\"é\" + stat"));
    expect!["line 2, column 10: there is no variable `stat`; did you mean `state`?"]
        .assert_eq(&problem("state.a &&\n  \"é\" == stat.b"));
    expect![[
        r#"line 2, column 6: `"` cannot follow here; an operator, a comma or a bracket is missing before it"#
    ]]
    .assert_eq(&problem("// é\n \"é\" \"b\""));
}

#[test]
fn the_keys_that_are_read_are_known() {
    let keys = |source| {
        let expr = compile(source, Want::Any).unwrap();
        let of = |name| {
            expr.keys_of(name)
                .map(|keys| keys.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        format!("{:?} {:?}", of("state"), of("input"))
    };
    assert_eq!(
        keys("state.b.c + state['a'] > input.x"),
        r#"Some(["a", "b"]) Some(["x"])"#
    );
    assert_eq!(keys("has(state.a) && state.a.x"), r#"Some(["a"]) Some([])"#);
    assert_eq!(keys("state[state.a]"), "None Some([])");
    assert_eq!(keys("size(state)"), "None Some([])");
    assert_eq!(keys("input.a.map(state, state.b)"), r#"Some([]) Some(["a"])"#);
}

#[test]
fn variables_may_be_any_names() {
    let values: BTreeMap<&str, Json> = [("file", json("{\"name\": \"a\"}").unwrap())].into();
    let expr = Expr::compile("file.name == 'a'", &["state", "file"], Want::Bool).unwrap();
    let find = |name: &str| values.get(name).map(Bound::Json);
    assert_eq!(expr.holds(find), Ok(true));
    assert_eq!(
        format!("{:?} {}", expr.clone(), expr.source()),
        r#"Expr("file.name == 'a'") file.name == 'a'"#
    );
}

#[test]
fn run_is_asked_for_what_it_has_alone_in_new_graphs() {
    says(
        r#"
        run.steps + size(run.id)
        run.step > 3
        run["graphs"]
        run.zzz
        has(run.step)
        state.run.step
        state.runs.map(run, run.step)
        "#,
        Want::Any,
        expect![[r#"
            run.steps + size(run.id)
                nothing
            run.step > 3
                column 4: `run` has no `step`; did you mean `run.steps`? In all, it has `id`, `graph`, `started_at`, `steps`
            run["graphs"]
                column 4: `run` has no `graphs`; did you mean `run.graph`? In all, it has `id`, `graph`, `started_at`, `steps`
            run.zzz
                column 4: `run` has no `zzz`; it has `id`, `graph`, `started_at`, `steps`
            has(run.step)
                nothing
            state.run.step
                nothing
            state.runs.map(run, run.step)
                nothing
        "#]],
    );
    assert!(Expr::compile_stored("run.step", &["run"], Want::Any).is_ok());
}

#[test]
fn a_number_that_is_too_large_is_shown_without_the_text_after_it() {
    for (source, problem) in [
        (
            "9223372036854775808\n",
            "column 1: the number 9223372036854775808 is too large for an int",
        ),
        (
            "1 +\n9223372036854775808+2",
            "line 2, column 1: the number 9223372036854775808 is too large for an int",
        ),
        (
            "-9223372036854775809\t",
            "column 2: the number 9223372036854775809 is too large for an int",
        ),
    ] {
        assert_eq!(compile(source, Want::Any).unwrap_err(), problem, "{source:?}");
    }
}
