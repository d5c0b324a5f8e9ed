//! A graph's definition: what an author writes, in the form in which it is checked and run.

use std::sync::Arc;

use heddle_expr::Expr;
use heddle_json::{Json, object::to_json};
use heddle_schema::Schema;

use super::{
    Diagnostic, Findings, Severity, json,
    reader::{Origin, Reader},
};
use crate::event::FailureKind;

/// The most nodes that a graph may have.
pub(crate) const MAX_NODES: usize = 10_000;
/// How deep loops may be nested.
pub(crate) const MAX_LOOP_DEPTH: usize = 64;
/// How many edges may be looked at while loops are found: each is, once for every loop that it is in.
pub(crate) const MAX_LOOP_EDGES: usize = 1_000_000;
/// How many JSON values a definition may have, keys included.
pub(crate) const MAX_VALUES: usize = 1_000_000;
/// How many expressions a graph may have.
pub(crate) const MAX_EXPRESSIONS: usize = 50_000;
/// How many bytes the expressions of a graph may have together.
pub(crate) const MAX_EXPRESSION_BYTES: usize = 1 << 20;
/// The most nodes that one edge may lead to.
pub(crate) const MAX_FORK: usize = 1_000;
/// The longest name of a node or a graph, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 100;
/// How many steps a run may take where `limits.steps` is not set.
pub(crate) const DEFAULT_MAX_STEPS: u64 = 10_000;
/// The most that `limits.steps` may be.
pub(crate) const MAX_STEPS: u64 = 100_000_000;
/// How many items of a map are under way at once where `at_once` is not set.
pub(crate) const DEFAULT_AT_ONCE: u32 = 16;
/// The most that `at_once` may be.
pub(crate) const MAX_AT_ONCE: u32 = 1_000;
/// How many runs of a group are under way at once where `limits.group.at_once` is not set.
pub(crate) const DEFAULT_GROUP_AT_ONCE: u32 = 1;
/// The most that `limits.group.at_once` may be.
pub(crate) const MAX_GROUP_AT_ONCE: u32 = 10_000;
/// The key that tells the elements of a list apart where `key` is not set.
pub(crate) const DEFAULT_ELEMENT_KEY: &str = "id";
/// The most that `retry.attempts` may be.
pub(crate) const MAX_ATTEMPTS: u32 = 1_000;

/// A definition that has the right form; whether its names lead somewhere is for the check.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name: letters, digits, spaces and `_-.:/`.
    pub name: Option<String>,
    /// The node to begin with, where it is said.
    pub start: Option<String>,
    /// The nodes with their names, in the order in which they were written.
    pub nodes: Vec<(String, NodeDefinition)>,
    /// The edges of each node that has some, in the order in which they were written.
    pub edges: Vec<(String, Vec<CaseDefinition>)>,
    /// How several branches' updates of a key become one.
    pub state: Vec<(String, Policy)>,
    /// The keys of the state that are the graph's output, where it says which.
    pub output: Option<Arc<[Arc<str>]>>,
    /// What a run may use up.
    pub limits: Limits,
    /// The whole as compact JSON, in the order in which it was written.
    pub text: Arc<str>,
}

/// One node of a definition.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// What a visit does.
    pub action: NodeAction,
    /// What the function or the subgraph is given: names and where their values come from.
    pub input: Option<Vec<(Arc<str>, Expr)>>,
    /// Where the result goes.
    pub output: Option<Output>,
    /// What the function is given besides.
    pub config: Json,
    /// The nodes that its function may name, besides those that it declares itself.
    pub next: Vec<String>,
    /// How a failure is tried again.
    pub retry: Option<Retry>,
    /// How long an attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The node to go to where it fails.
    pub on_error: Option<String>,
    /// The node that undoes it.
    pub compensate: Option<String>,
    /// What its calls may use up, of what they may anyway: an object.
    pub limits: Option<Json>,
    /// What its function may do outside, of what its plugin may anyway: an object.
    pub grants: Option<Json>,
}

/// What a visit of a node does.
#[derive(Clone, Debug)]
pub enum NodeAction {
    /// It calls a function.
    Call {
        /// The function; without it, the one of the node's own name.
        uses: Option<Arc<str>>,
    },
    /// It does the same for every item of a list or an object.
    Map(Map),
    /// It runs another graph.
    Graph {
        /// The graph's name or id.
        graph: Arc<str>,
    },
    /// It lets time pass.
    Sleep(Sleep),
    /// It waits for a signal.
    Wait(Wait),
}

