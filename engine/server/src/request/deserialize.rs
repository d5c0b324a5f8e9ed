//! Deserializes JSON bodies and queries with errors for clients.
//!
//! The result is that of `serde_json` and `serde_urlencoded`, with three differences: a list is not accepted for a
//! struct, errors have a JSON pointer, and messages use the terms of JSON instead of Rust's.

#[cfg(test)]
mod tests;

use std::fmt;

use heddle_json::object::kind_of;
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

/// An invalid field or parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// A JSON pointer to the field.
    pub(crate) pointer: String,
    /// What is wrong with the field.
    pub(crate) message: String,
}

/// Deserializes a JSON value as a `T`.
pub(crate) fn read<'t, T: Deserialize<'t>>(value: &'t RawValue) -> Result<T, FieldError> {
    T::deserialize(Json(value))
}

/// Deserializes the parameters of a query as a `T`.
pub(crate) fn read_query<T: for<'t> Deserialize<'t>>(pairs: &[(String, String)]) -> Result<T, FieldError> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return Err(FieldError::custom("the parameter is repeated").at_key(name));
        }
    }
    T::deserialize(Query(pairs))
}

impl FieldError {
    /// Prepends the key of the enclosing object or list to the pointer.
    fn at_key(mut self, key: &str) -> Self {
        let key = heddle_json::pointer::escape(key);
        self.pointer = format!("/{key}{}", self.pointer);
        self
    }

    /// Returns the message with the parameter's name, for a query.
    pub(crate) fn parameter_message(&self) -> String {
        match self.pointer.strip_prefix('/') {
            Some(name) => format!("`{name}`: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FieldError {}

impl Error for FieldError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            pointer: String::new(),
            message: message.to_string(),
        }
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, got {given}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = match expected {
            [] => "no fields are expected".to_owned(),
            known => format!("known fields: {}", known.join(", ")),
        };
        Self::custom(format!("unknown field; {known}")).at_key(field)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format!(
            "expected one of {}, got {variant:?}",
            expected.join(", ")
        ))
    }
}

/// Parses a whole number. `3.0` and `3e0` are whole numbers, too.
fn whole(text: &str) -> Option<i128> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    // A double represents all whole numbers of this size exactly.
    let number = text.parse::<f64>().ok()?;
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i128)
}

/// The methods that deserialize each of Rust's integer types, with a check of its range.
macro_rules! whole_numbers {
    ($of:ident) => {
        whole_numbers! { $of:
            deserialize_u8 u8 visit_u8 deserialize_u16 u16 visit_u16 deserialize_u32 u32 visit_u32
            deserialize_u64 u64 visit_u64 deserialize_i8 i8 visit_i8 deserialize_i16 i16 visit_i16
            deserialize_i32 i32 visit_i32 deserialize_i64 i64 visit_i64
        }
    };
    ($of:ident: $($method:ident $type:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            const EXPECTED: &str = match $type::MIN == 0 {
                true => "a whole number, 0 or more",
                false => "a whole number",
            };
            let number = $of(&self, EXPECTED)?;
            match $type::try_from(number) {
                Ok(number) => visitor.$visit(number),
                Err(_) if number < 0 && $type::MIN == 0 => {
                    Err(FieldError::custom(format!("expected {EXPECTED}, got {number}")))
                }
                Err(_) => {
                    let range = format!("from {} to {}", $type::MIN, $type::MAX);
                    Err(FieldError::custom(format!("expected a whole number {range}, got {number}")))
                }
            }
        })*
    };
}

/// A JSON value as unparsed text, which keeps all digits of its numbers.
#[derive(Clone, Copy)]
struct Json<'de>(&'de RawValue);

impl<'de> Json<'de> {
    fn kind(self) -> &'static str {
        kind_of(self.0.get()).unwrap_or("nothing")
    }

    fn expected<T>(self, expected: &str) -> Result<T, FieldError> {
        Err(FieldError::custom(format!(
            "expected {expected}, got {}",
            self.kind()
        )))
    }

    fn text(self) -> Result<String, FieldError> {
        match self.kind() {
            "a string" => serde_json::from_str(self.0.get()).map_err(FieldError::custom),
            _ => self.expected("a string"),
        }
    }

    fn members(self) -> Result<Members<'de>, FieldError> {
        match self.kind() {
            "an object" => {
                let members: Pairs<'de> = serde_json::from_str(self.0.get()).map_err(FieldError::custom)?;
                Ok(Members {
                    left: members.0.into_iter(),
                    value: None,
                })
            }
            _ => self.expected("an object"),
        }
    }
}

