//! JSON as it is shown on a terminal: in several lines, with every number as the server wrote it.

use heddle_json::tokens::{Tree, unquote};
use serde_json::value::RawValue;

/// How long a string may be before it is cut, in characters.
const STRING_LEN: usize = 240;
/// How many items of a list are shown where it is cut.
const LIST_LEN: usize = 3;

/// How much of a value is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Much {
    /// All of it.
    All,
    /// Long strings and lists are cut, so that a terminal can show it. The API has the whole.
    Cut,
}

/// A value in several lines.
pub(crate) fn pretty(value: &RawValue, much: Much) -> String {
    let mut out = String::new();
    match Tree::of(value) {
        Ok(tree) => write(&tree, much, 0, &mut out),
        // It is too deep to be laid out.
        Err(_) => out.push_str(value.get()),
    }
    out
}

/// A value in one line, with long strings and lists cut.
pub(crate) fn brief(value: &RawValue) -> String {
    let Ok(tree) = Tree::of(value) else {
        return value.get().to_owned();
    };
    let mut out = String::new();
    write_brief(&tree, &mut out);
    out
}

fn write_brief(value: &Tree<'_>, out: &mut String) {
    match value {
        Tree::Word(text) | Tree::Number(text) => out.push_str(text),
        Tree::String(text) => out.push_str(&string(text, Much::Cut)),
        Tree::List(items) => {
            out.push('[');
            for (at, item) in items.iter().take(LIST_LEN).enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_brief(item, out);
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
                write_brief(value, out);
            }
            out.push('}');
        }
    }
}

fn write(value: &Tree<'_>, much: Much, depth: usize, out: &mut String) {
    match value {
        Tree::Word(text) | Tree::Number(text) => out.push_str(text),
        Tree::String(text) => out.push_str(&string(text, much)),
        Tree::List(items) if items.is_empty() => out.push_str("[]"),
        Tree::Object(members) if members.is_empty() => out.push_str("{}"),
        Tree::List(items) => {
            let shown = match much {
                Much::All => items.len(),
                Much::Cut => items.len().min(LIST_LEN),
            };
            out.push('[');
            for (at, item) in items[..shown].iter().enumerate() {
                begin(at, depth + 1, out);
                write(item, much, depth + 1, out);
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
                write(value, much, depth + 1, out);
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

fn string(text: &str, much: Much) -> String {
    let cut = unquote(text).filter(|_| much == Much::Cut).and_then(|plain| {
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
    fn a_value_is_laid_out_with_its_numbers_as_they_are() {
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
        .assert_eq(&pretty(raw, Much::Cut));
        assert!(pretty(raw, Much::All).contains("    4\n  ],"));
        expect![[r#"{"n":123456789012345678901,"l":[1.50,[],{},"… 2 more"],"s":"a\"\u00e9"}"#]]
            .assert_eq(&brief(raw));
    }

    #[test]
    fn a_long_string_is_cut() {
        let text = format!("\"{}\"", "é".repeat(300));
        let raw: &RawValue = serde_json::from_str(&text).expect("JSON");
        let cut = pretty(raw, Much::Cut);
        assert!(cut.ends_with("é… (600 bytes)\""), "{cut}");
        assert_eq!(pretty(raw, Much::All), text);
    }
}
