//! Sleeps and waits: when a sleep ends, which signal a wait takes, and how a wait is shown.

use std::sync::Arc;

use heddle_json::{Json, Object, object::kind_of};
use serde_json::Value;

use super::{ActiveStep, Execution, Outcome, Route, Run, StepState, call::Env, decide::Events};
use crate::{
    event::{Failure, FailureKind, WaitTexts},
    graph::{self, NodeAction, Sleep, Text, Wait},
    ids::Timestamp,
};

/// The length limit of a prompt that an expression gives, in bytes.
const MAX_PROMPT_LEN: usize = 8 << 10;

/// The timer and the texts of a step that starts.
#[derive(Default)]
pub(super) struct WaitPlan {
    /// When the step's timer is due.
    pub(super) until: Option<Timestamp>,
    /// The values of the wait's expressions.
    pub(super) wait: Option<WaitTexts>,
    /// Set if an expression has no valid value: the step fails at once.
    pub(super) problem: Option<Failure>,
}

/// An active step that waits for a signal or a timer, as shown to clients.
#[derive(Clone, Debug)]
pub struct ActiveWait {
    /// The number of the step. A signal can name the wait by this number.
    pub step: u64,
    /// The name of the node.
    pub node: Arc<str>,
    /// The items of maps that the step belongs to, the outermost first.
    pub items: Vec<MapItem>,
    /// When the step started.
    pub since: Timestamp,
    /// The name of the signal; `None` if the step waits only for a timer.
    pub signal: Option<Arc<str>>,
    /// The prompt for the person who sends the signal.
    pub prompt: Option<Arc<str>>,
    /// The JSON Schema of the signal's payload.
    pub schema: Option<Json>,
    /// When the timer is due, if there is one.
    pub until: Option<Timestamp>,
}

/// An item of a map, as shown to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapItem {
    /// The name of the map's node.
    pub node: Arc<str>,
    /// The number of the map's step.
    pub of: u64,
    /// The position of the item, from 0.
    pub index: u32,
    /// The key of the item, if the map iterates over an object.
    pub key: Option<Arc<str>>,
}

impl Events<'_> {
    /// Finishes a step without an answer; its branch follows the node's edges.
    pub(super) fn finish_along_edges(
        &mut self,
        step: u64,
        active_step: &ActiveStep,
        update: Object,
        result: Option<Json>,
        signal: Option<u64>,
    ) {
        let route = Route::Edges;
        if let Err(failure) = self.finish(step, active_step, Outcome { update, route }, result, signal) {
            self.fail_step(step, failure);
        }
    }

    /// The timer and the texts of a step that starts. `steps` counts the steps on the path to it, itself
    /// included.
    pub(super) fn wait_plan(
        &self,
        execution: &Execution,
        state: Object,
        steps: u64,
        action: &NodeAction,
    ) -> WaitPlan {
        let mut wait_plan = WaitPlan::default();
        let env = self.run.expression_env(state, &execution.input, steps);
        let read = match action {
            NodeAction::Sleep(sleep) => self.until(&env, sleep).map(|until| {
                wait_plan.until = Some(until);
            }),
            NodeAction::Wait(wait) => {
                wait_plan.until = wait.timeout_ms.map(|ms| self.after(ms));
                wait_texts(&env, wait).map(|texts| wait_plan.wait = texts)
            }
            _ => Ok(()),
        };
        if let Err(failure) = read {
            wait_plan.until = Some(self.now);
            wait_plan.problem = Some(failure);
        }
        wait_plan
    }

    fn until(&self, env: &Env<'_>, sleep: &Sleep) -> Result<Timestamp, Failure> {
        let until = match sleep {
            Sleep::Ms(ms) => Ok(self.after(*ms)),
            Sleep::For(expr) => {
                let given = env.evaluate(expr, "`sleep.for`")?;
                let ms = graph::duration_of_json(&given);
                ms.map(|ms| self.after(ms)).map_err(|problem| ("for", problem))
            }
            Sleep::Until(expr) => {
                let given = env.evaluate(expr, "`sleep.until`")?;
                graph::moment_of_json(&given, self.now).map_err(|problem| ("until", problem))
            }
        };
        until.map_err(|(key, problem)| {
            Failure::new(FailureKind::Expression, format!("`sleep.{key}`: {problem}"))
        })
    }
}

