//! The engine's handle, and its operations that are not in a separate file: graphs, lists, tools and health.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use heddle_json::Json;
use heddle_kernel::{
    Definition, Diagnostic, EventRecord, FunctionKind, Graph, Level, RunId, Severity, graph,
};

use crate::{
    core::Core,
    errors::{CallToolError, CreateGraphError},
    ports::{
        GraphRow, GraphSummary, PluginInfo, ReadError, ResolveError, Resolved, RunFilter, RunPosition,
        RunRow, Sink, StoreError, ToolCall,
    },
    results::{CreatedGraph, EventPage, RunView, Stats, ToolAnswer},
    settings::{Ports, Settings},
    watch::Watch,
};

/// A handle on an engine. Clones are handles on the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
}

impl Engine {
    /// Creates an engine on these ports. It does nothing until [`Engine::recover`] is called.
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            core: Arc::new(Core::new(ports, settings)),
        }
    }

    /// Checks a definition without storing it.
    ///
    /// # Errors
    /// All errors in the definition, or an error of the store.
    pub async fn check_graph(&self, definition: &str) -> Result<(Graph, Vec<Diagnostic>), CreateGraphError> {
        let text: Arc<str> = definition.into();
        let read = text.clone();
        let read = self
            .core
            .checks
            .on_request(&text, move || Definition::read(&read));
        let (definition, found) = read.await?;
        let Some(definition) = definition else {
            return Err(CreateGraphError::Invalid(found.into_shown()));
        };
        let checked = self.core.check(definition).await?;
        let (graph, warnings) = match graph::with_form(found, checked) {
            Ok((graph, warnings)) => (graph, warnings.into_shown()),
            Err(found) => return Err(CreateGraphError::Invalid(found.into_shown())),
        };
        let (memory, limit) = (graph.memory(), self.core.settings.max_checked_graph_bytes);
        match memory <= limit {
            true => Ok((graph, warnings)),
            false => {
                let message = format!(
                    "the graph would take {memory} bytes in memory, more than its limit of {limit} \
                     (max_checked_graph_bytes): split it into several graphs"
                );
                Err(CreateGraphError::Invalid(vec![Diagnostic {
                    severity: Severity::Error,
                    pointer: String::new(),
                    message,
                }]))
            }
        }
    }

    /// Checks a definition and stores it as a graph. The same definition is the same graph. The functions that the
    /// definition names are resolved here: runs call exactly these until the graph is created again.
    ///
    /// # Errors
    /// All errors in the definition, or why the graph could not be stored.
    pub async fn create_graph(&self, definition: &str) -> Result<CreatedGraph, CreateGraphError> {
        let (graph, warnings) = self.check_graph(definition).await?;
        let core = self.core.clone();
        // The totals of the stored graphs and the cache change together with the store.
        let store = async move {
            let functions = core.resolve_functions(&graph);
            let row = GraphRow {
                id: graph.id.clone(),
                name: graph.name.clone(),
                definition: graph.definition.clone(),
                created_at: core.ports.clock.now(),
                functions: functions.clone(),
            };
            let graph = Arc::new(graph);
            let journal = &*core.ports.store;
            let new = core.usage.put_graph(journal, &core.settings, row).await?;
            core.graphs.put(graph.clone(), &functions);
            core.graphs.set_created_with(&graph.id, Arc::new(functions));
            Ok(CreatedGraph { graph, warnings, new })
        };
        self.core.complete(store).await
    }

    /// The graph with this id, or else the newest graph with this name.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn graph(&self, id_or_name: &str) -> Result<Option<GraphRow>, StoreError> {
        self.core.graph_row(id_or_name).await
    }

    /// Graphs, newest first, each with its position. `after` is the position after which the page starts.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, GraphSummary)>, StoreError> {
        self.core.ports.store.graphs(after, limit).await
    }

    /// A run's current durable state. `None` if there is no such run.
    ///
    /// # Errors
    /// If the run's journal cannot be read or is damaged.
    pub async fn run(&self, id: RunId) -> Result<Option<RunView>, ReadError> {
        if let Some(live) = self.core.live(id) {
            let view = live.read(RunView::of);
            // If its events were dropped, the run is shown as its journal has it.
            if live.durable_to(view.last_seq).await.is_ok() {
                return self.as_listed(view).await.map(Some);
            }
        }
        match self.core.load(id).await? {
            Some(loaded) => self.as_listed(RunView::of(&loaded.run)).await.map(Some),
            None => Ok(None),
        }
    }

    /// Replaces the name in the definition of a run's graph by the name under which the graph is stored, as lists show it:
    /// an imported graph may be stored without its name.
    pub(crate) async fn as_listed(&self, mut view: RunView) -> Result<RunView, ReadError> {
        if view.graph_name.is_some()
            && let Some(row) = self.row(view.id).await?
            && row.graph == view.graph
        {
            view.graph_name = row.graph_name;
        }
        Ok(view)
    }

    /// A run's row, without its state: this does not read the run's events.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn row(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.core.ports.store.run(id).await
    }

    /// Runs that match the filter, newest first, starting after `before` in that order.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        self.core.ports.store.runs(filter, before, limit).await
    }

    /// At most `limit` durable events of a run with a number above `after`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn events(
        &self,
        id: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<EventRecord>>, StoreError> {
        self.core.ports.store.events(id, after, limit).await
    }

    /// Like [`Self::events`], and whether these are the last events of an ended run. `None` if there is no such run.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn event_page(
        &self,
        id: RunId,
        after: u64,
        limit: usize,
    ) -> Result<Option<EventPage>, StoreError> {
        let Some(row) = self.core.ports.store.run(id).await? else {
            return Ok(None);
        };
        let events = self.events(id, after, limit).await?;
        let last = events.last().map_or(after, |last| last.seq);
        let over = row.status.is_over() && last >= row.last_seq;
        Ok(Some(EventPage { events, over }))
    }

    /// Watches a run, starting after the event `after`. `None` if there is no such run.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn watch(&self, id: RunId, after: u64) -> Result<Option<Watch>, StoreError> {
        // A live run without a row is not durable yet, so no client has its id.
        let Some(row) = self.core.ports.store.run(id).await? else {
            return Ok(None);
        };
        let last = row.status.is_over().then_some(row.last_seq);
        Ok(Some(Watch::new(&self.core, id, after, last)))
    }

    /// All registered plugins.
    pub fn plugins(&self) -> Vec<Arc<PluginInfo>> {
        self.core.ports.functions.plugins()
    }

    /// Finds a function: `plugin/function`, or `function` if exactly one plugin has it.
    ///
    /// # Errors
    /// If no plugin or several plugins have it.
    pub fn resolve(&self, uses: &str) -> Result<Resolved, ResolveError> {
        self.core.ports.functions.resolve(uses)
    }

    /// Calls a tool, outside of any run.
    ///
    /// # Errors
    /// If there is no such tool, or the call failed.
    pub async fn call_tool(&self, name: &str, input: Json) -> Result<ToolAnswer, CallToolError> {
        let Resolved { function, info } = self.resolve(name)?;
        if info.kind != FunctionKind::Tool {
            return Err(CallToolError::NotATool(function.to_string()));
        }
        let sink = Arc::new(LogCollector::default());
        let call = ToolCall {
            function,
            input,
            started_at: self.core.ports.clock.now(),
            sink: sink.clone(),
        };
        let answer = self.core.ports.functions.call_tool(call).await;
        let logs = std::mem::take(&mut *sink.0.lock().expect("no panic under this lock"));
        match answer {
            Ok(output) => Ok(ToolAnswer { output, logs }),
            Err(failure) => Err(CallToolError::Failed { failure, logs }),
        }
    }

    /// Whether the store accepts writes.
    ///
    /// # Errors
    /// The error that blocks writes.
    pub fn health(&self) -> Result<(), StoreError> {
        self.core.ports.store.health()
    }

    /// Whether the engine is stopping.
    pub fn is_draining(&self) -> bool {
        self.core.is_draining()
    }

    /// The engine's current numbers.
    pub fn stats(&self) -> Stats {
        Stats {
            runs_in_flight: self.core.admission.in_flight(),
            runs_queued: self.core.admission.queued(),
            held_bytes: self.core.memory.used(),
        }
    }

    /// Stops the engine: no run and no step starts, active calls may take `within` to finish, and the journal is flushed.
    /// The next start of an engine continues unfinished runs.
    pub async fn drain(&self, within: Duration) {
        self.core.drain(within).await;
        if let Err(error) = self.core.ports.store.close().await {
            tracing::error!(%error, "the journal could not be closed");
        }
    }
}

/// Collects the log lines of a tool. Chunks are dropped: a call outside of a run has no watchers.
#[derive(Default)]
struct LogCollector(Mutex<Vec<(Level, Arc<str>)>>);

impl Sink for LogCollector {
    fn log(&self, level: Level, message: &str) {
        let mut lines = self.0.lock().expect("no panic under this lock");
        lines.push((level, message.into()));
    }

    fn emit(&self, _chunk: Json) {}
}
