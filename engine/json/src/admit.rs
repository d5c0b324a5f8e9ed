//! The rules for JSON from outside.
//!
//! All JSON from outside passes through [`admit`] or [`crate::object::admit`]: requests, arguments and files
//! of the command, answers of plugins, chunks and imported runs. The rules accept what every JSON reader can
//! read (I-JSON, RFC 7493), except that a number may have more digits than a double:
//!
//! - the depth is at most [`MAX_DEPTH`] levels;
//! - strings are Unicode: no escape is half of a surrogate pair;
//! - numbers are within the range of a double, with an exponent within ±10^12; their digits are kept as written;
//! - an object has each key once.
//!
//! Admitted JSON is on one line, without whitespace between its tokens, so that it can be stored and sent in
//! line-based formats.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde_json::value::RawValue;

use crate::{
    decimal::Decimal,
    pointer::escape,
    tokens::{Token, Tokens, compact, unquote},
};

/// The depth limit of JSON texts (`json_depth`), in levels. Most parsers have a limit slightly above.
pub const MAX_DEPTH: usize = 120;

/// The number of keys up to which an object's keys are compared one by one.
const FEW_KEYS: usize = 16;
/// The length of a number or a key in a message, in characters.
const SHOWN: usize = 40;

/// The reason why a text is not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inadmissible {
    /// The place as a JSON pointer; empty for the whole text, and if the text is not JSON.
    pub pointer: String,
    /// The problem, and what to do about it.
    pub problem: String,
    /// The line and the column, from 1, if the text is not JSON.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for Inadmissible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => f.write_str(&self.problem),
            pointer => write!(f, "at {pointer}: {}", self.problem),
        }
    }
}

impl std::error::Error for Inadmissible {}

impl From<serde_json::Error> for Inadmissible {
    fn from(error: serde_json::Error) -> Self {
        Self {
            pointer: String::new(),
            problem: format!("not JSON: {error}"),
            place: Some((error.line(), error.column())).filter(|(line, _)| *line > 0),
        }
    }
}

/// Admits a JSON text. Returns it unchanged, or without whitespace between its tokens.
///
/// # Errors
/// The text is not JSON, or breaks one of the rules.
pub fn admit(text: &str) -> Result<Cow<'_, str>, Inadmissible> {
    admit_to_depth(text, MAX_DEPTH)
}

/// Admits a text that wraps values which have the greatest allowed depth themselves.
///
/// # Errors
/// As for [`admit`].
pub fn admit_to_depth(text: &str, depth: usize) -> Result<Cow<'_, str>, Inadmissible> {
    serde_json::from_str::<&RawValue>(text)?;
    admit_json(text, depth)
}

/// Admits a text that a parser has found to be JSON.
pub(crate) fn admit_json(text: &str, depth: usize) -> Result<Cow<'_, str>, Inadmissible> {
    match check(text, depth) {
        Ok(false) => Ok(Cow::Borrowed(text)),
        Ok(true) => Ok(compact(text)),
        Err((at, broken)) => Err(Inadmissible {
            pointer: match broken {
                Broken::Depth(_) => pointer_to(text, at, 2),
                _ => pointer_to(text, at, usize::MAX),
            },
            problem: broken.to_string(),
            place: None,
        }),
    }
}

