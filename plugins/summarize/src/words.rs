//! The significant words of a sentence.

use std::collections::HashSet;
use std::sync::LazyLock;

/// English stop words.
static STOP_WORDS: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("stopwords.txt").split_whitespace().collect());

/// The words of a sentence in lower case, without the stop words: runs of letters and digits, with
/// apostrophes inside them.
pub fn words(sentence: &str) -> Vec<String> {
    sentence
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'' && letter != '’')
        .map(|word| word.trim_matches(['\'', '’']).to_lowercase().replace('’', "'"))
        .filter(|word| !word.is_empty() && !STOP_WORDS.contains(word.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_without_marks_and_stop_words() {
        assert_eq!(
            words("`Don’t grunt,' said Alice; `THE 2 pigs.'"),
            ["don't", "grunt", "alice", "2", "pigs"]
        );
        assert_eq!(words("And so it was."), [""; 0]);
    }
}
