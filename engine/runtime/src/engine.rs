//! The engine: what the server and the command ask of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heddle_kernel::{
    Definition, Diagnostic, Digest, Failure, Function, FunctionKind, Graph, GraphId, Input, Json, Level,
    Object, Recorded, Run, RunError, RunId, Severity, Status, Timestamp, event::FunctionRef, graph,
};
use tokio::task::JoinSet;

use crate::{
    drive::drive,
    live::{LiveRun, Stopped},
    ports::{
        AppendError, Clock, Functions, GraphRow, Ids, Journal, NewPlugin, NewRun, PluginInfo, PluginRow,
        RegisterError, ResolveError, Resolved, RunFilter, RunRow, Sink, StoreError, ToolCall,
    },
    watch::Watch,
};

/// How many events are read at once where a run is folded from its journal.
const FOLD_PAGE: usize = 2_000;
/// How many checked graphs are kept at hand; past that they are read and checked again.
const GRAPHS_AT_HAND: usize = 1_024;

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
    /// How many runs may be under way; a further start is refused. Default: 10,000.
    pub max_runs_in_flight: usize,
    /// How many bytes of events one run may be ahead of the disk. Default: 256 KiB.
    pub run_ahead_bytes: usize,
    /// How large a run's state may be as JSON. Default: 16 MiB.
    pub max_state_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_runs_in_flight: 10_000,
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

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    live: RwLock<HashMap<RunId, Arc<LiveRun>>>,
    graphs: RwLock<HashMap<GraphId, Arc<Graph>>>,
    drivers: Mutex<JoinSet<()>>,
    draining: AtomicBool,
}

/// What was found and taken up at the start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many runs go on.
    pub runs: usize,
    /// Runs that cannot go on, each with the reason: their journals are damaged.
    pub damaged: Vec<(RunId, String)>,
    /// Kept plugins that could not be registered, each with the reason.
    pub plugins: Vec<(Arc<str>, String)>,
}

/// A graph that was created.
#[derive(Clone, Debug)]
pub struct CreatedGraph {
    /// The graph.
    pub graph: Arc<Graph>,
    /// What its check warns of.
    pub warnings: Vec<Diagnostic>,
    /// Whether it was not there before.
    pub new: bool,
}

/// Why a graph was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateGraphError {
    /// Its definition has errors.
    #[error("{}", summary(.0))]
    Invalid(Vec<Diagnostic>),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No graph has this id or name.
    #[error("there is no graph `{0}`: create it with POST /graph/create or POST /v1/graphs")]
    NoSuchGraph(String),
    /// The graph cannot run now: a function that it needs is gone.
    #[error("the graph cannot run: {}", summary(.0))]
    Broken(Vec<Diagnostic>),
    /// The state is too large.
    #[error("the state takes {size} bytes, more than its limit of {limit} (max_state_bytes)")]
    TooLarge {
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Too many runs are under way.
    #[error("{limit} runs are under way, the limit (max_runs_in_flight): try again later")]
    Busy {
        /// The limit.
        limit: usize,
    },
    /// The engine is stopping.
    #[error("the engine is stopping and starts no more runs")]
    Draining,
    /// The start could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run's journal makes no sense.
    #[error("the journal of run {run} is damaged: {message}")]
    Damaged {
        /// The run.
        run: RunId,
        /// What is wrong with it.
        message: String,
    },
}

/// A run as it is told: all of it is durable.
#[derive(Clone, Debug)]
pub struct RunView {
    /// Its id.
    pub id: RunId,
    /// Its graph.
    pub graph: GraphId,
    /// Whether it is over, and how.
    pub status: Status,
    /// Its state.
    pub state: Object,
    /// Why it failed.
    pub error: Option<RunError>,
    /// The number of its last event.
    pub last_seq: u64,
    /// How many steps were begun.
    pub steps: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The nodes that it is at.
    pub nodes: Vec<Arc<str>>,
}

/// Why a plugin was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterPluginError {
    /// It was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a tool answered.
#[derive(Clone, Debug)]
pub struct ToolAnswer {
    /// Its result.
    pub output: Json,
    /// What it wrote to its log.
    pub logs: Vec<(Level, Arc<str>)>,
}

