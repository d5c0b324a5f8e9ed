//! The engine: what the server and the command ask of it.

mod settings;

pub use self::settings::{Ports, Settings};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use heddle_json::Json;
use heddle_kernel::{
    Definition, Diagnostic, EventRecord, FunctionKind, Graph, Input, Level, Run, RunId, Severity, decide,
    graph,
};

use crate::{
    admission::{Enqueues, Entry, PRIORITIES, Seat},
    answer::{
        CallToolError, CreateGraphError, CreatedGraph, Page, ReadError, Recovered, RunView, Start,
        StartError, StartedRun, Stats, ToolAnswer,
    },
    inner::Inner,
    live::{LiveRun, Stopped},
    outbox::Outbox,
    ports::{
        Append, AppendError, Clock, Functions, GraphRow, GraphSummary, Ids, Journal, NewRun, PluginInfo,
        PluginSummary, QueuedRun, RegisterError, ResolveError, Resolved, RunDisposition, RunFilter,
        RunPosition, RunRow, Sink, StoreError, ToolCall,
    },
    requests::{Claim, Keyed},
    watch::Watch,
};

/// The engine; a clone is another handle on the same one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
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
        for PluginSummary { digest, name, .. } in inner.ports.journal.active_plugins().await? {
            // One component at a time: together they may take more than there is memory.
            let registered = match inner.ports.journal.plugin(&digest).await {
                Ok(Some(plugin)) => inner.register_kept(plugin, false).await.map(|_| ()),
                Ok(None) => Ok(()),
                Err(StoreError::Damaged(error)) => Err(RegisterError::Refused(error)),
                Err(error) => return Err(error),
            };
            if let Err(error) = registered {
                recovered.plugins.push((name, error.to_string()));
            }
        }
        let (groups, queued) = (
            inner.ports.journal.groups().await?,
            inner.ports.journal.queued().await?,
        );
        recovered.queued = queued.len();
        inner.admission.restore(groups, queued);
        let mut later = VecDeque::new();
        for id in inner.ports.journal.unfinished().await? {
            match inner.rouse(id).await {
                Ok(Some(_)) => recovered.runs += 1,
                Err(ReadError::Busy { .. }) => {
                    recovered.runs += 1;
                    later.push_back(id);
                }
                Ok(None) => {}
                Err(ReadError::Store(error)) => return Err(error),
                Err(error) => recovered.damaged.push((id, error.to_string())),
            }
        }
        if !later.is_empty() {
            inner.spawn_beside(inner.clone().rouse_later(later));
        }
        inner.spawn_keepers();
        inner.spawn_beside(self.clone().keep_schedules());
        Ok(recovered)
    }

    /// Checks a definition without keeping it.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that the store gives no answer.
    pub async fn check_graph(&self, definition: &str) -> Result<(Graph, Vec<Diagnostic>), CreateGraphError> {
        let text: Arc<str> = definition.into();
        let read = text.clone();
        let read = self
            .inner
            .checks
            .on_request(&text, move || Definition::read(&read));
        let (definition, found) = read.await?;
        let Some(definition) = definition else {
            return Err(CreateGraphError::Invalid(found.into_shown()));
        };
        let checked = self.inner.check(definition).await?;
        let (graph, warnings) = match graph::with_form(found, checked) {
            Ok((graph, warnings)) => (graph, warnings.into_shown()),
            Err(found) => return Err(CreateGraphError::Invalid(found.into_shown())),
        };
        let (memory, limit) = (graph.memory(), self.inner.settings.max_checked_graph_bytes);
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

    /// Checks a definition and keeps it as a graph; the same definition is the same graph. The functions that
    /// it names are looked up here: runs of it call these until it is created again.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it could not be kept.
    pub async fn create_graph(&self, definition: &str) -> Result<CreatedGraph, CreateGraphError> {
        let (graph, warnings) = self.check_graph(definition).await?;
        let functions = self.inner.found(&graph);
        let row = GraphRow {
            id: graph.id.clone(),
            name: graph.name.clone(),
            definition: graph.definition.clone(),
            created_at: self.inner.ports.clock.now(),
            functions: functions.clone(),
        };
        let graph = Arc::new(graph);
        let new = self.inner.put_graph(row).await?;
        self.inner.keep_at_hand(graph.clone(), functions);
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
    pub async fn graphs(
        &self,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, GraphSummary)>, StoreError> {
        self.inner.ports.journal.graphs(after, limit).await
    }

    /// Starts a run of a graph, by its id or name. It goes on in the background; the answer
    /// comes when its start is durable.
    ///
    /// # Errors
    /// Where it was not started: nothing of it is kept then.
    pub async fn start_run(&self, start: Start) -> Result<StartedRun, StartError> {
        let inner = &self.inner;
        let claim = match inner.claim::<StartError>(None, start.key).await? {
            Keyed::Known(request) => return Ok(self.started(request.run)),
            Keyed::New(claim) => claim,
        };
        if inner.is_draining() {
            return Err(StartError::Draining);
        }
        let (size, limit) = (start.state.size(), inner.settings.max_state_bytes);
        if size > limit {
            return Err(StartError::TooLarge { size, limit });
        }
        let _in_use = inner.graphs_in_use.read().await;
        let pinned = inner.pin(&start.graph).await?;
        let id = inner.ports.ids.run_id();
        let now = inner.ports.clock.now();
        let (mut run, mut events) = Run::start(
            id,
            pinned.graph,
            pinned.graphs,
            start.state,
            pinned.functions,
            true,
            now,
        );
        inner.settings.limit(&mut run);
        let group = run.group().map_err(StartError::Group)?;
        let (least, most) = PRIORITIES.into_inner();
        let begins = NewRun {
            graph: run.graph.id.clone(),
            created_at: run.started_at,
            priority: start.priority.clamp(least, most),
            group: group.as_ref().map(|group| group.name.clone()),
            origin: start.origin,
        };
        run.recount_memory();
        let room = inner.memory.has_room_for(run.memory_bytes());
        match inner
            .admission
            .enter(begins.priority, group.as_ref(), run.journal_bytes, room, now)
        {
            Ok(Entry::Begins) => {
                let begun = decide(&mut run, Input::Activate, now);
                events.extend(begun.expect("a run that is queued can be taken up"));
                let seat = Seat::taken(begins.group.clone());
                self.drive(run, events, begins, claim, seat).await
            }
            Ok(Entry::Queued) => self.queue(run, events, begins, claim).await,
            Err(full) if full.is_full_of_bytes => Err(StartError::BusyBytes {
                limit: inner.settings.max_queued_bytes,
                retry_after_s: full.retry_after_s,
            }),
            Err(full) => Err(StartError::Busy {
                limit: inner.settings.max_queued,
                retry_after_s: full.retry_after_s,
            }),
        }
    }

    /// Drives a new run that is let in whatever else is under way. The answer comes when its start is durable.
    pub(crate) async fn begin(
        &self,
        run: Run,
        events: Vec<Arc<EventRecord>>,
        begins: NewRun,
        claim: Option<Arc<Claim>>,
    ) -> Result<StartedRun, StartError> {
        let seat = Seat::to_take(begins.group.clone());
        self.drive(run, events, begins, claim, seat).await
    }

    /// Drives a new run.
    async fn drive(
        &self,
        run: Run,
        events: Vec<Arc<EventRecord>>,
        begins: NewRun,
        claim: Option<Arc<Claim>>,
        seat: Seat,
    ) -> Result<StartedRun, StartError> {
        let inner = &self.inner;
        let (id, last) = (run.id, run.seq);
        let live = Arc::new(LiveRun::new(run, 0, &events, &inner.memory));
        let hold = live.hold();
        live.sit(|of_live| *of_live = seat);
        inner.occupy(&live);
        inner.adopt(&live);
        let request = claim.as_ref().map(|claim| claim.answered(id, last));
        inner.spawn(live.clone(), Outbox::of_start(begins, events, request));
        kept(&live, last, claim).await?;
        Ok(StartedRun {
            replayed: false,
            hold: Some(hold),
            ..self.started(id)
        })
    }

    /// Keeps a new run for which there is no room yet. When that is durable, nothing of it stays in memory but its
    /// place in the queue.
    async fn queue(
        &self,
        run: Run,
        events: Vec<Arc<EventRecord>>,
        begins: NewRun,
        claim: Option<Arc<Claim>>,
    ) -> Result<StartedRun, StartError> {
        let inner = &self.inner;
        let (id, last) = (run.id, run.seq);
        let live = Arc::new(LiveRun::new(run, 0, &[], &inner.memory));
        let queued = QueuedRun {
            run: id,
            priority: begins.priority,
            group: begins.group.clone(),
        };
        let ack = Enqueues {
            engine: inner.clone(),
            bytes: live.read(|run| run.journal_bytes),
            live: live.clone(),
            queued,
        };
        inner.ports.journal.append(Append {
            run: id,
            begins: Some(begins),
            reopens: false,
            events,
            disposition: RunDisposition::Queued,
            requests: claim.iter().map(|claim| claim.answered(id, last)).collect(),
            snapshot: None,
            ack: Arc::new(ack),
        });
        kept(&live, last, claim).await?;
        Ok(StartedRun {
            replayed: false,
            ..self.started(id)
        })
    }

    /// A run that the same request started before.
    pub(crate) fn started(&self, id: RunId) -> StartedRun {
        StartedRun {
            id,
            replayed: true,
            engine: self.clone(),
            hold: None,
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
        Ok(self.inner.load(id).await?.map(|loaded| RunView::of(&loaded.run)))
    }

    /// A run as it is listed: without its state, and so without reading its events.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn row(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.inner.ports.journal.run(id).await
    }

    /// Runs that fit the filter, newest first, from after `before` in that order.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn runs(
        &self,
        filter: RunFilter,
        before: Option<RunPosition>,
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
    ) -> Result<Vec<Arc<EventRecord>>, StoreError> {
        self.inner.ports.journal.events(id, after, limit).await
    }

    /// The same, and whether they reach to the end of a run that is over. `None` where there is no such run.
    ///
    /// # Errors
    /// Where the store gives no answer.
    pub async fn page(&self, id: RunId, after: u64, limit: usize) -> Result<Option<Page>, StoreError> {
        let Some(row) = self.inner.ports.journal.run(id).await? else {
            return Ok(None);
        };
        let events = self.events(id, after, limit).await?;
        let last = events.last().map_or(after, |last| last.seq);
        let over = row.status.is_over() && last >= row.last_seq;
        Ok(Some(Page { events, over }))
    }

    /// Watches a run from after the event `after`. `None` where there is no such run.
    ///
    /// # Errors
    /// Where the store gives no answer, or a run that waits cannot be loaded now.
    pub async fn watch(&self, id: RunId, after: u64) -> Result<Option<Watch>, ReadError> {
        let journal = &self.inner.ports.journal;
        // A run that is live may not be durable yet: then nobody was told of it.
        let Some(row) = journal.run(id).await? else {
            return Ok(None);
        };
        if row.status.is_over() {
            return Ok(Some(Watch::of_past(
                journal.clone(),
                self.inner.pages.clone(),
                id,
                after,
                row.last_seq,
            )));
        }
        // A run that waits is taken up, so that the watcher hears when it goes on. One that is damaged
        // is told as far as its journal goes.
        let live = match self.held_to_watch(id).await {
            Ok(live) => live,
            Err(ReadError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Some(Watch::new(
            journal.clone(),
            self.inner.pages.clone(),
            id,
            after,
            live,
        )))
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
            runs_in_flight: self.inner.admission.in_flight(),
            runs_queued: self.inner.admission.queued(),
            held_bytes: self.inner.memory.used(),
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

/// Waits until the start of a run is durable: its events up to `last`.
async fn kept(live: &Arc<LiveRun>, last: u64, claim: Option<Arc<Claim>>) -> Result<(), StartError> {
    if let Some(claim) = &claim {
        claim.clone().keep_until_durable(live.clone(), last);
    }
    let durable = live.durable_to(last).await;
    // Who is answered may send it again at once.
    claim.inspect(|claim| claim.give_back());
    match durable {
        Ok(()) => Ok(()),
        Err(Stopped::Lost(AppendError::Unavailable(error))) => Err(StartError::Store(error)),
        Err(Stopped::Lost(AppendError::Closed) | Stopped::Draining | Stopped::Parked) => {
            Err(StartError::Draining)
        }
        Err(Stopped::Lost(error @ AppendError::Damaged { .. })) => {
            Err(StartError::Store(StoreError::Damaged(error.to_string())))
        }
        Err(Stopped::Lost(error @ AppendError::Conflict { .. })) => {
            Err(StartError::Store(StoreError::Failed(error.to_string())))
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
