//! Loading a run: from its row, snapshot, events and graphs in the store to a driver that continues it.
//!
//! 1. [`Core::load`] restores the latest snapshot, or starts with the run's first event.
//! 2. It folds the events after the snapshot, with the graphs that the events name ([`Core::pinned_graphs`]).
//! 3. [`Core::load_and_drive`] also registers the plugins that the run is pinned to, and starts a driver.

use std::{collections::HashMap, ops::ControlFlow, sync::Arc};

use heddle_kernel::{
    EventRecord, Graph, GraphId, Input, Refusal, Run, RunId, Status,
    graph::Pins,
    run::{NamedGraphs, Snapshot},
};

use crate::{
    admission::AdmissionSlot,
    append_buffer::AppendBuffer,
    core::Core,
    driver::spawn_driver,
    errors::summary,
    live_run::LiveRun,
    memory_budget::MemoryCharge,
    ports::{ReadError, RunSnapshot, StoreError},
    snapshot_policy::SnapshotPolicy,
};

/// How many events are read at once.
const PAGE_LEN: u64 = 2_000;
/// A number above the number of every event.
pub(crate) const LAST_EVENT: u64 = i64::MAX as u64;

/// A run that was read from the store.
pub(crate) struct LoadedRun {
    pub(crate) run: Run,
    pub(crate) snapshot_policy: SnapshotPolicy,
    /// The run's memory charge until a driver takes the run over.
    charge: Option<MemoryCharge>,
}

impl Core {
    /// The live run with this id; loads the run and starts a driver if it is not in memory. `None` if there is no such
    /// run, or it has ended. A queued run is loaded, and starts only when admission lets it.
    pub(crate) async fn load_and_drive(
        self: &Arc<Self>,
        id: RunId,
    ) -> Result<Option<Arc<LiveRun>>, ReadError> {
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        self.load_unless_live(id).await.map_err(|error| error.of_run(id))
    }

    async fn load_unless_live(self: &Arc<Self>, id: RunId) -> Result<Option<Arc<LiveRun>>, ReadError> {
        let _lock = self.live_runs.lock(id).await;
        if let Some(live) = self.live(id) {
            return Ok(Some(live));
        }
        self.check_memory()?;
        let Some(loaded) = self.load(id).await?.filter(|loaded| !loaded.run.status.is_over()) else {
            return Ok(None);
        };
        // Other runs may have been loaded while this one waited.
        self.check_memory()?;
        self.register_pinned_plugins(&loaded.run).await?;
        let status = loaded.run.shown_status();
        let slot = self.slot_of(id, status).await?;
        let input = (status != Status::Queued).then_some(Input::Activate);
        let (live, _) = self
            .drive_loaded(loaded, input, slot)
            .expect("every unfinished run accepts this input");
        Ok(Some(live))
    }

    /// Starts a driver for a loaded run, with `input` as its first input. Returns the number of the last event that the
    /// input caused.
    pub(crate) fn drive_loaded(
        self: &Arc<Self>,
        loaded: LoadedRun,
        input: Option<Input>,
        slot: AdmissionSlot,
    ) -> Result<(Arc<LiveRun>, u64), Refusal> {
        let LoadedRun {
            run,
            snapshot_policy,
            charge: _charge,
        } = loaded;
        let mut buffer = AppendBuffer::for_loaded_run(&run, snapshot_policy);
        let durable = run.seq;
        let live = Arc::new(LiveRun::new(run, durable, &[], &self.memory));
        if let Some(input) = input {
            let (decision, ()) = live.decide(input, self.ports.clock.now(), |_| ())?;
            // The driver makes all pending calls.
            buffer.add(decision.events);
        }
        live.update_slot(|of_live| *of_live = slot);
        let (last, status) = live.read(|run| (run.seq, run.shown_status()));
        if status == Status::Running {
            self.admission.acquire(&live);
        }
        self.live_runs.insert(&live);
        spawn_driver(self, live.clone(), buffer);
        Ok((live, last))
    }

