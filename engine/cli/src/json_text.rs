//! Formats JSON for a terminal, with every number as the server wrote it.

use heddle_json::tokens::{Tree, unquote};
use serde_json::value::RawValue;

/// The length in characters at which a string is shortened.
const STRING_LEN: usize = 240;
/// How many items of a shortened list are shown.
const LIST_LEN: usize = 3;

/// How much of a value is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Everything is printed.
    Full,
    /// Long strings and lists are shortened. `--json` prints everything.
    Shortened,
}

/// A value as indented JSON.
pub(crate) fn pretty(value: &RawValue, detail: Detail) -> String {
    let mut out = String::new();
    match Tree::of(value) {
        Ok(tree) => write(&tree, detail, 0, &mut out),
        // Nested too deeply for indentation.
        Err(_) => out.push_str(value.get()),
    }
    out
}

/// A value in one line, with long strings and lists shortened.
pub(crate) fn one_line(value: &RawValue) -> String {
    let Ok(tree) = Tree::of(value) else {
        return value.get().to_owned();
    };
    let mut out = String::new();
    write_one_line(&tree, &mut out);
    out
}

fn write_one_line(value: &Tree<'_>, out: &mut String) {
    match value {
        Tree::Word(text) | Tree::Number(text) => out.push_str(text),
        Tree::String(text) => out.push_str(&string(text, Detail::Shortened)),
        Tree::List(items) => {
            out.push('[');
            for (at, item) in items.iter().take(LIST_LEN).enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_one_line(item, out);
            }
            if items.len() > LIST_LEN {
                out.push_str(&format!(",\"… {} more\"", items.len() - LIST_LEN));
            }
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(key);
                out.push(':');
                write_one_line(value, out);
            }
            out.push('}');
        }
    }
}

fn write(value: &Tree<'_>, detail: Detail, depth: usize, out: &mut String) {
    match value {
        Tree::Word(text) | Tree::Number(text) => out.push_str(text),
        Tree::String(text) => out.push_str(&string(text, detail)),
        Tree::List(items) if items.is_empty() => out.push_str("[]"),
        Tree::Object(members) if members.is_empty() => out.push_str("{}"),
        Tree::List(items) => {
            let shown = match detail {
                Detail::Full => items.len(),
                Detail::Shortened => items.len().min(LIST_LEN),
            };
            out.push('[');
            for (at, item) in items[..shown].iter().enumerate() {
                begin(at, depth + 1, out);
                write(item, detail, depth + 1, out);
            }
            if shown < items.len() {
                begin(shown, depth + 1, out);
                out.push_str(&format!("\"… {} more\"", items.len() - shown));
            }
            end(depth, out);
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (at, (key, value)) in members.iter().enumerate() {
                begin(at, depth + 1, out);
                out.push_str(key);
                out.push_str(": ");
                write(value, detail, depth + 1, out);
            }
            end(depth, out);
            out.push('}');
        }
    }
}

fn begin(at: usize, depth: usize, out: &mut String) {
    if at > 0 {
        out.push(',');
    }
    end(depth, out);
}

fn end(depth: usize, out: &mut String) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

fn string(text: &str, detail: Detail) -> String {
    let cut = unquote(text)
        .filter(|_| detail == Detail::Shortened)
        .and_then(|plain| {
            let (end, _) = plain.char_indices().nth(STRING_LEN)?;
            Some(format!("{}… ({} bytes)", &plain[..end], plain.len()))
        });
    match cut {
        Some(cut) => serde_json::Value::String(cut).to_string(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_value_is_indented_and_its_numbers_are_unchanged() {
        let text = r#"{"n":123456789012345678901,"l":[1.50,[],{},3,4],"s":"a\"\u00e9"}"#;
        let raw: &RawValue = serde_json::from_str(text).expect("JSON");
        expect![[r#"
            {
              "n": 123456789012345678901,
              "l": [
                1.50,
                [],
                {},
                "… 2 more"
              ],
              "s": "a\"\u00e9"
            }"#]]
        .assert_eq(&pretty(raw, Detail::Shortened));
        assert!(pretty(raw, Detail::Full).contains("    4\n  ],"));
        expect![[r#"{"n":123456789012345678901,"l":[1.50,[],{},"… 2 more"],"s":"a\"\u00e9"}"#]]
            .assert_eq(&one_line(raw));
    }

    #[test]
    fn a_long_string_is_shortened() {
        let text = format!("\"{}\"", "é".repeat(300));
        let raw: &RawValue = serde_json::from_str(&text).expect("JSON");
        let cut = pretty(raw, Detail::Shortened);
        assert!(cut.ends_with("é… (600 bytes)\""), "{cut}");
        assert_eq!(pretty(raw, Detail::Full), text);
    }
}
