//! One call of a function: what the guest is given, and what its answer becomes.

use std::{fmt::Write, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use heddle_json::{Json, Object, admit::admit, object};
use heddle_kernel::{Answer, Failure, FailureKind, FunctionKind, Outcome, Route};
use heddle_runtime::ports::{Call, ToolCall};
use heddle_schema::Misfit;
use sha2::{Digest, Sha256};

use crate::{
    contract::{self, Input, Invocation},
    failure::{Exceeded, NotDurable, TimeOver, not_durable, timeout, too_large, unusable},
    host::Inner,
    plain::Room,
    policy::{By, CallLimits, Narrowed, Rules},
    registry::Plugin,
    sandbox::{Frame, Ground, Link, Sandbox},
    shares::Taken,
};

/// From which length on an input is read on a thread of its own, so that it holds up no other run.
const LONG_INPUT: usize = 256 << 10;

/// What a tool is given, as text.
enum Given {
    /// The state of a run, in which more may stand than the tool takes.
    State(String),
    /// What somebody made for this tool.
    Input(String),
}

impl Inner {
    /// Calls a function as a node of a graph.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Result<Answer, Failure> {
        let now = self.registry.now();
        let (plugin, kind) = self.find(&now, &call.function)?;
        let narrowed = self.narrowed(&call)?;
        let limits = match &narrowed {
            Some(narrowed) => Arc::new(plugin.rules.limits.narrowed(&narrowed.limits)),
            None => plugin.rules.limits.clone(),
        };
        let contract = self.callable(plugin, &limits).await?;
        // Who waits for its node's turn takes no place of its plugin, and who waits for that none of the others.
        let _turn_of_node = match &narrowed {
            Some(narrowed) => narrowed.turn().await,
            None => None,
        };
        let _turn = plugin.rules.turn().await;
        let _place = self.places.take(&plugin.rules.shares.calls, 1).await;
        let _slots = self.slots(&contract, &plugin.rules, 1).await;
        let key = format!("{}-{}", call.run, call.step);
        let ground = Ground::open(call.durable);
        let frame = Frame {
            is_keyed: true,
            ground,
            ..self.frame(
                call.started_at,
                key.as_str().into(),
                (limits.clone(), call.timeout),
                Link::first(plugin, &call.function.function),
                call.sink,
                &plugin.rules,
            )
        };
        let name = call.function.to_string();
        let rules = match &narrowed {
            Some(narrowed) => narrowed.rules(&plugin.rules),
            None => plugin.rules.clone(),
        };
        // The runtime waited if the plugin was granted something when it asked.
        if rules.is_granted() {
            settle(&name, &frame).await?;
        }
        let function = call.function.function.as_ref().to_owned();
        let mut input = call.input.to_text();
        frame.memory.give(input.len());
        if kind == FunctionKind::Tool {
            let given = match call.mapped {
                true => Given::Input(input),
                false => Given::State(input),
            };
            let input = self.input(plugin, &name, &function, given, &frame).await?;
            let result = self
                .tool(&contract, &rules, &name, function, input, frame)
                .await?;
            return Ok(Answer::Result(result));
        }
        if call.mapped {
            input = self.check_input(plugin, &name, &function, input, &frame).await?;
        }
        let invocation = Invocation {
            function,
            state: input,
            config: call.config.get().to_owned(),
            run: call.run.to_string(),
            node: call.node.as_ref().to_owned(),
            step: call.step,
            attempt: call.attempt,
            key,
        };
        let answer = self
            .within(&name, &rules, frame, async |store| {
                contract.run(store, invocation).await
            })
            .await?;
        Ok(Answer::Outcome(self.outcome(&name, &limits, answer)?))
    }

    /// Calls a tool from outside of any run.
    pub(crate) async fn call_tool(self: &Arc<Self>, call: ToolCall) -> Result<Json, Failure> {
        let now = self.registry.now();
        let (plugin, kind) = self.find(&now, &call.function)?;
        if kind != FunctionKind::Tool {
            return Err(no_tool(&call.function.to_string()));
        }
        let limits = plugin.rules.limits.clone();
        let contract = self.callable(plugin, &limits).await?;
        let _turn = plugin.rules.turn().await;
        let _place = self.places.take(&plugin.rules.shares.calls, 1).await;
        let _slots = self.slots(&contract, &plugin.rules, 1).await;
        let input = call.input.get().to_owned();
        // The same tool with the same input draws the same randomness: there is no step to draw it from.
        let mut seed = String::with_capacity(64);
        let sum = Sha256::new()
            .chain_update(call.function.to_string())
            .chain_update("\0")
            .chain_update(&input);
        for byte in sum.finalize() {
            write!(seed, "{byte:02x}").expect("writing to a String does not fail");
        }
        let link = Link::first(plugin, &call.function.function);
        let frame = self.frame(
            call.started_at,
            seed.into(),
            (limits, None),
            link,
            call.sink,
            &plugin.rules,
        );
        frame.memory.give(input.len());
        let (name, function) = (
            call.function.to_string(),
            call.function.function.as_ref().to_owned(),
        );
        let input = self
            .input(plugin, &name, &function, Given::Input(input), &frame)
            .await?;
        self.tool(&contract, &plugin.rules, &name, function, input, frame)
            .await
    }

    /// Reads a tool's input: checked where somebody made it for the tool, and in any case where its
    /// functions have types, to which it is converted. What may take long has a thread for itself.
    async fn input(
        &self,
        plugin: &Plugin,
        name: &str,
        function: &str,
        given: Given,
        frame: &Frame,
    ) -> Result<Input, Failure> {
        let (text, is_state) = match given {
            Given::State(text) => (text, true),
            Given::Input(text) => (text, false),
        };
        if plugin.contract.plain().is_none() {
            return Ok(Input::Text(match is_state {
                true => text,
                false => self.check_input(plugin, name, function, text, frame).await?,
            }));
        }
        let room = self.room(&frame.limits);
        let is_long = text.len() > LONG_INPUT;
        let (contract, function) = (plugin.contract.clone(), function.to_owned());
        let read = move || match contract.plain() {
            Some(plain) => plain
                .read(&function, &text, is_state, room)
                .map(|(values, bytes)| Input::Values(values, bytes)),
            None => Ok(Input::Text(text)),
        };
        let read = match is_long {
            true => self.in_time(plugin, name, frame, read).await?,
            false => read(),
        };
        read.map_err(|misfit| misfits(name, &misfit))
    }

    /// Checks an input against the function's schema, and gives it back.
    async fn check_input(
        &self,
        plugin: &Plugin,
        name: &str,
        function: &str,
        input: String,
        frame: &Frame,
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
        let checked = self.in_time(plugin, name, frame, move || schema.check(&input).map(|()| input));
        checked.await?.map_err(|misfit| misfits(name, &misfit))
    }

    /// Looks at an input on a thread of the pool for inputs, for as long as the call may take.
    async fn in_time<T: Send + 'static>(
        &self,
        plugin: &Plugin,
        name: &str,
        frame: &Frame,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let looked = self.inputs.run(&plugin.info.name, look);
        match tokio::time::timeout_at(frame.deadline.into(), looked).await {
            Ok(Ok(looked)) => Ok(looked),
            Ok(Err(error)) => Err(Failure::new(
                FailureKind::Unavailable,
                format!("`{name}` was not called: its input could not be checked: {error}"),
            )),
            Err(_) => Err(timeout(name, &frame.time)),
        }
    }

    /// Waits for the slots that an instance needs beyond those that every call has.
    async fn slots(&self, contract: &contract::Contract, rules: &Rules, depth: usize) -> Option<Taken> {
        self.slots
            .take(&rules.shares, depth, contract.extra_slots())
            .await
    }

    /// What values may take up on their way in and out.
    fn room(&self, limits: &CallLimits) -> Room {
        Room {
            values: self.settings.value_bytes,
            result: limits.result.value,
        }
    }

    /// Calls a tool in a fresh instance.
    async fn tool(
        self: &Arc<Self>,
        contract: &contract::Contract,
        rules: &Arc<Rules>,
        name: &str,
        function: String,
        input: Input,
        frame: Frame,
    ) -> Result<Json, Failure> {
        let limits = frame.limits.clone();
        let room = self.room(&limits);
        let result = self
            .within(name, rules, frame, async |store| {
                contract.call(store, function, input, room).await
            })
            .await?;
        check_size(name, &limits, &result, 0)?;
        object::admit(&result).map_err(|error| unusable(name, "a result", error, &result))
    }

    fn outcome(&self, name: &str, limits: &CallLimits, answer: contract::Answer) -> Result<Outcome, Failure> {
        let contract::Answer { update, route } = answer;
        let named = match &route {
            Route::Goto(nodes) => nodes.iter().map(|node| node.len() + size_of::<String>()).sum(),
            _ => 0,
        };
        check_size(name, limits, &update, named)?;
        let update = Object::admit(&update).map_err(|error| unusable(name, "an update", error, &update))?;
        Ok(Outcome { update, route })
    }
}

