//! Merge policies: how one more contribution to a key changes its value.

use serde_json::{Map, Number, Value};

use super::by_key;
use crate::{
    graph::Policy,
    object::{self, Json, kind_of},
};

impl Policy {
    /// The value of a key after these contributions, in order, to what was there before.
    ///
    /// # Errors
    /// Why a contribution, or what was there before, does not fit the policy.
    pub(super) fn fold<'j>(
        &self,
        before: Option<&'j Json>,
        contributions: impl IntoIterator<Item = &'j Json>,
    ) -> Result<Json, String> {
        let mut contributions = contributions.into_iter();
        if *self == Self::Last {
            return contributions
                .last()
                .or(before)
                .cloned()
                .ok_or_else(|| "nothing was contributed".to_owned());
        }
        let before = before.filter(|before| before.get() != "null");
        match self {
            Self::Append => append(before, contributions),
            Self::Union => union(before, contributions),
            Self::ByKey(key) => by_key::fold(key, before, contributions),
            _ => {
                let mut value = before.map(|before| self.operand(before)).transpose()?;
                contributions.try_for_each(|contribution| {
                    let contribution = self.operand(contribution)?;
                    value = Some(match value.take() {
                        None => contribution,
                        Some(value) => self.combine(value, contribution)?,
                    });
                    Ok::<(), String>(())
                })?;
                Ok(object::to_json(&value))
            }
        }
    }

    /// What a contribution is to `add`, `max`, `min` and `deep`.
    fn operand(&self, text: &Json) -> Result<Value, String> {
        let value: Value = serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
        let (fits, wants) = match self {
            Self::Deep => (value.is_object(), "an object"),
            Self::Add => (value.is_number(), "a number"),
            _ => (value.is_number() || value.is_string(), "a number or a string"),
        };
        if fits {
            return Ok(value);
        }
        let got = kind_of(text.get()).unwrap_or("nothing");
        Err(format!("`{}` needs {wants}, got {got}", self.as_str()))
    }

    fn combine(&self, value: Value, contribution: Value) -> Result<Value, String> {
        Ok(match self {
            Self::Add => Value::Number(add(&value, &contribution)?),
            Self::Max if greater(&contribution, &value)? => contribution,
            Self::Min if greater(&value, &contribution)? => contribution,
            Self::Deep => deep(value, contribution),
            _ => value,
        })
    }
}

/// The text of a list without its brackets; what is no list is its own only element.
fn elements(text: &Json) -> &str {
    let text = text.get().trim();
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
        .trim()
}

fn append<'j>(before: Option<&Json>, contributions: impl Iterator<Item = &'j Json>) -> Result<Json, String> {
    let mut text = String::from("[");
    if let Some(before) = before {
        list(before, "append")?;
        text.push_str(elements(before));
    }
    for elements in contributions
        .map(elements)
        .filter(|elements| !elements.is_empty())
    {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(elements);
    }
    text.push(']');
    object::json(&text).map_err(|error| error.to_string())
}

fn union<'j>(
    before: Option<&'j Json>,
    contributions: impl Iterator<Item = &'j Json>,
) -> Result<Json, String> {
    let mut all: Vec<Value> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    if let Some(before) = before {
        list(before, "union")?;
    }
    for text in before.into_iter().chain(contributions) {
        let value: Value = serde_json::from_str(text.get()).map_err(|error| error.to_string())?;
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        // Two objects with the same members are the same element, in whatever order they are written.
        all.extend(
            values
                .into_iter()
                .filter(|value| seen.insert(sorted(value.clone()).to_string())),
        );
    }
    Ok(object::to_json(&all))
}

pub(super) fn list(before: &Json, policy: &str) -> Result<(), String> {
    match kind_of(before.get()) {
        Some("an array") => Ok(()),
        other => Err(format!(
            "`{policy}` adds to a list, and the key holds {}",
            other.unwrap_or("nothing")
        )),
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(mut map) => {
            map.sort_keys();
            map.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        Value::Array(all) => all.into_iter().map(sorted).collect(),
        other => other,
    }
}

fn add(a: &Value, b: &Value) -> Result<Number, String> {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64())
        && let Some(sum) = a.checked_add(b)
    {
        return Ok(sum.into());
    }
    let sum = a.as_f64().unwrap_or_default() + b.as_f64().unwrap_or_default();
    Number::from_f64(sum).ok_or_else(|| "`add` went past the largest number".to_owned())
}

fn greater(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Ok(a > b),
        (Value::Number(x), Value::Number(y)) => Ok(match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x > y,
            _ => x.as_f64() > y.as_f64(),
        }),
        _ => Err("a number and a string cannot be compared".to_owned()),
    }
}

/// Merges level by level; the depth of JSON is limited where it is read.
fn deep(value: Value, contribution: Value) -> Value {
    let (Value::Object(mut into), Value::Object(from)) = (value, contribution) else {
        return Value::Object(Map::new());
    };
    for (key, new) in from {
        let merged = match (into.remove(&key), new) {
            (Some(old @ Value::Object(_)), new @ Value::Object(_)) => deep(old, new),
            (_, new) => new,
        };
        into.insert(key, merged);
    }
    Value::Object(into)
}
