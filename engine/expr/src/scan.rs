//! Checks an expression's text before it is parsed.
//!
//! It finds the errors that the parser explains badly (an unterminated string, an unmatched bracket, `=` for
//! `==`) and limits nesting, so that neither the parser nor the code that walks its tree can overflow the
//! stack. So it must split a text into exactly the tokens of the parser's lexer: a bracket that it takes for a part
//! of a string or a name is not counted.

use heddle_json::decimal::Decimal;

/// The depth of brackets. The parser uses up to 16 KiB of stack for each level.
pub const MAX_NESTING: usize = 32;

/// The number of operators, selections and calls that may depend on each other. The parser and the code that
/// walks its tree use about 1 KiB of stack for each. `&&` and `||` are balanced and do not count.
pub const MAX_CHAIN: usize = 256;

/// The number of significant digits that is enough to write any double.
const DOUBLE_DIGITS: usize = 17;

/// An error at a byte of the text.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: String,
}

fn fault<T>(at: usize, message: impl Into<String>) -> Result<T, Fault> {
    let message = message.into();
    Err(Fault { at, message })
}

/// An open bracket, with the chain inside of it.
struct Open {
    at: usize,
    bracket: u8,
    /// The operators since the last comma, `&&`, `||`, `?` or `:`.
    chain: usize,
    /// The number of `?` since the last comma: each contains the next one in its last part.
    choices: usize,
}

/// What [`check`] found in a text without errors.
pub(super) struct Scanned {
    /// The first number whose digits a double loses.
    pub(super) lost: Option<Fault>,
    /// How many expressions contain the innermost one: one for each open bracket, and one for each `?` before it.
    pub(super) depth: usize,
}

/// Checks a text up to its first error.
pub(super) fn check(source: &str) -> Result<Scanned, Fault> {
    let bytes = source.as_bytes();
    let mut open = vec![Open {
        at: 0,
        bracket: 0,
        chain: 0,
        choices: 0,
    }];
    let (mut lost, mut depth) = (None, 0);
    let mut at = 0;
    while at < bytes.len() {
        let next = bytes.get(at + 1).copied().unwrap_or(0);
        let mut len = 1;
        let top = open.last_mut().expect("the whole text is never closed");
        match bytes[at] {
            b'/' if next == b'/' => len = source[at..].find('\n').unwrap_or(source.len() - at),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                len = word_len(&bytes[at..]);
                let word = &source[at..at + len];
                let quoted = matches!(bytes.get(at + len), Some(b'"' | b'\''));
                match word.as_bytes() {
                    [b'r' | b'R'] | [b'b' | b'B', b'r' | b'R'] if quoted => {
                        len += string_len(source, at + len, true)?;
                    }
                    b"in" => top.chain += 1,
                    _ => {}
                }
            }
            b'"' | b'\'' => len = string_len(source, at, false)?,
            b'`' => len = escaped_name_len(source, at)?,
            bracket @ (b'(' | b'[' | b'{') => {
                top.chain += 1;
                if open.len() > MAX_NESTING {
                    return fault(
                        at,
                        format!(
                            "brackets are nested more than {MAX_NESTING} deep; move parts to separate nodes"
                        ),
                    );
                }
                open.push(Open {
                    at,
                    bracket,
                    chain: 0,
                    choices: 0,
                });
            }
            bracket @ (b')' | b']' | b'}') => {
                if partner(top.bracket) != bracket {
                    return Err(mismatched(top, at, bracket));
                }
                open.pop();
            }
            b',' => (top.chain, top.choices) = (0, 0),
            b'?' => (top.chain, top.choices) = (0, top.choices + 1),
            b':' => top.chain = 0,
            b'&' | b'|' if next == bytes[at] => (len, top.chain) = (2, 0),
            b'=' | b'!' | b'<' | b'>' if next == b'=' => {
                if bytes.get(at + 2) == Some(&b'=') {
                    return fault(at, "CEL compares with `==` and `!=`, not with three signs");
                }
                (len, top.chain) = (2, top.chain + 1);
            }
            b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' => top.chain += 1,
            b'0'..=b'9' => {
                let fraction = source[..at].ends_with('.');
                len = number_len(&bytes[at..], fraction);
                let text = &source[at - usize::from(fraction)..at + len];
                if lost.is_none() && loses_digits(text) {
                    let message = format!(
                        "the number {text} has more digits than a double holds: write it with at most {DOUBLE_DIGITS}"
                    );
                    let at = at - usize::from(fraction);
                    lost = Some(Fault { at, message });
                }
            }
            b'!' | b' ' | b'\t' | b'\r' | b'\n' | 0x0c => {}
            _ => return Err(unknown_character(source, at)),
        }
        let choices: usize = open.iter().map(|open| open.choices).sum();
        depth = depth.max(open.len() - 1 + choices);
        if open.iter().map(|open| open.chain).sum::<usize>() + choices > MAX_CHAIN {
            return fault(
                at,
                format!(
                    "more than {MAX_CHAIN} operators depend on one another; move parts to separate nodes"
                ),
            );
        }
        at += len;
    }
    match open.pop() {
        Some(Open { at, bracket, .. }) if bracket != 0 => {
            fault(at, format!("this `{}` is never closed", char::from(bracket)))
        }
        _ => Ok(Scanned { lost, depth }),
    }
}

