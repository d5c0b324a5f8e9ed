//! The plan of an expression: what is evaluated, with every name resolved.

use std::{fmt, sync::Arc};

use super::{functions::Function, kinds::Operator, patterns::Pattern, value::Value};

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value),
    /// What a path leads to, by the path's number.
    Path(usize),
    /// Whether a path leads to something.
    HasPath(usize),
    /// The item of a loop, by how many loops are around that loop.
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
    /// A call of a method that the standard allows and that there is not.
    NoFunction(Box<str>),
    /// A match with a pattern that is known beforehand.
    Matches(Box<Node>, Pattern),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Loop(Box<Loop>),
}

/// A loop over a list's items or an object's keys.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) kind: LoopKind,
    pub(super) over: Node,
    /// Which items are taken; all where there is none.
    pub(super) filter: Option<Node>,
    pub(super) body: Node,
}

/// What a loop gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// Whether the body holds for each item.
    All,
    /// Whether it holds for some item.
    Exists,
    /// Whether it holds for exactly one.
    ExistsOne,
    /// The list of what it gives.
    Map,
}

/// A variable and the keys that lead into it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) variable: Box<str>,
    pub(super) keys: Vec<Arc<str>>,
}

impl Path {
    /// The path to what its first `len` keys lead to, as it is written.
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

/// How a key is selected: `.key`, or `["a key"]` where it is no name.
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