/// Why a tool gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallToolError {
    /// There is no such tool.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It is a node function.
    #[error("`{0}` is a node function: only a run calls it; a tool can be called directly")]
    NotATool(String),
    /// It failed.
    #[error("{failure}")]
    Failed {
        /// Why.
        failure: Failure,
        /// What it wrote to its log until then.
        logs: Vec<(Level, Arc<str>)>,
    },
}

/// A run that was started, in the hands of who started it.
pub struct StartedRun {
    /// Its id.
    pub id: RunId,
    live: Arc<LiveRun>,
}

impl StartedRun {
    /// The run as it is now; what it tells is durable. `None` where this engine drives it no
    /// longer and it is not over: the journal knows how far it came.
    pub async fn view(&self) -> Option<RunView> {
        let view = self.live.read(RunView::of);
        self.live.durable_to(view.last_seq).await.is_ok().then_some(view)
    }

    /// Waits until the run is over, or this engine drives it no longer.
    pub async fn over(&self) {
        // Either way there is nothing more to wait for; `view` tells which it was.
        let _ = self.live.over().await;
    }
}

/// Numbers about the engine now.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// How many runs are under way.
    pub runs_in_flight: usize,
}

impl Engine {
    /// An engine on these ports. It does nothing until [`Engine::recover`].
    pub fn new(ports: Ports, settings: Settings) -> Self {
        let inner = Inner {
            ports,
            settings,
            live: RwLock::default(),
            graphs: RwLock::default(),
            drivers: Mutex::default(),
            draining: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
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
            match inner.load(id).await {
                Ok(Some(run)) => {
                    inner.register_pinned(&run).await?;
                    let live = Arc::new(LiveRun::new(run.clone(), run.seq, &[]));
                    inner.adopt(&live);
                    inner.take(&live, Input::Resumed);
                    inner.spawn(live);
                    recovered.runs += 1;
                }
                Ok(None) => {}
                Err(error) => recovered.damaged.push((id, error.to_string())),
            }
        }
        Ok(recovered)
    }

    /// Checks a definition without keeping it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check_graph(&self, definition: &str) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
        self.inner.check(&Definition::parse(definition)?)
    }

    /// Checks a definition and keeps it as a graph; the same definition is the same graph.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it could not be kept.
    pub async fn create_graph(&self, definition: &str) -> Result<CreatedGraph, CreateGraphError> {
        let (graph, warnings) = self.check_graph(definition).map_err(CreateGraphError::Invalid)?;
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
        let journal = &self.inner.ports.journal;
        match journal.graph(&GraphId(id_or_name.into())).await? {
            Some(graph) => Ok(Some(graph)),
            None => journal.graph_named(id_or_name).await,
        }
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
    pub async fn start_run(&self, graph: &str, state: Object) -> Result<StartedRun, StartError> {
        let inner = &self.inner;
        if inner.is_draining() {
            return Err(StartError::Draining);
        }
        let (size, limit) = (state.size(), inner.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit });
        }
        let graph = inner.graph_to_run(graph).await?;
        let functions = inner.pin(&graph)?;
        let id = inner.ports.ids.run_id();
        let (run, events) = Run::start(id, graph, state, functions, inner.ports.clock.now());
        let begins = NewRun {
            graph: run.graph.id.clone(),
            created_at: run.started_at,
        };
        let live = Arc::new(LiveRun::new(run, 0, &events));
        inner.admit(&live)?;
        inner.append(&live, events, Some(begins));
        inner.spawn(live.clone());
        match live.durable_to(1).await {
            Ok(()) => Ok(StartedRun { id, live }),
            Err(Stopped::Lost(AppendError::Unavailable(error))) => Err(StartError::Store(error)),
            Err(Stopped::Lost(AppendError::Closed) | Stopped::Draining) => Err(StartError::Draining),
            Err(Stopped::Lost(error @ AppendError::Conflict { .. })) => {
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
        let live = self.inner.live(id);
        // A run that is live may not be durable yet: then nobody was told of it.
        let known = self.inner.ports.journal.run(id).await?.is_some();
        Ok(known.then(|| Watch::new(self.inner.ports.journal.clone(), id, after, live)))
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
            runs_in_flight: self.inner.live.read().expect("no panic under this lock").len(),
        }
    }

    /// Stops: no run is started and no step begun; steps under way get `within` to finish, and
    /// the journal is flushed. Runs that are not over go on at the next start.
    pub async fn drain(&self, within: Duration) {
        self.inner.draining.store(true, Ordering::SeqCst);
        let mut drivers = std::mem::take(&mut *self.inner.drivers.lock().expect("no panic under this lock"));
        let all = async { while drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            drivers.shutdown().await;
        }
        for live in self.inner.live.read().expect("no panic under this lock").values() {
            live.stop(Stopped::Draining);
        }
        if let Err(error) = self.inner.ports.journal.close().await {
            tracing::error!(%error, "the journal did not close");
        }
    }
}

