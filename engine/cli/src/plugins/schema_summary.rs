//! Summarizes a JSON Schema in one line: `{files: [File], limit?: integer}`.

use serde_json::{Map, Value};

/// How many levels of nested types are shown.
const DEPTH: usize = 2;
/// How many keys or alternatives of a type are shown.
const MAX_PARTS: usize = 12;

/// The summary of a schema. Required keys come first. A reference is shown as the name of its type.
pub(super) fn summary(schema: &Value) -> String {
    of_value(schema, DEPTH)
}

fn of_value(schema: &Value, depth: usize) -> String {
    let Value::Object(schema) = schema else {
        return if *schema == Value::Bool(false) {
            "nothing"
        } else {
            "any"
        }
        .to_owned();
    };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(constant) = schema.get("const") {
        return constant.to_string();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return joined(values.iter().map(Value::to_string), " | ");
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            return joined(
                choices
                    .iter()
                    .map(|choice| of_value(choice, depth.saturating_sub(1))),
                " | ",
            );
        }
    }
    if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        return of_value(only, depth);
    }
    match schema.get("type") {
        Some(Value::String(kind)) => of_type(kind, schema, depth),
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str);
            joined(kinds.map(|kind| of_type(kind, schema, depth)), " | ")
        }
        _ if schema.contains_key("properties") => of_type("object", schema, depth),
        _ => "any".to_owned(),
    }
}

fn of_type(kind: &str, schema: &Map<String, Value>, depth: usize) -> String {
    match kind {
        "object" => object(schema, depth),
        "array" => match (schema.get("items"), schema.get("prefixItems")) {
            (_, Some(Value::Array(items))) => {
                let items = items.iter().map(|item| of_value(item, depth.saturating_sub(1)));
                format!("[{}]", joined(items, ", "))
            }
            (Some(items), _) => format!("[{}]", of_value(items, depth.saturating_sub(1))),
            (None, _) => "[any]".to_owned(),
        },
        kind => kind.to_owned(),
    }
}

fn object(schema: &Map<String, Value>, depth: usize) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        return match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                format!("{{…: {}}}", of_value(values, depth.saturating_sub(1)))
            }
            Some(Value::Bool(false)) => "{}".to_owned(),
            _ => "object".to_owned(),
        };
    };
    if depth == 0 {
        return "{…}".to_owned();
    }
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    let key = |sign: &str, (name, schema): (&String, &Value)| {
        format!("{name}{sign}: {}", of_value(schema, depth - 1))
    };
    let (needed, others): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| is_required(name));
    let needed = needed.into_iter().map(|property| key("", property));
    let keys = needed.chain(others.into_iter().map(|property| key("?", property)));
    format!("{{{}}}", joined(keys, ", "))
}

/// The first parts, joined; `…` stands for the rest.
fn joined(all: impl Iterator<Item = String>, separator: &str) -> String {
    let mut parts: Vec<String> = all.take(MAX_PARTS + 1).collect();
    if parts.len() > MAX_PARTS {
        parts[MAX_PARTS] = "…".to_owned();
    }
    parts.join(separator)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_has_a_short_summary() {
        for (schema, expected) in [
            (json!({}), "any"),
            (json!(true), "any"),
            (json!({"type": "object"}), "object"),
            (json!({"type": "object", "additionalProperties": false}), "{}"),
            (
                json!({"type": "object", "additionalProperties": {"type": "integer"}}),
                "{…: integer}",
            ),
            (
                json!({"type": "object", "required": ["files"], "properties": {
                    "limit": {"type": ["integer", "null"]},
                    "files": {"type": "array", "items": {"$ref": "#/$defs/File"}}}}),
                "{files: [File], limit?: integer | null}",
            ),
            (
                json!({"anyOf": [{"$ref": "#/$defs/Metrics"}, {"type": "null"}]}),
                "Metrics | null",
            ),
            (json!({"enum": ["a", 1]}), "\"a\" | 1"),
            (
                json!({"type": "array", "prefixItems": [{"type": "string"}, {"const": 2}]}),
                "[string, 2]",
            ),
            (
                json!({"properties": {"a": {"properties": {"b": {"properties": {"c": {}}}}}}}),
                "{a?: {b?: {…}}}",
            ),
        ] {
            assert_eq!(summary(&schema), expected, "{schema}");
        }
    }
}
