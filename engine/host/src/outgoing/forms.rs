//! The forms in which secrets are searched: verbatim, and in the encodings that servers commonly use.
//!
//! These are percent-encoding and the escapes of JSON and HTML as common libraries write them, hexadecimal digits, and
//! Base64. If a secret is in the middle of a Base64 text, its first and last characters depend on its neighbours; the
//! characters in between are searched, for each of the three possible alignments.

use std::{ops::Range, sync::Arc};

use memchr::memmem::Finder;

use crate::policy::Secret;

/// Shorter parts of Base64 would be found by chance.
const MIN_LEN: usize = 8;

/// The forms of some secrets.
#[derive(Clone)]
pub(super) struct SecretForms {
    finders: Arc<[Finder<'static>]>,
    longest: usize,
}

impl SecretForms {
    /// All forms of these secrets.
    pub(super) fn of(secrets: &[Secret]) -> Self {
        let mut forms: Vec<Vec<u8>> = secrets.iter().flat_map(|secret| forms(secret.bytes())).collect();
        forms.sort();
        forms.dedup();
        Self {
            longest: forms.iter().map(Vec::len).max().unwrap_or(1),
            finders: forms.iter().map(|form| Finder::new(form).into_owned()).collect(),
        }
    }

    /// Whether there are no forms.
    pub(super) fn is_empty(&self) -> bool {
        self.finders.is_empty()
    }

    /// The length of the longest form in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The forms in `text` that begin before `end`, in no particular order; they may overlap.
    pub(super) fn find(&self, text: &[u8], end: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        for finder in &*self.finders {
            let len = finder.needle().len();
            let within = &text[..text.len().min(end + len - 1)];
            let mut from = 0;
            while let Some(at) = finder.find(&within[from..]) {
                found.push(from + at..from + at + len);
                from += at + 1;
            }
        }
        found
    }

    /// Whether a form occurs in this text, whose letters are in lower case.
    pub(super) fn any_in_lower_case(&self, text: &[u8]) -> bool {
        let is_in = |finder: &Finder<'_>| {
            let form = finder.needle().to_ascii_lowercase();
            text.windows(form.len()).any(|part| part == form)
        };
        self.finders.iter().any(is_in)
    }
}

fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        secret.to_vec(),
        escaped(secret, |byte| percent(byte, false)),
        escaped(secret, |byte| percent(byte, true)),
        escaped(secret, |byte| match byte {
            b'"' | b'\\' => Some(format!("\\{}", char::from(byte))),
            _ => None,
        }),
        escaped(secret, |byte| match byte {
            b'"' | b'\\' | b'/' => Some(format!("\\{}", char::from(byte))),
            _ => None,
        }),
        escaped(secret, |byte| {
            let name = match byte {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                b'\'' => "&#39;",
                _ => return None,
            };
            Some(name.to_owned())
        }),
    ];
    for alphabet in [STANDARD, URL_SAFE] {
        forms.extend((0..3).map(|before| in_base64(secret, before, alphabet)));
    }
    forms.extend(other_forms(secret));
    forms.retain(|form| form.len() >= MIN_LEN);
    forms
}

/// Forms of certain libraries: of URLs, JSON and HTML, and hexadecimal digits.
fn other_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    // The characters that JavaScript's `encodeURIComponent`, HTML forms and others leave unchanged. A form writes a
    // space as `+`.
    for (kept, blank) in [
        (&b"-._~!*'()"[..], "%20"),
        (b"-._*", "+"),
        (b"-._~", "+"),
        (b"-._~/", "%20"),
    ] {
        forms.push(escaped(secret, |byte| match byte {
            b' ' => Some(blank.to_owned()),
            byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => None,
            byte => Some(format!("%{byte:02X}")),
        }));
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        // Escapes beyond those that JSON requires: none (JavaScript), all but ASCII (Python), and the special
        // characters of HTML (Go and .NET).
        for (special, only_ascii) in [("", false), ("", true), ("<>&", false), ("<>&'", false)] {
            for slash in ["", "/"] {
                let escape = |c: char| {
                    let is_special = special.contains(c) || only_ascii && !c.is_ascii() || c == '\u{7f}';
                    (is_special || c.is_ascii_control()).then(|| json_escape(c, false))
                };
                forms.push(json(text, slash, escape));
            }
        }
        forms.push(json(text, "", |c| {
            let is_special = !c.is_ascii() || c.is_ascii_control() || "\"&'+<>`".contains(c);
            is_special.then(|| json_escape(c, true))
        }));
        // The character references in HTML of Go, Python and others.
        for (quote, apostrophe) in [
            ("&#34;", "&#39;"),
            ("&quot;", "&#x27;"),
            ("&#34;", "&#x27;"),
            ("&quot;", "&#039;"),
        ] {
            forms.push(escaped(secret, |byte| {
                let name = match byte {
                    b'&' => "&amp;",
                    b'<' => "&lt;",
                    b'>' => "&gt;",
                    b'"' => quote,
                    b'\'' => apostrophe,
                    _ => return None,
                };
                Some(name.to_owned())
            }));
        }
    }
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(digits.to_ascii_uppercase().into_bytes());
    forms.push(digits.into_bytes());
    forms
}

