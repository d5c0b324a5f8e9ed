//! Waits: for time, for signals, and for the items of a map.

use std::sync::Arc;

use heddle_json::{Json, Object, object::kind_of};
use serde_json::Value;

use super::{
    ActiveStep, BranchPosition, Execution, Items, Outcome, ROOT, Route, StepState, call::Env, decide::Events,
    outcome::check_depth,
};
use crate::{
    event::{Event, Failure, FailureKind, Item, WaitTexts},
    graph::{self, Map, NodeAction, Sleep, Text, Wait},
    ids::Timestamp,
};

/// The longest prompt that an expression may give, in bytes.
const MAX_PROMPT_LEN: usize = 8 << 10;

/// What a step that begins waits for besides calls.
#[derive(Default)]
pub(super) struct Opening {
    /// Until when it lasts, if time alone can end it.
    pub(super) until: Option<Timestamp>,
    /// What the expressions of a wait gave.
    pub(super) wait: Option<WaitTexts>,
    /// Set where an expression has no value, or one that does not fit: then the step fails at once.
    pub(super) problem: Option<Failure>,
}

impl Events<'_> {
    /// What is due goes on.
    pub(super) fn time_passed(&mut self) {
        if self.run.is_paused() {
            return;
        }
        if let Some(cancelling) = &self.run.cancelling {
            if cancelling.until <= self.now {
                self.give_up();
            }
            return;
        }
        let due: Vec<u64> = self
            .run
            .due
            .range(..=(self.now, u64::MAX))
            .map(|(_, step)| *step)
            .collect();
        for step in due {
            if step == ROOT {
                return self.out_of_time(ROOT);
            }
            // One that was due may have ended another.
            let Some(task) = self.run.active_steps.get(&step).cloned() else {
                continue;
            };
            if self.run.is_journal_full() {
                return;
            }
            match &task.doing {
                StepState::Pause(_) => {
                    self.again(step, &Opening::default());
                    self.open(step);
                }
                StepState::Sleep(_) => self.pass(step, &task, Object::default(), None, None),
                StepState::Signal(..) => self.timed_out(step, &task),
                StepState::Map(_) => self.go_on(step),
                StepState::Graph(_) => self.out_of_time(step),
                StepState::Call => {}
            }
        }
    }

    /// An execution took longer than it may.
    fn out_of_time(&mut self, number: u64) {
        let Some(execution) = self.run.executions.get(&number) else {
            return;
        };
        let ms = execution.graph.max_time_ms.unwrap_or_default();
        let at = execution.at();
        let what = if number == ROOT { "run" } else { "graph" };
        let message =
            format!("the {what} took longer than its limit of {ms} ms (`limits.time` in the graph)");
        let node = at.unwrap_or_else(|| graph::END.into());
        self.execution_failed(number, &node, Failure::new(FailureKind::TimeLimit, message));
    }

    fn timed_out(&mut self, step: u64, task: &ActiveStep) {
        let graph = self.run.graph_of(task).clone();
        let node = graph.node(task.node);
        let Some(place) = node.on_timeout else {
            let signal = self.run.awaited(task).map_or("", |(_, signal)| &**signal);
            let message = format!("no signal `{signal}` came to node `{}` in time", node.name);
            return self.failed(step, Failure::new(FailureKind::Timeout, message));
        };
        let next = self.next(&[place], task);
        self.push(Event::StepFinished {
            step,
            node: node.name.clone(),
            attempt: task.attempt,
            update: Object::default(),
            next,
            signal: None,
        });
        self.moved(task.within);
    }

    /// A step that waited goes along its edges.
    pub(super) fn pass(
        &mut self,
        step: u64,
        task: &ActiveStep,
        update: Object,
        result: Option<Json>,
        signal: Option<u64>,
    ) {
        let route = Route::Edges;
        if let Err(failure) = self.finish(step, task, Outcome { update, route }, result, signal) {
            self.failed(step, failure);
        }
    }

    /// What a step that begins waits for besides calls. `steps` counts the steps of its branch up to it.
    pub(super) fn opening(
        &self,
        execution: &Execution,
        state: Object,
        steps: u64,
        does: &NodeAction,
    ) -> Opening {
        let mut opening = Opening::default();
        let env = self.run.look(state, &execution.input, steps);
        let read = match does {
            NodeAction::Sleep(sleep) => self.until(&env, sleep).map(|until| {
                opening.until = Some(until);
            }),
            NodeAction::Wait(wait) => {
                opening.until = wait.timeout_ms.map(|ms| self.after(ms));
                wait_texts(&env, wait).map(|texts| opening.wait = texts)
            }
            _ => Ok(()),
        };
        if let Err(failure) = read {
            opening.until = Some(self.now);
            opening.problem = Some(failure);
        }
        opening
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

    pub(super) fn open_map(&mut self, step: u64, task: &ActiveStep, map: &Map) -> Result<(), Failure> {
        let items = self.run.env(task).evaluate(&map.over, "`map.over`")?;
        let wrong = |message: String| Failure::new(FailureKind::Expression, message);
        Items::read(&items).map_err(|problem| match kind_of(items.get()) {
            Some("an array" | "an object") => wrong(format!("{problem}: split the list")),
            kind => wrong(format!(
                "a map goes over a list or an object; `{}` gave {}",
                map.over.source(),
                kind.unwrap_or("nothing")
            )),
        })?;
        self.push(Event::MapStarted { step, items });
        self.more_items(step);
        Ok(())
    }

    /// Begins items of a map until as many are under way as may be.
    fn more_items(&mut self, step: u64) {
        let Some(task) = self.run.active_steps.get(&step).map(ActiveStep::place) else {
            return;
        };
        let at_once = match &self.run.graph_of(&task).node(task.node).action {
            NodeAction::Map(map) => map.at_once,
            _ => return,
        };
        // An item that fails at once may have ended the map.
        while let Some(StepState::Map(items)) = self.run.active_steps.get(&step).map(|task| &task.doing) {
            // A full journal fails the run when this returns.
            let is_full = self.run.is_journal_full();
            if is_full || items.open >= at_once || items.begun as usize >= items.all.len() {
                return;
            }
            let index = items.begun;
            self.enter_item(step, &task, index);
        }
    }

    /// An item's result, if all of them together are not too large for the state.
    pub(super) fn item_answered(&mut self, step: u64, item: Item, result: Json) -> Result<(), Failure> {
        let before = match self.run.active_steps.get(&item.of).map(|task| &task.doing) {
            Some(StepState::Map(items)) => items.bytes,
            _ => 0,
        };
        let (size, limit) = (before + result.get().len(), self.run.max_state_bytes);
        if size > limit {
            let message = format!(
                "with this item's result those of the map would take {size} bytes, more than the limit of the state, {limit} (max_state_bytes)"
            );
            return Err(Failure::new(FailureKind::Limit, message));
        }
        self.item_finished(step, item, Some(result));
        Ok(())
    }

    pub(super) fn item_finished(&mut self, step: u64, item: Item, result: Option<Json>) {
        let task = self.task(step);
        self.push(Event::ItemFinished {
            step,
            node: self.node_name(&task),
            item,
            attempt: task.attempt,
            result,
        });
        // Later, and not from here: ten thousand items that fail at once must not be as many calls deep.
        self.mapped.push(item.of);
    }

    /// Goes on with a map: with further items, or with what came of all of them.
    pub(super) fn go_on(&mut self, step: u64) {
        let Some(StepState::Map(items)) = self.run.active_steps.get(&step).map(|task| &task.doing) else {
            return;
        };
        if (items.begun as usize) < items.all.len() {
            return self.more_items(step);
        }
        if items.open > 0 {
            return;
        }
        let task = self.task(step);
        let graph = self.run.graph_of(&task).clone();
        let (StepState::Map(items), NodeAction::Map(map)) = (&task.doing, &graph.node(task.node).action)
        else {
            return;
        };
        let result = items.result(map.on_item_error);
        if let Err(failure) = check_depth("the list of the results", &result) {
            return self.failed(step, failure);
        }
        let mut update = Object::default();
        update.insert(map.into.clone(), result.clone());
        self.pass(step, &task, update, Some(result), None);
    }
}

impl Execution {
    /// The name of a node that a branch is at.
    pub(super) fn at(&self) -> Option<Arc<str>> {
        self.lines.iter().find_map(|line| match line.at {
            BranchPosition::Step(node) | BranchPosition::Before(node, _) => {
                Some(self.graph.node(node).name.clone())
            }
            BranchPosition::End => None,
        })
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
