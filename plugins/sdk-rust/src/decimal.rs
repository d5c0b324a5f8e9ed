//! The numbers of JSON with all of their digits: compared and added exactly.
//!
//! `serde_json` reads a number beyond 64 bits as the nearest double. [`Decimal`] reads its text.

use std::{cmp::Ordering, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// How many digits a sum may have. Any two numbers that doubles can hold have a sum with fewer.
const MAX_DIGITS: i64 = 1_200;
/// The most decimal places that an exponent may ask for, in either direction.
const MAX_EXPONENT: i64 = 1_000_000_000_000;
/// Up to how many zeros a number is written with before it gets an exponent.
const MAX_ZEROS: i64 = 32;

/// A number of JSON, of any length: `0.digits × 10^point`. Two are equal where they are the same number, however they
/// are written.
///
/// It reads and writes JSON with `serde_json` only, and not inside of `#[serde(flatten)]` or an untagged enum.
#[derive(Debug, Clone)]
pub struct Decimal {
    negative: bool,
    /// As values from 0 to 9, without zeros at either end; none for zero.
    digits: Vec<u8>,
    point: i64,
    /// Whether it is written with a point or an exponent, so that a sum with it is, too.
    fraction: bool,
}

impl Decimal {
    /// The sum, exactly. `None` where it would have more than 1,200 digits.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let fraction = self.fraction || other.fraction;
        if self.digits.is_empty() || other.digits.is_empty() {
            let sum = if self.digits.is_empty() { other } else { self };
            return Some(Self {
                fraction,
                ..sum.clone()
            });
        }
        let least = self.exponent().min(other.exponent());
        // One digit more, which a sum may carry to.
        let point = self.point.max(other.point) + 1;
        if point - least > MAX_DIGITS {
            return None;
        }
        let (a, b) = (self.placed(point, least), other.placed(point, least));
        let (negative, digits) = match self.negative == other.negative {
            true => (self.negative, plus(&a, &b)),
            false if a >= b => (self.negative, minus(&a, &b)),
            false => (other.negative, minus(&b, &a)),
        };
        Some(Self::of_digits(negative, digits, point, fraction))
    }

    /// Whether it is a whole number, however it is written.
    pub fn is_whole(&self) -> bool {
        self.exponent() >= 0
    }

    /// The double that, written in its shortest form, is this number; `None` where a double would lose digits.
    pub fn to_double(&self) -> Option<f64> {
        let double = self.nearest_double();
        Self::of_double(double)
            .filter(|same| same == self)
            .map(|_| double)
    }

    /// The double that is nearest.
    pub fn nearest_double(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// A double as the shortest number that reads back as it; `None` where it is not finite.
    pub fn of_double(double: f64) -> Option<Self> {
        format!("{double:e}").parse().ok().filter(|_| double.is_finite())
    }

    fn of_digits(negative: bool, digits: Vec<u8>, point: i64, fraction: bool) -> Self {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        let end = digits
            .iter()
            .rposition(|digit| *digit != 0)
            .map_or(zeros, |last| last + 1);
        let digits = digits[zeros..end].to_vec();
        let is_zero = digits.is_empty();
        Self {
            negative: negative && !is_zero,
            digits,
            point: if is_zero { 0 } else { point - zeros as i64 },
            fraction,
        }
    }

    /// By which power of ten its digits, as a whole number, are multiplied.
    fn exponent(&self) -> i64 {
        self.point - self.digits.len() as i64
    }

    /// Its digits, from the place before the power of ten `point` down to the power of ten `least`.
    fn placed(&self, point: i64, least: i64) -> Vec<u8> {
        let before = usize::try_from(point - self.point).unwrap_or_default();
        let behind = usize::try_from(self.exponent() - least).unwrap_or_default();
        [&vec![0; before], &self.digits, &vec![0; behind]]
            .map(|part| part.as_slice())
            .concat()
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

/// The sum of two numbers of as many digits, which has no more.
fn plus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut sum: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let digit = a + b + carry;
            carry = digit / 10;
            digit % 10
        })
        .collect();
    sum.reverse();
    sum
}

/// A number less one of as many digits that is no larger.
fn minus(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut borrow = 0;
    let mut rest: Vec<u8> = a
        .iter()
        .zip(b)
        .rev()
        .map(|(a, b)| {
            let digit = 10 + a - b - borrow;
            borrow = u8::from(digit < 10);
            digit % 10
        })
        .collect();
    rest.reverse();
    rest
}

impl FromStr for Decimal {
    type Err = String;

