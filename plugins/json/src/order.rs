//! Numbers of more digits than a double holds, for the filters of a JSONPath, which compare doubles.
//!
//! Each such number is replaced by a double with the same order relative to all others, so that every comparison has
//! the result that the numbers themselves have. Numbers up to 2^53 that a double holds stay as they are: the path may
//! compare them with what `length` and `count` give. Beyond that, all are replaced, also in the path.

use std::collections::BTreeMap;

use heddle_plugin::{Decimal, prelude::*, serde_json::Number};

use crate::exact::{long_number, numbers};

/// Up to here doubles tell every whole number from the next: 2^53.
const LARGEST_WHOLE: u64 = 1 << 53;

/// The doubles that a filter compares in place of numbers.
type Places = BTreeMap<Decimal, Option<f64>>;

/// The value and the path to use in place of these; `None` where doubles hold every number.
pub(crate) fn comparable(value: &Value, path: &str) -> Result<Option<(Value, String)>> {
    let mut all = Places::new();
    collect(value, &mut all);
    let literals: Vec<(usize, &str, Decimal)> = numbers(path, &['"', '\''])
        .into_iter()
        .filter_map(|(at, text)| Some((at, text, text.parse().ok()?)))
        .collect();
    for (_, _, number) in &literals {
        all.insert(number.clone(), number.to_double());
    }
    if all.values().all(Option::is_some) {
        return Ok(None);
    }
    for (at, text, number) in &literals {
        if number.to_double().is_none() && !is_large(number) {
            let at = path[..*at].chars().count() + 1;
            return Err(Error::invalid_input(format!(
                "at character {at} of the path: {text} has more digits than a filter can compare (those of a double)"
            )));
        }
    }
    place_small(&mut all)?;
    place_large(&mut all)?;
    let mut replaced = value.clone();
    replace(&mut replaced, &all);
    let mut rewritten = String::new();
    let mut kept = 0;
    for (at, text, number) in literals.iter().filter(|(_, _, number)| is_large(number)) {
        rewritten.push_str(&path[kept..*at]);
        rewritten.push_str(&format!("{:e}", all[number].unwrap_or_default()));
        kept = at + text.len();
    }
    rewritten.push_str(&path[kept..]);
    Ok(Some((replaced, rewritten)))
}

fn is_large(number: &Decimal) -> bool {
    *number > Decimal::from(LARGEST_WHOLE) || *number < Decimal::from(-(LARGEST_WHOLE as i64))
}

/// The number that a value is.
fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        value => long_number(value)?.parse().ok(),
    }
}

/// Every number of a value, with the double that holds it.
fn collect(value: &Value, all: &mut Places) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Object(members) => members.values().for_each(|member| collect(member, all)),
        value => {
            if let Some(number) = number(value) {
                let double = number.to_double();
                all.insert(number, double);
            }
        }
    }
}

/// Finds a double for each small number without an exact double: a neighbouring one that is free and not an integer.
fn place_small(all: &mut Places) -> Result<()> {
    let held = all.iter().filter(|(_, double)| double.is_some());
    let held: Vec<Decimal> = held.map(|(number, _)| number.clone()).collect();
    let mut last: Option<Decimal> = None;
    for (number, double) in all
        .iter_mut()
        .filter(|(number, double)| double.is_none() && !is_large(number))
    {
        let nearest = number.nearest_double();
        let near = [below(nearest), nearest, above(nearest)];
        let is_free = |near: &&f64| {
            let Some(near) = Decimal::of_double(**near) else {
                return false;
            };
            // Numbers are placed in ascending order, each above the last one.
            let in_order = last.as_ref().is_none_or(|last| *last < near);
            // Nothing that is held lies between the number and its place, or at it.
            let (least, most) = if near < *number {
                (&near, number)
            } else {
                (number, &near)
            };
            let from = held.partition_point(|held| held < least);
            let is_between = held.get(from).is_some_and(|held| held <= most);
            in_order && !near.is_whole() && !is_between
        };
        let Some(free) = near.iter().find(is_free).copied() else {
            return Err(too_near(number));
        };
        last = Decimal::of_double(free);
        *double = Some(free);
    }
    Ok(())
}

/// Gives each large number a double, in ascending order of its size, of both signs.
fn place_large(all: &mut Places) -> Result<()> {
    let largest_whole = LARGEST_WHOLE as f64;
    let mut last = largest_whole;
    for (number, double) in all.iter_mut().filter(|(number, _)| is_large(number)) {
        if number.nearest_double() > 0.0 {
            last = number.nearest_double().max(above(last));
            *double = Some(last).filter(|last| last.is_finite());
            double.ok_or_else(|| too_near(number))?;
        }
    }
    last = -largest_whole;
    for (number, double) in all.iter_mut().rev().filter(|(number, _)| is_large(number)) {
        if number.nearest_double() < 0.0 {
            last = number.nearest_double().min(below(last));
            *double = Some(last).filter(|last| last.is_finite());
            double.ok_or_else(|| too_near(number))?;
        }
    }
    Ok(())
}

/// The next double above one.
fn above(double: f64) -> f64 {
    match double {
        _ if double == 0.0 => f64::from_bits(1),
        _ if double > 0.0 => f64::from_bits(double.to_bits() + 1),
        _ => f64::from_bits(double.to_bits() - 1),
    }
}

/// The next double below one.
fn below(double: f64) -> f64 {
    -above(-double)
}

fn too_near(number: &Decimal) -> Error {
    Error::permanent(format!(
        "the path cannot compare {number} with the numbers that are nearly the same: a filter compares doubles"
    ))
}

fn replace(value: &mut Value, all: &Places) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, all)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, all)),
        one => {
            let Some(number) = number(one) else { return };
            if number.to_double().is_none() || is_large(&number) {
                let double = all.get(&number).copied().flatten().and_then(Number::from_f64);
                *one = double.map_or(Value::Null, Value::Number);
            }
        }
    }
}
