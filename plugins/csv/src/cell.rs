//! The types of cells.

use heddle_plugin::{Decimal, prelude::*};

/// The type of a column. An empty cell is null in every type except `text`.
#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    /// Any text, unchanged.
    #[default]
    Text,
    /// A whole number, as `-12`.
    Integer,
    /// A decimal number, as `1.5` or `2e3`.
    Number,
    /// `true` or `false`, `yes` or `no`, `1` or `0`, in any case.
    Boolean,
}

/// A cell, converted to the type of its column.
#[derive(Serialize, Clone)]
#[serde(untagged)]
pub(crate) enum Cell {
    Null,
    Boolean(bool),
    Number(Decimal),
    Text(String),
}

impl Type {
    /// The value of a cell, or what it should have been.
    pub(crate) fn read(self, cell: &str) -> Result<Cell, &'static str> {
        let trimmed = cell.trim();
        match self {
            Self::Text => Ok(Cell::Text(cell.to_owned())),
            _ if trimmed.is_empty() => Ok(Cell::Null),
            Self::Integer => integer(trimmed)
                .map(Cell::Number)
                .ok_or("a whole number of 64 bits"),
            Self::Number => number(trimmed).map(Cell::Number).ok_or("a number"),
            Self::Boolean => boolean(trimmed).map(Cell::Boolean).ok_or("true or false"),
        }
    }
}

fn integer(cell: &str) -> Option<Decimal> {
    let signed = cell.parse::<i64>().ok().map(Decimal::from);
    signed.or_else(|| cell.parse::<u64>().ok().map(Decimal::from))
}

/// A number keeps all of its digits. `inf` and `nan` are words.
fn number(cell: &str) -> Option<Decimal> {
    integer(cell).or_else(|| {
        let is_digits = cell
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        let is_finite = cell.parse().is_ok_and(f64::is_finite);
        // `+.5` is a number here, and none of JSON.
        let (sign, size) = match cell.strip_prefix('-') {
            Some(size) => ("-", size),
            None => ("", cell.strip_prefix('+').unwrap_or(cell)),
        };
        let number = format!("{sign}0{size}").parse().ok();
        number.filter(|_| is_digits && is_finite)
    })
}

fn boolean(cell: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| cell.eq_ignore_ascii_case(word));
    match (is(&["true", "yes", "1"]), is(&["false", "no", "0"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}
