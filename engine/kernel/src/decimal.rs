//! The numbers of JSON as what they are: decimals. They are compared and added exactly.
//!
//! A number is never expanded to the size of its exponent: two are compared by their first digits, and a sum
//! that would need more than [`MAX_DIGITS`] digits is refused.

use std::{cmp::Ordering, fmt};

use num_bigint::{BigInt, Sign};

/// How many digits a sum may have. Any two numbers that doubles can hold have a sum with fewer.
pub(crate) const MAX_DIGITS: usize = 1_200;

/// Up to how many zeros a number is written with before it gets an exponent.
const MAX_ZEROS: usize = 32;

/// A number of a JSON text. Two are equal where they are the same number, however they are written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    negative: bool,
    /// Its digits without zeros at the beginning and the end; none for zero.
    digits: String,
    /// By which power of ten the digits, as a whole number, are multiplied; 0 for zero.
    exponent: i64,
}

impl Decimal {
    /// The number that a JSON number is. An exponent beyond 64 bits counts as the largest one.
    pub(crate) fn of(number: &str) -> Self {
        let (negative, number) = match number.strip_prefix('-') {
            Some(number) => (true, number),
            None => (false, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = [whole, fraction].concat();
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Self {
                negative: false,
                digits: String::new(),
                exponent: 0,
            };
        }
        let zeros = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent
            .parse::<i64>()
            .unwrap_or(match exponent.starts_with('-') {
                true => i64::MIN,
                false => i64::MAX,
            });
        Self {
            negative,
            digits: digits.to_owned(),
            exponent: exponent.saturating_add(zeros as i64 - fraction.len() as i64),
        }
    }

    /// The power of ten of its first digit.
    fn magnitude(&self) -> i64 {
        self.exponent.saturating_add(self.digits.len() as i64)
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The order of two numbers without their signs.
    fn compare_sizes(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        // Both begin with a digit other than 0, at the same power of ten: so they compare as texts.
        self.magnitude()
            .cmp(&other.magnitude())
            .then_with(|| self.digits.cmp(&other.digits))
    }

    /// The sum, exactly. `None` where it would need too many digits.
    pub(crate) fn add(&self, other: &Self) -> Option<Self> {
        if self.is_zero() {
            return Some(other.clone());
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let exponent = self.exponent.min(other.exponent);
        let most = self.magnitude().max(other.magnitude());
        if most.checked_sub(exponent)? > MAX_DIGITS as i64 {
            return None;
        }
        let sum = self.scaled(exponent)? + other.scaled(exponent)?;
        let (sign, digits) = (sum.sign(), sum.magnitude().to_string());
        let kept = digits.trim_end_matches('0');
        Some(match sign {
            Sign::NoSign => Self::of("0"),
            sign => Self {
                negative: sign == Sign::Minus,
                exponent: exponent + (digits.len() - kept.len()) as i64,
                digits: kept.to_owned(),
            },
        })
    }

    /// How many times it is this power of ten, which is not above its own.
    fn scaled(&self, exponent: i64) -> Option<BigInt> {
        let zeros = usize::try_from(self.exponent - exponent).ok()?;
        let digits = format!("{}{}", self.digits, "0".repeat(zeros));
        let size: BigInt = digits.parse().ok()?;
        Some(if self.negative { -size } else { size })
    }

    /// The number as JSON; with `fraction`, so that it reads as a number with a fraction.
    pub(crate) fn to_json(&self, fraction: bool) -> String {
        let mut text = self.to_string();
        if fraction && !text.contains(['.', 'e']) {
            text.push_str(".0");
        }
        text
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_sizes(other),
            (true, true) => other.compare_sizes(self),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            negative,
            digits,
            exponent,
        } = self;
        if self.is_zero() {
            return f.write_str("0");
        }
        if *negative {
            f.write_str("-")?;
        }
        let (len, magnitude) = (digits.len(), self.magnitude());
        match (usize::try_from(*exponent), usize::try_from(magnitude)) {
            // A whole number, however long, is written with all of its digits where few are added.
            (Ok(zeros), _) if zeros <= MAX_ZEROS => write!(f, "{digits}{}", "0".repeat(zeros)),
            (Err(_), Ok(point)) if point > 0 => write!(f, "{}.{}", &digits[..point], &digits[point..]),
            (Err(_), _) if magnitude > -(MAX_ZEROS as i64) => {
                let zeros = usize::try_from(-magnitude).unwrap_or_default();
                write!(f, "0.{}{digits}", "0".repeat(zeros))
            }
            _ if len == 1 => write!(f, "{digits}e{}", magnitude - 1),
            _ => write!(f, "{}.{}e{}", &digits[..1], &digits[1..], magnitude - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        match Decimal::of(a).add(&Decimal::of(b)) {
            Some(sum) => sum.to_string(),
            None => "too many digits".to_owned(),
        }
    }

    #[test]
    fn a_sum_is_exact() {
        assert_eq!(sum("9223372036854775807", "1"), "9223372036854775808");
        assert_eq!(sum("-9223372036854775808", "-1"), "-9223372036854775809");
        assert_eq!(sum("123456789012345678901", "-123456789012345678902"), "-1");
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("1.50", "1.5"), "3");
        assert_eq!(sum("1e3", "1"), "1001");
        assert_eq!(sum("2.5", "-2.5"), "0");
        assert_eq!(sum("-0", "0.0"), "0");
        assert_eq!(sum("1e300", "1e300"), "2e300");
        assert_eq!(sum("1e-300", "1.5e-300"), "2.5e-300");
        assert_eq!(sum("0.001", "-0.0011"), "-0.0001");
    }

    #[test]
    fn a_sum_of_doubles_has_all_of_its_digits_and_a_large_exponent_costs_nothing() {
        let all = sum("1.7976931348623157e308", "5e-324");
        assert!(
            all.starts_with("17976931348623157") && all.ends_with("0005"),
            "{all}"
        );
        for (a, b) in [
            ("1e999999999", "1"),
            ("1", "1e-999999999"),
            ("1e99999999999999999999", "-1e-99999999999999999999"),
        ] {
            assert_eq!(sum(a, b), "too many digits");
        }
        assert!(Decimal::of("1e999999999") > Decimal::of("9e999999998"));
        assert!(Decimal::of("1e-99999999999999999999") > Decimal::of("0"));
    }

    #[test]
    fn numbers_are_ordered_as_what_they_are() {
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
            assert!(Decimal::of(pair[0]) < Decimal::of(pair[1]), "{pair:?}");
        }
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("0.1", "1.0E-1"),
            ("-0", "0"),
            ("1200", "12e+2"),
        ] {
            assert_eq!(Decimal::of(a), Decimal::of(b), "{a} {b}");
        }
    }
}
