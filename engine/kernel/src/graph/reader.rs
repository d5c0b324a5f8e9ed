//! Reads a definition from JSON and reports all errors of form at once.

mod expressions;
mod nulls;
mod places;
mod values;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use heddle_expr::{Compile, Expr, GraphPatterns, Want, suggest::Suggestions};
use heddle_json::{Json, object, tokens::Tree};
use heddle_schema::PatternBudget;
use serde_json::{Map as Members, Value};

use self::places::{PLACES, TOP};
use self::values::is_id;
pub(crate) use self::values::name_problem;
pub(super) use self::values::{kind, whole_number};
use super::{
    Diagnostic, END, Findings,
    definition::{
        CaseDefinition, DEFAULT_ELEMENT_KEY, DEFAULT_GROUP_AT_ONCE, DEFAULT_MAX_STEPS, Definition,
        GroupLimit, Limits, MAX_EXPRESSION_BYTES, MAX_EXPRESSIONS, MAX_FORK, MAX_GROUP_AT_ONCE, MAX_NAME_LEN,
        MAX_NODES, MAX_STEPS, Policy, part,
    },
    duration, json,
};

/// The variables of an expression that is evaluated after a node.
pub(super) const AFTER: [&str; 4] = ["state", "input", "run", "node"];
/// The variables of an expression that is evaluated before a node.
pub(super) const BEFORE: [&str; 3] = ["state", "input", "run"];

/// The origin of a definition, which decides the rules for reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client that creates or checks a graph.
    New,
    /// An export, perhaps of an earlier version: expressions may use what was allowed then.
    Imported,
    /// The store: everything that was allowed at the graph's creation stays allowed.
    Stored,
}

/// Reads values and collects the errors.
pub(super) struct Reader<'t> {
    pub(super) origin: Origin,
    pub(super) found: Findings,
    /// The parts of nodes that are passed on as written, by JSON pointer.
    pub(super) parts: HashMap<String, Json>,
    /// The tree of the definition, for messages that quote it.
    pub(super) tree: Option<&'t Tree<'t>>,
    pub(super) suggestions: Suggestions,
    /// The number of expressions read, and their bytes.
    pub(super) expressions: (usize, usize),
    pub(super) patterns: PatternBudget,
    pub(super) expression_patterns: GraphPatterns,
}

impl<'t> Reader<'t> {
    pub(super) fn new(origin: Origin, found: Findings, tree: Option<&'t Tree<'t>>) -> Self {
        Self {
            origin,
            found,
            parts: tree.map(json::parts).unwrap_or_default(),
            tree,
            suggestions: Suggestions::default(),
            expressions: (0, 0),
            patterns: match origin {
                Origin::Stored => PatternBudget::unlimited(),
                Origin::New | Origin::Imported => PatternBudget::default(),
            },
            expression_patterns: match origin {
                Origin::Stored => GraphPatterns::default(),
                Origin::New | Origin::Imported => GraphPatterns::limited(),
            },
        }
    }

