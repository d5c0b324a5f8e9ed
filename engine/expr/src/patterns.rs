//! Regular expressions: bounded in what they take to compile and to match.

use std::{cell::RefCell, sync::Arc};

use regex::{Regex, RegexBuilder};

use super::meter::{Meter, Stop, wrong};

/// The most bytes that a compiled pattern may take. `\w` alone takes 64 KiB, for all scripts.
const MAX_PATTERN_SIZE: usize = 512 << 10;

/// What it costs to compile a pattern that is not known before: up to 2.5 ms were measured.
const COMPILE_COST: usize = 50_000;

/// A pattern and what it costs to match a KiB of text.
pub(super) type Pattern = Arc<(Regex, usize)>;

/// Compiles a pattern, or says in one line why it is none.
///
/// Matching takes time in proportion to the text, and at worst also to the number of states of
/// the pattern: its size with the classes of ASCII only, of whose states one is on the way.
/// Measured at its worst, a pattern of 8 KiB takes 0.8 µs for a byte.
pub(super) fn compile(pattern: &str) -> Result<Pattern, String> {
    let compiled = RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "this pattern is too large; repeat less in it".into(),
            other => {
                let text = other.to_string();
                let reason = text.lines().last().unwrap_or("").trim();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                format!("this is no regular expression: {reason}")
            }
        })?;
    let states = (9..19).map(|bits| 1_usize << bits).find(|size| {
        regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(*size)
            .build()
            .is_ok()
    });
    Ok(Arc::new((compiled, states.unwrap_or(MAX_PATTERN_SIZE))))
}

/// The patterns that an evaluation has met as values: the last one, since a loop uses the same.
#[derive(Default)]
pub(super) struct Patterns {
    last: RefCell<Option<(Box<str>, Pattern)>>,
}

impl Patterns {
    pub(super) fn compiled(&self, pattern: &str, meter: &Meter) -> Result<Pattern, Box<Stop>> {
        let mut last = self.last.borrow_mut();
        if let Some((known, compiled)) = &*last
            && **known == *pattern
        {
            return Ok(compiled.clone());
        }
        meter.charge(COMPILE_COST)?;
        meter.charge_bytes(pattern.len())?;
        match compile(pattern) {
            Ok(compiled) => {
                *last = Some((pattern.into(), compiled.clone()));
                Ok(compiled)
            }
            Err(reason) => wrong(reason),
        }
    }
}
