//! Reads and checks the input of a call. A large input is read on a thread for inputs, so that it delays no other run.

use heddle_json::object;
use heddle_kernel::{Failure, FailureKind};
use heddle_schema::Misfit;

use crate::{
    contract::types::Input, failure::timeout, host::Inner, plain::ValueLimits, policy::CallLimits,
    registry::Plugin, sandbox::CallContext,
};

/// An input of at least this many bytes is read on a thread for inputs.
const LONG_INPUT: usize = 256 << 10;

/// The input of a tool, as text.
pub(crate) enum ToolInput {
    /// The state of a run, which may have more keys than the tool has parameters.
    State(String),
    /// An input that a caller or a graph made for this tool. It must match the tool's schema.
    Input(String),
}

impl Inner {
    /// Reads a tool's input. An input that was made for the tool is checked against its schema; for typed functions
    /// every input is converted to values.
    pub(crate) async fn input(
        &self,
        plugin: &Plugin,
        name: &str,
        function: &str,
        given: ToolInput,
        context: &CallContext,
    ) -> Result<Input, Failure> {
        let (text, is_state) = match given {
            ToolInput::State(text) => (text, true),
            ToolInput::Input(text) => (text, false),
        };
        if plugin.contract.plain().is_none() {
            return Ok(Input::Text(match is_state {
                true => text,
                false => self.check_input(plugin, name, function, text, context).await?,
            }));
        }
        let room = self.room(&context.limits);
        let is_long = text.len() > LONG_INPUT;
        let (contract, function) = (plugin.contract.clone(), function.to_owned());
        let read = move || match contract.plain() {
            Some(plain) => plain
                .read(&function, &text, is_state, room)
                .map(|(values, bytes)| Input::Values(values, bytes)),
            None => Ok(Input::Text(text)),
        };
        let read = match is_long {
            true => self.on_input_thread(plugin, name, context, read).await?,
            false => read(),
        };
        read.map_err(|misfit| misfits(name, &misfit))
    }

    /// Checks an input against the function's schema, and returns the input.
    pub(crate) async fn check_input(
        &self,
        plugin: &Plugin,
        name: &str,
        function: &str,
        input: String,
        context: &CallContext,
    ) -> Result<String, Failure> {
        let Some(schema) = plugin.input(function) else {
            return Ok(input);
        };
        if !schema.is_long(input.len()) {
            return schema
                .check(&input)
                .map(|()| input)
                .map_err(|misfit| misfits(name, &misfit));
        }
        let schema = schema.clone();
        let checked = self.on_input_thread(plugin, name, context, move || {
            schema.check(&input).map(|()| input)
        });
        checked.await?.map_err(|misfit| misfits(name, &misfit))
    }

    /// Runs `work` on a thread for inputs, up to the call's deadline.
    async fn on_input_thread<T: Send + 'static>(
        &self,
        plugin: &Plugin,
        name: &str,
        context: &CallContext,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let done = self.input_threads.run(&plugin.info.name, work);
        match tokio::time::timeout_at(context.deadline.into(), done).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(Failure::new(
                FailureKind::Unavailable,
                format!("`{name}` was not called: its input could not be checked: {error}"),
            )),
            Err(_) => Err(timeout(name, &context.time)),
        }
    }

    /// How much memory the values of a call may take.
    pub(crate) fn room(&self, limits: &CallLimits) -> ValueLimits {
        ValueLimits {
            values: self.settings.value_bytes,
            result: limits.result.value,
        }
    }
}

/// A failure with the name of the function and the problems, which its data has as `{"problems": [{"pointer",
/// "problem"}]}`.
fn misfits(name: &str, misfit: &Misfit) -> Failure {
    let message = format!("`{name}` was not called: its input {misfit}");
    let mut failure = Failure::new(FailureKind::InvalidInput, message);
    if !misfit.problems.is_empty() {
        let problems = misfit.problems.iter();
        let problems: Vec<_> = problems
            .map(|(pointer, problem)| serde_json::json!({ "pointer": pointer, "problem": problem }))
            .collect();
        failure.data = Some(object::to_json(&serde_json::json!({ "problems": problems })));
    }
    failure
}
