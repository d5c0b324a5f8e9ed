//! Signals: which wait takes a signal, which signals are kept, and which are refused.
//!
//! A signal that names a wait is for that wait alone. Any other signal goes to the first active wait that
//! accepts it. If there is none, the signal is kept, and waits receive kept signals in the order in which they
//! were recorded.

use std::sync::Arc;

use heddle_expr::suggest::did_you_mean;
use heddle_json::{Json, Object};

use super::{ActiveStep, MAX_SIGNAL_BYTES, MAX_SIGNALS, Refusal, Run, Signal, StepState, decide::Events};
use crate::{
    event::Event,
    graph::{Graph, NodeAction, Wait},
};

impl Events<'_> {
    pub(super) fn signal(&mut self, name: Arc<str>, payload: Json, wait: Option<u64>) -> Result<(), Refusal> {
        if self.run.ending.is_some() || self.run.cancelling.is_some() {
            return Err(Refusal::Ending);
        }
        match wait {
            None => self.run.check_some_wait_accepts(&name, &payload)?,
            Some(step) => self.run.check_wait_accepts(step, &name, &payload)?,
        }
        let signal = Signal { name, payload, wait };
        self.run.journal_takes(signal.bytes())?;
        let at_once = !self.run.is_paused() && {
            let mut active_steps = self.run.active_steps.iter();
            active_steps.any(|(step, active_step)| self.run.accepts(*step, active_step, &signal))
        };
        if !at_once {
            self.run.check_signal_room(&signal)?;
        }
        let Signal { name, payload, wait } = signal;
        self.push(Event::SignalReceived { name, payload, wait });
        if !self.run.is_paused() {
            self.deliver_all();
        }
        Ok(())
    }

    /// Gives every waiting step the first signal that it accepts.
    pub(super) fn deliver_all(&mut self) {
        let waiting = self.run.active_steps.iter();
        let waiting = waiting.filter(|(_, active_step)| matches!(active_step.state, StepState::Signal(..)));
        for step in waiting.map(|(step, _)| *step).collect::<Vec<_>>() {
            if self.run.signals.is_empty() {
                return;
            }
            self.deliver(step);
        }
    }

    pub(super) fn deliver(&mut self, step: u64) {
        // An earlier step that took its signal may have ended this one.
        let Some(active_step) = self.run.active_steps.get(&step).cloned() else {
            return;
        };
        let Some((_, awaited)) = self.run.awaited(&active_step) else {
            return;
        };
        let awaited = awaited.clone();
        let fitting = || {
            let kept = self.run.signals.iter();
            kept.filter(|(_, signal)| self.run.accepts(step, &active_step, signal))
        };
        // A signal that names this wait goes first, since no other wait may take it.
        let named = fitting().find(|(_, signal)| signal.wait.is_some());
        let Some((seq, signal)) = named.or_else(|| fitting().next()) else {
            return;
        };
        let (seq, payload) = (*seq, signal.payload.clone());
        let update = match &self.run.graph_of(&active_step).node(active_step.node).output {
            Some(output) => self.output_update(&active_step, output, payload.clone()),
            None => {
                let mut update = Object::default();
                update.insert(awaited, payload.clone());
                Ok(update)
            }
        };
        match update {
            Ok(update) => self.finish_along_edges(step, &active_step, update, Some(payload), Some(seq)),
            Err(failure) => self.fail_step(step, failure),
        }
    }
}

impl Wait {
    /// The problems of a payload, each with a JSON pointer; a few at most.
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
    /// The wait of a step, and the name of its signal.
    pub(super) fn awaited<'r>(&'r self, active_step: &'r ActiveStep) -> Option<(&'r Wait, &'r Arc<str>)> {
        let StepState::Signal(_, texts) = &active_step.state else {
            return None;
        };
        let NodeAction::Wait(wait) = &self.graph_of(active_step).node(active_step.node).action else {
            return None;
        };
        let given = texts.as_ref().and_then(|texts| texts.signal.as_ref());
        Some((wait, given.or(wait.signal.plain())?))
    }

    /// Whether a step waits for this signal and accepts its payload.
    fn accepts(&self, step: u64, active_step: &ActiveStep, signal: &Signal) -> bool {
        let meant = signal.wait.is_none_or(|wait| wait == step);
        let awaited = self.awaited(active_step).filter(|_| meant);
        awaited.is_some_and(|(wait, name)| *name == signal.name && wait.problems(&signal.payload).is_empty())
    }

    /// Checks that some wait of the run's graphs accepts the signal. A wait whose signal name is an
    /// expression may accept any name.
    fn check_some_wait_accepts(&self, name: &Arc<str>, payload: &Json) -> Result<(), Refusal> {
        let graphs: Vec<&Arc<Graph>> = std::iter::once(&self.graph).chain(self.graphs.values()).collect();
        let waits = graphs
            .iter()
            .flat_map(|graph| &graph.nodes)
            .filter_map(|node| match &node.action {
                NodeAction::Wait(wait) => Some(wait),
                _ => None,
            });
        let mut problems = None;
        let mut names = Vec::new();
        for wait in waits {
            let plain = wait.signal.plain();
            if plain.is_none_or(|plain| plain == name) {
                match wait.problems(payload) {
                    found if found.is_empty() => return Ok(()),
                    found => problems = problems.or(Some(found)),
                }
            }
            names.extend(plain.map(|plain| &**plain));
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

    /// Checks that the wait of a step accepts the signal.
    fn check_wait_accepts(&self, step: u64, name: &Arc<str>, payload: &Json) -> Result<(), Refusal> {
        let no_such = |problem: String| Err(Refusal::NoSuchWait { wait: step, problem });
        let Some(active_step) = self.active_steps.get(&step) else {
            return match (1..=self.steps).contains(&step) {
                true => Err(Refusal::WaitOver {
                    wait: step,
                    problem: "it took a signal, timed out, or was stopped".to_owned(),
                }),
                false => no_such(format!("the run has begun {} steps", self.steps)),
            };
        };
        let node = &self.graph_of(active_step).node(active_step.node).name;
        let Some((wait, awaited)) = self.awaited(active_step) else {
            return no_such(format!(
                "the step with this number, at node `{node}`, waits for no signal"
            ));
        };
        if awaited != name {
            return no_such(format!(
                "the wait with this id, at node `{node}`, is for the signal `{awaited}`"
            ));
        }
        let problems = wait.problems(payload);
        if !problems.is_empty() {
            let name = name.clone();
            return Err(Refusal::Payload { name, problems });
        }
        // While the run is paused, waits take no signals.
        if self.signals.values().any(|signal| signal.wait == Some(step)) {
            return Err(Refusal::WaitOver {
                wait: step,
                problem: "a signal for it has come, which it takes when the run is resumed".to_owned(),
            });
        }
        Ok(())
    }

    /// Checks that the run has room to keep the signal.
    fn check_signal_room(&self, signal: &Signal) -> Result<(), Refusal> {
        if self.signals.len() >= MAX_SIGNALS {
            return Err(Refusal::TooManySignals);
        }
        let kept = self.signals.values().map(Signal::bytes).sum::<usize>();
        match signal.bytes() {
            bytes if kept + bytes <= MAX_SIGNAL_BYTES => Ok(()),
            bytes => Err(Refusal::SignalBytes { kept, bytes }),
        }
    }
}

impl Signal {
    fn bytes(&self) -> usize {
        self.name.len() + self.payload.get().len()
    }
}
