//! Splits a text into parts of about the same size, at headings, paragraphs or sentences.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sentences::{one_line, paragraphs, sentences};

/// A part of the text, as a range of bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// The index of its first byte.
    pub start: usize,
    /// The index after its last byte.
    pub end: usize,
}

/// The parts of a text, each of at most so many characters where sentences allow it. A heading begins
/// a part; a paragraph is divided only if it alone is too long.
pub fn split(text: &str, size: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut fresh = true;
    let mut add = |range: Range<usize>, fresh: &mut bool| {
        match parts.last_mut() {
            Some(last) if !*fresh && text[last.start..range.end].chars().count() <= size => {
                last.end = range.end
            }
            _ => parts.push(Part {
                start: range.start,
                end: range.end,
            }),
        }
        *fresh = false;
    };
    for paragraph in paragraphs(text) {
        if paragraph.heading {
            fresh = true;
            continue;
        }
        let Range { start, .. } = paragraph.range;
        let slice = &text[paragraph.range.clone()];
        if slice.chars().count() <= size {
            add(paragraph.range, &mut fresh);
        } else {
            for sentence in sentences(slice) {
                add(start + sentence.start..start + sentence.end, &mut fresh);
            }
        }
    }
    parts
}

/// All sentences of a text in their order, each in one line.
pub fn sentences_of(text: &str) -> Vec<String> {
    let bodies = paragraphs(text)
        .into_iter()
        .filter(|paragraph| !paragraph.heading);
    bodies
        .flat_map(|paragraph| {
            let slice = &text[paragraph.range];
            sentences(slice)
                .into_iter()
                .map(|range| one_line(&slice[range]))
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(text: &str, size: usize) -> Vec<&str> {
        split(text, size)
            .into_iter()
            .map(|part| &text[part.start..part.end])
            .collect()
    }

    #[test]
    fn parts_are_filled_paragraph_by_paragraph_and_begin_at_headings() {
        let text = "One is.\n\nTwo is.\n\nThree is.\n\nA HEADING\n\nFour is.\n";
        assert_eq!(slices(text, 16), ["One is.\n\nTwo is.", "Three is.", "Four is."]);
    }

    #[test]
    fn a_long_paragraph_is_divided_between_its_sentences() {
        assert_eq!(
            slices("Óne is. Two is. Three is here.", 15),
            ["Óne is. Two is.", "Three is here."]
        );
    }
}
