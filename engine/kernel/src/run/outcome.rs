//! What functions answer, and what that means for the state and the route.

use heddle_json::{
    Json, Object,
    admit::{MAX_DEPTH, depth_of},
    object::kind_of,
};
use serde_json::Value;

use crate::event::{Failure, FailureKind};

/// What a function answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A node function's outcome.
    Outcome(Outcome),
    /// A tool's result.
    Result(Json),
}

/// What a step gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The keys of the state that change.
    pub update: Object,
    /// Where the branch goes.
    pub route: Route,
}

/// Where a function sends its branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Along the edges.
    Edges,
    /// To the same node again.
    Again,
    /// To these nodes.
    Goto(Vec<String>),
    /// To the end.
    End,
}

impl Outcome {
    /// The outcome that a tool's result stands for, where the tool is used as a node: the
    /// object's keys are the update, but for `next` (a node's name or a list of them) and
    /// `loop` (a boolean), which route. `loop` stands before `next`. Null, which a function without a
    /// result gives, changes nothing.
    ///
    /// # Errors
    /// A failure of kind `InvalidOutcome` where the result is no object, or a routing key is of another type.
    pub fn from_tool_result(result: &Json) -> Result<Self, Failure> {
        if kind_of(result.get()) == Some("null") {
            return Ok(Self {
                update: Object::default(),
                route: Route::Edges,
            });
        }
        // It was let in as JSON: what may be wrong is only that it is no object.
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

/// Whether a value that was put together of others is still let in where it is read again.
///
/// # Errors
/// A failure of kind `InvalidOutcome` where it is nested deeper than any value may be.
pub(super) fn check_depth(what: &str, value: &Json) -> Result<(), Failure> {
    if depth_of(value.get()) <= MAX_DEPTH {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} is nested deeper than {MAX_DEPTH} levels (json_depth): keep less of what it is made of"
    )))
}

/// The beginning of a text that may be long.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
