//! Each function through JSON.

use heddle_plugin::{Kind, prelude::*, testing::call};

fn parts(input: Value) -> Value {
    call("split", input).unwrap()["parts"].take()
}

#[test]
fn a_text_is_split_at_lines_paragraphs_words_or_a_separator() {
    let text = " one two\r\nthree\n \n\nfour\n";
    assert_eq!(
        parts(json!({"text": text})),
        json!([" one two", "three", " ", "four"])
    );
    assert_eq!(
        parts(json!({"text": text, "trim": true})),
        json!(["one two", "three", "four"])
    );
    assert_eq!(
        parts(json!({"text": text, "at": "paragraphs"})),
        json!([" one two\r\nthree", "four"])
    );
    assert_eq!(
        parts(json!({"text": text, "at": "words"})),
        json!(["one", "two", "three", "four"])
    );
    assert_eq!(
        parts(json!({"text": "a, b,, c", "separator": ",", "trim": true})),
        json!(["a", "b", "c"])
    );
    assert_eq!(
        parts(json!({"text": "a,,b", "separator": ",", "keep_empty": true})),
        json!(["a", "", "b"])
    );
    assert_eq!(parts(json!({"text": "", "at": "paragraphs"})), json!([]));
    for wrong in [
        json!({"text": "a", "separator": ""}),
        json!({"text": "a", "separator": ",", "at": "lines"}),
    ] {
        assert_eq!(call("split", wrong).unwrap_err().kind, Kind::InvalidInput);
    }
}

#[test]
fn parts_are_joined_as_they_are_written() {
    let joined = call(
        "join",
        json!({"parts": ["a", 1, 1.5, true, null, "é"], "separator": "; "}),
    )
    .unwrap();
    assert_eq!(joined["text"], "a; 1; 1.5; true; é");
    assert_eq!(call("join", json!({"parts": []})).unwrap()["text"], "");
}

#[test]
fn chunks_have_every_character_and_end_where_a_reader_would() {
    let text =
        "First paragraph. It has two sentences.\n\nSecond one: ärger, über, naïve words that go on and on.";
    let cut = |size: usize, overlap: usize| {
        call("chunk", json!({"text": text, "size": size, "overlap": overlap})).unwrap()["chunks"].take()
    };
    let chunks = cut(45, 0);
    assert_eq!(chunks[0]["text"], "First paragraph. It has two sentences.\n\n");
    assert_eq!(chunks[1]["text"], "Second one: ärger, über, naïve words that go ");
    let characters: Vec<char> = text.chars().collect();
    for (size, overlap) in [(1, 0), (2, 1), (7, 3), (10, 9), (20, 5), (45, 10), (1000, 0)] {
        let mut covered = 0;
        for chunk in cut(size, overlap).as_array().unwrap() {
            let (start, end) = (
                chunk["start"].as_u64().unwrap() as usize,
                chunk["end"].as_u64().unwrap() as usize,
            );
            let of_text: String = characters[start..end].iter().collect();
            assert_eq!(chunk["text"], of_text);
            assert!(
                end - start <= size && start <= covered && covered - start <= overlap,
                "{size}, {overlap}: {chunk}"
            );
            assert!(end > covered, "each has something new");
            covered = end;
        }
        assert_eq!(covered, characters.len(), "{size}, {overlap}");
    }
    assert_eq!(
        call("chunk", json!({"text": "", "size": 5})).unwrap()["chunks"],
        json!([])
    );
    for (size, overlap) in [(0, 0), (5, 5)] {
        let error = call("chunk", json!({"text": "a", "size": size, "overlap": overlap})).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidInput);
    }
}

#[test]
fn a_match_has_its_position_and_groups() {
    let found = call(
        "match",
        json!({"text": "é 2024-03 and 2025-x", "pattern": r"(?<year>\d{4})-(\d\d)?"}),
    )
    .unwrap();
    assert_eq!(
        found,
        json!({"found": true, "matches": [
            {"text": "2024-03", "start": 2, "end": 9, "groups": ["2024", "03"], "named": {"year": "2024"}},
            {"text": "2025-", "start": 14, "end": 19, "groups": ["2025", null], "named": {"year": "2025"}},
        ]})
    );
    let none = call("match", json!({"text": "ÄRGER", "pattern": "ärger"})).unwrap();
    assert_eq!(none, json!({"found": false, "matches": []}));
    let one = call(
        "match",
        json!({"text": "ÄRGER ärger", "pattern": "ärger", "ignore_case": true, "limit": 1}),
    )
    .unwrap();
    assert_eq!(one["matches"].as_array().unwrap().len(), 1);
}

