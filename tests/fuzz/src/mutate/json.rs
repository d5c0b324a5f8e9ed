//! Mutates JSON as a tree. The result is mostly JSON again, so it passes the parser.

use serde_json::{Map, Value};

use super::text;
use crate::random::Random;

/// A string with this prefix is written as its rest, without quotes: for numbers and nesting that a tree cannot
/// represent.
const RAW: char = '\u{e000}';
/// The maximum depth of added nesting.
const MAX_DEPTH: usize = 600;
/// The maximum length of a repeated string in bytes.
const MAX_TEXT: usize = 100_000;
/// The maximum number of repetitions of an item.
const MAX_REPEATS: usize = 300;

/// Texts that are critical for JSON parsers.
const RAW_EDGES: [&str; 15] = [
    "1e400",
    "-1e400",
    "1e-400",
    "-0",
    "-0.0",
    "1E+2",
    "0.1000000000000000055511151231257827",
    "123456789012345678901234567890",
    "-9223372036854775809",
    "18446744073709551616",
    "NaN",
    "01",
    r#""\ud800""#,
    r#"{"a":1,"a":2}"#,
    r#"{"nodes":{},"nodes":{}}"#,
];
const STRING_EDGES: [&str; 22] = [
    "",
    " ",
    "end",
    "\u{0}",
    "\u{1b}[2J",
    "🧵",
    "é",
    "a/b~c",
    "~1",
    "__proto__",
    "1s",
    "0s",
    "-1s",
    "999999999999d",
    "1.5h",
    "PT1H",
    "2026-11-30T00:00:00Z",
    "@every 1s",
    "* * * * *",
    "00000000-0000-0000-0000-000000000000",
    "state",
    "state.a",
];

/// Mutates a JSON text in a few places, with parts of another input, `donor`. Other text is mutated as text.
pub(crate) fn mutate(random: &mut Random, input: &str, donor: &str, max_len: usize) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(input) else {
        return text::mutate(random, input, donor, max_len);
    };
    let donor_value: Value = serde_json::from_str(donor).unwrap_or(Value::Null);
    for _ in 0..random.few() {
        change(random, &mut value, &donor_value);
    }
    let mut written = write(&value);
    if random.one_in(12) {
        written = text::mutate(random, &written, donor, max_len);
    }
    if written.len() > max_len {
        written.truncate(written.floor_char_boundary(max_len));
    }
    written
}

/// Mutates one place of a tree.
pub(crate) fn change(random: &mut Random, value: &mut Value, donor: &Value) {
    let target = random.below(0..count(value));
    let place = nth(value, &mut { target }).expect("it was counted");
    match random.below(0..12) {
        0 => *place = edge(random),
        1 | 2 => *place = any(random, donor),
        3 => wrap(random, place),
        4 | 5 => change_scalar(random, place, donor),
        _ => change_children(random, place, donor),
    }
}

fn change_scalar(random: &mut Random, place: &mut Value, donor: &Value) {
    *place = match place.take() {
        Value::String(old) => match random.below(0..4) {
            0 => Value::from(*random.of(&STRING_EDGES)),
            1 => any_string(random, donor).into(),
            2 => {
                let other = any_string(random, donor);
                Value::String(text::mutate(random, &old, other, 4_000))
            }
            _ => {
                let times = random.below(0..200).min(MAX_TEXT / (old.len() + 1));
                old.repeat(times).into()
            }
        },
        Value::Number(old) => match random.below(0..5) {
            0 => edge(random),
            1 => old.as_i64().map_or(Value::Null, |n| n.wrapping_add(1).into()),
            2 => old.as_f64().map_or(Value::Null, |n| (n * 1.5).into()),
            3 => Value::String(old.to_string()),
            _ => (random.bits() >> random.below(0..64)).into(),
        },
        Value::Bool(old) => (!old).into(),
        Value::Null => edge(random),
        other => other,
    };
}

fn change_children(random: &mut Random, place: &mut Value, donor: &Value) {
    match place {
        Value::Array(items) => change_list(random, items, donor),
        Value::Object(members) => change_object(random, members, donor),
        scalar => change_scalar(random, scalar, donor),
    }
}

fn change_list(random: &mut Random, items: &mut Vec<Value>, donor: &Value) {
    if items.is_empty() || random.one_in(4) {
        let at = random.below(0..items.len() + 1);
        items.insert(at, any(random, donor));
        return;
    }
    let at = random.below(0..items.len());
    match random.below(0..4) {
        0 => drop(items.remove(at)),
        1 => {
            let other = random.below(0..items.len());
            items.swap(at, other);
        }
        2 => items.insert(at, items[at].clone()),
        _ if weight(&items[at]) < 100 => {
            let copies = vec![items[at].clone(); random.below(1..MAX_REPEATS)];
            items.splice(at..at, copies);
        }
        _ => items.truncate(at),
    }
}

