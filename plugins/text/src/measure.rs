//! Texts counted, shortened, and written in another case.

use std::sync::LazyLock;

use heddle_plugin::prelude::*;
use regex::Regex;

/// A text.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Counted {
    /// The text.
    text: String,
}

/// What a text has.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// Its characters.
    characters: usize,
    /// What stands between blanks.
    words: usize,
    /// Its lines; an end of line at the end begins no other.
    lines: usize,
    /// Its bytes in UTF-8.
    bytes: usize,
}

/// Counts the characters, words, lines and bytes of a text.
#[tool(read_only, idempotent)]
fn count(input: Counted) -> Counts {
    let text = &input.text;
    Counts {
        characters: text.chars().count(),
        words: text.split_whitespace().count(),
        lines: text.lines().count(),
        bytes: text.len(),
    }
}

/// A text to shorten.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Truncate {
    /// The text.
    text: String,
    /// How many characters it may have, with the `ellipsis`.
    characters: usize,
    /// What says that something is left out.
    #[serde(default = "ellipsis")]
    ellipsis: String,
    /// Whether a word is kept whole or left out, where that leaves anything.
    #[serde(default)]
    whole_words: bool,
}

fn ellipsis() -> String {
    "…".to_owned()
}

/// A text that may have been shortened.
#[derive(Serialize, JsonSchema)]
struct Truncated {
    /// The text.
    text: String,
    /// Whether something was left out.
    truncated: bool,
}

/// A character with all that is written onto it: marks, and what joins emoji into one. Two letters for a region are a flag.
static CLUSTER: LazyLock<Regex> = LazyLock::new(|| {
    let flag = "[\u{1f1e6}-\u{1f1ff}]{2}";
    let more = "[\\p{M}\u{200d}\u{1f3fb}-\u{1f3ff}]|\u{200d}\\P{M}";
    Regex::new(&format!(r"(?s)\r\n|(?:{flag}|.)(?:\u{{200d}}\P{{M}}|{more})*")).expect("the pattern is one")
});

/// Shortens a text to so many characters, without taking one apart from its marks.
#[tool(read_only, idempotent)]
fn truncate(input: Truncate) -> Result<Truncated> {
    let text = input.text;
    let Some((limit, _)) = text.char_indices().nth(input.characters) else {
        return Ok(Truncated {
            text,
            truncated: false,
        });
    };
    let room = input.characters.checked_sub(input.ellipsis.chars().count());
    let Some(room) = room else {
        return Err(Error::invalid_input(
            "`characters` leaves no room for the `ellipsis`",
        ));
    };
    let most = text.char_indices().nth(room).map_or(limit, |(at, _)| at);
    let whole = CLUSTER.find_iter(&text).map(|cluster| cluster.end());
    let mut end = whole.take_while(|end| *end <= most).last().unwrap_or(0);
    let is_inside = |end: usize| {
        let blank = |character: Option<char>| character.is_none_or(char::is_whitespace);
        !blank(text[..end].chars().next_back()) && !blank(text[end..].chars().next())
    };
    if input.whole_words && is_inside(end) {
        end = text[..end].rfind(char::is_whitespace).unwrap_or(end);
    }
    Ok(Truncated {
        text: text[..end].trim_end().to_owned() + &input.ellipsis,
        truncated: true,
    })
}

/// A case to write a text in.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum To {
    /// ALL IN CAPITALS.
    Upper,
    /// none in capitals.
    Lower,
    /// The First Letter Of Each Word In Capitals.
    Title,
}

/// A text to tidy.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tidied {
    /// The text.
    text: String,
    /// Whether blanks at its ends are taken away.
    #[serde(default = "yes")]
    trim: bool,
    /// Whether blanks in it become one space each, ends of lines among them.
    #[serde(default)]
    collapse: bool,
    /// The case to write it in; else it keeps its own.
    case: Option<To>,
}

fn yes() -> bool {
    true
}

/// A text.
#[derive(Serialize, JsonSchema)]
struct Tidy {
    /// The whole text.
    text: String,
}

/// Takes blanks away, and writes a text in upper, lower or title case.
#[tool(read_only, idempotent)]
fn tidy(input: Tidied) -> Tidy {
    let mut text = input.text;
    if input.trim {
        text = text.trim().to_owned();
    }
    if input.collapse {
        text = collapse(&text);
    }
    let text = match input.case {
        Some(To::Upper) => text.to_uppercase(),
        Some(To::Lower) => text.to_lowercase(),
        Some(To::Title) => title(&text),
        None => text,
    };
    Tidy { text }
}

fn collapse(text: &str) -> String {
    let mut collapsed = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_whitespace() {
            false => collapsed.push(character),
            true if !collapsed.ends_with(' ') => collapsed.push(' '),
            true => {}
        }
    }
    collapsed
}

fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut is_inside = false;
    for character in text.chars() {
        match is_inside {
            true => titled.extend(character.to_lowercase()),
            false => titled.extend(character.to_uppercase()),
        }
        is_inside = character.is_alphanumeric() || (is_inside && matches!(character, '\'' | '’'));
    }
    titled
}
