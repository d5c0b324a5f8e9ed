//! Sizes and durations as messages show them.

use std::{fmt, time::Duration};

/// Shows a number of bytes in the largest unit that divides it.
pub(crate) struct Bytes(pub(crate) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n > 0 && n.is_multiple_of(1 << 20) => write!(f, "{} MiB", n >> 20),
            n if n > 0 && n.is_multiple_of(1 << 10) => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{n} bytes"),
        }
    }
}

/// Shows a duration in the largest unit that divides it.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            n if n > 0 && n.is_multiple_of(1000) => write!(f, "{} s", n / 1000),
            n => write!(f, "{n} ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shown_in_the_largest_unit_that_divides_them() {
        let bytes = |n| Bytes(n).to_string();
        assert_eq!(
            [bytes(64 << 20), bytes(1536 << 10), bytes(1000)],
            ["64 MiB", "1536 KiB", "1000 bytes"]
        );
        let span = |ms| Span(Duration::from_millis(ms)).to_string();
        assert_eq!([span(30_000), span(1500), span(0)], ["30 s", "1500 ms", "0 ms"]);
    }
}
