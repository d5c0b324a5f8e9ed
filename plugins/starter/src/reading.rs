//! The readability of English texts.

use heddle_plugin::prelude::*;

use crate::elements::Elements;

/// What the reading ease of a text is made of.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Reading {
    /// Its sentences that have a word in them.
    pub(crate) sentences: usize,
    /// Its words; numbers, dates and links are none.
    pub(crate) words: usize,
    /// The syllables of its words, by English spelling.
    pub(crate) syllables: usize,
    /// Flesch's reading ease, to two decimals: from about 100, very easy, to 0 and below. None without a word.
    pub(crate) ease: Option<f64>,
    /// What Flesch calls that ease.
    pub(crate) level: Option<String>,
}

impl Reading {
    /// Measures a text by 206.835 - 1.015 · words/sentences - 84.6 · syllables/words.
    ///
    /// The formula is Rudolf Flesch's, "A new readability yardstick", Journal of Applied Psychology
    /// 32 (3), 1948, pages 221 to 233; the levels are those of his "The Art of Readable Writing", 1949.
    pub(crate) fn of(text: &str) -> Self {
        let sentences = sentences(text);
        let (mut count, mut words, mut syllables) = (0, 0, 0);
        for sentence in sentences {
            let found = Elements::of(sentence).words;
            count += usize::from(!found.is_empty());
            words += found.len();
            syllables += found.iter().map(|word| syllables_of(word)).sum::<usize>();
        }
        let ease = (words > 0).then(|| {
            let (count, words, syllables) = (count as f64, words as f64, syllables as f64);
            let ease = 206.835 - 1.015 * words / count - 84.6 * syllables / words;
            (ease * 100.0).round() / 100.0
        });
        Self {
            sentences: count,
            words,
            syllables,
            ease,
            level: ease.map(|ease| level(ease).to_owned()),
        }
    }
}

fn level(ease: f64) -> &'static str {
    match ease {
        90.0.. => "very easy",
        80.0.. => "easy",
        70.0.. => "fairly easy",
        60.0.. => "standard",
        50.0.. => "fairly difficult",
        30.0.. => "difficult",
        _ => "very difficult",
    }
}

/// Words whose full stop does not end a sentence, though a capital may follow.
const ABBREVIATIONS: [&str; 20] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "vs", "no", "vol", "fig", "gen", "col", "capt", "lt",
    "rev", "hon", "e.g", "i.e",
];

/// A text's sentences: what lies between full stops, question and exclamation marks that a blank
/// follows, and between empty lines. A full stop ends none behind an abbreviation or a single capital,
/// nor before a small letter.
fn sentences(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, char) in text.char_indices() {
        let after = &text[at + char.len_utf8()..];
        let ends = match char {
            '.' => ends_at_stop(&text[start..at], after),
            '!' | '?' | '…' => ends_before(after).is_some(),
            '\n' => after.trim_start_matches([' ', '\t', '\r']).starts_with('\n'),
            _ => false,
        };
        if ends {
            sentences.push(&text[start..at]);
            start = at + char.len_utf8();
        }
    }
    sentences.push(&text[start..]);
    sentences
}

fn ends_at_stop(before: &str, after: &str) -> bool {
    let Some(next) = ends_before(after) else {
        return false;
    };
    let word = before
        .rsplit(|char: char| char.is_whitespace() || "(\"“‘[".contains(char))
        .next()
        .unwrap_or_default();
    // The initial of a name; "I" ends sentences as other words do.
    let initial = word.len() == 1 && word != "I" && word.starts_with(|char: char| char.is_ascii_uppercase());
    let abbreviated = initial || ABBREVIATIONS.iter().any(|known| word.eq_ignore_ascii_case(known));
    !abbreviated && !next.is_some_and(char::is_lowercase)
}

/// What comes next if a blank or the text's end follows, behind closing quotes and brackets.
fn ends_before(after: &str) -> Option<Option<char>> {
    let after = after.trim_start_matches(['"', '\'', '”', '’', ')', ']', '»']);
    let next = after.trim_start();
    (after.is_empty() || next.len() < after.len()).then(|| next.chars().next())
}