#[test]
fn a_pattern_that_is_none_or_too_large_is_refused() {
    let error = call("match", json!({"text": "a", "pattern": "(a"})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert!(error.message.contains("unclosed group"), "{error}");
    let error = call("match", json!({"text": "a", "pattern": r"(\w{1000}){1000}"})).unwrap_err();
    assert!(error.message.contains("limit of 4194304 bytes"), "{error}");
    let error = call(
        "match",
        json!({"text": "a", "pattern": format!("{}a{}", "(".repeat(101), ")".repeat(101))}),
    )
    .unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
}

#[test]
fn a_text_is_replaced_as_it_stands_or_by_a_pattern() {
    let replaced = |input: Value| call("replace", input).unwrap();
    assert_eq!(
        replaced(json!({"text": "a.b.c", "find": ".", "with": "$0"})),
        json!({"text": "a$0b$0c", "count": 2})
    );
    assert_eq!(
        replaced(json!({"text": "Ada Lovelace", "pattern": r"(\w+) (?<last>\w+)", "with": "${last}, $1"})),
        json!({"text": "Lovelace, Ada", "count": 1})
    );
    assert_eq!(
        replaced(json!({"text": "aAa", "find": "a", "with": "", "ignore_case": true, "limit": 2}))["text"],
        "a"
    );
    assert_eq!(
        replaced(json!({"text": "aa", "find": "a", "with": "b", "limit": 0})),
        json!({"text": "aa", "count": 0})
    );
    for wrong in [
        json!({"text": "a", "with": "b"}),
        json!({"text": "a", "find": "", "with": "b"}),
    ] {
        assert_eq!(call("replace", wrong).unwrap_err().kind, Kind::InvalidInput);
    }
}

#[test]
fn a_text_is_shortened_without_taking_a_character_apart() {
    let cut = |text: &str, characters: usize| {
        call("truncate", json!({"text": text, "characters": characters})).unwrap()["text"].take()
    };
    assert_eq!(cut("héllo wörld", 11), "héllo wörld");
    assert_eq!(cut("héllo wörld", 8), "héllo w…");
    assert_eq!(cut("héllo wörld", 7), "héllo…");
    assert_eq!(cut("abe\u{301}f", 4), "ab…", "the accent is written onto the e");
    assert_eq!(cut("ab👩\u{200d}🚀cd", 5), "ab…", "the two are one");
    assert_eq!(cut("ab👍🏽cde", 4), "ab…");
    assert_eq!(cut("🇫🇷🇩🇪x", 4), "🇫🇷…");
    let words = json!({"text": "one two three", "characters": 10, "whole_words": true, "ellipsis": " [...]"});
    let error = call("truncate", json!({"text": "abc", "characters": 0})).unwrap_err();
    assert_eq!(error.kind, Kind::InvalidInput);
    assert_eq!(
        call("truncate", words).unwrap(),
        json!({"text": "one [...]", "truncated": true})
    );
}

#[test]
fn a_text_is_counted_and_tidied() {
    assert_eq!(
        call("size", json!({"text": "één two\nthree\n"})).unwrap(),
        json!({"characters": 14, "words": 3, "lines": 2, "bytes": 16})
    );
    let tidied = |input: Value| call("tidy", input).unwrap()["text"].take();
    assert_eq!(tidied(json!({"text": "  a \n b "})), "a \n b");
    assert_eq!(
        tidied(json!({"text": "  a \n b ", "collapse": true, "case": "upper"})),
        "A B"
    );
    assert_eq!(
        tidied(json!({"text": " Straße ", "trim": false, "case": "upper"})),
        " STRASSE "
    );
    assert_eq!(tidied(json!({"text": "ÉTÉ", "case": "lower"})), "été");
    assert_eq!(
        tidied(json!({"text": "don't STOP-me", "case": "title"})),
        "Don't Stop-Me"
    );
}
