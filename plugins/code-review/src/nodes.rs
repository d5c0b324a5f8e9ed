//! The steps of the graph, from the files in the state to the report.

use heddle_plugin::prelude::*;

use crate::model::{Change, File, Function, Issue, Limits, Suggestion};
use crate::report;
use crate::score::{score, suggestions, worst_automatic};
use crate::tools::{Fix, Fixed, Functions, Issues, Lint, Measures, Text};

/// The score, from 0 to 100, from which no improvement is needed.
fn default_threshold() -> f64 {
    80.0
}

#[derive(Deserialize, JsonSchema)]
struct Files {
    /// The Rust files to review.
    files: Vec<File>,
}

#[derive(Serialize, JsonSchema)]
struct Extracted {
    /// Every function of every file.
    functions: Vec<Function>,
    /// The edits that the improvement step made; none at first.
    improvements: Vec<Change>,
}

/// Extracts the functions of every file: names, signatures, lines.
#[node(read_only, idempotent)]
fn extract_functions(state: Files) -> Result<Extracted> {
    if state.files.is_empty() {
        return Err(Error::invalid_input(
            "`files` is empty: give at least one {\"path\", \"source\"}",
        ));
    }
    let mut functions = Vec::new();
    for file in &state.files {
        functions.extend(call_tool::<_, Functions>("code-review/functions", file)?.functions);
    }
    log::info!("{} functions in {} files", functions.len(), state.files.len());
    Ok(Extracted {
        functions,
        improvements: Vec::new(),
    })
}

#[derive(Deserialize, JsonSchema)]
struct ToMeasure {
    files: Vec<File>,
    functions: Vec<Function>,
}

#[derive(Serialize, JsonSchema)]
struct Measured {
    /// Every function of every file, with its numbers.
    functions: Vec<Function>,
}

/// Measures every function: cyclomatic complexity, size, nesting.
#[node(read_only, idempotent)]
fn measure_complexity(state: ToMeasure) -> Result<Measured> {
    let mut functions = state.functions;
    for file in &state.files {
        let of_file = functions.iter_mut().filter(|function| function.file == file.path);
        add_metrics(&file.source, of_file)?;
    }
    let highest = functions
        .iter()
        .filter_map(|function| function.metrics)
        .map(|metrics| metrics.complexity)
        .max();
    log::info!("the highest complexity is {}", highest.unwrap_or_default());
    Ok(Measured { functions })
}

fn add_metrics<'f>(source: &str, functions: impl Iterator<Item = &'f mut Function>) -> Result<()> {
    let text = Text {
        source: source.to_string(),
    };
    let Measures { measures } = call_tool("code-review/measure", &text)?;
    for function in functions {
        let own = measures
            .iter()
            .find(|measure| measure.line == function.line && measure.name == function.name);
        function.metrics = own.map(|measure| measure.metrics);
    }
    Ok(())
}

#[derive(Deserialize, JsonSchema)]
struct ToLint {
    files: Vec<File>,
    /// The limits above which a metric of a function is an issue.
    #[serde(default)]
    limits: Limits,
}

#[derive(Serialize, JsonSchema)]
struct Detected {
    /// Every issue of every file.
    issues: Vec<Issue>,
}

/// Detects issues in every file; the README lists the rules.
#[node(read_only, idempotent)]
fn detect_issues(state: ToLint) -> Result<Detected> {
    let mut issues = Vec::new();
    for file in state.files {
        let lint = Lint {
            file,
            limits: state.limits,
        };
        issues.extend(call_tool::<_, Issues>("code-review/lint", &lint)?.issues);
    }
    log::info!("{} issues", issues.len());
    Ok(Detected { issues })
}

#[derive(Deserialize, JsonSchema)]
struct Reviewed {
    functions: Vec<Function>,
    issues: Vec<Issue>,
}

#[derive(Serialize, JsonSchema)]
struct Advised {
    /// A suggestion for each issue, in the order of the issues.
    suggestions: Vec<Suggestion>,
}

/// Suggests an improvement for each issue.
#[node(read_only, idempotent)]
fn suggest_improvements(state: Reviewed) -> Advised {
    Advised {
        suggestions: suggestions(&state.issues, &state.functions),
    }
}

#[derive(Serialize, JsonSchema)]
struct Scored {
    /// The quality, from 0 to 100.
    score: f64,
    /// The score before any improvement.
    score_before: f64,
}

/// Scores the code from 0 to 100 by the density of its issues.
#[node(read_only, idempotent)]
fn score_review(state: Reviewed) -> Scored {
    let score = score(state.functions.len(), &state.issues);
    log::info!("the score is {score}");
    Scored {
        score,
        score_before: score,
    }
}

#[derive(Deserialize, JsonSchema)]
struct ToImprove {
    files: Vec<File>,
    functions: Vec<Function>,
    issues: Vec<Issue>,
    improvements: Vec<Change>,
    score: f64,
    /// The score to reach.
    #[serde(default = "default_threshold")]
    threshold: f64,
    #[serde(default)]
    limits: Limits,
}

