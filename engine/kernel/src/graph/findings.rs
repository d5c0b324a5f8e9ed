//! What a check of a definition finds, and how much of it is shown.
//!
//! A check of any definition takes time in proportion to its length: errors and warnings are shown up to a limit and
//! counted past it, and few of them suggest a name.

use super::{Diagnostic, Severity};

/// How many errors a check shows, and how many warnings; further ones are counted.
pub const MAX_FINDINGS: usize = 100;

/// The errors and warnings of a check, in the order in which they were found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    shown: Vec<Diagnostic>,
    errors: Count,
    warnings: Count,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    found: usize,
    /// Whether something was not looked at because enough was found.
    is_least: bool,
}

impl Findings {
    /// Adds a finding; past the limit it is only counted.
    pub(crate) fn push(&mut self, finding: Diagnostic) {
        let count = self.count(finding.severity);
        count.found += 1;
        if count.found <= MAX_FINDINGS {
            self.shown.push(finding);
        }
    }

    /// Whether further errors are not shown, so that looking for them may be left out. If so, the number of errors is
    /// given as a lower bound.
    pub(crate) fn has_enough_errors(&mut self) -> bool {
        Self::has_enough(&mut self.errors)
    }

    /// The same for warnings.
    pub(crate) fn has_enough_warnings(&mut self) -> bool {
        Self::has_enough(&mut self.warnings)
    }

    fn has_enough(count: &mut Count) -> bool {
        let enough = count.found > MAX_FINDINGS;
        count.is_least |= enough;
        enough
    }

    fn count(&mut self, severity: Severity) -> &mut Count {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.errors.found > 0
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.errors.found + self.warnings.found == 0
    }

    /// Adds what another part of the check found.
    pub fn extend(&mut self, other: Self) {
        let shown = other.shown.len();
        let hidden = |count: Count, severity: Severity| {
            let shown = other.shown.iter().filter(|found| found.severity == severity);
            count.found - shown.count()
        };
        let (errors, warnings) = (
            hidden(other.errors, Severity::Error),
            hidden(other.warnings, Severity::Warning),
        );
        debug_assert!(shown <= 2 * MAX_FINDINGS, "findings are capped");
        other.shown.into_iter().for_each(|finding| self.push(finding));
        self.errors.found += errors;
        self.warnings.found += warnings;
        self.errors.is_least |= other.errors.is_least;
        self.warnings.is_least |= other.warnings.is_least;
    }

    /// The findings that are shown, with one more that says how many errors or warnings are not.
    pub fn into_shown(mut self) -> Vec<Diagnostic> {
        for (count, severity, what) in [
            (self.errors, Severity::Error, "errors"),
            (self.warnings, Severity::Warning, "warnings"),
        ] {
            let Some(more) = count.found.checked_sub(MAX_FINDINGS).filter(|more| *more > 0) else {
                continue;
            };
            let least = if count.is_least { "at least " } else { "" };
            self.shown.push(Diagnostic {
                severity,
                pointer: String::new(),
                message: format!(
                    "and {least}{more} more {what}, which are not shown: a check shows {MAX_FINDINGS} (findings)"
                ),
            });
        }
        self.shown
    }
}

impl From<Vec<Diagnostic>> for Findings {
    fn from(found: Vec<Diagnostic>) -> Self {
        let mut findings = Self::default();
        found.into_iter().for_each(|finding| findings.push(finding));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(severity: Severity, count: usize) -> Findings {
        let finding = Diagnostic {
            severity,
            pointer: "/nodes".to_owned(),
            message: "wrong".to_owned(),
        };
        Findings::from(vec![finding; count])
    }

    #[test]
    fn findings_past_the_limit_are_counted() {
        assert_eq!(
            found(Severity::Error, MAX_FINDINGS).into_shown().len(),
            MAX_FINDINGS
        );
        let mut all = found(Severity::Error, MAX_FINDINGS + 7);
        all.extend(found(Severity::Warning, MAX_FINDINGS + 1));
        all.extend(found(Severity::Error, MAX_FINDINGS + 3));
        assert!(all.has_errors() && !all.is_empty());
        let shown = all.clone().into_shown();
        assert_eq!(shown.len(), 2 * MAX_FINDINGS + 2);
        let said: Vec<&str> = shown.iter().map(|found| &*found.message).collect();
        assert!(
            said[2 * MAX_FINDINGS].starts_with("and 110 more errors"),
            "{said:?}"
        );
        assert!(
            said[2 * MAX_FINDINGS + 1].starts_with("and 1 more warnings"),
            "{said:?}"
        );
        assert!(all.has_enough_errors());
        let said = &all.into_shown()[2 * MAX_FINDINGS].message;
        assert!(said.starts_with("and at least 110 more errors"), "{said}");
    }
}
