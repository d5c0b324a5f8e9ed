//! Grants of environment variables: with values from the policy, or from the server's own environment.

use std::{collections::BTreeMap, env::VarError, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Variables, each with its value or the source of its value.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct EnvEntries(BTreeMap<EnvName, Value>);

/// The name of a variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct EnvName(String);

#[derive(Clone, Debug)]
enum Value {
    Is(String),
    From(EnvName),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    from: EnvName,
}

impl EnvEntries {
    /// Reads the values.
    ///
    /// # Errors
    /// The first variable that is not set.
    pub(crate) fn read(&self) -> Result<Vec<(String, String)>, String> {
        let read = |(EnvName(name), value): (&EnvName, &Value)| match value {
            Value::Is(value) => Ok((name.clone(), value.clone())),
            Value::From(EnvName(from)) => match variable(from) {
                Ok(value) => Ok((name.clone(), value)),
                Err(problem) => Err(format!("env: {name}: {problem}")),
            },
        };
        self.0.iter().map(read).collect()
    }
}

/// A variable of the server's own environment.
///
/// # Errors
/// Why it has no value, and what to do.
pub(super) fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|error| match error {
        VarError::NotPresent => {
            format!("the server's environment has no {name}: set it before the server starts")
        }
        VarError::NotUnicode(_) => format!("{name} of the server's environment is not UTF-8"),
    })
}

impl TryFrom<String> for EnvName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.is_empty() || text.contains(['=', '\0']) {
            true => Err(format!(
                "{text:?} is not a valid name of a variable: it has at least one character, and no `=`"
            )),
            false => Ok(Self(text)),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a string (a number in quotes), or {from: NAME} for a variable of the server's environment",
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                match text.contains('\0') {
                    true => Err(E::custom("a value of the environment cannot have a NUL")),
                    false => Ok(Value::Is(text.to_owned())),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                let entry = Entry::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Value::From(entry.from))
            }
        }

        input.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<Vec<(String, String)>, String> {
        let entries: EnvEntries = crate::policy::yaml::read(yaml)
            .map(|(read, _)| read)
            .map_err(|error| error.to_string())?;
        entries.read()
    }

    #[test]
    fn values_are_written_out_or_taken_from_the_servers_environment() {
        let own = ("DIR".to_owned(), env!("CARGO_MANIFEST_DIR").to_owned());
        let read = read("{LANG: C.UTF-8, N: \"3\", DIR: {from: CARGO_MANIFEST_DIR}}").unwrap();
        let written =
            [("LANG", "C.UTF-8"), ("N", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read[0], own);
        assert_eq!(read[1..], written);
    }

    #[test]
    fn an_invalid_environment_is_refused() {
        for (yaml, expected) in [
            (
                "{A: {from: HEDDLE_NOT_SET_ANYWHERE}}",
                "env: A: the server's environment has no HEDDLE_NOT_SET",
            ),
            ("{\"A=B\": x}", "is not a valid name of a variable"),
            ("{\"\": x}", "is not a valid name of a variable"),
            ("{A: 3}", "a number in quotes"),
            (r#"{A: "x\0y"}"#, "cannot have a NUL"),
            (r#"{"A\0B": x}"#, "is not a valid name of a variable"),
            ("{A: {form: B}}", "/A/form: unknown field"),
        ] {
            let refusal = read(yaml).unwrap_err();
            assert!(refusal.contains(expected), "{yaml}: {refusal}");
        }
    }
}
