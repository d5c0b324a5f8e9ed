//! Deserializes JSON bodies and queries with errors for clients.

#[cfg(test)]
mod tests;

pub(crate) use heddle_json::deserialize::{FieldError, read};
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

/// Deserializes the parameters of a query as a `T`.
pub(crate) fn read_query<T: for<'t> Deserialize<'t>>(pairs: &[(String, String)]) -> Result<T, FieldError> {
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return Err(FieldError::custom("the parameter is repeated").at_key(name));
        }
    }
    T::deserialize(Query(pairs))
}

/// Returns the message of an error in a query, with the parameter's name.
pub(crate) fn parameter_message(error: &FieldError) -> String {
    match error.pointer.strip_prefix('/') {
        Some(name) => format!("`{name}`: {}", error.message),
        None => error.message.clone(),
    }
}

/// The methods that deserialize each of Rust's integer types, with a check of its range.
macro_rules! integers {
    ($($method:ident $type:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            const EXPECTED: &str = match $type::MIN == 0 {
                true => "a whole number, 0 or more",
                false => "a whole number",
            };
            let digits = self.0.strip_prefix('-').unwrap_or(self.0);
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return self.expected(EXPECTED);
            }
            match self.0.parse::<$type>() {
                Ok(number) => visitor.$visit(number),
                Err(_) if $type::MIN == 0 && self.0.starts_with('-') => {
                    Err(FieldError::custom(format!("expected {EXPECTED}, got {}", self.0)))
                }
                Err(_) => Err(FieldError::out_of_range($type::MIN, $type::MAX, self.0)),
            }
        })*
    };
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

impl<'de> Deserializer<'de> for Parameter<'_> {
    type Error = FieldError;

    integers! {
        deserialize_u8 u8 visit_u8 deserialize_u16 u16 visit_u16 deserialize_u32 u32 visit_u32
        deserialize_u64 u64 visit_u64 deserialize_i8 i8 visit_i8 deserialize_i16 i16 visit_i16
        deserialize_i32 i32 visit_i32 deserialize_i64 i64 visit_i64
    }

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
