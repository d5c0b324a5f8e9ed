//! Reads YAML 1.2 as JSON, and finds the positions of values in the text.
//!
//! `on` and `no` are strings. Keys must be strings, and each occurs once. A text has one document. The size to which
//! aliases can expand a text is limited. Positions in JSON files are found here too, because JSON is YAML.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt};

use heddle_json::admit::MAX_DEPTH;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

/// The most values of a text, with its aliases expanded.
const MAX_VALUES: usize = 250_000;
/// The most bytes of these values.
const MAX_BYTES: usize = 16 << 20;
/// How many levels beyond the limit of JSON are still parsed, so that the error for nesting that is too deep has a position.
const DEPTH_SPARE: usize = 4;
/// The beginning of the messages that the visitors of this file make.
const OWN_MESSAGE: &str = "a key is a text";
/// Messages of the parser, and their replacements.
const PARSER_MESSAGES: [(&str, &str); 9] = [
    (
        "mapping values are not allowed",
        "a `:` cannot stand here: put a text that has one in quotes",
    ),
    (
        "block sequence entries are not allowed",
        "a list cannot begin here: put it on a separate line",
    ),
    (
        "unknown escape character",
        "there is no such escape in a text with double quotes: write `\\\\` for a `\\`",
    ),
    ("unclosed quote", "the quote that begins here is not closed"),
    (
        "mismatched bracket",
        "this bracket is closed by one of another kind",
    ),
    ("unclosed bracket", "this bracket is not closed"),
    ("unsupported YAML", "the version of YAML is not known: 1.2 is"),
    (
        "found character that cannot start any token",
        "no value begins with this character: put the text in quotes",
    ),
    ("duplicate", "a key is given twice here: keep one of the two"),
];

/// A position in a text: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A syntax error and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub(crate) position: Option<Position>,
    pub(crate) message: String,
}

/// A value with the positions of its parts.
pub(crate) type Tree = Spanned<Node>;

/// A value of YAML, whose parts have positions.
#[derive(Debug)]
pub(crate) enum Node {
    Plain(Value),
    /// A number as the parser reads it. The text may have more digits than a double.
    Number(Number),
    List(Vec<Tree>),
    /// The entries in the order of the text. A key may occur twice.
    Map(Vec<(Spanned<Key>, Tree)>),
}

/// The key of a map.
#[derive(Debug)]
pub(crate) enum Key {
    Text(String),
    /// A key that is not a string, as JSON.
    Other(String),
}

/// Parses a text.
///
/// # Errors
/// The first syntax error.
pub(crate) fn parse(text: &str) -> Result<Tree, ParseError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_VALUES,
            max_total_scalar_bytes: MAX_BYTES,
            max_depth: MAX_DEPTH + DEPTH_SPARE,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| ParseError {
        position: error.location().map(position),
        message: message(&error),
    })
}

fn position(location: serde_saphyr::Location) -> Position {
    Position {
        line: location.line(),
        column: location.column(),
    }
}

/// The message of a parser error, without the position.
fn message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::MultipleDocuments { .. } => "a second document begins here: a file holds one graph".to_owned(),
        E::UnknownAnchor { .. } => "this alias (`*name`) has no anchor (`&name`) before it".to_owned(),
        E::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias refers to a value that contains the alias: a value cannot contain itself".to_owned()
        }
        E::NonFiniteFloat { .. } => {
            "JSON has no such number: write it as a text, in quotes, or as null".to_owned()
        }
        E::InvalidBinaryBase64 { .. } | E::BinaryNotUtf8 { .. } => {
            "what has the tag `!!binary` must be base64 of a text".to_owned()
        }
        E::MergeValueNotMapOrSeqOfMaps { .. } | E::MergeKeyNotAllowed { .. } => {
            "`<<` takes a map or a list of maps, as in `<<: *name`".to_owned()
        }
        E::Eof { .. } => "the text ends where a value must follow".to_owned(),
        _ => {
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or(&text);
            replace_message(message.split(" (defined").next().unwrap_or(message))
        }
    }
}

