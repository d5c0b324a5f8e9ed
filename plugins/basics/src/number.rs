//! Exact addition of JSON numbers, and objects whose values keep their notation.

use std::collections::BTreeMap;

use heddle_plugin::{
    Decimal,
    prelude::*,
    serde_json::{Map, value::RawValue},
};

/// An object whose values keep their notation, so that no digit of a number is lost.
#[derive(Default, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "Map<String, Value>")]
pub(crate) struct Keys(BTreeMap<String, Box<RawValue>>);

impl Keys {
    /// An object with one key.
    pub(crate) fn of(key: String, value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let value = heddle_plugin::serde_json::value::to_raw_value(value)?;
        Ok(Self(BTreeMap::from_iter([(key, value)])))
    }

    /// The number under a key, or 0 if the key is absent.
    pub(crate) fn number(&self, key: &str) -> Result<Decimal> {
        match self.0.get(key).map(|value| value.get()) {
            None | Some("null") => Ok(Decimal::from(0_u64)),
            Some(text) => text.parse().map_err(|_| {
                let shown: String = text.chars().take(60).collect();
                Error::invalid_input(format!("the state has no number under `{key}` but {shown}"))
            }),
        }
    }
}

/// The sum of two numbers. An error about too many digits names `what`.
pub(crate) fn add(a: &Decimal, b: &Decimal, what: &str) -> Result<Decimal> {
    let sum = a.checked_add(b).filter(|sum| sum.nearest_double().is_finite());
    sum.ok_or_else(|| {
        Error::permanent(format!(
            "{what} is too large to add to: {a} + {b} has more than 1,200 digits, or is beyond the range of a double"
        ))
    })
}
