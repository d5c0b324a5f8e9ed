//! Values of plain components: JSON that becomes values of WIT types and JSON again.
//!
//! An input is `{"function": NAME, "input": {…}}` for a component with every WIT type. Functions that return their
//! argument return the same value; their result as the next input gives the same result, byte for byte. Invalid input
//! is refused with a pointer.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use heddle_host::Host;
use heddle_json::{Json, object};
use heddle_kernel::{Failure, FailureKind, Level, Timestamp};
use heddle_runtime::ports::{Functions, Sink, ToolCall};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Target, Verdict, served};
use crate::{
    mutate::json,
    pool::{MAX_INPUT_BYTES, Pool},
    random::Random,
};

/// The functions that return their argument, with the name of the argument.
const IDENTITY: [(&str, &str); 4] = [
    ("shapes.echo", "value"),
    ("shapes.maybe", "value"),
    ("shapes.thrice", "value"),
    ("shapes.listed", "values"),
];
/// A function that never ends. Another test covers time limits.
const ENDLESS: &str = "shapes.spin";

pub(crate) struct Values {
    runtime: Runtime,
    host: Host,
}

impl Values {
    pub(crate) fn new() -> Result<Self> {
        let (runtime, host) = (served::runtime()?, served::host()?);
        runtime.block_on(served::register(&host, served::guest("fixtures/typed")?, "typed"))?;
        Ok(Self { runtime, host })
    }

    fn call(&self, function: &str, input: Json) -> Option<Result<Json, Failure>> {
        let call = ToolCall {
            function: self.host.resolve(&format!("typed/{function}")).ok()?.function,
            input,
            started_at: Timestamp(0),
            sink: Arc::new(Silent),
        };
        Some(self.runtime.block_on(self.host.call_tool(call)))
    }
}

impl Target for Values {
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (own, donor) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(donor));
        json::mutate(random, &own, &donor, MAX_INPUT_BYTES).into_bytes()
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        let Some((function, input)) = read(input) else {
            return Verdict::refused("no call");
        };
        if function == ENDLESS {
            return Verdict::refused("an endless call");
        }
        let Some(answer) = self.call(&function, input.clone()) else {
            return Verdict::refused("no function");
        };
        let identity = IDENTITY.iter().find(|(name, _)| *name == function);
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                assert!(!failure.message.is_empty());
                assert!(
                    identity.is_none()
                        || failure.kind == FailureKind::InvalidInput
                        || failure.kind == FailureKind::Limit,
                    "{failure:?}"
                );
                return Verdict::refused(failure.to_string());
            }
        };
        object::admit(answer.get()).expect("an answer is JSON that is admitted");
        if let Some((_, name)) = identity {
            let given: Value = serde_json::from_str(input.get()).expect("it was admitted");
            let got: Value = serde_json::from_str(answer.get()).expect("it is JSON");
            let given = given.get(*name).unwrap_or(&Value::Null);
            assert!(same(given, &got), "{given} became {got}");
            let next = object::json(&format!("{{{:?}:{answer}}}", name)).expect("it is JSON");
            let again = self.call(&function, next).expect("the function is there");
            assert_eq!(again.expect("an answer is an input").get(), answer.get());
        }
        Verdict::accepted(format!("{function} {}", shape_of(answer.get())))
    }

    fn budget(&self) -> Duration {
        Duration::from_secs(10)
    }
}

fn read(input: &[u8]) -> Option<(String, Json)> {
    let input = object::admit(str::from_utf8(input).ok()?).ok()?;
    let object = object::Object::parse(input.get()).ok()?;
    let function = serde_json::from_str(object.get("function")?.get()).ok()?;
    Some((function, object.get("input")?.clone()))
}

/// Whether a value equals the input as far as the type can represent it: nearest numbers, null for absent values, flags
/// in any order.
fn same(given: &Value, got: &Value) -> bool {
    match (given, got) {
        (Value::Number(_), Value::Number(_)) => {
            let (Some(given), Some(got)) = (given.as_f64(), got.as_f64()) else {
                return false;
            };
            given == got || f64::from(given as f32) == got || (given as f32).to_string() == got.to_string()
        }
        (Value::Array(given), Value::Array(got)) if got.iter().all(Value::is_string) => {
            given.iter().all(|flag| got.contains(flag)) && got.iter().all(|flag| given.contains(flag))
        }
        (Value::Array(given), Value::Array(got)) => {
            given.len() == got.len() && given.iter().zip(got).all(|(given, got)| same(given, got))
        }
        (Value::Object(given), Value::Object(got)) => {
            given
                .iter()
                .all(|(key, given)| got.get(key).is_some_and(|got| same(given, got)))
                && got
                    .iter()
                    .all(|(key, got)| given.contains_key(key) || got.is_null())
        }
        (given, got) => given == got,
    }
}

/// The punctuation of a JSON text, which shows its form.
fn shape_of(text: &str) -> String {
    text.chars().filter(|c| "{}[]:n".contains(*c)).take(60).collect()
}

/// Discards log lines and chunks.
struct Silent;

impl Sink for Silent {
    fn log(&self, _: Level, _: &str) {}
    fn emit(&self, _: Json) {}
}