/// Replaces a message of the parser with one that says what to do.
fn replace_message(message: &str) -> String {
    let is_limit = message.starts_with("budget breached") || message.contains("limit exceeded");
    if message.contains("recursion limit") || (is_limit && message.contains("Depth")) {
        return format!("nested deeper than {MAX_DEPTH} levels (json_depth)");
    }
    if is_limit {
        return format!(
            "this is too large: at most {MAX_VALUES} values and {} MiB, with aliases expanded",
            MAX_BYTES >> 20
        );
    }
    let known = PARSER_MESSAGES
        .iter()
        .find(|(original, _)| message.contains(original));
    match known {
        Some((_, replacement)) => (*replacement).to_owned(),
        None if message.starts_with(OWN_MESSAGE) => message.to_owned(),
        None => format!("this is not YAML: {message}"),
    }
}

/// Converts the tree of a text to JSON in one line. Numbers keep their digits.
///
/// # Errors
/// Every key that is not a string or occurs twice, and every number that JSON cannot express.
pub(crate) fn json(tree: &Tree, text: &str) -> Result<String, Vec<ParseError>> {
    let mut writer = Writer {
        text,
        json: String::new(),
        errors: Vec::new(),
    };
    writer.write(tree);
    match writer.errors.is_empty() {
        true => Ok(writer.json),
        false => Err(writer.errors),
    }
}

struct Writer<'t> {
    text: &'t str,
    json: String,
    errors: Vec<ParseError>,
}

impl Writer<'_> {
    fn write(&mut self, tree: &Tree) {
        match &tree.value {
            Node::Plain(Value::String(text)) => match self.whole_number(text, tree.defined) {
                Some(number) => self.json.push_str(&number),
                None => self.json.push_str(&Value::from(text.as_str()).to_string()),
            },
            Node::Plain(value) => self.json.push_str(&value.to_string()),
            Node::Number(number) => self.number(number, tree.defined),
            Node::List(items) => {
                self.json.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.json.push(',');
                    }
                    self.write(item);
                }
                self.json.push(']');
            }
            Node::Map(entries) => self.map(entries),
        }
    }

    fn map(&mut self, entries: &[(Spanned<Key>, Tree)]) {
        let mut names: HashSet<&str> = HashSet::with_capacity(entries.len());
        self.json.push('{');
        for (key, item) in entries {
            let message = match &key.value {
                Key::Text(name) if names.insert(name) => {
                    if names.len() > 1 {
                        self.json.push(',');
                    }
                    self.json.push_str(&Value::from(name.as_str()).to_string());
                    self.json.push(':');
                    self.write(item);
                    continue;
                }
                Key::Text(name) => format!("`{name}` is given twice here: keep one of the two"),
                Key::Other(what) => {
                    let written = self.source_text(key.defined).unwrap_or(what);
                    format!("a key is a text: write \"{written}\", in quotes")
                }
            };
            self.errors.push(ParseError {
                position: Some(position(key.referenced)),
                message,
            });
        }
        self.json.push('}');
    }

    /// The source text of a value.
    fn source_text(&self, defined: serde_saphyr::Location) -> Option<&str> {
        let span = defined.span();
        let begin = usize::try_from(span.byte_offset()?).ok()?;
        let end = begin.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        self.text.get(begin..end).map(str::trim)
    }

    /// The value of an unquoted number in hexadecimal, octal or binary digits with more than 64 bits, which the parser
    /// reads as a string.
    fn whole_number(&self, text: &str, defined: serde_saphyr::Location) -> Option<String> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let (base, digits) = BASES
            .iter()
            .find_map(|(prefix, base)| Some((*base, digits.strip_prefix(prefix)?)))?;
        let number = in_decimal(digits, base)?;
        let is_plain = self.source_text(defined) == Some(text) && !self.is_block(defined);
        is_plain.then(|| format!("{sign}{number}"))
    }

    /// Whether a string is a block after `|` or `>`.
    fn is_block(&self, defined: serde_saphyr::Location) -> bool {
        let begin = defined
            .span()
            .byte_offset()
            .and_then(|begin| usize::try_from(begin).ok());
        let before = begin.and_then(|begin| self.text.get(..begin)).unwrap_or_default();
        let header = before.trim_end().lines().last().unwrap_or_default();
        let header = header.split(" #").next().unwrap_or_default();
        let word = header.split_whitespace().last().unwrap_or_default();
        word.starts_with(['|', '>'])
    }

    /// Writes a number with the digits of its source text, if these are a JSON number apart from the form of the sign or the
    /// point. A whole number in another base is written as the parser reads it.
    fn number(&mut self, number: &Number, defined: serde_saphyr::Location) {
        let text = self.source_text(defined);
        let decimal = text.and_then(decimal);
        match decimal {
            Some(decimal) => self.json.push_str(&decimal),
            None if !number.is_f64() => self.json.push_str(&number.to_string()),
            None => self.errors.push(ParseError {
                position: Some(position(defined)),
                message: format!(
                    "write the number {} as JSON has it, as in 1500, 0.5 or 1e20, or as a text, in quotes",
                    text.unwrap_or("here")
                ),
            }),
        }
    }
}

