//! JSON kept as text: a value, and an object that is kept by key.
//!
//! A state may be large and a step changes little of it, so values are never parsed on the
//! way: a merge moves pointers, and a view of the whole is a clone of one `Arc`.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::admit::{Inadmissible, MAX_DEPTH, admit_json};

/// One JSON value as text, shared.
pub type Json = Arc<RawValue>;

/// Lets one JSON value in that comes from outside: its text in one line.
///
/// # Errors
/// Where it is not JSON, or breaks one of the [rules](crate::admit).
pub fn admit(text: &str) -> Result<Json, Inadmissible> {
    let raw: Box<RawValue> = serde_json::from_str(text)?;
    Ok(match admit_json(raw.get(), MAX_DEPTH)? {
        Cow::Borrowed(_) => raw,
        Cow::Owned(text) => RawValue::from_string(text)?,
    }
    .into())
}

/// Parses one JSON value that Heddle wrote or let in, keeping its text.
pub fn json(text: &str) -> Result<Json, serde_json::Error> {
    Ok(serde_json::from_str::<Box<RawValue>>(text)?.into())
}

/// The text of `value` as JSON.
///
/// # Panics
/// Where `value` has a map key that is not a string: Heddle's own types have none.
pub fn to_json(value: &impl Serialize) -> Json {
    serde_json::value::to_raw_value(value)
        .expect("Heddle's own types serialize")
        .into()
}

/// A JSON object kept by key: a state, or an update of one. Keys are in order of their bytes.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(Arc<BTreeMap<Arc<str>, Json>>);

/// Why a text is not an object.
#[derive(Debug, thiserror::Error)]
pub enum NotAnObject {
    /// It is not JSON, or breaks one of the [rules](crate::admit).
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// It is JSON of another type.
    #[error("expected a JSON object, got {0}")]
    Type(&'static str),
}

impl Object {
    /// Lets an object in that comes from outside: the texts of its values in one line each.
    ///
    /// # Errors
    /// Where it is no JSON object, or breaks one of the [rules](crate::admit).
    pub fn admit(text: &str) -> Result<Self, NotAnObject> {
        let object = Self::parse(text)?;
        match admit_json(text, MAX_DEPTH)? {
            Cow::Borrowed(_) => Ok(object),
            Cow::Owned(text) => Self::parse(&text),
        }
    }

    /// Reads an object's text that Heddle wrote or let in; of a key that is given twice the last value counts.
    ///
    /// # Errors
    /// Where it is no JSON object.
    pub fn parse(text: &str) -> Result<Self, NotAnObject> {
        serde_json::from_str(text).map_err(|error| match serde_json::from_str::<&RawValue>(text) {
            Err(error) => Inadmissible::from(error).into(),
            Ok(_) => match kind_of(text) {
                // It is an object, and one of its keys is no Unicode.
                Some("an object") | None => match admit_json(text, usize::MAX) {
                    Err(wrong) => wrong.into(),
                    Ok(_) => Inadmissible::from(error).into(),
                },
                Some(other) => NotAnObject::Type(other),
            },
        })
    }

    /// Where the object is in memory: two with the same address are one.
    pub fn address(&self) -> *const u8 {
        Arc::as_ptr(&self.0).cast()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// Every key with its value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Json)> {
        self.0.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets one key.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: Json) {
        Arc::make_mut(&mut self.0).insert(key.into(), value);
    }

    /// Removes one key and gives its value.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        if !self.0.contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.0).remove(key)
    }

    /// Takes over every key of `update`.
    pub fn merge(&mut self, update: &Self) {
        if update.is_empty() {
            return;
        }
        let keys = Arc::make_mut(&mut self.0);
        for (key, value) in update.iter() {
            keys.insert(key.clone(), value.clone());
        }
    }

    /// How many bytes the object takes as text, roughly.
    pub fn size(&self) -> usize {
        self.iter()
            .map(|(key, value)| key.len() + value.get().len() + 4)
            .sum::<usize>()
            + 2
    }

    /// The whole as JSON text.
    pub fn to_text(&self) -> String {
        let mut text = Vec::with_capacity(self.size());
        serde_json::to_writer(&mut text, self).expect("keys are strings and values are JSON");
        String::from_utf8(text).expect("JSON is UTF-8")
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl PartialEq for Object {
    /// Whether both have the same keys with the same texts.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.len() == other.len()
                && self
                    .iter()
                    .zip(other.iter())
                    .all(|((a, x), (b, y))| a == b && x.get() == y.get()))
    }
}

/// What kind of JSON value a text begins, by its first character.
pub fn kind_of(text: &str) -> Option<&'static str> {
    Some(match text.trim_start().as_bytes().first()? {
        b'{' => "an object",
        b'[' => "an array",
        b'"' => "a string",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        b'-' | b'0'..=b'9' => "a number",
        _ => return None,
    })
}

/// The beginning of a text, at most `len` bytes, cut between two characters.
pub fn clip(text: &str, len: usize) -> &str {
    match text.len() <= len {
        true => text,
        false => &text[..text.floor_char_boundary(len)],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // in a test, what is not as it should be is a panic
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_object_is_about_that_of_its_text() {
        for (text, size) in [
            ("{}", 2),
            (r#"{"a":1}"#, 8),
            (r#"{"a":1,"long":"text"}"#, 8 + 4 + 6 + 4),
        ] {
            let object = Object::parse(text).unwrap();
            assert_eq!(object.size(), size, "{text}");
            assert!(object.size() >= object.to_text().len(), "{text}");
        }
    }
}
