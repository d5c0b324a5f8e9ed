//! The error that a key is missing: what exists instead, and how to test for the key.
//!
//! The message is built only if the error ends the evaluation: `||` and loops may ignore thousands of such
//! errors.

use std::collections::BTreeMap;

use heddle_json::Object;

use super::{
    plan::Path,
    read,
    value::{Key, Value, clipped},
};
use crate::suggest::nearest;

/// The number of keys in a message.
const KEYS_SHOWN: usize = 8;

/// The number of keys that are compared for a suggestion.
const KEYS_COMPARED: usize = 64;

/// The number of characters of a key that are shown and compared.
const KEY_LEN: usize = 40;

/// The first keys that exist.
pub(super) struct PresentKeys(Vec<String>);

impl PresentKeys {
    pub(super) fn in_object(object: &Object) -> Self {
        Self::of(object.iter().map(|(key, _)| &**key))
    }

    pub(super) fn in_text(text: &str) -> Self {
        let keys = read::first_keys(text, KEYS_COMPARED);
        Self::of(keys.iter().map(String::as_str))
    }

    fn of<'k>(keys: impl Iterator<Item = &'k str>) -> Self {
        Self(
            keys.take(KEYS_COMPARED)
                .map(|key| clipped(key, KEY_LEN))
                .collect(),
        )
    }

    /// A suggestion, or the keys if there are few.
    fn hint(&self, key: &str) -> String {
        if let Some(near) = nearest(key, self.0.iter().map(String::as_str)) {
            return format!("; did you mean `{near}`?");
        }
        match self.0.len() {
            0 => "; it has none".into(),
            1..=KEYS_SHOWN => {
                let shown: Vec<_> = self.0.iter().map(|key| format!("`{key}`")).collect();
                format!("; it has {}", shown.join(", "))
            }
            _ => String::new(),
        }
    }
}

/// The message for a path whose key at `index` is missing.
pub(super) fn in_path(path: &Path, index: usize, present: &PresentKeys) -> String {
    let key = clipped(&path.keys[index], KEY_LEN);
    let (of, asked) = (path.up_to(index), path.up_to(index + 1));
    format!(
        "{of} has no key `{key}`{}; has({asked}) tests whether the key exists",
        present.hint(&key)
    )
}

/// The message for an object that the expression built or selected.
pub(super) fn in_entries(entries: &BTreeMap<Key, Value>, key: &str) -> String {
    let texts = entries.keys().filter_map(|key| match key {
        Key::String(text) => Some(&**text),
        _ => None,
    });
    let key = clipped(key, KEY_LEN);
    format!(
        "the object has no key `{key}`{}",
        PresentKeys::of(texts).hint(&key)
    )
}
