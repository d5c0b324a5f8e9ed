//! Counts and shortens texts, and changes their case.

use std::sync::LazyLock;

use heddle_plugin::prelude::*;
use regex::Regex;

/// The input of `size`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Counted {
    /// The text to measure.
    text: String,
}

/// The size of a text.
#[derive(Serialize, JsonSchema)]
struct Counts {
    /// The number of characters (Unicode scalar values).
    characters: usize,
    /// Its words: the parts between blanks.
    words: usize,
    /// Its lines; a line end at the end of the text does not begin another line.
    lines: usize,
    /// Its bytes in UTF-8.
    bytes: usize,
}

/// Counts the characters, words, lines and bytes of a text.
#[tool(read_only, idempotent)]
fn size(input: Counted) -> Counts {
    let text = &input.text;
    Counts {
        characters: text.chars().count(),
        words: text.split_whitespace().count(),
        lines: text.lines().count(),
        bytes: text.len(),
    }
}

/// The input of `truncate`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Truncate {
    /// The text to shorten.
    text: String,
    /// The most characters of the result, including the `ellipsis`.
    characters: usize,
    /// The mark for omitted text.
    #[serde(default = "ellipsis")]
    ellipsis: String,
    /// Whether words are kept whole or left out, if that leaves any text.
    #[serde(default)]
    whole_words: bool,
}

fn ellipsis() -> String {
    "…".to_owned()
}

/// A text that may have been shortened.
#[derive(Serialize, JsonSchema)]
struct Truncated {
    /// The text, shortened if it was too long.
    text: String,
    /// Whether something was left out.
    truncated: bool,
}

/// A character with its combining marks and emoji joiners. Two regional indicators are a flag.
static CLUSTER: LazyLock<Regex> = LazyLock::new(|| {
    let flag = "[\u{1f1e6}-\u{1f1ff}]{2}";
    let more = "[\\p{M}\u{200d}\u{1f3fb}-\u{1f3ff}]|\u{200d}\\P{M}";
    Regex::new(&format!(r"(?s)\r\n|(?:{flag}|.)(?:\u{{200d}}\P{{M}}|{more})*")).expect("the pattern is one")
});

/// Shortens a text to a number of characters, without separating a character from its combining marks.
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

/// The input of `tidy`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tidied {
    /// The text to tidy.
    text: String,
    /// Whether blanks at its ends are removed.
    #[serde(default = "yes")]
    trim: bool,
    /// Whether each run of blanks, including line ends, becomes one space.
    #[serde(default)]
    collapse: bool,
    /// The case to write it in. Default: unchanged.
    case: Option<To>,
}

fn yes() -> bool {
    true
}

/// The result of `tidy`.
#[derive(Serialize, JsonSchema)]
struct Tidy {
    /// The tidied text.
    text: String,
}

/// Removes blanks from a text, and changes its case.
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
