//! The expressions of a graph as text: what is said of a wrong one, and what a right one gives.
#![allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic

use std::{collections::BTreeMap, time::Instant};

use expect_test::{Expect, expect};
use heddle_kernel::{
    Json, Object,
    expr::{Bound, EvalError, Expr, MAX_CHAIN, MAX_NESTING, MAX_SOURCE_LEN, Want},
    object::json,
};
use proptest::prelude::*;

const VARIABLES: [&str; 4] = ["state", "input", "run", "node"];

const STATE: &str = r#"{
    "score": 72, "ratio": 0.5, "title": "Ode", "tags": ["a", "b"], "none": null, "done": false,
    "doc": {"pages": 3, "by": {"name": "Ann", "first name": "A."}}, "big": 18446744073709551615,
    "items": [{"n": 1, "ok": true}, {"n": 2, "ok": false}, {"n": 3, "ok": true}], "empty": {}
}"#;

fn compile(source: &str, want: Want) -> Result<Expr, String> {
    Expr::compile(source, &VARIABLES, want).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        lines.join("\n")
    })
}

fn evaluate_in(source: &str, state: &Object) -> Result<Json, EvalError> {
    let input = json(r#"{"limit": 80}"#).unwrap();
    let find = |name: &str| match name {
        "state" => Some(Bound::Object(state)),
        "input" => Some(Bound::Json(&input)),
        _ => None,
    };
    let expr = compile(source, Want::Any).unwrap_or_else(|problems| panic!("{source:.80}: {problems}"));
    let first = expr.evaluate(find);
    let again = expr.evaluate(find);
    match (&first, &again) {
        (Ok(first), Ok(again)) => assert_eq!(first.get(), again.get(), "{source}"),
        _ => assert_eq!(first.as_ref().err(), again.as_ref().err(), "{source}"),
    }
    first
}

/// Each line of `sources` with what it gives over [`STATE`].
fn gives(sources: &str, expect: Expect) {
    let state = Object::parse(STATE).unwrap();
    let mut shown = String::new();
    for source in sources.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match evaluate_in(source, &state) {
            Ok(value) => shown += &format!("{source} = {value}\n"),
            Err(error) => shown += &format!("{error}\n"),
        }
    }
    expect.assert_eq(&shown);
}

/// Each line of `sources` with what is wrong with it.
fn says(sources: &str, want: Want, expect: Expect) {
    let mut shown = String::new();
    for source in sources.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match compile(source, want) {
            Ok(_) => shown += &format!("{source}\n    nothing\n"),
            Err(problems) => shown += &format!("{source}\n    {}\n", problems.replace('\n', "\n    ")),
        }
    }
    expect.assert_eq(&shown);
}

