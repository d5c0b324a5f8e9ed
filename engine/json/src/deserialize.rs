//! Deserializes JSON with errors for the people who wrote it.
//!
//! The result is that of `serde_json`, with these differences: a list is not accepted for a struct, `1.0` and `1e2` are
//! integers, errors have a JSON pointer, and messages use the terms of JSON instead of Rust's.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
        Unexpected, VariantAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Number, value::RawValue};

use crate::{decimal::Decimal, object::kind_of, pointer::escape};

/// The message for a value that must not be null.
pub const NULL: &str = "null is not a value here: leave the key out";

/// What null means for an optional field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullRule {
    /// The field is left out.
    IsAbsent,
    /// Null is an error.
    Refused,
}

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// A JSON pointer to the value.
    pub pointer: String,
    /// What is wrong with the value.
    pub message: String,
}

/// Deserializes a JSON value as a `T`. For an optional field, null means that the field is left out.
///
/// # Errors
/// The first invalid value.
pub fn read<'t, T: Deserialize<'t>>(value: &'t RawValue) -> Result<T, FieldError> {
    read_with(value, NullRule::IsAbsent)
}

/// Deserializes a JSON value as a `T`, and refuses null for optional fields, too.
///
/// # Errors
/// The first invalid value.
pub fn read_without_null<'t, T: Deserialize<'t>>(value: &'t RawValue) -> Result<T, FieldError> {
    read_with(value, NullRule::Refused)
}

/// Deserializes a JSON value as a `T` by this rule for null.
///
/// # Errors
/// The first invalid value.
pub fn read_with<'t, T: Deserialize<'t>>(value: &'t RawValue, null: NullRule) -> Result<T, FieldError> {
    T::deserialize(Json { value, null })
}

impl FieldError {
    /// Prepends the key of the enclosing object or list to the pointer.
    #[must_use]
    pub fn at_key(mut self, key: &str) -> Self {
        self.pointer = format!("/{}{}", escape(key), self.pointer);
        self
    }

    /// The error for a whole number that is not in the range of its type.
    pub fn out_of_range(least: impl fmt::Display, most: impl fmt::Display, number: &str) -> Self {
        Self::custom(format!(
            "expected a whole number from {least} to {most}, got {number}"
        ))
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

impl std::error::Error for FieldError {}

/// The type of a value in the terms of JSON.
fn json_kind(given: Unexpected<'_>) -> String {
    match given {
        Unexpected::Bool(_) => "a boolean".to_owned(),
        Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number".to_owned(),
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a string".to_owned(),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "an object".to_owned(),
        other => other.to_string(),
    }
}

impl Error for FieldError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            pointer: String::new(),
            message: message.to_string(),
        }
    }

    fn invalid_type(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, got {}", json_kind(given)))
    }

    fn invalid_value(given: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let given = match given {
            Unexpected::Str(text) => format!("{text:?}"),
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            other => json_kind(other),
        };
        Self::custom(format!("expected {expected}, got {given}"))
    }

    fn invalid_length(len: usize, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, got {len} elements"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom("the key is given twice: keep one of the two").at_key(field)
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

/// The methods that deserialize each of Rust's integer types, with a check of its range. `1.0` and `1e2` are integers.
macro_rules! integers {
    ($($method:ident $type:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            const EXPECTED: &str = match $type::MIN == 0 {
                true => "a whole number, 0 or more",
                false => "a whole number",
            };
            let number = self.decimal(EXPECTED)?;
            match number.whole().and_then(|number| $type::try_from(number).ok()) {
                Some(number) => visitor.$visit(number),
                None if number.is_whole() && ($type::MIN != 0 || !number.is_negative()) => {
                    Err(FieldError::out_of_range($type::MIN, $type::MAX, self.value.get()))
                }
                None => Err(FieldError::custom(format!("expected {EXPECTED}, got {}", self.value.get()))),
            }
        })*
    };
}

/// A JSON value as unparsed text, which keeps all digits of its numbers.
#[derive(Clone, Copy)]
struct Json<'de> {
    value: &'de RawValue,
    null: NullRule,
}

