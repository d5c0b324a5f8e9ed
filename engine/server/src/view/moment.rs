//! Times in responses.

use std::fmt;

use heddle_kernel::Timestamp;
use serde::{Serialize, Serializer};

/// A time, serialized as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = if self.0.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let moment = jiff::Timestamp::from_millisecond(self.0.0).unwrap_or(ends);
        write!(f, "{moment:.3}")
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_milliseconds_and_stay_in_the_calendar() {
        let text = |ms| serde_json::to_string(&Moment(Timestamp(ms))).expect("a string");
        assert_eq!(text(0), r#""1970-01-01T00:00:00.000Z""#);
        assert_eq!(text(1_795_375_980_007), r#""2026-11-22T19:33:00.007Z""#);
        assert_eq!(text(i64::MAX), r#""9999-12-30T22:00:00.999Z""#);
    }
}
