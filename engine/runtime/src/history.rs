//! What a run was at any of its steps: to be shown, and for another run to go on from there.

use std::{ops::ControlFlow, sync::Arc};

use heddle_json::Object;
use heddle_kernel::{
    Event, EventRecord, Failure, Run, RunId, Timestamp, event::FailureAction, run::StepInput,
};

use crate::{
    answer::{ForgetError, RequestKey, StartError, StartedRun, StepError, StepView},
    engine::Engine,
    inner::Inner,
    load::{ALL, Loaded},
    ports::NewRun,
    requests::Keyed,
};

impl Engine {
    /// A step of a run, with the run's state right after it, or as it is now while the step is under way; step 0 is the
    /// run's beginning.
    ///
    /// # Errors
    /// Where there is no such run or step.
    pub async fn step(&self, id: RunId, step: u64) -> Result<StepView, StepError> {
        let past = match step {
            0 => self.inner.beginning(id).await?,
            step => self.inner.past_or_now(id, step).await?,
        };
        let (run, mut view) = (past.run, past.view);
        view.state = run.state();
        if !past.from_start {
            view.given = self.inner.given_to(id, step, view.attempts).await?;
        }
        Ok(view)
    }

    /// A run's state right after one of its steps, which is over; step 0 is the run's beginning.
    ///
    /// # Errors
    /// Where there is no such run or step, or the step is not over.
    pub async fn state_after(&self, id: RunId, step: u64) -> Result<Object, StepError> {
        Ok(self.inner.past(id, step).await?.run.state())
    }

    /// Starts a run that begins as another one was right after a step, with some keys of its state set
    /// anew; step 0 is its beginning.
    ///
    /// # Errors
    /// Where there is no such run or step, or the new one cannot be started.
    pub async fn fork(
        &self,
        id: RunId,
        step: u64,
        edits: Object,
        key: Option<RequestKey>,
    ) -> Result<StartedRun, StepError> {
        let inner = &self.inner;
        let claim = match inner.claim::<StepError>(None, key).await? {
            Keyed::Known(request) => return Ok(self.started(request.run)),
            Keyed::New(claim) => claim,
        };
        if inner.is_draining() {
            return Err(StartError::Draining.into());
        }
        let _in_use = inner.graphs_in_use.read().await;
        let row = inner.ports.journal.run(id).await?;
        let row = row.ok_or(StepError::NoSuchRun(id))?;
        let Past { run, .. } = inner.past(id, step).await?;
        let now = inner.ports.clock.now();
        let (mut run, events) = Run::fork(inner.ports.ids.run_id(), &run, step, edits, now)?;
        inner.settings.limit(&mut run);
        let (size, limit) = (run.state().size(), run.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit }.into());
        }
        inner.register_pinned(&run).await?;
        let begins = NewRun {
            graph: run.graph.id.clone(),
            created_at: now,
            priority: row.priority,
            group: row.group,
            origin: Some(format!("fork:{id}").into()),
        };
        Ok(self.begin(run, events, begins, claim).await?)
    }

    /// Forgets a run that is over, with all that belongs to it.
    ///
    /// # Errors
    /// Where there is no such run, or it is not over.
    pub async fn forget(&self, id: RunId) -> Result<(), ForgetError> {
        let inner = &self.inner;
        // Nobody has it go on meanwhile.
        let _alone = inner.live.alone(id).await;
        let row = inner.ports.journal.run(id).await?;
        let row = row.ok_or(ForgetError::NoSuchRun(id))?;
        let live = inner.live(id);
        let goes_on = live.is_some_and(|live| live.read(|run| !run.status.is_over()));
        if goes_on || !row.status.is_over() {
            return Err(ForgetError::NotOver(id));
        }
        match inner.ports.journal.forget(vec![id]).await? {
            0 => Err(ForgetError::NoSuchRun(id)),
            _ => Ok(()),
        }
    }
}

/// A run right after one of its steps, or as it is while the step is under way.
struct Past {
    run: Run,
    /// The step, without the state.
    view: StepView,
    /// Whether the beginning of the step's latest attempt was among the events that were read, so that it is known what
    /// the attempt was given.
    from_start: bool,
}

impl Inner {
    /// The run right after a step that is over.
    async fn past(&self, id: RunId, step: u64) -> Result<Past, StepError> {
        if step == 0 {
            return self.beginning(id).await;
        }
        let (run, search) = self.search(id, step).await?;
        search.found().ok_or_else(|| not_over(&run, step))
    }

    /// The same, or the run as it is now where the step is under way.
    async fn past_or_now(&self, id: RunId, step: u64) -> Result<Past, StepError> {
        let (run, search) = self.search(id, step).await?;
        match search.under_way(&run) {
            Some(now) => Ok(now),
            None => search.found().ok_or_else(|| not_over(&run, step)),
        }
    }

    /// Folds the run until the step is over. Answers the run as it is then.
    async fn search(&self, id: RunId, step: u64) -> Result<(Run, Search), StepError> {
        let from = self.before_end_of(id, step).await?;
        let mut search = Search::new(step, from.as_ref().map(|from| &from.run));
        let folded = self.fold(id, from, ALL, |run, event| search.see(run, event));
        let Loaded { run, .. } = folded.await?.ok_or(StepError::NoSuchRun(id))?;
        Ok((run, search))
    }

    async fn beginning(&self, id: RunId) -> Result<Past, StepError> {
        let loaded = self.load_to(id, 1).await?;
        let Loaded { run, .. } = loaded.ok_or(StepError::NoSuchRun(id))?;
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
        Ok(Past {
            run,
            view,
            from_start,
        })
    }