/// The syllables of a word, by its spelling: its groups of vowels, less the silent `e` of its end, and
/// more where two vowels of a group are spoken apart. A word has at least one. English spelling allows
/// no rule without exceptions; over a text they mostly cancel each other.
fn syllables_of(word: &str) -> usize {
    let parts = word.split(|char: char| !char.is_alphabetic());
    let sum: usize = parts.map(syllables_of_part).sum();
    sum.max(1)
}

fn syllables_of_part(part: &str) -> usize {
    let word = part.to_lowercase();
    let letters: Vec<char> = word.chars().collect();
    let mut count = 0;
    for (at, &letter) in letters.iter().enumerate() {
        let follows = at > 0 && is_vowel(letters[at - 1]);
        if is_vowel(letter) && (!follows || spoken_apart(&letters[..at], &letters[at..])) {
            count += 1;
        }
    }
    // "use-ful" and "care-less" keep the silence of their stem's last letter.
    let stem = SUFFIXES
        .iter()
        .find_map(|suffix| word.strip_suffix(suffix))
        .unwrap_or(&word);
    let stem: Vec<char> = stem.chars().collect();
    if count > 1 && has_silent_e(&stem) && stem[..stem.len() - 2].iter().any(|&letter| is_vowel(letter)) {
        count -= 1;
    }
    // "pris-m", "rhyth-m".
    if word.ends_with("sm") || word.ends_with("thm") {
        count += 1;
    }
    count
}

/// What begins with a consonant and may stand behind a silent `e`.
const SUFFIXES: [&str; 5] = ["ful", "less", "ness", "ment", "ly"];

/// Whether the vowel that `after` begins with is spoken apart from the one that `before` ends with.
fn spoken_apart(before: &[char], after: &[char]) -> bool {
    let (Some(&first), Some(&second)) = (before.last(), after.first()) else {
        return false;
    };
    let earlier = before.len().checked_sub(2).map_or(' ', |at| before[at]);
    let next = |expected: &str| {
        after[1..]
            .iter()
            .copied()
            .take(expected.len())
            .eq(expected.chars())
    };
    match (first, second) {
        // "be-ing", "do-ing", "play-ing".
        (_, 'i') if next("ng") => true,
        // "me-di-a", "pe-ri-od", "me-di-um", but "spe-cial", "na-tion", "re-gion".
        ('i', 'a' | 'o' | 'u') => !"ctsgx".contains(earlier),
        // "qui-et"; "ex-pe-ri-ence", but "pa-tience"; "sci-ence".
        ('i', 'e') => {
            next("t") || (next("nc") || next("nt")) && (!"cts".contains(earlier) || before == ['s', 'c', 'i'])
        }
        // "cre-ate"; "a-re-a" and "i-de-a", but "plea".
        ('e', 'a') if next("t") => before.ends_with(&['c', 'r', 'e']),
        ('e', 'a') => after.len() == 1 && before[..before.len() - 1].iter().any(|&letter| is_vowel(letter)),
        // "vid-e-o", but "peo-ple" and "pi-geon".
        ('e', 'o') => !"pg".contains(earlier),
        // "po-et", "po-em", but "goes".
        ('o', 'e') => next("t") || next("m"),
        // "u-su-al", but "e-qual" and "lan-guage".
        ('u', 'a') => !"qg".contains(earlier),
        // "in-flu-ence", but "fre-quent".
        ('u', 'e') => next("n") && !"qg".contains(earlier),
        _ => false,
    }
}

/// Whether the last `e` is not spoken: that of "make", "makes" and "played", not that of "table",
/// "boxes" and "wanted".
fn has_silent_e(letters: &[char]) -> bool {
    let silent = |stem: &[char]| match stem {
        [.., before, 'l'] => is_vowel(*before),
        [.., last] => !is_vowel(*last),
        [] => false,
    };
    match letters {
        [stem @ .., 'e'] => silent(stem),
        [stem @ .., 'e', 's'] => {
            let hisses = ["s", "x", "z", "c", "g", "ch", "sh"]
                .iter()
                .any(|end| ends_with(stem, end));
            !hisses && silent(stem)
        }
        [stem @ .., 'e', 'd'] => !stem.ends_with(&['t']) && !stem.ends_with(&['d']) && silent_ed(stem),
        _ => false,
    }
}

/// Before `ed` even an `l` behind a consonant leaves the `e` silent: "settled" has what "settle" has.
fn silent_ed(stem: &[char]) -> bool {
    match stem {
        [.., before, 'l'] => is_vowel(*before) || *before == 'l',
        [.., last] => !is_vowel(*last),
        [] => false,
    }
}

