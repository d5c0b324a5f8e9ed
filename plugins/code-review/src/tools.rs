//! The tools: each looks at one file and knows nothing of the run.

use heddle_plugin::prelude::*;

use crate::model::{Change, File, Function, Issue, Limits, Metrics};
use crate::source::Source;
use crate::{fixes, functions, metrics, rules, walk};

/// The functions of a file.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Functions {
    /// In the order of their lines; empty where the file does not parse.
    pub functions: Vec<Function>,
}

/// Lists the functions of a Rust file: names, signatures, lines.
#[tool(name = "functions", read_only, idempotent)]
fn functions_of(file: File) -> Functions {
    Functions {
        functions: functions::list(&file.path, &file.source),
    }
}

/// A text to measure.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// The whole text of a Rust file.
    pub source: String,
}

/// The numbers of a file's functions.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Measures {
    /// In the order of their lines; a method without a body has none.
    pub measures: Vec<Measure>,
}

/// The numbers of one function.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Measure {
    /// Its name within the file.
    pub name: String,
    /// The line that its signature starts on.
    pub line: u32,
    /// The function's metrics.
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

/// A file and how far its functions may go.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Lint {
    /// The file.
    #[serde(flatten)]
    pub file: File,
    /// The limits above which a metric is an issue.
    #[serde(default)]
    pub limits: Limits,
}

/// What was found in a file.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Issues {
    /// In the order of their lines.
    pub issues: Vec<Issue>,
}

/// Finds what is wrong in a Rust file. One that does not parse is an issue, not a failure.
#[tool(read_only, idempotent)]
fn lint(input: Lint) -> Issues {
    Issues {
        issues: rules::issues(&input.file.path, &input.file.source, &input.limits),
    }
}

/// A text, and the rule to hold it to.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// The whole text of a Rust file.
    pub source: String,
    /// The id of a rule whose issues can be fixed automatically.
    pub rule: String,
}

/// The result of the fixes.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Fixed {
    /// The source with the fixes.
    pub source: String,
    /// What was changed, in the order of the lines.
    pub changes: Vec<Change>,
}

/// Fixes the issues of one rule in a Rust file, without changing the program's behaviour.
#[tool(read_only, idempotent)]
fn fix(input: Fix) -> Fixed {
    let (source, changes) = fixes::apply(&input.source, &input.rule);
    Fixed { source, changes }
}