/// The length of the number that starts with these digits. A fraction's digits follow a point that no digit precedes.
fn number_len(bytes: &[u8], fraction: bool) -> usize {
    let unsigned = |len: usize| len + usize::from(matches!(bytes.get(len), Some(b'u' | b'U')));
    if !fraction && let Some(hex) = bytes.strip_prefix(b"0x") {
        let len = hex.iter().take_while(|c| c.is_ascii_hexdigit()).count();
        return if len == 0 { 1 } else { unsigned(2 + len) };
    }
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().take_while(|c| c.is_ascii_digit()).count()
    };
    let whole = digits(0);
    let mut len = whole;
    if !fraction && bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
        len += 1 + digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(len + 1 + sign);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    if fraction || len > whole {
        len
    } else {
        unsigned(len)
    }
}

/// Whether a number has so many digits that its double has another value.
fn loses_digits(text: &str) -> bool {
    if !text.contains(['.', 'e', 'E']) || text.starts_with("0x") {
        return false;
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if digits.trim_matches('0').len() <= DOUBLE_DIGITS {
        return false;
    }
    let text = format!("0{text}");
    // A whole number that equals its double may be written with all of its digits.
    let whole = text.parse::<f64>().ok().filter(|double| double.fract() == 0.0);
    let whole = whole.and_then(|double| Decimal::parse(&format!("{double:.0}")));
    Decimal::faithful_double(&text).is_none()
        && whole.is_none_or(|whole| Decimal::parse(&text) != Some(whole))
}

fn partner(bracket: u8) -> u8 {
    match bracket {
        b'(' => b')',
        b'[' => b']',
        b'{' => b'}',
        _ => 0,
    }
}

fn mismatched(top: &Open, at: usize, bracket: u8) -> Fault {
    let bracket = char::from(bracket);
    let message = match top.bracket {
        0 => format!("this `{bracket}` closes nothing"),
        opened => {
            let (opened, partner) = (char::from(opened), char::from(partner(opened)));
            format!("this `{bracket}` does not close the `{opened}` before it: `{partner}` is expected")
        }
    };
    Fault { at, message }
}

fn unknown_character(source: &str, at: usize) -> Fault {
    let found = source[at..].chars().next().unwrap_or(' ');
    let hint = match found {
        '=' => "`=` is not an operator; values are compared with `==`".into(),
        '&' => "`&` is not an operator; both conditions must hold with `&&`".into(),
        '|' => "`|` is not an operator; one of two conditions must hold with `||`".into(),
        '“' | '”' | '‘' | '’' => format!("strings stand in plain quotes, not in {found}"),
        '$' => "variables are named without `$`".into(),
        found if found.is_alphanumeric() => format!(
            "`{found}` cannot stand in a name, whose letters are a to z; a key with it is read as state[\"{found}…\"]"
        ),
        found if found.is_control() => {
            format!("the character {} has no meaning here", found.escape_unicode())
        }
        found => format!("`{found}` has no meaning here"),
    };
    Fault { at, message: hint }
}

fn word_len(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|c| !c.is_ascii_alphanumeric() && *c != b'_')
        .unwrap_or(bytes.len())
}

