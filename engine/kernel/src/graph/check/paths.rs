//! Checks paths: nodes without a path from the start, starts without a path to the end, loops without an
//! exit, and policies and outputs of keys that no node writes.

use std::{collections::HashSet, sync::Arc};

use heddle_expr::suggest::Suggestions;

use crate::graph::{
    Diagnostic, EdgeTarget, Findings, Function, FunctionKind, Graph, NodeAction, NodeIx, Output,
    definition::part,
};

pub(super) fn check_paths(graph: &Graph, functions: &[Option<Arc<Function>>], found: &mut Findings) {
    let routes_are_open = graph
        .nodes
        .iter()
        .zip(functions)
        .any(|(node, function)| may_route_anywhere(node.uses().is_some(), function));
    reached(graph, routes_are_open, found);
    ends(graph, functions, found);
    unconditional_loops(graph, functions, found);
    unwritten_keys(graph, found);
}

/// Whether a function may name any node: a tool, or a node function that declares no routes.
fn may_route_anywhere(calls: bool, function: &Option<Arc<Function>>) -> bool {
    calls
        && function
            .as_ref()
            .is_none_or(|function| function.kind == FunctionKind::Tool || function.routes.is_empty())
}

/// Reports nodes without a path from the start: an error, or a warning if some function may name any node.
fn reached(graph: &Graph, routes_are_open: bool, found: &mut Findings) {
    let mut reached = vec![false; graph.nodes.len()];
    let mut open = vec![graph.start];
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut reached[at.0 as usize], true) {
            continue;
        }
        let node = graph.node(at);
        open.extend(node.leads.iter().copied().chain(node.compensate));
    }
    for (node, _) in graph.nodes.iter().zip(reached).filter(|(_, reached)| !reached) {
        let pointer = format!("/nodes/{}", part(&node.name));
        let message = format!(
            "no edge and no declared route leads to `{}` from the start",
            node.name
        );
        found.push(if routes_are_open {
            Diagnostic::warning(pointer, message + "; only a `next` that names it does")
        } else {
            Diagnostic::error(pointer, message + ": add an edge to it, or remove it")
        });
    }
}

/// A graph without a path from the start to the end never finishes, unless a function routes to the end.
fn ends(graph: &Graph, functions: &[Option<Arc<Function>>], found: &mut Findings) {
    let may_end = |at: NodeIx| {
        graph.node(at).uses().is_some()
            && matches!(graph.node(at).action, NodeAction::Call { .. })
            && functions[at.0 as usize].as_ref().is_none_or(|function| {
                function.kind == FunctionKind::Tool
                    || function.routes.is_empty()
                    || function.routes.iter().any(|to| to == "end")
            })
    };
    let mut seen = vec![false; graph.nodes.len()];
    let mut open = vec![graph.start];
    let mut possible_end = None;
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut seen[at.0 as usize], true) {
            continue;
        }
        let node = graph.node(at);
        let ends = node.edges.iter().any(|case| case.to.contains(&EdgeTarget::End));
        if ends || node.on_error == Some(EdgeTarget::End) || node.on_timeout == Some(EdgeTarget::End) {
            return;
        }
        possible_end = possible_end.or(may_end(at).then_some(at));
        open.extend(&node.leads);
    }
    if possible_end.is_none() {
        found.push(Diagnostic::error(
            "/edges",
            "no path leads from the start to the end: the run could only stop at its step limit; add an edge to \"end\"",
        ));
    }
}

/// Warns about loops whose edges have no conditions: only a function or a limit ends them.
fn unconditional_loops(graph: &Graph, functions: &[Option<Arc<Function>>], found: &mut Findings) {
    let next: Vec<Option<NodeIx>> = (0..graph.nodes.len() as u32)
        .map(|position| only_way(graph, NodeIx(position), functions))
        .collect();
    // Each node has at most one such edge, so every walk ends or finds a loop. A node of an earlier walk is
    // not walked again, which makes this linear.
    let mut walk_of = vec![None; next.len()];
    for start in 0..next.len() {
        let mut at = Some(start);
        while let Some(node) = at.filter(|node| walk_of[*node].is_none()) {
            walk_of[node] = Some(start);
            at = next[node].map(|next| next.0 as usize);
        }
        let Some(entry) = at.filter(|node| walk_of[*node] == Some(start)) else {
            continue;
        };
        let around = std::iter::successors(Some(entry), |node| {
            next[*node]
                .map(|next| next.0 as usize)
                .filter(|next| *next != entry)
        });
        let first = &graph.nodes[around.min().unwrap_or(entry)];
        found.push(Diagnostic::warning(
            format!("/edges/{}", part(&first.name)),
            format!(
                "a loop through `{}` has no condition: only a function's `next`, or the step limit, ends it",
                first.name
            ),
        ));
    }
}

/// The only next node, unless a function routes elsewhere.
fn only_way(graph: &Graph, at: NodeIx, functions: &[Option<Arc<Function>>]) -> Option<NodeIx> {
    let node = graph.node(at);
    let declared = functions[at.0 as usize]
        .as_ref()
        .is_some_and(|function| !function.routes.is_empty());
    match node.edges.as_slice() {
        [case] if case.when.is_none() && node.leads.len() == 1 && !declared => match case.to.as_slice() {
            [EdgeTarget::Node(next)] => Some(*next),
            _ => None,
        },
        _ => None,
    }
}

/// Warns about policies for keys that no node writes, as far as the keys are known.
fn unwritten_keys(graph: &Graph, found: &mut Findings) {
    let mut written: HashSet<&str> = HashSet::new();
    for node in &graph.nodes {
        match (&node.action, &node.output) {
            (NodeAction::Map(map), _) => drop(written.insert(&map.into)),
            (_, Some(Output::Key(key))) => drop(written.insert(key)),
            (_, Some(Output::Keys(keys))) => written.extend(keys.iter().map(|(key, _)| &**key)),
            (NodeAction::Wait(wait), None) => match wait.signal.plain() {
                Some(signal) => drop(written.insert(signal)),
                // The key is known only when the node is visited.
                None => return,
            },
            (NodeAction::Sleep(_), None) => {}
            // A function or a graph may write any key.
            (NodeAction::Call { .. } | NodeAction::Graph { .. }, None) => return,
        }
    }
    let suggestions = Suggestions::default();
    let unwritten = |key: &&Arc<str>| !written.contains(&***key);
    let hint = |key: &str| suggestions.did_you_mean(key, written.iter().copied());
    for (position, key) in graph.output.iter().flat_map(|keys| keys.iter()).enumerate() {
        if unwritten(&key) {
            let message = format!(
                "no node writes `{key}`: it is in the output only where a run begins with it{}",
                hint(key)
            );
            found.push(Diagnostic::warning(format!("/output/{position}"), message));
        }
    }
    for key in graph.policies.keys().filter(unwritten) {
        let message = format!("no node writes `{key}`{}", hint(key));
        found.push(Diagnostic::warning(format!("/state/{}", part(key)), message));
    }
}
