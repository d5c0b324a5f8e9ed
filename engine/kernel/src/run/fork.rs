//! A run that begins as another one was right after one of its steps.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};

use super::{ROOT, Refusal, Run, Signal, Snapshot, Status, apply::Fold, decide::Events, steer::failed_steps};
use crate::{
    event::{Event, EventRecord, FunctionRef},
    ids::{RunId, Timestamp},
};

impl Run {
    /// Begins a run as another one was right after a step, with some keys of its state set anew. Gives it
    /// with the events that began it, already applied. `of` is the other run as it was folded up to and
    /// with the event by which the step was over ([`Event::ends_step`]), or its first event for step 0.
    ///
    /// Calls that were under way are made again, and a step that failed for good is tried again: so a run
    /// that undid what it did can be forked from the step that failed. The fork is to undo what the other
    /// one had done up to there if it ends badly.
    ///
    /// # Errors
    /// A refusal where the other run was undoing then, or is over.
    pub fn fork(
        id: RunId,
        of: &Self,
        step: u64,
        edits: Object,
        now: Timestamp,
    ) -> Result<(Self, Vec<Arc<EventRecord>>), Refusal> {
        if of.status.is_over() || of.ending.is_some() {
            return Err(of.refusal("only what it was like before can be forked, so name an earlier step"));
        }
        let mut was = of.clone();
        was.paused = None;
        was.cancelling = None;
        was.journal_bytes = 0;
        // They come to this run once more, under numbers of its own.
        let signals = std::mem::take(&mut was.signals);
        let mut run = Self::empty(id, of.graph.clone(), of.graphs.clone(), now);
        run.max_state_bytes = of.max_state_bytes;
        run.max_journal_bytes = of.max_journal_bytes;
        run.max_run_bytes = of.max_run_bytes;
        let mut events = Events::new(&mut run, now);
        events.push(Event::RunForked {
            from: of.id,
            step,
            graph: of.graph.id.clone(),
            functions: (*of.functions).clone(),
            graphs: of.graph_ids(),
            edits,
            run: was.snapshot(),
        });
        for Signal { name, payload, wait } in signals.into_values() {
            events.push(Event::SignalReceived { name, payload, wait });
        }
        events.continue_from(&[], failed_steps(was.active_steps.iter()));
        events.advance();
        let records = events.into_records();
        Ok((run, records))
    }

    /// The fold of `RunForked`.
    pub(super) fn forked(
        &mut self,
        run: &Json,
        functions: &BTreeMap<Arc<str>, FunctionRef>,
        edits: &Object,
        at: Timestamp,
    ) -> Fold {
        let snapshot = Snapshot::read(run.get()).map_err(|error| error.to_string())?;
        let was = snapshot.restore(self.id, self.graph.clone(), self.graphs.clone());
        let was = was.map_err(|error| error.to_string())?;
        *self = Self {
            functions: Arc::new(functions.clone()),
            seq: self.seq,
            started_at: at,
            updated_at: at,
            max_state_bytes: self.max_state_bytes,
            journal_bytes: self.journal_bytes,
            max_journal_bytes: self.max_journal_bytes,
            max_run_bytes: self.max_run_bytes,
            memory: self.memory,
            ..was
        };
        let own = self.executions.get_mut(&ROOT);
        let own = own.filter(|_| self.status == Status::Running && self.ending.is_none());
        let own = own.ok_or("the other run was not under way")?;
        if let Some(parted) = &mut own.state_at_fork {
            parted.merge(edits);
        }
        for branch in &mut own.branches {
            for (key, value) in edits.iter() {
                branch.view.set(key, value);
            }
        }
        self.last.merge(edits);
        self.clear_failures(at)
    }
}
