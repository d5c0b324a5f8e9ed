//! Reading the JSON of a definition: as `serde_json` does, but a key that is given twice is a finding
//! and not the last one's silent victory, and numbers keep all of their digits.

use std::{cell::RefCell, collections::HashMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, value::RawValue};

use super::{Diagnostic, definition::part};
use crate::{
    admit::admit,
    decimal::Decimal,
    object::{self, Json},
    tokens::{Tree, plain, unquote},
};

/// A definition's JSON.
#[derive(Default)]
pub(super) struct Text {
    /// The value, for what is read from it: a number with more digits than a double holds is the nearest one.
    pub(super) value: Value,
    /// The whole in one line, each number and string in one way, however it was written.
    pub(super) whole: String,
    /// The parts of nodes that are handed on as JSON, in the same form, by their JSON pointers.
    pub(super) parts: HashMap<String, Json>,
    /// The text itself, where it is let in.
    pub(super) source: Option<Json>,
}

/// Parses a JSON text: the definition, where it is JSON that is let in, and what was found. That is a finding
/// without a place where the text is not JSON, else one for each key that is given twice.
pub(super) fn parse(text: &str) -> (Option<Text>, Vec<Diagnostic>) {
    let found = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let place = Place {
        pointer: String::new(),
        found: &found,
    };
    let value = place.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    let found = found.into_inner();
    match (value, admit(text)) {
        (Err(error), Ok(_)) => (None, vec![Diagnostic::error("", error.to_string())]),
        (Err(_), Err(refused)) if refused.place.is_some() => (
            None,
            vec![Diagnostic::error("", format!("the graph is {}", refused.problem))],
        ),
        (Err(_), Err(refused)) => (None, vec![Diagnostic::error(refused.pointer, refused.problem)]),
        // It is a key that is given twice, which was found.
        (Ok(value), Err(_)) if !found.is_empty() => {
            let text = Text {
                value,
                ..Text::default()
            };
            (Some(text), found)
        }
        (Ok(_), Err(refused)) => (None, vec![Diagnostic::error(refused.pointer, refused.problem)]),
        (Ok(value), Ok(source)) => match Text::of(value, &source) {
            Ok(text) => {
                let source = object::json(&source).ok();
                (Some(Text { source, ..text }), found)
            }
            Err(problem) => (None, vec![Diagnostic::error("", problem)]),
        },
    }
}

impl Text {
    fn of(value: Value, text: &str) -> Result<Self, String> {
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let tree = Tree::of(raw)?;
        let mut parts = HashMap::new();
        for (name, node) in members(member(&tree, "nodes")) {
            let pointer = format!("/nodes/{}", part(&unquote(name).unwrap_or_default()));
            let schema = member(node, "wait").and_then(|wait| member(wait, "schema"));
            let kept = ["config", "limits", "grants"].map(|key| (key, member(node, key)));
            for (key, tree) in kept.into_iter().chain([("wait/schema", schema)]) {
                let Some(tree) = tree else { continue };
                let json = object::json(&written(tree)).map_err(|error| error.to_string())?;
                parts.insert(format!("{pointer}/{key}"), json);
            }
        }
        Ok(Self {
            value,
            whole: written(&tree),
            parts,
            source: None,
        })
    }
}

/// The value at a JSON pointer, in one line and else as the text has it.
pub(super) fn written_at(text: &RawValue, pointer: &str) -> Option<String> {
    let tree = Tree::of(text).ok()?;
    let mut at = &tree;
    for key in pointer.split('/').skip(1) {
        at = match at {
            Tree::List(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => {
                let is_key = |quoted: &str| unquote(quoted).is_some_and(|name| part(&name) == key);
                let mut members = members(Some(at)).iter();
                &members.find(|(quoted, _)| is_key(quoted))?.1
            }
        };
    }
    let mut written = String::new();
    at.write(&mut written);
    Some(written)
}

fn members<'v, 't>(tree: Option<&'v Tree<'t>>) -> &'v [(&'t str, Tree<'t>)] {
    match tree {
        Some(Tree::Object(members)) => members,
        _ => &[],
    }
}

fn member<'v, 't>(tree: &'v Tree<'t>, key: &str) -> Option<&'v Tree<'t>> {
    let is_key = |quoted: &str| unquote(quoted).is_some_and(|name| name == key);
    let found = members(Some(tree)).iter().find(|(quoted, _)| is_key(quoted));
    found.map(|(_, value)| value)
}

/// A tree as `serde_json` writes a value, but that a number keeps its text where a double would be another one.
fn written(tree: &Tree<'_>) -> String {
    let mut text = String::new();
    write(tree, &mut text);
    text
}

fn write(tree: &Tree<'_>, text: &mut String) {
    match tree {
        Tree::Word(word) => text.push_str(word),
        Tree::Number(number) => {
            let short = serde_json::from_str::<Number>(number).map(|number| number.to_string());
            match short {
                Ok(short) if Decimal::of(&short) == Decimal::of(number) => text.push_str(&short),
                _ => text.push_str(number),
            }
        }
        Tree::String(string) => text.push_str(&plain(string)),
        Tree::List(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Tree::Object(members) => {
            text.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&plain(key));
                text.push(':');
                write(value, text);
            }
            text.push('}');
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_written_as_it_always_was_but_for_numbers_that_a_double_does_not_hold() {
        let text = r#"{ "nodes": {"a\u002fb": {"config": {"x": 1.50, "y": 1e2, "z": -0, "s": "\u00e9\/", "n": null}}},
            "limits": {"steps": 18446744073709551615}}"#;
        let (read, found) = parse(text);
        let read = read.expect("it is JSON");
        assert!(found.is_empty());
        assert_eq!(read.whole, serde_json::to_string(&read.value).expect("JSON"));
        assert_eq!(
            read.parts["/nodes/a~1b/config"].get(),
            r#"{"x":1.5,"y":100.0,"z":-0.0,"s":"é/","n":null}"#
        );
        let text = r#"{"nodes":{"a":{"config":[123456789012345678901,0.12345678901234567890123,1e-400]}}}"#;
        let (read, _) = parse(text);
        assert_eq!(read.expect("it is JSON").whole, text);
    }

    #[test]
    fn what_is_not_let_in_is_found_at_its_place() {
        let found = |text: &str| {
            let (_, found) = parse(text);
            let found = found
                .iter()
                .map(|found| format!("{}: {}", found.pointer, found.message));
            found.collect::<Vec<_>>().join("\n")
        };
        assert!(
            found(r#"{"nodes": {"a": {"config": 1E400}}}"#)
                .starts_with("/nodes/a/config: the number `1E400`")
        );
        assert!(found(r#"{"nodes": {"\ud800": {}}}"#).starts_with("/nodes/\\ud800: the string has"));
        let deep = format!(
            r#"{{"nodes":{{"a":{{"config":{}{}}}}}}}"#,
            "[".repeat(118),
            "]".repeat(118)
        );
        assert!(
            found(&deep).contains("nested deeper than 120 levels"),
            "{}",
            found(&deep)
        );
        assert!(found("{").starts_with(": the graph is not JSON: EOF while"));
    }
}
