//! Text from outside, made safe to show in a terminal or a log.
//!
//! Authors of graphs, plugins and clients write names, prompts, log lines and failures. Such text could move
//! the cursor, imitate lines of the program that shows it, or hide what it says. URLs can contain passwords.
//! All code that prints such text passes it through this crate. The crate never drops a character: it escapes
//! them.
//!
//! # Where to start
//! [`line`] for one line of text, [`json`] for JSON, [`redact`] for text that may contain URLs.
//!
//! # Example
//! ```
//! assert_eq!(heddle_display::line("one\ntwo \u{1b}[31mred"), "one\\ntwo \\u{1b}[31mred");
//! assert_eq!(heddle_display::redact("https://me:secret@host/"), "https://***@host/");
//! ```

use std::{borrow::Cow, fmt::Write};

/// The replacement of a secret.
const MASK: &str = "***";

/// Parameters of a URL whose values are secrets: their names contain one of these.
const SECRET_PARAMETERS: [&str; 10] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "credential",
    "signature",
];

/// Returns the text as one line without anything that a terminal would act on.
///
/// Line breaks become `\n`, tabs become spaces, and every other control character and every character that is invisible
/// or reorders text is written as an escape, as in `\u{1b}`. Nothing is left out.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(is_unsafe) {
        safe.push_str(&rest[..at]);
        rest = &rest[at..];
        let character = rest.chars().next().expect("something unsafe was found there");
        match character {
            '\t' => safe.push_str("    "),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            other => {
                write!(safe, "\\u{{{:x}}}", u32::from(other)).expect("writing to a string does not fail");
            }
        }
        rest = &rest[character.len_utf8()..];
    }
    safe.push_str(rest);
    Cow::Owned(safe)
}

/// Returns the lines of a text of several lines, each as [`line`] returns it.
pub fn lines(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    text.lines().map(line)
}

/// Returns equivalent JSON text without anything that a terminal would act on.
///
/// Unsafe characters in strings become `\u` escapes. Line breaks and tabs between values stay.
pub fn json(text: &str) -> Cow<'_, str> {
    // Strings cannot contain control characters up to U+001F, so those that occur are between values.
    let is_unsafe = |c: char| is_unsafe(c) && !matches!(c, '\n' | '\t' | '\r');
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if !is_unsafe(character) {
            safe.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            write!(safe, "\\u{unit:04x}").expect("writing to a string does not fail");
        }
    }
    Cow::Owned(safe)
}

/// Whether a terminal acts on the character, or a reader cannot see it.
fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Invisible: soft hyphen, zero-width space, word joiner and its like, byte-order mark, tags.
        | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'
        // Also invisible: joiners and fillers, formats of notations, and the selectors of variants that no emoji has.
        | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}' | '\u{ffa0}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0100}'..='\u{e01ef}'
        // Line and paragraph separators; marks, embeddings, overrides and isolates that reorder text.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}')
}

/// The first colour sequence of a text, with the text before and after it.
pub fn colour(text: &str) -> Option<(&str, &str, &str)> {
    let starts = text.match_indices(['\u{1b}', '\u{9b}']);
    let (at, len) = starts
        .filter_map(|(at, _)| Some((at, colour_len(&text[at..])?)))
        .next()?;
    Some((&text[..at], &text[at..at + len], &text[at + len..]))
}

/// The length of the colour sequence (ECMA-48, 8.3.117) that the text begins with.
fn colour_len(text: &str) -> Option<usize> {
    let parameters = text
        .strip_prefix("\u{1b}[")
        .or_else(|| text.strip_prefix('\u{9b}'))?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    let rest = parameters[end..].strip_prefix('m')?;
    Some(text.len() - rest.len())
}

/// Masks passwords, tokens and users in the URLs of a text: `https://me:secret@host/?token=x` becomes
/// `https://***@host/?token=***`.
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        redacted.push_str(before);
        let ends = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '`');
        let (url, after) = url.split_at(url.find(ends).unwrap_or(url.len()));
        redact_one(url, &mut redacted);
        rest = after;
    }
    redacted.push_str(rest);
    match redacted == text {
        true => Cow::Borrowed(text),
        false => Cow::Owned(redacted),
    }
}

/// Appends a URL, which is given without its scheme, with its secrets masked.
fn redact_one(url: &str, redacted: &mut String) {
    let mut rest = url;
    if let Some(at) = user_end(url) {
        redacted.push_str(MASK);
        rest = &url[at..];
    }
    let Some((path, query)) = rest.split_once('?') else {
        redacted.push_str(rest);
        return;
    };
    redacted.push_str(path);
    for (position, pair) in query.split('&').enumerate() {
        redacted.push(if position == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(MASK);
            }
            _ => redacted.push_str(pair),
        }
    }
}

/// The position of the `@` after the user in a URL, which is given without its scheme.
fn user_end(url: &str) -> Option<usize> {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if let Some(at) = authority.rfind('@') {
        return Some(at);
    }
    // A password with a `/`, `?` or `#` makes the URL invalid, and must be masked nevertheless: the text
    // before that character is not a port then.
    let (_, port) = authority.rsplit_once(':')?;
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) || authority.ends_with(']');
    match is_port {
        true => None,
        false => url.rfind('@'),
    }
}

fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    // A page token is not a secret, and is needed to continue a list.
    name != "page_token" && SECRET_PARAMETERS.iter().any(|secret| name.contains(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_and_moves_no_cursor() {
        for (text, shown) in [
            ("plain ünïcode 漢字 👩‍💻", "plain ünïcode 漢字 👩‍💻"),
            ("one\ntwo\r\nthree", "one\\ntwo\\r\\nthree"),
            ("a\tb", "a    b"),
            (
                "\u{1b}[31mred\u{1b}[0m and \u{9b}1;4mbold",
                "\\u{1b}[31mred\\u{1b}[0m and \\u{9b}1;4mbold",
            ),
            ("\u{1b}[2J\u{1b}[Hgone", "\\u{1b}[2J\\u{1b}[Hgone"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{1b}[31", "\\u{1b}[31"),
            ("\u{1b}", "\\u{1b}"),
            ("back\u{8}space\u{7f}\0", "back\\u{8}space\\u{7f}\\u{0}"),
            (
                "next\u{85}line\u{2028}and\u{2029}more",
                "next\\u{85}line\\u{2028}and\\u{2029}more",
            ),
            ("user\u{202e}nimda\u{2066}x", "user\\u{202e}nimda\\u{2066}x"),
            ("pay\u{200b}ment\u{feff}", "pay\\u{200b}ment\\u{feff}"),
            ("a\u{3164}b\u{e0142}c\u{180e}", "a\\u{3164}b\\u{e0142}c\\u{180e}"),
        ] {
            assert_eq!(line(text), shown, "{text:?}");
            assert_eq!(line(&line(text)), shown, "what is safe stays as it is: {text:?}");
        }
        assert_eq!(
            lines("a\nb\u{1b}\r\nc").collect::<Vec<_>>(),
            ["a", "b\\u{1b}", "c"]
        );
    }

    #[test]
    fn the_first_colour_sequence_is_found_with_the_text_around_it() {
        for (text, found) in [
            ("", None),
            ("plain", None),
            ("\u{1b}[2Jcleared\u{1b}[31", None),
            ("\u{1b}[m", Some(("", "\u{1b}[m", ""))),
            ("a\u{1b}[31mb\u{1b}[0mc", Some(("a", "\u{1b}[31m", "b\u{1b}[0mc"))),
            (
                "\u{1b}[2Jé\u{9b}1;4:3mb",
                Some(("\u{1b}[2Jé", "\u{9b}1;4:3m", "b")),
            ),
        ] {
            assert_eq!(colour(text), found, "{text:?}");
        }
    }

    #[test]
    fn json_means_the_same_and_moves_no_cursor() {
        let text = "{\n\t\"a\u{9b}2J\": \"\u{202e}x\u{7f}\", \"tag\": \"\u{e0041}\", \"b\": \"ü\\n\"}";
        let safe = json(text);
        assert!(
            !safe.contains(['\u{9b}', '\u{202e}', '\u{7f}', '\u{e0041}']),
            "{safe}"
        );
        let values = [text, &safe].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(values[0], values[1]);
        assert!(matches!(json(r#"{"a": "b"}"#), Cow::Borrowed(_)));
    }

    #[test]
    fn secrets_of_urls_are_masked_wherever_they_stand() {
        for (text, shown) in [
            ("no url here, a@b.org", "no url here, a@b.org"),
            ("http://127.0.0.1:8000/a?b=c", "http://127.0.0.1:8000/a?b=c"),
            ("(https://me:secret@host:1/x)", "(https://***@host:1/x)"),
            ("https://token@host", "https://***@host"),
            (
                "postgres://u:p@ss@host/db and redis://:pw@[::1]:6379",
                "postgres://***@host/db and redis://***@[::1]:6379",
            ),
            ("postgres://u:p/w@host/db", "postgres://***@host/db"),
            ("postgres://u:p#w?@host/db", "postgres://***@host/db"),
            (
                "oci://ghcr.io/acme/shout@sha256:ab",
                "oci://ghcr.io/acme/shout@sha256:ab",
            ),
            (
                "oci://localhost:5000/shout@sha256:ab",
                "oci://localhost:5000/shout@sha256:ab",
            ),
            (
                "oci://[::1]:5000/shout@sha256:ab",
                "oci://[::1]:5000/shout@sha256:ab",
            ),
            ("oci://me:pw@ghcr.io/a@sha256:ab", "oci://***@ghcr.io/a@sha256:ab"),
            (
                "\"https://h/?a=1&access_token=x&password=y\", ok",
                "\"https://h/?a=1&access_token=***&password=***\", ok",
            ),
            (
                "https://h/v1/runs?page_token=abc",
                "https://h/v1/runs?page_token=abc",
            ),
            ("https://h/@someone", "https://h/@someone"),
            ("://", "://"),
        ] {
            assert_eq!(redact(text), shown, "{text}");
        }
    }
}