    pub(super) fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::error(pointer, message));
    }

    /// Reads a definition from its value; `text` is the compact JSON that is kept.
    pub(super) fn graph(&mut self, value: &Value, text: String) -> Option<Definition> {
        let map = self.object(value, "", "a graph")?;
        self.known_keys(map, "", &TOP);
        let name = self.text(map, "", "name").map(str::to_owned);
        if let Some(name) = &name {
            self.name("/name", "the graph's name", name);
            if self.origin == Origin::New && is_id(name) {
                self.error(
                    "/name",
                    "the name has the form of a graph's id, which finds a graph first: choose another name",
                );
            }
        }
        self.text(map, "", "description");
        // Editors use this key to find the schema of the format.
        self.text(map, "", "$schema");
        let start = self.text(map, "", "start").map(str::to_owned);
        let nodes = self.nodes(map);
        let edges = self.edges(map);
        let state = self.state(map);
        let output = self.output_keys(map);
        let limits = self.limits(map);
        if self.origin == Origin::New {
            self.refuse_nulls(value);
        }
        Some(Definition {
            name,
            start,
            nodes: nodes?,
            edges,
            state,
            output,
            limits,
            origin: self.origin,
            text: text.into(),
        })
    }

    fn nodes(&mut self, map: &Members<String, Value>) -> Option<Vec<(String, super::NodeDefinition)>> {
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
        let mut read = Vec::with_capacity(nodes.len());
        for (name, node) in nodes {
            let pointer = format!("/nodes/{}", part(name));
            if name == END {
                self.error(
                    &pointer,
                    "`end` is the name of the end; give the node another name",
                );
            } else {
                self.name(&pointer, "a node's name", name);
            }
            // Pointers into a node contain its name, so a node with an extremely long name is not read.
            let node = match name.len() <= MAX_NAME_LEN {
                true => self.node(node, &pointer),
                false => None,
            };
            read.push((name.clone(), node.unwrap_or_else(super::NodeDefinition::nothing)));
        }
        Some(read)
    }

    fn edges(&mut self, map: &Members<String, Value>) -> Vec<(String, Vec<CaseDefinition>)> {
        let Some(edges) = map.get("edges") else {
            return Vec::new();
        };
        let Some(edges) = self.object(edges, "/edges", "`edges`") else {
            return Vec::new();
        };
        let mut read = Vec::with_capacity(edges.len());
        for (from, value) in edges {
            let pointer = format!("/edges/{}", part(from));
            if from.len() > MAX_NAME_LEN {
                self.name(&pointer, "a node's name", from);
                continue;
            }
            let cases = match value {
                Value::Object(_) => self.cases(std::slice::from_ref(value), &pointer, false),
                Value::Array(all) if all.iter().any(Value::is_object) => self.cases(all, &pointer, true),
                _ => vec![CaseDefinition {
                    when: None,
                    to: self.targets(value, &pointer),
                    pointer,
                }],
            };
            read.push((from.clone(), cases));
        }
        read
    }

    fn cases(&mut self, all: &[Value], pointer: &str, listed: bool) -> Vec<CaseDefinition> {
        let mut cases = Vec::with_capacity(all.len());
        for (position, value) in all.iter().enumerate() {
            let pointer = if listed {
                format!("{pointer}/{position}")
            } else {
                pointer.to_owned()
            };
            let Value::Object(map) = value else {
                let got = self.as_written(&pointer, value);
                let message = format!(
                    "cases and names do not mix in one list: write {{\"to\": {got}}} for a case that always holds"
                );
                self.error(&pointer, message);
                continue;
            };
            self.known_keys(map, &pointer, &["when", "to"]);
            let when = map
                .get("when")
                .and_then(|when| self.expression(when, &format!("{pointer}/when"), &AFTER, Want::Bool));
            if !map.contains_key("when") && position + 1 < all.len() {
                self.error(
                    &pointer,
                    "a case without `when` always holds, so the cases after it are never used: put it last",
                );
            }
            let place = format!("{pointer}/to");
            let to = match map.get("to") {
                Some(to) => self.targets(to, &place),
                None => {
                    self.error(
                        &pointer,
                        "`to` is missing: a node's name, a list of names, or \"end\"",
                    );
                    Vec::new()
                }
            };
            cases.push(CaseDefinition {
                when,
                to,
                pointer: place,
            });
        }
        cases
    }

    /// Reads one name or a list of names; null means the end.
    fn targets(&mut self, value: &Value, pointer: &str) -> Vec<String> {
        match value {
            Value::String(to) => vec![to.clone()],
            // The original engine wrote a missing edge as null.
            Value::Null => vec![END.to_owned()],
            Value::Array(all) if !all.is_empty() && all.len() <= MAX_FORK => {
                let mut names: Vec<String> = Vec::with_capacity(all.len());
                let mut seen = HashSet::with_capacity(all.len());
                for (position, name) in all.iter().enumerate() {
                    match name {
                        Value::String(name) if !seen.insert(name.as_str()) => self.error(
                            format!("{pointer}/{position}"),
                            format!("`{name}` is in this fork twice: a fork takes each node once"),
                        ),
                        Value::String(name) => names.push(name.clone()),
                        other => self.error(
                            format!("{pointer}/{position}"),
                            format!("expected the name of a node or \"end\", got {}", kind(other)),
                        ),
                    }
                }
                names
            }
            Value::Array(all) => {
                let message = match all.len() {
                    0 => "an empty list leads nowhere: name a node, or \"end\"".to_owned(),
                    n => format!("a fork into {n} branches is more than the limit of {MAX_FORK}: use a map"),
                };
                self.error(pointer, message);
                Vec::new()
            }
            other => {
                let message = format!(
                    "expected the name of a node, \"end\", a list of names, or cases {{\"when\", \"to\"}}, got {}",
                    kind(other)
                );
                self.error(pointer, message);
                Vec::new()
            }
        }
    }

    fn state(&mut self, map: &Members<String, Value>) -> Vec<(String, Policy)> {
        let Some(state) = map.get("state") else {
            return Vec::new();
        };
        let Some(state) = self.object(state, "/state", "`state`") else {
            return Vec::new();
        };
        let mut read = Vec::with_capacity(state.len());
        for (key, value) in state {
            let pointer = format!("/state/{}", part(key));
            let Some(value) = self.object(value, &pointer, "the declaration of a key") else {
                continue;
            };
            self.known_keys(value, &pointer, &["merge", "key", "description"]);
            self.text(value, &pointer, "description");
            let by = self.text(value, &pointer, "key");
            if by == Some("") {
                self.error(
                    format!("{pointer}/key"),
                    "the name of a key has at least one character",
                );
            }
            let merge = self.text(value, &pointer, "merge");
            if by.is_some() && merge.is_none_or(|merge| merge != "by_key") {
                self.error(
                    format!("{pointer}/key"),
                    "`key` tells the elements of a list apart, which only the policy `by_key` does",
                );
            }
            if let Some(merge) = merge {
                self.one_of(merge, &format!("{pointer}/merge"), &Policy::NAMES);
                let policy = Policy::named(merge, by.unwrap_or(DEFAULT_ELEMENT_KEY));
                read.extend(policy.map(|policy| (key.clone(), policy)));
            }
        }
        read
    }

    /// The keys of the state that are the graph's output.
    fn output_keys(&mut self, map: &Members<String, Value>) -> Option<Arc<[Arc<str>]>> {
        let pointer = "/output";
        let all = match map.get("output")? {
            Value::Null => return None,
            Value::Array(all) if !all.is_empty() => all,
            other => {
                let message = format!(
                    "`output` of a graph is a list of one or more keys of the state, as in [\"answer\"], got {}",
                    if other.is_array() {
                        "an empty list"
                    } else {
                        kind(other)
                    }
                );
                self.error(pointer, message);
                return None;
            }
        };
        let mut keys: Vec<Arc<str>> = Vec::with_capacity(all.len());
        let mut seen = HashSet::with_capacity(all.len());
        for (position, key) in all.iter().enumerate() {
            let pointer = format!("{pointer}/{position}");
            match key {
                Value::String(key) if !seen.insert(key.as_str()) => {
                    self.error(pointer, format!("`{key}` is in the list twice"));
                }
                Value::String(key) => keys.push(key.as_str().into()),
                other => self.error(
                    pointer,
                    format!("expected a key of the state, got {}", kind(other)),
                ),
            }
        }
        Some(keys.into())
    }

    fn limits(&mut self, map: &Members<String, Value>) -> Limits {
        let mut limits = Limits {
            steps: DEFAULT_MAX_STEPS,
            time_ms: None,
            journal: None,
            group: None,
        };
        let Some(value) = map.get("limits") else {
            return limits;
        };
        let Some(value) = self.object(value, "/limits", "`limits`") else {
            return limits;
        };
        self.known_keys(value, "/limits", &["steps", "time", "journal", "group"]);
        limits.steps = self
            .whole(value, "/limits", "steps", 1, MAX_STEPS)
            .unwrap_or(limits.steps);
        limits.time_ms = self.duration(value, "/limits", "time");
        limits.journal = self.size(value, "/limits", "journal");
        limits.group = self.group(value);
        limits
    }

    fn group(&mut self, limits: &Members<String, Value>) -> Option<GroupLimit> {
        let pointer = "/limits/group";
        let value = self.object(limits.get("group")?, pointer, "`group`")?;
        self.known_keys(value, pointer, &["by", "at_once"]);
        let by = value.get("by");
        let by = by.and_then(|by| self.expression(by, &format!("{pointer}/by"), &BEFORE, Want::Any));
        let at_once = self.whole(value, pointer, "at_once", 1, MAX_GROUP_AT_ONCE.into());
        let at_once = at_once.and_then(|at_once| u32::try_from(at_once).ok());
        Some(GroupLimit {
            by,
            at_once: at_once.unwrap_or(DEFAULT_GROUP_AT_ONCE),
        })
    }

    pub(super) fn duration(&mut self, map: &Members<String, Value>, pointer: &str, key: &str) -> Option<u64> {
        let read = match map.get(key)? {
            Value::Null => return None,
            Value::String(text) => duration::parse(text),
            other => Err(format!(
                "expected a duration such as \"10s\" or \"1h30m\", as a string, got {}",
                kind(other)
            )),
        };
        read.map_err(|message| self.error(format!("{pointer}/{key}"), message))
            .ok()
    }

    pub(super) fn whole(
        &mut self,
        map: &Members<String, Value>,
        pointer: &str,
        key: &str,
        least: u64,
        most: u64,
    ) -> Option<u64> {
        let value = map.get(key)?;
        match whole_number(value) {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                let pointer = format!("{pointer}/{key}");
                let got = self.as_written(&pointer, value);
                let message = format!("expected a whole number from {least} to {most}, got {got}");
                self.error(pointer, message);
                None
            }
        }
    }

    /// The value at a pointer of the definition, as its text has it.
    pub(super) fn as_written(&mut self, pointer: &str, value: &Value) -> String {
        let tree = self.tree.filter(|_| !self.found.has_enough_errors());
        let written = tree.and_then(|tree| json::written_at(tree, pointer));
        written.unwrap_or_else(|| value.to_string())
    }

    /// The index of a word among the allowed words.
    pub(super) fn one_of(&mut self, word: &str, pointer: &str, words: &[&str]) -> Option<usize> {
        let at = words.iter().position(|known| *known == word);
        if at.is_none() {
            self.error(
                pointer,
                format!("expected one of {}, got {word:?}", words.join(", ")),
            );
        }
        at
    }

    pub(super) fn object<'v>(
        &mut self,
        value: &'v Value,
        pointer: &str,
        what: &str,
    ) -> Option<&'v Members<String, Value>> {
        if value.as_object().is_none() {
            self.error(
                pointer,
                format!("{what} must be a JSON object, got {}", kind(value)),
            );
        }
        value.as_object()
    }

    pub(super) fn text<'v>(
        &mut self,
        map: &'v Members<String, Value>,
        pointer: &str,
        key: &str,
    ) -> Option<&'v str> {
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

    /// Whether a required key is missing. In a new definition, null is an error of its own.
    pub(super) fn is_missing(&self, map: &Members<String, Value>, key: &str) -> bool {
        match map.get(key) {
            None => true,
            Some(value) => value.is_null() && self.origin != Origin::New,
        }
    }

    /// Reads a required string; `missing` is the message if it is absent.
    pub(super) fn required<'v>(
        &mut self,
        map: &'v Members<String, Value>,
        pointer: &str,
        key: &str,
        missing: &str,
    ) -> Option<&'v str> {
        if self.is_missing(map, key) {
            self.error(pointer, format!("`{key}` is missing: {missing}"));
        }
        self.text(map, pointer, key)
    }

    pub(super) fn name(&mut self, pointer: &str, what: &str, name: &str) {
        if let Some(problem) = name_problem(name) {
            self.error(pointer, format!("{what} {problem}"));
        }
    }

    /// The JSON of a part, with its numbers as written.
    pub(super) fn part(&self, pointer: &str, value: &Value) -> Json {
        let kept = self.parts.get(pointer).cloned();
        kept.unwrap_or_else(|| object::to_json(value))
    }

    pub(super) fn known_keys(&mut self, map: &Members<String, Value>, pointer: &str, known: &[&str]) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
            let place = PLACES.iter().find(|(name, _)| name == key);
            let near = self.suggestions.nearest(key, known.iter().copied());
            let hint = match (near, place) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, Some((_, place))) => format!("it belongs {place}"),
                (None, None) => format!("known keys: {}", known.join(", ")),
            };
            let problem = if place.is_some() { "misplaced" } else { "unknown" };
            self.error(
                format!("{pointer}/{}", part(key)),
                format!("{problem} key `{key}`; {hint}"),
            );
        }
    }
}
