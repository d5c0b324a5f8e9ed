//! Writes the value of an expression as JSON.
//!
//! The value at a path is passed on as text, also inside of lists and objects that the expression builds. So
//! a value that only passes through an expression keeps its form.

use std::collections::{BTreeMap, btree_map::Entry};

use heddle_json::{
    Json,
    admit::{MAX_DEPTH, depth_of},
    object::to_json,
};
use serde_json::value::RawValue;

use super::{
    evaluate::{Evaluation, Lead},
    meter::{OBJECT_COST, Stop, wrong},
    plan::Node,
    value::{Key, write_text},
};

/// Checks that the value is within the depth limit.
fn not_too_deep(json: Json) -> Result<Json, Box<Stop>> {
    match depth_of(json.get()) > MAX_DEPTH {
        true => wrong(format!(
            "the result is nested deeper than {MAX_DEPTH} levels (json_depth)"
        )),
        false => Ok(json),
    }
}

impl Evaluation<'_, '_> {
    /// The JSON text of a whole expression.
    pub(super) fn json(&mut self, plan: &Node) -> Result<Json, Box<Stop>> {
        if let Node::Path(number) = plan {
            match self.follow(*number)? {
                Lead::Whole(json) => return Ok(json.clone()),
                Lead::Object(object) => {
                    self.meter.charge_bytes(object.size())?;
                    return not_too_deep(to_json(object));
                }
                Lead::Text(_) => {}
            }
        }
        let mut text = String::new();
        self.write(plan, &mut text)?;
        match RawValue::from_string(text) {
            Ok(json) => not_too_deep(json.into()),
            Err(error) => wrong(format!("a value cannot be read: {error}")),
        }
    }

    /// Appends the value of a part to `out`.
    fn write(&mut self, node: &Node, out: &mut String) -> Result<(), Box<Stop>> {
        match node {
            Node::Path(number) => {
                let text = match self.follow(*number)? {
                    Lead::Whole(json) => json.get(),
                    Lead::Text(text) => text,
                    Lead::Object(object) => {
                        self.meter.charge_bytes(object.size())?;
                        out.push_str(&object.to_text());
                        return Ok(());
                    }
                };
                self.meter.charge_bytes(text.len())?;
                out.push_str(text);
                Ok(())
            }
            Node::List(items) => {
                self.meter.charge(1)?;
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.write(item, out)?;
                }
                out.push(']');
                Ok(())
            }
            Node::Map(entries) => self.write_map(entries, out),
            Node::Choose(parts) => {
                self.meter.charge(1)?;
                match self.condition(&parts.0, "before `?`")? {
                    true => self.write(&parts.1, out),
                    false => self.write(&parts.2, out),
                }
            }
            _ => {
                let value = self.value(node)?;
                value.write(out, &self.meter)
            }
        }
    }

    /// Writes an object with its keys in order. Its parts are evaluated in the order of the source.
    fn write_map(&mut self, entries: &[(Node, Node)], out: &mut String) -> Result<(), Box<Stop>> {
        self.meter.charge(OBJECT_COST)?;
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            let key = self.key(key)?;
            match map.entry(key) {
                Entry::Vacant(free) => {
                    let mut text = String::new();
                    self.write(value, &mut text)?;
                    self.meter.charge_bytes(text.len())?;
                    free.insert(text);
                }
                Entry::Occupied(taken) => return self.fail(Key::given_twice(taken.key())),
            }
        }
        out.push('{');
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_text(key.text()?, out, &self.meter)?;
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(())
    }
}
