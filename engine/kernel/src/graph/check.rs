//! The check of a definition: every name must lead somewhere before a graph gets an id.

mod names;
mod nested;
mod paths;

use self::names::Names;
use super::{
    Definition, Diagnostic, Function, Graph, Node, NodeIx, Reach, Severity,
    definition::{MAX_LOOP_DEPTH, MAX_LOOP_EDGES},
};

/// Checks a definition and makes the graph of it.
///
/// `find` looks a function up by what the graph calls it, and `find_graph` a graph by its name or id: it gives
/// the definition where it knows it. Their errors are the messages of the diagnostics. With the graph come the
/// warnings.
///
/// # Errors
/// Every error and warning at once, each with a JSON pointer into the definition.
pub fn check<'d>(
    definition: &'d Definition,
    find: impl Fn(&str) -> Result<Function, String>,
    find_graph: impl Fn(&str) -> Result<Option<&'d Definition>, String>,
) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut names = Names::new(definition);
    let functions: Vec<Option<Function>> = definition
        .nodes
        .iter()
        .map(|(name, node)| names.function(name, node, &find))
        .collect();
    names.graphs(&find_graph);
    let edges = names.edges();
    let nodes: Vec<Node> = definition
        .nodes
        .iter()
        .zip(edges)
        .zip(&functions)
        .map(|(((name, node), edges), function)| names.node(name, node, edges, function.as_ref()))
        .collect();
    let start = names.start(&nodes);
    let Names {
        id,
        by_name,
        mut found,
        ..
    } = names;
    let Some(start) = start.filter(|_| !has_errors(&found)) else {
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
    // With a broken edge, what nothing leads to says nothing: so this comes last.
    paths::look(&graph, &functions, &mut found);
    nested::look(definition, &find, &find_graph, &mut found);
    if has_errors(&found) {
        return Err(found);
    }
    Ok((graph, found))
}

/// What a definition's check finds together with its mistakes of form: those do not keep the others from
/// being told, but they keep it from being a graph.
///
/// # Errors
/// Everything that was found, where there is an error.
pub fn with_form(
    mut form: Vec<Diagnostic>,
    checked: Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>>,
) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
    match checked {
        Ok(checked) if form.is_empty() => return Ok(checked),
        Ok((_, found)) | Err(found) => form.extend(found),
    }
    Err(form)
}

fn has_errors(found: &[Diagnostic]) -> bool {
    found.iter().any(|found| found.severity == Severity::Error)
}
