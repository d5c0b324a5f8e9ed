//! Sleeps and waits: how long a step sleeps, which signal it waits for, and how a wait is shown.

use std::sync::Arc;

use heddle_json::{Json, Object, object::kind_of};
use serde_json::Value;

use super::{ActiveStep, Execution, Outcome, Route, Run, StepState, call::Env, decide::Events};
use crate::{
    event::{Failure, FailureKind, WaitTexts},
    graph::{self, NodeAction, Sleep, Text, Wait},
    ids::Timestamp,
};

/// The longest prompt that an expression may give, in bytes.
const MAX_PROMPT_LEN: usize = 8 << 10;

/// What a step that begins waits for besides calls.
#[derive(Default)]
pub(super) struct WaitPlan {
    /// Until when it lasts, if time alone can end it.
    pub(super) until: Option<Timestamp>,
    /// What the expressions of a wait gave.
    pub(super) wait: Option<WaitTexts>,
    /// Set where an expression has no value, or one that does not fit: then the step fails at once.
    pub(super) problem: Option<Failure>,
}

/// A step that waits for a signal or for time to pass, as it is shown.
#[derive(Clone, Debug)]
pub struct ActiveWait {
    /// The step. A signal can name the wait by it.
    pub step: u64,
    /// The node.
    pub node: Arc<str>,
    /// The items of maps that it is within, the outermost first.
    pub items: Vec<MapItem>,
    /// Since when.
    pub since: Timestamp,
    /// The signal that it waits for; nothing where only time has to pass.
    pub signal: Option<Arc<str>>,
    /// What a person is asked.
    pub prompt: Option<Arc<str>>,
    /// The JSON Schema of the signal's payload.
    pub schema: Option<Json>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// One item of a map, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapItem {
    /// The node of the map.
    pub node: Arc<str>,
    /// The step of the map.
    pub of: u64,
    /// The item's place among the items, from 0.
    pub index: u32,
    /// Its key, where the map goes over an object.
    pub key: Option<Arc<str>>,
}

impl Events<'_> {
    /// A step that waited goes along its edges.
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

    /// What a step that begins waits for besides calls. `steps` counts the steps of its branch up to it.
    pub(super) fn wait_plan(
        &self,
        execution: &Execution,
        state: Object,
        steps: u64,
        does: &NodeAction,
    ) -> WaitPlan {
        let mut wait_plan = WaitPlan::default();
        let env = self.run.expression_env(state, &execution.input, steps);
        let read = match does {
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
    /// The steps under way that wait for a signal or for time to pass.
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

/// What the expressions of a wait give.
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
