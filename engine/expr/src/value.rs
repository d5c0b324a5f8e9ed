//! The values of an evaluation: their types, their order and their JSON.
//!
//! Lists, objects and strings are shared, so using a value twice costs nothing. A list of a list of … may
//! still be huge when it is written out; comparing and writing are charged for that. The keys of objects are
//! in order, so that nothing depends on how an object was built.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use heddle_json::decimal::Decimal;

use super::{
    kinds::Kinds,
    meter::{Meter, Stop, wrong},
};

/// A value, or why there is none.
pub(super) type Outcome = Result<Value, Box<Stop>>;

/// The value of an expression during its evaluation.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// A double from JSON, which is written as it was read.
    Written(Arc<Written>),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<Vec<Value>>),
    Map(Arc<BTreeMap<Key, Value>>),
    /// A type, the result of `type(x)`.
    Type(&'static str),
}

/// A key of an object. A whole number has one form only: `Uint` is used above the largest `Int`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

/// A number from JSON, as it was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: Box<str>,
    /// The double; `None` if it would lose digits.
    pub(super) double: Option<f64>,
    /// The path from which it was read.
    pub(super) from: Arc<str>,
}

/// A number of any type, for comparison and calculation.
#[derive(Clone, Copy)]
pub(super) enum Number<'v> {
    Whole(i128),
    Double(f64),
    /// A number with more digits than a double.
    Long(&'v Written),
}

impl Value {
    pub(super) fn string(text: &str) -> Self {
        Self::String(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(items.into())
    }

    /// The type, as a set of one.
    pub(super) fn kind(&self) -> Kinds {
        match self {
            Self::Null => Kinds::NULL,
            Self::Bool(_) => Kinds::BOOL,
            Self::Int(_) => Kinds::INT,
            Self::Uint(_) => Kinds::UINT,
            Self::Double(_) | Self::Written(_) => Kinds::DOUBLE,
            Self::String(_) => Kinds::STRING,
            Self::Bytes(_) => Kinds::BYTES,
            Self::List(_) => Kinds::LIST,
            Self::Map(_) => Kinds::MAP,
            Self::Type(_) => Kinds::TYPE,
        }
    }

    /// The number, if the value is one.
    pub(super) fn number(&self) -> Option<Number<'_>> {
        Some(match self {
            Self::Int(value) => Number::Whole((*value).into()),
            Self::Uint(value) => Number::Whole((*value).into()),
            Self::Double(value) => Number::Double(*value),
            Self::Written(written) => match written.double {
                Some(double) => Number::Double(double),
                None => Number::Long(written),
            },
            _ => return None,
        })
    }

    /// Whether both values are equal. Numbers of different types compare by value.
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
                (Some(a), Some(b)) => a.compare(b, meter)? == Some(Ordering::Equal),
                _ => false,
            },
        })
    }

    /// The order of two values; `None` if one is NaN, an error if their types have no order.
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
                (Some(a), Some(b)) => a.compare(b, meter)?,
                _ => return wrong(format!("{} and {} have no order", self.kind(), other.kind())),
            },
        })
    }

    /// Appends the value as JSON to `out`.
    pub(super) fn write(&self, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
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
            Self::Written(written) => {
                meter.charge_bytes(written.text.len())?;
                out.push_str(&written.text);
            }
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
                    write_text(key.text()?, out, meter)?;
                    out.push(':');
                    value.write(out, meter)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

/// Writes a string as JSON.
pub(super) fn write_text(text: &str, out: &mut String, meter: &Meter) -> Result<(), Box<Stop>> {
    meter.charge_bytes(text.len())?;
    out.push_str(&serde_json::to_string(text).expect("a string is JSON"));
    Ok(())
}

impl Key {
    /// The key for a value; equal whole numbers of all types have the same key.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let whole = match value {
            Value::Bool(value) => return Some(Self::Bool(*value)),
            Value::String(text) => return Some(Self::String(text.clone())),
            _ => value.number()?.whole()?,
        };
        match i64::try_from(whole) {
            Ok(value) => Some(Self::Int(value)),
            Err(_) => u64::try_from(whole).ok().map(Self::Uint),
        }
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

    /// The key as text, if JSON can represent it.
    pub(super) fn text(&self) -> Result<&str, Box<Stop>> {
        match self {
            Self::String(text) => Ok(text),
            _ => wrong(format!(
                "the result has the key {}, and JSON's keys are strings; string(…) makes one of it",
                self.show()
            )),
        }
    }

    /// The error that an object has the key twice.
    pub(super) fn given_twice(&self) -> String {
        format!("the key {} is given twice", self.show())
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

impl Number<'_> {
    /// The exact order of two numbers; `None` if one is NaN.
    pub(super) fn compare(self, other: Self, meter: &Meter) -> Result<Option<Ordering>, Box<Stop>> {
        Ok(match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => whole_to_double(a, b),
            (Self::Double(a), Self::Whole(b)) => whole_to_double(b, a).map(Ordering::reverse),
            (Self::Long(written), other) => {
                meter.charge_bytes(written.text.len())?;
                written.compare(other, meter)?
            }
            (other, Self::Long(written)) => {
                meter.charge_bytes(written.text.len())?;
                written.compare(other, meter)?.map(Ordering::reverse)
            }
        })
    }

    /// The value, if it is a whole number.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::Whole(whole) => Some(whole),
            // Beyond this range, `as` would give the nearest number of the type.
            Self::Double(double) if double.fract() == 0.0 && double.abs() < 1e38 => Some(double as i128),
            Self::Double(_) => None,
            Self::Long(written) => written.decimal().whole(),
        }
    }

    /// The nearest double; may lose digits.
    pub(super) fn double(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Double(value) => value,
            Self::Long(written) => written.text.parse().unwrap_or(f64::NAN),
        }
    }
}

impl Written {
    /// The value with all its digits.
    pub(super) fn decimal(&self) -> Decimal {
        Decimal::parse(&self.text).expect("a number that was read from JSON has the form of one")
    }

    /// The error that `what` would have to round the number.
    pub(super) fn inexact(&self, what: &str) -> String {
        format!(
            "{what} cannot calculate exactly with {} of {}, which has more digits than a double; \
             double(…) makes the nearest double of it",
            clipped(&self.text, 40),
            self.from
        )
    }

    fn compare(&self, other: Number<'_>, meter: &Meter) -> Result<Option<Ordering>, Box<Stop>> {
        let other = match other {
            Number::Whole(whole) => Decimal::of_whole(whole),
            Number::Double(double) => match Decimal::of_double(double) {
                Some(decimal) => decimal,
                // Infinities and NaN.
                None => return Ok(0.0.partial_cmp(&double)),
            },
            Number::Long(other) => {
                meter.charge_bytes(other.text.len())?;
                other.decimal()
            }
        };
        Ok(Some(self.decimal().cmp(&other)))
    }
}

fn whole_to_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    // Doubles beyond i128 saturate, far beyond any whole number that occurs here.
    let below = double.floor() as i128;
    Some(whole.cmp(&below).then(if double.fract() == 0.0 {
        Ordering::Equal
    } else {
        Ordering::Less
    }))
}

/// A double in the fewest digits that read back as it, without an exponent.
pub(super) fn double_text(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        value => value.to_string(),
    }
}

/// The start of a text for a message: one line of at most `len` characters.
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
