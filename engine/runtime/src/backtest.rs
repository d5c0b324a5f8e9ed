//! Backtests: runs a new version of a plugin on the recorded steps of runs, and reports different outcomes.
//!
//! A function of a plugin without grants depends only on its input, which follows from the journal. So a backtest repeats
//! each call with its recorded input, and the kernel decides what would follow from the new result.

use std::{collections::HashMap, sync::Arc};

use heddle_json::{Json, Object, object::to_json, tokens::same};
use heddle_kernel::{
    Event, EventRecord, Failure, FailureKind, Input, Level, Prepared, Run, RunId, decide,
    event::{Arm, FailureAction, FunctionRef, Next},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    errors::ImportError,
    ports::{AlreadyDurable, Call, Functions, PluginInfo, Sink},
    replay::Replay,
};

/// The result of a backtest.
#[derive(Debug, Default, Serialize)]
pub struct Backtest {
    /// The number of runs that were read.
    pub runs: usize,
    /// The number of attempts that were repeated.
    pub attempts: usize,
    /// The number of attempts that were not repeated, because the plugin had grants: these calls may have side effects.
    pub granted: usize,
    /// The attempts with a different outcome.
    pub differences: Vec<Difference>,
}

/// An attempt whose outcome is different with the new version.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// The run's id.
    pub run_id: RunId,
    /// The step's number.
    pub step: u64,
    /// The attempt's number.
    pub attempt: u32,
    /// The node's name.
    pub node: Arc<str>,
    /// The function's name.
    pub function: Arc<str>,
    /// The plugin's version that the run was pinned to.
    pub version: Arc<str>,
    /// The recorded outcome: `update` and `next`, `result`, or `failure`.
    pub recorded: Json,
    /// The outcome with the new version in the same form, or null if there is none.
    pub now: Json,
}

/// A call that has started in the replay and not ended.
struct ActiveCall {
    attempt: u32,
    call: Prepared,
}

impl Backtest {
    /// Repeats the calls of a plugin's functions that an [export](crate::Engine::export) contains, with this version of the
    /// plugin. `functions` must have it registered.
    ///
    /// # Errors
    /// If the export is malformed or truncated. The result keeps the differences that were found before.
    pub async fn run(
        &mut self,
        functions: &dyn Functions,
        plugin: &PluginInfo,
        export: &[u8],
    ) -> Result<(), ImportError> {
        let mut replay = Replay::open(export)?;
        let mut active: HashMap<u64, ActiveCall> = HashMap::new();
        self.runs += 1;
        while let Some(event) = replay.read()? {
            if let (Some((step, attempt)), Some(run)) = (outcome_of(&event.event), &replay.run)
                && let Some(ActiveCall { call, .. }) =
                    active.remove(&step).filter(|active| active.attempt == attempt)
            {
                self.repeat(functions, plugin, run, &event, (step, attempt), call)
                    .await;
            }
            replay.fold(&event)?;
            if let (Event::StepStarted { step, attempt, .. }, Some(run)) = (&event.event, &replay.run)
                && let Some(Ok(call)) = run.prepare(*step)
                && call.function.plugin == plugin.name
            {
                if call.function.granted {
                    self.granted += 1;
                } else {
                    let attempt = *attempt;
                    active.insert(*step, ActiveCall { attempt, call });
                }
            }
        }
        replay.check_end()
    }

