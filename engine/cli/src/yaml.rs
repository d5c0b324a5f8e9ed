//! YAML as the command reads it: values with their places in the text.
//!
//! YAML 1.2, so `on` and `no` are texts. Keys are texts, each once; a text holds one document. What
//! aliases may blow a small text up to is limited. JSON is YAML, so its places are found here, too.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

/// How many values a text may hold, with those that its aliases stand for.
const MAX_VALUES: usize = 250_000;
/// How many bytes they may take.
const MAX_BYTES: usize = 16 << 20;
/// How deep values may be nested.
const MAX_DEPTH: usize = 100;

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
            max_depth: MAX_DEPTH,
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

/// What the parser says, without the place, which stands before it.
fn told(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let said = text.split(" at line ").next().unwrap_or(&text);
    let said = said.split(" (defined").next().unwrap_or(said);
    if said.starts_with("multiple YAML documents") {
        return "a second document begins here: a file holds one graph".to_owned();
    }
    if said.starts_with("budget breached")
        || said.contains("limit exceeded")
        || said.contains("recursion limit")
    {
        return format!(
            "this is too large or nested too deeply: at most {MAX_VALUES} values, {} MiB and {MAX_DEPTH} levels, \
             with what aliases stand for ({said})",
            MAX_BYTES >> 20
        );
    }
    said.to_owned()
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
                Key::Other(what) => format!("a key is a text: write \"{what}\", in quotes"),
            };
            self.mistakes.push(Mistake {
                place: Some(place(key.referenced)),
                message,
            });
        }
        self.json.push('}');
    }

    /// Writes a number with the digits of its text, where that is a number of JSON but for its sign or its
    /// point. A whole number in another base is what the parser reads.
    fn number(&mut self, number: &Number, defined: serde_saphyr::Location) {
        let span = defined.span();
        let text = span.byte_offset().zip(span.byte_len()).and_then(|(begin, len)| {
            let begin = usize::try_from(begin).ok()?;
            self.text
                .get(begin..begin.checked_add(usize::try_from(len).ok()?)?)
        });
        let decimal = text.map(str::trim).and_then(decimal);
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

impl Visitor<'_> for KeyVisitor {
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
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: Expect) {
        let tree = parse(text).map_err(|mistake| vec![mistake]);
        let read = tree.and_then(|tree| json(&tree, text));
        expect.assert_eq(&match read {
            Ok(json) => json,
            Err(mistakes) => {
                let told = mistakes.iter().map(|mistake| match mistake.place {
                    Some(Place { line, column }) => format!("{line}:{column} {}", mistake.message),
                    None => mistake.message.clone(),
                });
                told.collect::<Vec<_>>().join("\n")
            }
        });
    }

    #[test]
    fn values_are_those_of_yaml_1_2_in_the_order_of_the_text() {
        check(
            "b: [on, no, yes, ~, true]\na: {z: 1, y: 1.5, x: 007, w: 1_000, v: 2026-01-01}\nc: |\n  two\n  lines\n",
            expect![[
                r#"{"b":["on","no","yes",null,true],"a":{"z":1,"y":1.5,"x":"007","w":"1_000","v":"2026-01-01"},"c":"two\nlines\n"}"#
            ]],
        );
        check(
            "a: &x {k: v}\nb: *x\n",
            expect![[r#"{"a":{"k":"v"},"b":{"k":"v"}}"#]],
        );
        check(
            r#"{"a": [1, {"b": "\u00e9"}]}"#,
            expect![[r#"{"a":[1,{"b":"é"}]}"#]],
        );
    }

    #[test]
    fn numbers_keep_their_digits() {
        check(
            "a: [123456789012345678901, 1.50, 0.12345678901234567890, -9223372036854775809, 18446744073709551616]\n",
            expect![[
                r#"{"a":[123456789012345678901,1.50,0.12345678901234567890,-9223372036854775809,18446744073709551616]}"#
            ]],
        );
        check(
            "a: &big 100000000000000000001\nb: *big\né: {c: *big, d: +5, e: .5, f: 1., g: 1e3, h: 0x1F}\n",
            expect![[
                r#"{"a":100000000000000000001,"b":100000000000000000001,"é":{"c":100000000000000000001,"d":5,"e":0.5,"f":1.0,"g":1e3,"h":31}}"#
            ]],
        );
    }

    #[test]
    fn what_json_has_not_is_told_with_its_place() {
        check(
            "a: 1\nb: 2\na: 3\n",
            expect!["3:1 `a` is given twice here: keep one of the two"],
        );
        check(
            "nodes:\n  1: {}\n  true: {}\n  ~: {}\n",
            expect![[r#"
            2:3 a key is a text: write "1", in quotes
            3:3 a key is a text: write "true", in quotes
            4:3 a key is a text: write "null", in quotes"#]],
        );
        check(
            "? [a]\n: 1\n",
            expect!["1:3 invalid type: sequence, expected a text as the key"],
        );
        check(
            "a: .inf\n",
            expect!["1:4 non-finite float `.inf` rejected by the configured policy"],
        );
        check(
            "a: 1\n---\nb: 2\n",
            expect!["3:1 a second document begins here: a file holds one graph"],
        );
        check(
            "a: [1,\n b: }\n",
            expect!["1:4 mismatched bracket '[' closed by '}'"],
        );
    }

    #[test]
    fn a_small_text_stays_small() {
        let mut lines = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
        for (name, inner) in ["b", "c", "d", "e", "f", "g", "h", "i"]
            .iter()
            .zip("abcdefgh".chars())
        {
            let nine = vec![format!("*{inner}"); 9].join(", ");
            lines += &format!("{name}: &{name} [{nine}]\n");
        }
        check(
            &lines,
            expect![
                "6:16 this is too large or nested too deeply: at most 250000 values, 16 MiB and 100 levels, with what aliases stand for (budget breached: Nodes { nodes: 250001 })"
            ],
        );
        let fat = format!(
            "a: &a {}\nb: [{}]\n",
            "x".repeat(100_000),
            vec!["*a"; 1_000].join(", ")
        );
        check(
            &fat,
            expect![
                "2:669 this is too large or nested too deeply: at most 250000 values, 16 MiB and 100 levels, with what aliases stand for (budget breached: ScalarBytes { total_scalar_bytes: 16800002 })"
            ],
        );
        check(
            &"[".repeat(10_000),
            expect![
                "1:256 this is too large or nested too deeply: at most 250000 values, 16 MiB and 100 levels, with what aliases stand for (recursion limit exceeded)"
            ],
        );
        check(
            &"- ".repeat(10_000),
            expect![
                "1:201 this is too large or nested too deeply: at most 250000 values, 16 MiB and 100 levels, with what aliases stand for (budget breached: Depth { depth: 101 })"
            ],
        );
    }

    #[test]
    fn a_pointer_leads_to_a_key_or_the_nearest_thing_around_it() {
        let tree = parse("nodes:\n  a/b: {uses: x}\nedges:\n  a/b:\n    - {to: c}\n").expect("it is YAML");
        let at = |pointer: &str| {
            let Place { line, column } = find(&tree, pointer);
            (line, column)
        };
        assert_eq!(at(""), (1, 1));
        assert_eq!(at("/nodes/a~1b"), (2, 3));
        assert_eq!(at("/nodes/a~1b/uses"), (2, 9));
        assert_eq!(at("/edges/a~1b/0/to"), (5, 8));
        assert_eq!(at("/edges/a~1b/0/when"), (5, 7));
        assert_eq!(at("/limits"), (1, 1));
    }
}
