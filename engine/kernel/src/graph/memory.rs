//! The approximate memory of a checked graph.
//!
//! Some parts need more memory than their text shows: a short node has an entry in every table, and
//! reachability takes a bit for each pair of nodes. The factors are measured and rounded up.

use std::mem::size_of;

use heddle_expr::Expr;

use super::{Case, Each, Graph, Node, NodeAction, Output, Sleep, Text};

/// The memory of a node besides its parts: its entries in the tables, in bytes.
const NODE_BYTES: usize = size_of::<Node>() + 256;
/// The memory of a compiled schema for each byte of its text.
const BYTES_PER_SCHEMA_BYTE: usize = 64;

pub(super) fn of(graph: &Graph) -> usize {
    let nodes: usize = graph.nodes.iter().map(node).sum();
    // Reachability is computed when it is first needed.
    let pairs = graph.nodes.len() * graph.nodes.len().div_ceil(64) * size_of::<u64>();
    let policies: usize = graph.policies.keys().map(|key| key.len() + 64).sum();
    let output = graph.output.iter().flat_map(|keys| keys.iter());
    let output: usize = output.map(|key| key.len() + 32).sum();
    let group = graph.group.as_ref().and_then(|group| group.by.as_ref());
    size_of::<Graph>()
        + graph.definition.len()
        + nodes
        + pairs
        + policies
        + output
        + group.map_or(0, Expr::memory)
}

fn node(node: &Node) -> usize {
    let edges: usize = node.edges.iter().map(case).sum();
    let input = node.input.iter().flatten();
    let bounds = node
        .bounds
        .iter()
        .flat_map(|bounds| [&bounds.limits, &bounds.grants]);
    let bounds: usize = bounds.flatten().map(|bounds| bounds.get().len()).sum();
    NODE_BYTES
        + 2 * node.name.len()
        + edges
        // Each edge is stored in both directions, and once for each loop around it.
        + node.leads.len() * 3 * size_of::<u64>()
        + node.config.get().len()
        + bounds
        + input.map(named).sum::<usize>()
        + node.output.as_ref().map_or(0, output)
        + action(&node.action)
}

fn case(case: &Case) -> usize {
    size_of::<Case>() + size_of_val(case.to.as_slice()) + case.when.as_ref().map_or(0, Expr::memory)
}

fn named((name, expr): &(std::sync::Arc<str>, Expr)) -> usize {
    name.len() + 64 + expr.memory()
}

fn output(output: &Output) -> usize {
    match output {
        Output::Key(key) => key.len(),
        Output::Keys(keys) => keys.iter().map(named).sum(),
    }
}

fn text(text: &Text) -> usize {
    match text {
        Text::Plain(text) => text.len(),
        Text::Expr(expr) => expr.memory(),
    }
}

fn action(action: &NodeAction) -> usize {
    match action {
        NodeAction::Call { uses } => uses.as_ref().map_or(0, |uses| uses.len()),
        NodeAction::Map(map) => {
            let (Each::Call { uses: of } | Each::Graph { graph: of }) = &map.each;
            map.over.memory() + map.item.len() + map.into.len() + of.len()
        }
        NodeAction::Graph { graph } => graph.len(),
        NodeAction::Sleep(Sleep::Ms(_)) => 0,
        NodeAction::Sleep(Sleep::For(expr) | Sleep::Until(expr)) => expr.memory(),
        NodeAction::Wait(wait) => {
            let schema = wait.schema.as_ref().map_or(0, |schema| schema.text.get().len());
            text(&wait.signal) + wait.prompt.as_ref().map_or(0, text) + schema * BYTES_PER_SCHEMA_BYTE
        }
    }
}