impl Run {
    /// The active steps that wait for a signal or a timer.
    pub fn waits(&self) -> impl Iterator<Item = ActiveWait> + '_ {
        self.active_steps
            .iter()
            .filter_map(|(step, active_step)| self.waiting(*step, active_step))
    }

    fn waiting(&self, step: u64, active_step: &ActiveStep) -> Option<ActiveWait> {
        let node = self.graph_of(active_step).node(active_step.node);
        let mut waiting = ActiveWait {
            step,
            node: node.name.clone(),
            items: Vec::new(),
            since: active_step.started_at,
            signal: None,
            prompt: None,
            schema: None,
            until: active_step.until(),
        };
        match (&active_step.state, &node.action) {
            (StepState::Signal(_, texts), NodeAction::Wait(wait)) => {
                let prompt = texts.as_ref().and_then(|texts| texts.prompt.as_ref());
                waiting.signal = self.awaited(active_step).map(|(_, signal)| signal.clone());
                waiting.prompt = prompt.or(wait.prompt.as_ref().and_then(Text::plain)).cloned();
                waiting.schema = wait.schema.as_ref().map(|schema| schema.text.clone());
            }
            (StepState::Sleep(_) | StepState::Pause(_), _) => {}
            _ => return None,
        }
        waiting.items = self.items_around(active_step);
        Some(waiting)
    }

    /// The items of maps that a step is within, the outermost first.
    fn items_around(&self, active_step: &ActiveStep) -> Vec<MapItem> {
        let mut places = Vec::new();
        let mut at = active_step;
        loop {
            let above = match at.item {
                Some(item) => item.of,
                None => at.within,
            };
            let Some(outer) = self.active_steps.get(&above) else {
                break;
            };
            if let Some(item) = at.item {
                places.push(MapItem {
                    node: self.graph_of(outer).node(outer.node).name.clone(),
                    of: item.of,
                    index: item.index,
                    key: self.item_key(item).map(Arc::from),
                });
            }
            at = outer;
        }
        places.reverse();
        places
    }
}

/// Evaluates the expressions of a wait.
fn wait_texts(env: &Env<'_>, wait: &Wait) -> Result<Option<WaitTexts>, Failure> {
    let text = |text: &Text, what: &str, most: usize| match text {
        Text::Plain(_) => Ok(None),
        Text::Expr(expr) => {
            let given = env.evaluate(expr, what)?;
            let wrong = |message: String| Failure::new(FailureKind::Expression, format!("{what}: {message}"));
            match serde_json::from_str(given.get()) {
                Ok(Value::String(text)) if text.len() <= most => Ok(Some(text)),
                Ok(Value::String(text)) => Err(wrong(format!(
                    "the expression gave {} bytes, more than the limit of {most}",
                    text.len()
                ))),
                _ => Err(wrong(format!(
                    "expected a string, and the expression gave {}",
                    kind_of(given.get()).unwrap_or("nothing")
                ))),
            }
        }
    };
    let signal = text(&wait.signal, "`wait.signal`", graph::MAX_NAME_LEN)?;
    if let Some(problem) = signal.as_deref().and_then(graph::name_problem) {
        let message = format!("`wait.signal`: a signal's name {problem}");
        return Err(Failure::new(FailureKind::Expression, message));
    }
    let prompt = match &wait.prompt {
        Some(prompt) => text(prompt, "`wait.prompt`", MAX_PROMPT_LEN)?,
        None => None,
    };
    let texts = WaitTexts {
        signal: signal.map(Arc::from),
        prompt: prompt.map(Arc::from),
    };
    Ok((texts != WaitTexts::default()).then_some(texts))
}
