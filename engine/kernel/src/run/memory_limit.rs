//! The limit for the memory of a run: the states of its branches, the items and results of its maps, its
//! signals, and the states of steps that it may have to compensate.
//!
//! Branches share values, so the memory is counted by walking the run, each shared value once. Between two
//! walks, added values are counted at their full size. The next walk comes when they are as large as the last
//! walk's result. So a step costs little, and the count is never below the real size.

use std::{collections::HashSet, fmt, mem::size_of, sync::Arc};

use heddle_json::{Json, Object};

use super::{
    ActiveStep, Branch, BranchPosition, Execution, ROOT, RetryPoint, Run, Signal, StepState, Undo, View,
    decide::Events,
    view::{Changes, Update},
};
use crate::{
    event::{Failure, FailureKind},
    graph::{self, Graph},
};

/// The least number of added bytes before the next walk.
const MIN_ADDED: usize = 64 << 10;
/// The memory of a key of an object besides its text and value, in bytes.
const KEY_BYTES: usize = 64;
/// The memory of a value besides its text, in bytes.
const VALUE_BYTES: usize = 32;

/// The memory of a run, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct MemoryCount {
    /// The result of the last walk.
    counted: usize,
    /// Added since the last walk.
    added: usize,
}

/// The time of the last walk is not a property of the run, so it is not shown.
impl fmt::Debug for MemoryCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl MemoryCount {
    pub(super) fn add(&mut self, bytes: usize) {
        self.added = self.added.saturating_add(bytes);
    }
}

impl Run {
    /// An upper bound for the memory of the run, in bytes. The real size is at least half of it, except for a
    /// few KiB.
    pub fn memory_bytes(&self) -> usize {
        self.memory.counted.saturating_add(self.memory.added)
    }

    /// Counts the memory of the run by a walk.
    pub fn recount_memory(&mut self) {
        let mut walk = Walk::default();
        walk.run(self);
        self.memory = MemoryCount {
            counted: walk.bytes,
            added: 0,
        };
    }

    /// Whether the run exceeds its memory limit; walks the run when necessary. Callers that fold events of a
    /// journal check this after each event.
    pub fn exceeds_memory_limit(&mut self) -> bool {
        let MemoryCount { counted, added } = self.memory;
        let limit = self.max_run_bytes;
        if added > counted.max(MIN_ADDED) || (self.memory_bytes() > limit && added > limit / 16) {
            self.recount_memory();
        }
        self.memory.counted > limit
    }

    /// Adds the values that merge policies computed, which no event contains.
    pub(super) fn count_merged_values(&mut self, graph: &Graph, state: &Object) {
        let folded = graph.policies.keys().filter_map(|key| state.get(key));
        self.memory.add(folded.map(|value| value.get().len()).sum());
    }
}

impl Events<'_> {
    /// Fails the run if it exceeds its memory limit.
    pub(super) fn check_memory(&mut self) {
        let exceeds_memory_limit = self.run.exceeds_memory_limit();
        let goes_on = !self.run.status.is_over() && self.run.ending.is_none() && !self.run.is_suspended();
        if !goes_on || !exceeds_memory_limit {
            return;
        }
        let limit = self.run.max_run_bytes;
        let message = format!(
            "the run holds {} bytes in its branches, its maps and the steps that it may have to compensate, more than its limit \
             of {limit} (max_run_bytes): have fewer branches or items active at a time, or keep large values outside of \
             the state",
            self.run.memory.counted
        );
        self.fail_run(Failure::new(FailureKind::Limit, message));
    }

    /// Fails the run as a whole, at a node where a branch is.
    pub(super) fn fail_run(&mut self, failure: Failure) {
        self.ready_maps.clear();
        let at = self.run.executions.get(&ROOT).and_then(Execution::at);
        let node = at.unwrap_or_else(|| graph::END.into());
        self.fail_execution(ROOT, &node, failure);
    }
}

/// Counts memory, each shared value, object and update once.
#[derive(Default)]
struct Walk {
    seen: HashSet<*const u8>,
    bytes: usize,
}

impl Walk {
    /// Whether the walk meets the value for the first time.
    fn is_new<T: ?Sized>(&mut self, shared: &Arc<T>) -> bool {
        self.seen.insert(Arc::as_ptr(shared).cast())
    }

    fn run(&mut self, run: &Run) {
        self.executions(run.executions.values());
        self.active_steps(run.active_steps.values());
        run.signals.values().for_each(|signal| self.signal(signal));
        run.undo.iter().for_each(|undo| self.undo(undo));
        self.object(&run.last);
        run.last_branches
            .iter()
            .for_each(|branch| self.object(&branch.changed));
        if let Some(retry_point) = &run.retry_point {
            let RetryPoint {
                executions,
                active_steps,
                signals,
                ..
            } = &**retry_point;
            self.executions(executions.values());
            self.active_steps(active_steps.values());
            signals.values().for_each(|signal| self.signal(signal));
        }
        let failure = run.error.iter().flat_map(|error| &error.data);
        failure.for_each(|data| self.value(data));
    }

    fn value(&mut self, value: &Json) {
        if self.is_new(value) {
            self.bytes += value.get().len() + VALUE_BYTES;
        }
    }

    fn object(&mut self, object: &Object) {
        if !self.seen.insert(object.address()) {
            return;
        }
        for (key, value) in object.iter() {
            self.bytes += key.len() + KEY_BYTES;
            self.value(value);
        }
    }

    fn view(&mut self, view: &View) {
        self.object(&view.state);
        if let Some(changes) = &view.changes
            && self.is_new(changes)
        {
            self.changes(changes);
        }
    }

    fn changes(&mut self, changes: &Changes) {
        for last in changes.values() {
            self.bytes += KEY_BYTES;
            let mut at = Some(last);
            while let Some(update) = at.filter(|update| self.is_new(update)) {
                self.bytes += size_of::<Update>();
                update.value.iter().for_each(|value| self.value(value));
                at = update.before.as_ref();
            }
        }
    }

    fn executions<'r>(&mut self, executions: impl Iterator<Item = &'r Execution>) {
        for execution in executions {
            self.bytes += size_of::<Execution>() + execution.branches.len() * size_of::<Branch>();
            self.object(&execution.input);
            execution
                .state_at_fork
                .iter()
                .for_each(|parted| self.object(parted));
            for branch in &execution.branches {
                self.view(&branch.view);
                if let BranchPosition::Before(_, Some(error)) = &branch.position {
                    self.value(error);
                }
            }
        }
    }

    fn active_steps<'r>(&mut self, active_steps: impl Iterator<Item = &'r ActiveStep>) {
        for active_step in active_steps {
            self.bytes += size_of::<ActiveStep>();
            active_step.error.iter().for_each(|error| self.value(error));
            active_step.undo.iter().for_each(|undo| self.undo(undo));
            if let StepState::Map(items) = &active_step.state {
                self.bytes += items.results.len() * size_of::<Option<Json>>();
                let keys = items.keys.iter().flat_map(|keys| keys.iter());
                self.bytes += keys.map(|key| key.len() + KEY_BYTES).sum::<usize>();
                items.all.iter().for_each(|item| self.value(item));
                items
                    .results
                    .iter()
                    .flatten()
                    .for_each(|result| self.value(result));
            }
        }
    }

    fn undo(&mut self, undo: &Undo) {
        self.bytes += size_of::<Undo>();
        self.view(&undo.view);
        self.object(&undo.input);
    }

    fn signal(&mut self, signal: &Signal) {
        self.bytes += signal.name.len() + KEY_BYTES;
        self.value(&signal.payload);
    }
}