/// One thing for every item.
#[derive(Clone, Debug)]
pub struct Map {
    /// The list or the object.
    pub over: Expr,
    /// The name that an item has in what its call is given.
    pub item: Arc<str>,
    /// What is done.
    pub each: Each,
    /// How many items are under way at once.
    pub at_once: u32,
    /// The key of the state that takes the results.
    pub into: Arc<str>,
    /// What becomes of an item that fails.
    pub on_item_error: OnItemError,
}

/// What a map does for an item.
#[derive(Clone, Debug)]
pub enum Each {
    /// It calls a function.
    Call {
        /// The function.
        uses: Arc<str>,
    },
    /// It runs a graph.
    Graph {
        /// The graph's name or id.
        graph: Arc<str>,
    },
}

/// What becomes of an item that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnItemError {
    /// The whole map fails.
    Fail,
    /// The item has no result.
    Skip,
    /// The item's result is the error.
    Collect,
}

/// How long a node lets time pass.
#[derive(Clone, Debug)]
pub enum Sleep {
    /// For so many milliseconds.
    Ms(u64),
    /// For as long as an expression says: seconds, or a duration's text.
    For(Expr),
    /// Until a time: RFC 3339, or milliseconds since 1970.
    Until(Expr),
}

/// A wait for a signal.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The signal's name.
    pub signal: Text,
    /// The JSON Schema of its payload, as it was written and compiled.
    pub schema: Option<Arc<PayloadSchema>>,
    /// How long it waits, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The node to go to when that is over.
    pub on_timeout: Option<String>,
    /// What a person is asked.
    pub prompt: Option<Text>,
}

/// A text of a node: as it is written, or what an expression gives when the node is visited.
#[derive(Clone, Debug)]
pub enum Text {
    /// As it is written.
    Plain(Arc<str>),
    /// What an expression gives: a string.
    Expr(Expr),
}

/// The JSON Schema of a signal's payload.
#[derive(Debug)]
pub struct PayloadSchema {
    /// As it was written.
    pub text: Json,
    /// Ready to check a payload.
    pub schema: Schema,
}

/// Where a node's result goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// All of it under one key.
    Key(Arc<str>),
    /// Under each key what an expression over `node`, the result, makes of it.
    Keys(Vec<(Arc<str>, Expr)>),
}

/// How a failure is tried again.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How many attempts there are in all.
    pub attempts: u32,
    /// How long the first pause is, in milliseconds.
    pub backoff_ms: u64,
    /// By how much each pause is longer than the one before.
    pub factor: f64,
    /// The longest pause, in milliseconds.
    pub max_ms: u64,
    /// By which part of itself a pause may be longer or shorter, from 0 to 1.
    pub jitter: f64,
    /// The sorts of failure that are tried again.
    pub on: Vec<FailureKind>,
}

/// One of the edges of a node.
#[derive(Clone, Debug)]
pub struct CaseDefinition {
    /// The condition; without it, it holds.
    pub when: Option<Expr>,
    /// Where it leads: one name, or several for a fork.
    pub to: Vec<String>,
    /// Where that is written: a JSON pointer.
    pub pointer: String,
}

/// How the updates of a key that several branches made become one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Lists are put one after the other; what is no list is one more element.
    Append,
    /// Numbers are added.
    Add,
    /// The largest counts.
    Max,
    /// The smallest counts.
    Min,
    /// As `append`, but what is there already is not added.
    Union,
    /// Objects are merged, key by key and level by level.
    Deep,
    /// The last one in the order of the branches counts.
    Last,
    /// The elements of a list are objects with a key of this name: an element replaces the one that has the
    /// same value there.
    ByKey(Arc<str>),
}

impl Policy {
    /// The name of every policy in a graph.
    pub const NAMES: [&'static str; 8] = ["append", "add", "max", "min", "union", "by_key", "deep", "last"];

    /// The policy of a name; `key` tells elements apart, where the policy is `by_key`.
    pub(super) fn named(name: &str, key: &str) -> Option<Self> {
        Some(match name {
            "append" => Self::Append,
            "add" => Self::Add,
            "max" => Self::Max,
            "min" => Self::Min,
            "union" => Self::Union,
            "by_key" => Self::ByKey(key.into()),
            "deep" => Self::Deep,
            "last" => Self::Last,
            _ => return None,
        })
    }

    /// Its name in a graph.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Add => "add",
            Self::Max => "max",
            Self::Min => "min",
            Self::Union => "union",
            Self::ByKey(_) => "by_key",
            Self::Deep => "deep",
            Self::Last => "last",
        }
    }
}

/// What a run may use up, and how many may be under way.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Steps.
    pub steps: u64,
    /// Time from its start, in milliseconds.
    pub time_ms: Option<u64>,
    /// What its events take in the journal, in bytes.
    pub journal: Option<u64>,
    /// How many runs may be under way together.
    pub group: Option<GroupLimit>,
}