impl Inner {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.live
            .read()
            .expect("no panic under this lock")
            .get(&id)
            .cloned()
    }

    /// Takes a new run in, if there is room.
    fn admit(&self, live: &Arc<LiveRun>) -> Result<(), StartError> {
        let mut all = self.live.write().expect("no panic under this lock");
        let limit = self.settings.max_runs_in_flight;
        if all.len() >= limit {
            return Err(StartError::Busy { limit });
        }
        all.insert(live.id, live.clone());
        Ok(())
    }

    /// Takes a run in that was acknowledged before: there is always room for it.
    fn adopt(&self, live: &Arc<LiveRun>) {
        self.live
            .write()
            .expect("no panic under this lock")
            .insert(live.id, live.clone());
    }

    pub(crate) fn forget(&self, live: &LiveRun) {
        self.live
            .write()
            .expect("no panic under this lock")
            .remove(&live.id);
    }

    fn spawn(self: &Arc<Self>, live: Arc<LiveRun>) {
        let mut drivers = self.drivers.lock().expect("no panic under this lock");
        while drivers.try_join_next().is_some() {}
        drivers.spawn(drive(self.clone(), live));
    }

    fn check(&self, definition: &Definition) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
        graph::check(definition, |uses| match self.ports.functions.resolve(uses) {
            Ok(found) => Ok(Function {
                kind: found.info.kind,
                routes: found.info.routes,
            }),
            Err(error) => Err(error.to_string()),
        })
    }

    fn keep_at_hand(&self, graph: Arc<Graph>) {
        let mut graphs = self.graphs.write().expect("no panic under this lock");
        if graphs.len() >= GRAPHS_AT_HAND {
            graphs.clear();
        }
        graphs.insert(graph.id.clone(), graph);
    }

    /// A graph by id or name, ready for a new run.
    async fn graph_to_run(&self, id_or_name: &str) -> Result<Arc<Graph>, StartError> {
        let id = GraphId(id_or_name.into());
        if let Some(graph) = self.at_hand(&id) {
            return Ok(graph);
        }
        let journal = &self.ports.journal;
        let row = match journal.graph(&id).await? {
            Some(row) => Some(row),
            None => journal.graph_named(id_or_name).await?,
        };
        let row = row.ok_or_else(|| StartError::NoSuchGraph(id_or_name.to_owned()))?;
        if let Some(graph) = self.at_hand(&row.id) {
            return Ok(graph);
        }
        let checked = Definition::parse(&row.definition).and_then(|definition| self.check(&definition));
        let graph = Arc::new(checked.map_err(StartError::Broken)?.0);
        self.keep_at_hand(graph.clone());
        Ok(graph)
    }

    fn at_hand(&self, id: &GraphId) -> Option<Arc<Graph>> {
        self.graphs
            .read()
            .expect("no panic under this lock")
            .get(id)
            .cloned()
    }

    /// The exact functions that a run of this graph keeps to from now on.
    fn pin(&self, graph: &Graph) -> Result<BTreeMap<Arc<str>, FunctionRef>, StartError> {
        let mut functions: BTreeMap<Arc<str>, FunctionRef> = BTreeMap::new();
        for node in &graph.nodes {
            if functions.contains_key(&node.uses) {
                continue;
            }
            let found = self.ports.functions.resolve(&node.uses).map_err(|error| {
                StartError::Broken(vec![Diagnostic {
                    severity: Severity::Error,
                    pointer: format!("/nodes/{}", node.name),
                    message: error.to_string(),
                }])
            })?;
            functions.insert(node.uses.clone(), found.function);
        }
        Ok(functions)
    }

    /// Folds a run from its journal; `None` where there is none.
    async fn load(&self, id: RunId) -> Result<Option<Run>, ReadError> {
        let damaged = |message: String| ReadError::Damaged { run: id, message };
        let journal = &self.ports.journal;
        let Some(row) = journal.run(id).await? else {
            return Ok(None);
        };
        let graph = match self.at_hand(&row.graph) {
            Some(graph) => graph,
            None => {
                let kept = journal.graph(&row.graph).await?;
                let kept = kept.ok_or_else(|| damaged(format!("its graph {} is not kept", row.graph)))?;
                // The run keeps its own functions: that the registry lacks some now is no matter.
                let any = |_: &str| {
                    Ok(Function {
                        kind: FunctionKind::Tool,
                        routes: Vec::new(),
                    })
                };
                let definition = Definition::parse(&kept.definition);
                let checked = definition.and_then(|definition| graph::check(&definition, any));
                Arc::new(checked.map_err(|found| damaged(summary(&found)))?.0)
            }
        };
        let mut run: Option<Run> = None;
        loop {
            let after = run.as_ref().map_or(0, |run| run.seq);
            let events = journal.events(id, after, FOLD_PAGE).await?;
            if events.is_empty() {
                break;
            }
            for event in events {
                match &mut run {
                    None => {
                        let first = Run::from_first(id, graph.clone(), &event);
                        run = Some(first.map_err(|error| damaged(error.to_string()))?);
                    }
                    Some(run) => run.fold(&event).map_err(|error| damaged(error.to_string()))?,
                }
            }
        }
        run.map(Some)
            .ok_or_else(|| damaged("it has no events".to_owned()))
    }

    /// Makes sure that the plugins which a run keeps to can be called.
    async fn register_pinned(&self, run: &Run) -> Result<(), StoreError> {
        for function in run.functions.values() {
            if self.ports.functions.has(&function.digest) {
                continue;
            }
            if let Some(plugin) = self.ports.journal.plugin(&function.digest).await? {
                let name = plugin.name.clone();
                if let Err(error) = self.register_kept(plugin, true).await {
                    // The step that needs it fails with a clear error of its own.
                    tracing::error!(run = %run.id, plugin = %name, %error, "a plugin that a run keeps to is gone");
                }
            }
        }
        Ok(())
    }

    async fn register_kept(&self, plugin: PluginRow, hidden: bool) -> Result<PluginInfo, RegisterError> {
        let PluginRow { name, component, .. } = plugin;
        let name = Some(name.to_string());
        self.ports
            .functions
            .register(NewPlugin {
                component,
                name,
                fallback_name: None,
                hidden,
            })
            .await
    }

    async fn register(
        &self,
        component: Arc<[u8]>,
        name: Option<String>,
        fallback_name: Option<String>,
        active: bool,
    ) -> Result<PluginInfo, RegisterPluginError> {
        let plugin = NewPlugin {
            component: component.clone(),
            name,
            fallback_name,
            hidden: false,
        };
        let info = self.ports.functions.register(plugin).await?;
        let row = PluginRow {
            digest: Digest::of(&component),
            name: info.name.clone(),
            version: info.version.clone(),
            active,
            component,
            added_at: self.ports.clock.now(),
        };
        self.ports.journal.put_plugin(row).await?;
        Ok(info)
    }
}

impl RunView {
    fn of(run: &Run) -> Self {
        Self {
            id: run.id,
            graph: run.graph.id.clone(),
            status: run.status,
            state: run.state.clone(),
            error: run.error.clone(),
            last_seq: run.seq,
            steps: run.steps,
            started_at: run.started_at,
            finished_at: run.status.is_over().then_some(run.updated_at),
            nodes: run
                .branches
                .values()
                .map(|branch| run.graph.node(branch.node).name.clone())
                .collect(),
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

/// The errors of a check in one line.
fn summary(found: &[Diagnostic]) -> String {
    let errors = found.iter().filter(|found| found.severity == Severity::Error);
    let all: Vec<String> = errors
        .map(|found| format!("{}: {}", found.pointer, found.message))
        .collect();
    all.join("; ")
}
