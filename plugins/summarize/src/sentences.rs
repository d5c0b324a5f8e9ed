//! Finds the sentences of a text.
//!
//! A sentence ends at `.`, `!` or `?` with what closes behind it, if a blank follows and then something
//! that can begin a sentence: a capital, a digit, or an opening mark before one. An abbreviation's full stop
//! and an initial's end none. The end of a paragraph ends a sentence, too; a heading is none.

use std::ops::Range;

/// The longest line that may be a heading, in characters.
const LONGEST_HEADING: usize = 80;

/// Words whose full stop does not end a sentence.
const ABBREVIATIONS: [&str; 22] = [
    "mr", "mrs", "ms", "dr", "st", "prof", "rev", "hon", "sr", "jr", "vs", "etc", "e.g", "i.e", "cf", "fig",
    "no", "vol", "pp", "ch", "capt", "gen",
];

/// A paragraph of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Paragraph {
    /// Its bytes in the text, without blanks around it.
    pub range: Range<usize>,
    /// Whether it is a heading: one short line without a mark at its end.
    pub heading: bool,
}

/// The paragraphs of a text: what blank lines separate, if there is a letter in it.
pub fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut paragraphs = Vec::new();
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive('\n').chain([""]) {
        if line.trim().is_empty() {
            if let Some(start) = start.take() {
                paragraphs.extend(paragraph(text, start..at));
            }
        } else {
            start = start.or(Some(at));
        }
        at += line.len();
    }
    paragraphs
}

fn paragraph(text: &str, range: Range<usize>) -> Option<Paragraph> {
    let slice = &text[range.clone()];
    let start = range.start + slice.len() - slice.trim_start().len();
    let slice = slice.trim();
    let last = slice.trim_end_matches(is_closing).chars().last();
    let marked =
        last.is_some_and(|letter| matches!(letter, '.' | '!' | '?' | ':' | ';' | ',' | '…' | '-' | '—'));
    let heading = !marked && !slice.contains('\n') && slice.chars().count() <= LONGEST_HEADING;
    let says_something = slice.chars().any(char::is_alphabetic);
    says_something.then_some(Paragraph {
        range: start..start + slice.len(),
        heading,
    })
}

/// The sentences of one paragraph, by their bytes in it.
pub fn sentences(paragraph: &str) -> Vec<Range<usize>> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut letters = paragraph.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if !matches!(letter, '.' | '!' | '?')
            || letters
                .peek()
                .is_some_and(|(_, next)| matches!(next, '.' | '!' | '?'))
        {
            continue;
        }
        let rest = &paragraph[at + letter.len_utf8()..];
        let behind = rest.trim_start_matches(is_closing);
        let end = paragraph.len() - behind.len();
        let next = behind.trim_start();
        let begins = next
            .trim_start_matches(is_opening)
            .starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
        let apart = behind.len() > next.len();
        if apart && begins && !(letter == '.' && is_abbreviation(&paragraph[start..at])) {
            sentences.push(start..end);
            start = paragraph.len() - next.len();
        }
    }
    if !paragraph[start..].trim().is_empty() {
        sentences.push(start..start + paragraph[start..].trim_end().len());
    }
    sentences
}

/// A sentence in one line: blanks are single, and a word that was divided at its hyphen is whole again.
pub fn one_line(sentence: &str) -> String {
    let mut line = String::with_capacity(sentence.len());
    let mut lines = sentence.lines().peekable();
    while let Some(part) = lines.next() {
        let words: Vec<_> = part.split_whitespace().collect();
        line.push_str(&words.join(" "));
        let divided = line.ends_with('-') && !line.ends_with("--");
        if lines.peek().is_some() && !divided && !line.is_empty() {
            line.push(' ');
        }
    }
    line
}

fn is_closing(letter: char) -> bool {
    matches!(letter, '\'' | '"' | '’' | '”' | ')' | ']' | '»')
}

fn is_opening(letter: char) -> bool {
    matches!(letter, '\'' | '"' | '`' | '‘' | '“' | '(' | '[' | '«')
}

/// Whether the text before a full stop ends in an abbreviation or an initial.
fn is_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|letter: char| letter.is_whitespace() || is_opening(letter))
        .next()
        .unwrap_or("");
    let initial = word.chars().count() == 1 && word.chars().all(char::is_uppercase) && word != "I";
    initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(paragraph: &str) -> Vec<String> {
        sentences(paragraph)
            .into_iter()
            .map(|range| one_line(&paragraph[range]))
            .collect()
    }

    #[test]
    fn sentences_end_where_another_can_begin() {
        assert_eq!(
            split("One.  Two! `Three?' Four... 5 is five."),
            ["One.", "Two!", "`Three?'", "Four...", "5 is five."]
        );
        assert_eq!(
            split("`Oh dear!' she said. (It was late.) Now?!"),
            ["`Oh dear!' she said.", "(It was late.)", "Now?!"]
        );
        assert_eq!(
            split("It is 3.5 m, e.g. This or Mr. T. Rex. So did I. Yes"),
            ["It is 3.5 m, e.g. This or Mr. T. Rex.", "So did I.", "Yes"]
        );
    }

    #[test]
    fn a_sentence_is_joined_to_one_line() {
        assert_eq!(
            one_line("TOOK A WAISTCOAT-\nPOCKET --\n  and   ran"),
            "TOOK A WAISTCOAT-POCKET -- and ran"
        );
    }

    #[test]
    fn headings_and_ornaments_are_not_sentences() {
        let text = "\n\n  CHAPTER I\n\n   *  *  *\n\nIt began.\nIt went on\n\nOver `there.'\n";
        let found = paragraphs(text);
        let slices: Vec<_> = found
            .iter()
            .map(|p| (&text[p.range.clone()], p.heading))
            .collect();
        assert_eq!(
            slices,
            [
                ("CHAPTER I", true),
                ("It began.\nIt went on", false),
                ("Over `there.'", false)
            ]
        );
    }
}
