//! Reads a policy file, which is YAML 1.2 or JSON, by the same rules as JSON: values are not converted to other types, and
//! null is not a value. Errors have the position of the value and its JSON pointer.

use std::fmt;

use heddle_json::deserialize::{FieldError, read_without_null};
use serde::{
    Deserialize,
    de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value, value::RawValue};
use serde_saphyr::{Location, Spanned};

use super::document::{MAX_BYTES, PolicyError};

/// A value of YAML, whose parts have positions.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// Reads a `T`, and returns the text as JSON, too.
///
/// # Errors
/// The first syntax error or invalid value.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<(T, Box<RawValue>), PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(PolicyError {
            line: 0,
            column: 0,
            message: too_large(),
        });
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    };
    let tree: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = message.split(", set Duplicate").next().unwrap_or_default();
        refusal(error.location(), message.to_owned())
    })?;
    let json = serde_json::value::to_raw_value(&value(&tree.value)).expect("keys are strings");
    match read_without_null(&json) {
        Ok(read) => Ok((read, json)),
        Err(error) => Err(refusal(Some(location(&tree, &error)), error.to_string())),
    }
}

/// The message for a policy that is too large.
pub(super) fn too_large() -> String {
    format!("the policy is larger than the limit of {} MiB", MAX_BYTES >> 20)
}

fn refusal(location: Option<Location>, message: String) -> PolicyError {
    PolicyError {
        line: location.map_or(0, |location| location.line()),
        column: location.map_or(0, |location| location.column()),
        message,
    }
}

fn value(node: &Node) -> Value {
    match node {
        Node::Scalar(value) => value.clone(),
        Node::List(items) => items.iter().map(|item| value(&item.value)).collect(),
        Node::Map(entries) => {
            let entries = entries.iter();
            entries
                .map(|(key, item)| (key.value.clone(), value(&item.value)))
                .collect()
        }
    }
}

/// The position of an invalid value, or of the nearest value around it.
fn location(tree: &Spanned<Node>, error: &FieldError) -> Location {
    let (mut tree, mut location) = (tree, tree.referenced);
    for part in error.pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &tree.value {
            Node::Scalar(_) => None,
            Node::List(items) => {
                let item = part.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (item, item.referenced))
            }
            Node::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.value == part)
                .map(|(key, item)| match item.value {
                    Node::Scalar(_) if item.referenced.line() > 0 => (item, item.referenced),
                    _ => (item, key.referenced),
                }),
        };
        let Some((inner, at)) = next else { break };
        (tree, location) = (inner, at);
    }
    location
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value that JSON has")
            }

            fn visit_unit<E: Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar(Value::Null))
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Scalar(value.into()))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Scalar(value.into()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Scalar(value.into()))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
                let number = Number::from_f64(value).ok_or_else(|| E::custom("JSON has no such number"))?;
                Ok(Node::Scalar(number.into()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Scalar(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut all = Vec::new();
                while let Some(item) = items.next_element()? {
                    all.push(item);
                }
                Ok(Node::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    all.push(entry);
                }
                Ok(Node::Map(all))
            }
        }

        input.deserialize_any(Reader)
    }
}
