//! The texts of numbers: as JSON, as a canonical name, and with a fixed number of digits.

use std::fmt;

use super::Decimal;

/// The number of zeros up to which a number is written without an exponent.
const MAX_ZEROS: usize = 32;

impl Decimal {
    /// The number as JSON; with `fraction`, the text has a fraction or an exponent.
    pub fn to_json(&self, fraction: bool) -> String {
        let mut text = self.to_string();
        if fraction && !text.contains(['.', 'e']) {
            text.push_str(".0");
        }
        text
    }

    /// A canonical text: equal for equal numbers.
    pub fn name(&self) -> String {
        match self.whole() {
            Some(whole) => whole.to_string(),
            None => format!(
                "{}{}e{}",
                if self.negative { "-" } else { "" },
                self.digits,
                self.exponent()
            ),
        }
    }

    /// The number with `places` digits after the point, rounded half to even. `None` if the text would be
    /// longer than `longest` bytes.
    pub fn fixed(&self, places: usize, longest: usize) -> Option<String> {
        let rounded = self.rounded(self.point + places as i64);
        let whole_places = usize::try_from(rounded.point.max(0)).ok()?;
        if whole_places + places + 3 > longest {
            return None;
        }
        let zeros = usize::try_from((-rounded.point).max(0)).ok()?.min(places);
        let (whole, fraction) = rounded.digits.split_at(whole_places.min(rounded.digits.len()));
        let whole = format!("{whole:0<whole_places$}");
        let sign = if self.negative { "-" } else { "" };
        let whole = if whole.is_empty() { "0" } else { &whole };
        if places == 0 {
            return Some(format!("{sign}{whole}"));
        }
        let fraction = format!("{}{fraction}", "0".repeat(zeros));
        Some(format!("{sign}{whole}.{fraction:0<places$}"))
    }

    /// The number as `d.ddde+dd` with `places` digits after the point, rounded half to even.
    pub fn scientific(&self, places: usize) -> String {
        let rounded = self.rounded(places as i64 + 1);
        let len = places + 1;
        let digits = format!("{:0<len$}", rounded.digits);
        let exponent = if rounded.digits.is_empty() {
            0
        } else {
            rounded.point - 1
        };
        let sign = if self.negative { "-" } else { "" };
        let (first, rest) = digits.split_at(1);
        let point = if places == 0 { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        format!(
            "{sign}{first}{point}{rest}e{exponent_sign}{:02}",
            exponent.unsigned_abs()
        )
    }

    /// The first `keep` digits, rounded half to even.
    fn rounded(&self, keep: i64) -> Self {
        let none = Self {
            digits: String::new(),
            point: 0,
            ..*self
        };
        let Ok(keep) = usize::try_from(keep) else {
            return none;
        };
        if keep >= self.digits.len() {
            return self.clone();
        }
        let (kept, rest) = self.digits.split_at(keep);
        let odd = kept.bytes().last().is_some_and(|digit| digit % 2 == 1);
        // Trailing zeros are removed, so a half is exactly one five.
        let up = match rest.as_bytes() {
            [b'5'] => odd,
            [first, ..] => *first >= b'5',
            [] => false,
        };
        let mut digits = kept.as_bytes().to_vec();
        let mut point = self.point;
        if up {
            while digits.last() == Some(&b'9') {
                digits.pop();
            }
            match digits.last_mut() {
                Some(digit) => *digit += 1,
                None => {
                    digits.push(b'1');
                    point += 1;
                }
            }
        }
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return none;
        }
        Self {
            negative: self.negative,
            digits: String::from_utf8(digits).expect("digits are ASCII"),
            point,
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        let (digits, magnitude) = (&self.digits, self.point);
        let len = digits.len();
        match (usize::try_from(self.exponent()), usize::try_from(magnitude)) {
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
