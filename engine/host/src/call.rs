//! The three ways to call a function: as a node of a graph, as a tool from outside of any run, and as a tool of
//! another plugin.
//!
//! Each finds the plugin, waits for its permits, checks the input and runs the function in a fresh instance
//! ([`crate::instance`]).

use std::{fmt::Write, sync::Arc, time::Instant};

use futures_util::future::BoxFuture;
use heddle_json::{Json, admit::admit};
use heddle_kernel::{Answer, Failure, FailureKind, FunctionKind, event::FunctionRef};
use heddle_runtime::ports::{Call, ToolCall};
use sha2::{Digest, Sha256};

use crate::{
    contract::{Contract, types::Invocation},
    failure::{not_durable, timeout},
    fair_pool::PoolPermit,
    host::Inner,
    input::ToolInput,
    policy::{CallLimits, LimitSource, NodeBounds, Rules},
    registry::{Plugin, Snapshot},
    sandbox::{CallContext, ChainLink, Durability, ToolCaller},
};

impl Inner {
    /// Calls a function as a node of a graph.
    pub(crate) async fn call(self: &Arc<Self>, call: Call) -> Result<Answer, Failure> {
        let snapshot = self.registry.snapshot();
        let (plugin, kind) = self.find(&snapshot, &call.function)?;
        let bounds = self.node_bounds(&call)?;
        let limits = match &bounds {
            Some(bounds) => Arc::new(plugin.rules.limits.narrowed_to(&bounds.limits)),
            None => plugin.rules.limits.clone(),
        };
        let contract = self.contract_for(plugin, &limits).await?;
        // The order matters: a call that waits for its node's permit holds no permit of its plugin, and a call that
        // waits for its plugin's permit holds no slot that other plugins need.
        let _node_permit = match &bounds {
            Some(bounds) => bounds.concurrency.acquire().await,
            None => None,
        };
        let _plugin_permit = plugin.rules.concurrency.acquire().await;
        let _call_permit = self.calls.acquire(&plugin.rules.usage.calls, 1).await;
        let _slot_permit = self.slots(&contract, &plugin.rules, 1).await;
        let key = format!("{}-{}", call.run, call.step);
        let durability = Durability::pending(call.durable);
        let context = CallContext {
            is_keyed: true,
            durability,
            ..self.new_context(
                call.started_at,
                key.as_str().into(),
                (limits.clone(), call.timeout),
                ChainLink::first(plugin, &call.function.function),
                call.sink,
                &plugin.rules,
            )
        };
        let name = call.function.to_string();
        let rules = match &bounds {
            Some(bounds) => bounds.rules(&plugin.rules),
            None => plugin.rules.clone(),
        };
        // Returns at once, unless the plugin got its grants after the runtime checked them.
        if rules.is_granted() {
            wait_until_durable(&name, &context).await?;
        }
        let function = call.function.function.as_ref().to_owned();
        let mut input = call.input.to_text();
        context.memory.add_input(input.len());
        if kind == FunctionKind::Tool {
            let tool_input = match call.mapped {
                true => ToolInput::Input(input),
                false => ToolInput::State(input),
            };
            let input = self.input(plugin, &name, &function, tool_input, &context).await?;
            let result = self
                .tool(&contract, &rules, &name, function, input, context)
                .await?;
            return Ok(Answer::Result(result));
        }
        if call.mapped {
            input = self
                .check_input(plugin, &name, &function, input, &context)
                .await?;
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
            .run_instance(&name, &rules, context, async |store| {
                contract.run(store, invocation).await
            })
            .await?;
        Ok(Answer::Outcome(self.outcome(&name, &limits, answer)?))
    }

    /// Calls a tool from outside of any run.
    pub(crate) async fn call_tool(self: &Arc<Self>, call: ToolCall) -> Result<Json, Failure> {
        let snapshot = self.registry.snapshot();
        let (plugin, kind) = self.find(&snapshot, &call.function)?;
        if kind != FunctionKind::Tool {
            return Err(no_tool(&call.function.to_string()));
        }
        let limits = plugin.rules.limits.clone();
        let contract = self.contract_for(plugin, &limits).await?;
        let _plugin_permit = plugin.rules.concurrency.acquire().await;
        let _call_permit = self.calls.acquire(&plugin.rules.usage.calls, 1).await;
        let _slot_permit = self.slots(&contract, &plugin.rules, 1).await;
        let input = call.input.get().to_owned();
        // Without a step to seed the randomness, the same tool with the same input draws the same bytes.
        let mut seed = String::with_capacity(64);
        let sum = Sha256::new()
            .chain_update(call.function.to_string())
            .chain_update("\0")
            .chain_update(&input);
        for byte in sum.finalize() {
            write!(seed, "{byte:02x}").expect("writing to a String does not fail");
        }
        let link = ChainLink::first(plugin, &call.function.function);
        let context = self.new_context(
            call.started_at,
            seed.into(),
            (limits, None),
            link,
            call.sink,
            &plugin.rules,
        );
        context.memory.add_input(input.len());
        let (name, function) = (
            call.function.to_string(),
            call.function.function.as_ref().to_owned(),
        );
        let input = self
            .input(plugin, &name, &function, ToolInput::Input(input), &context)
            .await?;
        self.tool(&contract, &plugin.rules, &name, function, input, context)
            .await
    }

    /// Waits for the slots that an instance needs beyond those of every call.
    async fn slots(&self, contract: &Contract, rules: &Rules, depth: usize) -> Option<PoolPermit> {
        self.slots
            .acquire(&rules.usage, depth, contract.extra_slots())
            .await
    }

    /// Finds the plugin of a function that was resolved earlier, perhaps before a restart of the engine.
    fn find<'a>(
        &self,
        snapshot: &'a Snapshot,
        function: &FunctionRef,
    ) -> Result<(&'a Arc<Plugin>, FunctionKind), Failure> {
        let missing = |what: String| Failure::new(FailureKind::Unavailable, what);
        let plugin = snapshot.by_digest(&function.digest).ok_or_else(|| {
            let FunctionRef {
                digest,
                plugin,
                version,
                ..
            } = function;
            missing(format!(
                "plugin {plugin}@{version} (sha256 {digest}) is not registered"
            ))
        })?;
        match plugin.function(&function.function) {
            Some(info) => Ok((plugin, info.kind)),
            None => Err(missing(format!(
                "plugin {} has no function `{}`",
                function.plugin, function.function
            ))),
        }
    }

