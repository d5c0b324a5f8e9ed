//! A graph's definition: the form that authors write.

use std::sync::Arc;

use heddle_expr::Expr;
use heddle_json::{Json, object::to_json};
use heddle_schema::Schema;

use super::{
    Diagnostic, Findings, Severity, json,
    reader::{Origin, Reader},
};
use crate::event::FailureKind;

/// The number of nodes that a graph may have.
pub(crate) const MAX_NODES: usize = 10_000;
/// The depth to which loops may be nested.
pub(crate) const MAX_LOOP_DEPTH: usize = 64;
/// The number of edges that may be visited to find loops; each edge is visited once for every loop around it.
pub(crate) const MAX_LOOP_EDGES: usize = 1_000_000;
/// The number of JSON values in a definition, keys included.
pub(crate) const MAX_VALUES: usize = 1_000_000;
/// The number of expressions in a graph.
pub(crate) const MAX_EXPRESSIONS: usize = 50_000;
/// The limit for the text of all expressions of a graph, in bytes.
pub(crate) const MAX_EXPRESSION_BYTES: usize = 1 << 20;
/// The number of targets of one edge.
pub(crate) const MAX_FORK: usize = 1_000;
/// The length limit of the name of a node or a graph, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 100;
/// The default of `limits.steps`.
pub(crate) const DEFAULT_MAX_STEPS: u64 = 10_000;
/// The maximum of `limits.steps`.
pub(crate) const MAX_STEPS: u64 = 100_000_000;
/// The default of a map's `at_once`.
pub(crate) const DEFAULT_AT_ONCE: u32 = 16;
/// The maximum of a map's `at_once`.
pub(crate) const MAX_AT_ONCE: u32 = 1_000;
/// The default of `limits.group.at_once`.
pub(crate) const DEFAULT_GROUP_AT_ONCE: u32 = 1;
/// The maximum of `limits.group.at_once`.
pub(crate) const MAX_GROUP_AT_ONCE: u32 = 10_000;
/// The default of `key`, which identifies the elements of a list.
pub(crate) const DEFAULT_ELEMENT_KEY: &str = "id";
/// The maximum of `retry.attempts`.
pub(crate) const MAX_ATTEMPTS: u32 = 1_000;

/// A definition of valid form; the check resolves its names.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The name: letters, digits, spaces and `_-.:/`.
    pub name: Option<String>,
    /// The start node, if the definition names one.
    pub start: Option<String>,
    /// The nodes by name, in the order of the text.
    pub nodes: Vec<(String, NodeDefinition)>,
    /// The edges of each node that has some, in the order of the text.
    pub edges: Vec<(String, Vec<CaseDefinition>)>,
    /// The merge policies, by key.
    pub state: Vec<(String, Policy)>,
    /// The keys of the state that are the graph's output, if it declares some.
    pub output: Option<Arc<[Arc<str>]>>,
    /// The limits of a run.
    pub limits: Limits,
    /// The origin, which decides the rules of its check.
    pub origin: Origin,
    /// The definition as compact JSON, in the order of the text.
    pub text: Arc<str>,
}

/// One node of a definition.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// The action of the node.
    pub action: NodeAction,
    /// The input of the function or the inner graph: names with expressions.
    pub input: Option<Vec<(Arc<str>, Expr)>>,
    /// The keys of the state that get the result.
    pub output: Option<Output>,
    /// Configuration of the function.
    pub config: Json,
    /// Nodes that the function may name in a route, besides those that it declares.
    pub next: Vec<String>,
    /// The retry rule for failures.
    pub retry: Option<Retry>,
    /// The time limit of an attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The target after a failure.
    pub on_error: Option<String>,
    /// The node that compensates this one.
    pub compensate: Option<String>,
    /// The `limits` of the node's calls, which narrow those of its function: an object.
    pub limits: Option<Json>,
    /// The `grants` of the node's calls, which narrow those of its plugin: an object.
    pub grants: Option<Json>,
}

/// The action of a node.
#[derive(Clone, Debug)]
pub enum NodeAction {
    /// Calls a function.
    Call {
        /// The function. Default: the one with the node's name.
        uses: Option<Arc<str>>,
    },
    /// Runs a function or a graph for every item of a list or an object.
    Map(Map),
    /// Runs an inner graph.
    Graph {
        /// The graph's name or id.
        graph: Arc<str>,
    },
    /// Sleeps.
    Sleep(Sleep),
    /// Waits for a signal.
    Wait(Wait),
}

/// A map: a function or a graph for every item.
#[derive(Clone, Debug)]
pub struct Map {
    /// The list or the object of the items.
    pub over: Expr,
    /// The name of the item in the input of its call.
    pub item: Arc<str>,
    /// The action for an item.
    pub each: Each,
    /// The number of items that may be active at a time.
    pub at_once: u32,
    /// The key of the state that gets the results.
    pub into: Arc<str>,
    /// What happens if an item fails.
    pub on_item_error: OnItemError,
}

/// The action for an item of a map.
#[derive(Clone, Debug)]
pub enum Each {
    /// Calls a function.
    Call {
        /// The function's reference, as in `plugin/function`.
        uses: Arc<str>,
    },
    /// Runs a graph.
    Graph {
        /// The graph's name or id.
        graph: Arc<str>,
    },
}

