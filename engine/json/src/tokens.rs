//! The tokens of a text that is known to be JSON, and values as trees of tokens.
//!
//! Numbers and strings keep the text that they are written as, so that rearranged values contain the same
//! numbers. Nothing here recurses over a text; its parser limits the depth.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{decimal::Decimal, object::to_json, pointer::escape};

/// The depth limit of a [`Tree`]. Admitted texts are less deep; texts of old stores may be deeper.
const MAX_TREE_DEPTH: usize = 1_000;

/// A token of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'t> {
    /// `{`
    BeginObject,
    /// `}`
    EndObject,
    /// `[`
    BeginList,
    /// `]`
    EndList,
    /// `,`
    Comma,
    /// `:`
    Colon,
    /// A string with its quotes.
    String(&'t str),
    /// A number, exactly as written.
    Number(&'t str),
    /// `true`, `false` or `null`.
    Word(&'t str),
}

/// An iterator over the tokens of a JSON text.
pub struct Tokens<'t> {
    text: &'t str,
    /// The position from which the next token is searched.
    next: usize,
    /// The position of the latest token.
    pub at: usize,
    /// Whether whitespace between tokens was found.
    pub spaced: bool,
}

impl<'t> Tokens<'t> {
    /// Starts at the beginning of a text that a parser has found to be JSON.
    pub fn of(text: &'t str) -> Self {
        Self {
            text,
            next: 0,
            at: 0,
            spaced: false,
        }
    }

    /// The text from the start of the latest token up to the first byte for which `goes_on` is false.
    fn run(&mut self, goes_on: impl Fn(u8) -> bool) -> &'t str {
        let rest = &self.text.as_bytes()[self.at..];
        let len = rest.iter().position(|byte| !goes_on(*byte));
        self.next = self.at + len.unwrap_or(rest.len());
        &self.text[self.at..self.next]
    }

    /// Reads a string that starts at the latest token.
    fn string(&mut self) -> &'t str {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.next = (at + 1).min(bytes.len());
        &self.text[self.at..self.next]
    }
}

/// The number of values in a text: itself, lists, objects, and keys of objects included. The memory of the
/// parsed text depends on this number rather than on the length.
pub fn count_values(text: &str) -> usize {
    let is_value = |token: &Token<'_>| {
        matches!(
            token,
            Token::BeginObject | Token::BeginList | Token::String(_) | Token::Number(_) | Token::Word(_)
        )
    };
    Tokens::of(text).filter(is_value).count()
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        let bytes = self.text.as_bytes();
        while bytes
            .get(self.next)
            .is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        {
            self.spaced = true;
            self.next += 1;
        }
        self.at = self.next;
        let byte = *bytes.get(self.at)?;
        self.next = self.at + 1;
        Some(match byte {
            b'{' => Token::BeginObject,
            b'}' => Token::EndObject,
            b'[' => Token::BeginList,
            b']' => Token::EndList,
            b',' => Token::Comma,
            b':' => Token::Colon,
            b'"' => Token::String(self.string()),
            b'-' | b'0'..=b'9' => {
                Token::Number(self.run(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')))
            }
            _ => Token::Word(self.run(|byte| byte.is_ascii_alphabetic())),
        })
    }
}

impl<'t> Token<'t> {
    /// The token as it is written.
    pub fn text(self) -> &'t str {
        match self {
            Self::BeginObject => "{",
            Self::EndObject => "}",
            Self::BeginList => "[",
            Self::EndList => "]",
            Self::Comma => ",",
            Self::Colon => ":",
            Self::String(text) | Self::Number(text) | Self::Word(text) => text,
        }
    }
}

/// The same JSON without whitespace between its tokens.
pub fn compact(text: &str) -> Cow<'_, str> {
    let mut tokens = Tokens::of(text);
    if tokens.by_ref().last().is_none() || !tokens.spaced {
        return Cow::Borrowed(text);
    }
    let mut short = String::with_capacity(text.len());
    Tokens::of(text).for_each(|token| short.push_str(token.text()));
    Cow::Owned(short)
}

/// The same JSON without line breaks, for line-based formats. Admitted texts have none; texts of old stores
/// may have some.
pub fn in_one_line(text: String) -> String {
    match text.contains(['\n', '\r']) {
        true => compact(&text).into_owned(),
        false => text,
    }
}

/// The string of a JSON string; `None` if it contains half of a surrogate pair.
pub fn unquote(string: &str) -> Option<Cow<'_, str>> {
    if !string.contains('\\') {
        return Some(Cow::Borrowed(&string[1..string.len() - 1]));
    }
    serde_json::from_str::<String>(string).ok().map(Cow::Owned)
}

/// The JSON string with only the escapes that it needs.
pub fn plain(string: &str) -> String {
    match unquote(string) {
        Some(text) => to_json(&text).get().to_owned(),
        None => string.to_owned(),
    }
}

/// Whether two JSON values are equal, however they are written. Numbers are compared exactly.
pub fn same(a: &RawValue, b: &RawValue) -> bool {
    if a.get() == b.get() {
        return true;
    }
    match (Tree::of(a), Tree::of(b)) {
        (Ok(a), Ok(b)) => a.identity() == b.identity(),
        _ => false,
    }
}