/// The prefixes of numbers with another base than ten.
const BASES: [(&str, u32); 3] = [("0x", 16), ("0o", 8), ("0b", 2)];

/// The maximum number of digits of a number in another base.
const MAX_BASE_DIGITS: usize = 1_000;

/// Converts a whole number to decimal digits.
fn in_decimal(digits: &str, base: u32) -> Option<String> {
    if digits.is_empty() || digits.len() > MAX_BASE_DIGITS {
        return None;
    }
    // The decimal digits, least significant first.
    let mut decimal = vec![0];
    for digit in digits.chars() {
        let mut carry = digit.to_digit(base)?;
        for place in &mut decimal {
            let value = *place * base + carry;
            (*place, carry) = (value % 10, value / 10);
        }
        while carry > 0 {
            decimal.push(carry % 10);
            carry /= 10;
        }
    }
    decimal
        .iter()
        .rev()
        .map(|digit| char::from_digit(*digit, 10))
        .collect()
}

/// Converts a YAML number to a JSON number with the same digits.
fn decimal(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.find(['e', 'E']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => format!("0.{fraction}"),
        Some((whole, "")) => format!("{whole}.0"),
        _ => mantissa.to_owned(),
    };
    let decimal = format!("{sign}{mantissa}{exponent}");
    let is_number = decimal.ends_with(|end: char| end.is_ascii_digit());
    (is_number && serde_json::from_str::<Number>(&decimal).is_ok()).then_some(decimal)
}

/// The position of the value at a JSON pointer, or of the nearest value around it. The position of an entry is that of its
/// key.
pub(crate) fn find(tree: &Tree, pointer: &str) -> Position {
    let mut at = position(tree.referenced);
    let mut tree = tree;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match &tree.value {
            Node::Plain(_) | Node::Number(_) => None,
            Node::List(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .map(|item| (item.referenced, item)),
            // If a key occurs twice, findings are about the last entry.
            Node::Map(entries) => entries
                .iter()
                .rev()
                .find(|(key, _)| matches!(&key.value, Key::Text(name) if *name == part))
                .map(|(key, item)| (key.referenced, item)),
        };
        let Some((location, inner)) = next else { break };
        at = position(location);
        tree = inner;
    }
    at
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("JSON has no such number"))?;
        Ok(Node::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Plain(value.into()))
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

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as the key")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Key, E> {
        Ok(Key::Text(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Key, E> {
        Ok(Key::Other("null".to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Key, E> {
        Ok(Key::Other(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Key, A::Error> {
        Err(A::Error::custom("a key is a text, and this is a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Key, A::Error> {
        Err(A::Error::custom("a key is a text, and this is a map"))
    }
}