fn change_object(random: &mut Random, members: &mut Map<String, Value>, donor: &Value) {
    if members.is_empty() || random.one_in(4) {
        let key = any_string(random, donor).to_owned();
        members.insert(key, any(random, donor));
        return;
    }
    let keys: Vec<String> = members.keys().cloned().collect();
    let key = random.of(&keys);
    match random.below(0..5) {
        0 => drop(members.shift_remove(key)),
        1 => {
            // Rename the member.
            if let Some(value) = members.shift_remove(key) {
                members.insert(any_string(random, donor).to_owned(), value);
            }
        }
        2 => {
            let other = any_string(random, donor);
            let name = text::mutate(random, key, other, 300);
            let value = members[key].clone();
            members.insert(name, value);
        }
        3 => {
            // Swap the members.
            let other = random.of(&keys);
            let (one, two) = (members[key].clone(), members[other].clone());
            members.insert(key.clone(), two);
            members.insert(other.clone(), one);
        }
        _ => {
            let value = members[key].clone();
            if weight(&value) < 300 {
                for n in 0..random.below(1..40) {
                    members.insert(format!("{key}{n}"), value.clone());
                }
            }
        }
    }
}

/// Nests a value in others.
fn wrap(random: &mut Random, place: &mut Value) {
    if random.one_in(6) {
        // Deeper than a tree allows.
        let depth = random.below(1..MAX_DEPTH);
        let inner = write(place);
        let (open, close) = *random.of(&[("[", "]"), (r#"{"a":"#, "}")]);
        let nested = format!("{RAW}{}{inner}{}", open.repeat(depth), close.repeat(depth));
        *place = nested.into();
        return;
    }
    let inner = place.take();
    *place = if random.one_in(2) {
        Value::Array(vec![inner])
    } else {
        Value::Object(Map::from_iter([("a".to_owned(), inner)]))
    };
}

/// A critical value.
fn edge(random: &mut Random) -> Value {
    match random.below(0..16) {
        0 => Value::Null,
        1 => true.into(),
        2 => false.into(),
        3 => 0.into(),
        4 => (-1).into(),
        5 => i64::MAX.into(),
        6 => i64::MIN.into(),
        7 => u64::MAX.into(),
        8 => 1e308.into(),
        9 => 5e-324.into(),
        10 => Value::Array(Vec::new()),
        11 => Value::Object(Map::new()),
        12 => "a".repeat(random.below(0..10_000)).into(),
        13 => format!("{RAW}{}", random.of(&RAW_EDGES)).into(),
        _ => Value::from(*random.of(&STRING_EDGES)),
    }
}

/// A part of the donor, or a critical value.
fn any(random: &mut Random, donor: &Value) -> Value {
    if random.one_in(4) {
        return edge(random);
    }
    let at = random.below(0..count(donor));
    nth_of(donor, &mut { at }).expect("it was counted").clone()
}

/// A key or a string of the donor.
fn any_string<'d>(random: &mut Random, donor: &'d Value) -> &'d str {
    let mut strings = Vec::new();
    collect(donor, &mut strings);
    if strings.is_empty() {
        return "a";
    }
    let chosen: &&'d str = random.of(&strings);
    chosen
}

fn collect<'d>(value: &'d Value, strings: &mut Vec<&'d str>) {
    match value {
        Value::String(text) => strings.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, strings)),
        Value::Object(members) => {
            for (key, member) in members {
                strings.push(key);
                collect(member, strings);
            }
        }
        _ => {}
    }
}

/// The number of values in a tree, including itself.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// The approximate size of a tree as text, in bytes.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(weight).sum::<usize>() + 2,
        Value::Object(members) => {
            let members = members.iter().map(|(key, member)| key.len() + weight(member) + 3);
            members.sum::<usize>() + 2
        }
        _ => 5,
    }
}

fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, left)),
        _ => None,
    }
}

fn nth_of<'v>(value: &'v Value, left: &mut usize) -> Option<&'v Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter().find_map(|item| nth_of(item, left)),
        Value::Object(members) => members.values().find_map(|member| nth_of(member, left)),
        _ => None,
    }
}

/// Writes a tree as text, with its raw parts.
fn write(value: &Value) -> String {
    match value {
        Value::String(text) => match text.strip_prefix(RAW) {
            Some(raw) => raw.to_owned(),
            None => value.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(write).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(key, member)| format!("{}:{}", Value::from(key.as_str()), write(member)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_changes_of_json_are_json_that_differs() {
        let text = r#"{"nodes": {"a": {"uses": "f"}, "b": {}}, "edges": {"a": ["b", "end"]}, "limits": {"steps": 3}}"#;
        let mut random = Random::new(1, 0);
        let changed: Vec<String> = (0..1_000)
            .map(|_| mutate(&mut random, text, text, 100_000))
            .collect();
        let parsed = changed
            .iter()
            .filter(|text| serde_json::from_str::<Value>(text).is_ok());
        assert!(parsed.count() > 700);
        let mut distinct = changed.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() > 700, "{}", distinct.len());
    }

    #[test]
    fn raw_parts_are_written_as_they_are() {
        let value = serde_json::json!({"a": [format!("{RAW}1e400"), "text"]});
        assert_eq!(write(&value), r#"{"a":[1e400,"text"]}"#);
    }
}