/// A JSON value whose numbers and strings are kept as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree<'t> {
    /// `true`, `false` or `null`.
    Word(&'t str),
    /// A number, exactly as written.
    Number(&'t str),
    /// A string with its quotes.
    String(&'t str),
    /// A list, in the order of the text.
    List(Vec<Tree<'t>>),
    /// An object: its keys, with their quotes, in the order of the text.
    Object(Vec<(&'t str, Tree<'t>)>),
}

impl<'t> Tree<'t> {
    /// Builds the tree of a JSON value.
    ///
    /// # Errors
    /// The value exceeds the depth limit.
    pub fn of(value: &'t RawValue) -> Result<Self, String> {
        let mut open: Vec<(Option<&'t str>, Self)> = Vec::new();
        let mut key = None;
        let mut tokens = Tokens::of(value.get()).peekable();
        while let Some(token) = tokens.next() {
            let done = match token {
                Token::BeginObject => {
                    open.push((key.take(), Self::Object(Vec::new())));
                    None
                }
                Token::BeginList => {
                    open.push((key.take(), Self::List(Vec::new())));
                    None
                }
                Token::EndObject | Token::EndList => open.pop(),
                Token::Comma | Token::Colon => None,
                Token::String(text) if tokens.peek() == Some(&Token::Colon) => {
                    key = Some(text);
                    None
                }
                Token::String(text) => Some((key.take(), Self::String(text))),
                Token::Number(text) => Some((key.take(), Self::Number(text))),
                Token::Word(text) => Some((key.take(), Self::Word(text))),
            };
            if open.len() > MAX_TREE_DEPTH {
                return Err(format!("the value is nested deeper than {MAX_TREE_DEPTH} levels"));
            }
            let Some((key, done)) = done else { continue };
            match (open.last_mut(), key) {
                (Some((_, Self::Object(members))), Some(key)) => members.push((key, done)),
                (Some((_, Self::List(items))), _) => items.push(done),
                _ => return Ok(done),
            }
        }
        Err("the value is not JSON".to_owned())
    }

    /// The value at a JSON pointer.
    pub fn at(&self, pointer: &str) -> Option<&Self> {
        let mut at = self;
        for part in pointer.split('/').skip(1) {
            at = match at {
                Self::List(items) => items.get(part.parse::<usize>().ok()?)?,
                Self::Object(members) => {
                    let is_key = |quoted: &str| unquote(quoted).is_some_and(|name| escape(&name) == part);
                    &members.iter().find(|(quoted, _)| is_key(quoted))?.1
                }
                _ => return None,
            };
        }
        Some(at)
    }

    /// A canonical text: equal for equal values, whatever the order of an object's keys and the form of
    /// numbers and strings.
    pub fn identity(&self) -> String {
        match self {
            Self::Word(word) => (*word).to_owned(),
            Self::Number(number) => Decimal::of(number).to_string(),
            Self::String(string) => plain(string),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::identity).collect();
                format!("[{}]", items.join(","))
            }
            Self::Object(members) => {
                let members: BTreeMap<String, String> = members
                    .iter()
                    .map(|(key, value)| (plain(key), value.identity()))
                    .collect();
                let members: Vec<String> = members
                    .iter()
                    .map(|(key, value)| format!("{key}:{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    /// Appends the value as JSON on one line.
    pub fn write(&self, text: &mut String) {
        match self {
            Self::Word(word) => text.push_str(word),
            Self::Number(number) => text.push_str(number),
            Self::String(string) => text.push_str(string),
            Self::List(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    text.push_str(key);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_several_lines_becomes_one_line_and_strings_stay() {
        let text = "\n{ \"a b\" : [ 1.50 ,\r\n\t-2e+3, \"x \\\" \\\\\" , null ] }\n";
        assert_eq!(compact(text), r#"{"a b":[1.50,-2e+3,"x \" \\",null]}"#);
        assert!(matches!(compact(r#"{"a b":[1]}"#), Cow::Borrowed(_)));
        assert_eq!(in_one_line("{\"a\":\r1, \"b\":2}".to_owned()), r#"{"a":1,"b":2}"#);
        assert_eq!(in_one_line(r#"{"a": 1}"#.to_owned()), r#"{"a": 1}"#);
    }

    #[test]
    fn values_are_the_same_however_they_are_written() {
        let check = |a: &str, b: &str| {
            let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
            same(&raw(a), &raw(b))
        };
        assert!(check(
            r#"{"a": [1.0, "\u00e9"], "b": 1e2}"#,
            r#"{"b":100,"a":[1,"é"]}"#
        ));
        assert!(!check("123456789012345678901", "123456789012345678902"));
        assert!(!check("[1]", "[1,1]"));
        assert!(!check(r#""1""#, "1"));
    }

    #[test]
    fn a_tree_is_written_exactly_as_read() {
        let text = r#"{"a":[1.50,{"b":"\u00e9","":[]},true],"n":123456789012345678901}"#;
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        let mut written = String::new();
        Tree::of(raw).expect("a tree").write(&mut written);
        assert_eq!(written, text);
    }

    #[test]
    fn a_tree_is_not_built_of_a_text_that_would_use_up_the_stack() {
        let text = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let raw: &RawValue = serde_json::from_str(&text).expect("JSON");
        assert!(Tree::of(raw).is_err());
    }
}
