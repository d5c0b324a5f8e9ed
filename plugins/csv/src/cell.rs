//! What a cell is read as.

use heddle_plugin::{prelude::*, serde_json::Number};

/// The type of a column. A cell with nothing in it is null in each but `text`.
#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    /// Anything, as it stands.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`, `yes` or `no`, `1` or `0`, in any case.
    Boolean,
}

impl Type {
    /// The value of a cell, or what it should have been.
    pub(crate) fn read(self, cell: &str) -> Result<Value, &'static str> {
        let trimmed = cell.trim();
        match self {
            Self::Text => Ok(cell.into()),
            _ if trimmed.is_empty() => Ok(Value::Null),
            Self::Integer => integer(trimmed)
                .map(Value::Number)
                .ok_or("a whole number of 64 bits"),
            Self::Number => number(trimmed).map(Value::Number).ok_or("a number"),
            Self::Boolean => boolean(trimmed).map(Value::Bool).ok_or("true or false"),
        }
    }
}

fn integer(cell: &str) -> Option<Number> {
    let signed = cell.parse::<i64>().ok().map(Number::from);
    signed.or_else(|| cell.parse::<u64>().ok().map(Number::from))
}

/// A whole number stays exact. `inf` and `nan` are words.
fn number(cell: &str) -> Option<Number> {
    integer(cell).or_else(|| {
        let is_digits = cell
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
        cell.parse().ok().filter(|_| is_digits).and_then(Number::from_f64)
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
