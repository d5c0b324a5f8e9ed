//! The differences between two states: by key, and as a JSON Patch (RFC 6902).
//!
//! Values are compared and shown as JSON text, so numbers stay exact.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

// Past these limits, a value that differs is replaced as a whole.

/// The depth of nested values.
const MAX_DEPTH: usize = 64;
/// The size of both values together, in bytes.
const MAX_COMPARED_BYTES: usize = 2 << 20;
/// The number of operations in a patch.
const MAX_PATCHES: usize = 10_000;
/// The length of a pointer, in bytes. All operations below a pointer repeat it.
const MAX_PATH_LEN: usize = 1 << 10;

/// The kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Op {
    /// The value is new.
    Add,
    /// The value was removed.
    Remove,
    /// The value was replaced.
    Replace,
}

/// A state key that differs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Change {
    /// The name of the state key, at the top level of the state.
    #[schema(value_type = String)]
    key: Arc<str>,
    /// The kind of the change.
    op: Op,
    /// The value before; absent for a new key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    before: Option<Json>,
    /// The value after; absent for a removed key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    after: Option<Json>,
}

/// An operation of a JSON Patch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Patch<'s> {
    /// The operation of RFC 6902.
    op: Op,
    /// A JSON pointer (RFC 6901) into the state.
    path: String,
    /// The new value; absent for `remove`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    value: Option<&'s RawValue>,
}

/// Returns all keys that differ, sorted.
pub(crate) fn by_key(before: &Object, after: &Object) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for (key, old) in before.iter() {
        let new = after.get(key);
        if new.is_none_or(|new| !same(old, new)) {
            changes.push(Change {
                key: key.clone(),
                op: if new.is_some() { Op::Replace } else { Op::Remove },
                before: Some(old.clone()),
                after: new.cloned(),
            });
        }
    }
    for (key, new) in after.iter().filter(|(key, _)| before.get(key).is_none()) {
        changes.push(Change {
            key: key.clone(),
            op: Op::Add,
            before: None,
            after: Some(new.clone()),
        });
    }
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

/// Returns a JSON Patch from one state to the other. Objects are compared by key, lists without their common start and
/// end.
pub(crate) fn json_patch<'s>(before: &'s Object, after: &'s Object) -> Vec<Patch<'s>> {
    let keys = |state: &'s Object| {
        let keys = state.iter();
        keys.map(|(key, value)| (Cow::Borrowed(&**key), &**value))
            .collect()
    };
    let mut patches = Vec::new();
    objects(String::new(), &keys(before), &keys(after), &mut patches);
    patches
}

type Keys<'s> = BTreeMap<Cow<'s, str>, &'s RawValue>;

/// Compares values by text. Equal values with different text count as different.
fn same(a: &RawValue, b: &RawValue) -> bool {
    std::ptr::eq(a, b) || a.get() == b.get()
}

fn objects<'s>(path: String, before: &Keys<'s>, after: &Keys<'s>, patches: &mut Vec<Patch<'s>>) {
    let at = |key: &str| format!("{path}/{}", heddle_json::pointer::escape(key));
    for (key, old) in before {
        match after.get(key) {
            Some(new) => values(at(key), old, new, patches),
            None => patches.push(Patch {
                op: Op::Remove,
                path: at(key),
                value: None,
            }),
        }
    }
    for (key, new) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        patches.push(Patch {
            op: Op::Add,
            path: at(key),
            value: Some(new),
        });
    }
}

fn values<'s>(path: String, before: &'s RawValue, after: &'s RawValue, patches: &mut Vec<Patch<'s>>) {
    if same(before, after) {
        return;
    }
    // Slashes in keys are escaped, so each slash is one level.
    let depth = path.bytes().filter(|byte| *byte == b'/').count();
    let bytes = before.get().len() + after.get().len();
    let within_limits =
        bytes <= MAX_COMPARED_BYTES && patches.len() < MAX_PATCHES && path.len() <= MAX_PATH_LEN;
    if depth < MAX_DEPTH && within_limits {
        if let (Some(before), Some(after)) = (keys(before), keys(after)) {
            return objects(path, &before, &after, patches);
        }
        if let (Some(before), Some(after)) = (items(before), items(after)) {
            return lists(&path, &before, &after, patches);
        }
    }
    patches.push(Patch {
        op: Op::Replace,
        path,
        value: Some(after),
    });
}

