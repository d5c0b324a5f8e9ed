//! Derives rules from a profile, and finds what breaks them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::{Type, is_missing, number, written};
use crate::profile::{Column, Profile};
use crate::stats::Fences;
use crate::table::Table;

/// A column of which this share or more is missing may be empty.
const OPTIONAL_SHARE: f64 = 0.5;
/// A value is allowed in a column of few values if it is at least one in this many of them.
const RARE: usize = 1000;
/// How many rows are named for each rule.
const EXAMPLES: usize = 3;

/// A rule for the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    /// Its name: the column and what is checked.
    pub id: String,
    /// The name of the column; empty if the rule is for whole rows.
    pub column: String,
    /// The check, with the values that it needs.
    #[serde(flatten)]
    pub check: Check,
}

/// What a rule checks, with the values that a repair needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Check {
    /// No row repeats an earlier one.
    UniqueRows,
    /// Every cell has a value. The repair of an empty cell is `fill`, the column's median or most frequent value.
    NotNull {
        /// The value to impute.
        fill: String,
    },
    /// Every value is of the type.
    HasType {
        /// The type that every value must have.
        expected: Type,
    },
    /// Every number lies within Tukey's fences.
    InRange {
        /// The lowest and highest number that is allowed.
        #[serde(flatten)]
        fences: Fences,
        /// The column's type: a whole number is capped at a whole number.
        number: Type,
    },
    /// Every value is one of these.
    OneOf {
        /// Every value that a cell may have.
        values: Vec<String>,
    },
}

/// How often a rule is broken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Anomaly {
    /// The id of the broken rule.
    pub rule: String,
    /// How many cells, or rows, break it.
    pub count: usize,
    /// The first rows that break it, from 1; the header is not counted.
    pub rows: Vec<usize>,
}

/// The rules that the bulk of the data keeps.
pub fn derive(profile: &Profile) -> Vec<Rule> {
    let mut rules = vec![Rule {
        id: "rows:unique".into(),
        column: String::new(),
        check: Check::UniqueRows,
    }];
    for column in &profile.columns {
        let mut add = |what: &str, check| {
            let (id, column) = (format!("{}:{what}", column.name), column.name.clone());
            rules.push(Rule { id, column, check });
        };
        if column.ty != Type::Text {
            add("type", Check::HasType { expected: column.ty });
        }
        let optional = column.missing as f64 >= OPTIONAL_SHARE * profile.rows as f64;
        if let (false, Some(fill)) = (optional, fill(column)) {
            add("not-null", Check::NotNull { fill });
        }
        if let Some(fences) = column.stats.as_ref().and_then(|stats| stats.fences) {
            add(
                "range",
                Check::InRange {
                    fences,
                    number: column.ty,
                },
            );
        }
        if column.ty == Type::Text && column.has_few_values() {
            let enough = |count: usize| count * RARE >= profile.rows - column.missing;
            let common = column.values.iter().filter(|frequency| enough(frequency.count));
            let values = common.map(|frequency| frequency.value.clone()).collect();
            add("allowed", Check::OneOf { values });
        }
    }
    rules
}

fn fill(column: &Column) -> Option<String> {
    match &column.stats {
        Some(stats) => Some(written(stats.median, column.ty)),
        None => column.values.first().map(|frequency| frequency.value.clone()),
    }
}

/// What breaks the rules, in their order; a rule that nothing breaks is left out.
pub fn check(table: &Table, rules: &[Rule]) -> Vec<Anomaly> {
    let repeats = table.repeats();
    let broken = |rule: &Rule| {
        let breaks: Vec<usize> = match table.column(&rule.column) {
            Some(place) => {
                let rows = table.rows.iter().enumerate();
                rows.filter(|(_, row)| rule.check.is_broken_by(&row[place]))
                    .map(|(row, _)| row + 1)
                    .collect()
            }
            None if rule.check == Check::UniqueRows => repeats
                .iter()
                .enumerate()
                .filter(|(_, repeats)| **repeats)
                .map(|(row, _)| row + 1)
                .collect(),
            None => Vec::new(),
        };
        let (id, count) = (rule.id.clone(), breaks.len());
        (count > 0).then(|| Anomaly {
            rule: id,
            count,
            rows: breaks.into_iter().take(EXAMPLES).collect(),
        })
    };
    rules.iter().filter_map(broken).collect()
}

impl Check {
    /// Whether a cell breaks the rule. Each fault counts once: a missing value breaks only the rule that requires a value,
    /// and text that is not a number is not out of range.
    pub fn is_broken_by(&self, cell: &str) -> bool {
        match self {
            Check::UniqueRows => false,
            Check::NotNull { .. } => is_missing(cell),
            _ if is_missing(cell) => false,
            Check::HasType { expected } => !expected.fits(cell),
            Check::InRange { fences, .. } => number(cell).is_some_and(|value| !fences.hold(value)),
            Check::OneOf { values } => !values.iter().any(|value| value == cell),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_counts_once() {
        let range = Check::InRange {
            fences: Fences {
                lower: 0.0,
                upper: 9.0,
            },
            number: Type::Integer,
        };
        let ty = Check::HasType {
            expected: Type::Integer,
        };
        let not_null = Check::NotNull { fill: "4".into() };
        for (cell, broken) in [
            ("5", [false, false, false]),
            ("10", [true, false, false]),
            ("x", [false, true, false]),
            ("NA", [false, false, true]),
        ] {
            assert_eq!(
                [&range, &ty, &not_null].map(|check| check.is_broken_by(cell)),
                broken,
                "{cell}"
            );
        }
    }

    #[test]
    fn a_mostly_empty_column_may_be_empty_and_a_rare_value_is_not_allowed() {
        let mut text = String::from("kind,note\n");
        for row in 0..2001 {
            let kind = if row == 7 {
                "Odd"
            } else if row % 2 == 0 {
                "Even"
            } else {
                "Uneven"
            };
            let note = if row % 2 == 0 { "" } else { "x" };
            text.push_str(&format!("{kind},{note}\n"));
        }
        let rules = derive(&crate::profile::profile(
            &Table::read(&text).expect("it is a CSV"),
        ));
        let ids: Vec<_> = rules.iter().map(|rule| rule.id.as_str()).collect();
        assert_eq!(
            ids,
            ["rows:unique", "kind:not-null", "kind:allowed", "note:allowed"]
        );
        assert_eq!(
            rules[2].check,
            Check::OneOf {
                values: vec!["Even".into(), "Uneven".into()]
            }
        );
    }
}
