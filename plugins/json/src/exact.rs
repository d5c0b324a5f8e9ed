//! Values whose numbers keep all of their digits.
//!
//! `serde_json` holds a number as 64 bits or as a double. A number that neither holds is kept in a value as a string:
//! [`MARK`] and its text. [`read`] makes such strings and [`Exact`] writes them as numbers again, so no caller sees one.

use std::borrow::Cow;

use heddle_plugin::{
    Decimal,
    prelude::*,
    serde_json::{self, value::RawValue},
};
use serde::{
    Deserializer, Serializer,
    de::{DeserializeOwned, Error as _},
    ser::{SerializeMap, SerializeSeq},
};

/// The prefix of a string that holds a number: a character without a meaning in any text.
const MARK: char = '\u{10FFFF}';

/// For `deserialize_with`: any value that holds JSON.
pub(crate) fn read<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<T, D::Error> {
    let text = Box::<RawValue>::deserialize(from)?;
    let marked = mark(text.get()).map_err(D::Error::custom)?;
    let read = serde_json::from_str(&marked);
    read.map_err(|error| {
        let message = error.to_string();
        // The line and column of generated text do not help.
        D::Error::custom(&message[..message.rfind(" at line ").unwrap_or(message.len())])
    })
}

/// For `serialize_with`: the value, its numbers as they were read.
pub(crate) fn write<S: Serializer>(value: &Value, to: S) -> Result<S::Ok, S::Error> {
    Exact(value).serialize(to)
}

/// For `serialize_with`: the same of several values.
pub(crate) fn write_all<S: Serializer>(values: &[Value], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(Exact))
}

/// The text of a number that is held as a string.
pub(crate) fn long_number(value: &Value) -> Option<&str> {
    value.as_str()?.strip_prefix(MARK)
}

/// A value, written with its numbers as they were read.
struct Exact<'v>(&'v Value);

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut list = to.serialize_seq(Some(items.len()))?;
                items
                    .iter()
                    .try_for_each(|item| list.serialize_element(&Exact(item)))?;
                list.end()
            }
            Value::Object(members) => {
                let mut map = to.serialize_map(Some(members.len()))?;
                let mut members = members.iter();
                members.try_for_each(|(key, value)| map.serialize_entry(key, &Exact(value)))?;
                map.end()
            }
            value => match long_number(value) {
                Some(number) => {
                    let number = RawValue::from_string(number.to_owned());
                    number.map_err(serde::ser::Error::custom)?.serialize(to)
                }
                None => value.serialize(to),
            },
        }
    }
}

/// A JSON text in which the numbers that a value cannot hold are strings.
fn mark(text: &str) -> Result<Cow<'_, str>, String> {
    let mut marked = String::new();
    let mut kept = 0;
    for (at, number) in numbers(text, &['"']) {
        if !is_held(number) {
            marked.push_str(&text[kept..at]);
            marked.push_str(&format!("\"{MARK}{number}\""));
            kept = at + number.len();
        }
    }
    if marked.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    if text.contains(MARK) || text.to_ascii_lowercase().contains("\\udbff\\udfff") {
        return Err(
            "the character U+10FFFF cannot be beside numbers of more digits than a double holds".to_owned(),
        );
    }
    marked.push_str(&text[kept..]);
    Ok(Cow::Owned(marked))
}

/// The numbers of a text outside of its strings, each with its place.
pub(crate) fn numbers<'t>(text: &'t str, quotes: &[char]) -> Vec<(usize, &'t str)> {
    let mut found = Vec::new();
    let mut characters = text.char_indices();
    let (mut quote, mut last) = (None, ' ');
    while let Some((at, character)) = characters.next() {
        match quote {
            Some(_) if character == '\\' => {
                characters.next();
            }
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if quotes.contains(&character) => quote = Some(character),
            None if character.is_ascii_digit() || character == '-' => {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let rest = &text[at..];
                let number = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
                // A digit in a name is not a number.
                if !(last.is_alphanumeric() || last == '_') {
                    found.push((at, number));
                }
                if number.len() > 1 {
                    characters.nth(number.len() - 2);
                }
            }
            None => {}
        }
        last = character;
    }
    found
}

/// Whether a value holds the number with all of its digits.
fn is_held(number: &str) -> bool {
    // So few digits are always within a double, and most numbers have no more.
    let is_short = number.len() <= 15 && !number.contains(['e', 'E']);
    is_short
        || number.parse::<i64>().is_ok()
        || number.parse::<u64>().is_ok()
        || number
            .parse::<Decimal>()
            .is_ok_and(|number| number.to_double().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_outside_of_strings() {
        let found = |text| {
            numbers(text, &['"', '\''])
                .into_iter()
                .map(|(_, number)| number)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found(r#"{"1": [2, -3.5e-7, "4\"5"], "a": 6}"#),
            ["2", "-3.5e-7", "6"]
        );
        assert_eq!(found("$.a1[?@.b_2 > 30 && @['4'] == 5.0]"), ["30", "5.0"]);
        assert_eq!(found("1"), ["1"]);
    }

    #[test]
    fn only_numbers_that_would_lose_digits_are_marked() {
        for held in [
            "0.1",
            "-9223372036854775808",
            "18446744073709551615",
            "1e22",
            "[1,\"123456789012345678901\"]",
        ] {
            assert!(matches!(mark(held), Ok(Cow::Borrowed(_))), "{held}");
        }
        assert_eq!(
            mark("[1, 123456789012345678901, -0.10000000000000000001]").unwrap(),
            "[1, \"\u{10FFFF}123456789012345678901\", \"\u{10FFFF}-0.10000000000000000001\"]"
        );
        for mixed in [
            "[123456789012345678901, \"\u{10FFFF}1\"]",
            r#"[123456789012345678901, "\uDBFF\uDFFF1"]"#,
        ] {
            assert!(mark(mixed).is_err());
        }
    }
}
