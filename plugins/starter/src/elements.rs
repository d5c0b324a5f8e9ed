//! Reads a text once, from left to right, and sorts what it meets into links, dates, numbers and words.
//!
//! Each piece of the text is one of these at most: the month of a date is not a word, nor its day a
//! number. What is shaped like a date but is none (2023-02-30), and dotted numbers such as versions and
//! addresses (1.2.3), are left out.

use heddle_plugin::prelude::*;

use crate::{
    dates::{self, Date},
    numbers::{self, Number},
};

/// What a text is made of, each list in the text's order.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Elements {
    /// The words as they are written: letters and digits, at least one letter, joined by `'`, `-` or `_` inside.
    pub(crate) words: Vec<String>,
    /// The numbers, as English writes them.
    pub(crate) numbers: Vec<Number>,
    /// The days and months of a given year.
    pub(crate) dates: Vec<Date>,
    /// The http and https links, without the punctuation of the sentence that they stand in.
    pub(crate) links: Vec<String>,
}

impl Elements {
    pub(crate) fn of(text: &str) -> Self {
        let mut found = Self::default();
        let mut at = 0;
        while let Some(char) = text[at..].chars().next() {
            let (before, rest) = text.split_at(at);
            at += found.take(before, rest).unwrap_or(char.len_utf8());
        }
        found
    }

    /// Reads the element that `rest` begins with, if there is one, and returns its length.
    fn take(&mut self, before: &str, rest: &str) -> Option<usize> {
        if let Some(len) = link(rest) {
            self.links.push(rest[..len].to_owned());
            return Some(len);
        }
        if let Some((len, date)) = dates::date(rest) {
            self.dates.extend(date);
            return Some(len);
        }
        if let Some((len, number)) = numbers::number(before, rest) {
            self.numbers.extend(number);
            return Some(len);
        }
        let len = word(rest)?;
        self.words.push(rest[..len].to_owned());
        Some(len)
    }
}

/// The length of the word that a text begins with.
fn word(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    let mut end = 0;
    while let Some((at, char)) = chars.next() {
        let joins = at > 0
            && matches!(char, '\'' | '’' | '-' | '\u{2010}' | '_')
            && chars.peek().is_some_and(|(_, next)| next.is_alphanumeric());
        if !char.is_alphanumeric() && !joins {
            break;
        }
        end = at + char.len_utf8();
    }
    (end > 0).then_some(end)
}

/// The length of the link that a text begins with.
fn link(text: &str) -> Option<usize> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    let end = text
        .find(|char: char| char.is_whitespace() || "<>\"`“”«»".contains(char))
        .unwrap_or(text.len());
    let link = without_punctuation(&text[..end]);
    let host = link.get(scheme.len()..)?;
    host.starts_with(|char: char| char.is_alphanumeric() || char == '[')
        .then_some(link.len())
}

/// A link without what belongs to its sentence: punctuation at its end, and a closing bracket that
/// the link does not open.
fn without_punctuation(mut link: &str) -> &str {
    loop {
        let Some(last) = link.chars().next_back() else {
            return link;
        };
        let opening = match last {
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '’' | '…' | '*' => None,
            ')' => Some('('),
            ']' => Some('['),
            '}' => Some('{'),
            _ => return link,
        };
        let balanced =
            opening.is_some_and(|opening| link.matches(opening).count() >= link.matches(last).count());
        if balanced {
            return link;
        }
        link = &link[..link.len() - last.len_utf8()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Elements::of(text).words
    }

    fn links(text: &str) -> Vec<String> {
        Elements::of(text).links
    }

    #[test]
    fn words_keep_what_joins_them_and_nothing_else() {
        assert_eq!(
            words("\"Don't,\" she said -- well-known 'quotes'."),
            ["Don't", "she", "said", "well-known", "quotes"]
        );
        assert_eq!(
            words("the 3rd W3C draft, snake_case"),
            ["the", "3rd", "W3C", "draft", "snake_case"]
        );
        assert_eq!(
            words("L’été à Zürich; naïveté"),
            ["L’été", "à", "Zürich", "naïveté"]
        );
    }

    #[test]
    fn links_end_where_their_sentence_goes_on() {
        assert_eq!(
            links("See https://example.org/a?b=c,d. Then"),
            ["https://example.org/a?b=c,d"]
        );
        assert_eq!(
            links("(https://en.wikipedia.org/wiki/Loom_(weaving)), or [x](HTTP://example.org)!"),
            [
                "https://en.wikipedia.org/wiki/Loom_(weaving)",
                "HTTP://example.org"
            ]
        );
        assert_eq!(
            links("<https://example.org/> \"http://example.org/q?\""),
            ["https://example.org/", "http://example.org/q"]
        );
        assert_eq!(links("http:// and https://. and ftp://example.org"), [""; 0]);
    }

    #[test]
    fn the_parts_of_a_link_or_a_date_are_counted_once() {
        let found = Elements::of("On 3 March 2024 https://example.org/2023/page-7 had 2 visits.");
        assert_eq!(found.words, ["On", "had", "visits"]);
        assert_eq!(found.numbers.len(), 1);
        assert_eq!(found.dates.len(), 1);
        assert_eq!(found.links, ["https://example.org/2023/page-7"]);
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        for text in [
            "https://",
            "-",
            "1,",
            "−",
            "March",
            "3 Mar",
            "\u{0}\u{ffff}é",
            "2024-",
            "9".repeat(400).as_str(),
        ] {
            Elements::of(text);
        }
    }
}
