//! The engine: what the server and the command ask of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use heddle_kernel::{
    Definition, Diagnostic, FunctionKind, Graph, Input, Json, Level, Object, Recorded, Refusal, Run, RunId,
    graph,
};
use tokio::sync::oneshot;

use crate::{
    answer::{
        CallToolError, CreateGraphError, CreatedGraph, ForgetError, ImportError, ReadError, Recovered,
        RegisterPluginError, RequestKey, RunView, SendError, Start, StartError, StartedRun, Stats, StepError,
        StepView, ToolAnswer,
    },
    inner::Inner,
    live::{Hold, Letter, LiveRun, Stopped},
    outbox::Outbox,
    ports::{
        AppendError, Clock, Functions, GraphRow, Ids, Journal, NewRun, PluginInfo, ResolveError, Resolved,
        RunFilter, RunRow, Sink, StoreError, ToolCall,
    },
    watch::Watch,
};

/// What the engine works with.
pub struct Ports {
    /// Where everything is kept.
    pub journal: Arc<dyn Journal>,
    /// What nodes and tools call.
    pub functions: Arc<dyn Functions>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
}

/// The engine's limits.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many runs may be under way; a further one is queued. Default: 1,000.
    pub max_runs_in_flight: usize,
    /// How many runs may be queued; a further start is refused. Default: 100,000.
    pub max_queued: usize,
    /// How long a call under way may still take when its run is cancelled, where the request does not say.
    /// Default: 5 s.
    pub cancel_grace: Duration,
    /// How many bytes of events one run may be ahead of the disk. Default: 256 KiB.
    pub run_ahead_bytes: usize,
    /// How large a run's state may be as JSON. Default: 16 MiB.
    pub max_state_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_runs_in_flight: 1_000,
            max_queued: 100_000,
            cancel_grace: Duration::from_secs(5),
            run_ahead_bytes: 256 << 10,
            max_state_bytes: 16 << 20,
        }
    }
}

