//! Finds the part of a JSON text that a path names, without reading the rest.

use std::{borrow::Cow, fmt};

use heddle_json::object::kind_of;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::meter::{Meter, Stop, wrong};

/// The result of looking up a key.
pub(super) enum Member<'t> {
    Found(&'t RawValue),
    Missing,
    /// The value is not an object; the text says what it is.
    NotAnObject(&'static str),
}

/// Finds the value of `key` in the object `text`, without reading the other values. If the key is repeated,
/// the last value counts.
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

/// A key as text, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Text<'t>(#[serde(borrow)] Cow<'t, str>);

/// The error that a value is not an object, so that it has no `key`.
pub(super) fn not_an_object<T>(what: &str, kind: &str, key: &str) -> Result<T, Box<Stop>> {
    let sized = matches!(kind, "a list" | "a string");
    let hint = match key {
        "length" | "len" | "size" | "count" if sized => format!("; its size is size({what})"),
        _ => String::new(),
    };
    wrong(format!("{what} is {kind} and has no key `{key}`{hint}"))
}
