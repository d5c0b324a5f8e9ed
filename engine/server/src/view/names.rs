//! How the description of the interface shows what serde alone does not tell: the kernel's closed sets of names, as
//! enumerations, and bodies that are bytes.
//!
//! The names are those that serde reads, so a name that is added to the kernel is added to the description.

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
    StatusDoc of Status as "RunStatus": "What a run does, or how it ended.";
    LevelDoc of Level as "Level": "How much a line of a log or an event matters.";
    SeverityDoc of Severity as "Severity": "How bad a finding is.";
    FailureKindDoc of FailureKind as "FailureKind": "What sort of failure it was.";
    FunctionKindDoc of FunctionKind as "FunctionKind":
        "What a function is: `node` (state in, outcome out) or `tool` (JSON in, JSON out).";
    OverlapDoc of Overlap as "Overlap":
        "What happens to a start while the schedule's last run is not over: `skip` leaves it out, `queue` lets one start \
         wait until the run is over, `allow` starts all the same.";
    CatchUpDoc of CatchUp as "CatchUp":
        "What happens to times that were missed while no engine ran: `none` of them is made up for, `one` start is made \
         for all of them, or one for each (`all`, at most 100).";
}

/// A body that is bytes.
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

/// The names of an enumeration's variants, as serde reads them.
fn names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // Nothing is read: the list that serde is asked for is all that is wanted.
    let _ = T::deserialize(Names(&mut names));
    names
}

/// Keeps the names of the variants that it is asked for, and reads nothing.
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
    fn the_names_are_those_that_answers_have() {
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
