//! Profiles a table: the values of each column, and the number of duplicate rows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cell::{Type, is_missing};
use crate::stats::Stats;
use crate::table::Table;

/// A column has a type if at least this share of its values is of it.
const TYPE_SHARE: f64 = 0.95;
/// A column with at most this many different values has a list of them.
const FEW: usize = 20;
/// Of any other column, this many of the most frequent values are listed.
const TOP: usize = 3;

/// What a table looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// How many rows there are.
    pub rows: usize,
    /// How many of them repeat an earlier row.
    pub duplicate_rows: usize,
    /// The columns in their order.
    pub columns: Vec<Column>,
}

/// What a column looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Column {
    /// The column's name, from the header.
    pub name: String,
    /// The narrowest type that at least 95% of its values are of.
    #[serde(rename = "type")]
    pub ty: Type,
    /// How many cells have no value.
    pub missing: usize,
    /// How many values are not of the type.
    pub misfits: usize,
    /// How many different values there are.
    pub distinct: usize,
    /// The most frequent values that are of the type, all of them where they are few; of equals, the
    /// first in order.
    pub values: Vec<Frequency>,
    /// Of a column of numbers, how they are distributed.
    pub stats: Option<Stats>,
}

/// How often a value is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Frequency {
    /// The text of the cells.
    pub value: String,
    /// How many cells have it.
    pub count: usize,
}

impl Column {
    /// Whether the profile lists all values of the column.
    pub fn has_few_values(&self) -> bool {
        self.distinct <= FEW
    }
}

/// Profiles a table, all but the distribution of its numbers.
pub fn profile(table: &Table) -> Profile {
    let column = |(place, name): (usize, &String)| {
        let cells = || table.rows.iter().map(|row| row[place].as_str());
        let values: Vec<&str> = cells().filter(|cell| !is_missing(cell)).collect();
        let ty = type_of(&values);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for value in &values {
            *counts.entry(value).or_default() += 1;
        }
        let distinct = counts.len();
        let mut counts: Vec<_> = counts.into_iter().filter(|(value, _)| ty.fits(value)).collect();
        counts.sort_by_key(|(value, count)| (std::cmp::Reverse(*count), *value));
        counts.truncate(if distinct <= FEW { FEW } else { TOP });
        let frequency = |(value, count): (&str, usize)| Frequency {
            value: value.to_string(),
            count,
        };
        Column {
            name: name.clone(),
            ty,
            missing: table.rows.len() - values.len(),
            misfits: values.iter().filter(|value| !ty.fits(value)).count(),
            distinct,
            values: counts.into_iter().map(frequency).collect(),
            stats: None,
        }
    };
    Profile {
        rows: table.rows.len(),
        duplicate_rows: table.repeats().into_iter().filter(|repeats| *repeats).count(),
        columns: table.header.iter().enumerate().map(column).collect(),
    }
}

fn type_of(values: &[&str]) -> Type {
    let enough = (values.len() as f64 * TYPE_SHARE).ceil() as usize;
    Type::NARROW
        .into_iter()
        .find(|ty| !values.is_empty() && values.iter().filter(|value| ty.fits(value)).count() >= enough)
        .unwrap_or(Type::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_of_the_type_of_nearly_all_its_values() {
        let with = |odd: usize, all: usize| {
            let cells = (0..all).map(|n| if n < odd { "odd".to_string() } else { n.to_string() });
            let rows = cells.map(|cell| vec![cell]).collect();
            let column = profile(&Table {
                header: vec!["a".into()],
                rows,
            })
            .columns
            .remove(0);
            (column.ty, column.misfits)
        };
        assert_eq!(with(5, 100), (Type::Integer, 5));
        assert_eq!(with(6, 100), (Type::Text, 0));
    }

    #[test]
    fn missing_cells_are_not_values() {
        let table = Table::read("a,b\n1,x\n,x\nNA,y\n2,\n").expect("it is a CSV");
        let profile = profile(&table);
        let [a, b] = profile.columns.as_slice() else {
            panic!("two columns")
        };
        assert_eq!((a.ty, a.missing, a.distinct), (Type::Integer, 2, 2));
        assert_eq!((b.ty, b.missing, b.distinct), (Type::Text, 1, 2));
        assert_eq!(
            b.values[0],
            Frequency {
                value: "x".into(),
                count: 2
            }
        );
    }
}
