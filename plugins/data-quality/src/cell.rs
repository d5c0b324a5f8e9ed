//! What one cell may be: missing, or a value of a type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of a column, the narrowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// `true` or `false`.
    Boolean,
    /// A whole number, as `-12`.
    Integer,
    /// A decimal number, as `1.5` or `2e3`.
    Number,
    /// A day in ISO 8601, as `2026-11-22`.
    Date,
    /// Every other value.
    Text,
}

impl Type {
    /// Every type but [`Type::Text`], the narrowest first.
    pub const NARROW: [Type; 4] = [Type::Boolean, Type::Integer, Type::Number, Type::Date];

    /// Whether the values are numbers.
    pub fn is_numeric(self) -> bool {
        matches!(self, Type::Integer | Type::Number)
    }

    /// Whether the value can be read as this type. Spaces around it are ignored.
    pub fn fits(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Type::Boolean => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Type::Integer => value.parse::<i64>().is_ok(),
            Type::Number => number(value).is_some(),
            Type::Date => is_date(value),
            Type::Text => true,
        }
    }
}

/// Whether a cell says that there is no value: it is blank, or `NA`, `N/A`, `NaN` or `null` in any case.
/// `None` is a value: of a damage, say, it is the most frequent one.
pub fn is_missing(cell: &str) -> bool {
    let cell = cell.trim();
    cell.is_empty()
        || ["na", "n/a", "nan", "null"]
            .iter()
            .any(|word| cell.eq_ignore_ascii_case(word))
}

/// The number in a cell; `inf` and similar words are not numbers.
pub fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    let digits = cell
        .trim_start_matches(['+', '-'])
        .starts_with(|first: char| first.is_ascii_digit() || first == '.');
    cell.parse()
        .ok()
        .filter(|value: &f64| digits && value.is_finite())
}

/// Writes a number for a column of this type; a whole number rounds half to even.
pub fn written(value: f64, ty: Type) -> String {
    // Adding zero takes the sign off a negative zero.
    let value = if ty == Type::Integer {
        value.round_ties_even() + 0.0
    } else {
        value
    };
    value.to_string()
}

fn is_date(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let digits =
        |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
        return false;
    }
    let read = |part: &str| part.parse::<u32>().unwrap_or(0);
    let (year, month, day) = (read(year), read(month), read(day));
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_of_the_types_that_they_look_like() {
        for (value, types) in [
            ("-3", vec![Type::Integer, Type::Number]),
            ("2.50", vec![Type::Number]),
            ("1e3", vec![Type::Number]),
            ("TRUE", vec![Type::Boolean]),
            ("2024-02-29", vec![Type::Date]),
            ("2023-02-29", vec![]),
            ("2024-13-01", vec![]),
            ("inf", vec![]),
            ("00M", vec![]),
        ] {
            let fitting: Vec<_> = Type::NARROW.into_iter().filter(|ty| ty.fits(value)).collect();
            assert_eq!(fitting, types, "{value}");
        }
    }

    #[test]
    fn none_is_a_value_and_nan_is_not() {
        assert!(is_missing(" ") && is_missing("NaN") && is_missing("n/a") && is_missing("NULL"));
        assert!(!is_missing("None") && !is_missing("0") && !is_missing("-"));
    }

    #[test]
    fn whole_numbers_round_half_to_even() {
        assert_eq!(written(2.5, Type::Integer), "2");
        assert_eq!(written(3.5, Type::Integer), "4");
        assert_eq!(written(2.5, Type::Number), "2.5");
    }
}
