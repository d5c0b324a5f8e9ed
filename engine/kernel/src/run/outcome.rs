//! Answers of functions, and the updates and routes that they contain.

use heddle_json::{
    Json, Object,
    admit::{MAX_DEPTH, depth_of},
    object::kind_of,
};
use serde_json::Value;

use crate::event::{Failure, FailureKind};

/// The answer of a function.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A node function's outcome.
    Outcome(Outcome),
    /// A tool's result.
    Result(Json),
}

/// The outcome of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The keys of the state that change, with their new values.
    pub update: Object,
    /// The next position of the branch.
    pub route: Route,
}

/// The next position of a branch, as a function chooses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The node's edges.
    Edges,
    /// The same node again.
    Again,
    /// These nodes.
    Goto(Vec<String>),
    /// The end.
    End,
}

impl Outcome {
    /// The outcome of a tool's result, if the tool is used as a node. The keys of the object are the update,
    /// except for `next` (a node's name, or a list of names) and `loop` (a boolean), which route the branch.
    /// `loop` takes precedence over `next`. Null, the result of a function without one, changes nothing.
    ///
    /// # Errors
    /// A failure of kind `InvalidOutcome`: the result is not an object, or a routing key has the wrong type.
    pub fn from_tool_result(result: &Json) -> Result<Self, Failure> {
        if kind_of(result.get()) == Some("null") {
            return Ok(Self {
                update: Object::default(),
                route: Route::Edges,
            });
        }
        // The result was admitted as JSON, so it can only be of another type.
        let mut update = Object::parse(result.get()).map_err(|_| {
            let kind = kind_of(result.get()).unwrap_or("nothing");
            invalid(format!(
                "a tool that is used as a node must answer a JSON object, whose keys enter the state; it answered {kind}: \
                 `output` in the node puts any result under a key"
            ))
        })?;
        let again = match update.remove("loop").as_deref().map(|value| value.get()) {
            None | Some("false" | "null") => false,
            Some("true") => true,
            Some(other) => {
                return Err(invalid(format!(
                    "`loop` must be true or false, got {}",
                    clip(other)
                )));
            }
        };
        let next = match update.remove("next") {
            None => None,
            Some(value) => match serde_json::from_str(value.get()) {
                Ok(Value::Null) => None,
                Ok(Value::String(name)) => Some(vec![name]),
                Ok(Value::Array(names)) if names.iter().all(Value::is_string) => Some(
                    names
                        .iter()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => {
                    return Err(invalid(format!(
                        "`next` must be a node's name or a list of names, got {}",
                        clip(value.get())
                    )));
                }
            },
        };
        let route = match (again, next) {
            (true, _) => Route::Again,
            (false, Some(names)) => Route::Goto(names),
            (false, None) => Route::Edges,
        };
        Ok(Self { update, route })
    }
}

pub(super) fn invalid(message: String) -> Failure {
    Failure::new(FailureKind::InvalidOutcome, message)
}

/// Checks the depth of a value that was built from others, so that it is admitted again later.
///
/// # Errors
/// A failure of kind `InvalidOutcome` if it is too deep.
pub(super) fn check_depth(what: &str, value: &Json) -> Result<(), Failure> {
    if depth_of(value.get()) <= MAX_DEPTH {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} is nested deeper than {MAX_DEPTH} levels (json_depth): use flatter values"
    )))
}

/// The first 80 characters of a text.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
