//! Finds values by their place: JSONPath (RFC 9535) and JSON Pointer (RFC 6901).

use std::cell::RefCell;

use heddle_plugin::prelude::*;
use regex::Regex;
use serde_json_path::{
    JsonPath,
    functions::{LogicalType, ValueType},
};

use crate::{exact, order};

/// How large the compiled form of a pattern in a path may be.
const PATTERN_BYTES: usize = 1 << 20;

/// A value to look into.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    /// The value to look into.
    #[serde(deserialize_with = "exact::read")]
    value: Value,
    /// A JSONPath: `$.orders[?@.total > 100].id`.
    path: String,
}

/// The matches of a path.
#[derive(Serialize, JsonSchema)]
struct Found {
    /// The values, in document order.
    #[serde(serialize_with = "exact::write_all")]
    values: Vec<Value>,
    /// The place of each value, as a path: `$['orders'][0]['id']`.
    paths: Vec<String>,
}

/// Finds the values that match a JSONPath (RFC 9535), with their places.
#[tool(read_only, idempotent)]
fn path(query: Query) -> Result<Found> {
    let mut path = JsonPath::parse(&query.path).map_err(|error| {
        let at = query.path.chars().count().min(error.position() + 1);
        let message = error.message();
        Error::invalid_input(format!(
            "`{}` is no JSONPath: at character {at}: {message}",
            query.path
        ))
    })?;
    BAD_PATTERN.take();
    // Only a filter compares anything.
    let filtered = match query.path.contains('?') {
        true => order::comparable(&query.value, &query.path)?,
        false => None,
    };
    if let Some((_, rewritten)) = &filtered {
        path = JsonPath::parse(rewritten)?;
    }
    let value = filtered.as_ref().map_or(&query.value, |(value, _)| value);
    let located = path.query_located(value);
    let at = |pointer: String| query.value.pointer(&pointer).cloned().unwrap_or_default();
    let found = Found {
        paths: located.locations().map(ToString::to_string).collect(),
        values: located
            .locations()
            .map(|location| at(location.to_json_pointer()))
            .collect(),
    };
    // The RFC says that an invalid pattern matches nothing; but an invalid pattern is always a mistake.
    if let Some(warning) = BAD_PATTERN.take() {
        log::warn!("{warning}");
    }
    Ok(found)
}

thread_local! {
    /// The pattern that was used last: a filter uses the same one for every item.
    static PATTERN: RefCell<Option<(String, Option<Regex>)>> = const { RefCell::new(None) };
    static BAD_PATTERN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The RFC's `match`: whether the whole of a text fits a pattern.
#[serde_json_path::function(name = "match")]
fn whole(text: ValueType, pattern: ValueType) -> LogicalType {
    fits(&text, &pattern, |pattern| format!(r"\A(?:{pattern})\z"))
}

/// The RFC's `search`: whether a part of a text fits a pattern.
#[serde_json_path::function(name = "search")]
fn part(text: ValueType, pattern: ValueType) -> LogicalType {
    fits(&text, &pattern, str::to_owned)
}

fn fits(text: &ValueType, pattern: &ValueType, written: impl Fn(&str) -> String) -> LogicalType {
    let (Some(Value::String(text)), Some(Value::String(pattern))) = (text.as_value(), pattern.as_value())
    else {
        return LogicalType::False;
    };
    let pattern = written(pattern);
    PATTERN.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|(written, _)| *written != pattern) {
            *last = Some((pattern.clone(), compile(&pattern)));
        }
        let compiled = last.as_ref().and_then(|(_, regex)| regex.as_ref());
        compiled.is_some_and(|regex| regex.is_match(text)).into()
    })
}

fn compile(pattern: &str) -> Option<Regex> {
    // In RFC 9485's patterns, a dot is any character but the two that end a line.
    let built = regex::RegexBuilder::new(pattern)
        .crlf(true)
        .size_limit(PATTERN_BYTES)
        .build();
    let failed = |error| BAD_PATTERN.set(Some(format!("a pattern of the path matches nothing: {error}")));
    built.map_err(failed).ok()
}

/// A value to look into.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Lookup {
    /// The value to look into.
    #[serde(deserialize_with = "exact::read")]
    value: Value,
    /// A JSON Pointer: `/orders/0/id`; empty for the whole value.
    pointer: String,
    /// The value to return if there is none. Without it, a missing value is an error.
    #[serde(default, deserialize_with = "given")]
    default: Option<Value>,
}

/// A key that exists, even with the value null.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    exact::read(value).map(Some)
}

/// The value at a pointer.
#[derive(Serialize, JsonSchema)]
struct FoundValue {
    /// The value there, or the default.
    #[serde(serialize_with = "exact::write")]
    value: Value,
    /// Whether the value exists.
    found: bool,
}

/// Returns the value at a JSON Pointer (RFC 6901).
#[tool(read_only, idempotent)]
fn pointer(mut query: Lookup) -> Result<FoundValue> {
    let pointer = &query.pointer;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Error::invalid_input(format!(
            "`{pointer}` is no JSON Pointer: it is empty or begins with `/`"
        )));
    }
    if let Some(value) = query.value.pointer_mut(pointer) {
        let value = value.take();
        return Ok(FoundValue { value, found: true });
    }
    match query.default {
        Some(value) => Ok(FoundValue { value, found: false }),
        None => {
            let deepest = deepest(&query.value, pointer);
            Err(Error::permanent(format!(
                "there is no value at `{pointer}`: the longest part of the pointer with a value is `{deepest}`. \
                 Give a `default` if the value may be missing"
            )))
        }
    }
}

/// The longest beginning of a pointer that names a value.
fn deepest<'p>(value: &Value, pointer: &'p str) -> &'p str {
    let mut starts = pointer.rmatch_indices('/').map(|(at, _)| &pointer[..at]);
    starts
        .find(|start| value.pointer(start).is_some())
        .unwrap_or_default()
}
