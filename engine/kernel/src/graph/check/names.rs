//! Resolves every name of a definition.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use heddle_expr::suggest::Suggestions;
use serde_json::Value;

use crate::{
    graph::{
        Bounds, Case, Definition, Diagnostic, END, EdgeTarget, Findings, Function, FunctionKind, Node,
        NodeAction, NodeDefinition, NodeIx, Origin, definition::part, start_of,
    },
    ids::{GraphId, hex},
};

/// The number of inputs of a tool that a message lists.
const INPUTS_SHOWN: usize = 20;
/// How deep alternatives in alternatives of a schema are read.
const MAX_NESTED_TYPES: usize = 8;

/// The types of the values that a schema allows, as far as it tells them.
fn types(schema: &Value, depth: usize) -> Option<BTreeSet<&str>> {
    match &schema["type"] {
        Value::String(one) => return Some([one.as_str()].into()),
        Value::Array(several) => return Some(several.iter().filter_map(Value::as_str).collect()),
        _ => {}
    }
    let alternatives = schema["anyOf"]
        .as_array()
        .or_else(|| schema["oneOf"].as_array())?;
    let inner = depth.checked_sub(1)?;
    let mut all = BTreeSet::new();
    for alternative in alternatives {
        all.extend(types(alternative, inner)?);
    }
    Some(all)
}

pub(super) struct Names<'d> {
    definition: &'d Definition,
    pub(super) id: GraphId,
    pub(super) by_name: HashMap<Arc<str>, NodeIx>,
    pub(super) found: Findings,
    suggestions: Suggestions,
    /// The result of looking up each function that a node names.
    functions: HashMap<&'d str, Result<Arc<Function>, String>>,
}

impl<'d> Names<'d> {
    pub(super) fn new(definition: &'d Definition) -> Self {
        let nodes = definition.nodes.iter().enumerate();
        Self {
            definition,
            id: GraphId(hex(definition.text.as_bytes(), 16).into()),
            by_name: nodes
                .map(|(position, (name, _))| (name.as_str().into(), NodeIx(position as u32)))
                .collect(),
            found: Findings::default(),
            suggestions: Suggestions::default(),
            functions: HashMap::new(),
        }
    }

    fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::error(pointer, message));
    }

    /// The function that a node calls, if it calls one that exists.
    pub(super) fn function(
        &mut self,
        name: &'d str,
        node: &'d NodeDefinition,
        find: impl Fn(&str) -> Result<Function, String>,
    ) -> Option<Arc<Function>> {
        let uses = node.uses(name)?;
        if self.found.has_enough_errors() {
            return None;
        }
        let key = match &node.action {
            NodeAction::Call { uses: None } => "",
            NodeAction::Call { uses: Some(_) } => "/uses",
            _ => "/map/uses",
        };
        let found = self.functions.entry(uses);
        match found.or_insert_with(|| find(uses).map(Arc::new)).clone() {
            Ok(function) => {
                self.input(name, node, &function);
                self.output(name, node, &function);
                Some(function)
            }
            Err(message) => {
                self.error(format!("/nodes/{}{key}", part(name)), message);
                None
            }
        }
    }

    /// Checks that the node's `input` has the names that the tool's schema requires.
    fn input(&mut self, name: &str, node: &NodeDefinition, function: &Function) {
        let Some(input) = &node.input else { return };
        if function.kind != FunctionKind::Tool {
            return;
        }
        let properties = function.input["properties"].as_object();
        let known = || {
            properties
                .into_iter()
                .flat_map(|known| known.keys().map(String::as_str))
        };
        let pointer = format!("/nodes/{}/input", part(name));
        if function.input["additionalProperties"] == Value::Bool(false) {
            let is_known = |given: &str| properties.is_some_and(|known| known.contains_key(given));
            for (given, _) in input.iter().filter(|(given, _)| !is_known(given)) {
                if self.found.has_enough_errors() {
                    return;
                }
                let hint = match self.suggestions.nearest(given, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        let mut shown: Vec<&str> = known().take(INPUTS_SHOWN).collect();
                        if known().count() > INPUTS_SHOWN {
                            shown.push("…");
                        }
                        format!("it takes {}", shown.join(", "))
                    }
                };
                self.error(
                    format!("{pointer}/{}", part(given)),
                    format!("the tool takes no `{given}`; {hint}"),
                );
            }
        }
        let given: HashSet<&str> = input.iter().map(|(given, _)| &**given).collect();
        let required = function.input["required"].as_array().into_iter().flatten();
        for wanted in required.filter_map(Value::as_str) {
            if !given.contains(wanted) {
                self.error(&pointer, format!("the tool needs `{wanted}`, which is not given"));
            }
        }
    }

    /// Checks that without `output`, the tool's result is an object, as far as its schema tells. A tool
    /// without a result changes nothing.
    fn output(&mut self, name: &str, node: &NodeDefinition, function: &Function) {
        let is_update = function.kind == FunctionKind::Tool && matches!(node.action, NodeAction::Call { .. });
        if !is_update || node.output.is_some() {
            return;
        }
        let Some(types) = types(&function.output, MAX_NESTED_TYPES) else {
            return;
        };
        // Before, null or alternatives were enough, and a stored graph may rely on a result that is always null.
        let is_lenient = self.definition.origin != Origin::New
            && (types.contains("null") || function.output["type"].is_null());
        let fits = types.contains("object") || types.iter().all(|ty| *ty == "null");
        if !fits && !is_lenient {
            let types: Vec<&str> = types.into_iter().collect();
            self.error(
                format!("/nodes/{}", part(name)),
                format!(
                    "the tool's result is of type {}, and only an object's keys can enter the state: `output` in the node \
                     puts the result under a key",
                    types.join(" or ")
                ),
            );
        }
    }

    /// The graphs that nodes run.
    pub(super) fn graphs(&mut self, find: impl Fn(&str) -> Result<Option<&'d Definition>, String>) {
        for (name, node) in &self.definition.nodes {
            let Some(graph) = node.action.graph() else {
                continue;
            };
            // A graph may run itself by its name, since it exists when it runs.
            if self.definition.name.as_deref() == Some(graph) {
                continue;
            }
            if let Err(message) = find(graph) {
                let key = match node.action {
                    NodeAction::Map(_) => "map/graph",
                    _ => "graph",
                };
                self.found
                    .push(Diagnostic::error(format!("/nodes/{}/{key}", part(name)), message));
            }
        }
    }

    /// The edges of every node. A node without edges leads to the end.
    pub(super) fn edges(&mut self) -> Vec<Vec<Case>> {
        let end = || {
            vec![Case {
                when: None,
                to: vec![EdgeTarget::End],
            }]
        };
        let mut edges: Vec<Vec<Case>> = self.definition.nodes.iter().map(|_| end()).collect();
        for (from, cases) in &self.definition.edges {
            let pointer = format!("/edges/{}", part(from));
            let from = self.target(from, &pointer, "an edge leads from");
            let mut read = Vec::with_capacity(cases.len());
            for case in cases {
                let to = case.to.iter();
                let to = to.filter_map(|to| self.target(to, &case.pointer, "an edge leads to"));
                let to = to.collect();
                let when = case.when.clone();
                read.push(Case { when, to });
            }
            if let Some(EdgeTarget::Node(from)) = from {
                edges[from.0 as usize] = read;
            }
        }
        edges
    }

    pub(super) fn node(
        &mut self,
        name: &str,
        node: &NodeDefinition,
        edges: Vec<Case>,
        function: Option<&Function>,
    ) -> Node {
        let pointer = format!("/nodes/{}", part(name));
        let does = match &node.action {
            NodeAction::Call { uses: None } => NodeAction::Call {
                uses: Some(name.into()),
            },
            other => other.clone(),
        };
        let mut leads: Vec<EdgeTarget> = edges.iter().flat_map(|case| case.to.iter().copied()).collect();
        for (position, next) in node.next.iter().enumerate() {
            leads.extend(self.target(
                next,
                &format!("{pointer}/next/{position}"),
                "its function may go to",
            ));
        }
        leads.extend(self.routes(&pointer, function));
        let on_error = node
            .on_error
            .as_deref()
            .and_then(|to| self.target(to, &format!("{pointer}/on_error"), "an error leads to"));
        let on_timeout = match &node.action {
            NodeAction::Wait(wait) => wait
                .on_timeout
                .as_deref()
                .and_then(|to| self.target(to, &format!("{pointer}/wait/on_timeout"), "a timeout leads to")),
            _ => None,
        };
        leads.extend(on_error);
        leads.extend(on_timeout);
        let compensate = self.compensate(name, node, &pointer);
        let mut leads: Vec<NodeIx> = leads
            .into_iter()
            .filter_map(|place| match place {
                EdgeTarget::Node(node) => Some(node),
                EdgeTarget::End => None,
            })
            .collect();
        leads.sort_unstable();
        leads.dedup();
        Node {
            name: name.into(),
            action: does,
            input: node.input.clone(),
            output: node.output.clone(),
            config: node.config.clone(),
            edges,
            leads,
            retry: node.retry.clone(),
            timeout_ms: node.timeout_ms,
            on_error,
            on_timeout,
            compensate,
            bounds: self.bounds(name, node),
        }
    }

    fn bounds(&self, name: &str, node: &NodeDefinition) -> Option<Arc<Bounds>> {
        let (limits, grants) = (node.limits.clone(), node.grants.clone());
        (limits.is_some() || grants.is_some()).then(|| {
            let of = format!("{}/{name}", self.id).into();
            Arc::new(Bounds { of, limits, grants })
        })
    }

    /// Checks the routes that a node's function declares. An unknown node is only a warning: the function may
    /// be made for other graphs, too.
    fn routes(&mut self, pointer: &str, function: Option<&Function>) -> Vec<EdgeTarget> {
        let mut leads = Vec::new();
        for route in function.iter().flat_map(|function| &function.routes) {
            match self.by_name.get(route.as_str()) {
                Some(node) => leads.push(EdgeTarget::Node(*node)),
                None if route == END || self.found.has_enough_warnings() => {}
                None => self.found.push(Diagnostic::warning(
                    pointer,
                    format!("its function may route to `{route}`, which is not a node of the graph: the run fails if it does"),
                )),
            }
        }
        leads
    }

    fn compensate(&mut self, name: &str, node: &NodeDefinition, pointer: &str) -> Option<NodeIx> {
        let undo = node.compensate.as_deref()?;
        let pointer = format!("{pointer}/compensate");
        let at = match self.target(undo, &pointer, "it is undone by")? {
            EdgeTarget::Node(at) if undo != name => at,
            _ => {
                self.error(
                    pointer,
                    format!("`{name}` cannot be compensated by `{undo}`: name a node that compensates it"),
                );
                return None;
            }
        };
        let undo_node = &self.definition.nodes[at.0 as usize].1;
        if !matches!(undo_node.action, NodeAction::Call { .. }) {
            self.error(
                pointer,
                format!("`{undo}` calls no function, as a node that compensates must"),
            );
            return None;
        }
        Some(at)
    }

    /// The start node: `start`; else the only node without incoming edges; else the first one.
    pub(super) fn start(&mut self, nodes: &[Node]) -> Option<NodeIx> {
        if let Some(start) = &self.definition.start {
            return match self.target(start, "/start", "the graph starts at")? {
                EdgeTarget::Node(node) => Some(node),
                EdgeTarget::End => {
                    self.error("/start", "a graph starts at a node, not at the end");
                    None
                }
            };
        }
        let led_to = nodes
            .iter()
            .flat_map(|node| node.leads.iter().copied().chain(node.compensate));
        let start = start_of(nodes.len(), led_to.map(|node| node.0 as usize));
        start.map(|at| NodeIx(at as u32))
    }

    fn target(&mut self, name: &str, pointer: &str, what: &str) -> Option<EdgeTarget> {
        if name == END && what != "an edge leads from" {
            return Some(EdgeTarget::End);
        }
        let node = self.by_name.get(name).copied();
        if node.is_none() {
            if self.found.has_enough_errors() {
                return None;
            }
            let names = self.definition.nodes.iter().map(|(name, _)| name.as_str());
            let hint = match name {
                END => ": the end has no edges".to_owned(),
                _ => self.suggestions.did_you_mean(name, names.chain([END])),
            };
            self.error(
                pointer,
                format!("{what} `{name}`, which is not a node of the graph{hint}"),
            );
        }
        node.map(EdgeTarget::Node)
    }
}
