//! Addition of JSON numbers: of integers it is exact, as long as the sum is one of 64 bits.

use heddle_plugin::{
    prelude::*,
    serde_json::{Map, Number},
};

/// The sum of two numbers; `what` is named where there is none.
pub(crate) fn add(a: &Number, b: &Number, what: &str) -> Result<Number> {
    let sum = match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.checked_add(b).map(Number::from),
        _ => a
            .as_f64()
            .zip(b.as_f64())
            .and_then(|(a, b)| Number::from_f64(a + b)),
    };
    sum.ok_or_else(|| Error::permanent(format!("{what} is too large to add to: {a} + {b}")))
}

/// The number under a key of the state, 0 where there is none.
pub(crate) fn under(state: &Map<String, Value>, key: &str) -> Result<Number> {
    match state.get(key) {
        None | Some(Value::Null) => Ok(0.into()),
        Some(Value::Number(number)) => Ok(number.clone()),
        Some(other) => {
            let shown: String = other.to_string().chars().take(60).collect();
            Err(Error::invalid_input(format!(
                "the state has no number under `{key}` but {shown}"
            )))
        }
    }
}
