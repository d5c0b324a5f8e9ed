//! Reading the JSON of an answer.
//!
//! [`text`] and [`texts`] escape control characters, so their result is safe to print as a part of a line. What is sent
//! back to the server or printed as JSON is read without them.

use std::borrow::Cow;

use heddle_display as display;
use serde_json::Value;

/// The text at a key, safe to print; empty if absent.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> Cow<'v, str> {
    display::line(value[key].as_str().unwrap_or_default())
}

/// The items of the array at a key.
pub(crate) fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

/// The texts of the array at a key, each safe to print.
pub(crate) fn texts<'v>(value: &'v Value, key: &str) -> Vec<Cow<'v, str>> {
    list(value, key)
        .filter_map(Value::as_str)
        .map(display::line)
        .collect()
}
