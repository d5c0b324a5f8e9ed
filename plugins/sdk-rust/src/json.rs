//! Converts JSON text to typed values and back, and makes their schemas.
//!
//! A call parses once, without tracking positions; only input that does not fit is read a second
//! time to find the path of what is wrong. Schemas are made when the plugin is described, never in a call.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, generate::SchemaSettings, json_schema};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// One JSON value as text, neither parsed nor checked.
///
/// As a node's state it is not parsed; as a result it must be valid JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(pub String);

/// Types of input: every type with `Deserialize` and `JsonSchema`, and [`Json`].
pub trait Input: Sized {
    /// Parses JSON text.
    fn read(text: String) -> Result<Self, Malformed>;
    /// The JSON Schema of the type.
    fn schema() -> Schema;
}

/// Types of output: every type with `Serialize` and `JsonSchema`, and [`Json`].
pub trait Output: Sized {
    /// Serializes the value; an error names `what`.
    fn write(self, what: fmt::Arguments<'_>) -> Result<String>;
    /// The JSON Schema of the type.
    fn schema() -> Schema;
}

impl<T: DeserializeOwned + JsonSchema> Input for T {
    fn read(text: String) -> Result<Self, Malformed> {
        parse(&text)
    }

    fn schema() -> Schema {
        SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>()
    }
}

impl Input for Json {
    fn read(text: String) -> Result<Self, Malformed> {
        Ok(Self(text))
    }

    fn schema() -> Schema {
        json_schema!({})
    }
}

impl<T: Serialize + JsonSchema> Output for T {
    fn write(self, what: fmt::Arguments<'_>) -> Result<String> {
        to_text(&self, what)
    }

    fn schema() -> Schema {
        SchemaSettings::draft2020_12()
            .for_serialize()
            .into_generator()
            .into_root_schema_for::<T>()
    }
}

impl Output for Json {
    fn write(self, _: fmt::Arguments<'_>) -> Result<String> {
        Ok(self.0)
    }

    fn schema() -> Schema {
        json_schema!({})
    }
}

/// Why a text does not fit a type.
#[derive(Debug)]
pub struct Malformed {
    /// The path, such as `items[3].name`; empty for the whole value.
    path: String,
    /// The message of the parser, without a position.
    problem: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at `{}`: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

/// Parses a text, and says where it does not fit.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Malformed> {
    serde_json::from_str(text).or_else(|error| locate(text, error))
}

#[cold]
fn locate<T: DeserializeOwned>(text: &str, error: serde_json::Error) -> Result<T, Malformed> {
    let mut reader = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(&mut reader) {
        // The value is valid, but more text follows it.
        Ok::<T, _>(_) => Err(Malformed {
            path: String::new(),
            problem: error.to_string(),
        }),
        Err(error) => {
            let path = Some(error.path().to_string())
                .filter(|path| path != ".")
                .unwrap_or_default();
            let error = error.into_inner();
            let mut problem = error.to_string();
            // The line and column help only for broken text, not for generated text.
            if error.is_data() {
                problem.truncate(problem.rfind(" at line ").unwrap_or(problem.len()));
            }
            Err(Malformed { path, problem })
        }
    }
}

/// Reads a function's input; `what` is its state, config or input, for errors.
pub fn read<T: Input>(function: &str, what: &str, text: String) -> Result<T> {
    T::read(text).map_err(|malformed| refused(function, what, malformed))
}

/// Reads a node's config. A node without one has `null`, which is read as an empty object where
/// the type does not take it, so that defaults apply and the error names the key that is missing.
pub(crate) fn read_config<T: Input>(function: &str, text: String) -> Result<T> {
    let absent = text.trim() == "null";
    match T::read(text) {
        Err(_) if absent => read(function, "config", "{}".to_owned()),
        read => read.map_err(|malformed| refused(function, "config", malformed)),
    }
}

#[cold]
fn refused(function: &str, what: &str, malformed: Malformed) -> Error {
    let error = Error::invalid_input(format!("`{function}` does not take this {what}: {malformed}"));
    match malformed.path.is_empty() {
        true => error,
        false => error.with_data(serde_json::json!({ "path": malformed.path })),
    }
}

/// Writes a value as JSON. An error names `what` (for example a map whose keys are not strings).
pub(crate) fn to_text<T: Serialize + ?Sized>(value: &T, what: fmt::Arguments<'_>) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::permanent(format!("{what} cannot be JSON: {error}")))
}

/// The schema of a function's input, as text.
pub fn schema_of_input<T: Input>() -> Cow<'static, str> {
    text_of(T::schema())
}

/// The schema of a tool's output, as text.
pub fn schema_of_output<T: Output>() -> Cow<'static, str> {
    text_of(T::schema())
}

/// The schema of a node function's update, as text.
pub fn schema_of_update<T: crate::Answer>() -> Cow<'static, str> {
    let schema = <T::Update as Output>::schema();
    // `()` and `Json` do not say it themselves, but an update is an object.
    match schema.get("type").is_none_or(|kind| kind == "null") && schema.get("$ref").is_none() {
        true => any_object(),
        false => text_of(schema),
    }
}

/// The schema of a function that ignores its input.
pub fn any_object() -> Cow<'static, str> {
    Cow::Borrowed(r#"{"type":"object"}"#)
}

fn text_of(schema: Schema) -> Cow<'static, str> {
    Cow::Owned(schema.to_value().to_string())
}