    /// What an attempt of a step was given: its expressions are evaluated again on the run as it was when the attempt
    /// began.
    async fn given_to(&self, id: RunId, step: u64, attempt: u32) -> Result<Option<StepInput>, StepError> {
        // A step that failed may be under way again later, so what is after its beginning is known by its attempt.
        let begins_later = |run: &Run| {
            let task = run.active_step(step);
            run.steps < step || task.is_some_and(|task| task.attempt < attempt)
        };
        let from = self.last_snapshot(id, begins_later).await?;
        let mut given = None;
        let folded = self.fold(id, from, ALL, |run, recorded| match &recorded.event {
            Event::StepStarted {
                step: began,
                attempt: number,
                ..
            } if (*began, *number) == (step, attempt) => {
                given = run.step_input(step);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        folded.await?;
        Ok(given.and_then(Result::ok))
    }

    /// The run at its last snapshot before the step was over; `None` where none was.
    async fn before_end_of(&self, id: RunId, step: u64) -> Result<Option<Loaded>, StepError> {
        self.last_snapshot(id, |run| run.steps < step || run.active_step(step).is_some())
            .await
    }

    /// The run at its last snapshot that is early enough; `None` where none is. What is too late stays so, so the
    /// snapshots are halved until it is found.
    async fn last_snapshot(
        &self,
        id: RunId,
        is_early: impl Fn(&Run) -> bool + Send,
    ) -> Result<Option<Loaded>, StepError> {
        let row = self.ports.journal.run(id).await?;
        let mut high = row.ok_or(StepError::NoSuchRun(id))?.last_seq;
        // Snapshots up to `low` need no look any more, nor those after `high`.
        let (mut low, mut found) = (0, None);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.restored(id, middle).await? {
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

/// Looks for the event by which a step was over, while its run is folded.
struct Search {
    step: u64,
    /// The latest attempt of the step.
    attempt: Option<Attempt>,
    under_way: bool,
    /// What that attempt was given, where its beginning was seen.
    given: Option<Option<StepInput>>,
    /// How that attempt failed, where it did.
    failure: Option<Failure>,
    /// Where it was over unless the run is retried.
    maybe: Option<Past>,
    past: Option<Past>,
}

struct Attempt {
    node: Arc<str>,
    number: u32,
    started_at: Timestamp,
}

impl Search {
    fn new(step: u64, run: Option<&Run>) -> Self {
        let mut search = Self {
            step,
            attempt: None,
            under_way: false,
            given: None,
            failure: None,
            maybe: None,
            past: None,
        };
        if let Some(run) = run {
            search.note(run);
        }
        search
    }

    /// Notes what the step is at. Answers whether it was under way before, and is not any more.
    fn note(&mut self, run: &Run) -> bool {
        let task = run.active_step(self.step);
        if let Some(task) = task
            && self
                .attempt
                .as_ref()
                .is_none_or(|known| known.number != task.attempt)
        {
            self.attempt = run.node_of(self.step).map(|node| Attempt {
                node,
                number: task.attempt,
                started_at: task.started_at,
            });
        }
        let was = std::mem::replace(&mut self.under_way, task.is_some());
        was && task.is_none()
    }

    fn see(&mut self, run: &Run, recorded: &EventRecord) -> ControlFlow<()> {
        let ended = self.note(run);
        match &recorded.event {
            Event::StepStarted { step, .. } if *step == self.step => {
                self.given = Some(run.step_input(self.step).and_then(Result::ok));
                (self.failure, self.maybe) = (None, None);
            }
            Event::RunRetried => self.maybe = None,
            Event::StepFailed {
                step, then, failure, ..
            } if *step == self.step => {
                self.failure = Some(failure.clone());
                if ended {
                    self.past = self.past(run, recorded, false, Object::default());
                } else if *then == FailureAction::Raise {
                    // What it is part of fails by the events that follow, and the step may go with that.
                    self.maybe = self.past(run, recorded, false, Object::default());
                }
            }
            // A run that failed may be retried: then the step is under way again.
            Event::RunFailed { .. } if ended => {
                let given_up = self.past(run, recorded, false, Object::default());
                self.maybe = self.maybe.take().or(given_up);
            }
            event if ended => {
                let (finished, update) = match event {
                    Event::StepFinished { step, update, .. } if *step == self.step => (true, update.clone()),
                    Event::ItemFinished { step, .. } => {
                        (*step == self.step && self.failure.is_none(), Object::default())
                    }
                    _ => (false, Object::default()),
                };
                let past = self.past(run, recorded, finished, update);
                self.past = self.maybe.take().or(past);
            }
            _ => {}
        }
        match &self.past {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// The step as it was over by this event.
    fn past(&self, run: &Run, recorded: &EventRecord, finished: bool, update: Object) -> Option<Past> {
        let mut past = self.at(run)?;
        past.view.finished = finished;
        past.view.failure = past.view.failure.filter(|_| !finished);
        past.view.seq = recorded.seq;
        past.view.finished_at = Some(recorded.at);
        past.view.update = update;
        Some(past)
    }

    /// The step as it is in this run, where it is under way.
    fn under_way(&self, run: &Run) -> Option<Past> {
        run.active_step(self.step)?;
        self.at(run)
    }

    /// The step's latest attempt, with the run.
    fn at(&self, run: &Run) -> Option<Past> {
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
        Some(Past {
            run: run.clone(),
            view,
            from_start: self.given.is_some(),
        })
    }

    fn found(self) -> Option<Past> {
        self.past.or(self.maybe)
    }
}

/// Why a step is not there as one that is over.
fn not_over(run: &Run, step: u64) -> StepError {
    StepError::NoSuchStep {
        run: run.id,
        step,
        steps: run.steps,
        what: match () {
            () if step > run.steps => "is none yet",
            () if run.active_step(step).is_some() => "is under way",
            () => "was over in the run that it was forked from",
        },
    }
}
