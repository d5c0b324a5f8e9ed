//! Two values compared, and one changed: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386).

use heddle_plugin::prelude::*;
use json_patch::Patch;

use crate::exact;

/// Two values to compare.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Two {
    /// The value as it was.
    #[serde(deserialize_with = "exact::read")]
    from: Value,
    /// The value as it is to be.
    #[serde(deserialize_with = "exact::read")]
    to: Value,
}

/// How two values differ.
#[derive(Serialize, JsonSchema)]
struct Difference {
    /// Whether they are the same.
    same: bool,
    /// A JSON Patch that makes `to` of `from`: a list of operations.
    #[serde(serialize_with = "exact::write_all")]
    patch: Vec<Value>,
}

/// Compares two values, and gives the JSON Patch (RFC 6902) that makes the second of the first.
#[tool(read_only, idempotent)]
fn diff(two: Two) -> Result<Difference> {
    let Patch(operations) = json_patch::diff(&two.from, &two.to);
    let patch: Result<Vec<Value>, _> = operations.iter().map(serde_json::to_value).collect();
    Ok(Difference {
        same: operations.is_empty(),
        patch: patch?,
    })
}

/// A value and what to change of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patched {
    /// The value to change.
    #[serde(deserialize_with = "exact::read")]
    value: Value,
    /// A JSON Patch: a list of `{"op": "add" | "remove" | "replace" | "move" | "copy" | "test", "path", …}`.
    #[schemars(with = "Vec<Value>")]
    #[serde(deserialize_with = "exact::read")]
    patch: Patch,
}

/// A value after a change.
#[derive(Serialize, JsonSchema)]
struct Changed {
    /// The whole value.
    #[serde(serialize_with = "exact::write")]
    value: Value,
}

/// Changes a value by a JSON Patch (RFC 6902): all of its operations, or none.
#[tool(read_only, idempotent)]
fn patch(input: Patched) -> Result<Changed> {
    let mut value = input.value;
    json_patch::patch(&mut value, &input.patch).map_err(|error| {
        let (operation, path) = (error.operation, error.path.to_string());
        Error::permanent(format!(
            "operation {operation} of the patch, at `{path}`: {}",
            error.kind
        ))
        .with_data(json!({"operation": operation, "path": path}))
    })?;
    Ok(Changed { value })
}

/// A value and what to merge into it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Merged {
    /// The value to change.
    #[serde(deserialize_with = "exact::read")]
    value: Value,
    /// What to merge into it: objects key by key, a null takes its key away, and anything else stands in its place.
    #[serde(deserialize_with = "exact::read")]
    patch: Value,
}

/// Merges one value into another by a JSON Merge Patch (RFC 7386).
#[tool(read_only, idempotent)]
fn merge(input: Merged) -> Changed {
    let mut value = input.value;
    json_patch::merge(&mut value, &input.patch);
    Changed { value }
}
