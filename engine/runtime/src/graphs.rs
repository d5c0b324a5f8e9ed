//! The graphs of runs: checked ones, and those that a run keeps to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use heddle_kernel::{
    Definition, Diagnostic, Function, Graph, GraphId, RunId, Severity,
    event::FunctionRef,
    graph::{self, Pins},
    run::Graphs,
};

use crate::{
    answer::{ReadError, StartError, summary},
    graph_cache::Functions,
    inner::Inner,
    ports::{GraphRow, StoreError},
};

/// The most graphs that a graph and its subgraphs may name.
const MAX_GRAPHS: usize = 1_000;

/// What a run keeps to from its start on.
pub(crate) struct Pinned {
    pub(crate) graph: Arc<Graph>,
    pub(crate) graphs: Arc<Graphs>,
    pub(crate) functions: Functions,
}

impl Inner {
    /// Checks a definition against what is registered and what is kept.
    pub(crate) async fn check(
        &self,
        definition: &Definition,
    ) -> Result<Result<(Graph, Vec<Diagnostic>), Vec<Diagnostic>>, StoreError> {
        let known = self.graphs_below(definition).await?;
        let find_graph = |name: &str| match known.get(name) {
            Some(inner) => Ok(inner.as_ref()),
            None => Err(format!(
                "there is no graph `{name}`: create it first; `GET /v1/graphs` lists what there is"
            )),
        };
        let checked = graph::check(definition, |uses| self.function(uses), find_graph);
        Ok(graph::with_form(self.check_bounds(definition), checked))
    }

