//! YAML as the command reads it: values with their places in the text.
//!
//! YAML 1.2, so `on` and `no` are texts. Keys are texts, each once; a text holds one document. What
//! aliases may blow a small text up to is limited. JSON is YAML, so its places are found here, too.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt};

use heddle_json::admit::MAX_DEPTH;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

/// How many values a text may hold, with those that its aliases stand for.
const MAX_VALUES: usize = 250_000;
/// How many bytes they may take.
const MAX_BYTES: usize = 16 << 20;
/// How much deeper than JSON a text may be nested before it is not read any further: what is too deep in it is found
/// with its place as it is in JSON.
const DEPTH_SPARE: usize = 4;
/// What begins the messages of the visitors here.
const OWN_WORDS: &str = "a key is a text";
/// Words of the parser, and what they mean.
const PARSER_WORDS: [(&str, &str); 9] = [
    (
        "mapping values are not allowed",
        "a `:` cannot stand here: put a text that has one in quotes",
    ),
    (
        "block sequence entries are not allowed",
        "a list cannot begin here: put it in a line of its own",
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

/// A place in a text: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: Option<Place>,
    pub(crate) message: String,
}

/// A value with the places of its parts.
pub(crate) type Tree = Spanned<Node>;

/// A value.
#[derive(Debug)]
pub(crate) enum Node {
    Plain(Value),
    /// A number as the parser reads it. Its text has the digits that a double does not hold.
    Number(Number),
    List(Vec<Tree>),
    /// In the order of the text. Keys may be there twice.
    Map(Vec<(Spanned<Key>, Tree)>),
}

/// The key of a map.
#[derive(Debug)]
pub(crate) enum Key {
    Text(String),
    /// Something else, as it is written in JSON.
    Other(String),
}

/// Reads a text.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Tree, Mistake> {
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
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Mistake {
        place: error.location().map(place),
        message: told(&error),
    })
}

fn place(location: serde_saphyr::Location) -> Place {
    Place {
        line: location.line(),
        column: location.column(),
    }
}

/// What is wrong, without the place, which stands before it.
fn told(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::MultipleDocuments { .. } => "a second document begins here: a file holds one graph".to_owned(),
        E::UnknownAnchor { .. } => "this alias (`*name`) has no anchor (`&name`) before it".to_owned(),
        E::RecursiveReferencesRequireWeakTypes { .. } => {
            "this alias stands for a value that it is in itself: a value cannot contain itself".to_owned()
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
            let said = text.split(" at line ").next().unwrap_or(&text);
            of_parser(said.split(" (defined").next().unwrap_or(said))
        }
    }
}

/// What the parser's own words say.
fn of_parser(said: &str) -> String {
    let is_limit = said.starts_with("budget breached") || said.contains("limit exceeded");
    if said.contains("recursion limit") || (is_limit && said.contains("Depth")) {
        return format!("nested deeper than {MAX_DEPTH} levels (json_depth)");
    }
    if is_limit {
        return format!(
            "this is too large: at most {MAX_VALUES} values and {} MiB, with what aliases stand for",
            MAX_BYTES >> 20
        );
    }
    let plain = PARSER_WORDS.iter().find(|(words, _)| said.contains(words));
    match plain {
        Some((_, plain)) => (*plain).to_owned(),
        // The messages of this file's own visitors are plain.
        None if said.starts_with(OWN_WORDS) => said.to_owned(),
        None => format!("this is no YAML: {said}"),
    }
}

/// The tree of a text as JSON in one line. A number keeps its digits.
///
/// # Errors
/// Every key that is no text, or is there twice, and every number that JSON does not have.
pub(crate) fn json(tree: &Tree, text: &str) -> Result<String, Vec<Mistake>> {
    let mut writer = Writer {
        text,
        json: String::new(),
        mistakes: Vec::new(),
    };
    writer.write(tree);
    match writer.mistakes.is_empty() {
        true => Ok(writer.json),
        false => Err(writer.mistakes),
    }
}

struct Writer<'t> {
    text: &'t str,
    json: String,
    mistakes: Vec<Mistake>,
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
                    let written = self.written(key.defined).unwrap_or(what);
                    format!("a key is a text: write \"{written}\", in quotes")
                }
            };
            self.mistakes.push(Mistake {
                place: Some(place(key.referenced)),
                message,
            });
        }
        self.json.push('}');
    }

    /// The text of a value, as it is written.
    fn written(&self, defined: serde_saphyr::Location) -> Option<&str> {
        let span = defined.span();
        let begin = usize::try_from(span.byte_offset()?).ok()?;
        let end = begin.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        self.text.get(begin..end).map(str::trim)
    }

    /// The number that a text without quotes is, in hexadecimal, octal or binary digits: one of more than 64 bits,
    /// which the parser takes for a text.
    fn whole_number(&self, text: &str, defined: serde_saphyr::Location) -> Option<String> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let (base, digits) = BASES
            .iter()
            .find_map(|(prefix, base)| Some((*base, digits.strip_prefix(prefix)?)))?;
        let number = in_decimal(digits, base)?;
        let is_plain = self.written(defined) == Some(text) && !self.is_block(defined);
        is_plain.then(|| format!("{sign}{number}"))
    }

    /// Whether a text is a block behind `|` or `>`.
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

    /// Writes a number with the digits of its text, where that is a number of JSON but for its sign or its
    /// point. A whole number in another base is what the parser reads.
    fn number(&mut self, number: &Number, defined: serde_saphyr::Location) {
        let text = self.written(defined);
        let decimal = text.and_then(decimal);
        match decimal {
            Some(decimal) => self.json.push_str(&decimal),
            None if !number.is_f64() => self.json.push_str(&number.to_string()),
            None => self.mistakes.push(Mistake {
                place: Some(place(defined)),
                message: format!(
                    "write the number {} as JSON has it, as in 1500, 0.5 or 1e20, or as a text, in quotes",
                    text.unwrap_or("here")
                ),
            }),
        }
    }
}

/// How numbers begin that have another base than ten.
const BASES: [(&str, u32); 3] = [("0x", 16), ("0o", 8), ("0b", 2)];

/// The most digits of a number in another base.
const MAX_BASE_DIGITS: usize = 1_000;

/// A whole number in decimal digits.
fn in_decimal(digits: &str, base: u32) -> Option<String> {
    if digits.is_empty() || digits.len() > MAX_BASE_DIGITS {
        return None;
    }
    // The decimal digits, the last one first.
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

/// The number of JSON that a number of YAML is, with the same digits.
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

/// Where the thing that a JSON pointer leads to is written, or the nearest one around it. An entry
/// of a map is where its key is.
pub(crate) fn find(tree: &Tree, pointer: &str) -> Place {
    let mut at = place(tree.referenced);
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
            // Of two entries with one key, the second is what a finding is about.
            Node::Map(entries) => entries
                .iter()
                .rev()
                .find(|(key, _)| matches!(&key.value, Key::Text(name) if *name == part))
                .map(|(key, item)| (key.referenced, item)),
        };
        let Some((location, inner)) = next else { break };
        at = place(location);
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
