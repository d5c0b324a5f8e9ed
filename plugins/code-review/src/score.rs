//! The score, the suggestions, and the choice of the next improvement.

use std::collections::BTreeMap;

use crate::model::{Function, Issue, Severity, Suggestion};

/// How much an issue of this severity adds to the sum `P` of [`score`].
pub fn penalty(severity: Severity) -> f64 {
    match severity {
        Severity::Note => 0.25,
        Severity::Warning => 1.0,
        Severity::Error => 4.0,
    }
}

/// The score of the reviewed functions, from 0 to 100, to one decimal.
///
/// `100 · F / (F + P)`, where `F` is the number of functions (at least 1) and `P` the sum of the issues'
/// penalties (error 4, warning 1, note ¼). So it is 100 without issues, 50 at one warning a function,
/// and does not depend on how much code there is, only on how dense its issues are.
pub fn score(functions: usize, issues: &[Issue]) -> f64 {
    let functions = functions.max(1) as f64;
    let penalties: f64 = issues.iter().map(|issue| penalty(issue.severity)).sum();
    (1000.0 * functions / (functions + penalties)).round() / 10.0
}

/// The rule whose automatic issues cost the most together; of equals, the first by name.
pub fn worst_automatic(issues: &[Issue]) -> Option<String> {
    let mut costs: BTreeMap<&str, f64> = BTreeMap::new();
    for issue in issues.iter().filter(|issue| issue.automatic) {
        *costs.entry(&issue.rule).or_default() += penalty(issue.severity);
    }
    let worst = costs.values().copied().fold(0.0, f64::max);
    costs
        .into_iter()
        .find(|(_, cost)| *cost == worst)
        .map(|(rule, _)| rule.to_string())
}

/// A suggestion for each issue, in the same order.
pub fn suggestions(issues: &[Issue], functions: &[Function]) -> Vec<Suggestion> {
    let by_place: BTreeMap<(&str, u32), &Function> = functions
        .iter()
        .map(|function| ((function.file.as_str(), function.line), function))
        .collect();
    issues
        .iter()
        .map(|issue| {
            let function = by_place.get(&(issue.file.as_str(), issue.line)).copied();
            let (file, line, rule) = (issue.file.clone(), issue.line, issue.rule.clone());
            Suggestion {
                file,
                line,
                rule,
                text: advice(issue, function),
            }
        })
        .collect()
}

fn advice(issue: &Issue, function: Option<&Function>) -> String {
    let longest = function
        .and_then(|function| function.metrics)
        .and_then(|metrics| metrics.longest);
    let apart = match longest {
        Some((start, end)) if end > start => format!("move lines {start}–{end} into a separate function"),
        _ => "divide it into functions that each do one thing".to_string(),
    };
    let text = match issue.rule.as_str() {
        "parse-error" => "fix the syntax; nothing else in the file was reviewed",
        "complex-function" => return format!("{apart}: the decisions in there leave with it"),
        "long-function" => return apart,
        "many-parameters" => {
            let names = function
                .map(|function| parameter_names(&function.signature))
                .unwrap_or_default();
            return format!("put those that travel together into a struct: {names}");
        }
        "deep-nesting" => return format!("turn the outer conditions into early returns, or {apart}"),
        "unwrap" => "return the error with `?`, or say with `expect` why it cannot be",
        "expect-without-reason" => "write why it holds, for readers of the panic",
        "panic" => "return an error, unless a broken invariant is the only way here",
        "unfinished" => "finish it, or return an error that says it is not supported",
        "missing-docs" => "say in one line what it does for its caller",
        "unsafe-without-reason" => "write down why the requirements of the unsafe operation are met",
        _ if issue.automatic => "the improvement step fixes it",
        "needless-return" => "leave out `return`, if no guard then lives longer",
        "collapsible-if" => "join the conditions with `&&`, if no guard then lives longer",
        "len-zero" => "call `is_empty`, if the type has it",
        _ => "leave it out",
    };
    text.to_string()
}

/// The names in a one-line signature's parameter list.
fn parameter_names(signature: &str) -> String {
    let list = signature.split_once('(').map_or("", |(_, rest)| rest);
    let mut depth = 0_i32;
    let mut names = Vec::new();
    let mut word = String::new();
    for letter in list.chars() {
        match letter {
            '(' | '[' | '<' | '{' => depth += 1,
            ')' | ']' | '>' | '}' => depth -= 1,
            ':' if depth == 0 && !word.is_empty() => names.push(format!("`{}`", word.trim())),
            _ => {}
        }
        match letter {
            ',' | ':' => word.clear(),
            _ => word.push(letter),
        }
        if depth < 0 {
            break;
        }
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(rule: &str, severity: Severity, automatic: bool) -> Issue {
        let (file, message) = ("a.rs".to_string(), String::new());
        Issue {
            file,
            line: 1,
            rule: rule.into(),
            severity,
            message,
            automatic,
        }
    }

    #[test]
    fn the_score_is_the_density_of_issues() {
        let warning = issue("unwrap", Severity::Warning, false);
        assert_eq!(score(10, &[]), 100.0);
        assert_eq!(score(1, std::slice::from_ref(&warning)), 50.0);
        assert_eq!(
            score(3, &[warning.clone(), issue("panic", Severity::Error, false)]),
            37.5
        );
        assert_eq!(score(0, &[warning]), 50.0);
        assert_eq!(score(2, &[issue("len-zero", Severity::Note, false)]), 88.9);
    }

    #[test]
    fn the_worst_kind_is_the_one_that_costs_most_and_can_be_mended() {
        let notes: Vec<_> = (0..5).map(|_| issue("len-zero", Severity::Note, true)).collect();
        let mut issues = vec![
            issue("panic", Severity::Error, false),
            issue("dbg-left", Severity::Warning, true),
        ];
        assert_eq!(worst_automatic(&issues).as_deref(), Some("dbg-left"));
        issues.extend(notes);
        assert_eq!(worst_automatic(&issues).as_deref(), Some("len-zero"));
        assert_eq!(worst_automatic(&issues[..1]), None);
    }

    #[test]
    fn advice_on_parameters_names_them() {
        assert_eq!(
            parameter_names("fn f(&self, a: Vec<(u8, u8)>, mut b: u8) -> T"),
            "`a`, `mut b`"
        );
    }
}
