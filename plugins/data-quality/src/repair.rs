//! Repairs one kind of anomaly in a table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::{Type, number, written};
use crate::rules::{Anomaly, Check, Rule};
use crate::stats::Fences;
use crate::table::Table;

/// A kind of anomaly and what is done about it, in the order in which they are repaired: a duplicate must
/// not count in anything, a misfit becomes a gap before the gaps are filled, and what is filled in
/// lies within the fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Rows that repeat an earlier one are dropped.
    Duplicates,
    /// Values of another type, or not among those allowed, are matched to an allowed one (blanks around
    /// it and its case aside) or emptied.
    Misfits,
    /// Gaps are filled with the column's median or most frequent value.
    Gaps,
    /// Numbers beyond Tukey's fences are set to the fence (winsorised).
    Outliers,
}

impl Kind {
    /// All kinds in the order of repair.
    pub const ALL: [Kind; 4] = [Kind::Duplicates, Kind::Misfits, Kind::Gaps, Kind::Outliers];

    /// The kind of anomaly that breaks a check.
    pub fn of(check: &Check) -> Self {
        match check {
            Check::UniqueRows => Kind::Duplicates,
            Check::HasType { .. } | Check::OneOf { .. } => Kind::Misfits,
            Check::NotNull { .. } => Kind::Gaps,
            Check::InRange { .. } => Kind::Outliers,
        }
    }
}

/// The first kind of repair, in their order, for which there are anomalies.
pub fn next(anomalies: &[Anomaly], rules: &[Rule]) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| {
        let broken = |rule: &Rule| anomalies.iter().any(|anomaly| anomaly.rule == rule.id);
        rules
            .iter()
            .any(|rule| Kind::of(&rule.check) == *kind && broken(rule))
    })
}

/// Repairs one kind. Returns how many rows were dropped or cells changed.
pub fn repair(table: &mut Table, kind: Kind, rules: &[Rule]) -> usize {
    if kind == Kind::Duplicates {
        let before = table.rows.len();
        let mut repeats = table.repeats().into_iter();
        table
            .rows
            .retain(|_| !repeats.next().expect("there is one for each row"));
        return before - table.rows.len();
    }
    let mut changed = 0;
    for rule in rules.iter().filter(|rule| Kind::of(&rule.check) == kind) {
        let Some(place) = table.column(&rule.column) else {
            continue;
        };
        for row in &mut table.rows {
            if rule.check.is_broken_by(&row[place]) {
                row[place] = mended(&row[place], &rule.check);
                changed += 1;
            }
        }
    }
    changed
}

/// What to put in place of a cell that breaks the check.
fn mended(cell: &str, check: &Check) -> String {
    match check {
        Check::UniqueRows => cell.to_string(),
        Check::NotNull { fill } => fill.clone(),
        Check::HasType { .. } => String::new(),
        Check::OneOf { values } => {
            let same = |value: &&String| value.trim().to_lowercase() == cell.trim().to_lowercase();
            values.iter().find(same).cloned().unwrap_or_default()
        }
        Check::InRange { fences, number: ty } => match number(cell) {
            Some(value) => written(capped(value, *fences, *ty), *ty),
            None => cell.to_string(),
        },
    }
}

/// The nearest value within the fences; of a whole number, the nearest whole one.
fn capped(value: f64, fences: Fences, ty: Type) -> f64 {
    let Fences { lower, upper } = fences;
    match ty {
        Type::Integer => value.clamp(lower.ceil(), upper.floor().max(lower.ceil())),
        _ => value.clamp(lower, upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_capped_at_a_whole_number_within_the_fences() {
        let check = Check::InRange {
            fences: Fences {
                lower: -0.5,
                upper: 32.5,
            },
            number: Type::Integer,
        };
        assert_eq!(mended("40", &check), "32");
        assert_eq!(mended("-7", &check), "0");
        assert!(!check.is_broken_by("32"));
        let check = Check::InRange {
            fences: Fences {
                lower: -0.5,
                upper: 32.5,
            },
            number: Type::Number,
        };
        assert_eq!(mended("40", &check), "32.5");
    }

    #[test]
    fn a_misfit_finds_its_allowed_value_or_becomes_a_gap() {
        let check = Check::OneOf {
            values: vec!["Day".into(), "Night".into()],
        };
        assert_eq!(mended(" day ", &check), "Day");
        assert_eq!(mended("Noon", &check), "");
    }
}
