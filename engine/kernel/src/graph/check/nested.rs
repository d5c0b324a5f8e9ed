//! Warns about keys that both a graph and an inner graph combine.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

use serde_json::Value;

use crate::graph::{
    Definition, Diagnostic, Findings, Function, NodeAction, NodeDefinition, Output, Policy, definition::part,
};

/// Checks every node that runs a graph and takes over the keys that it changed. A key that both graphs
/// combine would be combined twice: the inner graph starts with the outer graph's value, and its final value
/// is a contribution to that value. The inner graph may leave the combining to its own inner graphs.
pub(super) fn check_nested<'d>(
    definition: &'d Definition,
    find: impl Fn(&str) -> Result<Function, String>,
    find_graph: impl Fn(&str) -> Result<Option<&'d Definition>, String>,
    found: &mut Findings,
) {
    let all = Known {
        find,
        find_graph,
        functions: RefCell::default(),
        work: Cell::new(MAX_WORK),
    };
    for (name, node) in &definition.nodes {
        if all.work.get() == 0 || found.has_enough_warnings() {
            return;
        }
        let Some((graph, inner)) = all.inner(definition, node) else {
            continue;
        };
        for (key, outer_policy) in &definition.state {
            if !all.spend(carried_work(node)) || found.has_enough_warnings() {
                return;
            }
            for inner_key in carried(node, inner, key) {
                let mut visited = HashSet::new();
                let Some(combined) = all.combined(graph, inner, inner_key, &mut visited) else {
                    continue;
                };
                if let Some(problem) = twice(outer_policy, combined.policy) {
                    let message = combined_message(key, outer_policy, inner_key, &combined, problem);
                    found.push(Diagnostic::warning(
                        format!("/nodes/{}/graph", part(name)),
                        message,
                    ));
                }
            }
        }
    }
}

/// The functions and graphs that a definition may name, and the work that is left.
struct Known<F, G> {
    find: F,
    find_graph: G,
    /// The functions that were looked up.
    functions: RefCell<HashMap<String, Option<Function>>>,
    /// The work that the check may still do.
    work: Cell<usize>,
}

/// The limit of the check's work over all graphs, in nodes, keys and inputs; past it there are no further
/// warnings.
const MAX_WORK: usize = 2_000_000;
/// The number of graphs and keys through which one key is followed; each uses some of the stack.
const MAX_FOLLOWED: usize = 100;
/// The work of looking up a function.
const FUNCTION_WORK: usize = 1_000;

/// The work of finding the keys of an inner graph that carry a key of the outer graph.
fn carried_work(node: &NodeDefinition) -> usize {
    let inputs = node.input.as_ref().map_or(1, |input| 1 + input.len());
    let outputs = match &node.output {
        Some(Output::Keys(given)) => 1 + given.len(),
        _ => 1,
    };
    inputs.saturating_mul(outputs)
}

/// Where a key is combined.
struct Combined<'d> {
    /// The graphs from the one that a node runs to the one that combines the key.
    graphs: Vec<&'d str>,
    /// The key's name there.
    key: &'d str,
    policy: &'d Policy,
}

/// The definitions and keys that were visited.
type Visited = HashSet<(*const Definition, String)>;

