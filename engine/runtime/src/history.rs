//! The past of a run: shows the run after any of its steps, and forks another run from there.

use std::{ops::ControlFlow, sync::Arc};

use heddle_json::Object;
use heddle_kernel::{
    Event, EventRecord, Failure, Run, RunId, Timestamp, event::FailureAction, run::StepInput,
};

use crate::{
    admission::AdmissionSlot,
    core::Core,
    engine::Engine,
    errors::{DeleteRunError, StartError, StepError},
    idempotency::KeyLookup,
    load::{LAST_EVENT, LoadedRun},
    ports::NewRun,
    results::{RequestKey, StepView},
    start::CreatedRun,
    started_run::StartedRun,
};

impl Engine {
    /// A step of a run, with the run's state after it, or the current state while the step is active. Step 0 is the run's
    /// start.
    ///
    /// # Errors
    /// If there is no such run or step.
    pub async fn step(&self, id: RunId, step: u64) -> Result<StepView, StepError> {
        let ended_step = match step {
            0 => self.core.run_start(id).await?,
            step => self.core.ended_or_active_step(id, step).await?,
        };
        let (run, mut view) = (ended_step.run, ended_step.view);
        view.state = run.state();
        if !ended_step.from_start {
            view.given = self.core.attempt_input(id, step, view.attempts).await?;
        }
        Ok(view)
    }

    /// A run's state after one of its ended steps. Step 0 is the run's start.
    ///
    /// # Errors
    /// If there is no such run or step, or the step has not ended.
    pub async fn state_after(&self, id: RunId, step: u64) -> Result<Object, StepError> {
        Ok(self.core.ended_step(id, step).await?.run.state())
    }

    /// Starts a run that continues from another run's state after a step, with the keys in `edits` replaced. Step 0 is that
    /// run's start.
    ///
    /// # Errors
    /// If there is no such run or step, or the new run cannot be started.
    pub async fn fork(
        &self,
        id: RunId,
        step: u64,
        edits: Object,
        key: Option<RequestKey>,
    ) -> Result<StartedRun, StepError> {
        let core = &self.core;
        let (keys, journal) = (&core.idempotency_keys, &*core.ports.store);
        let idempotency = match keys.claim::<StepError>(journal, None, key).await? {
            KeyLookup::Applied(request) => return Ok(StartedRun::replayed(self, request.run)),
            KeyLookup::New(idempotency) => idempotency,
        };
        if core.is_draining() {
            return Err(StartError::Draining.into());
        }
        let in_use = core.graphs_in_use.clone().read_owned().await;
        let row = core.ports.store.run(id).await?;
        let row = row.ok_or(StepError::NoSuchRun(id))?;
        let RunAtStep { run, .. } = core.ended_step(id, step).await?;
        let now = core.ports.clock.now();
        let (mut run, events) = Run::fork(core.ports.ids.run_id(), &run, step, edits, now)?;
        core.settings.limit(&mut run);
        let (size, limit) = (run.state().size(), run.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit }.into());
        }
        core.register_pinned_plugins(&run).await?;
        let row = NewRun {
            graph: run.graph.id.clone(),
            created_at: now,
            priority: row.priority,
            group: row.group,
            group_limit: run.graph.group.as_ref().map(|group| group.at_once),
            origin: Some(format!("fork:{id}").into()),
        };
        let slot = AdmissionSlot::vacant(row.group.clone());
        let created = CreatedRun {
            run,
            events,
            row,
            idempotency,
            in_use,
        };
        Ok(self.drive_created(created, slot).await?)
    }

    /// Deletes an ended run with everything that belongs to it.
    ///
    /// # Errors
    /// If there is no such run, or it has not ended.
    pub async fn delete_run(&self, id: RunId) -> Result<(), DeleteRunError> {
        let core = &self.core;
        // Locked, so that no command reopens the run meanwhile.
        let _lock = core.live_runs.lock(id).await;
        let row = core.ports.store.run(id).await?;
        let row = row.ok_or(DeleteRunError::NoSuchRun(id))?;
        let live = core.live(id);
        let is_active = live.is_some_and(|live| live.read(|run| !run.status.is_over()));
        if is_active || !row.status.is_over() {
            return Err(DeleteRunError::NotOver(id));
        }
        match core.ports.store.delete_runs(vec![id]).await? {
            0 => Err(DeleteRunError::NoSuchRun(id)),
            _ => Ok(()),
        }
    }
}

