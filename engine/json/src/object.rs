//! JSON values as shared text, and objects as maps from keys to such texts.
//!
//! Values are never parsed on their way: a merge moves pointers, and copying an object copies one `Arc`.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::admit::{Inadmissible, MAX_DEPTH, admit_json};

/// One JSON value as shared text.
pub type Json = Arc<RawValue>;

/// Admits one JSON value from outside, and removes whitespace between its tokens.
///
/// # Errors
/// The text is not JSON, or breaks one of the [rules](crate::admit).
pub fn admit(text: &str) -> Result<Json, Inadmissible> {
    let raw: Box<RawValue> = serde_json::from_str(text)?;
    Ok(match admit_json(raw.get(), MAX_DEPTH)? {
        Cow::Borrowed(_) => raw,
        Cow::Owned(text) => RawValue::from_string(text)?,
    }
    .into())
}

/// Parses one JSON value that Heddle wrote or admitted before, and keeps its text.
pub fn json(text: &str) -> Result<Json, serde_json::Error> {
    Ok(serde_json::from_str::<Box<RawValue>>(text)?.into())
}

/// Serializes `value`.
///
/// # Panics
/// `value` has a map key that is not a string. Heddle's own types have none.
pub fn to_json(value: &impl Serialize) -> Json {
    serde_json::value::to_raw_value(value)
        .expect("Heddle's own types serialize")
        .into()
}

/// A JSON object as a map from keys to JSON texts, for example a state or an update. The keys are ordered by
/// their bytes. A clone shares the map.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(Arc<BTreeMap<Arc<str>, Json>>);

/// The reason why a text is not an object.
#[derive(Debug, thiserror::Error)]
pub enum NotAnObject {
    /// The text is not JSON, or breaks one of the [rules](crate::admit).
    #[error(transparent)]
    Inadmissible(#[from] Inadmissible),
    /// The text is JSON of another type.
    #[error("expected a JSON object, got {0}")]
    Type(&'static str),
}

impl Object {
    /// Admits an object from outside, and removes whitespace between the tokens of its values.
    ///
    /// # Errors
    /// The text is not a JSON object, or breaks one of the [rules](crate::admit).
    pub fn admit(text: &str) -> Result<Self, NotAnObject> {
        let object = Self::parse(text)?;
        match admit_json(text, MAX_DEPTH)? {
            Cow::Borrowed(_) => Ok(object),
            Cow::Owned(text) => Self::parse(&text),
        }
    }

    /// Parses an object that Heddle wrote or admitted before. If a key is repeated, the last value counts.
    ///
    /// # Errors
    /// The text is not a JSON object.
    pub fn parse(text: &str) -> Result<Self, NotAnObject> {
        serde_json::from_str(text).map_err(|error| match serde_json::from_str::<&RawValue>(text) {
            Err(error) => Inadmissible::from(error).into(),
            Ok(_) => match kind_of(text) {
                // It is an object with a key that is not Unicode.
                Some("an object") | None => match admit_json(text, usize::MAX) {
                    Err(wrong) => wrong.into(),
                    Ok(_) => Inadmissible::from(error).into(),
                },
                Some(other) => NotAnObject::Type(other),
            },
        })
    }

    /// The address of the shared map: objects with the same address are equal.
    pub fn address(&self) -> *const u8 {
        Arc::as_ptr(&self.0).cast()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// The keys and values, in order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Json)> {
        self.0.iter()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the object has no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets a key.
    pub fn insert(&mut self, key: impl Into<Arc<str>>, value: Json) {
        Arc::make_mut(&mut self.0).insert(key.into(), value);
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        if !self.0.contains_key(key) {
            return None;
        }
        Arc::make_mut(&mut self.0).remove(key)
    }

    /// Sets every key of `update`.
    pub fn merge(&mut self, update: &Self) {
        if update.is_empty() {
            return;
        }
        let keys = Arc::make_mut(&mut self.0);
        for (key, value) in update.iter() {
            keys.insert(key.clone(), value.clone());
        }
    }

    /// The approximate length of the object as text, in bytes.
    pub fn size(&self) -> usize {
        self.iter()
            .map(|(key, value)| key.len() + value.get().len() + 4)
            .sum::<usize>()
            + 2
    }

    /// The object as JSON text.
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
    /// Compares keys and the texts of values.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.len() == other.len()
                && self
                    .iter()
                    .zip(other.iter())
                    .all(|((a, x), (b, y))| a == b && x.get() == y.get()))
    }
}

/// The type of a JSON value, by the first character of its text.
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

/// The first `len` bytes of a text at most, cut between two characters.
pub fn clip(text: &str, len: usize) -> &str {
    match text.len() <= len {
        true => text,
        false => &text[..text.floor_char_boundary(len)],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
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