    /// The graphs that a graph names, and those that these name, as far as there are some.
    async fn graphs_below(
        &self,
        definition: &Definition,
    ) -> Result<HashMap<Arc<str>, Option<Definition>>, StoreError> {
        let names = |definition: &Definition| definition.graphs().into_iter().cloned().collect::<Vec<_>>();
        let mut known = HashMap::new();
        let mut open = names(definition);
        // Those that a check leaves out are looked at when a run starts.
        while let Some(name) = open.pop().filter(|_| known.len() < MAX_GRAPHS) {
            if known.contains_key(&name) {
                continue;
            }
            if let Some(row) = self.graph_row(&name).await? {
                let inner = Definition::parse(&row.definition).ok();
                open.extend(inner.iter().flat_map(names));
                known.insert(name, inner);
            }
        }
        Ok(known)
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
                output: serde_json::from_str(found.info.output.get()).unwrap_or_default(),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What each function that a graph names is found to be at this moment. What is not found is left
    /// out: who starts a run is told.
    pub(crate) fn found(&self, graph: &Graph) -> Functions {
        let found = |uses: &Arc<str>| {
            let found = self.ports.functions.resolve(uses).ok()?;
            Some((uses.clone(), found.function))
        };
        graph.functions().filter_map(found).collect()
    }

    /// Keeps a graph at hand, as it was created last.
    pub(crate) fn keep_at_hand(&self, graph: Arc<Graph>, functions: Functions) {
        let id = graph.id.clone();
        self.graphs.keep(graph, &functions);
        self.graphs.created(&id, Arc::new(functions));
    }

    /// The graph with this id, else the newest with this name.
    pub(crate) async fn graph_row(&self, id_or_name: &str) -> Result<Option<GraphRow>, StoreError> {
        let journal = &self.ports.journal;
        match journal.graph(&GraphId(id_or_name.into())).await? {
            Some(row) => Ok(Some(row)),
            None => journal.graph_named(id_or_name).await,
        }
    }

    /// A graph by id or name, and what its functions were found to be when it was created last.
    async fn graph_to_run(&self, id_or_name: &str) -> Result<(Arc<Graph>, Arc<Functions>), StartError> {
        if !self.settings.follow_plugins
            && let Some(at_hand) = self.graphs.as_created(&GraphId(id_or_name.into()))
        {
            return Ok(at_hand);
        }
        let row = self.graph_row(id_or_name).await?;
        let row = row.ok_or_else(|| StartError::NoSuchGraph(id_or_name.to_owned()))?;
        if self.settings.follow_plugins || row.functions.is_empty() {
            return self.as_found(&row).await;
        }
        if let Some(at_hand) = self.graphs.as_created(&row.id) {
            return Ok(at_hand);
        }
        let graph = self.made_of(&row.id, &row.definition, &row.functions)?;
        let functions = Arc::new(row.functions);
        self.graphs.created(&row.id, functions.clone());
        Ok((graph, functions))
    }

    /// A graph with what its functions are found to be at this moment.
    async fn as_found(&self, row: &GraphRow) -> Result<(Arc<Graph>, Arc<Functions>), StartError> {
        let definition = Definition::parse(&row.definition).map_err(StartError::Broken)?;
        let graph = self.check(&definition).await?.map_err(StartError::Broken)?.0;
        let functions = self.found(&graph);
        let graph = Arc::new(graph);
        self.graphs.keep(graph.clone(), &functions);
        Ok((graph, Arc::new(functions)))
    }

    /// The exact graphs and functions that a run of this graph keeps to from now on. Where a graph and one
    /// that it runs name the same function, what the graph was created with stands.
    pub(crate) async fn pin(&self, id_or_name: &str) -> Result<Pinned, StartError> {
        let (graph, found) = self.graph_to_run(id_or_name).await?;
        let mut functions = (*found).clone();
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
                    false => {
                        let (named, found) = self.graph_to_run(name).await?;
                        for (uses, function) in &*found {
                            functions.entry(uses.clone()).or_insert_with(|| function.clone());
                        }
                        named
                    }
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
        self.keeping_to(graph, graphs, functions).await
    }

    /// What a run keeps to that goes on with this graph, and with these for the names in it, on the newest
    /// versions of its plugins that fit.
    pub(crate) async fn repin(
        &self,
        graph: &GraphId,
        graphs: &BTreeMap<Arc<str>, GraphId>,
    ) -> Result<Pinned, StartError> {
        let (graph, _) = self.graph_to_run(&graph.0).await?;
        let mut named = Graphs::new();
        for (name, id) in graphs {
            named.insert(name.clone(), self.graph_to_run(&id.0).await?.0);
        }
        let mut functions = Functions::new();
        for node in named.values().chain([&graph]).flat_map(|graph| &graph.nodes) {
            let Some(uses) = node.uses().filter(|uses| !functions.contains_key(*uses)) else {
                continue;
            };
            let found = self.ports.functions.resolve(uses);
            let found = found.map_err(|error| broken(&format!("/nodes/{}", node.name), error.to_string()))?;
            functions.insert(uses.clone(), found.function);
        }
        self.keeping_to(graph, named, functions).await
    }

    /// What a run keeps to, when it can: every function is there, and every graph is as these functions
    /// make it.
    async fn keeping_to(
        &self,
        graph: Arc<Graph>,
        mut graphs: Graphs,
        mut functions: Functions,
    ) -> Result<Pinned, StartError> {
        for (uses, function) in &mut functions {
            if !self.ports.functions.has(&function.digest)
                && let Some(error) = self.register_exact(function).await?
            {
                return Err(broken("", gone(uses, function, &error)));
            }
            function.granted = self.ports.functions.is_granted(function);
        }
        let graph = self.made_of(&graph.id, &graph.definition, &functions)?;
        for named in graphs.values_mut() {
            *named = self.made_of(&named.id, &named.definition, &functions)?;
        }
        Ok(Pinned {
            graph,
            graphs: Arc::new(graphs),
            functions,
        })
    }

    /// A graph that was checked when it was created, as these functions make it.
    fn made_of(
        &self,
        id: &GraphId,
        definition: &str,
        functions: &Functions,
    ) -> Result<Arc<Graph>, StartError> {
        if let Some(graph) = self.graphs.get(id, functions) {
            return Ok(graph);
        }
        let pins = Pins {
            graph: id,
            graphs: &BTreeMap::new(),
            functions,
        };
        let graph = Arc::new(pins.rebuild(definition).map_err(StartError::Broken)?);
        self.graphs.keep(graph.clone(), functions);
        Ok(graph)
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
        if let Some(graph) = self.graphs.get(id, pins.functions) {
            return Ok(graph);
        }
        let kept = self.ports.journal.graph(id).await;
        let kept = kept.map_err(|error| ReadError::from(error).of_run(run))?;
        let kept = kept.ok_or_else(|| damaged(format!("its graph {id} is not kept")))?;
        let graph = pins.rebuild(&kept.definition);
        let graph = Arc::new(graph.map_err(|found| damaged(summary(&found)))?);
        self.graphs.keep(graph.clone(), pins.functions);
        Ok(graph)
    }
}

/// Why a run cannot begin whose graph was created with a function that is not there any more.
fn gone(uses: &str, function: &FunctionRef, error: &str) -> String {
    let FunctionRef {
        digest,
        plugin,
        version,
        ..
    } = function;
    format!(
        "the graph was created with `{uses}` of {plugin}@{version} (sha256 {digest}), and {error}: \
         create the graph again, so that it takes a version that there is"
    )
}

fn broken(pointer: &str, message: String) -> StartError {
    StartError::Broken(vec![Diagnostic {
        severity: Severity::Error,
        pointer: pointer.to_owned(),
        message,
    }])
}
