//! Compares the output on a page with the real output.
//!
//! Some parts differ between runs and are compared as follows:
//!
//! - `…` matches anything in its line, and alone in a line any number of lines. In JSON, a key `"…"` matches more keys,
//!   and a last element `"…"` more elements.
//! - An id (a UUID or a word like `RUN_ID`) matches any id at its first occurrence. Later occurrences, also in
//!   commands, mean the same id.
//! - A time (`2026-12-01T09:00:00Z`, `2026-12-01 09:00:00`, `12:09:33.945`) matches any time, and a number of
//!   milliseconds any number.
//! - Port 8000 matches the port of the server.

use std::collections::BTreeMap;

use regex::{Captures, Regex};
use serde_json::Value;

/// The ids on a page with the real ones.
#[derive(Debug, Default)]
pub struct Ids(BTreeMap<String, String>);

/// The variable parts of a text. The order matters: a UUID precedes its parts.
const SPECIAL: &str = r"(?x)
    (?<id>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b | \b[A-Z]+_ID\b)
    | (?<time>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z)
    | (?<date>\b\d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\b)
    | (?<clock>\b\d\d:\d\d:\d\d\.\d{3}\b)
    | (?<duration>\b\d+\ ms\b)
    | (?<any>…)";

fn special() -> Regex {
    Regex::new(SPECIAL).expect("the pattern is a regular expression")
}

