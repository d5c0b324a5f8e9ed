//! The types that the nodes and tools of this plugin exchange as JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One source file under review.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// The path of the file. A file in a folder `tests` is test code.
    pub path: String,
    /// The whole Rust source text.
    pub source: String,
}

/// The limits above which a function is an issue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Cyclomatic complexity. The default is McCabe's limit, 10; above twice the limit is an error.
    pub complexity: u32,
    /// Lines from the signature to the closing brace.
    pub lines: u32,
    /// Parameters, `self` not counted.
    pub parameters: u32,
    /// The depth of control flow within control flow.
    pub nesting: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            complexity: 10,
            lines: 70,
            parameters: 7,
            nesting: 4,
        }
    }
}

/// A function, method or trait method with its place in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Function {
    /// The path of the file, as in the input.
    pub file: String,
    /// Its name within the file: modules, then the type or trait, then its own.
    pub name: String,
    /// Its signature in one line, cut at 160 characters.
    pub signature: String,
    /// The line that its signature starts on, from 1.
    pub line: u32,
    /// The line of its closing brace, from 1.
    pub end_line: u32,
    /// Whether it is test code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Its metrics, once measured. A method without a body has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
}

/// Measured size and complexity of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metrics {
    /// McCabe's cyclomatic complexity: 1 plus the number of decisions.
    pub complexity: u32,
    /// Lines from the signature to the closing brace.
    pub lines: u32,
    /// Parameters, `self` not counted.
    pub parameters: u32,
    /// The depth of control flow within control flow, from 0.
    pub nesting: u32,
    /// The first and the last line of the longest piece of control flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest: Option<(u32, u32)>,
}

/// How serious an issue is, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A style issue.
    Note,
    /// An issue that makes the code harder to trust or to change.
    Warning,
    /// An issue that should block a merge.
    Error,
}

/// An issue that the review found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Issue {
    /// The path of the file, as in the input.
    pub file: String,
    /// The line of the issue, from 1.
    pub line: u32,
    /// The rule's id; the README lists them.
    pub rule: String,
    /// How serious the issue is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Whether `fix` can fix it without changing the program's behaviour.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// How to solve one issue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suggestion {
    /// The path of the file, as in the input.
    pub file: String,
    /// The line of the issue, from 1.
    pub line: u32,
    /// The id of the rule that the code breaks.
    pub rule: String,
    /// What to do.
    pub text: String,
}

/// One edit that the improvement step made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The path of the file; empty in the result of `fix`, whose input has no path.
    #[serde(default)]
    pub file: String,
    /// The line before the edit, from 1.
    pub line: u32,
    /// The id of the rule that the code broke.
    pub rule: String,
    /// The text before the edit, cut to one line.
    pub before: String,
    /// The text after the edit, cut to one line.
    pub after: String,
}

/// The first characters of a text, with `…` where something was cut off.
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_string(),
    }
}