/// Keeps the common start and end of both lists. Compares the items between by index, then adds or removes the rest of
/// the longer list.
fn lists<'s>(path: &str, before: &[&'s RawValue], after: &[&'s RawValue], patches: &mut Vec<Patch<'s>>) {
    let both = before.iter().zip(after);
    let head = both.take_while(|(a, b)| same(a, b)).count();
    let (before, after) = (&before[head..], &after[head..]);
    let both = before.iter().rev().zip(after.iter().rev());
    let tail = both.take_while(|(a, b)| same(a, b)).count();
    let (before, after) = (&before[..before.len() - tail], &after[..after.len() - tail]);
    for (index, (old, new)) in before.iter().zip(after).enumerate() {
        values(format!("{path}/{}", head + index), old, new, patches);
    }
    let both = before.len().min(after.len());
    // From the end, so that the indexes of the other items do not change.
    patches.extend((both..before.len()).rev().map(|index| Patch {
        op: Op::Remove,
        path: format!("{path}/{}", head + index),
        value: None,
    }));
    patches.extend((both..after.len()).map(|index| Patch {
        op: Op::Add,
        path: format!("{path}/{}", head + index),
        value: Some(after[index]),
    }));
}

fn keys(value: &RawValue) -> Option<Keys<'_>> {
    let text = value.get();
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}

fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    let text = value.get();
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::Value;

    use super::*;

    fn check(before: &str, after: &str, expect: Expect) {
        let state = |text| Object::parse(text).expect("a state");
        let (old, new) = (state(before), state(after));
        let patches = json_patch(&old, &new);
        let operations: Vec<String> = patches
            .iter()
            .map(|patch| serde_json::to_string(patch).expect("JSON"))
            .collect();
        expect.assert_eq(&operations.join("\n"));
        // Applied to the old state, the patch must give the new one.
        let mut patched: Value = serde_json::from_str(before).expect("JSON");
        let patch: json_patch::Patch =
            serde_json::from_str(&format!("[{}]", operations.join(","))).expect("a JSON Patch");
        json_patch::patch(&mut patched, &patch.0).expect("it can be applied");
        assert_eq!(patched, serde_json::from_str::<Value>(after).expect("JSON"));
    }

    #[test]
    fn a_patch_past_its_limits_is_still_correct() {
        let patch = |before: &str, after: &str| {
            let state = |text: &str| Object::parse(text).expect("a state");
            let (old, new) = (state(before), state(after));
            let text = serde_json::to_string(&json_patch(&old, &new)).expect("JSON");
            let mut patched: Value = serde_json::from_str(before).expect("JSON");
            let patch: json_patch::Patch = serde_json::from_str(&text).expect("a JSON Patch");
            json_patch::patch(&mut patched, &patch.0).expect("it can be applied");
            assert_eq!(patched, serde_json::from_str::<Value>(after).expect("JSON"));
            (patch.0.len(), text.len())
        };
        let lists = |value: &str, keys: usize| {
            let list = vec![value; 9_000].join(",");
            let keys: Vec<String> = (0..keys).map(|n| format!("\"k{n}\":[{list}]")).collect();
            format!("{{{}}}", keys.join(","))
        };
        // From the third list on, lists are replaced as a whole.
        let (operations, _) = patch(&lists("1", 4), &lists("2", 4));
        assert_eq!(operations, 2 * 9_000 + 2);
        // A long key is not repeated for each of its items.
        let long = |value: &str| format!("{{\"{}\":[{}]}}", "k".repeat(5_000), vec![value; 1_000].join(","));
        let (operations, bytes) = patch(&long("1"), &long("2"));
        assert!(operations == 1 && bytes < 10_000);
        let large = |value: &str| format!("{{\"k\":[{}]}}", vec![value; 700_000].join(","));
        assert_eq!(patch(&large("1"), &large("2")).0, 1);
    }

    #[test]
    fn a_patch_is_as_deep_as_the_change() {
        check(
            r#"{"a": 1, "b": {"c": [1, 2]}}"#,
            r#"{"a": 1, "b": {"c": [1, 2]}}"#,
            expect![""],
        );
        check(
            r#"{"gone": 1, "n": 1.0, "in": {"a/b": 1, "x~y": {"deep": true}}}"#,
            r#"{"n": 1.50, "in": {"a/b": 2, "x~y": {"deep": null, "more": []}}, "new": "x"}"#,
            expect![[r#"
                {"op":"remove","path":"/gone"}
                {"op":"replace","path":"/in/a~1b","value":2}
                {"op":"replace","path":"/in/x~0y/deep","value":null}
                {"op":"add","path":"/in/x~0y/more","value":[]}
                {"op":"replace","path":"/n","value":1.50}
                {"op":"add","path":"/new","value":"x"}"#]],
        );
    }

    #[test]
    fn a_list_keeps_its_common_start_and_end() {
        check(
            r#"{"l": [1, 2, 3]}"#,
            r#"{"l": [1, 2, 3, 4, 5]}"#,
            expect![[r#"
                {"op":"add","path":"/l/3","value":4}
                {"op":"add","path":"/l/4","value":5}"#]],
        );
        check(
            r#"{"l": [1, 2, 3, 4, 5]}"#,
            r#"{"l": [1, {"a": 1}, 5]}"#,
            expect![[r#"
                {"op":"replace","path":"/l/1","value":{"a": 1}}
                {"op":"remove","path":"/l/3"}
                {"op":"remove","path":"/l/2"}"#]],
        );
        check(
            r#"{"l": [{"a": 1, "b": 1}, 2]}"#,
            r#"{"l": [{"a": 1, "b": 2}, 2]}"#,
            expect![[r#"{"op":"replace","path":"/l/0/b","value":2}"#]],
        );
        check(
            r#"{"l": [2, 3]}"#,
            r#"{"l": [1, 2, 3]}"#,
            expect![[r#"{"op":"add","path":"/l/0","value":1}"#]],
        );
        check(
            r#"{"l": []}"#,
            r#"{"l": {}}"#,
            expect![[r#"{"op":"replace","path":"/l","value":{}}"#]],
        );
    }

    #[test]
    fn values_below_the_depth_limit_are_replaced_as_a_whole() {
        let nested = |value: &str| format!("{{\"l\": {}{value}{}}}", "[".repeat(100), "]".repeat(100));
        let (old, new) = (nested("1"), nested("2"));
        let state = |text: &str| Object::parse(text).expect("a state");
        let (old, new) = (state(&old), state(&new));
        let patches = json_patch(&old, &new);
        assert_eq!(patches.len(), 1);
        assert_eq!(patches[0].path, format!("/l{}", "/0".repeat(MAX_DEPTH - 1)));
        assert_eq!(
            patches[0].value.map(RawValue::get),
            Some(&*format!("{}2{}", "[".repeat(37), "]".repeat(37)))
        );
    }

    #[test]
    fn changed_keys_have_their_values_before_and_after() {
        let state = |text| Object::parse(text).expect("a state");
        let changes = by_key(
            &state(r#"{"b": 1, "c": 1.0, "same": [1]}"#),
            &state(r#"{"a": {}, "c": 1.00, "same": [1]}"#),
        );
        expect![[r#"[{"key":"a","op":"add","after":{}},{"key":"b","op":"remove","before":1},{"key":"c","op":"replace","before":1.0,"after":1.00}]"#]]
            .assert_eq(&serde_json::to_string(&changes).expect("JSON"));
    }
}
