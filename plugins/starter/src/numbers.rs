//! Numbers in English notation: `1,234.5`, `-3`, `.5`, `6.02e23`, `5%`.

use heddle_plugin::prelude::*;

/// A number in a text.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Number {
    /// The part of the text, as written.
    pub(crate) text: String,
    /// The value. For a percentage, the number before the sign: 5 for `5%`.
    pub(crate) value: f64,
    /// Whether it is a percentage.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) percent: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The number that `text` begins with, and its length, given the text before it.
///
/// `None` means that the text of this length is not a number, such as 1.2.3. Text that continues as a
/// word (`3rd`, `10km`) is left to the words, as is a sign behind a letter or digit (`10-20`).
pub(crate) fn number(before: &str, text: &str) -> Option<(usize, Option<Number>)> {
    let unsigned = text.strip_prefix(['-', '+', '−']);
    let signs = before
        .chars()
        .next_back()
        .is_none_or(|char| char.is_whitespace() || "([{\"'“‘=/:".contains(char));
    let (negative, digits) = match unsigned {
        Some(digits) if signs => (!text.starts_with('+'), digits),
        Some(_) => return None,
        None => (false, text),
    };
    let sign_len = text.len() - digits.len();

    let whole = whole_len(digits);
    let fraction = fraction_len(&digits[whole..]);
    if whole + fraction == 0 {
        return None;
    }
    let mut end = whole + fraction;
    if fraction > 0 && fraction_len(&digits[end..]) > 0 {
        let dotted = digits
            .find(|char: char| !char.is_ascii_digit() && char != '.')
            .unwrap_or(digits.len());
        return Some((sign_len + dotted, None));
    }
    end += exponent_len(&digits[end..]);
    let rest = &digits[end..];
    if rest.starts_with(|char: char| char.is_alphanumeric() || char == '_') {
        return None;
    }

    let value: f64 = digits[..end].replace(',', "").parse().ok()?;
    let percent = rest.starts_with('%');
    end += usize::from(percent);
    let len = sign_len + end;
    let value = if negative { -value } else { value };
    // JSON has no infinity.
    let number = Number {
        text: text[..len].to_owned(),
        value,
        percent,
    };
    Some((len, Some(number).filter(|number| number.value.is_finite())))
}

/// The digits before the point: in groups of three if commas part them, else any number.
fn whole_len(text: &str) -> usize {
    let first = digits_len(text);
    let mut end = first;
    if (1..=3).contains(&first) {
        while text[end..].starts_with(',') && digits_len(&text[end + 1..]) == 3 {
            end += 4;
        }
    }
    end
}

/// A point with digits behind it.
fn fraction_len(text: &str) -> usize {
    match text.strip_prefix('.').map(digits_len) {
        None | Some(0) => 0,
        Some(digits) => 1 + digits,
    }
}

/// An `e` with digits behind it.
fn exponent_len(text: &str) -> usize {
    let Some(exponent) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    match digits_len(digits) {
        0 => 0,
        len => text.len() - digits.len() + len,
    }
}

fn digits_len(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use crate::elements::Elements;

    fn values(text: &str) -> Vec<f64> {
        Elements::of(text)
            .numbers
            .into_iter()
            .map(|number| number.value)
            .collect()
    }

    #[test]
    fn numbers_are_read_as_english_writes_them() {
        assert_eq!(
            values("1,234.5 and -3, +7 or −0.25; .5"),
            [1234.5, -3.0, 7.0, -0.25, 0.5]
        );
        assert_eq!(values("6.02e23 1E-3 12,345,678"), [6.02e23, 0.001, 12_345_678.0]);
        assert_eq!(values("It is 42. Or 7, or (8)!"), [42.0, 7.0, 8.0]);
        assert_eq!(values("$1,234.50"), [1234.5]);
    }

    #[test]
    fn commas_that_do_not_part_thousands_part_numbers() {
        assert_eq!(values("1,2,3"), [1.0, 2.0, 3.0]);
        assert_eq!(values("1234,567"), [1234.0, 567.0]);
        assert_eq!(values("1,2345"), [1.0, 2345.0]);
    }

    #[test]
    fn a_dash_between_numbers_is_not_a_sign() {
        assert_eq!(values("10-20 and a-3 and x -3"), [10.0, 20.0, -3.0]);
    }

    #[test]
    fn a_percentage_keeps_its_number_and_says_so() {
        let found = Elements::of("up 5%, down -2.5%").numbers;
        let found: Vec<_> = found
            .iter()
            .map(|n| (n.text.as_str(), n.value, n.percent))
            .collect();
        assert_eq!(found, [("5%", 5.0, true), ("-2.5%", -2.5, true)]);
    }

    #[test]
    fn versions_addresses_and_ordinals_are_not_numbers() {
        let found = Elements::of("version 1.2.3 at 127.0.0.1 on the 2nd of 10km, 5G and 1e999");
        assert_eq!(found.numbers, []);
        assert_eq!(
            found.words,
            ["version", "at", "on", "the", "2nd", "of", "10km", "5G", "and"]
        );
    }
}
