//! Builds the diagram of a definition.

use std::collections::HashMap;

use heddle_kernel::graph::{
    Definition, END, Each, NodeAction, NodeDefinition, Sleep, duration_text, start_of,
};

use super::{Diagram, Edge, EdgeKind, Node, NodeKind};

/// The maximum size of all labels together in bytes: one condition can label a thousand edges. Labels beyond the limit are
/// shown as `…`.
const MAX_LABEL_BYTES: usize = 4 << 20;

impl Diagram {
    /// Builds the diagram of a definition. Edges to unknown nodes are left out; the check of the graph reports them.
    pub fn from_definition(definition: &Definition) -> Self {
        let by_name: HashMap<&str, usize> = definition
            .nodes
            .iter()
            .enumerate()
            .map(|(at, (name, _))| (name.as_str(), at))
            .collect();
        let mut diagram = Self {
            title: definition.name.clone(),
            start: 0,
            nodes: definition
                .nodes
                .iter()
                .map(|(name, node)| diagram_node(name, node))
                .collect(),
            edges: Vec::new(),
        };
        let edges: HashMap<&str, _> = definition
            .edges
            .iter()
            .map(|(from, cases)| (from.as_str(), cases))
            .collect();
        let mut room = MAX_LABEL_BYTES;
        let mut limited_label = |label: &str| match room.checked_sub(label.len()) {
            Some(rest) => {
                room = rest;
                label.to_owned()
            }
            None => "…".to_owned(),
        };
        for (from, (name, node)) in definition.nodes.iter().enumerate() {
            let mut edge = |to: &str, label: Option<&str>, kind: EdgeKind| {
                let to = match to {
                    END => None,
                    name => match by_name.get(name) {
                        Some(at) => Some(*at),
                        None => return,
                    },
                };
                let label = label.map(&mut limited_label);
                diagram.edges.push(Edge {
                    from,
                    to,
                    label,
                    kind,
                });
            };
            match edges.get(name.as_str()) {
                None => edge(END, None, EdgeKind::Edge),
                Some(cases) => {
                    for case in cases.iter() {
                        let label = match &case.when {
                            Some(when) => Some(when.source()),
                            None if cases.len() > 1 => Some("else"),
                            None => None,
                        };
                        case.to.iter().for_each(|to| edge(to, label, EdgeKind::Edge));
                    }
                }
            }
            node.next.iter().for_each(|to| edge(to, None, EdgeKind::Next));
            if let NodeAction::Wait(wait) = &node.action
                && let Some(to) = &wait.on_timeout
            {
                edge(to, None, EdgeKind::Timeout);
            }
            node.on_error
                .iter()
                .for_each(|to| edge(to, None, EdgeKind::Error));
            node.compensate
                .iter()
                .for_each(|to| edge(to, None, EdgeKind::Undo));
        }
        diagram.start = start(definition, &diagram.edges, &by_name);
        remove_edges_of_compensations(&mut diagram);
        diagram
    }
}

fn diagram_node(name: &str, node: &NodeDefinition) -> Node {
    let (kind, detail) = match &node.action {
        NodeAction::Call { uses } => (NodeKind::Function, uses.as_ref().map(|uses| uses.to_string())),
        NodeAction::Map(map) => {
            let what = match &map.each {
                Each::Call { uses } => uses,
                Each::Graph { graph } => graph,
            };
            (
                NodeKind::Map,
                Some(format!("{what} for each of {}", map.over.source())),
            )
        }
        NodeAction::Graph { graph } => (NodeKind::Graph, Some(format!("graph {graph}"))),
        NodeAction::Sleep(Sleep::Ms(ms)) => (NodeKind::Sleep, Some(duration_text(*ms))),
        NodeAction::Sleep(Sleep::For(expr)) => (NodeKind::Sleep, Some(format!("for {}", expr.source()))),
        NodeAction::Sleep(Sleep::Until(expr)) => (NodeKind::Sleep, Some(format!("until {}", expr.source()))),
        NodeAction::Wait(wait) => (NodeKind::Wait, Some(format!("signal {}", wait.signal.source()))),
    };
    let name = name.to_owned();
    Node { name, kind, detail }
}

/// The start node by the same rule as the check: `start`, else the only node without incoming edges, else the first.
fn start(definition: &Definition, edges: &[Edge], by_name: &HashMap<&str, usize>) -> usize {
    if let Some(start) = &definition.start {
        return by_name.get(start.as_str()).copied().unwrap_or_default();
    }
    let led_to = edges.iter().filter_map(|edge| edge.to);
    start_of(definition.nodes.len(), led_to).unwrap_or_default()
}

/// Removes the edges of nodes that only compensate another: the run does not follow them.
fn remove_edges_of_compensations(diagram: &mut Diagram) {
    let (mut undoes, mut else_led_to) = (vec![false; diagram.nodes.len()], vec![false; diagram.nodes.len()]);
    for edge in &diagram.edges {
        if let Some(to) = edge.to {
            match edge.kind {
                EdgeKind::Undo => undoes[to] = true,
                _ => else_led_to[to] = true,
            }
        }
    }
    diagram
        .edges
        .retain(|edge| !undoes[edge.from] || else_led_to[edge.from]);
}
