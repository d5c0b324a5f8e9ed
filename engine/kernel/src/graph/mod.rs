//! A graph: its definition as it was written, and the checked form that runs.

mod check;
mod definition;
mod duration;
mod findings;
mod json;
mod kept;
mod memory;
mod node;
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
pub use kept::Pins;
pub use reach::Reach;
pub(crate) use reader::name_problem;
use serde::Serialize;
use serde_json::Value;
pub use size::parse as size;

use crate::ids::GraphId;

/// The name of the end: an edge or a route to it ends the branch, and no node may have it.
pub const END: &str = "end";

/// The JSON Schema of a definition, by which editors complete and explain it (draft 2020-12). It
/// knows the form; whether names lead somewhere is for [`check`].
pub const SCHEMA: &str = include_str!("../../../../docs/graph.schema.json");

/// Where a graph of so many nodes starts that does not say so: at the one node that nothing leads to, else at
/// the first.
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

/// Where a branch can go: to a node, or to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeTarget {
    /// A node.
    Node(NodeIx),
    /// The end.
    End,
}

/// A checked graph, ready to run.
pub struct Graph {
    /// The id: the same for the same definition.
    pub id: GraphId,
    /// The name, where it has one.
    pub name: Option<Arc<str>>,
    /// The node that a run begins with.
    pub start: NodeIx,
    /// The nodes, in the order in which they were declared.
    pub nodes: Vec<Node>,
    /// How the updates of a key become one value.
    pub policies: BTreeMap<Arc<str>, Policy>,
    /// The keys of the state that are its output; without them, the whole state is.
    pub output: Option<Arc<[Arc<str>]>>,
    /// How many steps a run may take.
    pub max_steps: u64,
    /// How long a run may take, in milliseconds.
    pub max_time_ms: Option<u64>,
    /// How many bytes the events of a run may take. Without it, the engine's limit alone applies.
    pub max_journal_bytes: Option<u64>,
    /// How many runs of it may be under way together.
    pub group: Option<GroupLimit>,
    /// Which node can still come to which.
    pub reach: Reach,
    /// The definition as it was written, compact.
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

    /// The place with this name.
    pub fn place(&self, name: &str) -> Option<EdgeTarget> {
        match name {
            END => Some(EdgeTarget::End),
            name => self.find(name).map(EdgeTarget::Node),
        }
    }

    /// The name of a place.
    pub fn name_of(&self, place: EdgeTarget) -> Arc<str> {
        match place {
            EdgeTarget::Node(node) => self.node(node).name.clone(),
            EdgeTarget::End => END.into(),
        }
    }

    /// What a graph that ended with this state gives to the node that runs it.
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

    /// What it is called where people read it.
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id.0)
    }

    /// About how many bytes the graph takes in memory: its text, its nodes and edges, what is compiled of its
    /// expressions and schemas, and which node leads to which.
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

/// A place in a graph at which something is done.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// What a visit does. A call's function is always named here.
    pub action: NodeAction,
    /// What the function or the subgraph is given: names and where their values come from.
    pub input: Option<Vec<(Arc<str>, Expr)>>,
    /// Where the result goes.
    pub output: Option<Output>,
    /// What the graph sets for the function.
    pub config: Json,
    /// Its edges: the first case that holds counts.
    pub edges: Vec<Case>,
    /// Where a branch can go from here, as far as it is declared: its edges, its `next`, the routes
    /// of its function, `on_error` and `on_timeout`. In order, each once.
    pub leads: Vec<NodeIx>,
    /// How a failure is tried again.
    pub retry: Option<Retry>,
    /// How long an attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The node to go to where it fails.
    pub on_error: Option<EdgeTarget>,
    /// The node to go to where its signal does not come in time.
    pub on_timeout: Option<EdgeTarget>,
    /// The node that undoes it.
    pub compensate: Option<NodeIx>,
    /// How the graph narrows what its function may do, where it does.
    pub bounds: Option<Arc<Bounds>>,
}

/// How a node narrows what its calls may use up and do. Both parts are objects, kept as they were written:
/// what their keys mean is for who makes the calls.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The graph's id and the node's name: no other node's bounds have the same.
    pub of: Arc<str>,
    /// `limits` of the node.
    pub limits: Option<Json>,
    /// `grants` of the node.
    pub grants: Option<Json>,
}

impl Node {
    /// The function that it calls, as the graph names it.
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
    /// The condition; without it, it holds.
    pub when: Option<Expr>,
    /// Where it leads; several places are a fork.
    pub to: Vec<EdgeTarget>,
}

/// What a catalog of functions knows of one, as far as a graph's check needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Whether it is a node function or a tool.
    pub kind: FunctionKind,
    /// The nodes that it may name in a route.
    pub routes: Vec<String>,
    /// The JSON Schema of what it takes; null where it is not known.
    pub input: Value,
    /// The JSON Schema of what it gives; null where it is not known.
    pub output: Value,
}

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// State in, outcome out.
    Node,
    /// JSON in, JSON out.
    Tool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The graph cannot be created.
    Error,
    /// The graph can be created and may not do what was meant.
    Warning,
}

/// Something that a check found in a definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a JSON pointer (RFC 6901) into the definition.
    pub pointer: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}