    /// Repeats one call, and compares the outcome with the recorded one.
    async fn repeat(
        &mut self,
        functions: &dyn Functions,
        plugin: &PluginInfo,
        run: &Run,
        record: &EventRecord,
        (step, attempt): (u64, u32),
        call: Prepared,
    ) {
        self.attempts += 1;
        let (function, node) = (call.function.clone(), call.node.clone());
        let call = Prepared {
            function: FunctionRef {
                digest: plugin.digest.clone(),
                version: plugin.version.clone(),
                ..call.function
            },
            ..call
        };
        let (durable, sink) = (Arc::new(AlreadyDurable), Arc::new(DiscardSink));
        let result = functions.call(Call::new(call, run.id, (step, attempt), durable, sink));
        let answered = Input::Answered {
            step,
            attempt,
            result: result.await,
        };
        let before = Outcome::of(&record.event);
        let now = match decide(&mut run.clone(), answered, record.at) {
            Ok(decision) => decision
                .events
                .iter()
                .find(|event| outcome_of(&event.event) == Some((step, attempt)))
                .map_or_else(Outcome::default, |event| Outcome::of(&event.event)),
            Err(refusal) => {
                let failure = Failure::new(FailureKind::Unavailable, refusal.to_string());
                Outcome::failed(&failure, None)
            }
        };
        if !before.is_same(&now) {
            self.differences.push(Difference {
                run_id: run.id,
                step,
                attempt,
                node,
                function: function.function,
                version: function.version,
                recorded: before.json,
                now: now.json,
            });
        }
    }
}

/// The attempt whose outcome an event records.
fn outcome_of(event: &Event) -> Option<(u64, u32)> {
    match event {
        Event::StepFinished { step, attempt, .. }
        | Event::ItemFinished { step, attempt, .. }
        | Event::StepFailed { step, attempt, .. } => Some((*step, *attempt)),
        _ => None,
    }
}

/// The outcome of an attempt.
struct Outcome {
    /// The outcome as the result shows it.
    json: Json,
    /// The failure's kind, if the attempt failed.
    failed: Option<FailureKind>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            json: to_json(&()),
            failed: None,
        }
    }
}

impl Outcome {
    fn of(event: &Event) -> Self {
        #[derive(Serialize)]
        struct Finished<'e> {
            update: &'e Object,
            next: Vec<Arc<str>>,
        }
        #[derive(Serialize)]
        struct Item<'e> {
            result: Option<&'e RawValue>,
        }
        let json = match event {
            Event::StepFinished { update, next, .. } => {
                let next = targets(next);
                to_json(&Finished { update, next })
            }
            Event::ItemFinished { result, .. } => to_json(&Item {
                result: result.as_deref(),
            }),
            Event::StepFailed { failure, then, .. } => {
                let next = match then {
                    FailureAction::Goto(node) => Some(node),
                    _ => None,
                };
                return Self::failed(failure, next);
            }
            _ => return Self::default(),
        };
        Self { json, failed: None }
    }

    fn failed(failure: &Failure, next: Option<&Arc<str>>) -> Self {
        #[derive(Serialize)]
        struct Failed<'f> {
            failure: FailureJson<'f>,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<[&'f Arc<str>; 1]>,
        }
        #[derive(Serialize)]
        struct FailureJson<'f> {
            kind: FailureKind,
            message: &'f Arc<str>,
        }
        let Failure { kind, message, .. } = failure;
        Self {
            json: to_json(&Failed {
                failure: FailureJson { kind: *kind, message },
                next: next.map(|next| [next]),
            }),
            failed: Some(*kind),
        }
    }

    /// Whether two outcomes are the same. Failures are compared by kind, not by message.
    fn is_same(&self, other: &Self) -> bool {
        match (self.failed, other.failed) {
            (None, None) => same(&self.json, &other.json),
            (before, now) => before == now,
        }
    }
}

/// The nodes that a branch goes to, without the numbers of new branches.
fn targets(next: &Next) -> Vec<Arc<str>> {
    match next {
        Next::Node(node) => vec![node.clone()],
        Next::Fork(arms) => arms.iter().map(|Arm { to, .. }| to.clone()).collect(),
        Next::End => vec![heddle_kernel::graph::END.into()],
    }
}

/// Drops a function's output: a backtest does not compare it.
struct DiscardSink;

impl Sink for DiscardSink {
    fn log(&self, _: Level, _: &str) {}
    fn emit(&self, _: Json) {}
}
