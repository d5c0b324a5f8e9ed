//! OpenAPI schemas for types that have no `ToSchema`: the kernel's enumerations, and binary bodies.
//!
//! The names of an enumeration are those that serde reads, so a new variant in the kernel appears here by itself.

use std::borrow::Cow;

use heddle_kernel::{
    FailureKind, FunctionKind, Level, Severity, Status,
    schedule::{CatchUp, Overlap},
};
use serde::{
    Deserialize,
    de::{Deserializer, Visitor, value::Error},
    forward_to_deserialize_any,
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

macro_rules! enumerations {
    ($($doc:ident of $type:ty as $name:literal: $about:literal;)*) => {$(
        #[doc = $about]
        pub(crate) struct $doc;

        impl PartialSchema for $doc {
            fn schema() -> RefOr<Schema> {
                enumeration($about, names::<$type>())
            }
        }

        impl ToSchema for $doc {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

enumerations! {
    StatusDoc of Status as "RunStatus": "The status of a run.";
    LevelDoc of Level as "Level": "The level of a log line or an event.";
    SeverityDoc of Severity as "Severity": "The severity of a finding.";
    FailureKindDoc of FailureKind as "FailureKind": "The kind of a failure.";
    FunctionKindDoc of FunctionKind as "FunctionKind":
        "The kind of a function: `node` (takes the state and returns an outcome) or `tool` (takes and returns JSON).";
    OverlapDoc of Overlap as "Overlap":
        "What to do if the schedule's last run is still active: `skip` drops the start, `queue` delays one start until \
         the run is over, `allow` starts another run.";
    CatchUpDoc of CatchUp as "CatchUp":
        "What to do about times that were missed while no engine was running: `none` starts no run, `one` starts one run \
         for all of them, `all` starts one run for each, at most 100.";
}

/// The schema of a request body that is a wasm component, as raw bytes.
pub(crate) struct BytesDoc;

impl PartialSchema for BytesDoc {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)));
        RefOr::T(Schema::Object(schema.build()))
    }
}

impl ToSchema for BytesDoc {}

fn enumeration(about: &str, names: &'static [&'static str]) -> RefOr<Schema> {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(about))
        .enum_values(Some(names.iter().copied()));
    RefOr::T(Schema::Object(schema.build()))
}

/// Returns the names of an enumeration's variants, as serde reads them.
fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // `Names` records the variants and then fails, so no value is read.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// A deserializer that records the names of the variants and reads no value.
struct Names<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("nothing is read"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_in_responses() {
        let all: Vec<&str> = Status::ALL.iter().map(|status| status.as_str()).collect();
        let mut listed = names::<Status>().to_vec();
        for name in all {
            let at = listed.iter().position(|known| *known == name);
            listed.remove(at.expect("every status is listed"));
        }
        assert!(listed.is_empty(), "{listed:?}");
        assert_eq!(names::<Level>(), ["trace", "debug", "info", "warn", "error"]);
        assert_eq!(names::<Severity>(), ["error", "warning"]);
        assert!(names::<FailureKind>().contains(&FailureKind::NoCase.as_str()));
        assert_eq!(names::<FunctionKind>(), ["node", "tool"]);
        assert_eq!(names::<Overlap>(), ["skip", "queue", "allow"]);
        assert_eq!(names::<CatchUp>(), ["none", "one", "all"]);
    }
}
