//! A graph: its definition as it was written, and the checked form that runs.

mod check;
mod definition;

use std::{collections::HashMap, sync::Arc};

pub use check::check;
pub(crate) use definition::nearest;
pub use definition::{Definition, Limits, NodeDefinition};
use serde::Serialize;

use crate::{ids::GraphId, object::Json};

/// The name of the end: an edge or a route to it ends the branch, and no node may have it.
pub const END: &str = "end";

/// The position of a node in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct NodeIx(pub u32);

/// A checked graph, ready to run.
#[derive(Debug)]
pub struct Graph {
    /// The id: the same for the same definition.
    pub id: GraphId,
    /// The name, where it has one.
    pub name: Option<Arc<str>>,
    /// The node that a run begins with.
    pub start: NodeIx,
    /// The nodes, in the order in which they were declared.
    pub nodes: Vec<Node>,
    /// How many steps a run may take.
    pub max_steps: u64,
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
}

/// A place in a graph.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// The function that it uses, as the graph names it.
    pub uses: Arc<str>,
    /// What the graph sets for the function.
    pub config: Json,
    /// Where its edges lead.
    pub edges: Edges,
}

/// Where the edges of a node lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// To the end.
    End,
    /// To one node.
    To(NodeIx),
}

/// What a catalog of functions knows of one, as far as a graph's check needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Whether it is a node function or a tool.
    pub kind: FunctionKind,
    /// The nodes that it may name in a route.
    pub routes: Vec<String>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
