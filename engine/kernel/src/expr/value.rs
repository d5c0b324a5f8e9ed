//! The values of an evaluation: what they are, how they compare and how they become JSON.
//!
//! Lists, objects and strings are shared, so to use a value twice costs nothing. What such
//! sharing hides (a list of a list of … that is huge when it is written out) is charged where
//! it shows: in comparing and in writing. An object's keys are in order, so that nothing
//! depends on how an object was made.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    kinds::Kinds,
    meter::{Meter, Stop, wrong},
};
use crate::object::Json;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    Map(Arc<BTreeMap<Key, Value>>),
    /// What `type(x)` gives, by its name.
    Type(&'static str),
}

/// A key of an object. A whole number has one form only: `Uint` begins above the largest `Int`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

/// A number, so that those of different kinds can be compared and calculated with.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Whole(i128),
    Double(f64),
}

impl Value {
    pub(super) fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(items.into())
    }

    /// The set of its one kind.
    pub(super) fn kind(&self) -> Kinds {
        match self {
            Self::Null => Kinds::NULL,
            Self::Bool(_) => Kinds::BOOL,
            Self::Int(_) => Kinds::INT,
            Self::Uint(_) => Kinds::UINT,
            Self::Double(_) => Kinds::DOUBLE,
            Self::String(_) => Kinds::STRING,
            Self::Bytes(_) => Kinds::BYTES,
            Self::List(_) => Kinds::LIST,
            Self::Map(_) => Kinds::MAP,
            Self::Type(_) => Kinds::TYPE,
        }
    }

    /// Its number, where it is one.
    pub(super) fn number(&self) -> Option<Number> {
        Some(match *self {
            Self::Int(value) => Number::Whole(value.into()),
            Self::Uint(value) => Number::Whole(value.into()),
            Self::Double(value) => Number::Double(value),
            _ => return None,
        })
    }

    /// Whether both are the same value; numbers of different kinds compare by what they count.
    pub(super) fn same(&self, other: &Self, meter: &Meter) -> Result<bool, Box<Stop>> {
        meter.charge(1)?;
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::String(a), Self::String(b)) => {
                a.len() == b.len() && {
                    meter.charge_bytes(a.len())?;
                    a == b
                }
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                a.len() == b.len() && {
                    meter.charge_bytes(a.len())?;
                    a == b
                }
            }
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.same(b, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for ((key, value), (other_key, other)) in a.iter().zip(b.iter()) {
                    meter.charge(1)?;
                    if key != other_key || !value.same(other, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
                _ => false,
            },
        })
    }

    /// The order of two values: none where one is not a number at all, an error where their
    /// kinds have no order.
    pub(super) fn order(&self, other: &Self, meter: &Meter) -> Result<Option<Ordering>, Box<Stop>> {
        Ok(match (self, other) {
            (Self::String(a), Self::String(b)) => {
                meter.charge_bytes(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                meter.charge_bytes(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.compare(b),
                _ => return wrong(format!("{} and {} have no order", self.kind(), other.kind())),
            },
        })
    }

    /// Its JSON text.
    pub(super) fn to_json(&self, meter: &Meter) -> Result<Json, Box<Stop>> {
        let mut text = String::new();
        self.write(&mut text, meter)?;
        let raw = RawValue::from_string(text).expect("what was written is JSON");
        Ok(raw.into())
    }

    fn write(&self, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
        meter.charge(1)?;
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Uint(value) => out.push_str(&value.to_string()),
            Self::Double(value) if !value.is_finite() => {
                return wrong(format!(
                    "the result has the number {value}, which JSON cannot write"
                ));
            }
            Self::Double(value) => out.push_str(&serde_json::json!(value).to_string()),
            Self::String(text) => write_text(text, out, meter)?,
            Self::Bytes(_) | Self::Type(_) => {
                return wrong(format!(
                    "the result has {}, which JSON cannot write; string(…) makes a string of it",
                    self.kind()
                ));
            }
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(out, meter)?;
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    let Key::String(text) = key else {
                        return wrong(format!(
                            "the result has the key {}, and JSON's keys are strings; string(…) makes one of it",
                            key.show()
                        ));
                    };
                    write_text(text, out, meter)?;
                    out.push(':');
                    value.write(out, meter)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

fn write_text(text: &str, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
    meter.charge_bytes(text.len())?;
    out.push_str(&serde_json::to_string(text).expect("a string is JSON"));
    Ok(())
}

impl Key {
    /// The key that a value stands for, where it can be one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::String(text) => Self::String(text.clone()),
            _ => match value.number()? {
                Number::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
                    Self::Int(value as i64)
                }
                Number::Double(_) => return None,
                Number::Whole(value) => match i64::try_from(value) {
                    Ok(value) => Self::Int(value),
                    Err(_) => Self::Uint(u64::try_from(value).ok()?),
                },
            },
        })
    }

    /// The key as a value.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::String(text) => Value::String(text.clone()),
        }
    }

    /// The key as a message shows it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Bool(value) => format!("`{value}`"),
            Self::Int(value) => format!("`{value}`"),
            Self::Uint(value) => format!("`{value}`"),
            Self::String(text) => format!("`{}`", clipped(text, 40)),
        }
    }
}

impl Number {
    /// The order of two numbers, exactly; none where one is not a number.
    pub(super) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => whole_to_double(a, b),
            (Self::Double(a), Self::Whole(b)) => whole_to_double(b, a).map(Ordering::reverse),
        }
    }

    /// As a double, the nearest.
    pub(super) fn double(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Double(value) => value,
        }
    }
}

fn whole_to_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Doubles beyond i128 saturate, far outside of what a whole number here can be.
    let below = double.floor() as i128;
    Some(whole.cmp(&below).then(if double.fract() == 0.0 {
        Ordering::Equal
    } else {
        Ordering::Less
    }))
}

/// The beginning of a text, for a message: one line of at most `len` characters.
pub(super) fn clipped(text: &str, len: usize) -> String {
    let mut short: String = text
        .chars()
        .take(len)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
