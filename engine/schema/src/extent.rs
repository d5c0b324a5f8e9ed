//! The size of a schema once its references are followed.
//!
//! A hundred lines of `allOf` with references can expand to more subschemas than there are atoms, and a
//! validator that follows them never ends. So subschemas are counted first, visiting each place of the schema
//! once. The count is an upper bound: an unknown keyword is assumed to contain subschemas, and subschemas for
//! different parts of an input are added up.

use std::collections::HashMap;

use heddle_json::object::clip;
use serde_json::{Map, Value};

use super::Size;

/// The number of subschemas of a schema, each counted as often as references lead to it.
const MOST_SUBSCHEMAS: u64 = 10_000;

/// The depth of nested subschemas and references.
const MOST_NESTED: u64 = 100;

/// Keywords whose value is data, whatever it looks like.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// Keywords whose value maps names to subschemas.
const MAPS: [&str; 6] = [
    "$defs",
    "definitions",
    "dependencies",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// The keywords among them whose subschemas apply only if something refers to them.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Keywords that refer to another place.
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The size of a schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    /// Its subschemas, itself included.
    pub(super) subschemas: u64,
    /// Their depth.
    pub(super) depth: u64,
    /// The number of references that lead back to a subschema around them.
    pub(super) recursive: u64,
}

impl Extent {
    /// Measures a schema. The error says why it cannot be used; it continues "the schema".
    pub(super) fn of(schema: &Value) -> Result<Self, String> {
        let mut walk = Walk {
            root: schema,
            anchors: HashMap::new(),
            known: HashMap::new(),
        };
        walk.find_names(schema, true)?;
        let extent = walk.schema(schema, 1)?;
        // Unreferenced definitions are compiled, too.
        let mut definitions = Vec::new();
        collect_definitions(schema, &mut definitions);
        for definition in definitions {
            walk.schema(definition, 1)?;
        }
        Ok(extent)
    }

    /// The largest work of listing all problems of a value of this size.
    pub(super) fn listing(&self, size: &Size) -> u64 {
        let ways =
            u32::try_from(size.depth).map_or(u64::MAX, |depth| self.recursive.max(1).saturating_pow(depth));
        self.subschemas.saturating_mul(size.values).saturating_mul(ways)
    }
}

struct Walk<'a> {
    root: &'a Value,
    /// The places with a name; `None` for a name of several places.
    anchors: HashMap<&'a str, &'a Value>,
    /// The measured places, by address; `None` while a place is being measured.
    known: HashMap<*const Value, Option<Extent>>,
}

impl<'a> Walk<'a> {
    /// Finds the names of places. The depth of the schema's JSON is limited, and so is this recursion.
    fn find_names(&mut self, schema: &'a Value, is_root: bool) -> Result<(), String> {
        let Value::Object(keywords) = schema else {
            return Ok(());
        };
        // Draft 4 wrote it without the `$`.
        let old = self.root["$schema"]
            .as_str()
            .is_some_and(|draft| draft.contains("draft-04"));
        for keyword in ["$id"].into_iter().chain(old.then_some("id")) {
            if let Some(Value::String(id)) = keywords.get(keyword).filter(|_| !is_root) {
                return Err(format!(
                    "has an `{keyword}` inside of it ({:?}): put the subschema under `$defs` and refer to it by `#/$defs/…`",
                    clip(id, 100)
                ));
            }
        }
        for keyword in ["$anchor", "$dynamicAnchor"] {
            if let Some(Value::String(name)) = keywords.get(keyword)
                && self.anchors.insert(name, schema).is_some()
            {
                return Err(format!(
                    "names two places {:?}: an anchor has one",
                    clip(name, 100)
                ));
            }
        }
        let (mut inner, mut defined) = (Vec::new(), Vec::new());
        subschemas(keywords, &mut inner, &mut defined);
        inner
            .into_iter()
            .chain(defined)
            .try_for_each(|schema| self.find_names(schema, false))
    }

    fn schema(&mut self, schema: &'a Value, nested: u64) -> Result<Extent, String> {
        const LEAF: Extent = Extent {
            subschemas: 1,
            depth: 1,
            recursive: 0,
        };
        let Value::Object(keywords) = schema else {
            return Ok(LEAF);
        };
        match self.known.get(&std::ptr::from_ref(schema)) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Ok(Extent { recursive: 1, ..LEAF }),
            None => {}
        }
        if nested > MOST_NESTED {
            return Err(format!(
                "nests subschemas and references deeper than {MOST_NESTED}"
            ));
        }
        self.known.insert(schema, None);
        let mut inner = Vec::new();
        subschemas(keywords, &mut inner, &mut Vec::new());
        for keyword in REFERENCES {
            if let Some(Value::String(reference)) = keywords.get(keyword) {
                inner.push(self.target(reference)?);
            }
        }
        let mut all = LEAF;
        for schema in inner {
            let one = self.schema(schema, nested + 1)?;
            all.subschemas = all.subschemas.saturating_add(one.subschemas);
            all.recursive = all.recursive.saturating_add(one.recursive);
            all.depth = all.depth.max(one.depth + 1);
        }
        if all.subschemas > MOST_SUBSCHEMAS {
            return Err(format!(
                "stands for more than {MOST_SUBSCHEMAS} subschemas once its references are followed: make it smaller"
            ));
        }
        if all.depth > MOST_NESTED {
            return Err(format!(
                "nests subschemas and references deeper than {MOST_NESTED}"
            ));
        }
        self.known.insert(schema, Some(all));
        Ok(all)
    }

    /// The place that a reference leads to.
    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let shown = || clip(reference, 100);
        let Some(fragment) = reference.strip_prefix('#') else {
            return Err(format!(
                "refers to {:?}: nothing is fetched, so put what is meant under `$defs` and refer to it by `#/$defs/…`",
                shown()
            ));
        };
        let found = match fragment {
            "" => Some(self.root),
            pointer if pointer.starts_with('/') => self.root.pointer(&decoded(pointer)),
            name => self.anchors.get(name).copied(),
        };
        found.ok_or_else(|| format!("refers to {:?}, which is not in it", shown()))
    }
}

