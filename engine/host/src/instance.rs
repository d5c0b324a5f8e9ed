//! Runs one call in a fresh instance, and turns what ends the instance into a result or a failure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heddle_json::{Json, Object, object};
use heddle_kernel::{Failure, Outcome, Route, Timestamp};
use heddle_runtime::ports::{AlreadyDurable, Sink};

use crate::{
    contract::{
        self,
        types::{GuestError, Input},
    },
    failure::{self, too_large, unusable},
    host::Inner,
    lock::lock,
    output::Output,
    policy::{CallLimits, LimitSource, Rules},
    sandbox::{CallContext, ChainLink, Durability, Sandbox},
};

impl Inner {
    /// The context of an outermost call, whose time starts with it. It follows from nothing, and its seed is no
    /// idempotency key. `timeout` is the node's.
    pub(crate) fn new_context(
        &self,
        started_at: Timestamp,
        seed: Arc<str>,
        (limits, timeout): (Arc<CallLimits>, Option<Duration>),
        link: ChainLink,
        sink: Arc<dyn Sink>,
        rules: &Rules,
    ) -> CallContext {
        let time = limits.time.narrow(timeout, LimitSource::Timeout);
        CallContext {
            deadline: Instant::now() + time.value,
            time,
            chain: Arc::new(link),
            depth: 1,
            started_at,
            seed,
            is_keyed: false,
            called: 0,
            output: Output::new(sink, limits.clone(), self.settings.log_line_bytes),
            limits,
            memory: self.memory.begin(&rules.usage.memory),
            durability: Durability::durable(Arc::new(AlreadyDurable)),
        }
    }

    /// Calls a tool in a fresh instance.
    pub(crate) async fn tool(
        self: &Arc<Self>,
        contract: &contract::Contract,
        rules: &Arc<Rules>,
        name: &str,
        function: String,
        input: Input,
        context: CallContext,
    ) -> Result<Json, Failure> {
        let limits = context.limits.clone();
        let room = self.room(&limits);
        let result = self
            .run_instance(name, rules, context, async |store| {
                contract.call(store, function, input, room).await
            })
            .await?;
        check_size(name, &limits, &result, 0)?;
        object::admit(&result).map_err(|error| unusable(name, "a result", error, &result))
    }

    pub(crate) fn outcome(
        &self,
        name: &str,
        limits: &CallLimits,
        answer: contract::types::Answer,
    ) -> Result<Outcome, Failure> {
        let contract::types::Answer { update, route } = answer;
        let named = match &route {
            Route::Goto(nodes) => nodes.iter().map(|node| node.len() + size_of::<String>()).sum(),
            _ => 0,
        };
        check_size(name, limits, &update, named)?;
        let update = Object::admit(&update).map_err(|error| unusable(name, "an update", error, &update))?;
        Ok(Outcome { update, route })
    }

    /// Runs a call in a fresh sandbox, and turns whatever ends the call early into a failure.
    pub(crate) async fn run_instance<T>(
        self: &Arc<Self>,
        function: &str,
        rules: &Arc<Rules>,
        context: CallContext,
        call: impl AsyncFnOnce(&mut wasmtime::Store<Sandbox>) -> wasmtime::Result<Result<T, GuestError>>,
    ) -> Result<T, Failure> {
        let CallContext { deadline, time, .. } = context;
        let (limits, output, memory) = (
            context.limits.clone(),
            context.output.clone(),
            context.memory.clone(),
        );
        let engine = self.engines.for_limits(&limits);
        let guarded = async {
            let mut store = Sandbox::store(
                &engine.engine,
                self.clone(),
                self.resources.clone(),
                rules,
                context,
            );
            let answered = call(&mut store).await;
            if let Some(what) = output.exceeded() {
                // The limit was exceeded, even if the guest ignored the error.
                return Err(failure::exceeded(function, what));
            }
            let result = match answered {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => Err(failure::from_guest_error(error, &limits)),
                Err(error) => {
                    let mut lines = lock(&store.data().lines);
                    // An unfinished line may be the guest's last error line; exceeding a limit does not matter any
                    // more.
                    let _ = lines.flush();
                    let excerpt = lines.error_excerpt();
                    let refused = store.data().memory.refused;
                    Err(failure::from_error(
                        function,
                        &error,
                        excerpt.as_deref(),
                        refused,
                        &time,
                        &limits,
                    ))
                }
            };
            result.map_err(|failure| store.data().add_hint(failure))
        };
        let _ticking = engine.ticker.start_ticking();
        match tokio::time::timeout_at(deadline.into(), guarded).await {
            Ok(result) => result,
            Err(_) if memory.is_waiting() => Err(failure::no_memory_in_time(function, &time)),
            Err(_) => Err(failure::timeout(function, &time)),
        }
    }
}

/// Checks the size of a result; `more` bytes come with the text.
fn check_size(name: &str, limits: &CallLimits, text: &str, more: usize) -> Result<(), Failure> {
    let size = text.len() + more;
    match size <= limits.result.value {
        true => Ok(()),
        false => Err(too_large(name, size, &limits.result)),
    }
}
