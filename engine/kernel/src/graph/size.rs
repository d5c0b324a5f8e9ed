//! Sizes in bytes with units: `65536`, `64KiB`, `16MiB`.

use serde_json::{Map as Members, Value};

use super::reader::{Reader, whole_number};

/// Parses a number of bytes: a whole number, alone or with `B`, `KiB`, `MiB` or `GiB`. `None` for anything
/// else.
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl Reader<'_> {
    /// Reads a number of bytes, alone or with a unit.
    pub(super) fn size(&mut self, map: &Members<String, Value>, pointer: &str, key: &str) -> Option<u64> {
        let value = map.get(key)?;
        let read = match value {
            Value::String(text) => parse(text),
            other => whole_number(other),
        };
        if let Some(bytes) = read.filter(|bytes| *bytes > 0) {
            return Some(bytes);
        }
        let pointer = format!("{pointer}/{key}");
        let got = self.as_written(&pointer, value);
        let message = format!("expected a number of bytes, such as 65536, \"64KiB\" or \"16MiB\", got {got}");
        self.error(pointer, message);
        None
    }
}