    /// # Errors
    /// If the runs in memory have reached their limit.
    pub(crate) fn check_memory(&self) -> Result<(), ReadError> {
        match self.memory.is_over() {
            false => Ok(()),
            true => Err(self.out_of_memory()),
        }
    }

    /// The error of a run that is not loaded because of the memory limit.
    pub(crate) fn out_of_memory(&self) -> ReadError {
        let limit = self.memory.limit();
        ReadError::Busy { limit }
    }

    /// The admission slot of a run that was loaded with this status.
    pub(crate) async fn slot_of(&self, run: RunId, status: Status) -> Result<AdmissionSlot, StoreError> {
        let slot = AdmissionSlot::of_loaded(status);
        // If no group has active runs, this active run has no group.
        if slot.is_counted() && !self.admission.has_groups() {
            return Ok(slot);
        }
        let row = self.ports.store.run(run).await?;
        Ok(match row {
            Some(row) => slot.with(row.priority, row.group),
            None => slot,
        })
    }

    /// Registers the plugins that a run is pinned to.
    pub(crate) async fn register_pinned_plugins(&self, run: &Run) -> Result<(), StoreError> {
        for function in run.functions.values() {
            if self.ports.functions.has(&function.digest) {
                continue;
            }
            // A step that calls a missing plugin fails with a specific error.
            if let Some(error) = self.register_exact(function).await? {
                let plugin = &function.plugin;
                tracing::error!(run = %run.id, %plugin, %error, "a plugin that a run is pinned to is not available");
            }
        }
        Ok(())
    }

    /// Reads a run as it is after its last durable event. `None` if there is no such run.
    pub(crate) async fn load(&self, id: RunId) -> Result<Option<LoadedRun>, ReadError> {
        self.load_until(id, LAST_EVENT).await
    }

    /// Reads a run's state after the event `until`, or after its last event before that.
    pub(crate) async fn load_until(&self, id: RunId, until: u64) -> Result<Option<LoadedRun>, ReadError> {
        let _permit = self
            .loads
            .acquire()
            .await
            .expect("this semaphore is never closed");
        let snapshot = self.restore_snapshot(id, until).await?;
        let mut loaded = self
            .fold_events(id, snapshot, until, |_, _| ControlFlow::Continue(()))
            .await?;
        if let Some(loaded) = &mut loaded {
            loaded.charge = Some(self.memory.charge(loaded.run.memory_bytes()));
        }
        if loaded.is_none() && of_run(id, self.ports.store.run(id).await)?.is_some() {
            return Err(damaged(id, "it has no events"));
        }
        Ok(loaded)
    }

