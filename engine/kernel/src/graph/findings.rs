//! The findings of a check, and the limits for showing them.
//!
//! A check takes time in proportion to the length of the definition: errors and warnings are shown up to a
//! limit and counted beyond it, and few of them suggest a name.

use super::{Diagnostic, Severity};

/// The number of errors, and of warnings, that a check shows. Further ones are counted.
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
    /// Whether the count is a lower bound, because some checks were skipped.
    is_least: bool,
}

impl Findings {
    /// Adds a finding. Beyond the limit it is only counted.
    pub(crate) fn push(&mut self, finding: Diagnostic) {
        let count = self.count(finding.severity);
        count.found += 1;
        if count.found <= MAX_FINDINGS {
            self.shown.push(finding);
        }
    }

    /// Whether further errors would not be shown, so that a check for them may be skipped. The number of
    /// errors is then a lower bound.
    pub(crate) fn has_enough_errors(&mut self) -> bool {
        Self::has_enough(&mut self.errors)
    }

    /// Like [`Self::has_enough_errors`], for warnings.
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

    /// Whether one of the shown findings is about this place.
    pub(crate) fn is_about(&self, pointer: &str) -> bool {
        self.shown.iter().any(|finding| finding.pointer == pointer)
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.errors.found > 0
    }

    /// Whether there are no findings.
    pub fn is_empty(&self) -> bool {
        self.errors.found + self.warnings.found == 0
    }

    /// Adds the findings of another part of the check.
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

    /// The shown findings, and one more for the number of errors or warnings that are not shown.
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
        let messages: Vec<&str> = shown.iter().map(|found| &*found.message).collect();
        assert!(
            messages[2 * MAX_FINDINGS].starts_with("and 110 more errors"),
            "{messages:?}"
        );
        assert!(
            messages[2 * MAX_FINDINGS + 1].starts_with("and 1 more warnings"),
            "{messages:?}"
        );
        assert!(all.has_enough_errors());
        let message = &all.into_shown()[2 * MAX_FINDINGS].message;
        assert!(message.starts_with("and at least 110 more errors"), "{message}");
    }
}