/// A text in JSON: quotes, backslashes, the characters of `slash`, and those for which `escape` returns an escape.
fn json(text: &str, slash: &str, escape: impl Fn(char) -> Option<String>) -> Vec<u8> {
    let mut written = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match escape(c) {
            Some(escape) => written.push_str(&escape),
            None if matches!(c, '"' | '\\') || slash.contains(c) => written.extend(['\\', c]),
            None => written.push(c),
        }
    }
    written.into_bytes()
}

/// RFC 8259, 7.
fn json_escape(c: char, in_upper_case: bool) -> String {
    match c {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        c => {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            let escapes = units.iter().map(|unit| match in_upper_case {
                true => format!("\\u{unit:04X}"),
                false => format!("\\u{unit:04x}"),
            });
            escapes.collect()
        }
    }
}

fn escaped(secret: &[u8], escape: impl Fn(u8) -> Option<String>) -> Vec<u8> {
    let mut text = Vec::with_capacity(secret.len() + 16);
    for &byte in secret {
        match escape(byte) {
            Some(escape) => text.extend_from_slice(escape.as_bytes()),
            None => text.push(byte),
        }
    }
    text
}

/// RFC 3986, 2.1: everything but the unreserved characters.
fn percent(byte: u8, in_lower_case: bool) -> Option<String> {
    let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (!is_unreserved).then(|| match in_lower_case {
        true => format!("%{byte:02x}"),
        false => format!("%{byte:02X}"),
    })
}

/// RFC 4648, 4.
const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// RFC 4648, 5.
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The part of a secret's Base64 that depends on the secret alone, if `before` bytes (0 to 2) precede the secret in
/// its group of three.
fn in_base64(secret: &[u8], before: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |at: usize| {
        let byte = secret[at / 8];
        usize::from(byte >> (7 - at % 8) & 1)
    };
    // The first digit that has only bits of the secret.
    let first = (before * 8).div_ceil(6) * 6 - before * 8;
    let digits = (secret.len() * 8 - first) / 6;
    let digit = |digit: usize| {
        let bits = (0..6).map(|at| bit(first + digit * 6 + at));
        alphabet[bits.fold(0, |value, bit| value << 1 | bit)]
    };
    (0..digits).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(secret: &str, text: &str) -> bool {
        !SecretForms::of(&[Secret::of_test(secret)])
            .find(text.as_bytes(), text.len())
            .is_empty()
    }

    #[test]
    fn the_usual_ways_to_write_a_secret_are_found() {
        for text in [
            "sk/12+34=\"56&78",
            "sk%2F12%2B34%3D%2256%2678",
            "sk%2f12%2b34%3d%2256%2678",
            r#"sk/12+34=\"56&78"#,
            r#"sk\/12+34=\"56&78"#,
            "sk/12+34=&quot;56&amp;78",
        ] {
            assert!(finds("sk/12+34=\"56&78", text), "{text}");
        }
        assert!(!finds("sk/12+34=\"56&78", "sk/12+34=\"56&7"));
    }

    #[test]
    fn the_forms_of_common_libraries_are_found() {
        let secret = "pä s/<w>&'+\"0(!)\n";
        for text in [
            "p%C3%A4%20s%2F%3Cw%3E%26'%2B%220(!)%0A",
            "p%C3%A4+s%2F%3Cw%3E%26%27%2B%220%28%21%29%0A",
            "p%C3%A4%20s/%3Cw%3E%26%27%2B%220%28%21%29%0A",
            r#"pä s/<w>&'+\"0(!)\n"#,
            r#"pä s\/<w>&'+\"0(!)\n"#,
            r#"p\u00e4 s/<w>&'+\"0(!)\n"#,
            r#"pä s/\u003cw\u003e\u0026'+\"0(!)\n"#,
            r#"p\u00E4 s/\u003Cw\u003E\u0026\u0027\u002B\u00220(!)\n"#,
            "pä s/&lt;w&gt;&amp;&#39;+&#34;0(!)\n",
            "pä s/&lt;w&gt;&amp;&#x27;+&quot;0(!)\n",
            "70c3a420732f3c773e26272b22302821290a",
            "70C3A420732F3C773E26272B22302821290A",
        ] {
            assert!(finds(secret, text), "{text}");
        }
        assert!(finds("emoji 😀😀", r"emoji \ud83d\ude00\ud83d\ude00"));
        let plain = SecretForms::of(&[Secret::of_test("onlyletters123")]);
        assert_eq!(
            plain.finders.len(),
            6,
            "as it is, three in Base64 and two in hexadecimal digits"
        );
    }

    #[test]
    fn a_secret_is_found_in_base64_wherever_it_stands() {
        // After `me:`, `a:` and `my:`, as in Basic authentication.
        for text in [
            "bWU6Y29ycmVjdCBob3JzZQ==",
            "YTpjb3JyZWN0IGhvcnNl",
            "bXllOmNvcnJlY3QgaG9yc2UgYW5kIG1vcmU=",
        ] {
            assert!(finds("correct horse", text), "{text}");
        }
        assert!(!finds("correct horse", "YTpjb3JyZWN0IG1vdXNl"));
        // Both alphabets where they differ.
        assert_eq!(in_base64(b"\xff\xef\xfe", 0, STANDARD), b"/+/+");
        assert_eq!(in_base64(b"\xff\xef\xfe", 0, URL_SAFE), b"_-_-");
    }
}
