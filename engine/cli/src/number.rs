//! Parses numeric arguments, with the same error messages for all commands.

use std::ops::RangeInclusive;

/// The largest number of a step, event or wait.
pub(crate) const MAX_NUMBER: i64 = i64::MAX;

/// A parser for whole numbers in a range. Its argument also needs `allow_negative_numbers`, so that a negative number is
/// refused with the range and not as an unknown option.
pub(crate) fn whole<T>(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: TryFrom<i64>,
{
    move |text| {
        let number = text.parse::<i64>().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number {}, got `{text}`", range_text(&range)))
    }
}

/// Parses a size in bytes, with or without a unit.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bytes = heddle_kernel::graph::size(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("expected a number of bytes, such as 65536, 64KiB or 16MiB, got `{text}`"))
}

fn range_text(range: &RangeInclusive<i64>) -> String {
    match *range.end() {
        MAX_NUMBER => format!("of {} or more, and at most {MAX_NUMBER}", range.start()),
        end => format!("from {} to {end}", range.start()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_the_range_is_accepted() {
        for text in ["1", "007", "+5", "5000"] {
            assert!(whole::<usize>(1..=5000)(text).is_ok(), "{text}");
        }
        assert_eq!(whole::<i32>(-100..=100)("-100"), Ok(-100));
        assert_eq!(
            whole::<u64>(0..=MAX_NUMBER)("9223372036854775807"),
            Ok(MAX_NUMBER as u64)
        );
    }

    #[test]
    fn a_size_is_in_bytes_or_has_a_unit() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("16 MiB"), Ok(16 << 20));
        for text in ["", "0", "-1", "1.5GiB", "16MB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wrong_number_is_refused_with_the_range() {
        for text in ["abc", "0", "-1", "5001", "1.5", "1e3", "", "99999999999999999999"] {
            assert_eq!(
                whole::<usize>(1..=5000)(text),
                Err(format!("expected a whole number from 1 to 5000, got `{text}`"))
            );
        }
        assert_eq!(
            whole::<u64>(0..=MAX_NUMBER)("-3"),
            Err(format!(
                "expected a whole number of 0 or more, and at most {MAX_NUMBER}, got `-3`"
            ))
        );
    }
}
