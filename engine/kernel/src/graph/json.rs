//! Parses the JSON of a definition. Unlike in `serde_json`, a repeated key is an error, and numbers keep all
//! of their digits.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, fmt};

use heddle_json::{
    Json,
    admit::admit,
    decimal::Decimal,
    object,
    tokens::{Tree, count_values, plain, unquote},
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, value::RawValue};

use super::{
    Diagnostic, Findings,
    definition::{MAX_NAME_LEN, MAX_VALUES, part},
};

/// The JSON of a definition.
pub(super) struct Parsed<'t> {
    /// The parsed value. A number with more digits than a double is rounded.
    pub(super) value: Value,
    /// The text, if it is admitted.
    pub(super) source: Option<Cow<'t, str>>,
}

/// Parses a JSON text. Returns the definition if the text is admitted, and the findings: one without a
/// pointer if the text is not JSON, else one for each repeated key. With `limited`, a text with too many
/// values is refused.
pub(super) fn parse(text: &str, limited: bool) -> (Option<Parsed<'_>>, Findings) {
    // A text that is not JSON is refused below.
    if limited && serde_json::from_str::<&RawValue>(text).is_ok() && count_values(text) > MAX_VALUES {
        let message = format!(
            "the graph has more than {MAX_VALUES} JSON values (graph_values): split it, or take data out of it"
        );
        return (None, vec![Diagnostic::error("", message)].into());
    }
    let found = RefCell::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let place = Place {
        within: None,
        step: Step::Root,
        found: &found,
    };
    let value = place.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    let mut found = found.into_inner();
    let refusal = match (value, admit(text)) {
        (Ok(value), Ok(source)) => {
            let source = Some(source);
            return (Some(Parsed { value, source }), found);
        }
        // The problem is a repeated key, which was found.
        (Ok(value), Err(_)) if !found.is_empty() => {
            let source = None;
            return (Some(Parsed { value, source }), found);
        }
        (Err(error), Ok(_)) => Diagnostic::error("", error.to_string()),
        (Err(_), Err(refused)) if refused.place.is_some() => {
            Diagnostic::error("", format!("the graph is {}", refused.problem))
        }
        (_, Err(refused)) => Diagnostic::error(refused.pointer, refused.problem),
    };
    found = Findings::default();
    found.push(refusal);
    (None, found)
}

/// The tree of an admitted text.
pub(super) fn tree(text: &str) -> Result<Tree<'_>, String> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Tree::of(raw)
}

/// The parts of nodes that are passed on as JSON, by JSON pointer: on one line, with numbers and strings in
/// canonical form.
pub(super) fn parts(tree: &Tree<'_>) -> HashMap<String, Json> {
    let mut parts = HashMap::new();
    for (name, node) in members(member(tree, "nodes")) {
        let name = unquote(name).unwrap_or_default();
        // A node with a longer name is not read.
        if name.len() > MAX_NAME_LEN {
            continue;
        }
        let pointer = format!("/nodes/{}", part(&name));
        let schema = member(node, "wait").and_then(|wait| member(wait, "schema"));
        let kept = ["config", "limits", "grants"].map(|key| (key, member(node, key)));
        for (key, tree) in kept.into_iter().chain([("wait/schema", schema)]) {
            let json = tree.map(|tree| object::json(&written(tree)).expect("a tree is written as JSON"));
            parts.extend(json.map(|json| (format!("{pointer}/{key}"), json)));
        }
    }
    parts
}

/// The value at a JSON pointer, on one line and otherwise as written.
pub(super) fn written_at(tree: &Tree<'_>, pointer: &str) -> Option<String> {
    let mut written = String::new();
    tree.at(pointer)?.write(&mut written);
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

/// A tree as `serde_json` writes a value, except that a number keeps its text if its double has another
/// value.
pub(super) fn written(tree: &Tree<'_>) -> String {
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

/// A position in the text. Its JSON pointer is built only for a finding: a text can have millions of
/// positions below a key of millions of bytes.
struct Place<'f> {
    within: Option<&'f Place<'f>>,
    step: Step<'f>,
    found: &'f RefCell<Findings>,
}

/// The step from the enclosing position.
enum Step<'f> {
    Root,
    Key(&'f str),
    Item(usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(place) = at {
            steps.push(match place.step {
                Step::Root => String::new(),
                Step::Key(key) => format!("/{}", part(key)),
                Step::Item(item) => format!("/{item}"),
            });
            at = place.within;
        }
        steps.into_iter().rev().collect()
    }
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
            within: Some(&self),
            step: Step::Item(all.len()),
            found: self.found,
        })? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let place = Place {
                within: Some(&self),
                step: Step::Key(&key),
                found: self.found,
            };
            if all.contains_key(&key) && !self.found.borrow_mut().has_enough_errors() {
                let message = format!("`{key}` is given twice here: keep one of the two");
                let finding = Diagnostic::error(place.pointer(), message);
                self.found.borrow_mut().push(finding);
            }
            let value = entries.next_value_seed(place)?;
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
        let (read, found) = parse(text, true);
        let Parsed { value, source } = read.expect("it is JSON");
        let source = source.expect("it is let in");
        let tree = tree(&source).expect("it is JSON");
        assert!(found.is_empty());
        assert_eq!(written(&tree), serde_json::to_string(&value).expect("JSON"));
        assert_eq!(
            parts(&tree)["/nodes/a~1b/config"].get(),
            r#"{"x":1.5,"y":100.0,"z":-0.0,"s":"é/","n":null}"#
        );
        let text = r#"{"nodes":{"a":{"config":[123456789012345678901,0.12345678901234567890123,1e-400]}}}"#;
        assert_eq!(written(&super::tree(text).expect("it is JSON")), text);
    }

    #[test]
    fn refused_values_are_found_at_their_place() {
        let found = |text: &str| {
            let (_, found) = parse(text, true);
            let found = found
                .into_shown()
                .into_iter()
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
