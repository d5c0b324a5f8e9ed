//! Regular expressions, with limits for compiling and matching.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    sync::Arc,
};

use regex::{Regex, RegexBuilder};

use super::meter::{Meter, Stop, wrong};

/// The size limit of a compiled pattern, in bytes. `\w` alone takes 64 KiB, for all scripts.
const MAX_PATTERN_SIZE: usize = 512 << 10;

/// The cost of compiling a pattern: up to 2.5 ms were measured.
const COMPILE_COST: usize = 50_000;

/// The first size limit that is tried; it doubles with each further try.
const LEAST_PATTERN_SIZE: usize = 8 << 10;

/// The size limit of the states that a search found, in bytes. Each used pattern keeps some.
const SEARCH_STATES_SIZE: usize = 64 << 10;

/// The number of patterns in the expressions of a graph.
const MAX_PATTERNS: usize = 1_000;
/// The size limit of all these patterns, in bytes: 20 characters can stand for 512 KiB.
const MAX_PATTERN_BYTES: usize = 16 << 20;

/// A compiled regular expression with the cost of its use.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    /// The cost of matching a KiB of text.
    pub(super) cost: usize,
    /// The approximate memory, in bytes.
    pub(super) bytes: usize,
}

pub(super) type Pattern = Arc<Compiled>;

/// The patterns of all expressions of a graph. Equal patterns are compiled once.
#[derive(Debug, Default)]
pub struct GraphPatterns {
    /// Whether the number and the memory of the patterns are limited.
    limited: bool,
    known: RefCell<HashMap<Box<str>, Pattern>>,
    bytes: Cell<usize>,
}

impl GraphPatterns {
    /// Patterns with limits, for new graphs.
    pub fn limited() -> Self {
        Self {
            limited: true,
            ..Self::default()
        }
    }

    /// The memory of the patterns, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Compiles a pattern. The error is one line.
    pub(super) fn compile(&self, pattern: &str) -> Result<Pattern, String> {
        let mut known = self.known.borrow_mut();
        if let Some(compiled) = known.get(pattern) {
            return Ok(compiled.clone());
        }
        if self.limited && known.len() >= MAX_PATTERNS {
            return Err(format!(
                "the expressions of the graph have more than {MAX_PATTERNS} patterns (patterns): use fewer"
            ));
        }
        let left = match self.limited {
            true => MAX_PATTERN_BYTES.saturating_sub(self.bytes.get()),
            false => usize::MAX,
        };
        let compiled = compile(pattern, left)?;
        self.bytes.set(self.bytes.get() + compiled.bytes);
        known.insert(pattern.into(), compiled.clone());
        Ok(compiled)
    }
}

/// Compiles a pattern within this size limit. The error is one line.
///
/// Matching takes time in proportion to the text and, at worst, to the number of states of the pattern: its
/// size with ASCII classes, of whose states one is active. Measured at its worst, a pattern of 8 KiB takes
/// 0.8 µs for a byte.
fn compile(pattern: &str, left: usize) -> Result<Pattern, String> {
    let mut size = LEAST_PATTERN_SIZE;
    let regex = loop {
        if size > left {
            return Err(format!(
                "this pattern and those of the graph before it take more than {} MiB of memory (pattern_bytes): repeat \
                 less in them",
                MAX_PATTERN_BYTES >> 20
            ));
        }
        let built = RegexBuilder::new(pattern)
            .size_limit(size)
            .dfa_size_limit(SEARCH_STATES_SIZE)
            .build();
        match built {
            Ok(regex) => break regex,
            Err(regex::Error::CompiledTooBig(_)) if size < MAX_PATTERN_SIZE => size *= 2,
            Err(regex::Error::CompiledTooBig(_)) => {
                return Err("this pattern is too large; repeat less in it".to_owned());
            }
            Err(other) => {
                let text = other.to_string();
                let reason = text.lines().last().unwrap_or("").trim();
                let reason = reason.strip_prefix("error: ").unwrap_or(reason);
                return Err(format!("this is not a regular expression: {reason}"));
            }
        }
    };
    let cost = (9..19).map(|bits| 1_usize << bits).find(|size| {
        regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(*size)
            .build()
            .is_ok()
    });
    Ok(Arc::new(Compiled {
        regex,
        cost: cost.unwrap_or(MAX_PATTERN_SIZE),
        bytes: size,
    }))
}

/// The last pattern that an evaluation compiled, since a loop uses the same one.
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
        match compile(pattern, usize::MAX) {
            Ok(compiled) => {
                *last = Some((pattern.into(), compiled.clone()));
                Ok(compiled)
            }
            Err(reason) => wrong(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_a_graph_are_limited_in_number_and_memory() {
        let patterns = GraphPatterns::limited();
        for _ in 0..2 * MAX_PATTERNS {
            assert!(patterns.compile("^a+$").is_ok(), "equal patterns count once");
        }
        assert_eq!(patterns.bytes(), LEAST_PATTERN_SIZE);
        let large = |number: usize| patterns.compile(&format!("(a{{1,50}}){{1,50}}{number}"));
        let refused = (0..MAX_PATTERNS).find_map(|number| large(number).err());
        let refused = refused.unwrap_or_default();
        assert!(
            refused.contains("take more than 16 MiB of memory (pattern_bytes)"),
            "{refused}"
        );
        assert!(patterns.bytes() <= MAX_PATTERN_BYTES);

        let patterns = GraphPatterns::limited();
        let small = |number: usize| patterns.compile(&number.to_string());
        assert!((0..MAX_PATTERNS).all(|number| small(number).is_ok()));
        let refused = small(MAX_PATTERNS).err().unwrap_or_default();
        assert!(
            refused.contains("more than 1000 patterns (patterns)"),
            "{refused}"
        );

        let kept = GraphPatterns::default();
        assert!((0..=MAX_PATTERNS).all(|number| kept.compile(&number.to_string()).is_ok()));
    }
}