impl<'d, F, G> Known<F, G>
where
    F: Fn(&str) -> Result<Function, String>,
    G: Fn(&str) -> Result<Option<&'d Definition>, String>,
{
    /// Counts work. Returns false if the limit is exceeded.
    fn spend(&self, work: usize) -> bool {
        let left = self.work.get().checked_sub(work);
        self.work.set(left.unwrap_or_default());
        left.is_some()
    }

    /// The graph that a node of `outer` runs, if it runs one that is known.
    fn inner(&self, outer: &'d Definition, node: &'d NodeDefinition) -> Option<(&'d str, &'d Definition)> {
        let NodeAction::Graph { graph } = &node.action else {
            return None;
        };
        // A graph may run itself, by its name.
        let inner = match outer.name.as_deref() == Some(graph) {
            true => Some(outer),
            false => (self.find_graph)(graph).ok().flatten(),
        };
        Some((graph, inner?))
    }

    /// Finds where a graph combines a key with its value at the start: itself, or in an inner graph.
    fn combined(
        &self,
        name: &'d str,
        graph: &'d Definition,
        key: &'d str,
        visited: &mut Visited,
    ) -> Option<Combined<'d>> {
        let work = graph.state.len() + graph.nodes.len();
        if visited.len() >= MAX_FOLLOWED || !self.spend(work) || !visited.insert((graph, key.to_owned())) {
            return None;
        }
        let policy = graph.state.iter().find(|(known, _)| known == key);
        // `last` keeps the value that was written last, which an inner graph may have combined.
        if let Some((_, policy)) = policy.filter(|(_, policy)| !matches!(policy, Policy::Last)) {
            let is_written = self.writes(graph, key, &mut HashSet::new());
            return is_written.then(|| Combined {
                graphs: vec![name],
                key,
                policy,
            });
        }
        graph.nodes.iter().find_map(|(_, node)| {
            let (inner_name, inner) = self.inner(graph, node)?;
            let keys = self.spend(carried_work(node)).then(|| carried(node, inner, key));
            let mut keys = keys.into_iter().flatten();
            let mut combined = keys.find_map(|key| self.combined(inner_name, inner, key, visited))?;
            combined.graphs.insert(0, name);
            Some(combined)
        })
    }

    /// Whether a node of the graph may write a key.
    fn writes(&self, graph: &'d Definition, key: &str, visited: &mut Visited) -> bool {
        visited.len() < MAX_FOLLOWED
            && self.spend(graph.nodes.len())
            && visited.insert((graph, key.to_owned()))
            && graph
                .nodes
                .iter()
                .any(|(name, node)| match (&node.action, &node.output) {
                    (NodeAction::Map(map), _) => *map.into == *key,
                    (NodeAction::Sleep(_), _) => false,
                    (_, Some(Output::Key(given))) => **given == *key,
                    (_, Some(Output::Keys(given))) => given.iter().any(|(given, _)| **given == *key),
                    (NodeAction::Graph { .. }, None) => match self.inner(graph, node) {
                        Some((_, inner)) => gives(inner, key) && self.writes(inner, key, visited),
                        None => true,
                    },
                    (_, None) => self.may_answer(name, node, key),
                })
    }

    /// Whether a function's answer may contain a key, as far as its schema tells.
    fn may_answer(&self, name: &str, node: &NodeDefinition, key: &str) -> bool {
        let Some(uses) = node.uses(name) else {
            return true;
        };
        let mut functions = self.functions.borrow_mut();
        if !functions.contains_key(uses) {
            let found = self
                .spend(FUNCTION_WORK)
                .then(|| (self.find)(uses).ok())
                .flatten();
            functions.insert(uses.to_owned(), found);
        }
        let Some(Some(Function { output, .. })) = functions.get(uses) else {
            return true;
        };
        match output["properties"].as_object() {
            Some(properties) if !properties.is_empty() => {
                let others = &output["additionalProperties"];
                properties.contains_key(key) || !matches!(others, Value::Null | Value::Bool(false))
            }
            _ => output["additionalProperties"] != Value::Bool(false),
        }
    }
}

/// Whether the output of a graph contains a key.
fn gives(graph: &Definition, key: &str) -> bool {
    let declared = graph.output.as_ref();
    declared.is_none_or(|keys| keys.iter().any(|given| **given == *key))
}

/// The keys of an inner graph that start with the outer graph's value of `key`, and whose final values enter
/// the outer graph's state under the same key.
fn carried<'k>(node: &'k NodeDefinition, inner: &Definition, key: &'k str) -> Vec<&'k str> {
    let begin: Vec<&str> = match &node.input {
        None => vec![key],
        Some(input) => {
            let takes = |(name, expr): &'k (_, heddle_expr::Expr)| -> Option<&'k str> {
                let name: &std::sync::Arc<str> = name;
                let takes = expr.keys_of("state").is_none_or(|keys| keys.contains(key));
                takes.then_some(&**name)
            };
            input.iter().filter_map(takes).collect()
        }
    };
    let returns = |inner_key: &&str| match &node.output {
        None => *inner_key == key && gives(inner, key),
        // Its elements are inside of an object then, which is one contribution.
        Some(Output::Key(_)) => false,
        Some(Output::Keys(given)) => given
            .iter()
            .any(|(name, expr)| **name == *key && expr.key_of("node") == Some(inner_key)),
    };
    begin.into_iter().filter(returns).collect()
}

/// The problem if a value that one policy combined is combined by the other.
fn twice(outer: &Policy, inner: &Policy) -> Option<&'static str> {
    match (outer, inner) {
        // Its value is the last one written, and no longer the value at the start.
        (_, Policy::Last) => None,
        (Policy::Append, _) => Some("the elements that it began with are appended again"),
        (Policy::Add, _) => Some("the number that it began with is added again"),
        (Policy::ByKey(_), Policy::ByKey(_)) => Some("an element that it removes stays"),
        _ => None,
    }
}

fn combined_message(
    key: &str,
    outer: &Policy,
    inner_key: &str,
    combined: &Combined<'_>,
    problem: &str,
) -> String {
    let [outer, inner] = [outer, combined.policy].map(Policy::as_str);
    let mut graphs = combined.graphs.iter().rev();
    let combining = graphs.next().copied().unwrap_or_default();
    let mut by = format!("`{combining}`");
    for graph in graphs {
        by.push_str(&format!(", which `{graph}` runs"));
    }
    by.push_str(if combined.graphs.len() > 1 { "," } else { "" });
    let there = match combined.key == key {
        true => String::new(),
        false => format!(", there `{}`,", combined.key),
    };
    let first = combined.graphs.first().copied().unwrap_or_default();
    format!(
        "both this graph and {by} combine `{key}`{there} (`{outer}` and `{inner}`): `{first}` begins with the value of \
         this graph, so {problem}; give the node an `input` without `{inner_key}`, or say with its `output` what it adds"
    )
}