/// What happens if an item fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnItemError {
    /// The whole map fails.
    Fail,
    /// The item has no result.
    Skip,
    /// The item's result is the error.
    Collect,
}

/// The time that a node sleeps.
#[derive(Clone, Debug)]
pub enum Sleep {
    /// For this many milliseconds.
    Ms(u64),
    /// For the time that an expression gives: seconds, or a duration such as `"10m"`.
    For(Expr),
    /// Until the time that an expression gives: RFC 3339, or milliseconds since 1970.
    Until(Expr),
}

/// A wait for a signal.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The name of the signal.
    pub signal: Text,
    /// The JSON Schema of the payload.
    pub schema: Option<Arc<PayloadSchema>>,
    /// The timeout in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The target after the timeout.
    pub on_timeout: Option<String>,
    /// The prompt for the person who sends the signal.
    pub prompt: Option<Text>,
}

/// A text of a node: fixed, or an expression that is evaluated when the node is visited.
#[derive(Clone, Debug)]
pub enum Text {
    /// A text that is the same at every visit.
    Plain(Arc<str>),
    /// An expression for a string.
    Expr(Expr),
}

/// The JSON Schema of a signal's payload.
#[derive(Debug)]
pub struct PayloadSchema {
    /// The text of the schema.
    pub text: Json,
    /// The same schema, compiled for checks.
    pub schema: Schema,
}

/// The keys of the state that get a node's result.
#[derive(Clone, Debug)]
pub enum Output {
    /// One key gets the whole result.
    Key(Arc<str>),
    /// Each key gets the value of its expression over `node`, the result.
    Keys(Vec<(Arc<str>, Expr)>),
}

/// The retry rule for failures.
#[derive(Clone, Debug)]
pub struct Retry {
    /// The number of attempts, the first one included.
    pub attempts: u32,
    /// The first pause, in milliseconds.
    pub backoff_ms: u64,
    /// The factor by which each pause is longer than the one before.
    pub factor: f64,
    /// The longest pause, in milliseconds.
    pub max_ms: u64,
    /// The fraction by which a pause is randomly longer or shorter, from 0 to 1.
    pub jitter: f64,
    /// The kinds of failure that are retried.
    pub on: Vec<FailureKind>,
}

/// One of the edges of a node.
#[derive(Clone, Debug)]
pub struct CaseDefinition {
    /// The condition; without it, it holds.
    pub when: Option<Expr>,
    /// The targets: one name, or several for a fork.
    pub to: Vec<String>,
    /// The JSON pointer of the targets.
    pub pointer: String,
}

/// The merge policy of a key: how updates of several branches become one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Concatenates lists; any other value is one more element.
    Append,
    /// Adds numbers.
    Add,
    /// Keeps the largest value.
    Max,
    /// Keeps the smallest value.
    Min,
    /// Like `append`, without elements that are already in the list.
    Union,
    /// Merges objects, key by key and level by level.
    Deep,
    /// Keeps the last value in the order of the branches.
    Last,
    /// Replaces the element of a list that has the same value under this key.
    ByKey(Arc<str>),
}

impl Policy {
    /// The name of every policy in a graph.
    pub const NAMES: [&'static str; 8] = ["append", "add", "max", "min", "union", "by_key", "deep", "last"];

    /// The policy with this name; `key` is the key of `by_key`.
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

/// The limits of a run, and of active runs.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The number of steps.
    pub steps: u64,
    /// The time from the start, in milliseconds.
    pub time_ms: Option<u64>,
    /// The size of the run's events in the journal, in bytes.
    pub journal: Option<u64>,
    /// The limit for active runs.
    pub group: Option<GroupLimit>,
}

/// The limit for active runs of a graph.
#[derive(Clone, Debug)]
pub struct GroupLimit {
    /// The expression for the group's key; without it, all runs of the graph are one group.
    pub by: Option<Expr>,
    /// The number of active runs in each group.
    pub at_once: u32,
}

impl Definition {
    /// Parses a definition that was accepted before: an object with `nodes` and optionally `name`,
    /// `description`, `start`, `edges`, `state` and `limits`. Its expressions may have literals that
    /// [`Self::read`] refuses in a new definition.
    ///
    /// # Errors
    /// All errors of form, each with a JSON pointer.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::whole(text, Origin::Stored)
    }

    /// Parses a definition of an export, which is not trusted: the limits for new definitions apply.
    ///
    /// # Errors
    /// As for [`Self::parse`].
    pub fn parse_imported(text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::whole(text, Origin::Imported)
    }

    /// Reads a definition and reports all errors of form. Invalid parts are left out of the definition, so
    /// that the check can report on the rest.
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
        let (parsed, mut found) = json::parse(text, origin != Origin::Stored);
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

    /// The nodes with `limits` or `grants`, each with its JSON pointer and the function that it names.
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
    /// The function of a node with this name, if it calls one.
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

    /// A placeholder for an invalid node, so that its name is known.
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
    /// The text, if it is fixed.
    pub fn plain(&self) -> Option<&Arc<str>> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Expr(_) => None,
        }
    }

    /// The text or the expression as written.
    pub fn source(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Expr(expr) => expr.source(),
        }
    }
}

impl NodeAction {
    /// The graph that the node runs, if it runs one.
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
    heddle_json::pointer::escape(name).into_owned()
}
