//! JSON numbers as exact decimals of any length. They are compared and added exactly, and rounded only if a
//! caller asks for a number of digits ([`written`]).
//!
//! A number is never expanded to the size of its exponent: comparing looks at the first digits, and a sum
//! with more than [`MAX_DIGITS`] digits is refused.

#[cfg(test)]
mod tests;
mod written;

use std::cmp::Ordering;

use num_bigint::{BigInt, Sign};

/// The number of digits that a sum may have. The sum of any two doubles has fewer.
pub const MAX_DIGITS: usize = 1_200;

/// The largest absolute exponent. It keeps sums of exponents and lengths within `i64`.
const MAX_EXPONENT: i64 = 1_000_000_000_000;

/// From this number of significant digits on, a decimal may not fit a double.
const DOUBLE_DIGITS: usize = 16;

/// A decimal number: `0.digits × 10^point`, with a sign. Equal numbers are equal however they were written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    negative: bool,
    /// The digits without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten of the first digit; 0 for zero.
    point: i64,
}

impl Decimal {
    /// The value of a JSON number. An exponent beyond ±10^12 counts as ±10^12; no admitted number has one.
    pub fn of(number: &str) -> Self {
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let exponent = exponent
            .parse::<i64>()
            .unwrap_or(match exponent.starts_with('-') {
                true => i64::MIN,
                false => i64::MAX,
            });
        let exponent = exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT);
        let (negative, mantissa) = sign(mantissa);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Self::of_parts(negative, whole, fraction, exponent)
    }

    /// Parses a JSON number. `None` if the text is not a number, or its exponent is beyond 10^12.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = sign(text);
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if exponent.unsigned_abs() > MAX_EXPONENT.unsigned_abs() {
            return None;
        }
        Some(Self::of_parts(negative, whole, fraction, exponent))
    }

    /// Whether the exponent of a JSON number is within ±10^12, so that [`of`](Self::of) is its exact value.
    pub(crate) fn has_exact_exponent(number: &str) -> bool {
        let exponent = number
            .split_once(['e', 'E'])
            .map_or(Ok(0), |(_, exponent)| exponent.parse::<i64>());
        exponent.is_ok_and(|exponent| exponent.unsigned_abs() <= MAX_EXPONENT.unsigned_abs())
    }

    /// Converts an integer, without loss.
    pub fn of_whole(value: i128) -> Self {
        Self::of_parts(value < 0, &value.unsigned_abs().to_string(), "", 0)
    }

    /// The shortest decimal that reads back as this double; `None` if the double is not finite.
    pub fn of_double(value: f64) -> Option<Self> {
        value
            .is_finite()
            .then(|| Self::parse(&format!("{value:e}")).expect("a finite double is written as a number"))
    }

    fn of_parts(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Self {
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        let zeros = digits.len() - digits.trim_start_matches('0').len();
        let point = exponent + whole.len() as i64 - zeros as i64;
        Self::of_digits(negative, &digits, point)
    }

    /// `0.digits × 10^point`, where the first digit may be 0 only if all are.
    fn of_digits(negative: bool, digits: &str, point: i64) -> Self {
        let digits = digits.trim_matches('0');
        match digits.is_empty() {
            true => Self {
                negative: false,
                digits: String::new(),
                point: 0,
            },
            false => Self {
                negative,
                digits: digits.to_owned(),
                point,
            },
        }
    }

    /// The double for a number's text, if it has the same value when it is written in its shortest form.
    /// `None` if the double loses digits.
    pub fn faithful_double(text: &str) -> Option<f64> {
        let double: f64 = text.parse().ok()?;
        let significant = text
            .bytes()
            .take_while(|c| !matches!(c, b'e' | b'E'))
            .filter(u8::is_ascii_digit)
            .count();
        if significant < DOUBLE_DIGITS && double.is_normal() {
            return Some(double);
        }
        (Self::of_double(double)? == Self::parse(text)?).then_some(double)
    }

    /// The number without its fraction, if it fits.
    pub fn truncated(&self) -> Option<i128> {
        if self.point <= 0 {
            return Some(0);
        }
        // An `i128` has at most 39 digits.
        let places = usize::try_from(self.point).ok().filter(|places| *places <= 39)?;
        let kept = &self.digits[..places.min(self.digits.len())];
        let magnitude: i128 = format!("{kept:0<places$}").parse().ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The value, if it is a whole number and fits.
    pub fn whole(&self) -> Option<i128> {
        let is_whole = i64::try_from(self.digits.len()).is_ok_and(|len| len <= self.point.max(0));
        is_whole.then(|| self.truncated()).flatten()
    }

    /// Whether the value is a whole number of any size.
    pub fn is_whole(&self) -> bool {
        self.exponent() >= 0
    }

    /// Whether the value is below zero.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The power of ten by which the digits, as a whole number, are multiplied.
    fn exponent(&self) -> i64 {
        self.point - self.digits.len() as i64
    }

    /// The exact sum; `None` if it has too many digits.
    pub fn add(&self, other: &Self) -> Option<Self> {
        if self.is_zero() {
            return Some(other.clone());
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let exponent = self.exponent().min(other.exponent());
        if self.point.max(other.point) - exponent > MAX_DIGITS as i64 {
            return None;
        }
        let sum = self.scaled(exponent)? + other.scaled(exponent)?;
        let (sign, digits) = (sum.sign(), sum.magnitude().to_string());
        let point = exponent + digits.len() as i64;
        Some(Self::of_digits(sign == Sign::Minus, &digits, point))
    }

    /// The value as a multiple of this power of ten, which is not above its own.
    fn scaled(&self, exponent: i64) -> Option<BigInt> {
        let zeros = usize::try_from(self.exponent() - exponent).ok()?;
        let digits = format!("{}{}", self.digits, "0".repeat(zeros));
        let size: BigInt = digits.parse().ok()?;
        Some(if self.negative { -size } else { size })
    }

    /// The order of two nonzero numbers without their signs.
    fn compare_sizes(&self, other: &Self) -> Ordering {
        // Both start with a digit other than 0 at the same power of ten, so they compare as texts.
        self.point
            .cmp(&other.point)
            .then_with(|| self.digits.cmp(&other.digits))
    }
}

/// The sign of a number, and the rest of its text.
fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.is_zero(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => self.compare_sizes(other),
            _ => other.compare_sizes(self),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
