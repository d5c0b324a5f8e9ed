//! The graphs at hand: checked ones, and those that a run keeps to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock},
};

use heddle_kernel::{
    Definition, Diagnostic, Function, Graph, GraphId, RunId, Severity,
    event::FunctionRef,
    graph::{self, Pins},
    run::Graphs,
};

use crate::{
    answer::{ReadError, StartError, summary},
    inner::Inner,
    ports::{GraphRow, StoreError},
};

/// How many checked graphs are kept at hand; past that they are read and checked again.
const GRAPHS_AT_HAND: usize = 1_024;
/// The most graphs that a graph and its subgraphs may name.
const MAX_GRAPHS: usize = 1_000;

/// For each function that a graph names, the routes that it may take.
type Routes = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// Checked graphs. A check depends on the routes that the functions declare, which a run keeps to:
/// so each is kept with those.
#[derive(Default)]
pub(crate) struct AtHand(RwLock<HashMap<GraphId, (Arc<Graph>, Routes)>>);

impl AtHand {
    fn get(&self, id: &GraphId, routes: impl Fn(&str) -> Option<Vec<Arc<str>>>) -> Option<Arc<Graph>> {
        let graphs = self.0.read().expect("no panic under this lock");
        let (graph, known) = graphs.get(id)?;
        known
            .iter()
            .all(|(uses, known)| routes(uses).as_ref() == Some(known))
            .then(|| graph.clone())
    }

    fn keep(&self, graph: Arc<Graph>, routes: impl Fn(&str) -> Option<Vec<Arc<str>>>) {
        let known = graph
            .functions()
            .filter_map(|uses| Some((uses.clone(), routes(uses)?)))
            .collect();
        let mut graphs = self.0.write().expect("no panic under this lock");
        if graphs.len() >= GRAPHS_AT_HAND {
            graphs.clear();
        }
        graphs.insert(graph.id.clone(), (graph, known));
    }
}

/// What a run keeps to from its start on.
pub(crate) struct Pinned {
    pub(crate) graph: Arc<Graph>,
    pub(crate) graphs: Arc<Graphs>,
    pub(crate) functions: BTreeMap<Arc<str>, FunctionRef>,
}

impl Inner {
    /// Checks a definition against what is registered and what is kept.
    pub(crate) async fn check(
        &self,
        definition: &Definition,
    ) -> Result<Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>>, StoreError> {
        let mut known: HashMap<Arc<str>, bool> = HashMap::new();
        for name in definition.graphs() {
            known.insert(name.clone(), self.graph_row(name).await?.is_some());
        }
        let find_graph = |name: &str| match known.get(name) {
            Some(true) => Ok(()),
            _ => Err(format!(
                "there is no graph `{name}`: create it first; `GET /v1/graphs` lists what there is"
            )),
        };
        let checked = graph::check(definition, |uses| self.function(uses), find_graph);
        Ok(graph::with_form(self.check_bounds(definition), checked))
    }