/// The changes of a turn.
#[derive(Serialize, JsonSchema)]
struct Improved {
    /// The files, with the improvements applied.
    files: Vec<File>,
    /// The functions, measured again.
    functions: Vec<Function>,
    /// The issues that the fixes left.
    issues: Vec<Issue>,
    /// A suggestion for each of them.
    suggestions: Vec<Suggestion>,
    /// The changes so far.
    improvements: Vec<Change>,
    /// The score that was reached.
    score: f64,
}

/// Applies the kind of improvement that gains most and reviews the changed files; repeats until the score
/// meets the threshold or no safe improvement is left.
#[node(read_only, idempotent)]
fn improve(mut state: ToImprove) -> Result<Outcome<Option<Improved>>> {
    if state.score >= state.threshold {
        log::info!(
            "the score of {} meets the threshold of {}",
            state.score,
            state.threshold
        );
        return Ok(Outcome::of(None));
    }
    let Some(rule) = worst_automatic(&state.issues) else {
        log::info!("no safe improvement is left");
        return Ok(Outcome::of(None));
    };
    let mut changed = 0;
    for at in 0..state.files.len() {
        let path = state.files[at].path.clone();
        if state
            .issues
            .iter()
            .any(|issue| issue.automatic && issue.rule == rule && issue.file == path)
        {
            changed += state.mend(at, &rule)?;
        }
    }
    if changed == 0 {
        log::warn!("no issue of {rule} could be fixed");
        return Ok(Outcome::of(None));
    }
    let ToImprove {
        files,
        functions,
        issues,
        improvements,
        ..
    } = state;
    let suggestions = suggestions(&issues, &functions);
    let score = score(functions.len(), &issues);
    log::info!("{rule}: {changed} changes; the score is {score}");
    Ok(Outcome::of(Some(Improved {
        files,
        functions,
        issues,
        suggestions,
        improvements,
        score,
    }))
    .again())
}

impl ToImprove {
    /// Fixes one rule in one file and reviews the file again. Returns the number of changes.
    fn mend(&mut self, at: usize, rule: &str) -> Result<usize> {
        let fix = Fix {
            source: self.files[at].source.clone(),
            rule: rule.to_string(),
        };
        let Fixed { source, mut changes } = call_tool("code-review/fix", &fix)?;
        if changes.is_empty() {
            return Ok(0);
        }
        let path = self.files[at].path.clone();
        changes
            .iter_mut()
            .for_each(|change| change.file.clone_from(&path));
        self.files[at].source = source;
        let file = &self.files[at];

        let Functions { mut functions } = call_tool("code-review/functions", file)?;
        add_metrics(&file.source, functions.iter_mut())?;
        let lint = Lint {
            file: file.clone(),
            limits: self.limits,
        };
        let Issues { issues } = call_tool("code-review/lint", &lint)?;
        replace(&mut self.functions, functions, |function| function.file == path);
        replace(&mut self.issues, issues, |issue| issue.file == path);
        let count = changes.len();
        self.improvements.extend(changes);
        Ok(count)
    }
}

/// Puts the new items at the place of the first old one.
fn replace<T>(list: &mut Vec<T>, new: Vec<T>, old: impl Fn(&T) -> bool) {
    let at = list.iter().position(&old).unwrap_or(list.len());
    list.retain(|item| !old(item));
    list.splice(at..at, new);
}

#[derive(Deserialize, JsonSchema)]
struct ToReport {
    files: Vec<File>,
    functions: Vec<Function>,
    issues: Vec<Issue>,
    suggestions: Vec<Suggestion>,
    improvements: Vec<Change>,
    score: f64,
    score_before: f64,
    #[serde(default = "default_threshold")]
    threshold: f64,
}

#[derive(Serialize, JsonSchema)]
struct Report {
    /// The review, as Markdown.
    report: String,
}

/// The parts of the input and output of `data-quality/describe` that are needed here.
#[derive(Serialize)]
struct Numbers {
    values: Vec<f64>,
}

#[derive(Deserialize)]
struct Distribution {
    median: f64,
    q3: f64,
    max: f64,
    fences: Option<Fences>,
    outliers: usize,
}

#[derive(Deserialize)]
struct Fences {
    upper: f64,
}

/// Writes the review as Markdown: scores, improvements, and the remaining issues, worst first.
#[node(read_only, idempotent)]
fn write_review(state: ToReport) -> Result<Report> {
    let values: Vec<f64> = state
        .functions
        .iter()
        .filter_map(|function| function.metrics)
        .map(|metrics| f64::from(metrics.complexity))
        .collect();
    let complexity = if values.is_empty() {
        "No function has a body to measure.".to_string()
    } else {
        describe(&call_tool("data-quality/describe", &Numbers { values })?)
    };
    let report = report::write(&report::Findings {
        functions: &state.functions,
        issues: &state.issues,
        suggestions: &state.suggestions,
        improvements: &state.improvements,
        files: state.files.len(),
        before: state.score_before,
        after: state.score,
        threshold: state.threshold,
        complexity,
    });
    Ok(Report { report })
}

fn describe(distribution: &Distribution) -> String {
    let Distribution {
        median,
        q3,
        max,
        fences,
        outliers,
    } = distribution;
    let mut text = format!("Cyclomatic complexity: median {median}, upper quartile {q3}, highest {max}");
    if let Some(Fences { upper }) = fences {
        text.push_str(&format!(
            "; outliers by Tukey's fences (above {upper}): {outliers}"
        ));
    }
    text.push('.');
    text
}