/// Checks the size of an answer; `more` is what comes with it.
fn check_size(name: &str, limits: &CallLimits, text: &str, more: usize) -> Result<(), Failure> {
    let size = text.len() + more;
    match size <= limits.result.value {
        true => Ok(()),
        false => Err(too_large(name, size, &limits.result)),
    }
}

impl Sandbox {
    /// Calls a tool for the guest: by its name at this moment, in a fresh instance that has its
    /// own limits and grants, with the time and the output that the guest itself has.
    ///
    /// The outer error ends the guest: it has no time left either, or will not have been called.
    pub(crate) fn call_tool_by_name(
        &mut self,
        name: String,
        input: String,
    ) -> BoxFuture<'_, wasmtime::Result<Result<String, Failure>>> {
        Box::pin(async move {
            // The host holds the input for as long as the tool runs.
            let _charge = self.charge(name.len() + input.len()).await?;
            let host = self.host.clone();
            let frame = self.frame.nested();
            let (deadline, ground, output) = (frame.deadline, frame.ground.clone(), frame.output.clone());
            match host.nested(&name, input, frame).await {
                // Where it was the tool's own time that was over, its caller goes on.
                Err(failure) if failure.kind == FailureKind::Timeout && Instant::now() >= deadline => {
                    Err(TimeOver.into())
                }
                // What the tool wrote was too much for its caller.
                _ if output.exceeded().is_some() => Err(Exceeded.into()),
                Err(_) if ground.is_lost() => Err(NotDurable.into()),
                result => Ok(result.map(|result| result.get().to_owned())),
            }
        })
    }
}

