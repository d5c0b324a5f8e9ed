//! Tests each rule: the fixes, and the code that must not change.

use super::*;

/// Mends a rule in the body of a function with these parameters.
fn mend(rule: &str, parameters: &str, body: &str) -> String {
    let head = format!("fn f({parameters}) {{ ");
    let (mended, _) = apply(&format!("{head}{body} }}"), rule);
    mended[head.len()..mended.len() - 2].to_string()
}

#[test]
fn a_last_return_goes_and_an_earlier_one_stays() {
    assert_eq!(
        mend(NEEDLESS_RETURN, "", "if a { return; } return;"),
        "if a { return; } "
    );
    let text = "fn f() -> u8 {\n    if a {\n        return 1;\n    }\n    return Ok(2); // two\n}\n";
    let right = "fn f() -> u8 {\n    if a {\n        return 1;\n    }\n    Ok(2) // two\n}\n";
    assert_eq!(apply(text, NEEDLESS_RETURN).0, right);
    for kept in [
        "fn f() -> u8 { return x.lock().n; }",
        "fn f() -> u8 { #[cfg(a)] return 1; }",
        "fn f() -> ! { return g().h(); }",
    ] {
        assert_eq!(apply(kept, NEEDLESS_RETURN).0, kept);
    }
}

#[test]
fn a_comparison_with_a_literal_goes_where_it_is_a_bool_for_certain() {
    let mend = |body| mend(BOOL_COMPARISON, "a: bool, v: Value", body);
    assert_eq!(mend("if a == true && b {}"), "if a && b {}");
    assert_eq!(mend("if false == a {}"), "if !a {}");
    assert_eq!(mend("if a != false {}"), "if a {}");
    assert_eq!(mend("x((b > c) == false);"), "x(!(b > c));");
    assert_eq!(mend("x(b.is_some() != true);"), "x(!b.is_some());");
    assert_eq!(mend("if v == true {}"), "if v == true {}");
    assert_eq!(mend("if v[\"a\"] == true {}"), "if v[\"a\"] == true {}");
}

#[test]
fn a_length_is_asked_for_emptiness_where_the_type_can_answer() {
    let mend = |body| mend(LEN_ZERO, "a: &[u8], i: Iter", body);
    assert_eq!(mend("if a.len() == 0 {}"), "if a.is_empty() {}");
    assert_eq!(mend("if 0 < a.len() && b {}"), "if !a.is_empty() && b {}");
    assert_eq!(mend("if a.len() >= 1 {}"), "if !a.is_empty() {}");
    assert_eq!(mend("if 1 > a.len() {}"), "if a.is_empty() {}");
    for kept in [
        "if a.len() > 1 {}",
        "if a.len() < 0 {}",
        "if i.len() == 0 {}",
        "if a.len() <= 1 {}",
    ] {
        assert_eq!(mend(kept), kept);
    }
}

#[test]
fn an_if_in_an_if_is_joined_and_nothing_is_lost() {
    let mend = |body| mend(COLLAPSIBLE_IF, "", body);
    assert_eq!(mend("if a { if b { c() } }"), "if a && b { c() }");
    assert_eq!(
        mend("if a || b { if c || d { e() } }"),
        "if (a || b) && (c || d) { e() }"
    );
    assert_eq!(
        mend("if a { b() } else if c { if d { e() } }"),
        "if a { b() } else if c && d { e() }"
    );
    for kept in [
        "if a { if b { c() } else { d() } }",
        "if a { if b { c() } } else { d() }",
        "if a { if b { c() } d() }",
        "if let A = a { if b { c() } }",
        "if a { /* why */ if b { c() } }",
        "if a.lock().b { if c { d() } }",
    ] {
        assert_eq!(mend(kept), kept);
    }
}

#[test]
fn three_ifs_are_joined_in_two_turns() {
    let text = "fn f() {\n    if a {\n        if b {\n            if c {\n                d();\n            }\n        }\n    }\n}\n";
    let (once, changes) = apply(text, COLLAPSIBLE_IF);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].before, "if a { if b { if c { d(); } } }");
    assert_eq!(changes[0].after, "if a && b { if c { d(); } }");
    assert_eq!(
        apply(&once, COLLAPSIBLE_IF).0,
        "fn f() {\n    if a && b && c {\n        d();\n    }\n}\n"
    );
}

#[test]
fn a_condition_of_several_lines_moves_out_with_its_body() {
    let text = "fn f() {\n    if a {\n        if b\n            || c\n        {\n            d();\n        }\n    }\n}\n";
    let right = "fn f() {\n    if a && (b\n        || c)\n    {\n        d();\n    }\n}\n";
    assert_eq!(apply(text, COLLAPSIBLE_IF).0, right);
}

#[test]
fn a_dbg_leaves_its_value() {
    let mend = |body| mend(DBG_LEFT, "", body);
    assert_eq!(mend("let a = dbg!(b + c);"), "let a = b + c;");
    assert_eq!(mend("let a = dbg!(b + c) * 2;"), "let a = (b + c) * 2;");
    assert_eq!(mend("dbg!(a()); b"), "a(); b");
    assert_eq!(mend("dbg!(&a.b); b"), " b");
    assert_eq!(mend("dbg!(a)"), "a");
    assert_eq!(mend("f(dbg!(a, b), dbg!(-c))"), "f((a, b), -c)");
    assert_eq!(
        apply("fn f() {\n    dbg!(a);\n    b();\n}\n", DBG_LEFT).0,
        "fn f() {\n    b();\n}\n"
    );
}

#[test]
fn text_that_does_not_parse_is_returned_unchanged() {
    assert_eq!(apply("fn f( {", DBG_LEFT), ("fn f( {".to_string(), Vec::new()));
}
