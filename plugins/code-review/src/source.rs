//! A parsed source file: its syntax tree beside its text, and the way from one to the other.
//!
//! Positions in the tree are those of the text after a byte-order mark and a `#!` line, which
//! the parser does not see; `Source` adds what was cut off.

use std::ops::Range;

use proc_macro2::{Delimiter, LexError, Span, TokenStream, TokenTree};

/// How deep brackets may nest. The parser recurses, and a guest's stack is small.
const MAX_DEPTH: usize = 128;

/// How many signs may stand between two braces, commas or semicolons: an expression of so many operators
/// is as deep a tree.
const MAX_SIGNS: usize = 1000;

/// How many `<` may be open at once, since types nest as well. A shift opens two that are never closed.
const MAX_ANGLES: usize = 200;

/// Why a file could not be read as Rust.
#[derive(Debug, Clone, PartialEq)]
pub struct ParseProblem {
    /// The line of the problem, from 1.
    pub line: u32,
    /// The message of the parser.
    pub message: String,
}

/// A file's text and its syntax tree.
pub struct Source<'t> {
    /// The whole text, with a byte-order mark and a `#!` line if it has them.
    pub text: &'t str,
    /// The syntax tree of the text.
    pub tree: syn::File,
    cut: usize,
}

impl<'t> Source<'t> {
    /// Parses a whole file.
    pub fn parse(text: &'t str) -> Result<Self, ParseProblem> {
        let cut = unseen_by_the_parser(text);
        let problem = |span: Span, message: String| ParseProblem {
            line: line_of(span),
            message,
        };
        let tokens: TokenStream = text[cut..]
            .parse()
            .map_err(|error: LexError| problem(error.span(), error.to_string()))?;
        if let Some(span) = too_deep(tokens.clone(), MAX_DEPTH) {
            let message = format!("it nests deeper than {MAX_DEPTH} brackets or {MAX_SIGNS} operators");
            return Err(problem(span, message));
        }
        let tree = syn::parse2(tokens).map_err(|error| problem(error.span(), error.to_string()))?;
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

/// The place where something nests too deep for the parser, if there is one.
fn too_deep(tokens: TokenStream, depth_left: usize) -> Option<Span> {
    let (mut signs, mut angles) = (0, 0_usize);
    for token in tokens {
        match token {
            TokenTree::Group(group) if depth_left == 0 => return Some(group.span()),
            TokenTree::Group(group) => {
                let found = too_deep(group.stream(), depth_left - 1);
                if found.is_some() {
                    return found;
                }
                // What goes on behind a block or a call may be a chain, too; only a `}` ends one.
                signs = if group.delimiter() == Delimiter::Brace {
                    0
                } else {
                    signs
                };
            }
            TokenTree::Punct(sign) if matches!(sign.as_char(), ',' | ';') => (signs, angles) = (0, 0),
            TokenTree::Punct(sign) => {
                signs += 1;
                match sign.as_char() {
                    '<' => angles += 1,
                    '>' => angles = angles.saturating_sub(1),
                    _ => {}
                }
                if signs > MAX_SIGNS || angles > MAX_ANGLES {
                    return Some(sign.span());
                }
            }
            TokenTree::Ident(_) | TokenTree::Literal(_) => {}
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
    fn an_inner_attribute_is_not_a_hashbang() {
        let source = Source::parse("#![allow(dead_code)]\nfn f() {}").expect("it is Rust");
        assert_eq!(source.slice(source.tree.items[0].span()), "fn f() {}");
    }

    #[test]
    fn syntax_errors_name_their_position() {
        let problem = Source::parse("fn ok() {}\nfn broken( {}\n")
            .err()
            .expect("it is not Rust");
        assert_eq!(problem.line, 2);
    }

    #[test]
    fn nesting_that_would_overflow_the_stack_is_refused() {
        let text = format!("fn f() {{\n{}{} }}", "(".repeat(9000), ")".repeat(9000));
        assert_eq!(Source::parse(&text).err().expect("too deep").line, 2);
        for chain in [
            "-".repeat(5000),
            "1 +\n".repeat(5000),
            "a.b()".repeat(5000),
            "V<".repeat(400),
        ] {
            assert!(Source::parse(&format!("fn f() {{ {chain} 1 }}")).is_err());
        }
    }

    #[test]
    fn brackets_and_signs_in_strings_and_comments_do_not_nest() {
        let text = format!("// {0}\nfn f() {{ \"{0}\" }}", "(-".repeat(9000));
        assert!(Source::parse(&text).is_ok());
    }
}
