//! The time of a `retry-after` header: RFC 9110, sections 5.6.7 and 10.2.3.

/// The seconds that a `retry-after` says, which is their number or a time; a time is compared with the
/// response's `date`. `None` if it is neither.
pub(super) fn retry_after_s(retry_after: &str, date: Option<&str>) -> Option<u64> {
    let retry_after = retry_after.trim();
    match retry_after.parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => {
            let wait = unix_s(retry_after)? - unix_s(date?)?;
            Some(wait.try_into().unwrap_or(0))
        }
    }
}

/// A time as `Sun, 06 Nov 1994 08:49:37 GMT`, the one form in which times may be sent, in seconds since 1970.
fn unix_s(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut parts = text.trim().split_once(", ")?.1.split(' ');
    let mut part = || parts.next();
    let day: i64 = part()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = part()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64;
    let year: i64 = part()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let clock: Option<Vec<i64>> = part()?.split(':').map(|part| part.parse().ok()).collect();
    let &[hours @ 0..24, minutes @ 0..60, seconds @ 0..=60] = clock?.as_slice() else {
        return None;
    };
    // Days before the month in a year that begins with March, so that a leap day is its last.
    let (shifted, from_march) = if month < 2 {
        (year - 1, month + 10)
    } else {
        (year, month - 2)
    };
    let days =
        365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + (153 * from_march + 2) / 5 + day - 1;
    let since_1970 = days - 719_468;
    Some(((since_1970 * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_from_1970() {
        assert_eq!(unix_s("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_s("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(unix_s("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for odd in [
            "",
            "Sun",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994",
        ] {
            assert_eq!(unix_s(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_retry_delay_is_a_number_or_a_time_after_the_date_of_the_answer() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after_s(" 120 ", None), Some(120));
        assert_eq!(retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", date), Some(60));
        assert_eq!(retry_after_s("Sun, 06 Nov 1994 08:40:00 GMT", date), Some(0));
        assert_eq!(retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
        assert_eq!(retry_after_s("soon", date), None);
    }
}
