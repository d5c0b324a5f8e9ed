//! Graphs: the definition that an author writes, and the checked graph that runs.
//!
//! [`Definition::read`] reads the JSON and finds errors of form, [`check`] resolves names and finds errors of
//! structure. Both report all problems at once, each with a JSON pointer.

mod check;
mod definition;
mod duration;
mod findings;
mod json;
mod memory;
mod node;
mod pins;
mod reach;
mod reader;
mod size;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

pub use check::{check, with_form};
pub(crate) use definition::MAX_NAME_LEN;
pub use definition::{
    CaseDefinition, Definition, Each, GroupLimit, Limits, Map, NodeAction, NodeDefinition, OnItemError,
    Output, PayloadSchema, Policy, Retry, Sleep, Text, Wait,
};
pub use duration::in_units as duration_text;
pub use duration::{MAX_DURATION_MS, check_ahead, parse as duration};
pub(crate) use duration::{moment_of_json, of_json as duration_of_json};
pub use findings::{Findings, MAX_FINDINGS};
use heddle_expr::Expr;
use heddle_json::{Json, Object};
pub use pins::Pins;
pub use reach::Reach;
pub use reader::Origin;
pub(crate) use reader::name_problem;
use serde::Serialize;
use serde_json::Value;
pub use size::parse as size;

use crate::ids::GraphId;

/// The name of the end. An edge or a route to it ends the branch. No node may have this name.
pub const END: &str = "end";

/// The JSON Schema of a definition (draft 2020-12), for editors. It describes the form; [`check`] checks the
/// names.
pub const SCHEMA: &str = include_str!("../../../../docs/graph.schema.json");

/// The start of a graph that names none: the only node without incoming edges, else the first one. `led_to`
/// lists the nodes with incoming edges.
pub fn start_of(nodes: usize, led_to: impl Iterator<Item = usize>) -> Option<usize> {
    let mut free = vec![true; nodes];
    led_to.for_each(|at| free[at] = false);
    let mut free = (0..nodes).filter(|at| free[*at]);
    match (free.next(), free.next()) {
        (Some(one), None) => Some(one),
        _ => (nodes > 0).then_some(0),
    }
}

/// The position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

/// The target of an edge: a node or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeTarget {
    /// The node with this index.
    Node(NodeIx),
    /// The end of the branch.
    End,
}

/// A checked graph, ready to run.
pub struct Graph {
    /// The id: the same for the same definition.
    pub id: GraphId,
    /// The name, if the graph has one.
    pub name: Option<Arc<str>>,
    /// The node at which runs start.
    pub start: NodeIx,
    /// The nodes, in the order in which they were declared.
    pub nodes: Vec<Node>,
    /// The merge policies, by key.
    pub policies: BTreeMap<Arc<str>, Policy>,
    /// The keys of the state that are the graph's output; `None` for the whole state.
    pub output: Option<Arc<[Arc<str>]>>,
    /// The number of steps that a run may take.
    pub max_steps: u64,
    /// The time limit of a run, in milliseconds.
    pub max_time_ms: Option<u64>,
    /// The limit for the events of a run, in bytes; `None` if only the engine's limit applies.
    pub max_journal_bytes: Option<u64>,
    /// The limit for active runs of the graph.
    pub group: Option<GroupLimit>,
    /// The reachability between nodes.
    pub reach: Reach,
    /// The definition as compact JSON.
    pub definition: Arc<str>,
    by_name: HashMap<Arc<str>, NodeIx>,
}

impl Graph {
    /// The node at a position of this graph.
    pub fn node(&self, at: NodeIx) -> &Node {
        &self.nodes[at.0 as usize]
    }

    /// The position of the node with this name.
    pub fn find(&self, name: &str) -> Option<NodeIx> {
        self.by_name.get(name).copied()
    }

    /// The edge target with this name.
    pub fn target(&self, name: &str) -> Option<EdgeTarget> {
        match name {
            END => Some(EdgeTarget::End),
            name => self.find(name).map(EdgeTarget::Node),
        }
    }

    /// The name of an edge target.
    pub fn name_of(&self, target: EdgeTarget) -> Arc<str> {
        match target {
            EdgeTarget::Node(node) => self.node(node).name.clone(),
            EdgeTarget::End => END.into(),
        }
    }

