//! Reads CSV into rows, and writes rows as CSV (RFC 4180, with other delimiters and quotes on request).
//!
//! A cell is text unless its column has a type. Types are never guessed, so `007` stays unchanged.

mod cell;
mod read;
mod write;

use heddle_plugin::prelude::*;

/// A delimiter or a quote that was given: one ASCII character.
fn byte(what: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Ok(*byte),
        _ => Err(Error::invalid_input(format!(
            "`{what}` is {text:?}, and must be one ASCII character"
        ))),
    }
}

fn comma() -> String {
    ",".to_owned()
}

fn quote() -> String {
    "\"".to_owned()
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests;
