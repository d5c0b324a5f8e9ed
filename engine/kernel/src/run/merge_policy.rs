//! Merge policies: how a further contribution to a key changes the key's value.
//!
//! Numbers merge as exact decimals: a sum is exact, and a value that is kept keeps its digits as written.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use heddle_json::{
    Json,
    decimal::{Decimal, MAX_DIGITS},
    object::{self, clip, kind_of},
    tokens::{Tree, unquote},
};

use super::merge_by_key;
use crate::graph::Policy;

/// The length of a number in a message, in bytes.
const SHOWN_BYTES: usize = 60;

impl Policy {
    /// The value of a key after these contributions, in order.
    ///
    /// # Errors
    /// A contribution or the value before does not fit the policy.
    pub(super) fn fold<'j>(
        &self,
        before: Option<&'j Json>,
        contributions: impl IntoIterator<Item = &'j Json>,
    ) -> Result<Json, String> {
        let mut contributions = contributions.into_iter();
        if *self == Self::Last {
            return contributions
                .last()
                .or(before)
                .cloned()
                .ok_or_else(|| "nothing was contributed".to_owned());
        }
        let before = before.filter(|before| before.get() != "null");
        match self {
            Self::Append => append(before, contributions),
            Self::Union => union(before, contributions),
            Self::ByKey(key) => merge_by_key::fold(key, before, contributions),
            Self::Deep => deep(before, contributions),
            _ => {
                let mut value = before.map(|before| self.operand(before)).transpose()?;
                contributions.try_for_each(|contribution| {
                    let contribution = self.operand(contribution)?;
                    value = Some(match value.take() {
                        None => contribution,
                        Some(value) => self.combine(value, contribution)?,
                    });
                    Ok::<(), String>(())
                })?;
                let value = value.ok_or_else(|| "nothing was contributed".to_owned())?;
                object::json(&value.text).map_err(|error| error.to_string())
            }
        }
    }

    /// A contribution as an operand of `add`, `max` and `min`.
    fn operand<'t>(&self, text: &'t Json) -> Result<Operand<'t>, String> {
        let text = text.get();
        let value = match kind_of(text) {
            Some("a number") => Some(Measure::Number(Decimal::of(text))),
            Some("a string") if *self != Self::Add => unquote(text).map(Measure::Text),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            let wants = if *self == Self::Add {
                "a number"
            } else {
                "a number or a string"
            };
            let got = kind_of(text).unwrap_or("nothing");
            format!("`{}` needs {wants}, got {got}", self.as_str())
        })?;
        Ok(Operand {
            text: Cow::Borrowed(text),
            value,
        })
    }

    fn combine<'t>(&self, value: Operand<'t>, contribution: Operand<'t>) -> Result<Operand<'t>, String> {
        match (self, &value.value, &contribution.value) {
            (Self::Add, Measure::Number(a), Measure::Number(b)) => {
                let sum = a.add(b).ok_or_else(|| {
                    let (a, b) = (
                        clip(&value.text, SHOWN_BYTES),
                        clip(&contribution.text, SHOWN_BYTES),
                    );
                    format!("the sum of {a} and {b} has more than {MAX_DIGITS} digits")
                })?;
                // The sum has a fraction in its text if one of the numbers has.
                let fraction = [&value.text, &contribution.text]
                    .iter()
                    .any(|text| text.contains(['.', 'e', 'E']));
                let text = sum.to_json(fraction);
                if !text.parse().is_ok_and(f64::is_finite) {
                    return Err("`add` exceeded the range of a double (about ±1.8e308)".to_owned());
                }
                Ok(Operand {
                    text: Cow::Owned(text),
                    value: Measure::Number(sum),
                })
            }
            (_, Measure::Text(_), Measure::Number(_)) | (_, Measure::Number(_), Measure::Text(_)) => {
                Err("a number and a string cannot be compared".to_owned())
            }
            (Self::Max, held, new) if new > held => Ok(contribution),
            (Self::Min, held, new) if new < held => Ok(contribution),
            _ => Ok(value),
        }
    }
}

/// A value as it is written and as it is compared.
struct Operand<'t> {
    text: Cow<'t, str>,
    value: Measure<'t>,
}

#[derive(PartialEq, PartialOrd)]
enum Measure<'t> {
    Number(Decimal),
    Text(Cow<'t, str>),
}

/// The elements of a list, without its brackets. Any other value is its own only element.
fn elements(text: &Json) -> &str {
    let text = text.get().trim();
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
        .trim()
}

fn append<'j>(before: Option<&Json>, contributions: impl Iterator<Item = &'j Json>) -> Result<Json, String> {
    let mut text = String::from("[");
    if let Some(before) = before {
        list(before, "append")?;
        text.push_str(elements(before));
    }
    for elements in contributions
        .map(elements)
        .filter(|elements| !elements.is_empty())
    {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(elements);
    }
    text.push(']');
    object::json(&text).map_err(|error| error.to_string())
}

fn union<'j>(
    before: Option<&'j Json>,
    contributions: impl Iterator<Item = &'j Json>,
) -> Result<Json, String> {
    if let Some(before) = before {
        list(before, "union")?;
    }
    let mut text = String::from("[");
    let mut seen = HashSet::new();
    for value in before.into_iter().chain(contributions) {
        let elements = match Tree::of(value)? {
            Tree::List(elements) => elements,
            one => vec![one],
        };
        for element in elements {
            if seen.insert(element.identity()) {
                if text.len() > 1 {
                    text.push(',');
                }
                element.write(&mut text);
            }
        }
    }
    text.push(']');
    object::json(&text).map_err(|error| error.to_string())
}

pub(super) fn list(before: &Json, policy: &str) -> Result<(), String> {
    match kind_of(before.get()) {
        Some("an array") => Ok(()),
        other => Err(format!(
            "`{policy}` adds to a list, and the key holds {}",
            other.unwrap_or("nothing")
        )),
    }
}

/// Merges objects level by level.
fn deep<'j>(before: Option<&'j Json>, contributions: impl Iterator<Item = &'j Json>) -> Result<Json, String> {
    let mut merged = Vec::new();
    for contribution in before.into_iter().chain(contributions) {
        match Tree::of(contribution)? {
            Tree::Object(members) => merged = merge(merged, members),
            _ => {
                let got = kind_of(contribution.get()).unwrap_or("nothing");
                return Err(format!("`deep` needs an object, got {got}"));
            }
        }
    }
    let mut text = String::new();
    Tree::Object(merged).write(&mut text);
    object::json(&text).map_err(|error| error.to_string())
}

type Members<'t> = Vec<(&'t str, Tree<'t>)>;

/// The members of both objects. Objects under the same key merge; any other later value replaces the earlier
/// one.
fn merge<'t>(mut into: Members<'t>, from: Members<'t>) -> Members<'t> {
    let name = |key: &'t str| unquote(key).unwrap_or(Cow::Borrowed(key));
    let mut places: HashMap<Cow<'t, str>, usize> = HashMap::with_capacity(into.len());
    places.extend(into.iter().enumerate().map(|(at, (key, _))| (name(key), at)));
    for (key, new) in from {
        let Some(at) = places.get(&name(key)) else {
            places.insert(name(key), into.len());
            into.push((key, new));
            continue;
        };
        let held = &mut into[*at].1;
        *held = match (std::mem::replace(held, Tree::Word("null")), new) {
            (Tree::Object(old), Tree::Object(new)) => Tree::Object(merge(old, new)),
            (_, new) => new,
        };
    }
    into
}