/// The length of the name in backticks that starts at `start`.
fn escaped_name_len(source: &str, start: usize) -> Result<usize, Fault> {
    let name = &source[start + 1..];
    let Some(len) = name.find('`') else {
        return fault(start, "this ` has no end");
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
    match name[..len].char_indices().find(|(_, c)| !known(*c)) {
        None if len == 0 => fault(start, "there is no name between these backticks"),
        None => Ok(len + 2),
        Some((at, _)) => fault(
            start + 1 + at,
            "a name in backticks has only letters from a to z, digits, `_`, `.`, `-`, `/` and spaces; a key with other \
             characters is read as state[\"…\"]",
        ),
    }
}

/// The length of the string that starts with the quote at `start`.
fn string_len(source: &str, start: usize, raw: bool) -> Result<usize, Fault> {
    let bytes = source.as_bytes();
    let quote = bytes[start];
    let triple = bytes[start..].starts_with(&[quote; 3]);
    let width = if triple { 3 } else { 1 };
    let mut at = start + width;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if !raw => at += escape_len(source, at)?,
            b'\n' | b'\r' if !triple => break,
            c if c == quote && (!triple || bytes[at..].starts_with(&[quote; 3])) => {
                return Ok(at + width - start);
            }
            _ => at += 1,
        }
    }
    let quotes = &source[start..start + width];
    fault(start, format!("this string has no end: its {quotes} is missing"))
}

/// The length of the escape that starts with the backslash at `at`.
fn escape_len(source: &str, at: usize) -> Result<usize, Fault> {
    let bytes = &source.as_bytes()[at + 1..];
    let digits =
        |len: usize, known: fn(&u8) -> bool| bytes.len() > len && bytes[1..=len].iter().all(known) && len > 0;
    let hex = |len| digits(len, u8::is_ascii_hexdigit);
    match bytes.first() {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => Ok(2),
        Some(b'x' | b'X') if hex(2) => Ok(4),
        Some(b'u') if hex(4) => character(source, at, 6),
        Some(b'U') if hex(8) => character(source, at, 10),
        Some(b'0'..=b'3') if digits(2, |c| matches!(c, b'0'..=b'7')) => Ok(4),
        _ => fault(
            at,
            "this is not an escape; a backslash itself is written \\\\, or the string as r\"…\"",
        ),
    }
}

/// The length of an escape with the number of a character.
fn character(source: &str, at: usize, len: usize) -> Result<usize, Fault> {
    let escape = &source[at..at + len];
    match u32::from_str_radix(&escape[2..], 16).map(char::from_u32) {
        Ok(Some(_)) => Ok(len),
        _ => fault(
            at,
            format!(
                "`{escape}` is not a character: surrogates have no escapes here, and the last one is `\\U0010FFFF`"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_ends_at_the_first_character_that_does_not_belong_to_it() {
        for (text, len) in [
            ("7", 1),
            ("120+3", 3),
            ("12.50)", 5),
            ("1.", 1),
            ("1.a", 1),
            ("1..2", 1),
            ("1e5]", 3),
            ("1E12", 4),
            ("1e+5x", 4),
            ("1.25e-10,", 8),
            ("1e", 1),
            ("1e+", 1),
            ("1.5em", 3),
            ("1u", 2),
            ("1U\"", 2),
            ("1.5u", 3),
            ("1e5u", 3),
            ("0x1bR", 4),
            ("0xFFu", 5),
            ("0x", 1),
            ("0xg", 1),
        ] {
            assert_eq!(number_len(text.as_bytes(), false), len, "{text}");
        }
        for (text, len) in [("5", 1), ("5.5", 1), ("5e3", 3), ("5u", 1), ("0x1", 1)] {
            assert_eq!(number_len(text.as_bytes(), true), len, "after a point: {text}");
        }
    }

    #[test]
    fn an_escape_has_all_of_its_digits() {
        for (text, len) in [
            ("\\n", 2),
            ("\\`", 2),
            ("\\x4a", 4),
            ("\\X4Af", 4),
            ("\\u00e9", 6),
            ("\\U0001f600", 10),
            ("\\101", 4),
            ("\\3777", 4),
        ] {
            assert_eq!(escape_len(text, 0).ok(), Some(len), "{text}");
            let later = format!("ab{text}");
            assert_eq!(escape_len(&later, 2).ok(), Some(len), "{later}");
        }
        for text in [
            "\\",
            "\\q",
            "\\x4",
            "\\x4g",
            "\\u00e",
            "\\u00eg",
            "\\U0001f60",
            "\\U0001f60g",
            "\\10",
            "\\108",
            "\\401",
            "\\ud800",
            "\\uDFFF",
            "\\U0000d800",
            "\\U00110000",
        ] {
            let at = escape_len(&format!("a{text}"), 1).map_err(|fault| fault.at);
            assert_eq!(at.err(), Some(1), "{text}");
        }
    }
}
