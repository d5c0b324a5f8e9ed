//! The functions of a plugin: what the attributes register, and what the exported interfaces look up.

use crate::{Answer, Call, Error, Input, Output, Result, Route, json};
use std::{borrow::Cow, fmt::Write};

/// One function, as its attribute describes it.
pub struct Function {
    /// The plugin that the function belongs to.
    pub plugin: &'static str,
    /// Its name, unique among the plugin's node functions or tools.
    pub name: &'static str,
    /// The summary, in one line.
    pub summary: &'static str,
    /// Whether the function has no side effects.
    pub read_only: bool,
    /// Whether another call with the same input has no further effect.
    pub idempotent: bool,
    /// The nodes that the function may go to.
    pub routes: &'static [&'static str],
    /// The schema of the input.
    pub input: fn() -> Cow<'static, str>,
    /// The schema of the output.
    pub output: fn() -> Cow<'static, str>,
    /// The schema of the node's config, if the function reads it.
    pub config: Option<fn() -> Cow<'static, str>>,
    /// The generated entry point, which parses the input and serializes the result.
    pub body: Body,
}

/// The code of a function, from JSON to JSON.
#[derive(Clone, Copy)]
pub enum Body {
    /// A function that runs as a node and returns a state update.
    Node(fn(Invocation) -> Result<Written>),
    /// A tool: takes its input as JSON text and returns its result as JSON text.
    Tool(fn(String) -> Result<String>),
}

inventory::collect!(Function);

/// One call of a node function.
pub struct Invocation {
    /// The state, a JSON object.
    pub state: String,
    /// The node's config, any JSON.
    pub config: String,
    /// The run, node, step and attempt of the call.
    pub call: Call,
}

impl Invocation {
    /// Parses the config of a call.
    pub fn call<C: Input>(function: &str, call: Call, config: String) -> Result<Call<C>> {
        Ok(call.with_config(json::read_config(function, config)?))
    }
}

/// An outcome as JSON.
pub struct Written {
    /// The state update, a JSON object.
    pub update: String,
    /// Where the run goes next.
    pub route: Route,
}

/// Converts a node function's result to JSON.
pub fn answer_node<A: Answer>(function: &str, answer: A) -> Result<Written> {
    let outcome = answer.into_outcome();
    let update = outcome.update.write(format_args!("the update of `{function}`"))?;
    let update = match update.as_bytes().first() {
        Some(b'{') => update,
        _ if update == "null" => "{}".to_owned(),
        _ => return Err(not_an_object(function, &update)),
    };
    Ok(Written {
        update,
        route: outcome.route,
    })
}

/// Converts a tool's result to JSON.
pub fn answer_tool<O: Output>(function: &str, answer: O) -> Result<String> {
    answer.write(format_args!("the result of `{function}`"))
}

#[cold]
fn not_an_object(function: &str, update: &str) -> Error {
    let start: String = update.chars().take(60).collect();
    Error::permanent(format!(
        "`{function}` must return a JSON object with the keys of the state that change, and returned {start}"
    ))
}

/// The bytes of a text, for the custom section that names the plugin.
pub const fn section<const LEN: usize>(text: &str) -> [u8; LEN] {
    match text.as_bytes().first_chunk() {
        Some(bytes) => *bytes,
        None => panic!("the section is as long as its text"),
    }
}

/// All node functions, or all tools, by name.
pub(crate) fn all(nodes: bool) -> Vec<&'static Function> {
    let mut functions: Vec<_> = inventory::iter::<Function>()
        .filter(|function| matches!(function.body, Body::Node(_)) == nodes)
        .collect();
    functions.sort_by_key(|function| (function.plugin, function.name));
    functions
}

/// Runs the node function with this name.
pub(crate) fn run(name: &str, invocation: Invocation) -> Result<Written> {
    let body = inventory::iter::<Function>().find_map(|function| match function.body {
        Body::Node(body) if function.name == name => Some(body),
        _ => None,
    });
    body.ok_or_else(|| unknown("node function", name, true))?(invocation)
}

/// Calls the tool with this name.
pub(crate) fn call(name: &str, input: String) -> Result<String> {
    let body = inventory::iter::<Function>().find_map(|function| match function.body {
        Body::Tool(body) if function.name == name => Some(body),
        _ => None,
    });
    body.ok_or_else(|| unknown("tool", name, false))?(input)
}

#[cold]
fn unknown(kind: &str, name: &str, nodes: bool) -> Error {
    let mut message = format!("this plugin has no {kind} `{name}`");
    let mut before = "; it has ";
    for function in all(nodes) {
        let _ = write!(message, "{before}`{}`", function.name);
        before = ", ";
    }
    Error::permanent(message)
}