/// The subschemas in a schema's keywords, and those that it only defines.
fn subschemas<'a>(
    keywords: &'a Map<String, Value>,
    inner: &mut Vec<&'a Value>,
    defined: &mut Vec<&'a Value>,
) {
    for (keyword, value) in keywords {
        let keyword = keyword.as_str();
        match value {
            _ if DATA.contains(&keyword) => {}
            Value::Object(entries) if DEFINITIONS.contains(&keyword) => defined.extend(entries.values()),
            Value::Object(entries) if MAPS.contains(&keyword) => inner.extend(entries.values()),
            Value::Object(_) => inner.push(value),
            Value::Array(items) => inner.extend(items.iter().filter(|item| item.is_object())),
            _ => {}
        }
    }
}

fn collect_definitions<'a>(schema: &'a Value, found: &mut Vec<&'a Value>) {
    if let Value::Object(keywords) = schema {
        let (mut inner, mut defined) = (Vec::new(), Vec::new());
        subschemas(keywords, &mut inner, &mut defined);
        found.extend(&defined);
        for schema in inner.into_iter().chain(defined) {
            collect_definitions(schema, found);
        }
    }
}

/// A URI's fragment without its percent-encoding (RFC 3986, 2.1).
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = match (first, after) {
            (b'%', [high, low, ..]) => std::str::from_utf8(&[*high, *low])
                .ok()
                .and_then(|hex| u8::from_str_radix(hex, 16).ok()),
            _ => None,
        };
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value) -> (u64, u64, u64) {
        let extent = Extent::of(schema).unwrap();
        (extent.subschemas, extent.depth, extent.recursive)
    }

    fn refused(schema: &Value) -> String {
        Extent::of(schema).unwrap_err()
    }

    /// Definitions that each refer `times` times to the next.
    fn chain(len: usize, times: usize) -> Value {
        let mut definitions = Map::new();
        for at in 1..len {
            let next = json!({"$ref": format!("#/$defs/d{at}")});
            definitions.insert(format!("d{}", at - 1), json!({"allOf": vec![next; times]}));
        }
        definitions.insert(format!("d{}", len - 1), json!({"type": "string"}));
        json!({"$ref": "#/$defs/d0", "$defs": definitions})
    }

    #[test]
    fn subschemas_are_counted_as_often_as_references_lead_to_them() {
        assert_eq!(of(&json!({"type": "string"})), (1, 1, 0));
        assert_eq!(
            of(&json!({"properties": {"a": {"enum": [{"$ref": "x"}]}, "const": {}}})),
            (3, 2, 0)
        );
        // The root, then 1 + 2 * (1 + 2 * (1 + 1) + …): each of the two references counts, and what it leads to.
        assert_eq!(of(&chain(3, 2)), (1 + 1 + 2 + 2 + 4 + 4, 6, 0));
        assert!(refused(&chain(20, 2)).contains("more than 10000 subschemas"));
        assert!(refused(&chain(200, 1)).contains("deeper than 100"));
    }

    #[test]
    fn references_that_lead_back_are_counted() {
        assert_eq!(of(&json!({"$ref": "#"})), (2, 2, 1));
        assert_eq!(of(&json!({"items": {"$ref": "#"}, "not": {"$ref": "#"}})).2, 2);
        let anchored = json!({"$dynamicAnchor": "node", "properties": {"left": {"$dynamicRef": "#node"}}});
        assert_eq!(of(&anchored).2, 1);
    }

    #[test]
    fn a_reference_leads_nowhere_but_into_the_schema() {
        for elsewhere in [
            "https://example.com/a.json",
            "file:///etc/passwd",
            "other.json#/a",
            "//host/x",
        ] {
            let refused = refused(&json!({"items": {"$ref": elsewhere}}));
            assert!(
                refused.contains(elsewhere) && refused.contains("nothing is fetched"),
                "{refused}"
            );
        }
        assert!(refused(&json!({"$ref": "#/$defs/none"})).contains("is not in it"));
        assert!(refused(&json!({"$ref": "#none"})).contains("is not in it"));
        assert!(refused(&json!({"items": {"$id": "https://example.com/a"}})).contains("`$id` inside"));
        assert!(refused(&json!({"items": {"$anchor": "a"}, "not": {"$anchor": "a"}})).contains("two places"));
        let encoded = json!({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "string"}}});
        assert_eq!(of(&encoded), (2, 2, 0));
        assert_eq!(
            of(&json!({"properties": {"id": {"type": "string"}, "$ref": {"type": "string"}}})),
            (3, 2, 0)
        );
    }

    #[test]
    fn unreferenced_definitions_are_checked_too() {
        assert!(
            refused(&json!({"$defs": {"a": {"$ref": "https://example.com/a"}}}))
                .contains("nothing is fetched")
        );
    }
}
