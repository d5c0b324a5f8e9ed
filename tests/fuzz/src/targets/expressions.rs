//! Expressions: compiled for every kind of use, and evaluated over a state.
//!
//! An input is the expression and, after a line `--- state`, the state as JSON. A compiled expression always gives the
//! same value, also when compiled again from its own source, and also over a state with only the keys that it reads.
//! The value is JSON that the engine accepts, and the evaluation stays within its budget.

use std::collections::BTreeSet;

use heddle_expr::{Bound, EvalError, Expr, Want};
use heddle_json::{Json, Object, object};

use super::{Target, Verdict};
use crate::{
    mutate::{json, text},
    pool::Pool,
    random::Random,
};

/// The line between the expression and the state.
const STATE: &str = "\n--- state\n";
const VARIABLES: [&str; 4] = ["state", "input", "run", "item"];
/// The default state.
const DEFAULT_STATE: &str = r#"{"score": 72, "ratio": 0.5, "title": "Ode", "tags": ["a", "b"], "none": null,
    "done": false, "doc": {"pages": 3, "by": {"name": "Ann", "first name": "A."}}, "big": 18446744073709551615,
    "items": [{"n": 1, "ok": true}, {"n": 2, "ok": false}, {"n": 3, "ok": true}], "empty": {}}"#;
/// The maximum size of a value in bytes: the budget does not pay for more.
const MAX_VALUE_BYTES: usize = 100 << 20;
/// The maximum size of an input in bytes.
const MAX_INPUT: usize = 20_000;

pub(crate) struct Expressions;

impl Target for Expressions {
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (own, donor) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(donor));
        let (source, state) = own.split_once(STATE).unwrap_or((&own, ""));
        let (other, donor_state) = donor.split_once(STATE).unwrap_or((&donor, DEFAULT_STATE));
        let source = match random.below(0..10) {
            0..=3 => random_expression(random, 4),
            4 => source.to_owned(),
            _ => text::mutate(random, source, other, MAX_INPUT),
        };
        let state = match random.below(0..4) {
            0 if state.is_empty() => json::mutate(random, DEFAULT_STATE, donor_state, MAX_INPUT),
            0 => json::mutate(random, state, donor_state, MAX_INPUT),
            _ => state.to_owned(),
        };
        match state.is_empty() {
            true => source.into_bytes(),
            false => format!("{source}{STATE}{state}").into_bytes(),
        }
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let Ok(input) = str::from_utf8(input) else {
            return Verdict::refused("not UTF-8");
        };
        let (source, state) = input.split_once(STATE).unwrap_or((input, DEFAULT_STATE));
        let Ok(state) = Object::admit(state) else {
            return Verdict::refused("no state");
        };
        let expr = match Expr::compile(source, &VARIABLES, Want::Any) {
            Ok(expr) => expr,
            Err(problems) => {
                assert!(!problems.is_empty());
                assert!(problems.iter().all(|problem| !problem.message.contains('\n')));
                // The use that accepts any value accepts everything that the others accept.
                for want in [Want::Bool, Want::Number, Want::String, Want::Items] {
                    Expr::compile(source, &VARIABLES, want).unwrap_err();
                }
                return Verdict::refused(problems[0].message.clone());
            }
        };
        let value = evaluate(&expr, &state);
        same(&value, &evaluate(&expr, &state));
        let again = Expr::compile(expr.source(), &VARIABLES, Want::Any).expect("its source compiled before");
        same(&value, &evaluate(&again, &state));
        if let Some(keys) = expr.keys_of("state") {
            let value_of_part = evaluate(&expr, &only(&state, &keys));
            assert_eq!(
                value.is_ok(),
                value_of_part.is_ok(),
                "{value:?} and {value_of_part:?}"
            );
            if value.is_ok() {
                same(&value, &value_of_part);
            }
        }
        for want in [Want::Bool, Want::Number, Want::String, Want::Items] {
            if let Ok(wanted) = Expr::compile(source, &VARIABLES, want) {
                fits(&wanted, want, &value, &state);
            }
        }
        match value {
            Ok(value) => {
                assert!(value.get().len() <= MAX_VALUE_BYTES);
                object::admit(value.get()).expect("a value is JSON that is admitted");
                Verdict::accepted(format!("{:?}", object::kind_of(value.get())))
            }
            Err(error) => Verdict::accepted(error.to_string()),
        }
    }
}

