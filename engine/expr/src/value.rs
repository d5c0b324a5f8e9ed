//! The values of an evaluation: what they are, how they compare and how they become JSON.
//!
//! Lists, objects and strings are shared, so to use a value twice costs nothing. What such
//! sharing hides (a list of a list of … that is huge when it is written out) is charged where
//! it shows: in comparing and in writing. An object's keys are in order, so that nothing
//! depends on how an object was made.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use heddle_json::decimal::Decimal;

use super::{
    kinds::Kinds,
    meter::{Meter, Stop, wrong},
};

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// A double of the JSON that was read, which is written as it was there.
    Written(Arc<Written>),
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

/// A number of the JSON that was read, in the form that it had there.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: Box<str>,
    /// Its double; `None` where a double would lose some of its digits.
    pub(super) double: Option<f64>,
    /// The path that it was read from.
    pub(super) from: Arc<str>,
}

/// A number, so that those of different kinds can be compared and calculated with.
#[derive(Clone, Copy)]
pub(super) enum Number<'v> {
    Whole(i128),
    Double(f64),
    /// One with more digits than a double can hold.
    Long(&'v Written),
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
            Self::Double(_) | Self::Written(_) => Kinds::DOUBLE,
            Self::String(_) => Kinds::STRING,
            Self::Bytes(_) => Kinds::BYTES,
            Self::List(_) => Kinds::LIST,
            Self::Map(_) => Kinds::MAP,
            Self::Type(_) => Kinds::TYPE,
        }
    }

    /// Its number, where it is one.
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
                (Some(a), Some(b)) => a.compare(b, meter)? == Some(Ordering::Equal),
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
                (Some(a), Some(b)) => a.compare(b, meter)?,
                _ => return wrong(format!("{} and {} have no order", self.kind(), other.kind())),
            },
        })
    }

    /// Writes its JSON text behind what `out` has.
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
    /// The key that a value stands for: the same for a number of every kind that is a whole one.
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

    /// The text of a key that JSON can have.
    pub(super) fn text(&self) -> Result<&str, Box<Stop>> {
        match self {
            Self::String(text) => Ok(text),
            _ => wrong(format!(
                "the result has the key {}, and JSON's keys are strings; string(…) makes one of it",
                self.show()
            )),
        }
    }

    /// Says that an object has the key twice.
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
    /// The order of two numbers, exactly; none where one is not a number.
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

    /// The whole number that it is, where it is one.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::Whole(whole) => Some(whole),
            // Beyond this, `as` would give the nearest number that it has.
            Self::Double(double) if double.fract() == 0.0 && double.abs() < 1e38 => Some(double as i128),
            Self::Double(_) => None,
            Self::Long(written) => written.decimal().whole(),
        }
    }

    /// As a double, the nearest.
    pub(super) fn double(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Double(value) => value,
            Self::Long(written) => written.text.parse().unwrap_or(f64::NAN),
        }
    }
}

impl Written {
    /// Its number, exactly.
    pub(super) fn decimal(&self) -> Decimal {
        Decimal::parse(&self.text).expect("a number that was read from JSON has the form of one")
    }

    /// Says that `what` would have to round it.
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
                // Below infinity and above its opposite, and beside what is not a number.
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
    // Doubles beyond i128 saturate, far outside of what a whole number here can be.
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