    /// The compiled component for calls with these limits. With a fuel limit the first call compiles it, which takes
    /// seconds and does not count as the call's time.
    async fn contract_for(
        self: &Arc<Self>,
        plugin: &Plugin,
        limits: &CallLimits,
    ) -> Result<Arc<Contract>, Failure> {
        if limits.fuel.is_none() {
            return Ok(plugin.contract.clone());
        }
        let counted = plugin.metered.get(&self.engines, &plugin.info.digest).await;
        counted.map_err(|problem| {
            let name = &plugin.info.name;
            let message = format!("plugin {name} cannot be called with a limit on fuel: {problem}");
            Failure::new(FailureKind::Unavailable, message)
        })
    }
}

impl ToolCaller for Inner {
    fn call_tool(
        self: Arc<Self>,
        name: String,
        input: String,
        context: CallContext,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        Box::pin(async move { self.nested(&name, input, context).await })
    }
}

impl Inner {
    async fn nested(
        self: &Arc<Self>,
        uses: &str,
        input: String,
        mut context: CallContext,
    ) -> Result<Json, Failure> {
        let limit = self.settings.call_depth;
        if context.depth > limit {
            let message = format!(
                "`{uses}` was not called: calls are nested deeper than the limit of {limit} (call_depth): {}",
                context.chain.shown()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        let snapshot = self.registry.snapshot();
        let (plugin, function) = snapshot
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
        self.enter(&mut context, plugin, &function)?;
        let limits = context.limits.clone();
        let contract = self.contract_for(plugin, &limits).await?;
        let slots = self.slots(&contract, &plugin.rules, context.depth);
        let slots = tokio::time::timeout_at(context.deadline.into(), slots).await;
        let _slot_permit = slots.map_err(|_| timeout(&name, &context.time))?;
        let input = self
            .input(plugin, &name, &function, ToolInput::Input(input), &context)
            .await?;
        if plugin.rules.is_granted() {
            wait_until_durable(&name, &context).await?;
        }
        self.tool(&contract, &plugin.rules, &name, function, input, context)
            .await
    }

    /// Gives the context of a nested call the limits of the tool's own plugin, within the time and the output that its
    /// caller has left.
    fn enter(&self, context: &mut CallContext, plugin: &Plugin, function: &str) -> Result<(), Failure> {
        let name = &plugin.info.name;
        let link = ChainLink {
            plugin: name.clone(),
            function: function.into(),
            caller: Some(context.chain.clone()),
        };
        let limit = self.settings.call_repeats;
        let is_same = |other: &&ChainLink| other.plugin == link.plugin && other.function == link.function;
        if link.all().filter(is_same).count() > limit {
            let message = format!(
                "`{name}/{function}` was not called: it would occur in one chain of calls more often than the limit \
                 of {limit} (call_repeats): {}",
                link.shown()
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        let limits = &plugin.rules.limits;
        // The host's own time limit started with the outermost call.
        if limits.time.source == LimitSource::Policy {
            let deadline = Instant::now() + limits.time.value;
            if deadline < context.deadline {
                (context.deadline, context.time) = (deadline, limits.time);
            }
        }
        context.output = context.output.nested(limits);
        context.limits = limits.clone();
        context.chain = Arc::new(link);
        Ok(())
    }

    /// The limits and grants that the node narrows.
    fn node_bounds(&self, call: &Call) -> Result<Option<Arc<NodeBounds>>, Failure> {
        let Some(bounds) = &call.bounds else {
            return Ok(None);
        };
        self.node_bounds.of(bounds).map(Some).map_err(|problem| {
            let message = format!(
                "`{}` was not called: the `limits` or `grants` of node `{}` are not valid: {problem}",
                call.function, call.node
            );
            Failure::new(FailureKind::Unavailable, message)
        })
    }
}

impl ChainLink {
    /// The first link of a chain: a function that no guest calls.
    fn first(plugin: &Plugin, function: &Arc<str>) -> Self {
        Self {
            plugin: plugin.info.name.clone(),
            function: function.clone(),
            caller: None,
        }
    }
}

/// Waits until everything that the call follows from is durable: the function that is called next may have side
/// effects.
async fn wait_until_durable(name: &str, context: &CallContext) -> Result<(), Failure> {
    match tokio::time::timeout_at(context.deadline.into(), context.durability.wait()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_durable(name)),
        Err(_) => Err(timeout(name, &context.time)),
    }
}

fn no_tool(name: &str) -> Failure {
    let message = format!("`{name}` is a node function; only a tool can be called directly");
    Failure::new(FailureKind::Unavailable, message)
}
