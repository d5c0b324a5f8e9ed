//! The operations of an OpenAPI document.

use serde_json::{Map, Value};

/// Returns all operations of the document.
pub(super) fn operations(api: &mut Value) -> impl Iterator<Item = &mut Map<String, Value>> {
    let paths = api["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let members = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    // Other members of a path are not objects.
    members.filter_map(Value::as_object_mut)
}