    /// Reads a number as JSON writes it.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("expected a number, got {}", start_of(text));
        let (negative, number) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, places) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let exponent: i64 = exponent.parse().map_err(|_| refused())?;
        if whole.is_empty()
            || !digits(whole)
            || !digits(places)
            || exponent.unsigned_abs() > MAX_EXPONENT as u64
        {
            return Err(refused());
        }
        let all = whole
            .bytes()
            .chain(places.bytes())
            .map(|byte| byte - b'0')
            .collect();
        let fraction = text.contains(['.', 'e', 'E']);
        Ok(Self::of_digits(
            negative,
            all,
            whole.len() as i64 + exponent,
            fraction,
        ))
    }
}

fn start_of(text: &str) -> String {
    text.chars().take(60).collect()
}

impl From<i64> for Decimal {
    fn from(number: i64) -> Self {
        number.to_string().parse().expect("a whole number is one of JSON")
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        number.to_string().parse().expect("a whole number is one of JSON")
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        // Both begin with a digit other than 0, so at the same point they compare digit by digit.
        let size = || (self.point, &self.digits).cmp(&(other.point, &other.digits));
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            1 => size(),
            0 => Ordering::Equal,
            _ => size().reverse(),
        })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        if self.negative {
            f.write_str("-")?;
        }
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        let point = usize::try_from(self.point).unwrap_or_default();
        match self.exponent() {
            _ if digits.is_empty() => f.write_str(if self.fraction { "0.0" } else { "0" }),
            exponent @ 0..=MAX_ZEROS => {
                write!(
                    f,
                    "{digits}{}{}",
                    zeros(exponent),
                    if self.fraction { ".0" } else { "" }
                )
            }
            ..0 if self.point > 0 => write!(f, "{}.{}", &digits[..point], &digits[point..]),
            ..0 if self.point > -MAX_ZEROS => write!(f, "0.{}{digits}", zeros(-self.point)),
            _ if digits.len() == 1 => write!(f, "{digits}e{}", self.point - 1),
            _ => write!(f, "{}.{}e{}", &digits[..1], &digits[1..], self.point - 1),
        }
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        text.get().parse().map_err(D::Error::custom)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RawValue::from_string(self.to_string()).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    fn sum(a: &str, b: &str) -> String {
        let sum = decimal(a).checked_add(&decimal(b));
        sum.map_or("too many digits".to_owned(), |sum| sum.to_string())
    }

    #[test]
    fn a_sum_is_exact() {
        for (a, b, expected) in [
            ("9223372036854775807", "1", "9223372036854775808"),
            ("-9223372036854775808", "-1", "-9223372036854775809"),
            ("123456789012345678901", "-123456789012345678902", "-1"),
            ("999", "1", "1000"),
            ("0.1", "0.2", "0.3"),
            ("1.50", "1.5", "3.0"),
            ("1", "0.5", "1.5"),
            ("2.5", "-2.5", "0.0"),
            ("-0", "0", "0"),
            ("0", "1.50", "1.5"),
            ("1000", "-1", "999"),
            ("0.001", "-0.0011", "-0.0001"),
            ("1e300", "1e300", "2e300"),
            ("1e-300", "1.5e-300", "2.5e-300"),
            ("1e999999999", "1", "too many digits"),
            ("1", "1e-999999999", "too many digits"),
        ] {
            assert_eq!(sum(a, b), expected, "{a} + {b}");
            assert_eq!(sum(b, a), expected, "{b} + {a}");
        }
    }

    #[test]
    fn numbers_are_ordered_by_their_exact_value() {
        let ascending = [
            "-1e30",
            "-123456789012345678902",
            "-123456789012345678901",
            "-1.5",
            "-1",
            "-0.1",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "1",
            "1.5",
            "10",
            "18446744073709551614",
            "18446744073709551615",
            "1e20",
        ];
        for pair in ascending.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
        }
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.1", "1.0E-1"),
            ("-0.0", "0"),
            ("1200", "12e+2"),
        ] {
            assert_eq!(decimal(a), decimal(b));
        }
        for wrong in ["", "-", "1.x", "x", "\"1\"", "1e", "1e9999999999999", "+1", "NaN"] {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_double_is_given_where_it_loses_nothing() {
        for kept in ["0.1", "1.50", "1e22", "-0", "9007199254740992", "5e-324"] {
            assert!(decimal(kept).to_double().is_some(), "{kept}");
        }
        for lost in ["9007199254740993", "0.10000000000000000001", "1e400", "1e-400"] {
            assert_eq!(decimal(lost).to_double(), None, "{lost}");
        }
    }

    #[test]
    fn it_is_read_from_json_and_written_to_it_with_all_digits() {
        let text = "[123456789012345678901,-0.10000000000000000001,1.0,7]";
        let read: Vec<Decimal> = serde_json::from_str(text).expect("numbers");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
        let wrong = serde_json::from_str::<Decimal>("\"1\"").expect_err("a text is not a number");
        assert!(
            wrong.to_string().starts_with("expected a number, got \"1\""),
            "{wrong}"
        );
    }
}
