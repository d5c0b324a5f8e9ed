//! Expressions as text, with their values or errors.
#![allow(clippy::unwrap_used)] // a test may panic
#![allow(clippy::disallowed_methods)] // what must end soon is timed

use expect_test::Expect;
use heddle_expr::{Bound, EvalError, Expr, Want};
use heddle_json::{Json, Object, object::json};

mod bounds;
mod checks;
mod functions;
mod numbers;
mod values;

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

/// Evaluates each line of `sources` over [`STATE`].
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

/// Checks each line of `sources` and shows its errors.
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

/// Asserts the value of each expression over a state.
fn gives_each(state: &Object, cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        match evaluate_in(source, state) {
            Ok(value) => assert_eq!(value.get(), *expected, "{source}"),
            Err(error) => panic!("{source}: {error}"),
        }
    }
}

/// Asserts that each condition holds over [`STATE`].
fn holds_each(sources: &[&str]) {
    let state = Object::parse(STATE).unwrap();
    for source in sources {
        gives_each(&state, &[(source, "true")]);
    }
}

/// Asserts that each expression is refused, at its check or over [`STATE`], with a message that has the text.
fn refuses_each(cases: &[(&str, &str)]) {
    let state = Object::parse(STATE).unwrap();
    for (source, text) in cases {
        let message = match compile(source, Want::Any) {
            Err(problems) => problems,
            Ok(_) => match evaluate_in(source, &state) {
                Err(error) => error.to_string(),
                Ok(value) => panic!("{source}: {value}"),
            },
        };
        assert!(message.contains(text), "{source}: {message}");
    }
}
