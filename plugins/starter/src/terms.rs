//! The topics of a text, by its frequent words.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use heddle_plugin::prelude::*;

/// A word and its number of occurrences.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Term {
    /// The word, in small letters.
    pub(crate) term: String,
    /// Its number of occurrences.
    pub(crate) count: usize,
}

/// The words of a text, counted.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Terms {
    /// How many different words there are, the stop words included; case and a possessive `'s` make no difference.
    pub(crate) distinct: usize,
    /// The most frequent first, without the stop words; those that come equally often by the alphabet.
    pub(crate) terms: Vec<Term>,
}

/// English words that say nothing of what a text is about: articles, pronouns, prepositions,
/// conjunctions, auxiliary verbs and the commonest adverbs, with their contractions. By the alphabet.
const STOP_WORDS: [&str; 164] = [
    "a",
    "about",
    "above",
    "after",
    "again",
    "against",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "aren't",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "can't",
    "cannot",
    "could",
    "couldn't",
    "did",
    "didn't",
    "do",
    "does",
    "doesn't",
    "doing",
    "don't",
    "down",
    "during",
    "each",
    "else",
    "ever",
    "every",
    "few",
    "for",
    "from",
    "further",
    "had",
    "hadn't",
    "has",
    "hasn't",
    "have",
    "haven't",
    "having",
    "he",
    "her",
    "here",
    "hers",
    "herself",
    "him",
    "himself",
    "his",
    "how",
    "i",
    "i'd",
    "i'll",
    "i'm",
    "i've",
    "if",
    "in",
    "into",
    "is",
    "isn't",
    "it",
    "its",
    "itself",
    "just",
    "let",
    "may",
    "me",
    "might",
    "more",
    "most",
    "must",
    "my",
    "myself",
    "no",
    "nor",
    "not",
    "now",
    "of",
    "off",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "our",
    "ours",
    "ourselves",
    "out",
    "over",
    "own",
    "same",
    "shall",
    "she",
    "should",
    "shouldn't",
    "so",
    "some",
    "such",
    "than",
    "that",
    "the",
    "their",
    "theirs",
    "them",
    "themselves",
    "then",
    "there",
    "these",
    "they",
    "they're",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "upon",
    "us",
    "very",
    "was",
    "wasn't",
    "we",
    "were",
    "weren't",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "won't",
    "would",
    "wouldn't",
    "yet",
    "you",
    "you're",
    "your",
    "yours",
    "yourself",
    "yourselves",
];

impl Terms {
    pub(crate) fn of(words: &[String], limit: usize) -> Self {
        let mut counts = BTreeMap::<String, usize>::new();
        for word in words {
            *counts.entry(base(word)).or_default() += 1;
        }
        let distinct = counts.len();
        let stop_words = BTreeSet::from(STOP_WORDS);
        let mut terms: Vec<_> = counts
            .into_iter()
            .filter(|(term, _)| !stop_words.contains(term.as_str()))
            .map(|(term, count)| Term { term, count })
            .collect();
        // The sort is stable, so that the alphabet decides between equals.
        terms.sort_by_key(|term| Reverse(term.count));
        terms.truncate(limit);
        Self { distinct, terms }
    }
}

/// A word in small letters, with a plain apostrophe, and without that of the possessive.
fn base(word: &str) -> String {
    let mut word = word.to_lowercase().replace('’', "'");
    if word.ends_with("'s") {
        word.truncate(word.len() - 2);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str, limit: usize) -> Vec<(String, usize)> {
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        Terms::of(&words, limit)
            .terms
            .into_iter()
            .map(|term| (term.term, term.count))
            .collect()
    }

    #[test]
    fn the_most_frequent_come_first_and_equals_by_the_alphabet() {
        let text = "The warp and the weft the Loom's warp a loom's weft WARP don’t thread It's";
        let expected = [("warp", 3), ("loom", 2), ("weft", 2), ("thread", 1)];
        assert_eq!(
            terms(text, 10),
            expected.map(|(term, count)| (term.to_owned(), count))
        );
        assert_eq!(terms(text, 2).len(), 2);
    }

    #[test]
    fn the_stop_words_are_in_order_and_each_is_there_once() {
        assert!(STOP_WORDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn stop_words_count_as_different_words() {
        let words = ["The", "the", "a", "loom"].map(str::to_owned);
        assert_eq!(
            Terms::of(&words, 0),
            Terms {
                distinct: 3,
                terms: Vec::new()
            }
        );
    }
}
