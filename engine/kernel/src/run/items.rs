//! The items of a map and their results.

use std::{collections::HashMap, fmt, sync::Arc};

use heddle_json::{
    Json,
    object::{json, to_json},
};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Items, MAX_ITEMS, Run, StepState, fold::Fold, outcome::clip};
use crate::{event::Item, graph::OnItemError};

impl Default for Items {
    fn default() -> Self {
        Self {
            keys: None,
            all: Arc::new([]),
            begun: 0,
            open: 0,
            bytes: 0,
            results: Vec::new(),
        }
    }
}

impl Items {
    /// Reads the items of a list, or the values of an object.
    pub(super) fn read(text: &Json) -> Fold<Self> {
        let wrong = |error: serde_json::Error| error.to_string();
        let many = count(text.get());
        if many > MAX_ITEMS {
            return Err(format!("{many} items are more than a map's limit of {MAX_ITEMS}"));
        }
        let (keys, all): (Option<Arc<[String]>>, Vec<Json>) = if text.get().trim_start().starts_with('{') {
            let members: Members = serde_json::from_str(text.get()).map_err(wrong)?;
            let (keys, values): (Vec<String>, Vec<Json>) = members.0.into_iter().unzip();
            (Some(keys.into()), values)
        } else {
            let values: Vec<Box<RawValue>> = serde_json::from_str(text.get()).map_err(wrong)?;
            (None, values.into_iter().map(Json::from).collect())
        };
        Ok(Self {
            keys,
            results: vec![None; all.len()],
            all: all.into(),
            begun: 0,
            open: 0,
            bytes: 0,
        })
    }
}

/// The number of items of a list or an object, or 0 if there are fewer than two. Nothing is parsed, since a
/// parsed item takes far more memory than its text.
fn count(text: &str) -> usize {
    let (mut depth, mut in_string, mut is_escaped, mut commas) = (0_usize, false, false, 0);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => commas += 1,
            _ => {}
        }
    }
    // The reader tells one item from none.
    if commas == 0 { 0 } else { commas + 1 }
}

impl Run {
    /// The item in a message: its key if the map iterates over an object, else its position.
    pub(super) fn item_label(&self, item: Item) -> String {
        match self.item_key(item) {
            Some(key) => format!("`{}`", clip(key)),
            None => item.index.to_string(),
        }
    }

    /// The key of an item, if the map iterates over an object.
    pub(super) fn item_key(&self, item: Item) -> Option<&str> {
        let StepState::Map(items) = &self.active_steps.get(&item.of)?.state else {
            return None;
        };
        let key = items.keys.as_ref()?.get(item.index as usize)?;
        Some(key)
    }
}

impl Items {
    /// The results: a list in the order of the items, or an object with their keys.
    pub(super) fn result(&self, on_item_error: OnItemError) -> Json {
        let there = |result: &Option<Json>| on_item_error != OnItemError::Skip || result.is_some();
        let results = self
            .results
            .iter()
            .enumerate()
            .filter(|(_, result)| there(result));
        match &self.keys {
            None => to_json(&results.map(|(_, result)| result).collect::<Vec<_>>()),
            Some(keys) => {
                let mut object = indexed(results.map(|(at, result)| (&keys[at], result)));
                object.insert(0, '{');
                object.push('}');
                json(&object).expect("keys and values are JSON")
            }
        }
    }
}

/// The members of an object in the order of its text. The last value of a repeated key counts.
struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            match places.get(&key) {
                Some(at) => members[*at].1 = value,
                None => {
                    places.insert(key.clone(), members.len());
                    members.push((key, value));
                }
            }
        }
        Ok(Members(members))
    }
}

/// The members of an object as JSON text, in this order.
fn indexed<'i>(members: impl Iterator<Item = (&'i String, &'i Option<Json>)>) -> String {
    let mut text = String::new();
    for (key, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(to_json(key).get());
        text.push(':');
        text.push_str(value.as_ref().map_or("null", |value| value.get()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_without_reading_them() {
        for (text, items) in [
            ("[]", 0),
            ("[1]", 0),
            ("[1, 2]", 2),
            (r#"["a,b\\\",", [1, 2, 3], {"c": 4, "d": 5}]"#, 3),
            (r#"{"a,\\": [1, 2], "b": {"c": 1, "d": 2}}"#, 2),
            ("12", 0),
        ] {
            assert_eq!(count(text), items, "{text}");
        }
        let text = format!("[{}0]", "0,".repeat(MAX_ITEMS));
        let refused = Items::read(&json(&text).expect("a list")).expect_err("they are too many");
        assert!(refused.contains("100001 items"), "{refused}");
    }
}
