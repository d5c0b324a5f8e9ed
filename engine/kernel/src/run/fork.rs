//! Forks: a run that starts from the state of another run after one of its steps.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::{Json, Object};

use super::{
    ROOT, Refusal, Run, Signal, Snapshot, Status, control::failed_steps, decide::Events, fold::Fold,
};
use crate::{
    event::{Event, EventRecord, FunctionRef},
    ids::{RunId, Timestamp},
};

impl Run {
    /// Starts a run from another run's state after a step, with some keys of the state changed. Returns the
    /// run with its first events, already applied. `of` is the other run, folded up to the event that ended
    /// the step ([`Event::ends_step`]), or up to its first event for step 0.
    ///
    /// Active calls are repeated, and a failed step runs again. So a run that compensated its
    /// steps can be forked from the step that failed. If the fork fails, it compensates the steps that it
    /// took over from the other run.
    ///
    /// # Errors
    /// The other run has ended, or was compensating at that step.
    pub fn fork(
        id: RunId,
        of: &Self,
        step: u64,
        edits: Object,
        now: Timestamp,
    ) -> Result<(Self, Vec<Arc<EventRecord>>), Refusal> {
        if of.status.is_over() || of.ending.is_some() {
            return Err(of.refusal("only an earlier state can be forked, so name an earlier step"));
        }
        let mut was = of.clone();
        was.paused = None;
        was.cancelling = None;
        was.journal_bytes = 0;
        // The fork records them again, with new event numbers.
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

    /// Folds `RunForked`.
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
        let own = own.ok_or("the other run was not active")?;
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