impl Ids {
    /// Replaces the ids of the page in a text by the real ones.
    pub fn put_into(&self, text: &str) -> String {
        let replaced = special().replace_all(text, |found: &Captures<'_>| {
            let shown = &found[0];
            self.0.get(shown).cloned().unwrap_or_else(|| shown.to_owned())
        });
        replaced.into_owned()
    }

    /// Compares a text with what is shown of it, and remembers the ids in it.
    ///
    /// # Errors
    /// Both texts, where they differ.
    pub fn compare_text(&mut self, shown: &str, real: &str) -> Result<(), String> {
        let differ = || {
            format!(
                "the page shows\n{}\nand the output is\n{}",
                shown.trim_end(),
                real.trim_end()
            )
        };
        let mut groups: Vec<String> = Vec::new();
        let mut pattern = String::from(r"\A");
        for line in shown.trim().lines() {
            if line.trim() == "…" {
                pattern.push_str(r"(?:[^\n]*\n)*?");
                continue;
            }
            pattern.push_str(&self.pattern(line.trim_end(), &mut groups));
            pattern.push_str(r"[ \t]*\n");
        }
        pattern.push_str(r"\z");
        let compiled = Regex::new(&pattern).map_err(|error| format!("{error}\n{}", differ()))?;
        let real = format!("{}\n", real.trim());
        let found = compiled.captures(&real).ok_or_else(differ)?;
        let mut learnt: BTreeMap<String, String> = BTreeMap::new();
        for (at, id) in groups.into_iter().enumerate() {
            let value = found[at + 1].to_owned();
            let before = learnt.insert(id, value.clone());
            if before.is_some_and(|before| before != value) {
                return Err(differ());
            }
        }
        self.0.extend(learnt);
        Ok(())
    }

    /// The pattern of a line. Each of its groups is a new id.
    fn pattern(&self, line: &str, groups: &mut Vec<String>) -> String {
        let (mut pattern, mut at) = (String::new(), 0);
        for found in special().captures_iter(line) {
            let whole = found.get(0).expect("group 0 is the whole match");
            pattern.push_str(&regex::escape(&line[at..whole.start()]));
            at = whole.end();
            if let Some(id) = found.name("id") {
                if let Some(real) = self.0.get(id.as_str()) {
                    pattern.push_str(&regex::escape(real));
                } else {
                    groups.push(id.as_str().to_owned());
                    pattern.push_str("([0-9A-Za-z_-]+)");
                }
            } else if found.name("time").is_some() {
                pattern.push_str(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z");
            } else if found.name("date").is_some() {
                pattern.push_str(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d");
            } else if found.name("clock").is_some() {
                pattern.push_str(r"\d\d:\d\d:\d\d\.\d{3}");
            } else if found.name("duration").is_some() {
                pattern.push_str(r"\d+ ms");
            } else {
                pattern.push_str(r"[^\n]*");
            }
        }
        pattern.push_str(&regex::escape(&line[at..]));
        pattern
    }

    /// Compares JSON with what is shown of it, and remembers the ids in it.
    ///
    /// # Errors
    /// The place of the first difference, and both values there.
    pub fn compare_json(&mut self, shown: &Value, real: &Value) -> Result<(), String> {
        self.compare_at("", shown, real)
    }

    fn compare_at(&mut self, pointer: &str, shown: &Value, real: &Value) -> Result<(), String> {
        let differ = || {
            Err(format!(
                "at `{pointer}` the page shows {shown}, and the output is {real}"
            ))
        };
        match (shown, real) {
            (Value::String(shown), Value::String(real)) => self
                .compare_text(shown, real)
                .map_err(|message| format!("at `{pointer}` {message}")),
            // Such as a duration in milliseconds, shown as `"…"`.
            (Value::String(shown), _) if shown == "…" => Ok(()),
            (Value::Object(shown), Value::Object(real)) => {
                for (key, value) in shown.iter().filter(|(key, _)| *key != "…") {
                    let Some(real) = real.get(key) else {
                        return Err(format!(
                            "the page shows a key `{pointer}/{key}`, and the output has none"
                        ));
                    };
                    self.compare_at(&format!("{pointer}/{key}"), value, real)?;
                }
                let more = real.keys().find(|key| !shown.contains_key(*key));
                match more {
                    Some(key) if !shown.contains_key("…") => Err(format!(
                        "the output has a key `{pointer}/{key}` that the page does not show"
                    )),
                    _ => Ok(()),
                }
            }
            (Value::Array(shown), Value::Array(real)) => {
                let more = shown.last().is_some_and(|last| last == "…");
                let named = &shown[..shown.len() - usize::from(more)];
                if real.len() < named.len() || (!more && real.len() > named.len()) {
                    return differ();
                }
                for (at, (shown, real)) in named.iter().zip(real).enumerate() {
                    self.compare_at(&format!("{pointer}/{at}"), shown, real)?;
                }
                Ok(())
            }
            _ if shown == real => Ok(()),
            _ => differ(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_stands_for_the_real_one_from_its_first_place_on() {
        let mut ids = Ids::default();
        ids.compare_text("run RUN_ID of RUN_ID", "run 7-a of 7-a")
            .unwrap();
        assert_eq!(ids.put_into("heddle show RUN_ID"), "heddle show 7-a");
        assert!(ids.compare_text("RUN_ID", "another").is_err());
        assert!(ids.compare_text("GRAPH_ID GRAPH_ID", "one two").is_err());
    }

    #[test]
    fn only_times_and_omitted_parts_may_differ() {
        let mut ids = Ids::default();
        let compare = |ids: &mut Ids, shown: &str, real: &str| ids.compare_text(shown, real).is_ok();
        assert!(compare(
            &mut ids,
            "at 12:09:33.945, … ok",
            "at 01:00:00.000, all ok\n"
        ));
        assert!(compare(&mut ids, "a\n…\nz", "a\nb\nc\nz"));
        assert!(compare(&mut ids, "a\n…", "a"));
        assert!(!compare(&mut ids, "a", "a\nb"));
        assert!(!compare(&mut ids, "a.c", "abc"));
    }

    #[test]
    fn json_is_compared_by_key_and_a_key_that_is_not_shown_is_a_difference() {
        let mut ids = Ids::default();
        let mut compare = |shown: Value, real: Value| ids.compare_json(&shown, &real).is_ok();
        assert!(compare(json!({"a": "x…", "…": "…"}), json!({"b": 1, "a": "xyz"})));
        assert!(compare(json!([1, "…"]), json!([1, 2, 3])));
        assert!(!compare(json!({"a": 1}), json!({"a": 1, "b": 2})));
        assert!(!compare(json!({"a": 1, "…": "…"}), json!({"b": 2})));
        assert!(!compare(json!([1]), json!([1, 2])));
        assert!(!compare(json!(1), json!("1")));
    }
}
