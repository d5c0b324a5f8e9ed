//! Corrects which members can be absent and which can be null, and the bounds of unsigned numbers.
//!
//! The derived document describes every `Option` as both optional and nullable. In fact, a member of a response is either
//! always present and possibly null, or possibly absent and never null. Query parameters can be absent but never null.
//! Members of request bodies can be both, so they stay as they are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::operations::operations;

/// The prefix of references to component schemas.
const SCHEMAS: &str = "#/components/schemas/";

/// Removes `null` from parameters and from optional members of responses.
pub(super) fn correct(api: &mut Value) {
    let mut in_requests = BTreeSet::new();
    for operation in operations(api) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            without_null(&mut parameter["schema"]);
        }
        if let Some(body) = operation.get("requestBody") {
            references(body, &mut in_requests);
        }
    }
    let Some(schemas) = api["components"]["schemas"].as_object_mut() else {
        return;
    };
    let in_requests = with_references(in_requests, schemas);
    for (_, schema) in schemas
        .iter_mut()
        .filter(|(name, _)| !in_requests.contains(*name))
    {
        optional_members(schema);
        let parts = schema.get_mut("allOf").and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(optional_members);
    }
}

/// Adds the format and the maximum of unsigned numbers, which are derived as signed numbers with a minimum of 0.
pub(super) fn add_bounds(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_integer = match members.get("type") {
                Some(Value::Array(all)) => all.iter().any(|kind| kind == "integer"),
                kind => kind.is_some_and(|kind| kind == "integer"),
            };
            let minimum = members.get("minimum").and_then(Value::as_i64);
            let from_0 = minimum.is_some_and(|minimum| minimum >= 0);
            let unsigned = match members.get("format").and_then(Value::as_str) {
                Some("int32") if from_0 => Some(("uint32", u64::from(u32::MAX))),
                Some("int64") if from_0 => Some(("uint64", u64::MAX)),
                // `usize` is derived without a format.
                None if from_0 && is_integer => Some(("uint64", u64::MAX)),
                _ => None,
            };
            if let Some((format, maximum)) = unsigned {
                members.insert("format".to_owned(), format.into());
                members.entry("maximum").or_insert(maximum.into());
            }
            members.values_mut().for_each(add_bounds);
        }
        Value::Array(all) => all.iter_mut().for_each(add_bounds),
        _ => {}
    }
}

/// Removes `null` from the optional members of a schema.
fn optional_members(schema: &mut Value) {
    let required: BTreeSet<String> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let members = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, member) in members
        .into_iter()
        .flatten()
        .filter(|(name, _)| !required.contains(*name))
    {
        without_null(member);
    }
}

/// Removes `null` from a schema with two alternatives.
fn without_null(schema: &mut Value) {
    if let Some(all) = schema["type"].as_array().filter(|all| all.len() == 2) {
        let kept = all.iter().find(|kind| *kind != "null").cloned();
        schema["type"] = kept.unwrap_or_default();
    }
    let is_null = |schema: &Value| schema["type"] == "null";
    if let Some(all) = schema["oneOf"]
        .as_array()
        .filter(|all| all.len() == 2 && all.iter().any(is_null))
    {
        let kept = all.iter().find(|schema| !is_null(schema)).cloned();
        *schema = kept.unwrap_or_default();
    }
}

/// Collects the names of the component schemas to which a value refers.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str);
            found.extend(
                name.and_then(|name| name.strip_prefix(SCHEMAS))
                    .map(str::to_owned),
            );
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// Returns these component schemas and all to which they refer, directly or not.
fn with_references(first: BTreeSet<String>, schemas: &Map<String, Value>) -> BTreeSet<String> {
    let (mut all, mut next) = (first.clone(), first);
    while !next.is_empty() {
        let mut named = BTreeSet::new();
        next.iter()
            .filter_map(|name| schemas.get(name))
            .for_each(|schema| references(schema, &mut named));
        next = named.difference(&all).cloned().collect();
        all.extend(next.iter().cloned());
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unsigned_numbers_have_the_bounds_of_their_type() {
        let mut schema = json!({"properties": {
            "a": {"type": "integer", "format": "int64", "minimum": 0},
            "b": {"type": "integer", "format": "int32", "minimum": -100, "maximum": 100},
        }});
        add_bounds(&mut schema);
        let a = json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX});
        assert_eq!(schema["properties"]["a"], a);
        assert_eq!(schema["properties"]["b"]["format"], "int32");
    }

    #[test]
    fn only_members_of_requests_can_be_absent_and_null() {
        let both = json!({"properties": {"a": {"type": ["string", "null"]}, "b": {"$ref": "#/components/schemas/Inner"}}});
        let mut api = json!({
            "paths": {"/p": {"post": {
                "parameters": [{"schema": {"type": ["integer", "null"], "minimum": 1}}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}},
            }}},
            "components": {"schemas": {
                "Body": both, "Inner": {"properties": {"c": {"type": ["string", "null"]}}},
                "Response": {
                    "required": ["always"],
                    "properties": {
                        "always": {"type": ["string", "null"]},
                        "at_times": {"type": ["string", "null"]},
                        "inner": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Inner"}]},
                    },
                },
            }},
        });
        correct(&mut api);
        assert_eq!(
            api["paths"]["/p"]["post"]["parameters"][0]["schema"],
            json!({"type": "integer", "minimum": 1})
        );
        let schemas = &api["components"]["schemas"];
        assert_eq!(schemas["Body"], both);
        assert_eq!(
            schemas["Inner"]["properties"]["c"]["type"],
            json!(["string", "null"])
        );
        let members = &schemas["Response"]["properties"];
        assert_eq!(members["always"]["type"], json!(["string", "null"]));
        assert_eq!(members["at_times"]["type"], "string");
        assert_eq!(members["inner"], json!({"$ref": "#/components/schemas/Inner"}));
    }
}
