//! Reads values from JSON text: only the part that is named, and never more than the budget.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    meter::{Meter, OBJECT_COST, Stop, wrong},
    plan::Path,
    value::{Key, Value},
};
use crate::object::kind_of;

/// What a text has under a key.
pub(super) enum Member<'t> {
    Found(&'t RawValue),
    Missing,
    /// It is no object but what this says.
    NotAnObject(&'static str),
}

/// Finds what the object `text` has under `key`, without reading the rest; of a key that is
/// given twice the last value counts.
pub(super) fn member<'t>(text: &'t str, key: &str, meter: &Meter) -> Result<Member<'t>, Box<Stop>> {
    match kind_of(text) {
        Some("an object") => {}
        Some("an array") => return Ok(Member::NotAnObject("a list")),
        other => return Ok(Member::NotAnObject(other.unwrap_or("no JSON"))),
    }
    meter.charge_bytes(text.len())?;
    let found = read_text(text, Find { key })?;
    Ok(found.map_or(Member::Missing, Member::Found))
}

/// The first `len` keys of the object `text`.
pub(super) fn first_keys(text: &str, len: usize) -> Vec<String> {
    read_text(text, Keys { len }).unwrap_or_default()
}

/// Reads the whole text that `path` leads to.
pub(super) fn value(text: &str, path: &Path, meter: &Meter) -> Result<Value, Box<Stop>> {
    meter.charge_bytes(text.len())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Reader { meter }.deserialize(&mut deserializer).map_err(|error| {
        if error.to_string().starts_with(OVER) {
            Box::new(Stop::Limit)
        } else {
            unreadable(&path.to_string(), &error)
        }
    })
}

/// What the reader's error begins with where the budget is used up.
const OVER: &str = "over the limit of cost";

fn read_text<'t, S: DeserializeSeed<'t>>(text: &'t str, seed: S) -> Result<S::Value, Box<Stop>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut deserializer)
        .map_err(|error| unreadable("a value", &error))
}

fn unreadable(what: &str, error: &serde_json::Error) -> Box<Stop> {
    Box::new(Stop::Wrong(format!("{what} cannot be read: {error}")))
}

struct Find<'k> {
    key: &'k str,
}

impl<'t> DeserializeSeed<'t> for Find<'_> {
    type Value = Option<&'t RawValue>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Find<'_> {
    type Value = Option<&'t RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Text(key)) = map.next_key()? {
            if key == self.key {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Keys {
    len: usize,
}

impl<'t> DeserializeSeed<'t> for Keys {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'t> Visitor<'t> for Keys {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            map.next_value::<IgnoredAny>()?;
            if keys.len() < self.len {
                keys.push(key.into_owned());
            }
        }
        Ok(keys)
    }
}

/// A key as text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// Reads any value and charges for it.
#[derive(Clone, Copy)]
struct Reader<'m> {
    meter: &'m Meter,
}

impl Reader<'_> {
    fn charge<E: serde::de::Error>(self, units: usize) -> Result<(), E> {
        self.meter.charge(units).map_err(|_| E::custom(OVER))
    }
}

impl<'t> DeserializeSeed<'t> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.charge(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Uint(value), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::string(value))
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::list(items))
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Value, A::Error> {
        self.charge(OBJECT_COST)?;
        let mut entries = BTreeMap::new();
        while let Some(Text(key)) = map.next_key()? {
            self.charge(1)?;
            let value = map.next_value_seed(self)?;
            entries.insert(Key::String(key.into()), value);
        }
        Ok(Value::Map(Arc::new(entries)))
    }
}

/// Says that a value is no object, so that it has no `key`.
pub(super) fn not_an_object<T>(what: &str, kind: &str, key: &str) -> Result<T, Box<Stop>> {
    let sized = matches!(kind, "a list" | "a string");
    let hint = match key {
        "length" | "len" | "size" | "count" if sized => format!("; its size is size({what})"),
        _ => String::new(),
    };
    wrong(format!("{what} is {kind} and has no key `{key}`{hint}"))
}