/// How many runs of a graph may be under way together.
#[derive(Clone, Debug)]
pub struct GroupLimit {
    /// What the runs are told apart by; without it, all of the graph are together.
    pub by: Option<Expr>,
    /// So many of each group.
    pub at_once: u32,
}

impl Definition {
    /// Reads a definition that was let in before: an object with `nodes`, and maybe `name`, `description`, `start`,
    /// `edges`, `state` and `limits`. It may have literals in its expressions that [`Self::read`] refuses in a new one.
    ///
    /// # Errors
    /// Every mistake of form, each with a JSON pointer.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::whole(text, Origin::Kept)
    }

    /// The same for a definition in an export, which may be anybody's: the limits of a new one hold.
    ///
    /// # Errors
    /// As [`Self::parse`] has them.
    pub fn parse_imported(text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::whole(text, Origin::Imported)
    }

    /// Reads a definition as far as its form is right, with every mistake of form. What could not be
    /// read stands for nothing in it, so that a check of it can tell of the rest.
    pub fn read(text: &str) -> (Option<Self>, Findings) {
        Self::read_as(text, Origin::New)
    }

    fn whole(text: &str, origin: Origin) -> Result<Self, Vec<Diagnostic>> {
        match Self::read_as(text, origin) {
            (Some(definition), found) if found.is_empty() => Ok(definition),
            (_, found) => Err(found.into_shown()),
        }
    }

    fn read_as(text: &str, origin: Origin) -> (Option<Self>, Findings) {
        let (parsed, mut found) = json::parse(text, origin != Origin::Kept);
        let Some(json::Parsed { value, source }) = parsed else {
            return (None, found);
        };
        let tree = match source.as_deref().map(json::tree).transpose() {
            Ok(tree) => tree,
            Err(problem) => {
                found.push(Diagnostic::error("", problem));
                return (None, found);
            }
        };
        let mut reader = Reader::new(origin, found, tree.as_ref());
        let text = tree.as_ref().map(json::written).unwrap_or_default();
        let definition = reader.graph(&value, text);
        (definition, reader.found)
    }

    /// The nodes that narrow what their function may use up or do, each with its JSON pointer and the
    /// function that it names.
    pub fn narrowed(&self) -> impl Iterator<Item = (String, &str, &NodeDefinition)> {
        self.nodes.iter().filter_map(|(name, node)| {
            let narrows = node.limits.is_some() || node.grants.is_some();
            let uses = node.uses(name).filter(|_| narrows)?;
            Some((format!("/nodes/{}", part(name)), uses, node))
        })
    }

    /// The names and ids of the graphs that its nodes run, each once.
    pub fn graphs(&self) -> Vec<&Arc<str>> {
        let mut all: Vec<&Arc<str>> = self
            .nodes
            .iter()
            .filter_map(|(_, node)| node.action.graph())
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

impl NodeDefinition {
    /// The function that a node of this name calls, if it calls one.
    pub fn uses<'d>(&'d self, name: &'d str) -> Option<&'d str> {
        match &self.action {
            NodeAction::Call { uses } => Some(uses.as_deref().unwrap_or(name)),
            NodeAction::Map(Map {
                each: Each::Call { uses },
                ..
            }) => Some(uses),
            _ => None,
        }
    }

    /// What stands where a node could not be read: its name is known to the others.
    pub(super) fn nothing() -> Self {
        Self {
            action: NodeAction::Sleep(Sleep::Ms(0)),
            input: None,
            output: None,
            config: to_json(&()),
            next: Vec::new(),
            retry: None,
            timeout_ms: None,
            on_error: None,
            compensate: None,
            limits: None,
            grants: None,
        }
    }
}

impl Text {
    /// The text where it is written as it is.
    pub fn plain(&self) -> Option<&Arc<str>> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Expr(_) => None,
        }
    }

    /// What is written: the text, or the expression.
    pub fn source(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Expr(expr) => expr.source(),
        }
    }
}

impl NodeAction {
    /// The graph that it runs, if it runs one.
    pub fn graph(&self) -> Option<&Arc<str>> {
        match self {
            Self::Graph { graph }
            | Self::Map(Map {
                each: Each::Graph { graph },
                ..
            }) => Some(graph),
            _ => None,
        }
    }
}

impl Diagnostic {
    pub(super) fn error(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            pointer: pointer.into(),
            message: message.into(),
        }
    }

    pub(super) fn warning(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// A name as one part of a JSON pointer.
pub(super) fn part(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
