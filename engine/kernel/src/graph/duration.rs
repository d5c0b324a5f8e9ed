//! Durations as a graph writes them: `500ms`, `10s`, `1h30m`, `7d`.

/// The longest duration: a hundred years of 365 days, in milliseconds.
pub(crate) const MAX_DURATION_MS: u64 = 100 * 365 * DAY;

const DAY: u64 = 24 * 60 * 60 * 1_000;
const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", DAY),
    ("w", 7 * DAY),
];

/// The milliseconds of a duration as a graph writes it: `500ms`, `10s`, `1h30m`, `7d`.
///
/// # Errors
/// What a duration looks like, where this is none.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("expected a duration such as \"500ms\", \"10s\", \"1h30m\" or \"7d\", got {text:?}");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (_, unit) = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
        total = number
            .checked_mul(*unit)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MAX_DURATION_MS)
            .ok_or_else(|| format!("{text:?} is longer than a hundred years"))?;
    }
    Ok(total)
}

/// So many milliseconds in the largest unit in which they are whole.
pub(crate) fn text(ms: u64) -> String {
    let mut units = UNITS.iter().rev();
    let whole = units.find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
    whole.map_or_else(|| "0ms".to_owned(), |(name, unit)| format!("{}{name}", ms / unit))
}
