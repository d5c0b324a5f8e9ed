//! The engine's inside: which runs are live, which graphs are at hand, and how both are come by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use heddle_kernel::{
    Definition, Diagnostic, Digest, Function, FunctionKind, Graph, GraphId, Run, RunId, Severity,
    event::FunctionRef, graph,
};
use tokio::task::JoinSet;

use crate::{
    answer::{ReadError, RegisterPluginError, StartError, summary},
    drive::{Outbox, drive},
    engine::{Ports, Settings},
    live::{LiveRun, Stopped},
    ports::{NewPlugin, PluginInfo, PluginRow, RegisterError, StoreError},
};

/// How many events are read at once where a run is folded from its journal.
const FOLD_PAGE: usize = 2_000;
/// How many checked graphs are kept at hand; past that they are read and checked again.
const GRAPHS_AT_HAND: usize = 1_024;

pub(crate) struct Inner {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    live: RwLock<HashMap<RunId, Arc<LiveRun>>>,
    graphs: RwLock<HashMap<GraphId, Arc<Graph>>>,
    drivers: Mutex<JoinSet<()>>,
    draining: AtomicBool,
}

impl Inner {
    pub(crate) fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            live: RwLock::default(),
            graphs: RwLock::default(),
            drivers: Mutex::default(),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn runs_in_flight(&self) -> usize {
        self.live.read().expect("no panic under this lock").len()
    }

    /// Has every driver end before its next step, and gives them this long for the one under way.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::SeqCst);
        let mut drivers = std::mem::take(&mut *self.drivers.lock().expect("no panic under this lock"));
        let all = async { while drivers.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            drivers.shutdown().await;
        }
        for live in self.live.read().expect("no panic under this lock").values() {
            live.stop(Stopped::Draining);
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn live(&self, id: RunId) -> Option<Arc<LiveRun>> {
        self.live
            .read()
            .expect("no panic under this lock")
            .get(&id)
            .cloned()
    }

    /// Takes a new run in, if there is room.
    pub(crate) fn admit(&self, live: &Arc<LiveRun>) -> Result<(), StartError> {
        let mut all = self.live.write().expect("no panic under this lock");
        let limit = self.settings.max_runs_in_flight;
        if all.len() >= limit {
            return Err(StartError::Busy { limit });
        }
        all.insert(live.id, live.clone());
        Ok(())
    }

    /// Takes a run in that was acknowledged before: there is always room for it.
    pub(crate) fn adopt(&self, live: &Arc<LiveRun>) {
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

    pub(crate) fn spawn(self: &Arc<Self>, live: Arc<LiveRun>, outbox: Outbox) {
        let mut drivers = self.drivers.lock().expect("no panic under this lock");
        while drivers.try_join_next().is_some() {}
        drivers.spawn(drive(self.clone(), live, outbox));
    }

    pub(crate) fn check(&self, definition: &Definition) -> Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>> {
        graph::check(definition, |uses| match self.ports.functions.resolve(uses) {
            Ok(found) => Ok(Function {
                kind: found.info.kind,
                routes: found.info.routes,
            }),
            Err(error) => Err(error.to_string()),
        })
    }

    pub(crate) fn keep_at_hand(&self, graph: Arc<Graph>) {
        let mut graphs = self.graphs.write().expect("no panic under this lock");
        if graphs.len() >= GRAPHS_AT_HAND {
            graphs.clear();
        }
        graphs.insert(graph.id.clone(), graph);
    }

    /// A graph by id or name, ready for a new run.
    pub(crate) async fn graph_to_run(&self, id_or_name: &str) -> Result<Arc<Graph>, StartError> {
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
    pub(crate) fn pin(&self, graph: &Graph) -> Result<BTreeMap<Arc<str>, FunctionRef>, StartError> {
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
    pub(crate) async fn load(&self, id: RunId) -> Result<Option<Run>, ReadError> {
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
    pub(crate) async fn register_pinned(&self, run: &Run) -> Result<(), StoreError> {
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

    pub(crate) async fn register_kept(
        &self,
        plugin: PluginRow,
        hidden: bool,
    ) -> Result<PluginInfo, RegisterError> {
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

    pub(crate) async fn register(
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
