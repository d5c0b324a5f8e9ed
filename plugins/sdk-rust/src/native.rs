//! The plugin outside of the engine, in its author's tests: other tools are those of the crates
//! that are linked together, and chunks are kept for the test.

use std::cell::{Cell, RefCell};

use crate::{
    Error, Result,
    function::{self, Body},
};

/// How deep tools may call tools. The engine has its own limit; this one protects the stack.
const MAX_DEPTH: u32 = 32;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static EMITTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn call_tool(name: &str, input: String) -> Result<String> {
    let (plugin, tool) = match name.split_once('/') {
        Some((plugin, tool)) => (Some(plugin), tool),
        None => (None, name),
    };
    let found: Vec<_> = function::all(false)
        .into_iter()
        .filter(|function| function.name == tool && plugin.is_none_or(|plugin| plugin == function.plugin))
        .collect();
    match found[..] {
        [only] => match only.body {
            Body::Tool(body) => nested(|| body(input)),
            Body::Node(_) => unreachable!("only tools were asked for"),
        },
        [] => Err(Error::permanent(format!(
            "there is no tool `{name}` here: outside of the engine, only the tools of the crates that are linked together can be called"
        ))),
        _ => Err(Error::permanent(format!(
            "several plugins have a tool `{tool}`: write `plugin/{tool}`"
        ))),
    }
}

fn nested(call: impl FnOnce() -> Result<String>) -> Result<String> {
    let depth = DEPTH.get();
    if depth == MAX_DEPTH {
        return Err(Error::permanent(format!(
            "tools call each other more than {MAX_DEPTH} deep"
        )));
    }
    DEPTH.set(depth + 1);
    let result = call();
    DEPTH.set(depth);
    result
}

pub(crate) fn emit(chunk: String) {
    EMITTED.with_borrow_mut(|chunks| chunks.push(chunk));
}

/// Calls a plugin's functions as the engine does, from JSON to JSON, in its author's tests.
pub mod testing {
    use serde_json::Value;

    use crate::{
        Call, Error, Outcome, Result,
        function::{self, Invocation},
    };

    /// Runs the node function with this name on a state and a `config` (`Value::Null` for none).
    pub fn run(function: &str, state: Value, config: Value) -> Result<Outcome<Value>> {
        let invocation = Invocation {
            state: state.to_string(),
            config: config.to_string(),
            call: Call::new(()),
        };
        let written = function::run(function, invocation)?;
        Ok(Outcome {
            update: parsed(function, &written.update)?,
            route: written.route,
        })
    }

    /// Calls the tool with this name.
    pub fn call(tool: &str, input: Value) -> Result<Value> {
        parsed(tool, &function::call(tool, input.to_string())?)
    }

    /// Runs the node function with this name on a state and a `config` as JSON text, of whose numbers no digit is lost.
    pub fn run_text(function: &str, state: &str, config: &str) -> Result<Outcome<String>> {
        let invocation = Invocation {
            state: state.to_owned(),
            config: config.to_owned(),
            call: Call::new(()),
        };
        let written = function::run(function, invocation)?;
        Ok(Outcome {
            update: written.update,
            route: written.route,
        })
    }

    /// Calls the tool with this name with JSON text.
    pub fn call_text(tool: &str, input: &str) -> Result<String> {
        function::call(tool, input.to_owned())
    }

    /// Sets the responses to requests that functions make on this thread.
    #[cfg(feature = "http")]
    pub fn answer_requests(
        answer: impl Fn(&crate::http::Request) -> Result<crate::http::Response> + 'static,
    ) {
        crate::http::guest::answer(Box::new(answer));
    }

    /// Sets the size of the pieces of response bodies, in bytes, for requests of this thread.
    #[cfg(feature = "http")]
    pub fn answer_in_pieces(bytes: usize) {
        crate::http::guest::in_pieces(bytes);
    }

    /// The chunks that functions emitted on this thread since the last call.
    pub fn emitted() -> Vec<Value> {
        let chunks = super::EMITTED.take().into_iter();
        chunks
            .map(|chunk| serde_json::from_str(&chunk).expect("a chunk is JSON"))
            .collect()
    }

    /// The plugin's description, as `{name, kind, summary, input, output, config, hints, routes}`.
    pub fn describe() -> Vec<Value> {
        let mut functions = function::all(true);
        functions.extend(function::all(false));
        functions.into_iter().map(describe_one).collect()
    }

    fn describe_one(function: &function::Function) -> Value {
        let schema = |text: &str| serde_json::from_str::<Value>(text).expect("a schema is JSON");
        serde_json::json!({
            "name": function.name,
            "kind": match function.body {
                function::Body::Node(_) => "node",
                function::Body::Tool(_) => "tool",
            },
            "summary": function.summary,
            "input": schema(&(function.input)()),
            "output": schema(&(function.output)()),
            "config": function.config.map(|config| schema(&config())),
            "hints": { "read_only": function.read_only, "idempotent": function.idempotent },
            "routes": function.routes,
        })
    }

    fn parsed(function: &str, text: &str) -> Result<Value> {
        serde_json::from_str(text)
            .map_err(|error| Error::permanent(format!("the result of `{function}` is not JSON: {error}")))
    }
}
