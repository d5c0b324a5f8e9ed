//! Decimal numbers of any length, as JSON writes them. They compare exactly and are never rounded
//! unless a caller asks for a number of digits.

use std::cmp::Ordering;

/// A decimal number: `0.digits × 10^point`, with a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    point: i64,
}

/// The most decimal places, in either direction, that an exponent may ask for. It keeps sums of
/// exponents and lengths far away from the limits of `i64`.
const MAX_EXPONENT: i64 = 1_000_000_000_000;

/// From how many significant digits on a decimal number may be more than a double can hold.
const DOUBLE_DIGITS: usize = 16;

impl Decimal {
    /// Reads a number as JSON writes it. `None` where the text is no number, or its exponent has more
    /// than twelve digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        if exponent.abs() > MAX_EXPONENT {
            return None;
        }
        Some(Self::of(negative, whole, fraction, exponent))
    }

    /// A whole number.
    pub(crate) fn of_whole(value: i128) -> Self {
        Self::of(value < 0, &value.unsigned_abs().to_string(), "", 0)
    }

    /// A double, as the shortest decimal number that reads back as it; `None` where it is not finite.
    pub(crate) fn of_double(value: f64) -> Option<Self> {
        value
            .is_finite()
            .then(|| Self::parse(&format!("{value:e}")).expect("a finite double is written as a number"))
    }

    fn of(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Self {
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        let zeros = digits.len() - digits.trim_start_matches('0').len();
        let point = exponent + whole.len() as i64 - zeros as i64;
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

    /// The double that a number's text means, where that double, written in its shortest form, is the
    /// same number. `None` where the text has digits that the double would lose.
    pub(crate) fn faithful_double(text: &str) -> Option<f64> {
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

    /// The same text for the same number, however it was written.
    pub(crate) fn name(&self) -> String {
        match self.whole() {
            Some(whole) => whole.to_string(),
            None => format!(
                "{}{}e{}",
                if self.negative { "-" } else { "" },
                self.digits,
                self.point - self.digits.len() as i64
            ),
        }
    }

    /// The number without its fraction, where it fits.
    pub(crate) fn truncated(&self) -> Option<i128> {
        if self.point <= 0 {
            return Some(0);
        }
        // An `i128` has at most 39 digits.
        let places = usize::try_from(self.point).ok().filter(|places| *places <= 39)?;
        let kept = &self.digits[..places.min(self.digits.len())];
        let magnitude: i128 = format!("{kept:0<places$}").parse().ok()?;
        Some(if self.negative { -magnitude } else { magnitude })
    }

    /// The whole number that it is, where it is one and fits.
    pub(crate) fn whole(&self) -> Option<i128> {
        let is_whole = i64::try_from(self.digits.len()).is_ok_and(|len| len <= self.point.max(0));
        is_whole.then(|| self.truncated()).flatten()
    }

    /// With `places` digits after the point, rounded half to even. `None` where that is longer than
    /// `longest` bytes.
    pub(crate) fn fixed(&self, places: usize, longest: usize) -> Option<String> {
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

    /// As `d.ddde+dd` with `places` digits after the point, rounded half to even.
    pub(crate) fn scientific(&self, places: usize) -> String {
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

    /// Its first `keep` digits, rounded half to even.
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
        // Zeros at the end are cut, so a half is exactly one five.
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

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let magnitude = || {
            self.point
                .cmp(&other.point)
                .then_with(|| self.digits.cmp(&other.digits))
        };
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => magnitude(),
            _ => magnitude().reverse(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn numbers_of_any_length_have_one_order() {
        let ordered = [
            "-1e400",
            "-123456789012345678902",
            "-123456789012345678901",
            "-1.5",
            "-0.1",
            "-1e-400",
            "0",
            "1e-400",
            "0.1",
            "0.10000000000000000001",
            "9007199254740992",
            "9007199254740992.5",
            "9007199254740993",
            "123456789012345678901",
            "123456789012345678902",
            "1e400",
            "1.0000000000000000000001e400",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} and {b}");
            }
        }
        for same in [
            ["1", "1.0"],
            ["1e2", "100"],
            ["0", "-0.0e7"],
            ["120e-1", "12"],
            ["0.05", "5E-2"],
        ] {
            assert_eq!(decimal(same[0]), decimal(same[1]), "{same:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            "+1",
            ".5",
            "1e",
            "1e1.5",
            "a",
            "1a",
            "--1",
            "1e9999999999999",
            "NaN",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_double_is_faithful_where_it_is_written_as_the_same_number() {
        for text in [
            "0.1",
            "1.50",
            "1e300",
            "5e-324",
            "-0.0",
            "1.7976931348623157e308",
            "9007199254740992.0",
            "1e22",
        ] {
            assert_eq!(Decimal::faithful_double(text), text.parse().ok(), "{text}");
        }
        for text in [
            "0.10000000000000000001",
            "9007199254740993.0",
            "1e400",
            "1e-400",
            "4e-324",
            "123456789012345678901",
        ] {
            assert_eq!(Decimal::faithful_double(text), None, "{text}");
        }
    }

    #[test]
    fn whole_parts_are_exact() {
        let whole = |text| (decimal(text).whole(), decimal(text).truncated());
        assert_eq!(
            whole("9007199254740993.0"),
            (Some(9_007_199_254_740_993), Some(9_007_199_254_740_993))
        );
        assert_eq!(whole("-2.5e1"), (Some(-25), Some(-25)));
        assert_eq!(whole("-2.59"), (None, Some(-2)));
        assert_eq!(whole("0.001"), (None, Some(0)));
        assert_eq!(whole("0"), (Some(0), Some(0)));
        assert_eq!(whole("1e38"), (Some(10_i128.pow(38)), Some(10_i128.pow(38))));
        assert_eq!(whole("1e39"), (None, None));
        assert_eq!(whole("1e400"), (None, None));
    }

    #[test]
    fn numbers_are_written_with_the_digits_asked_for() {
        let fixed = |text, places| decimal(text).fixed(places, 100).unwrap_or_default();
        assert_eq!(fixed("123456789012345678901", 2), "123456789012345678901.00");
        assert_eq!(fixed("0.5", 0), "0");
        assert_eq!(fixed("1.5", 0), "2");
        assert_eq!(fixed("-0.0049", 2), "-0.00");
        assert_eq!(fixed("0.005000000000000000000001", 2), "0.01");
        assert_eq!(fixed("0.0001", 6), "0.000100");
        assert_eq!(fixed("99.995", 2), "100.00");
        assert_eq!(fixed("0", 3), "0.000");
        assert_eq!(decimal("1e400").fixed(0, 100), None);
        let scientific = |text, places| decimal(text).scientific(places);
        assert_eq!(scientific("9007199254740993", 18), "9.007199254740993000e+15");
        assert_eq!(scientific("9.99", 1), "1.0e+01");
        assert_eq!(scientific("-0.00012", 0), "-1e-04");
        assert_eq!(scientific("0", 2), "0.00e+00");
        assert_eq!(scientific("1e400", 1), "1.0e+400");
    }
}
