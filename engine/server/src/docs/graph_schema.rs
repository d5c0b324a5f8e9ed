//! Adds the JSON Schema of graphs (`docs/graph.schema.json`) to the document, as components.
//!
//! Client generators support only a part of JSON Schema, so conditions (`if`, `dependentSchemas`, …) are left out: the
//! components accept everything that the schema accepts, and more. Some generators treat a key with a `default` as
//! required, so defaults are moved to the description.

use heddle_kernel::graph::SCHEMA;
use serde_json::{Map, Value, json};

/// The name of the component for a graph's definition.
pub(super) const COMPONENT: &str = "GraphDefinition";

/// The keywords that are left out.
const CONDITIONS: [&str; 10] = [
    "$schema",
    "default",
    "title",
    "if",
    "then",
    "else",
    "not",
    "dependentSchemas",
    "dependentRequired",
    "propertyNames",
];

/// Replaces [`COMPONENT`] with the schema of graphs, keeping its example, and adds a component for each of its parts.
pub(super) fn add(api: &mut Value) {
    let mut schema: Value = serde_json::from_str(SCHEMA).expect("the schema of the format is JSON");
    let parts = schema
        .as_object_mut()
        .and_then(|schema| schema.remove("$defs"))
        .unwrap_or_default();
    let Some(components) = api["components"]["schemas"].as_object_mut() else {
        return;
    };
    let example = components.get(COMPONENT).and_then(|graph| graph.get("example"));
    let mut graph = convert(&schema, &parts);
    if let Some(example) = example {
        graph["example"] = example.clone();
    }
    components.insert(COMPONENT.to_owned(), graph);
    for (name, part) in parts.as_object().into_iter().flatten() {
        let before = components.insert(component(name), convert(part, &parts));
        assert!(
            before.is_none(),
            "the component {} is there twice",
            component(name)
        );
    }
}

/// Returns the component's name for a part of the schema: `GraphNode` for `node`.
fn component(part: &str) -> String {
    let mut letters = part.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("Graph{}{}", first.unwrap_or_default(), letters.as_str())
}

/// Converts a schema to a component.
fn convert(schema: &Value, parts: &Value) -> Value {
    let Value::Object(schema) = schema else {
        return schema.clone();
    };
    if let Some(inner) = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|to| inner(to, parts))
    {
        return convert(inner, parts);
    }
    let mut converted = Map::new();
    for (keyword, value) in schema
        .iter()
        .filter(|(keyword, _)| !CONDITIONS.contains(&keyword.as_str()))
    {
        let value = match (keyword.as_str(), value) {
            ("$ref", Value::String(to)) => {
                json!(format!(
                    "#/components/schemas/{}",
                    component(to.trim_start_matches("#/$defs/"))
                ))
            }
            // Most regex engines do not support Unicode classes.
            ("pattern", Value::String(pattern)) if pattern.contains("\\p{") => continue,
            ("properties", Value::Object(all)) => {
                let all = all
                    .iter()
                    .map(|(name, schema)| (name.clone(), convert(schema, parts)));
                all.collect::<Map<_, _>>().into()
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(all)) => {
                if all.iter().all(is_condition) {
                    continue;
                }
                all.iter().map(|schema| convert(schema, parts)).collect()
            }
            ("items" | "additionalProperties" | "contains", schema) => convert(schema, parts),
            (_, value) => value.clone(),
        };
        converted.insert(keyword.clone(), value);
    }
    if let Some(default) = schema.get("default") {
        let before = converted
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let text = format!("{before} Default: {default}.");
        converted.insert("description".to_owned(), text.trim_start().into());
    }
    let is_text = |all: &Vec<Value>| all.iter().all(Value::is_string);
    if schema.get("enum").and_then(Value::as_array).is_some_and(is_text) {
        converted.entry("type").or_insert(json!("string"));
    }
    let is_open = ["properties", "additionalProperties"]
        .iter()
        .all(|keyword| !schema.contains_key(*keyword));
    let may_be_object = schema.get("type").is_some_and(|kind| match kind {
        Value::Array(all) => all.iter().any(|one| one == "object"),
        one => one == "object",
    });
    if is_open && may_be_object {
        converted.insert("additionalProperties".to_owned(), json!({}));
    }
    if let Some(items) = conditional_items(schema, parts) {
        converted.entry("items").or_insert(items);
    }
    Value::Object(converted)
}

/// Resolves a reference into the inside of a part, which generators do not support.
fn inner<'s>(to: &str, parts: &'s Value) -> Option<&'s Value> {
    let path = to.strip_prefix("#/$defs")?;
    parts.pointer(path).filter(|_| path.matches('/').count() > 1)
}

/// Returns whether a schema has only a `required` condition.
fn is_condition(schema: &Value) -> bool {
    schema
        .as_object()
        .is_some_and(|schema| schema.keys().all(|keyword| keyword == "required"))
}

/// Returns the alternatives for the items of a list that depend on a condition.
fn conditional_items(schema: &Map<String, Value>, parts: &Value) -> Option<Value> {
    let items = ["then", "else"].map(|branch| schema.get(branch)?.get("items"));
    let all: Vec<Value> = items
        .into_iter()
        .flatten()
        .map(|items| convert(items, parts))
        .collect();
    (!all.is_empty()).then(|| json!({"anyOf": all}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> Value {
        let mut api = json!({"components": {"schemas": {COMPONENT: {"example": {"nodes": {}}}}}});
        add(&mut api);
        api["components"]["schemas"].take()
    }

    #[test]
    fn only_the_nodes_of_a_graph_are_required() {
        let schemas = described();
        assert_eq!(schemas[COMPONENT]["required"], json!(["nodes"]));
        let keys = schemas[COMPONENT]["properties"].as_object().expect("keys");
        for key in ["name", "edges", "state", "limits"] {
            assert!(keys.contains_key(key), "{key}");
        }
        assert_eq!(schemas[COMPONENT]["example"], json!({"nodes": {}}));
    }

    #[test]
    fn a_key_with_a_default_is_optional_and_says_so() {
        let schemas = described();
        let attempts = &schemas["GraphRetry"]["properties"]["factor"];
        assert_eq!(attempts.get("default"), None);
        let text = attempts["description"].as_str().expect("a description");
        assert!(text.ends_with(" Default: 2."), "{text}");
        assert_eq!(schemas["GraphKey"]["properties"]["merge"]["type"], "string");
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let schemas = described();
        let text = schemas.to_string();
        let mut found = 0;
        for rest in text.split(r##""$ref":"#/components/schemas/"##).skip(1) {
            let name = rest.split('"').next().expect("a text ends");
            assert!(schemas[name].is_object(), "{name}");
            found += 1;
        }
        assert!(found > 20, "{found}");
        assert!(!text.contains("$defs"));
    }

    #[test]
    fn the_list_of_an_edge_has_names_or_cases() {
        assert_eq!(
            described()["GraphEdge"]["items"],
            json!({"anyOf": [{"$ref": "#/components/schemas/GraphCase"}, {"$ref": "#/components/schemas/GraphTarget"}]})
        );
    }
}