/// A run after one of its steps, or the current run while the step is active.
struct RunAtStep {
    run: Run,
    /// The step, without the state.
    view: StepView,
    /// Whether the events that were read include the start of the step's latest attempt, so that the attempt's input is
    /// known.
    from_start: bool,
}

impl Core {
    /// The run after an ended step.
    async fn ended_step(&self, id: RunId, step: u64) -> Result<RunAtStep, StepError> {
        if step == 0 {
            return self.run_start(id).await;
        }
        let (run, search) = self.search(id, step).await?;
        search.found().ok_or_else(|| not_over(&run, step))
    }

    /// The run after an ended step, or the current run while the step is active.
    async fn ended_or_active_step(&self, id: RunId, step: u64) -> Result<RunAtStep, StepError> {
        let (run, search) = self.search(id, step).await?;
        match search.active_step(&run) {
            Some(now) => Ok(now),
            None => search.found().ok_or_else(|| not_over(&run, step)),
        }
    }

    /// Folds the run until the step has ended. Returns the run at that event.
    async fn search(&self, id: RunId, step: u64) -> Result<(Run, StepSearch), StepError> {
        let from = self.before_end_of(id, step).await?;
        let mut search = StepSearch::new(step, from.as_ref().map(|from| &from.run));
        let folded = self.fold_events(id, from, LAST_EVENT, |run, event| search.visit(run, event));
        let LoadedRun { run, .. } = folded.await?.ok_or(StepError::NoSuchRun(id))?;
        Ok((run, search))
    }

    /// The run after its first event.
    async fn run_start(&self, id: RunId) -> Result<RunAtStep, StepError> {
        let loaded = self.load_until(id, 1).await?;
        let LoadedRun { run, .. } = loaded.ok_or(StepError::NoSuchRun(id))?;
        let view = StepView {
            step: 0,
            node: "".into(),
            attempts: 0,
            finished: true,
            given: None,
            failure: None,
            seq: run.seq,
            started_at: run.started_at,
            finished_at: Some(run.started_at),
            update: Object::default(),
            state: Object::default(),
        };
        let from_start = true;
        Ok(RunAtStep {
            run,
            view,
            from_start,
        })
    }