impl<'de> Json<'de> {
    fn kind(self) -> &'static str {
        kind_of(self.value.get()).unwrap_or("nothing")
    }

    fn expected<T>(self, expected: &str) -> Result<T, FieldError> {
        Err(FieldError::custom(format!(
            "expected {expected}, got {}",
            self.kind()
        )))
    }

    fn number<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let number: Number = serde_json::from_str(self.value.get()).map_err(FieldError::custom)?;
        match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => visitor.visit_u64(number),
            (_, Some(number), _) => visitor.visit_i64(number),
            (_, _, number) => visitor.visit_f64(number.unwrap_or_default()),
        }
    }

    fn decimal(self, expected: &str) -> Result<Decimal, FieldError> {
        match self.kind() {
            "a number" => Ok(Decimal::of(self.value.get())),
            _ => self.expected(expected),
        }
    }

    fn text(self) -> Result<String, FieldError> {
        match self.kind() {
            "a string" => serde_json::from_str(self.value.get()).map_err(FieldError::custom),
            _ => self.expected("a string"),
        }
    }

    fn members(self) -> Result<Members<'de>, FieldError> {
        match self.kind() {
            "an object" => {
                let members: Pairs<'de> =
                    serde_json::from_str(self.value.get()).map_err(FieldError::custom)?;
                Ok(Members {
                    left: members.0.into_iter(),
                    value: None,
                    null: self.null,
                })
            }
            _ => self.expected("an object"),
        }
    }
}

impl<'de> Deserializer<'de> for Json<'de> {
    type Error = FieldError;

    integers! {
        deserialize_u8 u8 visit_u8 deserialize_u16 u16 visit_u16 deserialize_u32 u32 visit_u32
        deserialize_u64 u64 visit_u64 deserialize_i8 i8 visit_i8 deserialize_i16 i16 visit_i16
        deserialize_i32 i32 visit_i32 deserialize_i64 i64 visit_i64
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "an object" => visitor.visit_map(self.members()?),
            "an array" => self.deserialize_seq(visitor),
            "a string" => visitor.visit_string(self.text()?),
            "a boolean" => self.deserialize_bool(visitor),
            "a number" => self.number(visitor),
            _ => visitor.visit_unit(),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value.get() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "a number" => visitor.visit_f64(self.value.get().parse().map_err(FieldError::custom)?),
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
            "null" if self.null == NullRule::Refused => Err(FieldError::custom(NULL)),
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
                .value
                .deserialize_newtype_struct(name, visitor)
                .map_err(FieldError::custom),
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.kind() {
            "an array" => {
                let items: Vec<&RawValue> =
                    serde_json::from_str(self.value.get()).map_err(FieldError::custom)?;
                visitor.visit_seq(Items {
                    left: items.into_iter().enumerate(),
                    null: self.null,
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
        if self.kind() != "an object" {
            let text = self.text()?;
            let word: StrDeserializer<'_, FieldError> = text.as_str().into_deserializer();
            return visitor.visit_enum(word);
        }
        let mut members = self.members()?.left;
        match (members.next(), members.next()) {
            (Some((name, value)), None) => visitor.visit_enum(Variant {
                name,
                value: Json { value, ..self },
            }),
            _ => self.expected("an object with one key"),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// A variant with data: an object with the variant's name as its only key.
struct Variant<'de> {
    name: String,
    value: Json<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = FieldError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), FieldError> {
        let name: StrDeserializer<'_, FieldError> = self.name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = FieldError;

    fn unit_variant(self) -> Result<(), FieldError> {
        self.value.expected(&format!("the string {:?}", self.name))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, FieldError> {
        let Self { name, value } = self;
        seed.deserialize(value).map_err(|error| error.at_key(&name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, FieldError> {
        let Self { name, value } = self;
        value
            .deserialize_seq(visitor)
            .map_err(|error| error.at_key(&name))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let Self { name, value } = self;
        value
            .deserialize_map(visitor)
            .map_err(|error| error.at_key(&name))
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
    null: NullRule,
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
        let value = Json {
            value,
            null: self.null,
        };
        seed.deserialize(value).map_err(|error| error.at_key(&key))
    }
}

struct Items<'de> {
    left: std::iter::Enumerate<std::vec::IntoIter<&'de RawValue>>,
    null: NullRule,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some((at, value)) = self.left.next() else {
            return Ok(None);
        };
        let item = seed.deserialize(Json {
            value,
            null: self.null,
        });
        item.map(Some).map_err(|error| error.at_key(&at.to_string()))
    }
}