    /// The output of the graph for this final state.
    pub fn output_of(&self, state: Object) -> Object {
        let Some(keys) = &self.output else { return state };
        let mut output = Object::default();
        for key in keys.iter() {
            if let Some(value) = state.get(key) {
                output.insert(key.clone(), value.clone());
            }
        }
        output
    }

    /// The name of the graph, or its id.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id.0)
    }

    /// The approximate memory of the graph in bytes: its text, nodes, edges, compiled expressions and
    /// schemas, and reachability.
    pub fn memory(&self) -> usize {
        memory::of(self)
    }

    /// The functions that its nodes name, each once.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut all: Vec<&Arc<str>> = self.nodes.iter().filter_map(Node::uses).collect();
        all.sort();
        all.dedup();
        all.into_iter()
    }

    /// The graphs that its nodes name, each once.
    pub fn graphs(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut all: Vec<&Arc<str>> = self.nodes.iter().filter_map(|node| node.action.graph()).collect();
        all.sort();
        all.dedup();
        all.into_iter()
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Graph({})", self.title())
    }
}

/// A node of a graph.
#[derive(Debug)]
pub struct Node {
    /// The node's name, unique in the graph.
    pub name: Arc<str>,
    /// The action of the node. The function of a call is always named here.
    pub action: NodeAction,
    /// The input of the function or the inner graph: names with expressions.
    pub input: Option<Vec<(Arc<str>, Expr)>>,
    /// The keys of the state that get the result.
    pub output: Option<Output>,
    /// Configuration of the function.
    pub config: Json,
    /// The edges. The first case that holds is taken.
    pub edges: Vec<Case>,
    /// The nodes to which a branch can go from here, as far as they are declared: edges, `next`, routes of
    /// the function, `on_error` and `on_timeout`. In order, each once.
    pub leads: Vec<NodeIx>,
    /// The retry rule for failures.
    pub retry: Option<Retry>,
    /// The time limit of an attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The target after a failure.
    pub on_error: Option<EdgeTarget>,
    /// The target after the timeout of a wait.
    pub on_timeout: Option<EdgeTarget>,
    /// The node that compensates this one.
    pub compensate: Option<NodeIx>,
    /// The limits and grants by which the node narrows those of its function.
    pub bounds: Option<Arc<Bounds>>,
}

/// The limits and grants by which a node narrows those of its function. Both are objects, kept as written;
/// the host interprets them.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The graph's id and the node's name, which identify these bounds.
    pub of: Arc<str>,
    /// `limits` of the node.
    pub limits: Option<Json>,
    /// `grants` of the node.
    pub grants: Option<Json>,
}

impl Node {
    /// The function that the node calls, as the graph names it.
    pub fn uses(&self) -> Option<&Arc<str>> {
        match &self.action {
            NodeAction::Call { uses } => uses.as_ref(),
            NodeAction::Map(Map {
                each: Each::Call { uses },
                ..
            }) => Some(uses),
            _ => None,
        }
    }
}

/// One case of a node's edges.
#[derive(Debug)]
pub struct Case {
    /// The condition; a case without one holds.
    pub when: Option<Expr>,
    /// The targets. Several targets are a fork.
    pub to: Vec<EdgeTarget>,
}

/// A function as the check of a graph needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The kind of function.
    pub kind: FunctionKind,
    /// The nodes that the function may name in a route.
    pub routes: Vec<String>,
    /// The JSON Schema of the input; null if it is unknown.
    pub input: Value,
    /// The JSON Schema of the result; null if it is unknown.
    pub output: Value,
}

/// The kinds of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// A node function: gets the state, returns an outcome.
    Node,
    /// A tool: gets JSON, returns JSON.
    Tool,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The graph cannot be created.
    Error,
    /// The graph can be created, but may not do what the author meant.
    Warning,
}

/// A problem that a check found in a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the problem prevents that the graph is created.
    pub severity: Severity,
    /// The place: a JSON pointer (RFC 6901) into the definition.
    pub pointer: String,
    /// The problem, and what to do about it.
    pub message: String,
}
