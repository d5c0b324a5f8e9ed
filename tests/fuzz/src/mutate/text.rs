//! Mutates a text by its words: numbers, names, quoted strings and punctuation stay whole.

use crate::random::Random;

/// Words that are critical for parsers.
const EDGES: [&str; 40] = [
    "",
    " ",
    "\n",
    "\t",
    "\u{0}",
    "\u{7f}",
    "\u{feff}",
    "\u{202e}",
    "é",
    "🧵",
    "e\u{301}",
    "0",
    "-1",
    "-0",
    "1e400",
    "1e-400",
    "0.1",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890.12345678901234567890",
    "1E308",
    "0x7fffffffffffffff",
    "NaN",
    "Infinity",
    "null",
    "true",
    "\"",
    "'",
    "\\",
    "\\u0000",
    "\\ud800",
    "%00",
    "%ff",
    "..",
    "//",
    "\u{1b}[31m",
    "\r\n",
];
/// Pairs that can be nested.
const PAIRS: [(&str, &str); 6] = [
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("\"", "\""),
    ("!", ""),
    ("-", ""),
];
/// The maximum number of repetitions of a part.
const MAX_REPEATS: usize = 400;

/// Mutates a text in a few places, with words of another text, `donor`.
pub(crate) fn mutate(random: &mut Random, text: &str, donor: &str, max_len: usize) -> String {
    let donor = words(donor);
    let mut all = words(text);
    for _ in 0..random.few() {
        mutate_once(random, &mut all, &donor);
    }
    let mut text = all.concat();
    if text.len() > max_len {
        text.truncate(text.floor_char_boundary(max_len));
    }
    text
}

fn mutate_once(random: &mut Random, all: &mut Vec<String>, donor: &[String]) {
    let at = random.below(0..all.len() + 1);
    match random.below(0..10) {
        0 => {
            all.drain(random.part(all.len()));
        }
        1 if at < all.len() => all[at] = (*random.of(&EDGES)).to_owned(),
        2 => all.insert(at, (*random.of(&EDGES)).to_owned()),
        3 if at < all.len() && !donor.is_empty() => all[at] = random.of(donor).clone(),
        4 => {
            let part = donor[random.part(donor.len())].to_vec();
            all.splice(at..at, part);
        }
        5 => {
            let part = all[random.part(all.len())].to_vec();
            all.splice(at..at, part);
        }
        6 if !all.is_empty() => {
            let other = random.below(0..all.len());
            all.swap(at.min(other), other);
        }
        7 => {
            let part = random.part(all.len());
            let repeated = all[part.clone()].concat();
            let times = random.below(0..MAX_REPEATS);
            all.splice(part, [repeated.repeat(times.min(20_000 / (repeated.len() + 1)))]);
        }
        8 => {
            let part = random.part(all.len());
            let (open, close) = random.of(&PAIRS);
            let depth = if random.one_in(8) {
                random.below(1..MAX_REPEATS)
            } else {
                random.few()
            };
            all.insert(part.end, close.repeat(depth));
            all.insert(part.start, open.repeat(depth));
        }
        _ if at < all.len() => {
            let mut chars: Vec<char> = all[at].chars().collect();
            if !chars.is_empty() {
                let place = random.below(0..chars.len());
                match random.below(0..3) {
                    0 => drop(chars.remove(place)),
                    1 => chars.insert(place, char::from(random.byte())),
                    _ => {
                        chars[place] = char::from_u32(random.bits() as u32 % 0x11_0000).unwrap_or('\u{fffd}')
                    }
                }
            }
            all[at] = chars.into_iter().collect();
        }
        _ => {}
    }
}

/// The words of a text. Concatenated they are the text.
fn words(text: &str) -> Vec<String> {
    #[derive(PartialEq)]
    enum Kind {
        Name,
        Space,
        Sign,
    }
    let kind = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => Kind::Name,
        c if c.is_whitespace() => Kind::Space,
        _ => Kind::Sign,
    };
    let mut words: Vec<String> = Vec::new();
    let mut last = Kind::Sign;
    for c in text.chars() {
        let kind = kind(c);
        match words.last_mut() {
            Some(word) if kind == last && kind != Kind::Sign => word.push(c),
            _ => words.push(c.into()),
        }
        last = kind;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_text_are_the_text() {
        let text = "state.score < 80.5 &&\n \"añb\" in x";
        assert_eq!(words(text).concat(), text);
        assert!(words(text).contains(&"score".to_owned()));
    }
}
