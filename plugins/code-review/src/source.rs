//! A parsed source file: its syntax tree beside its text, and the way from one to the other.
//!
//! Positions in the tree are those of the text after a byte-order mark and a `#!` line, which
//! the parser does not see; `Source` adds what was cut off.

use std::ops::Range;

use proc_macro2::Span;

/// How deep brackets may nest. The parser recurses, and a guest's stack is small.
const MAX_DEPTH: usize = 128;

/// Why a file could not be read as Rust.
#[derive(Debug, Clone, PartialEq)]
pub struct ParseProblem {
    /// The line, from 1.
    pub line: u32,
    /// What the parser says.
    pub message: String,
}

/// A file's text and its syntax tree.
pub struct Source<'t> {
    /// The whole text.
    pub text: &'t str,
    /// The tree.
    pub tree: syn::File,
    cut: usize,
}

impl<'t> Source<'t> {
    /// Parses a whole file.
    pub fn parse(text: &'t str) -> Result<Self, ParseProblem> {
        let cut = unseen_by_the_parser(text);
        if let Some(line) = too_deep(&text[cut..]) {
            let message = format!("brackets nest deeper than {MAX_DEPTH}");
            return Err(ParseProblem { line, message });
        }
        let tree = syn::parse_file(&text[cut..]).map_err(|error| ParseProblem {
            line: line_of(error.span()),
            message: error.to_string(),
        })?;
        Ok(Self { text, tree, cut })
    }

    /// The bytes of the text that a span covers.
    pub fn range(&self, span: Span) -> Range<usize> {
        let range = span.byte_range();
        range.start + self.cut..range.end + self.cut
    }

    /// The text that a span covers.
    pub fn slice(&self, span: Span) -> &'t str {
        &self.text[self.range(span)]
    }
}

/// The line that a span starts on, from 1.
pub fn line_of(span: Span) -> u32 {
    span.start().line as u32
}

/// The line that a span ends on, from 1.
pub fn end_line_of(span: Span) -> u32 {
    span.end().line as u32
}

/// How many bytes at the start are a byte-order mark and a `#!` line. The line's newline stays, so
/// lines keep their numbers.
fn unseen_by_the_parser(text: &str) -> usize {
    let mark = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let rest = &text[mark..];
    let attribute = rest
        .strip_prefix("#!")
        .is_some_and(|rest| rest.trim_start().starts_with('['));
    if rest.starts_with("#!") && !attribute {
        mark + rest.find('\n').unwrap_or(rest.len())
    } else {
        mark
    }
}

/// The line where brackets nest too deep, if they do. Brackets in strings and comments count too:
/// this is a guard for the stack, not a rule of the language.
fn too_deep(text: &str) -> Option<u32> {
    let mut depth = 0_usize;
    let mut line = 1;
    for byte in text.bytes() {
        match byte {
            b'\n' => line += 1,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Some(line);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::spanned::Spanned;

    #[test]
    fn a_span_finds_its_text_behind_a_mark_a_hashbang_and_wide_letters() {
        let text = "\u{feff}#!/usr/bin/env run\n// größe\nconst A: &str = \"日本\"; fn späte() {}\n";
        let source = Source::parse(text).expect("it is Rust");
        let item = &source.tree.items[1];
        assert_eq!(source.slice(item.span()), "fn späte() {}");
        assert_eq!(line_of(item.span()), 3);
    }

    #[test]
    fn an_inner_attribute_is_no_hashbang() {
        let source = Source::parse("#![allow(dead_code)]\nfn f() {}").expect("it is Rust");
        assert_eq!(source.slice(source.tree.items[0].span()), "fn f() {}");
    }

    #[test]
    fn what_does_not_parse_says_where() {
        let problem = Source::parse("fn ok() {}\nfn broken( {}\n")
            .err()
            .expect("it is not Rust");
        assert_eq!(problem.line, 2);
    }

    #[test]
    fn nesting_that_would_overflow_the_stack_is_refused() {
        let text = format!("fn f() {{\n{}{} }}", "(".repeat(9000), ")".repeat(9000));
        assert_eq!(Source::parse(&text).err().expect("too deep").line, 2);
    }
}
