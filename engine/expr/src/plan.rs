//! The plan of an expression: the operations to evaluate, with every name resolved.

use std::{fmt, sync::Arc};

use super::{functions::Function, kinds::Operator, patterns::Pattern, value::Value};

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    /// The value at a path, by the path's index.
    Path(usize),
    /// Whether a path exists.
    HasPath(usize),
    /// The item of a loop, by the number of loops around that loop.
    Local(usize),
    Select(Box<Node>, Arc<str>),
    Has(Box<Node>, Arc<str>),
    Index(Box<(Node, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Binary(Operator, Box<(Node, Node)>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Choose(Box<(Node, Node, Node)>),
    Call(&'static Function, Vec<Node>),
    /// A call of a method that the standard allows and that does not exist.
    NoFunction(Box<str>),
    /// A match with a constant pattern.
    Matches(Box<Node>, Pattern),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
}

/// A loop over the items of a list or the keys of an object.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    /// The filter of the items, if there is one.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

/// The result of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// Whether the body holds for each item.
    All,
    /// Whether it holds for some item.
    Exists,
    /// Whether it holds for exactly one.
    ExistsOne,
    /// The list of the body's values.
    Map,
}

/// A path: a variable, and keys that select a part of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) variable: Box<str>,
    pub(super) keys: Vec<Arc<str>>,
}

impl Path {
    /// The path of the first `len` keys, as it is written.
    pub(super) fn up_to(&self, len: usize) -> String {
        let mut text = self.variable.to_string();
        for key in &self.keys[..len] {
            text.push_str(&selection(key));
        }
        text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.up_to(self.keys.len()))
    }
}

/// The selection of a key: `.key`, or `["a key"]` if the key is not a name.
pub(super) fn selection(key: &str) -> String {
    let mut bytes = key.bytes();
    let is_name = bytes.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_')
        && bytes.all(|c| c.is_ascii_alphanumeric() || c == b'_');
    if is_name {
        format!(".{key}")
    } else {
        format!("[{key:?}]")
    }
}