fn ends_with(letters: &[char], end: &str) -> bool {
    letters.len() >= end.len()
        && letters
            .iter()
            .rev()
            .zip(end.chars().rev())
            .all(|(letter, end)| *letter == end)
}

fn is_vowel(letter: char) -> bool {
    "aeiouyáàâäãåæéèêëíìîïóòôöõøœúùûüýÿ".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_stops() {
        let count = |text: &str| Reading::of(text).sentences;
        assert_eq!(count("One. Two! Three? Four… Five"), 5);
        assert_eq!(count("He said \"Stop.\" Then he left."), 2);
        assert_eq!(
            count("Dr. J. Smith paid 3.50 to Mr. Wu, e.g. in May. He left."),
            2
        );
        assert_eq!(count("Yarn, wool, etc. are sold here."), 1);
        assert_eq!(count("A heading\n\nA paragraph\nof two lines."), 2);
        assert_eq!(count("Really?! No... never. 12. 13."), 2);
        assert_eq!(count("It was I. You know."), 2);
    }

    /// Words of all sorts with the syllables that a dictionary (Merriam-Webster) gives them.
    const DICTIONARY: [(usize, &str); 5] = [
        (
            1,
            "the a strength make makes played queue house called loved I fly eyes through whose don't breathe \
             young guess walked times voice friend piece moved source",
        ),
        (
            2,
            "table tables people wanted boxes pages quiet lion rhythm nation region science settled being poet \
             create handed horses little sentence island language machine purpose prism ocean useful trial \
             twisted kingdom careless children woman building payment",
        ),
        (
            3,
            "media period idea area creation banana beautiful example however engineer together poetry medium \
             industry period obvious influence syllable curious actual deliver united violet",
        ),
        (
            4,
            "information technology America original experience material situation community mechanism usually",
        ),
        (5, "university civilization imagination opportunity electricity"),
    ];

    #[test]
    fn syllables_are_those_of_the_dictionary_but_for_one_word_in_twenty() {
        let mut words = 0;
        let mut wrong = Vec::new();
        for (count, listed) in DICTIONARY {
            for word in listed.split_whitespace() {
                words += 1;
                if syllables_of(word) != count {
                    wrong.push((word, syllables_of(word)));
                }
            }
        }
        assert!(wrong.len() * 20 <= words, "{} of {words}: {wrong:?}", wrong.len());
    }

    #[test]
    fn every_word_has_a_syllable_and_parts_are_counted_apart() {
        assert_eq!(syllables_of("hmm"), 1);
        assert_eq!(syllables_of("well-known"), 2);
        assert_eq!(syllables_of("it's"), 1);
        assert_eq!(syllables_of("Zürich"), 2);
        assert_eq!(syllables_of("織機"), 1);
    }

    /// "The quick brown fox jumps over the lazy dog." has 9 words and 11 syllables in 1 sentence:
    /// 206.835 - 1.015 * 9 - 84.6 * 11 / 9 = 206.835 - 9.135 - 103.4 = 94.3.
    #[test]
    fn the_formula_gives_what_it_gives_by_hand() {
        let reading = Reading::of("The quick brown fox jumps over the lazy dog.");
        let expected = Reading {
            sentences: 1,
            words: 9,
            syllables: 11,
            ease: Some(94.3),
            level: Some("very easy".to_owned()),
        };
        assert_eq!(reading, expected);
    }

    /// The first sentence of Lincoln's address at Gettysburg, counted by reading it aloud: 30 words, 49
    /// syllables. 206.835 - 1.015 * 30 - 84.6 * 49 / 30 = 206.835 - 30.45 - 138.18 = 38.205.
    #[test]
    fn a_long_sentence_of_long_words_reads_less_easily() {
        let text = "Four score and seven years ago our fathers brought forth, upon this continent, a new nation, \
                    conceived in Liberty, and dedicated to the proposition that all men are created equal.";
        let reading = Reading::of(text);
        assert_eq!((reading.sentences, reading.words, reading.syllables), (1, 30, 49));
        let ease = reading.ease.expect("it has words");
        assert!((ease - 38.205).abs() < 0.006, "{ease}");
        assert_eq!(reading.level.as_deref(), Some("difficult"));
    }
}
