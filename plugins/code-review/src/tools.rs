//! The tools. Each takes one file and needs nothing else of the run.

use heddle_plugin::prelude::*;

use crate::model::{Change, File, Function, Issue, Limits, Metrics};
use crate::source::Source;
use crate::{fixes, functions, metrics, rules, walk};

/// The result of `functions`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Functions {
    /// The functions by line; empty if the file does not parse.
    pub functions: Vec<Function>,
}

/// Lists the functions of a Rust file: names, signatures, lines.
#[tool(name = "functions", read_only, idempotent)]
fn functions_of(file: File) -> Functions {
    Functions {
        functions: functions::list(&file.path, &file.source),
    }
}

/// The input of `measure`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// The whole text of a Rust file.
    pub source: String,
}

/// The result of `measure`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Measures {
    /// The metrics by line. A method without a body is left out.
    pub measures: Vec<Measure>,
}

/// A function with its metrics.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// Its name within the file.
    pub name: String,
    /// The line that its signature starts on.
    pub line: u32,
    /// Its size and complexity.
    pub metrics: Metrics,
}

/// Measures the functions of a Rust file: cyclomatic complexity, size, nesting.
#[tool(read_only, idempotent)]
fn measure(text: Text) -> Measures {
    let measure = |found: &walk::Found<'_>| {
        let metrics = metrics::measure(found)?;
        Some(Measure {
            name: found.name.clone(),
            line: found.lines().0,
            metrics,
        })
    };
    let measures = match Source::parse(&text.source) {
        Ok(source) => walk::functions(&source.tree).iter().filter_map(measure).collect(),
        Err(_) => Vec::new(),
    };
    Measures { measures }
}

/// The input of `lint`: a file, and the limits for its functions.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Lint {
    /// The file to check.
    #[serde(flatten)]
    pub file: File,
    /// The limits above which a metric is an issue.
    #[serde(default)]
    pub limits: Limits,
}

/// The result of `lint`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Issues {
    /// The issues by line.
    pub issues: Vec<Issue>,
}

/// Finds the issues of a Rust file. If the file does not parse, that is an issue, not a failure.
#[tool(read_only, idempotent)]
fn lint(input: Lint) -> Issues {
    Issues {
        issues: rules::issues(&input.file.path, &input.file.source, &input.limits),
    }
}

/// The input of `fix`: a file, and the rule whose issues are fixed.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// The whole text of a Rust file.
    pub source: String,
    /// The id of a rule whose issues can be fixed automatically.
    pub rule: String,
}

/// The result of `fix`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Fixed {
    /// The whole text after the edits.
    pub source: String,
    /// The edits by line.
    pub changes: Vec<Change>,
}

/// Fixes the issues of one rule in a Rust file, without changing the program's behaviour.
#[tool(read_only, idempotent)]
fn fix(input: Fix) -> Fixed {
    let (source, changes) = fixes::apply(&input.source, &input.rule);
    Fixed { source, changes }
}