/// The depth of a JSON text, in levels.
pub fn depth_of(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for token in Tokens::of(text) {
        match token {
            Token::BeginObject | Token::BeginList => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::EndObject | Token::EndList => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A rule that a text breaks.
enum Broken {
    Depth(usize),
    Surrogate(String),
    Number(String),
    Exponent(String),
    Twice(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth(limit) => write!(f, "nested deeper than {limit} levels (json_depth)"),
            Self::Surrogate(escape) => write!(
                f,
                "the string has `{escape}`, half of a surrogate pair, which is not a character: write the character \
                 itself, or both halves"
            ),
            Self::Number(number) => write!(
                f,
                "the number `{number}` is beyond the range of a double (about ±1.8e308): give it as a string"
            ),
            Self::Exponent(number) => write!(
                f,
                "the number `{number}` has an exponent beyond 10^12: give it as a string"
            ),
            Self::Twice(key) => write!(f, "the key `{key}` is given twice: keep one of the two"),
        }
    }
}

/// Returns whether the text has whitespace between its tokens; or the broken rule and the position of its
/// token.
fn check(text: &str, max_depth: usize) -> Result<bool, (usize, Broken)> {
    let mut tokens = Tokens::of(text);
    // For each open list or object: the start of an object's keys in `keys`.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut keys: Vec<(Cow<'_, str>, usize)> = Vec::new();
    let mut key_follows = false;
    while let Some(token) = tokens.next() {
        let at = tokens.at;
        match token {
            Token::BeginObject | Token::BeginList => {
                key_follows = token == Token::BeginObject;
                open.push(key_follows.then_some(keys.len()));
                if open.len() > max_depth {
                    return Err((at, Broken::Depth(max_depth)));
                }
            }
            Token::EndObject => {
                key_follows = false;
                if let Some(begin) = open.pop().flatten() {
                    if let Some((key, at)) = twice(&keys[begin..]) {
                        return Err((at, Broken::Twice(shown(key))));
                    }
                    keys.truncate(begin);
                }
            }
            Token::EndList => drop(open.pop()),
            Token::Comma => key_follows = matches!(open.last(), Some(Some(_))),
            Token::String(string) => {
                let text = unquote(string)
                    .ok_or_else(|| (at, Broken::Surrogate(lone_surrogate(string).to_owned())))?;
                if key_follows {
                    keys.push((text, at));
                    key_follows = false;
                }
            }
            Token::Number(number) if !is_in_range(number) => {
                return Err((at, Broken::Number(shown(number))));
            }
            Token::Number(number) if !Decimal::has_exact_exponent(number) => {
                return Err((at, Broken::Exponent(shown(number))));
            }
            Token::Number(_) | Token::Word(_) | Token::Colon => {}
        }
    }
    Ok(tokens.spaced)
}

/// A repeated key, and the position of its second occurrence.
fn twice<'k>(keys: &'k [(Cow<'_, str>, usize)]) -> Option<(&'k str, usize)> {
    let known = |at: usize| keys[..at].iter().any(|(key, _)| *key == keys[at].0);
    let second = match keys.len() {
        0 | 1 => None,
        len if len <= FEW_KEYS => (1..len).find(|at| known(*at)),
        len => {
            let mut seen = HashSet::with_capacity(len);
            keys.iter().position(|(key, _)| !seen.insert(key))
        }
    };
    second.map(|at| (&*keys[at].0, keys[at].1))
}

fn is_in_range(number: &str) -> bool {
    // The largest double has 309 digits.
    let is_short = matches!(number.len(), ..300) && !number.contains(['e', 'E']);
    is_short || number.parse().is_ok_and(f64::is_finite)
}

/// The escape of a string that is half of a surrogate pair.
fn lone_surrogate(string: &str) -> &str {
    let unit = |at: usize| {
        let hex = string.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(hex, 16).ok()
    };
    let bytes = string.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match unit(at) {
            Some(0xD800..0xDC00) if matches!(unit(at + 6), Some(0xDC00..0xE000)) => at += 12,
            Some(0xD800..0xE000) => return &string[at..at + 6],
            Some(_) => at += 6,
            None => at += 2,
        }
    }
    "\\u…"
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

/// The JSON pointer of the value or the key at a token, with at most `parts` parts.
fn pointer_to(text: &str, target: usize, parts: usize) -> String {
    // For each open list or object: the last key, or the number of items before.
    enum Open<'t> {
        Object(Option<&'t str>),
        List(usize),
    }
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut key_follows = false;
    let mut tokens = Tokens::of(text);
    while let Some(token) = tokens.next() {
        if let (Token::String(key), true, Some(Open::Object(last))) = (token, key_follows, open.last_mut()) {
            *last = Some(key);
            key_follows = false;
        }
        if tokens.at >= target {
            break;
        }
        match token {
            Token::BeginObject => open.push(Open::Object(None)),
            Token::BeginList => open.push(Open::List(0)),
            Token::EndObject | Token::EndList => drop(open.pop()),
            Token::Comma => {
                if let Some(Open::List(before)) = open.last_mut() {
                    *before += 1;
                }
            }
            _ => {}
        }
        if matches!(
            token,
            Token::BeginObject | Token::Comma | Token::EndObject | Token::EndList
        ) {
            key_follows = matches!(token, Token::BeginObject | Token::Comma)
                && matches!(open.last(), Some(Open::Object(_)));
        }
    }
    let parts = open.iter().take(parts).filter_map(|open| match open {
        Open::List(before) => Some(format!("/{before}")),
        Open::Object(None) => None,
        Open::Object(Some(key)) => {
            // A key that is not Unicode is shown as it is written.
            let key = unquote(key).unwrap_or_else(|| Cow::Borrowed(&key[1..key.len() - 1]));
            Some(format!("/{}", escape(&key)))
        }
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expect: Expect) {
        expect.assert_eq(&match admit(text) {
            Ok(text) => text.into_owned(),
            Err(error) => format!("- {error}"),
        });
    }

    #[test]
    fn json_is_let_in_as_one_line_with_its_numbers_as_they_are_written() {
        check(
            "\n{\"a\" : [1.50, 1e2,\r\n -0, 123456789012345678901234567890]\t}",
            expect![[r#"{"a":[1.50,1e2,-0,123456789012345678901234567890]}"#]],
        );
        check(" null ", expect!["null"]);
        check(r#"" \ud83d\ude00 \n""#, expect![[r#"" \ud83d\ude00 \n""#]]);
    }

    #[test]
    fn numbers_are_let_in_up_to_the_largest_double() {
        let largest = format!("{:.0}", f64::MAX);
        for number in [
            "0",
            "-1.5",
            "1e308",
            "-1.7976931348623157E308",
            "1e-400",
            &largest,
        ] {
            assert!(admit(number).is_ok(), "{number}");
        }
        for number in ["1e309", "-1E400", &format!("{largest}0"), &"9".repeat(310)] {
            let refused = admit(number).map_err(|error| error.to_string());
            assert!(
                refused.is_err_and(|error| error.contains("beyond the range of a double")),
                "{number}"
            );
        }
    }

    #[test]
    fn a_value_that_breaks_a_rule_is_refused_with_its_pointer() {
        check(
            r#"{"a": {"b": ["x", "\ud800"]}}"#,
            expect![[
                r#"- at /a/b/1: the string has `\ud800`, half of a surrogate pair, which is not a character: write the character itself, or both halves"#
            ]],
        );
        check(
            r#"{"a~/b": "\udc00\ud800"}"#,
            expect![[
                r#"- at /a~0~1b: the string has `\udc00`, half of a surrogate pair, which is not a character: write the character itself, or both halves"#
            ]],
        );
        check(
            r#"{"a": 1, "x\uD83Dy": 2}"#,
            expect![[
                r#"- at /x\uD83Dy: the string has `\uD83D`, half of a surrogate pair, which is not a character: write the character itself, or both halves"#
            ]],
        );
        check(
            r#"[1, {"n": -1E400}]"#,
            expect![
                "- at /1/n: the number `-1E400` is beyond the range of a double (about ±1.8e308): give it as a string"
            ],
        );
        check(
            r#"{"a": {"k": 1, "l": {}, "\u006b": 2}}"#,
            expect!["- at /a/k: the key `k` is given twice: keep one of the two"],
        );
        check(
            "{\n  \"a\": }",
            expect!["- not JSON: expected value at line 2 column 8"],
        );
        check(
            "",
            expect!["- not JSON: EOF while parsing a value at line 1 column 0"],
        );
        check(
            "[1] 2",
            expect!["- not JSON: trailing characters at line 1 column 5"],
        );
        check("NaN", expect!["- not JSON: expected value at line 1 column 1"]);
    }

    #[test]
    fn a_text_is_nested_as_deep_as_the_limit_and_no_deeper() {
        let nested = |depth: usize| {
            format!(
                r#"{{"a":{{"b":{}1{}}}}}"#,
                "[".repeat(depth - 2),
                "]".repeat(depth - 2)
            )
        };
        assert!(admit(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(
            admit(&nested(MAX_DEPTH + 1)).unwrap_err().to_string(),
            "at /a/b: nested deeper than 120 levels (json_depth)"
        );
        assert!(admit(&nested(1_000_000)).is_err());
        assert!(admit(&format!(r#"["\"{}"]"#, "{".repeat(500))).is_ok());
    }

    #[test]
    fn keys_are_compared_in_objects_with_many_of_them_too() {
        let keys = |last: usize| {
            let keys: Vec<String> = (0..100).chain([last]).map(|n| format!("\"k{n}\":{n}")).collect();
            format!("{{{}}}", keys.join(","))
        };
        assert!(admit(&keys(100)).is_ok());
        assert_eq!(admit(&keys(41)).unwrap_err().pointer, "/k41");
    }

    #[test]
    fn numbers_are_let_in_up_to_the_range_of_a_double() {
        for number in [
            "1.7976931348623157e308",
            "1e-400",
            "0e999999999999",
            &"9".repeat(308),
        ] {
            assert!(admit(number).is_ok(), "{number}");
        }
        for number in ["1e309", "-1e999999999999", &"9".repeat(310)] {
            assert!(admit(number).is_err(), "{number}");
        }
    }

    #[test]
    fn exponents_are_let_in_as_far_as_decimals_are_exact() {
        for number in [
            "1e-1000000000000",
            "0E1000000000000",
            "-1E-0000000000000000000000007",
        ] {
            assert!(admit(number).is_ok(), "{number}");
        }
        for number in [
            "0E99999999999999999999",
            "0e1000000000001",
            "1e-1000000000001",
            "1e-9223372036854775807",
            "-1.5E-99999999999999999999999",
        ] {
            let refused = admit(number).map_err(|error| error.to_string());
            assert_eq!(
                refused.unwrap_err(),
                format!("the number `{number}` has an exponent beyond 10^12: give it as a string")
            );
        }
    }
}