#[test]
fn values_come_from_the_state_and_go_to_json() {
    gives(
        r#"
        state.score
        state.score < 80
        state.score + input.limit
        state["title"] + "!"
        state.doc.by["first name"]
        state.doc.by.`first name`
        state.tags[1]
        state.items[state.score - 72].n
        state.none == null
        {"a": state.doc.pages, "list": [1, 2.0, -3u == -3, null], "t": state.title}
        {"b": 1, "a": {"d": 1, "c": 2}}
        state.doc
        input
        input.limit
        size(state.tags) + state.tags.size() + size("añb")
        size(state)
        "score" in state && "b" in state.tags && !("x" in state.doc)
        state.done ? "yes" : "no"
        state[state.tags[0] + "x"]
        type(state.score) == int && type(state.ratio) == double && type(state.none) == null_type
        string(state.score) + "/" + string(1.5) + "/" + string(true)
        int("42") + int(3.9) + int(-3.9)
        double("1.5") * 2
        "a,b,,c".split(",").map(x, x.upperAscii()).join("-")
        " Ode ".trim().lowerAscii().replace("o", "0").substring(1)
        "häuser".indexOf("user")
        state.title.startsWith("O") && state.title.endsWith("e") && state.title.contains("d")
        state.title.matches("^[A-Z]\\w+$")
        r"\d" + "\u00e9"
        .state.score
        "#,
        expect![[r#"
            state.score = 72
            state.score < 80 = true
            state.score + input.limit = 152
            state["title"] + "!" = "Ode!"
            state.doc.by["first name"] = "A."
            state.doc.by.`first name` = "A."
            state.tags[1] = "b"
            state.items[state.score - 72].n = 1
            state.none == null = true
            {"a": state.doc.pages, "list": [1, 2.0, -3u == -3, null], "t": state.title} = {"a":3,"list":[1,2.0,true,null],"t":"Ode"}
            {"b": 1, "a": {"d": 1, "c": 2}} = {"a":{"c":2,"d":1},"b":1}
            state.doc = {"pages": 3, "by": {"name": "Ann", "first name": "A."}}
            input = {"limit": 80}
            input.limit = 80
            size(state.tags) + state.tags.size() + size("añb") = 7
            size(state) = 10
            "score" in state && "b" in state.tags && !("x" in state.doc) = true
            state.done ? "yes" : "no" = "no"
            `state[state.tags[0] + "x"]`: the object has no key `ax`
            type(state.score) == int && type(state.ratio) == double && type(state.none) == null_type = true
            string(state.score) + "/" + string(1.5) + "/" + string(true) = "72/1.5/true"
            int("42") + int(3.9) + int(-3.9) = 42
            double("1.5") * 2 = 3.0
            "a,b,,c".split(",").map(x, x.upperAscii()).join("-") = "A-B--C"
            " Ode ".trim().lowerAscii().replace("o", "0").substring(1) = "de"
            "häuser".indexOf("user") = 2
            state.title.startsWith("O") && state.title.endsWith("e") && state.title.contains("d") = true
            state.title.matches("^[A-Z]\\w+$") = true
            r"\d" + "\u00e9" = "\\dé"
            .state.score = 72
        "#]],
    );
}

#[test]
fn loops_go_over_items_and_over_keys() {
    gives(
        r#"
        state.items.map(x, x.n * 2)
        state.items.filter(x, x.ok).map(x, x.n)
        state.items.map(x, x.ok, x.n)
        state.items.all(x, x.n > 0) && state.items.exists(x, !x.ok) && state.items.exists_one(x, x.n == 2)
        state.doc.map(key, key)
        state.doc.by.exists(key, key == "name")
        [1, 2].map(x, [3, 4].map(y, x * y))
        [1, 2].map(state, state + 1)
        [].all(x, x) && ![].exists(x, x)
        state.items.all(x, x.missing > 1 || x.n > 0)
        "#,
        expect![[r#"
            state.items.map(x, x.n * 2) = [2,4,6]
            state.items.filter(x, x.ok).map(x, x.n) = [1,3]
            state.items.map(x, x.ok, x.n) = [1,3]
            state.items.all(x, x.n > 0) && state.items.exists(x, !x.ok) && state.items.exists_one(x, x.n == 2) = true
            state.doc.map(key, key) = ["by","pages"]
            state.doc.by.exists(key, key == "name") = true
            [1, 2].map(x, [3, 4].map(y, x * y)) = [[3,4],[6,8]]
            [1, 2].map(state, state + 1) = [2,3]
            [].all(x, x) && ![].exists(x, x) = true
            state.items.all(x, x.missing > 1 || x.n > 0) = true
        "#]],
    );
}

#[test]
fn numbers_keep_their_kind_and_mix_as_json_numbers_do() {
    gives(
        r#"
        7 / 2
        7 / 2.0
        state.score * state.ratio
        state.score / 0
        1.0 / 0.0
        9223372036854775807 + 1
        9223372036854775807 * 2.0
        state.big
        state.big - 1u
        state.big + 0
        state.big > 9223372036854775807
        -state.score
        1 == 1.0 && 1u == 1 && [1] == [1.0]
        9007199254740993 == 9007199254740992.0
        3 % 2
        state.ratio % 2
        uint(-1)
        1 < 1.5 && -1 < 1u
        "#,
        expect![[r#"
            7 / 2 = 3
            7 / 2.0 = 3.5
            state.score * state.ratio = 36.0
            `state.score / 0`: 72 is divided by 0
            `1.0 / 0.0`: the result has the number inf, which JSON cannot write
            9223372036854775807 + 1 = 9223372036854775808
            9223372036854775807 * 2.0 = 1.8446744073709552e+19
            state.big = 18446744073709551615
            state.big - 1u = 18446744073709551614
            state.big + 0 = 18446744073709551615
            state.big > 9223372036854775807 = true
            -state.score = -72
            1 == 1.0 && 1u == 1 && [1] == [1.0] = true
            9007199254740993 == 9007199254740992.0 = false
            3 % 2 = 1
            `state.ratio % 2`: `%` needs whole numbers; int(…) drops the fraction
            `uint(-1)`: -1 does not fit a uint
            1 < 1.5 && -1 < 1u = true
        "#]],
    );
}

#[test]
fn an_error_says_what_was_missing_and_what_there_is() {
    gives(
        r#"
        state.missing < 3
        state.scor < 3
        state.doc.by.age
        state.doc.pages.count
        state.tags.length
        state.items[7]
        state.tags["a"]
        state.title < 3
        state.title + 1
        state.title && true
        !state.title
        state.none + 1
        state.items.map(x, x.size)
        state.items.map(x, x.nn)
        run.id
        state.title.contains(state.score)
        state.score.contains("a")
        state.title in state.title
        {"a": 1, "a": 2}
        {1: 2}
        {state.ratio: 2}
        int(state.title)
        state.title.matches(state.title + "(")
        [type(1)]
        ["a", state.score].join(",")
        state.score ? 1 : 2
        "abc".substring(2, 1)
        state.empty.x
        input.missing
        "#,
        expect![[r#"
            `state.missing < 3`: state has no key `missing`; has(state.missing) tells whether it is there
            `state.scor < 3`: state has no key `scor`; did you mean `score`?; has(state.scor) tells whether it is there
            `state.doc.by.age`: state.doc.by has no key `age`; it has `name`, `first name`; has(state.doc.by.age) tells whether it is there
            `state.doc.pages.count`: state.doc.pages is a number and has no key `count`
            `state.tags.length`: state.tags is a list and has no key `length`; its size is size(state.tags)
            `state.items[7]`: the list has 3 items, from 0, and none at `7`
            `state.tags["a"]`: state.tags is a list and has no key `a`
            `state.title < 3`: `<` does not fit a string and an int; double(…) reads a number from a string
            `state.title + 1`: `+` does not fit a string and an int; string(…) makes a string of a value
            `state.title && true`: a condition of `&&` is a bool, this is a string
            `!state.title`: a condition after `!` is a bool, this is a string
            `state.none + 1`: `+` does not fit null and an int
            `state.items.map(x, x.size)`: the object has no key `size`; it has `n`, `ok`
            `state.items.map(x, x.nn)`: the object has no key `nn`; it has `n`, `ok`
            `run.id`: `run` has no value here
            `state.title.contains(state.score)`: `.contains(…)` takes a string, this is an int
            `state.score.contains("a")`: `.contains(…)` needs a string before it, this is an int
            `state.title in state.title`: `in` does not fit a string and a string; a part of a string is found by text.contains(part)
            `{"a": 1, "a": 2}`: the key `a` is given twice
            `{1: 2}`: the result has the key `1`, and JSON's keys are strings; string(…) makes one of it
            `{state.ratio: 2}`: a double cannot be a key
            `int(state.title)`: `Ode` is not a whole number
            `state.title.matches(state.title + "(")`: this is no regular expression: unclosed group
            `[type(1)]`: the result has a type, which JSON cannot write; string(…) makes a string of it
            `["a", state.score].join(",")`: `.join(…)` needs a list of strings, item 1 is an int; .map(x, string(x)) makes strings
            `state.score ? 1 : 2`: a condition before `?` is a bool, this is an int
            `"abc".substring(2, 1)`: a string of 3 characters has no part from 2 to 1
            `state.empty.x`: state.empty has no key `x`; it has none; has(state.empty.x) tells whether it is there
            `input.missing`: input has no key `missing`; it has `limit`; has(input.missing) tells whether it is there
        "#]],
    );
}

#[test]
fn has_tells_whether_a_key_is_there() {
    gives(
        r#"
        has(state.score) && !has(state.missing)
        has(state.doc.by.name) && !has(state.doc.by.age)
        has(state.missing.x)
        has(state.score.x)
        has(input.limit) && !has(input.x)
        has(state.none)
        !has(state.missing) || state.missing < 3
        state.missing < 3 || state.score > 1
        state.items.filter(x, has(x.n) && !has(x.m)).size()
        has({"a": 1}.a)
        "#,
        expect![[r#"
            has(state.score) && !has(state.missing) = true
            has(state.doc.by.name) && !has(state.doc.by.age) = true
            `has(state.missing.x)`: state has no key `missing`; has(state.missing) tells whether it is there
            `has(state.score.x)`: has(state.score.x) needs an object, state.score is a number
            has(input.limit) && !has(input.x) = true
            has(state.none) = true
            !has(state.missing) || state.missing < 3 = true
            state.missing < 3 || state.score > 1 = true
            state.items.filter(x, has(x.n) && !has(x.m)).size() = 3
            has({"a": 1}.a) = true
        "#]],
    );
}

#[test]
fn what_does_not_parse_is_explained() {
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
                column 13: `=` is no operator; values are compared with `==`
            state.score === 80
                column 13: CEL compares with `==` and `!=`, not with three signs
            state.a and state.b
                column 9: CEL writes `&&` for `and`
            not state.a
                column 1: CEL writes `!` for `not`
            state.a & state.b
                column 9: `&` is no operator; both conditions must hold with `&&`
            (state.a
                column 1: this `(` is never closed
            state.a)
                column 8: this `)` closes nothing
            [1, 2}
                column 6: this `}` stands where `]` must close the `[` before it
            "abc
                column 1: this string has no end: its " is missing
            'it's'
                column 6: this string has no end: its ' is missing
            "\q"
                column 2: this is no escape; a backslash itself is written \\, or the string as r"…"
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
                column 2: a key stands in quotes: "a"
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
                column 5: has() asks for a key, as in has(state.score)
            state.a.all(1, true)
                column 13: the first argument names the item, as in state.items.all(item, item > 0)
            state..a
                column 7: a key must stand here, not `.`
            #
                column 1: `#` has no meaning here
            T{a: 1}
                column 1: `T` is no type that can be made; an object is written {"key": value}
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
fn what_is_certainly_wrong_is_found_before_it_runs() {
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
                column 17: there is no variable `done`; there are `state`, `input`, `run`, `node`; a string stands in quotes: "done"
            "a" + 1
                column 5: `+` does not fit a string and an int; string(…) makes a string of a value
            1 && true
                column 1: a condition of `&&` is a bool, this is an int
            !"x"
                column 2: a condition after `!` is a bool, this is a string
            -"x"
                column 1: `-` needs a number after it, this is a string
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
                column 9: split(…) takes 1 argument, not 0
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
                column 17: this is no regular expression: unclosed group
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
fn what_could_be_right_is_accepted() {
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
fn a_result_that_its_place_does_not_take_is_an_error() {
    let state = Object::parse(STATE).unwrap();
    let find = |_: &str| Some(Bound::Object(&state));
    let of = |source, want| {
        compile(source, want)
            .unwrap()
            .evaluate(find)
            .unwrap_err()
            .to_string()
    };
    expect!["`state.score`: the result must be a bool, and is a number"]
        .assert_eq(&of("state.score", Want::Bool));
    expect!["`state.score`: the result must be a list or an object, and is a number"]
        .assert_eq(&of("state.score", Want::Items));
    let holds = compile("state.score", Want::Bool).unwrap().holds(find);
    expect!["`state.score`: the result must be a bool, and is an int"]
        .assert_eq(&holds.unwrap_err().to_string());
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
fn a_path_hands_its_text_on_as_it_is() {
    let state =
        Object::parse(r#"{"doc": {"z": 1.50, "a": 1e400, "sub": {"y": 1, "x": 2}, "z": 7}}"#).unwrap();
    let given = |source| evaluate_in(source, &state).unwrap().get().to_owned();
    assert_eq!(
        given("state.doc"),
        r#"{"z": 1.50, "a": 1e400, "sub": {"y": 1, "x": 2}, "z": 7}"#
    );
    assert_eq!(given("state.doc.sub"), r#"{"y": 1, "x": 2}"#);
    assert_eq!(given("state.doc.z"), "7");
    assert_eq!(given("{'d': state.doc.sub}"), r#"{"d":{"x":2,"y":1}}"#);
}

#[test]
fn only_what_is_named_is_read() {
    let broken = r#"{"score": 1, "huge": 1e400, "sub": {"a": 1, "b": 1e400}}"#;
    let state = Object::parse(broken).unwrap();
    let given = |source| evaluate_in(source, &state).map(|value| value.get().to_owned());
    assert_eq!(given("state.score < 2").unwrap(), "true");
    assert_eq!(
        given("has(state.huge) && state.sub.a == 1 && has(state.sub.b)").unwrap(),
        "true"
    );
    expect!["`state.huge > 1`: state.huge cannot be read: number out of range at line 1 column 5"]
        .assert_eq(&given("state.huge > 1").unwrap_err().to_string());
    given("size(state) > 1").unwrap_err();
}

/// Asserts that each expression ends with the limit, and soon.
fn reaches_the_limit(source: &str, state: &Object) {
    let begun = Instant::now();
    match evaluate_in(source, state) {
        Err(EvalError::Limit { .. }) => {}
        other => panic!("{source:.80}: {other:?}"),
    }
    // Twice, on a machine that may be busy: what is asserted is that nothing explodes.
    assert!(
        begun.elapsed().as_secs() < 4,
        "{source:.80}: {:?}",
        begun.elapsed()
    );
}

#[test]
fn what_explodes_ends_at_the_limit() {
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
    // Without a look at it, what is shared costs nothing.
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
    expect!["`size(state.deep)`: state.deep cannot be read: recursion limit exceeded at line 1 column 128"]
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
                let begun = Instant::now();
                let _ = compile(&source, Want::Any);
                let took = begun.elapsed();
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
    // A value can be nested deeper than the expression that makes it.
    let wrap = nested("[", "a", "]", MAX_NESTING - 2);
    let deep = format!("[1]{}", format!(".map(a,{wrap})").repeat(55));
    let made = evaluate_in(&deep, &state).unwrap();
    assert_eq!(made.get().len(), 2 * (MAX_NESTING - 2) * 55 + 3);
    assert_eq!(
        evaluate_in(&format!("{deep} == [1]"), &state).unwrap().get(),
        "false"
    );

    let problem = |source: String| compile(&source, Want::Any).unwrap_err();
    expect!["column 33: brackets are nested more than 32 deep; give parts to nodes of their own"]
        .assert_eq(&problem(nested("[", "1", "]", MAX_NESTING + 1)));
    expect!["column 514: more than 256 operators depend on one another; give parts to nodes of their own"]
        .assert_eq(&problem(nested("", "1", "+1", MAX_CHAIN + 1)));
    expect!["an expression has at most 4096 bytes, this one has 4097; a function can do more"]
        .assert_eq(&problem(" ".repeat(MAX_SOURCE_LEN + 1)));
    expect!["the expression is empty"].assert_eq(&problem(" \n".into()));
}

/// Expressions of every construct, nested at random; most have errors of types.
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
            evaluate_in("[state.o, state.o.map(k, k)]", &state).unwrap().get().to_owned()
        };
        prop_assert_eq!(of(&forth), of(&back));
    }
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