/// The engine; a clone is another handle on the same one.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// An engine on these ports. It does nothing until [`Engine::recover`].
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            inner: Arc::new(Inner::new(ports, settings)),
        }
    }

    /// Registers the plugins that are kept, and goes on with every run that is not over.
    ///
    /// # Errors
    /// Where the store cannot be read. What is damaged is told in the answer and stops nothing else.
    pub async fn recover(&self) -> Result<Recovered, StoreError> {
        let mut recovered = Recovered::default();
        let inner = &self.inner;
        for plugin in inner.ports.journal.active_plugins().await? {
            let name = plugin.name.clone();
            if let Err(error) = inner.register_kept(plugin, false).await {
                recovered.plugins.push((name, error.to_string()));
            }
        }
        for id in inner.ports.journal.unfinished().await? {
            match inner.rouse(id).await {
                Ok(Some(_)) => recovered.runs += 1,
                Ok(None) => {}
                Err(ReadError::Store(error)) => return Err(error),
                Err(error) => recovered.damaged.push((id, error.to_string())),
            }
        }
        inner.spawn_waking();
        Ok(recovered)
    }

    /// Checks a definition without keeping it.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that the store gives no answer.
    pub async fn check_graph(&self, definition: &str) -> Result<(Graph, Vec<Diagnostic>), CreateGraphError> {
        let (definition, found) = Definition::read(definition);
        let Some(definition) = definition else {
            return Err(CreateGraphError::Invalid(found));
        };
        let checked = self.inner.check(&definition).await?;
        graph::with_form(found, checked).map_err(CreateGraphError::Invalid)
    }

    /// Checks a definition and keeps it as a graph; the same definition is the same graph.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it could not be kept.
    pub async fn create_graph(&self, definition: &str) -> Result<CreatedGraph, CreateGraphError> {
        let (graph, warnings) = self.check_graph(definition).await?;
        let row = GraphRow {
            id: graph.id.clone(),
            name: graph.name.clone(),
            definition: graph.definition.clone(),
            created_at: self.inner.ports.clock.now(),
        };
        let graph = Arc::new(graph);
        let new = self.inner.ports.journal.put_graph(row).await?;
        self.inner.keep_at_hand(graph.clone());
        Ok(CreatedGraph { graph, warnings, new })
    }

    /// The graph with this id, else the newest with this name.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn graph(&self, id_or_name: &str) -> Result<Option<GraphRow>, StoreError> {
        self.inner.graph_row(id_or_name).await
    }

    /// Graphs, newest first, each with its position; `after` is the last position that was seen.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn graphs(&self, after: Option<i64>, limit: usize) -> Result<Vec<(i64, GraphRow)>, StoreError> {
        self.inner.ports.journal.graphs(after, limit).await
    }

    /// Starts a run of a graph, by its id or name. It goes on in the background; the answer
    /// comes when its start is durable.
    ///
    /// # Errors
    /// Where it was not started: nothing of it is kept then.
    pub async fn start_run(&self, start: Start) -> Result<StartedRun, StartError> {
        let Start { graph, state, .. } = start;
        let graph = graph.as_str();
        let inner = &self.inner;
        if inner.is_draining() {
            return Err(StartError::Draining);
        }
        let (size, limit) = (state.size(), inner.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit });
        }
        let pinned = inner.pin(graph).await?;
        let id = inner.ports.ids.run_id();
        let (mut run, events) = Run::start(
            id,
            pinned.graph,
            pinned.graphs,
            state,
            pinned.functions,
            false,
            inner.ports.clock.now(),
        );
        run.max_state_bytes = limit;
        let begins = NewRun {
            graph: run.graph.id.clone(),
            created_at: run.started_at,
            priority: start.priority,
            group: None,
            origin: start.origin,
        };
        let live = Arc::new(LiveRun::new(run, 0, &events));
        let hold = live.hold();
        inner.admit(&live)?;
        inner.spawn(live.clone(), Outbox::of_start(begins, events));
        match live.durable_to(1).await {
            Ok(()) => Ok(StartedRun {
                id,
                live,
                _hold: hold,
            }),
            Err(Stopped::Lost(AppendError::Unavailable(error))) => Err(StartError::Store(error)),
            Err(Stopped::Lost(AppendError::Closed) | Stopped::Draining | Stopped::Parked) => {
                Err(StartError::Draining)
            }
            Err(Stopped::Lost(error @ (AppendError::Conflict { .. } | AppendError::Damaged { .. }))) => {
                Err(StartError::Store(StoreError::Failed(error.to_string())))
            }
        }
    }

    /// A run; what it tells is durable.
    ///
    /// # Errors
    /// Where its journal cannot be read or makes no sense.
    pub async fn run(&self, id: RunId) -> Result<Option<RunView>, ReadError> {
        if let Some(live) = self.inner.live(id) {
            let view = live.read(RunView::of);
            // A run that was lost on the way is told as far as its journal goes.
            if live.durable_to(view.last_seq).await.is_ok() {
                return Ok(Some(view));
            }
        }
        Ok(self.inner.load(id).await?.as_ref().map(RunView::of))
    }

    /// A run as it is listed: without its state, and so without reading its events.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn row(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.inner.ports.journal.run(id).await
    }

    /// Runs that fit the filter, newest first, before `before`.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        self.inner.ports.journal.runs(filter, before, limit).await
    }

    /// The durable events of a run with a number above `after`, at most `limit` of them.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn events(
        &self,
        id: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, StoreError> {
        self.inner.ports.journal.events(id, after, limit).await
    }

    /// Watches a run from after the event `after`. `None` where there is no such run.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn watch(&self, id: RunId, after: u64) -> Result<Option<Watch>, StoreError> {
        let journal = &self.inner.ports.journal;
        // A run that is live may not be durable yet: then nobody was told of it.
        let Some(row) = journal.run(id).await? else {
            return Ok(None);
        };
        // A run that waits is taken up, so that the watcher hears when it goes on. One that is damaged
        // is told as far as its journal goes.
        let live = match row.status.is_over() {
            true => None,
            false => self.held(id).await.ok().flatten(),
        };
        Ok(Some(Watch::new(journal.clone(), id, after, live)))
    }

    /// The run, driven by this engine until the hold is dropped. `None` where it is over.
    async fn held(&self, id: RunId) -> Result<Option<Hold>, ReadError> {
        loop {
            let Some(live) = self.inner.rouse(id).await? else {
                return Ok(None);
            };
            let hold = live.hold();
            // One that was parked in between is loaded again.
            if !live.is_closed() {
                return Ok(Some(hold));
            }
        }
    }

    /// Sends a signal to a run: a wait for it goes on, or it is kept for the next one. The answer
    /// comes when it is durable, with the number of its last event.
    ///
    /// # Errors
    /// Where there is no such run, nothing in it takes such a signal, or it could not be kept.
    pub async fn signal(
        &self,
        id: RunId,
        name: &str,
        payload: Json,
        _key: Option<RequestKey>,
    ) -> Result<u64, SendError> {
        let name = name.into();
        self.send(id, Input::Signal { name, payload }).await
    }

    /// Cancels a run: what it does is given up, and what can be undone is undone before it is over.
    ///
    /// # Errors
    /// Where there is no such run, or it is over or ending.
    pub async fn cancel(&self, id: RunId, reason: &str, grace: Option<Duration>) -> Result<u64, SendError> {
        let reason = reason.into();
        let grace = grace.unwrap_or(self.inner.settings.cancel_grace);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.send(id, Input::Cancel { reason, grace_ms }).await
    }

    /// Has a run stand still: calls under way may finish, and no step begins until it is resumed. Answers
    /// the number of the last event that it led to.
    ///
    /// # Errors
    /// Where there is no such run, or it is over, ending, queued or paused.
    pub async fn pause(&self, _id: RunId, _reason: &str) -> Result<u64, SendError> {
        unimplemented!()
    }

    /// Has a run that is paused go on.
    ///
    /// # Errors
    /// Where there is no such run, or it is not paused.
    pub async fn resume(&self, _id: RunId) -> Result<u64, SendError> {
        unimplemented!()
    }

    /// Has a run that failed go on from where it failed.
    ///
    /// # Errors
    /// Where there is no such run, it did not fail, or what it did was undone.
    pub async fn retry(&self, _id: RunId) -> Result<u64, SendError> {
        unimplemented!()
    }

    /// Has a run keep to the newest versions of its plugins from here on; with `graph`, to that graph
    /// (an id or a name), too.
    ///
    /// # Errors
    /// Where there is no such run, it neither waits nor is paused nor failed, or it is at a place that the
    /// graph does not have.
    pub async fn upgrade(&self, _id: RunId, _graph: Option<&str>) -> Result<u64, SendError> {
        unimplemented!()
    }

    /// Starts a run that begins as another one was right after a step, with some keys of its state set
    /// anew; step 0 is its beginning.
    ///
    /// # Errors
    /// Where there is no such run or step, or the new one cannot be started.
    pub async fn fork(
        &self,
        _id: RunId,
        _step: u64,
        _edits: Object,
        _key: Option<RequestKey>,
    ) -> Result<StartedRun, StepError> {
        unimplemented!()
    }

    /// A step of a run that is over, with the run's state right after it; step 0 is the run's beginning.
    ///
    /// # Errors
    /// Where there is no such run or step.
    pub async fn step(&self, _id: RunId, _step: u64) -> Result<StepView, StepError> {
        unimplemented!()
    }

    /// The whole of a run as one text: JSON lines, the first of which says what it is. `None` where there is
    /// no such run.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn export(&self, _id: RunId) -> Result<Option<Vec<u8>>, ReadError> {
        unimplemented!()
    }

    /// Keeps a run that was exported. One that is not over is paused here.
    ///
    /// # Errors
    /// Where it is malformed, there is such a run, or it could not be kept.
    pub async fn import(&self, _export: &[u8]) -> Result<RunId, ImportError> {
        unimplemented!()
    }

    /// Forgets a run that is over, with all that belongs to it.
    ///
    /// # Errors
    /// Where there is no such run, or it is not over.
    pub async fn forget(&self, _id: RunId) -> Result<(), ForgetError> {
        unimplemented!()
    }

    async fn send(&self, id: RunId, input: Input) -> Result<u64, SendError> {
        loop {
            if self.inner.is_draining() {
                return Err(SendError::Unavailable("the engine is stopping".to_owned()));
            }
            let Some(hold) = self.held(id).await? else {
                return Err(
                    match self.inner.ports.journal.run(id).await.map_err(ReadError::from)? {
                        Some(_) => Refusal::Over.into(),
                        None => SendError::NoSuchRun(id),
                    },
                );
            };
            let live = &hold.0;
            // Nobody was told of a run whose start is not durable.
            let unavailable = |stopped: Stopped| match stopped {
                Stopped::Lost(error) => SendError::Unavailable(error.to_string()),
                Stopped::Draining | Stopped::Parked => {
                    SendError::Unavailable("the engine is stopping".to_owned())
                }
            };
            live.durable_to(1).await.map_err(unavailable)?;
            let (reply, answer) = oneshot::channel();
            let input = input.clone();
            if live.post(Letter { input, reply }).is_err() {
                // Its driver has just let go of it: it is over, or parked.
                tokio::task::yield_now().await;
                continue;
            }
            match answer.await {
                Ok(answer) => {
                    let seq = answer?;
                    live.durable_to(seq).await.map_err(unavailable)?;
                    return Ok(seq);
                }
                // The driver let go of it before it took the letter.
                Err(_) => continue,
            }
        }
    }

    /// Registers a plugin and keeps it, so that it is there after a restart.
    ///
    /// # Errors
    /// Where it was refused, or could not be kept.
    pub async fn register_plugin(
        &self,
        component: Arc<[u8]>,
        name: Option<String>,
    ) -> Result<PluginInfo, RegisterPluginError> {
        self.inner.register(component, name, None, true).await
    }

    /// Registers a component of the plugins folder, whose file is named `stem`. It is kept for
    /// the runs that hold to it, and registered again only while its file is there.
    ///
    /// # Errors
    /// Where it was refused, or could not be kept.
    pub async fn register_from_folder(
        &self,
        component: Arc<[u8]>,
        stem: String,
    ) -> Result<PluginInfo, RegisterPluginError> {
        self.inner.register(component, None, Some(stem), false).await
    }

    /// Every registered plugin.
    pub fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        self.inner.ports.functions.plugins()
    }

    /// Finds a function: `plugin/function`, or `function` where one plugin has it.
    ///
    /// # Errors
    /// Where none or several have it.
    pub fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        self.inner.ports.functions.resolve(uses)
    }

    /// Calls a tool, outside of any run.
    ///
    /// # Errors
    /// Where there is no such tool, or it failed.
    pub async fn call_tool(&self, name: &str, input: Json) -> Result<ToolAnswer, CallToolError> {
        let Resolved { function, info } = self.resolve(name)?;
        if info.kind != FunctionKind::Tool {
            return Err(CallToolError::NotATool(function.to_string()));
        }
        let sink = Arc::new(Lines::default());
        let started_at = self.inner.ports.clock.now();
        let call = ToolCall {
            function,
            input,
            started_at,
            sink: sink.clone(),
        };
        let answer = self.inner.ports.functions.call_tool(call).await;
        let logs = std::mem::take(&mut *sink.0.lock().expect("nothing panics while it holds the lines"));
        match answer {
            Ok(output) => Ok(ToolAnswer { output, logs }),
            Err(failure) => Err(CallToolError::Failed { failure, logs }),
        }
    }

    /// Whether the store takes writes: what holds it up, where it does not.
    ///
    /// # Errors
    /// What holds it up.
    pub fn health(&self) -> Result<(), StoreError> {
        self.inner.ports.journal.health()
    }

    /// Whether the engine is stopping.
    pub fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }

    /// Numbers about the engine now.
    pub fn stats(&self) -> Stats {
        Stats {
            runs_in_flight: self.inner.runs_in_flight(),
            runs_queued: 0,
        }
    }

    /// Stops: no run is started and no step begun; steps under way get `within` to finish, and
    /// the journal is flushed. Runs that are not over go on at the next start.
    pub async fn drain(&self, within: Duration) {
        self.inner.drain(within).await;
        if let Err(error) = self.inner.ports.journal.close().await {
            tracing::error!(%error, "the journal did not close");
        }
    }
}

/// Keeps the lines that a tool writes.
#[derive(Default)]
struct Lines(Mutex<Vec<(Level, Arc<str>)>>);

impl Sink for Lines {
    fn log(&self, level: Level, message: &str) {
        let mut lines = self.0.lock().expect("nothing panics while it holds the lines");
        lines.push((level, message.into()));
    }

    fn emit(&self, _chunk: Json) {
        // Nobody watches a call outside of a run.
    }
}
