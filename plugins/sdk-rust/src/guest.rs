//! The plugin inside the engine: the component's exports, and its calls of the host.

use log::{LevelFilter, Log, Metadata, Record};

use crate::{
    Call, Error, Kind, Result, Route,
    function::{self, Function, Invocation},
};

// The generated code crosses the component's boundary by pointers, which only `unsafe` can do.
#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all
)]
mod bindings {
    wit_bindgen::generate!({
        world: "plugin",
        path: "../../wit/0.1.0",
    });
    export!(Plugin with_types_in self);
    struct Plugin;

    impl exports::heddle::plugin::node::Guest for Plugin {
        fn describe() -> Vec<heddle::plugin::types::Function> {
            super::describe(true)
        }

        fn run(
            call: heddle::plugin::types::Invocation,
        ) -> Result<heddle::plugin::types::Outcome, heddle::plugin::types::Failure> {
            super::run(call).map_err(super::to_failure)
        }
    }

    impl exports::heddle::plugin::tool::Guest for Plugin {
        fn describe() -> Vec<heddle::plugin::types::Function> {
            super::describe(false)
        }

        fn call(name: String, input: String) -> Result<String, heddle::plugin::types::Failure> {
            super::call(&name, input).map_err(super::to_failure)
        }
    }
}

use bindings::heddle::plugin::{host, types};

fn run(call: types::Invocation) -> Result<types::Outcome> {
    start();
    let types::Context {
        run_id,
        node,
        step,
        attempt,
        idempotency_key,
    } = call.context;
    let invocation = Invocation {
        state: call.state,
        config: call.config,
        call: Call {
            config: (),
            run_id,
            node,
            step,
            attempt,
            idempotency_key,
        },
    };
    let written = function::run(&call.function, invocation)?;
    let route = match written.route {
        Route::Edges => types::Route::Edges,
        Route::Again => types::Route::Again,
        Route::To(nodes) => types::Route::Goto(nodes),
        Route::End => types::Route::End,
    };
    Ok(types::Outcome {
        update: written.update,
        route,
    })
}

fn call(name: &str, input: String) -> Result<String> {
    start();
    function::call(name, input)
}

fn describe(nodes: bool) -> Vec<types::Function> {
    start();
    function::all(nodes)
        .into_iter()
        .map(|function| to_description(function, nodes))
        .collect()
}

fn to_description(function: &Function, is_node: bool) -> types::Function {
    let mut hints = types::Hints::empty();
    hints.set(types::Hints::READ_ONLY, function.read_only);
    hints.set(types::Hints::IDEMPOTENT, function.idempotent);
    types::Function {
        name: function.name.to_owned(),
        kind: if is_node {
            types::Kind::Node
        } else {
            types::Kind::Tool
        },
        summary: function.summary.to_owned(),
        input: (function.input)().into_owned(),
        output: (function.output)().into_owned(),
        config: function.config.map(|config| config().into_owned()),
        hints,
        routes: function.routes.iter().map(|&route| route.to_owned()).collect(),
    }
}

fn to_failure(error: Error) -> types::Failure {
    let inner = types::Error {
        message: error.message,
        data: error.data.map(|data| data.to_string()),
    };
    match error.kind {
        Kind::Retryable => types::Failure::Retryable(inner),
        Kind::Permanent => types::Failure::Permanent(inner),
        Kind::InvalidInput => types::Failure::InvalidInput(inner),
    }
}

fn from_failure(failure: types::Failure) -> Error {
    let (kind, inner) = match failure {
        types::Failure::Retryable(inner) => (Kind::Retryable, inner),
        types::Failure::Permanent(inner) => (Kind::Permanent, inner),
        types::Failure::InvalidInput(inner) => (Kind::InvalidInput, inner),
    };
    let data = inner
        .data
        .map(|text| serde_json::from_str(&text).unwrap_or(text.into()));
    Error {
        kind,
        message: inner.message,
        data,
    }
}

pub(crate) fn call_tool(name: &str, input: String) -> Result<String> {
    host::call_tool(name, &input).map_err(from_failure)
}

pub(crate) fn emit(chunk: String) {
    host::emit(&chunk);
}

/// Sends the plugin's log lines and panic messages to the host. Every call has an instance of
/// its own, so every call begins with this.
fn start() {
    if log::set_logger(&HostLog).is_ok() {
        log::set_max_level(LevelFilter::Trace);
        std::panic::set_hook(Box::new(|panic| {
            host::log(types::Level::Error, &panic.to_string());
        }));
    }
}

struct HostLog;

impl Log for HostLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            log::Level::Error => types::Level::Error,
            log::Level::Warn => types::Level::Warn,
            log::Level::Info => types::Level::Info,
            log::Level::Debug => types::Level::Debug,
            log::Level::Trace => types::Level::Trace,
        };
        match record.args().as_str() {
            Some(text) => host::log(level, text),
            None => host::log(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}
