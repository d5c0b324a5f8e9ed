//! Reading the JSON of a definition: as `serde_json` does, but a key that is given twice is a finding
//! and not the last one's silent victory.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Diagnostic, definition::part};

/// Parses a JSON text: its value, where it is JSON, and what was found. That is a finding without a
/// place where the text is not JSON, else one for each key that is given twice.
pub(super) fn parse(text: &str) -> (Option<Value>, Vec<Diagnostic>) {
    let found = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let place = Place {
        pointer: String::new(),
        found: &found,
    };
    let value = place.deserialize(&mut reader);
    match value.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => (Some(value), found.into_inner()),
        Err(error) => {
            let problem = format!("the graph is not JSON: {error}");
            (None, vec![Diagnostic::error("", problem)])
        }
    }
}

/// The value at a JSON pointer.
struct Place<'f> {
    pointer: String,
    found: &'f RefCell<Vec<Diagnostic>>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Place {
            pointer: format!("{}/{}", self.pointer, all.len()),
            found: self.found,
        })? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let pointer = format!("{}/{}", self.pointer, part(&key));
            let twice = all.contains_key(&key).then(|| {
                Diagnostic::error(
                    &pointer,
                    format!("`{key}` is given twice here: keep one of the two"),
                )
            });
            self.found.borrow_mut().extend(twice);
            let found = self.found;
            let value = entries.next_value_seed(Place { pointer, found })?;
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}
