//! Whole numbers as arguments: every command reads them here, and says the same where it cannot.

use std::ops::RangeInclusive;

/// The largest number of a step, an event or a wait.
pub(crate) const LARGEST: i64 = i64::MAX;

/// A parser for whole numbers in a range. An argument that has it also needs `allow_negative_numbers`, so that a
/// negative number is refused as a number and not as an unknown option.
pub(crate) fn whole<T>(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: TryFrom<i64>,
{
    move |text| {
        let number = text.parse::<i64>().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("expected a whole number {}, got `{text}`", shown(&range)))
    }
}

/// A number of bytes, alone or with a unit.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bytes = heddle_kernel::graph::size(text).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| format!("expected a number of bytes, such as 65536, 64KiB or 16MiB, got `{text}`"))
}

fn shown(range: &RangeInclusive<i64>) -> String {
    match *range.end() {
        LARGEST => format!("of {} or more, and at most {LARGEST}", range.start()),
        end => format!("from {} to {end}", range.start()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_the_range_is_taken() {
        for text in ["1", "007", "+5", "5000"] {
            assert!(whole::<usize>(1..=5000)(text).is_ok(), "{text}");
        }
        assert_eq!(whole::<i32>(-100..=100)("-100"), Ok(-100));
        assert_eq!(
            whole::<u64>(0..=LARGEST)("9223372036854775807"),
            Ok(LARGEST as u64)
        );
    }

    #[test]
    fn a_size_is_bytes_alone_or_with_a_unit() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("16 MiB"), Ok(16 << 20));
        for text in ["", "0", "-1", "1.5GiB", "16MB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_in_the_range_is_told_with_the_range() {
        for text in ["abc", "0", "-1", "5001", "1.5", "1e3", "", "99999999999999999999"] {
            assert_eq!(
                whole::<usize>(1..=5000)(text),
                Err(format!("expected a whole number from 1 to 5000, got `{text}`"))
            );
        }
        assert_eq!(
            whole::<u64>(0..=LARGEST)("-3"),
            Err(format!(
                "expected a whole number of 0 or more, and at most {LARGEST}, got `-3`"
            ))
        );
    }
}
