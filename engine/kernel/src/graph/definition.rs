//! A graph's definition: the JSON that an author writes, read with every mistake found at once.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Diagnostic, END, Severity};
use crate::object::{self, Json};

/// The most nodes that a graph may have.
pub(crate) const MAX_NODES: usize = 10_000;
/// The longest name of a node or a graph, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 100;
/// How many steps a run may take where `limits.steps` is not set.
pub(crate) const DEFAULT_MAX_STEPS: u64 = 10_000;
/// The most that `limits.steps` may be.
pub(crate) const MAX_STEPS: u64 = 100_000_000;

/// A definition that has the right form; whether it makes sense is for the check.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name: letters, digits, `_`, `-`, `.`.
    pub name: Option<String>,
    /// The node to begin with, where it is said.
    pub start: Option<String>,
    /// The nodes with their names, in the order in which they were written.
    pub nodes: Vec<(String, NodeDefinition)>,
    /// The edges: from, to; in the order in which they were written.
    pub edges: Vec<(String, String)>,
    /// What a run may use up.
    pub limits: Limits,
    /// The whole as compact JSON, in the order in which it was written.
    pub text: Arc<str>,
}

/// One node of a definition.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// The function; without it, the one of the node's own name.
    pub uses: Option<String>,
    /// What the function is given besides the state.
    pub config: Json,
}

/// What a run may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps.
    pub steps: u64,
}

impl Definition {
    /// Reads a definition: an object with `nodes`, and maybe `name`, `start`, `edges` and `limits`.
    ///
    /// # Errors
    /// Every mistake of form, each with a JSON pointer.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| vec![Diagnostic::error("", format!("the graph is not JSON: {error}"))])?;
        let mut reader = Reader { found: Vec::new() };
        let definition = reader.graph(&value);
        match definition {
            Some(definition) if reader.found.is_empty() => Ok(definition),
            _ => Err(reader.found),
        }
    }
}

impl Diagnostic {
    pub(super) fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            pointer: pointer.into(),
            message: message.into(),
        }
    }

    pub(super) fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// A name as one part of a JSON pointer.
pub(super) fn part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

struct Reader {
    found: Vec<Diagnostic>,
}