impl Inner {
    async fn nested(self: &Arc<Self>, uses: &str, input: String, mut frame: Frame) -> Result<Json, Failure> {
        let limit = self.settings.call_depth;
        if frame.depth > limit {
            let message = format!(
                "`{uses}` was not called: calls are nested deeper than the limit of {limit} (call_depth): {}",
                frame.chain.shown()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        let now = self.registry.now();
        let (plugin, function) = now
            .find(uses)
            .map_err(|error| Failure::new(FailureKind::Unavailable, error.to_string()))?;
        let name = format!("{}/{}", plugin.info.name, function.name);
        if function.kind != FunctionKind::Tool {
            return Err(no_tool(&name));
        }
        let input = match admit(&input) {
            Ok(input) => input.into_owned(),
            Err(error) => {
                let message = format!("`{name}` was not called: its input cannot be used: {error}");
                return Err(Failure::new(FailureKind::InvalidInput, message));
            }
        };
        let function = function.name.as_ref().to_owned();
        self.enter(&mut frame, plugin, &function)?;
        let limits = frame.limits.clone();
        let contract = self.callable(plugin, &limits).await?;
        let slots = self.slots(&contract, &plugin.rules, frame.depth);
        let slots = tokio::time::timeout_at(frame.deadline.into(), slots).await;
        let _slots = slots.map_err(|_| timeout(&name, &frame.time))?;
        let input = self
            .input(plugin, &name, &function, Given::Input(input), &frame)
            .await?;
        if plugin.rules.is_granted() {
            settle(&name, &frame).await?;
        }
        self.tool(&contract, &plugin.rules, &name, function, input, frame)
            .await
    }

    /// Makes the place of a nested call that of its tool: with the limits of its own plugin, within the time
    /// and the output that its caller has left.
    fn enter(&self, frame: &mut Frame, plugin: &Plugin, function: &str) -> Result<(), Failure> {
        let name = &plugin.info.name;
        let link = Link {
            plugin: name.clone(),
            function: function.into(),
            caller: Some(frame.chain.clone()),
        };
        let limit = self.settings.call_repeats;
        let is_same = |other: &&Link| other.plugin == link.plugin && other.function == link.function;
        if link.all().filter(is_same).count() > limit {
            let message = format!(
                "`{name}/{function}` was not called: it would stand in one chain of calls more often than the limit \
                 of {limit} (call_repeats): {}",
                link.shown()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        let limits = &plugin.rules.limits;
        // The host's own limit began with the outermost call.
        if limits.time.by == By::Policy {
            let deadline = Instant::now() + limits.time.value;
            if deadline < frame.deadline {
                (frame.deadline, frame.time) = (deadline, limits.time);
            }
        }
        frame.output = frame.output.nested(limits);
        frame.limits = limits.clone();
        frame.chain = Arc::new(link);
        Ok(())
    }

    /// What the graph narrows for a call.
    fn narrowed(&self, call: &Call) -> Result<Option<Arc<Narrowed>>, Failure> {
        let Some(bounds) = &call.bounds else {
            return Ok(None);
        };
        self.narrowing.of(bounds).map(Some).map_err(|problem| {
            let message = format!(
                "`{}` was not called: what node `{}` narrows cannot be read: {problem}",
                call.function, call.node
            );
            Failure::new(FailureKind::Unavailable, message)
        })
    }
}

impl Link {
    /// A function that nobody's guest calls.
    fn first(plugin: &Plugin, function: &Arc<str>) -> Self {
        Self {
            plugin: plugin.info.name.clone(),
            function: function.clone(),
            caller: None,
        }
    }
}

/// Waits until all that the call follows from is durable: what it leads to may have an effect outside.
async fn settle(name: &str, frame: &Frame) -> Result<(), Failure> {
    match tokio::time::timeout_at(frame.deadline.into(), frame.ground.settle()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_durable(name)),
        Err(_) => Err(timeout(name, &frame.time)),
    }
}

/// The failure names the function and the problems, and has them as `{"problems": [{"pointer", "problem"}]}`
/// for programs.
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

fn no_tool(name: &str) -> Failure {
    let message = format!("`{name}` is a node function; only a tool can be called with an input of its own");
    Failure::new(FailureKind::Unavailable, message)
}
