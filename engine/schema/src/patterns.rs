//! The limits for patterns of schemas, checked before they are compiled.
//!
//! A pattern of a few bytes can have a megabyte of states, and a schema can have thousands of patterns. So
//! each pattern is first compiled alone, within limits that grow, and its size is counted.

use std::collections::HashSet;

use heddle_json::object::clip;
use regex::RegexBuilder;
use serde_json::Value;

use super::PATTERN_BYTES;

/// The number of patterns in all schemas of a graph or a plugin.
const MAX_PATTERNS: usize = 1_000;
/// The size limit of all these patterns when compiled, in bytes.
const MAX_PATTERN_BYTES: usize = 16 << 20;
/// The length limit of a pattern, in bytes.
const MAX_PATTERN_LEN: usize = 4_096;
/// The number of control escapes (`\\cA`) in a pattern; each makes its translation longer.
const MAX_CONTROL_ESCAPES: usize = 16;
/// The first size limit that is tried; enough for most patterns.
const FIRST_BYTES: usize = 1 << 13;

/// The budget for the patterns of several schemas.
#[derive(Clone, Debug)]
pub struct PatternBudget {
    /// `None` if there is no limit.
    left: Option<Left>,
    /// The patterns that were counted.
    known: HashSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    patterns: usize,
    bytes: usize,
}

impl Default for PatternBudget {
    fn default() -> Self {
        Self {
            left: Some(Left {
                patterns: MAX_PATTERNS,
                bytes: MAX_PATTERN_BYTES,
            }),
            known: HashSet::new(),
        }
    }
}

impl PatternBudget {
    /// A budget without limits, for schemas that were accepted before.
    pub fn unlimited() -> Self {
        Self {
            left: None,
            known: HashSet::new(),
        }
    }

    /// Counts the patterns of a schema. The error names the exceeded limit; it continues "the schema".
    pub(super) fn spend_on(&mut self, schema: &Value) -> Result<(), String> {
        if self.left.is_none() {
            return Ok(());
        }
        // Data that looks like a pattern, as in an `enum`, is counted, too.
        let mut open = vec![schema];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(keywords) => {
                    if let Some(Value::String(pattern)) = keywords.get("pattern") {
                        self.spend(pattern)?;
                    }
                    if let Some(Value::Object(by_pattern)) = keywords.get("patternProperties") {
                        by_pattern.keys().try_for_each(|pattern| self.spend(pattern))?;
                    }
                    open.extend(keywords.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        Ok(())
    }

    fn spend(&mut self, pattern: &str) -> Result<(), String> {
        let shown = || clip(pattern, 60);
        if pattern.len() > MAX_PATTERN_LEN {
            return Err(format!(
                "has a pattern of {} bytes ({:?}…), more than the limit of {MAX_PATTERN_LEN} (pattern_length)",
                pattern.len(),
                shown()
            ));
        }
        if pattern.matches("\\c").count() > MAX_CONTROL_ESCAPES {
            return Err(format!(
                "has a pattern with more than {MAX_CONTROL_ESCAPES} escapes `\\c` ({:?}): write `\\x` and two digits",
                shown()
            ));
        }
        let Some(left) = self.left.as_mut().filter(|_| !self.known.contains(pattern)) else {
            return Ok(());
        };
        left.patterns = left.patterns.checked_sub(1).ok_or_else(|| {
            format!("and those before it have more than {MAX_PATTERNS} patterns (patterns): use fewer")
        })?;
        let bytes = compiled_bytes(pattern, left.bytes);
        left.bytes = bytes.and_then(|bytes| left.bytes.checked_sub(bytes)).ok_or_else(|| {
            format!(
                "and those before it have patterns that take more than {MAX_PATTERN_BYTES} bytes together when they are \
                 compiled (pattern_bytes); the last one is {:?}: repeat less in it",
                shown()
            )
        })?;
        self.known.insert(pattern.to_owned());
        Ok(())
    }
}

/// The size limit that a pattern needs to compile, if it is within `most`. A pattern that the schema's
/// compiler refuses anyway counts little; a pattern that only this compiler can read counts as its maximum.
fn compiled_bytes(pattern: &str, most: usize) -> Option<usize> {
    let mut limit = FIRST_BYTES;
    loop {
        if limit > most {
            return None;
        }
        let built = RegexBuilder::new(pattern)
            .size_limit(limit)
            .dfa_size_limit(FIRST_BYTES)
            .build();
        match built {
            Ok(_) => return Some(limit),
            Err(regex::Error::CompiledTooBig(_)) if limit < PATTERN_BYTES => {
                limit = (limit * 8).min(PATTERN_BYTES);
            }
            Err(regex::Error::CompiledTooBig(_)) => return Some(FIRST_BYTES),
            Err(_) => return Some(PATTERN_BYTES).filter(|bytes| *bytes <= most),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(schema: &Value) -> String {
        PatternBudget::default().spend_on(schema).unwrap_err()
    }

    #[test]
    fn patterns_are_limited_in_number_length_and_memory() {
        let many: Vec<Value> = (0..=MAX_PATTERNS)
            .map(|at| json!({"pattern": format!("^{at}$")}))
            .collect();
        assert!(refused(&json!({"anyOf": many})).contains("(patterns)"));
        let same: Vec<Value> = (0..=MAX_PATTERNS).map(|_| json!({"pattern": "^a$"})).collect();
        assert!(PatternBudget::default().spend_on(&json!({"anyOf": same})).is_ok());
        let bombs: Vec<Value> = (0..100)
            .map(|at| json!({"pattern": format!("(a{{100}}{at}){{60}}")}))
            .collect();
        assert!(refused(&json!({"anyOf": bombs})).contains("(pattern_bytes)"));
        let long = json!({"patternProperties": {"a".repeat(MAX_PATTERN_LEN + 1): {}}});
        assert!(refused(&long).contains("(pattern_length)"));
        assert!(refused(&json!({"pattern": "\\cA".repeat(17)})).contains("escapes"));
    }

    #[test]
    fn schemas_share_a_budget() {
        let mut budget = PatternBudget::default();
        let schema = |at: usize| {
            let some: Vec<Value> = (0..400)
                .map(|n| json!({"pattern": format!("^{at}-{n}$")}))
                .collect();
            json!({"anyOf": some})
        };
        assert!(budget.spend_on(&schema(0)).is_ok() && budget.spend_on(&schema(1)).is_ok());
        assert!(budget.spend_on(&schema(2)).unwrap_err().contains("(patterns)"));
        assert!(PatternBudget::unlimited().spend_on(&schema(2)).is_ok());
    }
}