impl Reader {
    fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::error(pointer, message));
    }

    fn graph(&mut self, value: &Value) -> Option<Definition> {
        let map = self.object(value, "", "a graph")?;
        self.known_keys(
            map,
            "",
            &["name", "description", "start", "nodes", "edges", "limits"],
        );
        let name = self.text(map, "", "name").map(str::to_owned);
        if let Some(name) = &name {
            self.name("/name", "the graph's name", name);
        }
        self.text(map, "", "description");
        let start = self.text(map, "", "start").map(str::to_owned);
        let nodes = self.nodes(map);
        let edges = self.edges(map);
        let limits = self.limits(map);
        let text = serde_json::to_string(value)
            .expect("a JSON value serializes")
            .into();
        Some(Definition {
            name,
            start,
            nodes: nodes?,
            edges,
            limits,
            text,
        })
    }

    fn nodes(&mut self, map: &Map<String, Value>) -> Option<Vec<(String, NodeDefinition)>> {
        let Some(nodes) = map.get("nodes") else {
            self.error(
                "",
                "`nodes` is missing: an object from each node's name to the node, as in {\"extract\": {}}",
            );
            return None;
        };
        let nodes = self.object(nodes, "/nodes", "`nodes`")?;
        if nodes.is_empty() {
            self.error("/nodes", "a graph needs at least one node");
        }
        if nodes.len() > MAX_NODES {
            self.error(
                "/nodes",
                format!("{} nodes are more than the limit of {MAX_NODES}", nodes.len()),
            );
            return None;
        }
        Some(
            nodes
                .iter()
                .map(|(name, node)| (name.clone(), self.node(name, node)))
                .collect(),
        )
    }

    fn node(&mut self, name: &str, value: &Value) -> NodeDefinition {
        let pointer = format!("/nodes/{}", part(name));
        let mut node = NodeDefinition {
            uses: None,
            config: object::to_json(&Value::Null),
        };
        if name == END {
            self.error(
                &pointer,
                "`end` is the name of the end; give the node another name",
            );
        } else {
            self.name(&pointer, "a node's name", name);
        }
        let Some(map) = self.object(value, &pointer, "a node") else {
            return node;
        };
        self.known_keys(map, &pointer, &["uses", "config"]);
        node.uses = self.text(map, &pointer, "uses").map(str::to_owned);
        if let Some(config) = map.get("config") {
            node.config = object::to_json(config);
        }
        node
    }

    fn edges(&mut self, map: &Map<String, Value>) -> Vec<(String, String)> {
        let Some(edges) = map.get("edges") else {
            return Vec::new();
        };
        let Some(edges) = self.object(edges, "/edges", "`edges`") else {
            return Vec::new();
        };
        let mut read = Vec::with_capacity(edges.len());
        for (from, to) in edges {
            match to {
                Value::String(to) => read.push((from.clone(), to.clone())),
                // The original engine wrote a missing edge as null.
                Value::Null => read.push((from.clone(), END.to_owned())),
                other => self.error(
                    format!("/edges/{}", part(from)),
                    format!("expected the name of a node or \"end\", got {}", kind(other)),
                ),
            }
        }
        read
    }

    fn limits(&mut self, map: &Map<String, Value>) -> Limits {
        let mut limits = Limits {
            steps: DEFAULT_MAX_STEPS,
        };
        let Some(value) = map.get("limits") else {
            return limits;
        };
        let Some(value) = self.object(value, "/limits", "`limits`") else {
            return limits;
        };
        self.known_keys(value, "/limits", &["steps"]);
        match value.get("steps").map(|steps| (steps, steps.as_u64())) {
            None => {}
            Some((_, Some(steps))) if (1..=MAX_STEPS).contains(&steps) => limits.steps = steps,
            Some((given, _)) => self.error(
                "/limits/steps",
                format!("expected a whole number from 1 to {MAX_STEPS}, got {given}"),
            ),
        }
        limits
    }

    fn object<'v>(&mut self, value: &'v Value, pointer: &str, what: &str) -> Option<&'v Map<String, Value>> {
        if value.as_object().is_none() {
            self.error(
                pointer,
                format!("{what} must be a JSON object, got {}", kind(value)),
            );
        }
        value.as_object()
    }

    fn text<'v>(&mut self, map: &'v Map<String, Value>, pointer: &str, key: &str) -> Option<&'v str> {
        match map.get(key)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => {
                self.error(
                    format!("{pointer}/{key}"),
                    format!("expected a string, got {}", kind(other)),
                );
                None
            }
        }
    }

    fn name(&mut self, pointer: &str, what: &str, name: &str) {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | ':' | '/');
        if name.is_empty() || name.len() > MAX_NAME_LEN || !name.chars().all(fits) {
            self.error(
                pointer,
                format!("{what} has 1 to {MAX_NAME_LEN} bytes of letters, digits, spaces and `_-.:/`, got {name:?}"),
            );
        }
    }

    fn known_keys(&mut self, map: &Map<String, Value>, pointer: &str, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.error(
                format!("{pointer}/{}", part(key)),
                format!("unknown key `{key}`; {hint}"),
            );
        }
    }
}

/// The name that is nearest to `name`, if one is near enough to have been meant.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|other| (distance(name, other), other))
        .filter(|(distance, other)| *distance <= other.chars().count().max(name.chars().count()) / 3)
        .min()
        .map(|(_, other)| other)
}

/// The Levenshtein distance of two short names, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = if x == *y {
                diagonal
            } else {
                1 + diagonal.min(row[j]).min(row[j + 1])
            };
            diagonal = row[j + 1];
            row[j + 1] = cost;
        }
    }
    row[b.len()]
}

fn kind(value: &Value) -> &'static str {
    object::kind_of(&value.to_string()).unwrap_or("nothing")
}
