//! The policy `by_key`: a list of objects that one of their keys identifies.
//!
//! An element of a contribution replaces the element with the same key, in its place. An element with a new
//! key is appended. An element with `"$remove": true` removes the element with its key. Only the order of the
//! contributions decides which of two updates of an element remains.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use heddle_json::{
    Json,
    decimal::Decimal,
    object::{self, clip, kind_of},
};
use serde_json::value::RawValue;

use super::merge_policy::list;

/// The key of an element that removes the element with the same identity.
const REMOVE: &str = "$remove";

/// The length of an element in a message, in bytes.
const SHOWN_LEN: usize = 60;

/// The list after the contributions, in order.
///
/// # Errors
/// A contribution or the value before does not fit.
pub(super) fn fold<'j>(
    key: &str,
    before: Option<&'j Json>,
    contributions: impl Iterator<Item = &'j Json>,
) -> Result<Json, String> {
    if let Some(before) = before {
        list(before, "by_key")?;
    }
    let mut elements = Elements::default();
    for text in before.into_iter().chain(contributions) {
        elements.update(key, text)?;
    }
    elements.write()
}

/// Elements in their order, with an index by identity.
#[derive(Default)]
struct Elements<'j> {
    /// `None` if the element was removed.
    all: Vec<Option<&'j str>>,
    places: HashMap<String, usize>,
}

impl<'j> Elements<'j> {
    fn update(&mut self, key: &str, contribution: &'j Json) -> Result<(), String> {
        let given: Vec<&'j RawValue> = match kind_of(contribution.get()) {
            Some("an array") => {
                serde_json::from_str(contribution.get()).map_err(|error| error.to_string())?
            }
            _ => vec![&**contribution],
        };
        for element in given {
            let element = element.get();
            let (name, removes) = read(key, element)?;
            match (self.places.entry(name), removes) {
                (Entry::Occupied(place), false) => self.all[*place.get()] = Some(element),
                (Entry::Occupied(place), true) => self.all[place.remove()] = None,
                (Entry::Vacant(place), false) => {
                    place.insert(self.all.len());
                    self.all.push(Some(element));
                }
                // Two branches may remove the same element.
                (Entry::Vacant(_), true) => {}
            }
        }
        Ok(())
    }

    fn write(&self) -> Result<Json, String> {
        let mut text = String::from("[");
        for element in self.all.iter().flatten() {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(element);
        }
        text.push(']');
        object::json(&text).map_err(|error| error.to_string())
    }
}

/// The identity of an element, and whether it removes the element with that identity.
fn read(key: &str, element: &str) -> Result<(String, bool), String> {
    let shown = clip(element, SHOWN_LEN);
    if kind_of(element) != Some("an object") {
        return Err(format!(
            "`by_key` needs objects with the key `{key}`, got {shown}"
        ));
    }
    let members: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(element).map_err(|error| error.to_string())?;
    let Some(value) = members.get(key) else {
        return Err(format!(
            "`by_key` tells the elements of the list apart by their key `{key}`, and this one has none: {shown}"
        ));
    };
    let name = match kind_of(value.get()) {
        Some("a string") => serde_json::from_str::<String>(value.get())
            .map(|text| format!("\"{text}"))
            .map_err(|error| error.to_string())?,
        // The same number has the same identity, however it is written.
        Some("a number") => {
            Decimal::parse(value.get()).map_or_else(|| value.get().to_owned(), |number| number.name())
        }
        other => {
            return Err(format!(
                "the key `{key}` of an element must be a string or a number, got {}: {shown}",
                other.unwrap_or("nothing")
            ));
        }
    };
    match members.get(REMOVE).map(|value| value.get()) {
        None => Ok((name, false)),
        Some("true") => Ok((name, true)),
        Some(other) => Err(format!(
            "`{REMOVE}` in an element must be true, which removes the element with its key, got {}",
            clip(other, SHOWN_LEN)
        )),
    }
}