fn json_number(value: &Json<'_>, expected: &str) -> Result<i128, FieldError> {
    match value.kind() {
        "a number" => whole(value.0.get())
            .ok_or_else(|| FieldError::custom(format!("expected {expected}, got {}", value.0.get()))),
        _ => value.expected(expected),
    }
}

impl<'de> Deserializer<'de> for Json<'de> {
    type Error = FieldError;

    whole_numbers!(json_number);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "an object" => visitor.visit_map(self.members()?),
            "an array" => self.deserialize_seq(visitor),
            _ => self.0.deserialize_any(visitor).map_err(FieldError::custom),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.0.get() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "a number" => visitor.visit_f64(self.0.get().parse().map_err(FieldError::custom)?),
            _ => self.expected("a number"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_string(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "null" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        // serde_json's own types, such as `RawValue`, need its own deserializer.
        match name.starts_with("$serde_json::") {
            true => self
                .0
                .deserialize_newtype_struct(name, visitor)
                .map_err(FieldError::custom),
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "an array" => {
                let items: Vec<&RawValue> = serde_json::from_str(self.0.get()).map_err(FieldError::custom)?;
                visitor.visit_seq(Items {
                    left: items.into_iter().enumerate(),
                })
            }
            _ => self.expected("an array"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_map(self.members()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_map(self.members()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let text = self.text()?;
        let word: StrDeserializer<'_, FieldError> = text.as_str().into_deserializer();
        visitor.visit_enum(word)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The members of an object, in the order of its text.
struct Pairs<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct Members<'de> {
    left: std::vec::IntoIter<(String, &'de RawValue)>,
    value: Option<(String, &'de RawValue)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, FieldError> = key.as_str().into_deserializer();
        let read = seed.deserialize(name)?;
        self.value = Some((key, value));
        Ok(Some(read))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (key, value) = self
            .value
            .take()
            .ok_or_else(|| FieldError::custom("a value without a key"))?;
        seed.deserialize(Json(value)).map_err(|error| error.at_key(&key))
    }
}

struct Items<'de> {
    left: std::iter::Enumerate<std::vec::IntoIter<&'de RawValue>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some((at, item)) = self.left.next() else {
            return Ok(None);
        };
        let item = seed.deserialize(Json(item));
        item.map(Some).map_err(|error| error.at_key(&at.to_string()))
    }
}

/// The parameters of a query.
struct Query<'q>(&'q [(String, String)]);

impl<'de> Deserializer<'de> for Query<'_> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_map(Parameters {
            left: self.0.iter(),
            value: None,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Parameters<'q> {
    left: std::slice::Iter<'q, (String, String)>,
    value: Option<(&'q str, &'q str)>,
}

impl<'de> MapAccess<'de> for Parameters<'_> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, FieldError> {
        let Some((name, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = Some((name, value));
        let key: StrDeserializer<'_, FieldError> = name.as_str().into_deserializer();
        let read = seed.deserialize(key).map_err(|mut error| {
            error.message = error.message.replacen(
                "unknown field; known fields",
                "unknown parameter; known parameters",
                1,
            );
            error
        });
        read.map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, FieldError> {
        let (name, value) = self
            .value
            .take()
            .ok_or_else(|| FieldError::custom("a value without a name"))?;
        seed.deserialize(Parameter(value))
            .map_err(|error| error.at_key(name))
    }
}

/// The value of a parameter.
struct Parameter<'q>(&'q str);

impl Parameter<'_> {
    fn expected<T>(&self, expected: &str) -> Result<T, FieldError> {
        Err(FieldError::custom(format!(
            "expected {expected}, got {:?}",
            self.0
        )))
    }
}

fn parameter_number(value: &Parameter<'_>, expected: &str) -> Result<i128, FieldError> {
    match value.0.parse() {
        Ok(number) => Ok(number),
        Err(_) => value.expected(expected),
    }
}

impl<'de> Deserializer<'de> for Parameter<'_> {
    type Error = FieldError;

    whole_numbers!(parameter_number);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_str(self.0)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.0 {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let word: StrDeserializer<'_, FieldError> = self.0.into_deserializer();
        visitor.visit_enum(word)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
