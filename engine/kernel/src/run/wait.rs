//! Waits: for time, for signals, and for the items of a map.

use std::sync::Arc;

use serde_json::Value;

use super::{
    At, Doing, Execution, Items, MAX_ITEMS, MAX_SIGNALS, Outcome, ROOT, Refusal, Route, Run, Task,
    decide::Events,
};
use crate::{
    event::{Event, Failure, FailureKind, Item},
    graph::{self, Does, Graph, Map, Sleep, Wait, did_you_mean},
    ids::Timestamp,
    object::{Json, Object, kind_of},
};

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
            let Some(task) = self.run.tasks.get(&step).cloned() else {
                continue;
            };
            match &task.doing {
                Doing::Pause(_) => {
                    self.again(step, None);
                    self.open(step);
                }
                Doing::Sleep(_) => self.pass(step, &task, Object::default(), None, None),
                Doing::Signal(_) => self.timed_out(step, &task),
                Doing::Map(_) => self.go_on(step),
                Doing::Graph(_) => self.out_of_time(step),
                Doing::Call => {}
            }
        }
    }

    /// An execution took longer than it may.
    fn out_of_time(&mut self, number: u64) {
        let Some(execution) = self.run.executions.get(&number) else {
            return;
        };
        let ms = execution.graph.max_time_ms.unwrap_or_default();
        let at = execution.lines.iter().find_map(|line| match line.at {
            At::Step(node) | At::Before(node, _) => Some(execution.graph.node(node).name.clone()),
            At::End => None,
        });
        let what = if number == ROOT { "run" } else { "graph" };
        let message =
            format!("the {what} took longer than its limit of {ms} ms (`limits.time` in the graph)");
        let node = at.unwrap_or_else(|| graph::END.into());
        self.execution_failed(number, &node, Failure::new(FailureKind::TimeLimit, message));
    }

    fn timed_out(&mut self, step: u64, task: &Task) {
        let graph = self.run.graph_of(task).clone();
        let node = graph.node(task.node);
        let Some(place) = node.on_timeout else {
            let signal = match &node.does {
                Does::Wait(wait) => &*wait.signal,
                _ => "",
            };
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
    fn pass(&mut self, step: u64, task: &Task, update: Object, result: Option<Json>, signal: Option<u64>) {
        let route = Route::Edges;
        if let Err(failure) = self.finish(step, task, Outcome { update, route }, result, signal) {
            self.failed(step, failure);
        }
    }

    pub(super) fn signal(&mut self, name: Arc<str>, payload: Json) -> Result<(), Refusal> {
        if self.run.ending.is_some() || self.run.cancelling.is_some() {
            return Err(Refusal::Ending);
        }
        self.run.takes(&name, &payload)?;
        if self.run.signals.len() >= MAX_SIGNALS {
            return Err(Refusal::TooManySignals);
        }
        let signal = Event::SignalReceived {
            name: name.clone(),
            payload,
        };
        self.push(signal);
        if !self.run.is_paused() {
            self.deliver_all();
        }
        Ok(())
    }

    /// Gives every waiting step the first signal that it takes, if one is there.
    pub(super) fn deliver_all(&mut self) {
        let waiting = self.run.tasks.iter();
        let waiting = waiting.filter(|(_, task)| matches!(task.doing, Doing::Signal(_)));
        for step in waiting.map(|(step, _)| *step).collect::<Vec<_>>() {
            self.deliver(step);
        }
    }

    pub(super) fn deliver(&mut self, step: u64) {
        // One that took its signal may have ended another.
        let Some(task) = self.run.tasks.get(&step).cloned() else {
            return;
        };
        let graph = self.run.graph_of(&task).clone();
        let node = graph.node(task.node);
        let Does::Wait(wait) = &node.does else { return };
        let mut kept = self.run.signals.iter();
        let taken =
            kept.find(|(_, (name, payload))| *name == wait.signal && wait.problems(payload).is_empty());
        let Some((seq, (_, payload))) = taken else { return };
        let (seq, payload) = (*seq, payload.clone());
        let update = match &node.output {
            Some(output) => self.put(&task, output, payload.clone()),
            None => {
                let mut update = Object::default();
                update.insert(wait.signal.clone(), payload.clone());
                Ok(update)
            }
        };
        match update {
            Ok(update) => self.pass(step, &task, update, Some(payload), Some(seq)),
            Err(failure) => self.failed(step, failure),
        }
    }

    /// Until when a step that begins lasts, if time alone can end it. Where its expression has no value, it
    /// fails at once with what is given besides.
    pub(super) fn lasts(
        &self,
        execution: &Execution,
        state: Object,
        does: &Does,
    ) -> (Option<Timestamp>, Option<Failure>) {
        match self.until(execution, state, does) {
            Ok(until) => (until, None),
            Err(failure) => (Some(self.now), Some(failure)),
        }
    }

    fn until(&self, execution: &Execution, state: Object, does: &Does) -> Result<Option<Timestamp>, Failure> {
        let sleep = match does {
            Does::Wait(wait) => return Ok(wait.timeout_ms.map(|ms| self.after(ms))),
            Does::Sleep(sleep) => sleep,
            _ => return Ok(None),
        };
        let env = self.run.look(state, &execution.input);
        let (text, until) = match sleep {
            Sleep::Ms(ms) => return Ok(Some(self.after(*ms))),
            Sleep::For(expr) => {
                let text = env.evaluate(expr, "`sleep.for`")?;
                let ms = match serde_json::from_str(text.get()) {
                    Ok(Value::Number(seconds)) => {
                        seconds.as_f64().map(|seconds| (seconds * 1e3).max(0.0) as u64)
                    }
                    Ok(Value::String(text)) => graph::duration(&text).ok(),
                    _ => None,
                };
                (text, ms.map(|ms| self.after(ms.min(graph::MAX_DURATION_MS))))
            }
            Sleep::Until(expr) => {
                let text = env.evaluate(expr, "`sleep.until`")?;
                let at = match serde_json::from_str(text.get()) {
                    Ok(Value::Number(ms)) => ms.as_i64(),
                    Ok(Value::String(text)) => {
                        text.parse::<jiff::Timestamp>().ok().map(|at| at.as_millisecond())
                    }
                    _ => None,
                };
                (text, at.map(Timestamp))
            }
        };
        until.map(Some).ok_or_else(|| {
            let wanted = match sleep {
                Sleep::Until(_) => "a time as RFC 3339 has it, or milliseconds since 1970",
                _ => "seconds, or a duration such as \"10m\"",
            };
            let message = format!("a sleep needs {wanted}; the expression gave {}", text.get());
            Failure::new(FailureKind::Expression, message)
        })
    }

    pub(super) fn open_map(&mut self, step: u64, task: &Task, map: &Map) -> Result<(), Failure> {
        let items = self.run.env(task).evaluate(&map.over, "`map.over`")?;
        let wrong = |message: String| Failure::new(FailureKind::Expression, message);
        let read = Items::read(&items).map_err(|_| {
            let kind = kind_of(items.get()).unwrap_or("nothing");
            wrong(format!(
                "a map goes over a list or an object; `{}` gave {kind}",
                map.over.source()
            ))
        })?;
        if read.all.len() > MAX_ITEMS {
            return Err(wrong(format!(
                "{} items are more than a map's limit of {MAX_ITEMS}: split the list",
                read.all.len()
            )));
        }
        self.push(Event::MapStarted { step, items });
        self.more_items(step);
        Ok(())
    }

    /// Begins items of a map until as many are under way as may be.
    fn more_items(&mut self, step: u64) {
        let Some(task) = self.run.tasks.get(&step).map(Task::place) else {
            return;
        };
        let at_once = match &self.run.graph_of(&task).node(task.node).does {
            Does::Map(map) => map.at_once,
            _ => return,
        };
        // An item that fails at once may have ended the map.
        while let Some(Doing::Map(items)) = self.run.tasks.get(&step).map(|task| &task.doing) {
            if items.open >= at_once || items.begun as usize >= items.all.len() {
                return;
            }
            let index = items.begun;
            self.enter_item(step, &task, index);
        }
    }

    /// An item's result, if all of them together are not too large for the state.
    pub(super) fn item_answered(&mut self, step: u64, item: Item, result: Json) -> Result<(), Failure> {
        let before = match self.run.tasks.get(&item.of).map(|task| &task.doing) {
            Some(Doing::Map(items)) => items.bytes,
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
        let Some(Doing::Map(items)) = self.run.tasks.get(&step).map(|task| &task.doing) else {
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
        let (Doing::Map(items), Does::Map(map)) = (&task.doing, &graph.node(task.node).does) else {
            return;
        };
        let result = items.result(map.on_item_error);
        let mut update = Object::default();
        update.insert(map.into.clone(), result.clone());
        self.pass(step, &task, update, Some(result), None);
    }
}

impl Wait {
    /// What is wrong with a payload, each with a JSON pointer; a few at most.
    fn problems(&self, payload: &Json) -> Vec<(String, String)> {
        let schema = self.schema.as_ref();
        match schema.and_then(|of| of.schema.check(payload.get()).err()) {
            None => Vec::new(),
            Some(misfit) if misfit.problems.is_empty() => vec![(String::new(), misfit.message)],
            Some(misfit) => misfit.problems,
        }
    }
}

impl Run {
    /// Whether some wait of the run's graphs takes such a signal.
    fn takes(&self, name: &Arc<str>, payload: &Json) -> Result<(), Refusal> {
        let graphs: Vec<&Arc<Graph>> = std::iter::once(&self.graph).chain(self.graphs.values()).collect();
        let waits = graphs
            .iter()
            .flat_map(|graph| &graph.nodes)
            .filter_map(|node| match &node.does {
                Does::Wait(wait) => Some(wait),
                _ => None,
            });
        let mut problems = None;
        let mut names = Vec::new();
        for wait in waits {
            if wait.signal == *name {
                match wait.problems(payload) {
                    found if found.is_empty() => return Ok(()),
                    found => problems = problems.or(Some(found)),
                }
            }
            names.push(&*wait.signal);
        }
        let name = name.clone();
        Err(match problems {
            Some(problems) => Refusal::Payload { name, problems },
            None => Refusal::NoSuchSignal {
                hint: match names.is_empty() {
                    true => ": it has no `wait`".to_owned(),
                    false => did_you_mean(&name, names.into_iter()),
                },
                name,
            },
        })
    }
}
