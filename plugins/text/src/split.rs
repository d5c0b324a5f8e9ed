//! Splits and joins texts.

use heddle_plugin::{prelude::*, serde_json::Number};

/// Where a text is split.
#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
enum At {
    /// At the ends of lines.
    #[default]
    Lines,
    /// At empty lines.
    Paragraphs,
    /// At blanks of any kind.
    Words,
}

/// A text to split.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Split {
    /// The text to split.
    text: String,
    /// Where to split the text, if there is no `separator`.
    at: Option<At>,
    /// The separator, such as `, `. It is not a pattern.
    separator: Option<String>,
    /// Whether blanks at the ends of each part are removed.
    #[serde(default)]
    trim: bool,
    /// Whether empty parts are kept.
    #[serde(default)]
    keep_empty: bool,
}

/// The parts of a text.
#[derive(Serialize, JsonSchema)]
struct Parts {
    /// The parts, in order.
    parts: Vec<String>,
}

/// Splits a text into its lines, paragraphs or words, or at a separator.
#[tool(read_only, idempotent)]
fn split(input: Split) -> Result<Parts> {
    let text = &input.text;
    let parts: Vec<&str> = match (&input.separator, input.at) {
        (Some(_), Some(_)) => return Err(Error::invalid_input("give one of `at` and `separator`, not both")),
        (Some(separator), None) if separator.is_empty() => {
            return Err(Error::invalid_input(
                "`separator` is empty, so there is no place to split at",
            ));
        }
        (Some(separator), None) => text.split(separator.as_str()).collect(),
        (None, at) => match at.unwrap_or_default() {
            At::Lines => text.lines().collect(),
            At::Paragraphs => paragraphs(text),
            At::Words => text.split_whitespace().collect(),
        },
    };
    let parts = parts
        .into_iter()
        .map(|part| if input.trim { part.trim() } else { part });
    let parts = parts.filter(|part| input.keep_empty || !part.is_empty());
    Ok(Parts {
        parts: parts.map(str::to_owned).collect(),
    })
}

/// The text between blank lines, without its last line end.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut start, mut at) = (None, 0);
    for line in text.split_inclusive('\n') {
        match (line.trim().is_empty(), start) {
            (true, Some(begun)) => {
                paragraphs.push(text[begun..at].trim_end());
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
        at += line.len();
    }
    paragraphs.extend(start.map(|begun| text[begun..].trim_end()));
    paragraphs
}

/// Texts to join.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Join {
    /// The parts, in order. Numbers and booleans are written as they are in JSON, and nulls are left out.
    parts: Vec<Part>,
    /// The separator between two parts.
    #[serde(default)]
    separator: String,
}

/// What can be a part of a text.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Part {
    /// A text, which is added unchanged.
    Text(String),
    /// A number, written as in JSON.
    Number(Number),
    /// A boolean, written as `true` or `false`.
    Boolean(bool),
    /// Null, which is left out together with its separator.
    Null(()),
}

/// The result of `join`.
#[derive(Serialize, JsonSchema)]
struct Text {
    /// All parts joined.
    text: String,
}

/// Joins parts into one text, with a separator between each two.
#[tool(read_only, idempotent)]
fn join(input: Join) -> Text {
    let written = |part| match part {
        Part::Text(text) => Some(text),
        Part::Number(number) => Some(number.to_string()),
        Part::Boolean(is) => Some(is.to_string()),
        Part::Null(()) => None,
    };
    let parts: Vec<String> = input.parts.into_iter().filter_map(written).collect();
    Text {
        text: parts.join(&input.separator),
    }
}

/// The input of `chunk`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Chunked {
    /// The text to split.
    text: String,
    /// The largest number of characters of a chunk.
    #[schemars(range(min = 1))]
    size: usize,
    /// The most characters of a chunk with which the next one begins; less than `size`.
    #[serde(default)]
    overlap: usize,
}

/// A part of a text.
#[derive(Serialize, JsonSchema)]
struct Chunk {
    /// The text of the chunk.
    text: String,
    /// Where it begins, in characters.
    start: usize,
    /// Where it ends, in characters: the position after its last character.
    end: usize,
}

/// The result of `chunk`.
#[derive(Serialize, JsonSchema)]
struct Chunks {
    /// The chunks, in order. Together they have every character of the text.
    chunks: Vec<Chunk>,
}

/// Cuts a text into chunks of at most so many characters, between paragraphs, sentences or words where it can.
#[tool(read_only, idempotent)]
fn chunk(input: Chunked) -> Result<Chunks> {
    let Chunked { text, size, overlap } = input;
    if size == 0 || overlap >= size {
        return Err(Error::invalid_input(
            "`size` is at least 1, and `overlap` is less than `size`",
        ));
    }
    let characters: Vec<char> = text.chars().collect();
    let mut chunks = Vec::new();
    let mut start = 0;
    while start < characters.len() {
        let end = match characters.len() - start <= size {
            true => characters.len(),
            // The overlap must leave the next chunk some new text.
            false => cut(
                &characters,
                (start + size / 2).max(start + overlap + 1),
                start + size,
            ),
        };
        chunks.push(Chunk {
            text: characters[start..end].iter().collect(),
            start,
            end,
        });
        if end == characters.len() {
            break;
        }
        start = begin(&characters, (start + 1).max(end - overlap), end);
    }
    Ok(Chunks { chunks })
}

/// Where to end a chunk, from `least` to `most`: as late as possible after a paragraph, else after a line, a sentence, a word.
fn cut(characters: &[char], least: usize, most: usize) -> usize {
    let before = |end: usize| characters[end - 1];
    let ends: [&dyn Fn(usize) -> bool; 4] = [
        &|end| end > 1 && before(end) == '\n' && characters[end - 2] == '\n',
        &|end| before(end) == '\n',
        &|end| end > 1 && before(end).is_whitespace() && matches!(characters[end - 2], '.' | '!' | '?' | '…'),
        &|end| before(end).is_whitespace(),
    ];
    let found = ends
        .iter()
        .find_map(|ends| (least..=most).rev().find(|&end| ends(end)));
    found.unwrap_or(most)
}

/// Where the next chunk begins, from `least` to `most`: at the beginning of a word, if there is one,
/// so that it does not begin in the midst of it.
fn begin(characters: &[char], least: usize, most: usize) -> usize {
    let is_start = |&at: &usize| !characters[at].is_whitespace() && characters[at - 1].is_whitespace();
    match (least..most).find(is_start) {
        Some(start) => start,
        // The end of a word alone is not worth repeating; a text without blanks has no better place.
        None if characters[least..most]
            .iter()
            .any(|character| character.is_whitespace()) =>
        {
            most
        }
        None => least,
    }
}