    /// What is wrong with how nodes narrow their functions.
    fn check_bounds(&self, definition: &Definition) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for (node, uses, bounds) in definition.narrowed() {
            let (limits, grants) = (bounds.limits.as_ref(), bounds.grants.as_ref());
            if let Err(problems) = self.ports.functions.check_bounds(uses, limits, grants) {
                found.extend(problems.into_iter().map(|(pointer, message)| Diagnostic {
                    severity: Severity::Error,
                    pointer: format!("{node}{pointer}"),
                    message,
                }));
            }
        }
        found
    }

    fn function(&self, uses: &str) -> Result<Function, String> {
        match self.ports.functions.resolve(uses) {
            Ok(found) => Ok(Function {
                kind: found.info.kind,
                routes: found.info.routes,
                input: serde_json::from_str(found.info.input.get()).unwrap_or_default(),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    fn routes(&self, uses: &str) -> Option<Vec<Arc<str>>> {
        let found = self.ports.functions.resolve(uses).ok()?;
        Some(found.function.routes)
    }

    pub(crate) fn keep_at_hand(&self, graph: Arc<Graph>) {
        self.graphs.keep(graph, |uses| self.routes(uses));
    }

    /// The graph with this id, else the newest with this name.
    pub(crate) async fn graph_row(&self, id_or_name: &str) -> Result<Option<GraphRow>, StoreError> {
        let journal = &self.ports.journal;
        match journal.graph(&GraphId(id_or_name.into())).await? {
            Some(row) => Ok(Some(row)),
            None => journal.graph_named(id_or_name).await,
        }
    }

    /// A graph by id or name, ready for a new run.
    async fn graph_to_run(&self, id_or_name: &str) -> Result<Arc<Graph>, StartError> {
        let routes = |uses: &str| self.routes(uses);
        if let Some(graph) = self.graphs.get(&GraphId(id_or_name.into()), routes) {
            return Ok(graph);
        }
        let row = self.graph_row(id_or_name).await?;
        let row = row.ok_or_else(|| StartError::NoSuchGraph(id_or_name.to_owned()))?;
        if let Some(graph) = self.graphs.get(&row.id, routes) {
            return Ok(graph);
        }
        let checked = match Definition::parse(&row.definition) {
            Ok(definition) => self.check(&definition).await?,
            Err(found) => Err(found),
        };
        let graph = Arc::new(checked.map_err(StartError::Broken)?.0);
        self.keep_at_hand(graph.clone());
        Ok(graph)
    }

    /// The exact graphs and functions that a run of this graph keeps to from now on.
    pub(crate) async fn pin(&self, id_or_name: &str) -> Result<Pinned, StartError> {
        let graph = self.graph_to_run(id_or_name).await?;
        let mut graphs = Graphs::new();
        let mut open = vec![graph.clone()];
        while let Some(of) = open.pop() {
            for name in of.graphs() {
                if graphs.contains_key(name) {
                    continue;
                }
                // A graph that runs itself by its name means itself, and no other version.
                let named = match of.name.as_ref() == Some(name) {
                    true => of.clone(),
                    false => self.graph_to_run(name).await?,
                };
                graphs.insert(name.clone(), named.clone());
                if graphs.len() > MAX_GRAPHS {
                    return Err(broken(
                        "",
                        format!("the graph and its subgraphs name more than {MAX_GRAPHS} graphs"),
                    ));
                }
                open.push(named);
            }
        }
        self.with_functions(graph, graphs)
    }

    /// What a run keeps to that goes on with this graph, and with these for the names in it, on the newest
    /// versions of its plugins.
    pub(crate) async fn repin(
        &self,
        graph: &GraphId,
        graphs: &BTreeMap<Arc<str>, GraphId>,
    ) -> Result<Pinned, StartError> {
        let graph = self.graph_to_run(&graph.0).await?;
        let mut named = Graphs::new();
        for (name, id) in graphs {
            named.insert(name.clone(), self.graph_to_run(&id.0).await?);
        }
        self.with_functions(graph, named)
    }

    fn with_functions(&self, graph: Arc<Graph>, graphs: Graphs) -> Result<Pinned, StartError> {
        let mut functions: BTreeMap<Arc<str>, FunctionRef> = BTreeMap::new();
        for node in graphs.values().chain([&graph]).flat_map(|graph| &graph.nodes) {
            let Some(uses) = node.uses().filter(|uses| !functions.contains_key(*uses)) else {
                continue;
            };
            let found = self.ports.functions.resolve(uses);
            let found = found.map_err(|error| broken(&format!("/nodes/{}", node.name), error.to_string()))?;
            functions.insert(uses.clone(), found.function);
        }
        Ok(Pinned {
            graph,
            graphs: Arc::new(graphs),
            functions,
        })
    }

    /// The graphs that a run keeps to.
    pub(crate) async fn kept_graphs(
        &self,
        run: RunId,
        pins: &Pins<'_>,
    ) -> Result<(Arc<Graph>, Arc<Graphs>), ReadError> {
        let own = self.kept_graph(run, pins.graph, pins).await?;
        let mut named = Graphs::new();
        for (name, id) in pins.graphs {
            named.insert(name.clone(), self.kept_graph(run, id, pins).await?);
        }
        Ok((own, Arc::new(named)))
    }

    async fn kept_graph(&self, run: RunId, id: &GraphId, pins: &Pins<'_>) -> Result<Arc<Graph>, ReadError> {
        let damaged = |message: String| ReadError::Damaged { run, message };
        let routes = |uses: &str| Some(pins.functions.get(uses)?.routes.clone());
        if let Some(graph) = self.graphs.get(id, routes) {
            return Ok(graph);
        }
        let kept = self.ports.journal.graph(id).await;
        let kept = kept.map_err(|error| ReadError::from(error).of_run(run))?;
        let kept = kept.ok_or_else(|| damaged(format!("its graph {id} is not kept")))?;
        let graph = pins.rebuild(&kept.definition);
        let graph = Arc::new(graph.map_err(|found| damaged(summary(&found)))?);
        self.graphs.keep(graph.clone(), routes);
        Ok(graph)
    }
}

fn broken(pointer: &str, message: String) -> StartError {
    StartError::Broken(vec![Diagnostic {
        severity: Severity::Error,
        pointer: pointer.to_owned(),
        message,
    }])
}
