//! Compares and changes values: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386).

use heddle_plugin::prelude::*;
use json_patch::Patch;

use crate::exact;

/// The input of `diff`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Two {
    /// The JSON value before the change.
    #[serde(deserialize_with = "exact::read")]
    from: Value,
    /// The JSON value after the change.
    #[serde(deserialize_with = "exact::read")]
    to: Value,
}

/// The result of `diff`.
#[derive(Serialize, JsonSchema)]
struct Difference {
    /// Whether the values are equal.
    same: bool,
    /// A JSON Patch from `from` to `to`: a list of operations.
    #[serde(serialize_with = "exact::write_all")]
    patch: Vec<Value>,
}

/// Compares two values, and returns the JSON Patch (RFC 6902) from the first to the second.
#[tool(read_only, idempotent)]
fn diff(two: Two) -> Result<Difference> {
    let Patch(operations) = json_patch::diff(&two.from, &two.to);
    let patch: Result<Vec<Value>, _> = operations.iter().map(serde_json::to_value).collect();
    Ok(Difference {
        same: operations.is_empty(),
        patch: patch?,
    })
}

/// A value and the changes to apply to it.
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
    /// The JSON value with all changes.
    #[serde(serialize_with = "exact::write")]
    value: Value,
}

/// Applies a JSON Patch (RFC 6902) to a value: all of its operations, or none.
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

/// A value and the patch to merge into it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Merged {
    /// The value to change.
    #[serde(deserialize_with = "exact::read")]
    value: Value,
    /// The patch: objects are merged key by key, null removes its key, and any other value replaces the old one.
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
