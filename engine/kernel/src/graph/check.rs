//! The check of a definition: every name must lead somewhere before a graph gets an id.

use std::{collections::HashMap, sync::Arc};

use super::{
    Definition, Diagnostic, END, Edges, Function, FunctionKind, Graph, Node, NodeIx, Severity,
    definition::{nearest, part},
};
use crate::ids::{GraphId, hex};

/// Checks a definition and makes the graph of it.
///
/// `find` looks a function up by what the graph calls it; its error is the message of the
/// diagnostic. With the graph come the warnings.
///
/// # Errors
/// Every error and warning at once, each with a JSON pointer into the definition.
pub fn check(
    definition: &Definition,
    find: impl Fn(&str) -> Result<Function, String>,
) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut check = Check {
        definition,
        by_name: HashMap::new(),
        found: Vec::new(),
    };
    for (position, (name, _)) in definition.nodes.iter().enumerate() {
        check
            .by_name
            .insert(name.as_str().into(), NodeIx(position as u32));
    }
    let functions: Vec<Option<Function>> = definition
        .nodes
        .iter()
        .map(|(name, node)| check.function(name, node.uses.as_deref(), &find))
        .collect();
    let edges = check.edges();
    let start = check.start(&edges);
    check.routes(&functions);
    // With a broken edge, what nothing leads to says nothing.
    if let Some(start) = start.filter(|_| !check.has_errors()) {
        check.reach(start, &edges, &functions);
    }
    let broken = check.has_errors();
    let Check { by_name, found, .. } = check;
    match start {
        Some(start) if !broken => Ok((graph(definition, start, edges, by_name), found)),
        _ => Err(found),
    }
}

fn graph(
    definition: &Definition,
    start: NodeIx,
    edges: Vec<Edges>,
    by_name: HashMap<Arc<str>, NodeIx>,
) -> Graph {
    let nodes = definition
        .nodes
        .iter()
        .zip(edges)
        .map(|((name, node), edges)| Node {
            name: name.as_str().into(),
            uses: node.uses.as_deref().unwrap_or(name).into(),
            config: node.config.clone(),
            edges,
        });
    Graph {
        id: GraphId(hex(definition.text.as_bytes(), 16).into()),
        name: definition.name.as_deref().map(Into::into),
        start,
        nodes: nodes.collect(),
        max_steps: definition.limits.steps,
        definition: definition.text.clone(),
        by_name,
    }
}

struct Check<'d> {
    definition: &'d Definition,
    by_name: HashMap<Arc<str>, NodeIx>,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.severity == Severity::Error)
    }

    fn function(
        &mut self,
        name: &str,
        uses: Option<&str>,
        find: impl Fn(&str) -> Result<Function, String>,
    ) -> Option<Function> {
        find(uses.unwrap_or(name))
            .map_err(|message| {
                let key = if uses.is_some() { "/uses" } else { "" };
                self.found
                    .push(Diagnostic::error(format!("/nodes/{}{key}", part(name)), message));
            })
            .ok()
    }

    /// The edges of every node; without one, a node leads to the end.
    fn edges(&mut self) -> Vec<Edges> {
        let mut edges = vec![Edges::End; self.definition.nodes.len()];
        for (from, to) in &self.definition.edges {
            let pointer = format!("/edges/{}", part(from));
            let from = self.node(from, &pointer, "an edge leads from");
            let to = if to == END {
                Some(None)
            } else {
                self.node(to, &pointer, "an edge leads to").map(Some)
            };
            if let (Some(from), Some(Some(to))) = (from, to) {
                edges[from.0 as usize] = Edges::To(to);
            }
        }
        edges
    }

    /// `start`; else the one node that no edge leads to; else the first one.
    fn start(&mut self, edges: &[Edges]) -> Option<NodeIx> {
        if let Some(start) = &self.definition.start {
            return self.node(start, "/start", "the graph starts at");
        }
        let mut free = (0..edges.len() as u32)
            .map(NodeIx)
            .filter(|node| !edges.contains(&Edges::To(*node)));
        match (free.next(), free.next()) {
            (Some(one), None) => Some(one),
            _ => (!edges.is_empty()).then_some(NodeIx(0)),
        }
    }

    fn node(&mut self, name: &str, pointer: &str, what: &str) -> Option<NodeIx> {
        let node = self.by_name.get(name).copied();
        if node.is_none() {
            let names = self
                .definition
                .nodes
                .iter()
                .map(|(name, _)| name.as_str())
                .chain([END]);
            let hint = nearest(name, names)
                .map(|near| format!("; did you mean `{near}`?"))
                .unwrap_or_default();
            self.found.push(Diagnostic::error(
                pointer,
                format!("{what} `{name}`, which is no node of the graph{hint}"),
            ));
        }
        node
    }

    fn routes(&mut self, functions: &[Option<Function>]) {
        for ((name, _), function) in self.definition.nodes.iter().zip(functions) {
            for route in function.iter().flat_map(|function| &function.routes) {
                if route != END && !self.by_name.contains_key(route.as_str()) {
                    self.found.push(Diagnostic::warning(
                        format!("/nodes/{}", part(name)),
                        format!("its function may route to `{route}`, which is no node of the graph: the run fails if it does"),
                    ));
                }
            }
        }
    }

    /// Warns of nodes that nothing leads to. A function that declares its routes may take
    /// those, and one that declares none may still name any node, so this is never an error.
    fn reach(&mut self, start: NodeIx, edges: &[Edges], functions: &[Option<Function>]) {
        let mut reached = vec![false; edges.len()];
        let mut open = vec![start];
        while let Some(node) = open.pop() {
            let position = node.0 as usize;
            if std::mem::replace(&mut reached[position], true) {
                continue;
            }
            if let Edges::To(next) = edges[position] {
                open.push(next);
            }
            let routes = functions[position].iter().flat_map(|function| &function.routes);
            open.extend(routes.filter_map(|route| self.by_name.get(route.as_str())));
        }
        let may_wander = functions
            .iter()
            .flatten()
            .any(|function| function.kind == FunctionKind::Tool || function.routes.is_empty());
        for (position, (name, _)) in self.definition.nodes.iter().enumerate() {
            if !reached[position] {
                let but = if may_wander {
                    "; only a `next` that names it does"
                } else {
                    ""
                };
                self.found.push(Diagnostic::warning(
                    format!("/nodes/{}", part(name)),
                    format!("no edge and no declared route leads to `{name}` from the start{but}"),
                ));
            }
        }
    }
}