    /// Restores a run from its latest snapshot up to the event `until`. A damaged snapshot is logged and ignored: the
    /// events contain the whole run.
    pub(crate) async fn restore_snapshot(
        &self,
        id: RunId,
        until: u64,
    ) -> Result<Option<LoadedRun>, ReadError> {
        let ignore = |seq: Option<u64>, error: String| {
            tracing::warn!(run = %id, seq, %error, "a snapshot is damaged; reading the run from its first event");
            None
        };
        let snapshot = match self.ports.store.snapshot(id, until).await {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => return Ok(None),
            Err(StoreError::Damaged(error)) => return Ok(ignore(None, error)),
            Err(error) => return Err(error.into()),
        };
        match self.restore(id, &snapshot).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(ReadError::Damaged { message, .. }) => Ok(ignore(Some(snapshot.seq), message)),
            Err(error) => Err(error),
        }
    }

    async fn restore(&self, id: RunId, stored: &RunSnapshot) -> Result<LoadedRun, ReadError> {
        let text = stored.body.get();
        let snapshot = Snapshot::read(text).map_err(|error| damaged(id, error))?;
        if snapshot.seq != stored.seq {
            let message = format!(
                "the snapshot of event {} says that it is of event {}",
                stored.seq, snapshot.seq
            );
            return Err(damaged(id, message));
        }
        let pins = Pins {
            graph: &snapshot.graph,
            graphs: &snapshot.graphs,
            functions: &snapshot.functions,
        };
        let (graph, graphs) = self.pinned_graphs(id, &pins).await?;
        let restored = snapshot.restore(id, graph, graphs);
        let mut run = restored.map_err(|error| damaged(id, error))?;
        self.settings.limit(&mut run);
        Ok(LoadedRun {
            run,
            snapshot_policy: SnapshotPolicy::after_snapshot(text.len()),
            charge: None,
        })
    }

    /// Folds the events after `from` up to the event `until`. Shows each of them to `visit` with the run after it, and
    /// stops when `visit` breaks.
    pub(crate) async fn fold_events(
        &self,
        id: RunId,
        from: Option<LoadedRun>,
        until: u64,
        mut visit: impl FnMut(&Run, &EventRecord) -> ControlFlow<()> + Send,
    ) -> Result<Option<LoadedRun>, ReadError> {
        let (mut run, mut snapshot_policy) = match from {
            Some(loaded) => (Some(loaded.run), loaded.snapshot_policy),
            None => (None, SnapshotPolicy::default()),
        };
        'pages: loop {
            let after = run.as_ref().map_or(0, |run: &Run| run.seq);
            let limit = PAGE_LEN.min(until.saturating_sub(after));
            let page = self.ports.store.events(id, after, limit as usize);
            let events = match limit {
                0 => Vec::new(),
                _ => of_run(id, page.await)?,
            };
            if events.is_empty() {
                if let Some(run) = &mut run {
                    run.recount_memory();
                }
                break;
            }
            for event in events {
                // Most events pin no graphs, and nothing is looked up for them.
                let graphs = match Pins::of(&event.event) {
                    Some(pins) => Some(self.pinned_graphs(id, &pins).await?),
                    None => None,
                };
                let is_first = run.is_none();
                Run::fold_next(&mut run, id, &event, graphs).map_err(|error| damaged(id, error))?;
                let run = run.as_mut().expect("the first event starts the run");
                if is_first {
                    self.settings.limit(run);
                }
                snapshot_policy.count(&event.event);
                if visit(run, &event).is_break() {
                    break 'pages;
                }
            }
        }
        Ok(run.map(|run| LoadedRun {
            run,
            snapshot_policy,
            charge: None,
        }))
    }

    /// The graphs that a run is pinned to.
    async fn pinned_graphs(&self, run: RunId, pins: &Pins<'_>) -> Result<NamedGraphs, ReadError> {
        let mut found = HashMap::new();
        for id in pins.graphs.values().chain([pins.graph]) {
            if !found.contains_key(id) {
                found.insert(id.clone(), self.pinned_graph(run, id, pins).await?);
            }
        }
        pins.resolve(|id| Ok(found[id].clone()))
    }

    /// A graph that a run is pinned to, with the routes of the functions that the run is pinned to.
    async fn pinned_graph(&self, run: RunId, id: &GraphId, pins: &Pins<'_>) -> Result<Arc<Graph>, ReadError> {
        if let Some(graph) = self.graphs.get(id, pins.functions) {
            return Ok(graph);
        }
        let row = of_run(run, self.ports.store.graph(id).await)?;
        let row = row.ok_or_else(|| damaged(run, format!("its graph {id} is not stored")))?;
        let graph = self.rebuild(id, &row.definition, pins.functions).await;
        graph.map_err(|found| damaged(run, summary(&found)))
    }
}

fn damaged(run: RunId, message: impl ToString) -> ReadError {
    let message = message.to_string();
    ReadError::Damaged { run, message }
}

/// Attributes damage that the store found while it read `run` to that run.
fn of_run<T>(run: RunId, answer: Result<T, StoreError>) -> Result<T, ReadError> {
    answer.map_err(|error| ReadError::from(error).of_run(run))
}
