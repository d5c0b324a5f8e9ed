//! The check of a definition: every name must refer to something that exists before a graph gets an id.

mod names;
mod nested;
mod paths;

use std::sync::Arc;

use self::names::Names;
use super::{
    Definition, Diagnostic, Findings, Function, Graph, Node, NodeIx, Reach,
    definition::{MAX_LOOP_DEPTH, MAX_LOOP_EDGES},
};

/// Checks a definition and builds its graph. `find` looks up a function by the name that the graph uses.
/// `find_graph` looks up a graph by its name or id and gives its definition, if it is known. Their errors are
/// the messages of the diagnostics. The graph is returned with the warnings.
///
/// # Errors
/// All errors and warnings, up to a limit, each with a JSON pointer into the definition.
pub fn check<'d>(
    definition: &'d Definition,
    find: impl Fn(&str) -> Result<Function, String>,
    find_graph: impl Fn(&str) -> Result<Option<&'d Definition>, String>,
) -> Result<(Graph, Findings), Findings> {
    let mut names = Names::new(definition);
    let mut functions: Vec<Option<Arc<Function>>> = Vec::with_capacity(definition.nodes.len());
    for (name, node) in &definition.nodes {
        let function = names.function(name, node, &find);
        functions.push(function);
    }
    names.graphs(&find_graph);
    let edges = names.edges();
    let nodes: Vec<Node> = definition
        .nodes
        .iter()
        .zip(edges)
        .zip(&functions)
        .map(|(((name, node), edges), function)| names.node(name, node, edges, function.as_deref()))
        .collect();
    let start = names.start(&nodes);
    let Names {
        id,
        by_name,
        mut found,
        ..
    } = names;
    let Some(start) = start.filter(|_| !found.has_errors()) else {
        return Err(found);
    };
    let leads: Vec<Vec<NodeIx>> = nodes.iter().map(|node| node.leads.clone()).collect();
    let Some(reach) = Reach::new(&leads, start) else {
        let message = format!(
            "loops are nested deeper than the limit of {MAX_LOOP_DEPTH}, or have more edges than {MAX_LOOP_EDGES} together: \
             split the graph"
        );
        found.push(Diagnostic::error("/edges", message));
        return Err(found);
    };
    let graph = Graph {
        id,
        name: definition.name.as_deref().map(Into::into),
        start,
        reach,
        nodes,
        policies: definition
            .state
            .iter()
            .map(|(key, policy)| (key.as_str().into(), policy.clone()))
            .collect(),
        output: definition.output.clone(),
        max_steps: definition.limits.steps,
        max_time_ms: definition.limits.time_ms,
        max_journal_bytes: definition.limits.journal,
        group: definition.limits.group.clone(),
        definition: definition.text.clone(),
        by_name,
    };
    // Reachability means nothing while an edge is broken, so this check is the last one.
    paths::check_paths(&graph, &functions, &mut found);
    nested::check_nested(definition, &find, &find_graph, &mut found);
    if found.has_errors() {
        return Err(found);
    }
    Ok((graph, found))
}

/// Combines the findings of the check with errors of the form. Errors of the form do not hide the other
/// findings, but there is no graph.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn with_form(
    mut form: Findings,
    checked: Result<(Graph, Findings), Findings>,
) -> Result<(Graph, Findings), Findings> {
    match checked {
        Ok(checked) if form.is_empty() => return Ok(checked),
        Ok((_, found)) | Err(found) => form.extend(found),
    }
    Err(form)
}
