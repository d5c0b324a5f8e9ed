//! A new version of a plugin on the recorded steps of runs: what would be other.
//!
//! A function of a plugin without grants depends on nothing but what it is given, which the journal tells:
//! so a step is called again exactly as it was, and the kernel says what would follow from the new answer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use heddle_json::{Json, Object, object::to_json, tokens::same};
use heddle_kernel::{
    Event, EventRecord, Failure, FailureKind, Input, Level, Prepared, Run, RunId, decide,
    event::{Arm, FailureAction, FunctionRef, Next},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    answer::ImportError,
    ports::{Call, FollowsFromNothing, Functions, PluginInfo, Sink},
    replay::Replay,
};

/// What came of the steps of some runs.
#[derive(Debug, Default, Serialize)]
pub struct Backtest {
    /// How many runs were read.
    pub runs: usize,
    /// How many attempts of steps were made again.
    pub attempts: usize,
    /// How many were not, since the plugin was granted something then: they may have an effect.
    pub granted: usize,
    /// Those with another outcome.
    pub differences: Vec<Difference>,
}

/// An attempt of a step whose outcome would be another.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// The run.
    pub run_id: RunId,
    /// The step.
    pub step: u64,
    /// The attempt.
    pub attempt: u32,
    /// The node.
    pub node: Arc<str>,
    /// The function.
    pub function: Arc<str>,
    /// The version of the plugin that the run kept to.
    pub version: Arc<str>,
    /// What was recorded: `update` and `next`, `result`, or `failure`.
    pub recorded: Json,
    /// What the new version gives, in the same form; null where it gives nothing.
    pub now: Json,
}

/// A call under way in the replay.
struct Made {
    attempt: u32,
    call: Prepared,
}

impl Backtest {
    /// Makes the recorded calls of a plugin's functions again with this version of it, which `functions` has
    /// registered, as an [export](crate::Engine::export) tells them.
    ///
    /// # Errors
    /// Where the export is malformed, or cut off. What was found until then is kept.
    pub async fn run(
        &mut self,
        functions: &dyn Functions,
        plugin: &PluginInfo,
        export: &[u8],
    ) -> Result<(), ImportError> {
        let mut replay = Replay::open(export)?;
        let mut made: HashMap<u64, Made> = HashMap::new();
        self.runs += 1;
        while let Some(event) = replay.read()? {
            if let (Some((step, attempt)), Some(run)) = (outcome_of(&event.event), &replay.run)
                && let Some(Made { call, .. }) = made.remove(&step).filter(|made| made.attempt == attempt)
            {
                self.again(functions, plugin, run, &event, (step, attempt), call)
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
                    made.insert(*step, Made { attempt, call });
                }
            }
        }
        replay.check_end()
    }

    /// Makes one call again, and compares what would follow with what did.
    async fn again(
        &mut self,
        functions: &dyn Functions,
        plugin: &PluginInfo,
        run: &Run,
        recorded: &EventRecord,
        (step, attempt): (u64, u32),
        call: Prepared,
    ) {
        self.attempts += 1;
        let Prepared { function, node, .. } = call;
        let result = functions.call(Call {
            function: FunctionRef {
                digest: plugin.digest.clone(),
                version: plugin.version.clone(),
                ..function.clone()
            },
            input: call.input,
            mapped: call.mapped,
            config: call.config,
            run: run.id,
            node: node.clone(),
            step,
            attempt,
            timeout: call.timeout_ms.map(Duration::from_millis),
            bounds: call.bounds,
            started_at: call.started_at,
            durable: Arc::new(FollowsFromNothing),
            sink: Arc::new(Nobody),
        });
        let answered = Input::Answered {
            step,
            attempt,
            result: result.await,
        };
        let before = Outcome::of(&recorded.event);
        let now = match decide(&mut run.clone(), answered, recorded.at) {
            Ok(events) => events
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
                recorded: before.told,
                now: now.told,
            });
        }
    }
}

/// The attempt of which an event tells the outcome.
fn outcome_of(event: &Event) -> Option<(u64, u32)> {
    match event {
        Event::StepFinished { step, attempt, .. }
        | Event::ItemFinished { step, attempt, .. }
        | Event::StepFailed { step, attempt, .. } => Some((*step, *attempt)),
        _ => None,
    }
}

/// An outcome, as it is compared and shown.
struct Outcome {
    told: Json,
    failed: Option<FailureKind>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            told: to_json(&()),
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
        let told = match event {
            Event::StepFinished { update, next, .. } => {
                let next = places(next);
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
        Self { told, failed: None }
    }

    fn failed(failure: &Failure, next: Option<&Arc<str>>) -> Self {
        #[derive(Serialize)]
        struct Failed<'f> {
            failure: Said<'f>,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<[&'f Arc<str>; 1]>,
        }
        #[derive(Serialize)]
        struct Said<'f> {
            kind: FailureKind,
            message: &'f Arc<str>,
        }
        let Failure { kind, message, .. } = failure;
        Self {
            told: to_json(&Failed {
                failure: Said { kind: *kind, message },
                next: next.map(|next| [next]),
            }),
            failed: Some(*kind),
        }
    }

    /// Whether two outcomes are the same; of failures their kinds count, and not their words.
    fn is_same(&self, other: &Self) -> bool {
        match (self.failed, other.failed) {
            (None, None) => same(&self.told, &other.told),
            (before, now) => before == now,
        }
    }
}

/// Where a branch goes, without the numbers of new branches.
fn places(next: &Next) -> Vec<Arc<str>> {
    match next {
        Next::Node(node) => vec![node.clone()],
        Next::Fork(arms) => arms.iter().map(|Arm { to, .. }| to.clone()).collect(),
        Next::End => vec![heddle_kernel::graph::END.into()],
    }
}

/// What a function writes is not compared.
struct Nobody;

impl Sink for Nobody {
    fn log(&self, _: Level, _: &str) {}
    fn emit(&self, _: Json) {}
}
