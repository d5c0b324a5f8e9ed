//! What a graph and the graphs that its nodes run do to the same keys.

use crate::graph::{Definition, Diagnostic, Does, NodeDefinition, Policy, definition::part};

/// Looks at every node that runs a graph and takes over the keys that it changed. A key that both graphs
/// combine would be combined twice: the inner graph begins with what the outer one has, and what it ends with
/// is a contribution to that.
pub(super) fn look<'d>(
    definition: &'d Definition,
    find: impl Fn(&str) -> Result<Option<&'d Definition>, String>,
    found: &mut Vec<Diagnostic>,
) {
    for (name, node) in &definition.nodes {
        let Does::Graph { graph } = &node.does else {
            continue;
        };
        if node.output.is_some() {
            continue;
        }
        // A graph may run itself, by its name.
        let inner = match definition.name.as_deref() == Some(graph) {
            true => Some(definition),
            false => find(graph).ok().flatten(),
        };
        let Some(inner) = inner else { continue };
        for (key, outer_policy) in &definition.state {
            let policy = inner.state.iter().find(|(inner_key, _)| inner_key == key);
            let Some((_, inner_policy)) = policy else { continue };
            let gives = inner
                .output
                .as_ref()
                .is_none_or(|keys| keys.iter().any(|given| **given == **key));
            if !gives || !takes(node, key) {
                continue;
            }
            if let Some(problem) = twice(outer_policy, inner_policy) {
                found.push(Diagnostic::warning(
                    format!("/nodes/{}/graph", part(name)),
                    format!(
                        "both this graph and `{graph}` combine `{key}` (`{}` and `{}`): `{graph}` begins with the value \
                         of this graph, so {problem}; give the node an `input` without `{key}`, or say with its \
                         `output` what it adds",
                        outer_policy.as_str(),
                        inner_policy.as_str(),
                    ),
                ));
            }
        }
    }
}

/// Whether the graph that a node runs begins with what the state has under a key.
fn takes(node: &NodeDefinition, key: &str) -> bool {
    let Some(input) = &node.input else { return true };
    let given = input.iter().find(|(name, _)| **name == *key);
    given.is_some_and(|(_, expr)| expr.keys_of("state").is_none_or(|keys| keys.contains(key)))
}

/// What goes wrong where a value that was combined by the one policy is combined by the other.
fn twice(outer: &Policy, inner: &Policy) -> Option<&'static str> {
    match (outer, inner) {
        // Its value is what was written last, and no longer what it began with.
        (_, Policy::Last) => None,
        (Policy::Append, _) => Some("the elements that it began with are appended again"),
        (Policy::Add, _) => Some("the number that it began with is added again"),
        (Policy::ByKey(_), Policy::ByKey(_)) => Some("an element that it removes stays"),
        _ => None,
    }
}
