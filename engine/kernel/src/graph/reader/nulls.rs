//! Null in definitions: it is not a value of a key. Earlier versions accepted it for some keys, so stored and imported
//! definitions may have it.

use heddle_json::deserialize::NULL;

use super::*;

impl Reader<'_> {
    /// Reports every null that has no error of its own yet. The values in a `config` and in the schema of a payload
    /// may be null, and null as an edge's target means the end.
    pub(super) fn refuse_nulls(&mut self, definition: &Value) {
        let mut nulls = Vec::new();
        find(definition, &[], &mut nulls);
        for pointer in nulls {
            if self.found.has_enough_errors() {
                return;
            }
            if !self.found.is_about(&pointer) {
                self.error(pointer, NULL);
            }
        }
    }
}

/// Collects the pointers of nulls.
fn find(value: &Value, path: &[&str], nulls: &mut Vec<String>) {
    match (value, path) {
        (_, ["nodes", _, "config"] | ["nodes", _, "wait", "schema"]) => {}
        // The host checks these.
        (Value::Object(_), ["nodes", _, "limits" | "grants"]) => {}
        (Value::Null, ["edges", _] | ["edges", _, "to"] | ["edges", _, _, "to"]) => {}
        (Value::Null, _) => nulls.push(path.iter().map(|key| format!("/{}", part(key))).collect()),
        (Value::Array(items), _) => {
            for (at, item) in items.iter().enumerate() {
                find(item, &[path, &[&at.to_string()]].concat(), nulls);
            }
        }
        (Value::Object(members), _) => {
            for (key, value) in members {
                find(value, &[path, &[key]].concat(), nulls);
            }
        }
        _ => {}
    }
}
