//! Values of expressions, and errors if the values do not fit.

use expect_test::expect;
use heddle_expr::{Bound, Want};
use heddle_json::Object;

use super::{STATE, compile, evaluate_in, gives};

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
        {"a": state.doc.pages, "list": [1, 2.0, 3u == 3, null], "t": state.title}
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
            {"a": state.doc.pages, "list": [1, 2.0, 3u == 3, null], "t": state.title} = {"a":3,"list":[1,2.0,true,null],"t":"Ode"}
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
            `9223372036854775807 + 1`: 9223372036854775807 + 1 does not fit an int; double(…) calculates with larger numbers, though not exactly
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
            `uint(-1)`: -1 does not fit a uint: it is negative
            1 < 1.5 && -1 < 1u = true
        "#]],
    );
}

#[test]
fn an_error_names_the_missing_and_the_available_keys() {
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
            `state.missing < 3`: state has no key `missing`; has(state.missing) tests whether the key exists
            `state.scor < 3`: state has no key `scor`; did you mean `score`?; has(state.scor) tests whether the key exists
            `state.doc.by.age`: state.doc.by has no key `age`; it has `name`, `first name`; has(state.doc.by.age) tests whether the key exists
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
            `state.title.matches(state.title + "(")`: this is not a regular expression: unclosed group
            `[type(1)]`: the result has a type, which JSON cannot write; string(…) makes a string of it
            `["a", state.score].join(",")`: `.join(…)` needs a list of strings, item 1 is an int; .map(x, string(x)) makes strings
            `state.score ? 1 : 2`: a condition before `?` is a bool, this is an int
            `"abc".substring(2, 1)`: a string of 3 characters has no part from 2 to 1
            `state.empty.x`: state.empty has no key `x`; it has none; has(state.empty.x) tests whether the key exists
            `input.missing`: input has no key `missing`; it has `limit`; has(input.missing) tests whether the key exists
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
            `has(state.missing.x)`: state has no key `missing`; has(state.missing) tests whether the key exists
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
    assert_eq!(given("{'d': state.doc.sub}"), r#"{"d":{"y": 1, "x": 2}}"#);
    assert_eq!(given("[state.doc.sub][0]"), r#"{"x":2,"y":1}"#);
}

#[test]
fn only_named_keys_are_read() {
    let broken = r#"{"score": 1, "odd": "\ud800", "sub": {"a": 1, "b": "\ud800"}}"#;
    let state = Object::parse(broken).unwrap();
    let given = |source| evaluate_in(source, &state).map(|value| value.get().to_owned());
    assert_eq!(given("state.score < 2").unwrap(), "true");
    assert_eq!(
        given("has(state.odd) && state.sub.a == 1 && has(state.sub.b)").unwrap(),
        "true"
    );
    expect!["`state.odd == 'a'`: state.odd cannot be read: unexpected end of hex escape at line 1 column 8"]
        .assert_eq(&given("state.odd == 'a'").unwrap_err().to_string());
    given("size(state) > 1").unwrap_err();
}