fn evaluate(expr: &Expr, state: &Object) -> Result<Json, EvalError> {
    let input = object::json(r#"{"limit": 80, "text": "añb", "list": [1, 2.5, "x", null]}"#).unwrap();
    let run = object::json(r#"{"id": "01a20505-02ed-773b-a8ec-000000000000", "steps": 3}"#).unwrap();
    expr.evaluate(|name| match name {
        "state" => Some(Bound::Object(state)),
        "input" => Some(Bound::Json(&input)),
        "run" => Some(Bound::Json(&run)),
        _ => None,
    })
}

/// A value of a use with a type has that type, and equals the value of the use without one.
fn fits(expr: &Expr, want: Want, any: &Result<Json, EvalError>, state: &Object) {
    let value = evaluate(expr, state);
    if want == Want::Bool {
        let holds = expr.holds(|name| match name {
            "state" => Some(Bound::Object(state)),
            _ => None,
        });
        // Without the other variables the evaluation may fail, but not panic.
        drop(holds);
    }
    let Ok(value) = value else { return };
    assert_eq!(value.get(), any.as_ref().expect("it has a value").get());
    let kind = object::kind_of(value.get());
    let right: &[&str] = match want {
        Want::Any => return,
        Want::Bool => &["a boolean"],
        Want::Number => &["a number"],
        Want::String => &["a string"],
        Want::Items => &["an array", "an object"],
    };
    assert!(
        kind.is_some_and(|kind| right.contains(&kind)),
        "{kind:?} for {want:?}"
    );
}

fn same(one: &Result<Json, EvalError>, other: &Result<Json, EvalError>) {
    match (one, other) {
        (Ok(one), Ok(other)) => assert_eq!(one.get(), other.get()),
        _ => assert_eq!(one.as_ref().err(), other.as_ref().err()),
    }
}

fn only(state: &Object, keys: &BTreeSet<&str>) -> Object {
    let mut part = Object::default();
    for (key, value) in state.iter().filter(|(key, _)| keys.contains(&***key)) {
        part.insert(key.clone(), value.clone());
    }
    part
}

const LEAVES: [&str; 30] = [
    "state.score",
    "state.ratio",
    "state.title",
    "state.tags",
    "state.none",
    "state.done",
    "state.doc.pages",
    "state.doc.by",
    "state.big",
    "state.items",
    "state.empty",
    "state",
    "input.limit",
    "input.text",
    "input.list",
    "run.steps",
    "x",
    "y",
    "1",
    "-1",
    "0",
    "2u",
    "0.1",
    "1e308",
    "9223372036854775807",
    "\"añb\"",
    "'a,b'",
    "b'\\xff'",
    "null",
    "true",
];
const BINARY: [&str; 15] = [
    "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||", "? 1 :",
];
const GLOBAL: [&str; 13] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "string",
    "type",
    "uint",
    "size",
    "matches",
    "strings.quote",
    "has",
    "max",
];
const METHOD: [&str; 18] = [
    "size",
    "matches",
    "contains",
    "endsWith",
    "startsWith",
    "charAt",
    "format",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "replace",
    "reverse",
    "split",
    "substring",
    "trim",
    "upperAscii",
    "get",
];
const LOOPS: [&str; 6] = ["all", "exists", "exists_one", "filter", "map", "existsOne"];

/// An expression from the grammar.
fn random_expression(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.one_in(6) {
        return (*random.of(&LEAVES)).to_owned();
    }
    let part = |random: &mut Random| random_expression(random, depth - 1);
    match random.below(0..12) {
        0..=3 => format!("({} {} {})", part(random), random.of(&BINARY), part(random)),
        4 => format!("{}({})", random.of(&GLOBAL), part(random)),
        5 | 6 => {
            let target = part(random);
            let method = *random.of(&METHOD);
            let arguments: Vec<String> = (0..random.below(0..3)).map(|_| part(random)).collect();
            format!("{target}.{method}({})", arguments.join(", "))
        }
        7 => {
            let (over, name) = (part(random), *random.of(&["x", "y"]));
            format!("{over}.{}({name}, {})", random.of(&LOOPS), part(random))
        }
        8 => format!("[{}, {}]", part(random), part(random)),
        9 => format!("{{\"k\": {}, \"l\": {}}}", part(random), part(random)),
        10 => format!("{}[{}]", part(random), part(random)),
        _ => format!("{}{}", random.of(&["!", "-"]), part(random)),
    }
}
