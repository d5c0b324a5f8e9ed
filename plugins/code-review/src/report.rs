//! The report for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{Change, Function, Issue, Suggestion};
use crate::score::penalty;

/// How many issues the report lists.
const MOST_LISTED: usize = 10;

/// Everything that the report shows.
pub struct Findings<'a> {
    /// The functions of all files.
    pub functions: &'a [Function],
    /// The issues that remain after the fixes.
    pub issues: &'a [Issue],
    /// A suggestion for each issue, in the same order.
    pub suggestions: &'a [Suggestion],
    /// The edits that the improvement step made.
    pub improvements: &'a [Change],
    /// How many files were reviewed.
    pub files: usize,
    /// The score before any improvement.
    pub before: f64,
    /// The score that was reached.
    pub after: f64,
    /// The score that the file must reach, of 100.
    pub threshold: f64,
    /// How the complexities are distributed, in one sentence.
    pub complexity: String,
}

/// Writes the report as Markdown.
pub fn write(findings: &Findings<'_>) -> String {
    let Findings {
        functions,
        issues,
        improvements,
        files,
        before,
        after,
        threshold,
        ..
    } = findings;
    let mut text = String::from("# Code review\n\n");
    let verdict = if after >= threshold {
        "met"
    } else {
        "not met: what is left needs a person"
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}, {}. Score {after:.1} of 100 (before: {before:.1}); the threshold of {threshold} is {verdict}.",
        of(*files, "file"),
        of(functions.len(), "function"),
    );
    let _ = writeln!(text, "\n{}", findings.complexity);
    let _ = writeln!(text, "\n## Improved: {}\n", improvements.len());
    for (rule, count) in counted(improvements.iter().map(|change| change.rule.as_str())) {
        let _ = writeln!(text, "- {rule}: {count}");
    }
    let _ = writeln!(text, "\n## Left: {}\n", issues.len());
    for (rule, count) in counted(issues.iter().map(|issue| issue.rule.as_str())) {
        let _ = writeln!(text, "- {rule}: {count}");
    }
    if !issues.is_empty() {
        let _ = writeln!(text, "\n## Worst first\n");
    }
    let mut worst: Vec<_> = issues.iter().zip(findings.suggestions).collect();
    worst.sort_by(|a, b| penalty(b.0.severity).total_cmp(&penalty(a.0.severity)));
    for (place, (issue, suggestion)) in worst.into_iter().take(MOST_LISTED).enumerate() {
        let Issue {
            file, line, message, ..
        } = issue;
        let _ = writeln!(
            text,
            "{}. {file}:{line}: {message}; {}",
            place + 1,
            suggestion.text
        );
    }
    text
}

/// A number with its noun.
fn of(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

fn counted<'a>(rules: impl Iterator<Item = &'a str>) -> Vec<(&'a str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    rules.for_each(|rule| *counts.entry(rule).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(rule, count)| (std::cmp::Reverse(*count), *rule));
    counts
}
