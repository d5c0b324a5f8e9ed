//! Reading a run: its newest snapshot, and the events after that.

use std::ops::ControlFlow;

use heddle_kernel::{EventRecord, Run, RunId, graph::Pins, run::Snapshot};

use crate::{
    answer::ReadError,
    inner::Inner,
    memory::Charge,
    outbox::Pace,
    ports::{RunSnapshot, StoreError},
};

/// How many events are read at once.
const FOLD_PAGE: u64 = 2_000;
/// Past the number of every event.
pub(crate) const ALL: u64 = i64::MAX as u64;

/// A run as its journal tells it.
pub(crate) struct Loaded {
    pub(crate) run: Run,
    /// How far it is from its next snapshot.
    pub(crate) pace: Pace,
    /// What the run is charged with until it goes on, or is dropped.
    charge: Option<Charge>,
}

/// How many runs are loaded at the same time: until one is, it is not known how much it holds.
pub(crate) const LOADS_AT_ONCE: usize = 8;

impl Inner {
    /// A run after its last durable event; `None` where there is no such run.
    pub(crate) async fn load(&self, id: RunId) -> Result<Option<Loaded>, ReadError> {
        self.load_to(id, ALL).await
    }

    /// A run after the event `until`, or its last one before.
    pub(crate) async fn load_to(&self, id: RunId, until: u64) -> Result<Option<Loaded>, ReadError> {
        let _turn = self.loads.acquire().await.expect("nobody closes this semaphore");
        let from = self.restored(id, until).await?;
        let mut loaded = self
            .fold(id, from, until, |_, _| ControlFlow::Continue(()))
            .await?;
        if let Some(loaded) = &mut loaded {
            loaded.charge = Some(self.memory.charge(loaded.run.memory_bytes()));
        }
        if loaded.is_none() && known(id, self.ports.journal.run(id).await)?.is_some() {
            return Err(damaged(id, "it has no events"));
        }
        Ok(loaded)
    }

    /// A run at its latest snapshot up to the event `until`. One that cannot be used is told and passed
    /// over: all of the run is in its events.
    pub(crate) async fn restored(&self, id: RunId, until: u64) -> Result<Option<Loaded>, ReadError> {
        let useless = |seq: Option<u64>, error: String| {
            tracing::warn!(run = %id, seq, %error, "a snapshot cannot be used: the run is read from its beginning");
            None
        };
        let snapshot = match self.ports.journal.snapshot(id, until).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(None),
            Err(StoreError::Damaged(error)) => return Ok(useless(None, error)),
            Err(error) => return Err(error.into()),
        };
        match self.restore(id, &snapshot).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(ReadError::Damaged { message, .. }) => Ok(useless(Some(snapshot.seq), message)),
            Err(error) => Err(error),
        }
    }

    async fn restore(&self, id: RunId, kept: &RunSnapshot) -> Result<Loaded, ReadError> {
        let text = kept.body.get();
        let snapshot = Snapshot::read(text).map_err(|error| damaged(id, error))?;
        if snapshot.seq != kept.seq {
            return Err(damaged(
                id,
                format!("it says that it is of event {}", snapshot.seq),
            ));
        }
        let pins = Pins {
            graph: &snapshot.graph,
            graphs: &snapshot.graphs,
            functions: &snapshot.functions,
        };
        let (graph, graphs) = self.kept_graphs(id, &pins).await?;
        let mut run = snapshot
            .restore(id, graph, graphs)
            .map_err(|error| damaged(id, error))?;
        self.settings.limit(&mut run);
        let pace = Pace::after_snapshot(text.len());
        let charge = None;
        Ok(Loaded { run, pace, charge })
    }

    /// Folds the events that follow, up to the event `until`, and shows each with the run right after it,
    /// until `see` has seen enough.
    pub(crate) async fn fold(
        &self,
        id: RunId,
        from: Option<Loaded>,
        until: u64,
        mut see: impl FnMut(&Run, &EventRecord) -> ControlFlow<()> + Send,
    ) -> Result<Option<Loaded>, ReadError> {
        let mut loaded = from;
        loop {
            let after = loaded.as_ref().map_or(0, |loaded| loaded.run.seq);
            let limit = FOLD_PAGE.min(until.saturating_sub(after));
            let page = self.ports.journal.events(id, after, limit as usize);
            let events = match limit {
                0 => Vec::new(),
                _ => known(id, page.await)?,
            };
            if events.is_empty() {
                if let Some(loaded) = &mut loaded {
                    loaded.run.recount_memory();
                }
                return Ok(loaded);
            }
            for event in events {
                let after = self.folded(id, loaded.take(), &event).await?;
                let enough = see(&after.run, &event).is_break();
                loaded = Some(after);
                if enough {
                    return Ok(loaded);
                }
            }
        }
    }

    /// The run after its next event.
    async fn folded(&self, id: RunId, run: Option<Loaded>, event: &EventRecord) -> Result<Loaded, ReadError> {
        // Most events name no graphs, and nothing is looked up for them.
        let graphs = match Pins::of(&event.event) {
            Some(pins) => Some(self.kept_graphs(id, &pins).await?),
            None => None,
        };
        let mut loaded = match (run, graphs) {
            (Some(mut loaded), graphs) => {
                if let Some((graph, graphs)) = graphs {
                    loaded.run.stage(graph, graphs);
                }
                loaded.run.fold(event).map_err(|error| damaged(id, error))?;
                loaded
            }
            (None, Some((graph, graphs))) => {
                let first = Run::from_first(id, graph, graphs, event);
                let mut run = first.map_err(|error| damaged(id, error))?;
                self.settings.limit(&mut run);
                let (pace, charge) = (Pace::default(), None);
                Loaded { run, pace, charge }
            }
            (None, None) => return Err(damaged(id, "the journal does not begin with the run's start")),
        };
        loaded.pace.count(&event.event);
        Ok(loaded)
    }
}

fn damaged(run: RunId, message: impl ToString) -> ReadError {
    let message = message.to_string();
    ReadError::Damaged { run, message }
}

/// What the store answered about one run: what it cannot read of it is the run's own trouble.
fn known<T>(run: RunId, answer: Result<T, StoreError>) -> Result<T, ReadError> {
    answer.map_err(|error| ReadError::from(error).of_run(run))
}