    /// The input of an attempt: evaluates the node's expressions again on the run's state at the start of the attempt.
    async fn attempt_input(
        &self,
        id: RunId,
        step: u64,
        attempt: u32,
    ) -> Result<Option<StepInput>, StepError> {
        // A failed step can become active again, so a state is before the attempt only if the attempt number is lower.
        let is_before_attempt = |run: &Run| {
            let active = run.active_step(step);
            run.steps < step || active.is_some_and(|active| active.attempt < attempt)
        };
        let from = self.last_snapshot(id, is_before_attempt).await?;
        let mut given = None;
        let folded = self.fold_events(id, from, LAST_EVENT, |run, record| match &record.event {
            Event::StepStarted {
                step: started,
                attempt: number,
                ..
            } if (*started, *number) == (step, attempt) => {
                given = run.step_input(step);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        folded.await?;
        Ok(given.and_then(Result::ok))
    }

    /// The run at its last snapshot before the step ended, if there is one.
    async fn before_end_of(&self, id: RunId, step: u64) -> Result<Option<LoadedRun>, StepError> {
        self.last_snapshot(id, |run| run.steps < step || run.active_step(step).is_some())
            .await
    }

    /// The run at its last snapshot that is early enough, if there is one. A binary search: all snapshots after one that is
    /// too late are too late as well.
    async fn last_snapshot(
        &self,
        id: RunId,
        is_early: impl Fn(&Run) -> bool + Send,
    ) -> Result<Option<LoadedRun>, StepError> {
        let row = self.ports.store.run(id).await?;
        let mut high = row.ok_or(StepError::NoSuchRun(id))?.last_seq;
        // The wanted snapshot is after `low` and not after `high`, or it is `found`.
        let (mut low, mut found) = (0, None);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.restore_snapshot(id, middle).await? {
                Some(loaded) if loaded.run.seq > low => {
                    if is_early(&loaded.run) {
                        (low, found) = (middle, Some(loaded));
                    } else {
                        high = loaded.run.seq - 1;
                    }
                }
                _ => low = middle,
            }
        }
        Ok(found)
    }
}

/// Searches for the event that ended a step while its run is folded.
struct StepSearch {
    step: u64,
    /// The latest attempt of the step.
    attempt: Option<Attempt>,
    is_active: bool,
    /// The input of that attempt, if the attempt's start was seen.
    given: Option<Option<StepInput>>,
    /// How that attempt failed.
    failure: Option<Failure>,
    /// The run where the step ended, unless the run was retried later.
    tentative: Option<RunAtStep>,
    /// The run after the last attempt of the step.
    ended_step: Option<RunAtStep>,
}

struct Attempt {
    node: Arc<str>,
    number: u32,
    started_at: Timestamp,
}

impl StepSearch {
    fn new(step: u64, run: Option<&Run>) -> Self {
        let mut search = Self {
            step,
            attempt: None,
            is_active: false,
            given: None,
            failure: None,
            tentative: None,
            ended_step: None,
        };
        if let Some(run) = run {
            search.note(run);
        }
        search
    }

    /// Notes the step's state. Returns whether the step was active before and has ended.
    fn note(&mut self, run: &Run) -> bool {
        let active = run.active_step(self.step);
        if let Some(active) = active
            && self
                .attempt
                .as_ref()
                .is_none_or(|known| known.number != active.attempt)
        {
            self.attempt = run.node_of(self.step).map(|node| Attempt {
                node,
                number: active.attempt,
                started_at: active.started_at,
            });
        }
        let was_active = std::mem::replace(&mut self.is_active, active.is_some());
        was_active && active.is_none()
    }

    /// Visits an event and the run after it. Breaks after the last attempt of the step.
    fn visit(&mut self, run: &Run, record: &EventRecord) -> ControlFlow<()> {
        let ended = self.note(run);
        match &record.event {
            Event::StepStarted { step, .. } if *step == self.step => {
                self.given = Some(run.step_input(self.step).and_then(Result::ok));
                (self.failure, self.tentative) = (None, None);
            }
            Event::RunRetried => self.tentative = None,
            Event::StepFailed {
                step, then, failure, ..
            } if *step == self.step => {
                self.failure = Some(failure.clone());
                if ended {
                    self.ended_step = self.ended_step(run, record, false, Object::default());
                } else if *then == FailureAction::Raise {
                    // The following events fail the map, graph or run that contains the step, and may end the step as well.
                    self.tentative = self.ended_step(run, record, false, Object::default());
                }
            }
            // A failed run may be retried: then the step is active again.
            Event::RunFailed { .. } if ended => {
                let cancelled = self.ended_step(run, record, false, Object::default());
                self.tentative = self.tentative.take().or(cancelled);
            }
            event if ended => {
                let (finished, update) = match event {
                    Event::StepFinished { step, update, .. } if *step == self.step => (true, update.clone()),
                    Event::ItemFinished { step, .. } => {
                        (*step == self.step && self.failure.is_none(), Object::default())
                    }
                    _ => (false, Object::default()),
                };
                let ended_step = self.ended_step(run, record, finished, update);
                self.ended_step = self.tentative.take().or(ended_step);
            }
            _ => {}
        }
        match &self.ended_step {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// The step as this event ended it.
    fn ended_step(
        &self,
        run: &Run,
        record: &EventRecord,
        finished: bool,
        update: Object,
    ) -> Option<RunAtStep> {
        let mut ended_step = self.at(run)?;
        ended_step.view.finished = finished;
        ended_step.view.failure = ended_step.view.failure.filter(|_| !finished);
        ended_step.view.seq = record.seq;
        ended_step.view.finished_at = Some(record.at);
        ended_step.view.update = update;
        Some(ended_step)
    }

    /// The step in this run, if it is active.
    fn active_step(&self, run: &Run) -> Option<RunAtStep> {
        run.active_step(self.step)?;
        self.at(run)
    }

    /// The step's latest attempt, with this run.
    fn at(&self, run: &Run) -> Option<RunAtStep> {
        let attempt = self.attempt.as_ref()?;
        let view = StepView {
            step: self.step,
            node: attempt.node.clone(),
            attempts: attempt.number,
            finished: false,
            given: self.given.clone().flatten(),
            failure: self.failure.clone(),
            seq: run.seq,
            started_at: attempt.started_at,
            finished_at: None,
            update: Object::default(),
            state: Object::default(),
        };
        Some(RunAtStep {
            run: run.clone(),
            view,
            from_start: self.given.is_some(),
        })
    }

    fn found(self) -> Option<RunAtStep> {
        self.ended_step.or(self.tentative)
    }
}

/// The error for a step that does not exist or has not ended.
fn not_over(run: &Run, step: u64) -> StepError {
    StepError::NoSuchStep {
        run: run.id,
        step,
        steps: run.steps,
        what: match () {
            () if step > run.steps => "has not started",
            () if run.active_step(step).is_some() => "is active",
            () => "ended in the run that this run was forked from",
        },
    }
}
