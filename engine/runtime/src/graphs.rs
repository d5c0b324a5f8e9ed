//! The graphs of new runs: checks definitions, and pins a run to exact graphs and functions.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use heddle_kernel::{
    Definition, Diagnostic, Function, Graph, GraphId, Severity,
    event::FunctionRef,
    graph::{self, Findings, MAX_FINDINGS, Origin, Pins},
    run::Graphs,
};

use crate::{
    core::Core,
    errors::{CreateGraphError, StartError},
    graph_cache::Functions,
    graph_checks::ChecksBusy,
    ports::{Functions as FunctionsPort, GraphRow, StoreError},
};

/// The maximum number of graphs that a graph and its subgraphs may name.
const MAX_GRAPHS: usize = 1_000;

/// The maximum size in bytes of the subgraphs' definitions that a check reads for its warnings.
const MAX_SUBGRAPH_BYTES: usize = 16 << 20;

/// The exact graphs and functions that a run uses.
pub(crate) struct PinnedGraphs {
    pub(crate) graph: Arc<Graph>,
    pub(crate) graphs: Arc<Graphs>,
    pub(crate) functions: Functions,
}

/// The subgraphs of a definition, by name. `None` for a subgraph whose definition was not read.
type Subgraphs = HashMap<Arc<str>, Option<Definition>>;

impl Core {
    /// Checks a definition against the registered functions and the stored graphs.
    pub(crate) async fn check(
        &self,
        definition: Definition,
    ) -> Result<Result<(Graph, Findings), Findings>, CheckError> {
        let (subgraphs, problem) = self.subgraphs(&definition).await?;
        let functions = self.ports.functions.clone();
        let text = definition.text.clone();
        let check = move || {
            let find_graph = |name: &str| match subgraphs.get(name) {
                Some(subgraph) => Ok(subgraph.as_ref()),
                None => Err(format!(
                    "there is no graph `{name}`: create it first; `GET /v1/graphs` lists all graphs"
                )),
            };
            let checked = graph::check(&definition, |uses| function(&*functions, uses), find_graph);
            let mut form = check_bounds(&*functions, &definition);
            form.extend(problem.into_iter().collect::<Vec<_>>().into());
            graph::with_form(form, checked)
        };
        Ok(self.checks.on_request(&text, check).await?)
    }

    /// The stored graphs that a definition names, directly or through other graphs. Definitions beyond the limit in bytes
    /// are not read. If the definition names too many graphs, also returns that error.
    async fn subgraphs(
        &self,
        definition: &Definition,
    ) -> Result<(Subgraphs, Option<Diagnostic>), CheckError> {
        let names = |definition: &Definition| definition.graphs().into_iter().cloned().collect::<Vec<_>>();
        let mut open = names(definition);
        if open.len() > MAX_GRAPHS {
            let problem = Diagnostic {
                severity: Severity::Error,
                pointer: "/nodes".to_owned(),
                message: format!(
                    "the nodes name {} graphs, more than the limit of {MAX_GRAPHS} (graphs)",
                    open.len()
                ),
            };
            let unread = open.into_iter().map(|name| (name, None)).collect();
            return Ok((unread, Some(problem)));
        }
        let (mut known, mut left) = (HashMap::new(), MAX_SUBGRAPH_BYTES);
        // Graphs beyond the limit are checked when a run starts.
        while let Some(name) = open.pop().filter(|_| known.len() < MAX_GRAPHS) {
            if known.contains_key(&name) {
                continue;
            }
            let Some(row) = self.graph_row(&name).await? else {
                continue;
            };
            let mut subgraph = None;
            if let Some(rest) = left.checked_sub(row.definition.len()) {
                left = rest;
                let text = row.definition.clone();
                let parse = move || Definition::parse(&text).ok();
                subgraph = self.checks.on_request(&row.definition, parse).await?;
            }
            open.extend(subgraph.iter().flat_map(names));
            known.insert(name, subgraph);
        }
        Ok((known, None))
    }

    /// Resolves the functions that a graph names. Functions that are not registered are left out: starting a run reports
    /// them.
    pub(crate) fn resolve_functions(&self, graph: &Graph) -> Functions {
        let resolve = |uses: &Arc<str>| {
            let found = self.ports.functions.resolve(uses).ok()?;
            Some((uses.clone(), found.function))
        };
        graph.functions().filter_map(resolve).collect()
    }

    /// The graph with this id, or else the newest graph with this name.
    pub(crate) async fn graph_row(&self, id_or_name: &str) -> Result<Option<GraphRow>, StoreError> {
        let journal = &self.ports.store;
        match journal.graph(&GraphId(id_or_name.into())).await? {
            Some(row) => Ok(Some(row)),
            None => journal.graph_named(id_or_name).await,
        }
    }

    /// A graph by id or name, and what its functions resolved to when the graph was last created.
    async fn graph_to_run(&self, id_or_name: &str) -> Result<(Arc<Graph>, Arc<Functions>), StartError> {
        if !self.settings.follow_plugins
            && let Some(cached) = self.graphs.as_created(&GraphId(id_or_name.into()))
        {
            return Ok(cached);
        }
        let row = self.graph_row(id_or_name).await?;
        let row = row.ok_or_else(|| StartError::NoSuchGraph(id_or_name.to_owned()))?;
        if self.settings.follow_plugins || row.functions.is_empty() {
            return self.check_stored(&row).await;
        }
        if let Some(cached) = self.graphs.as_created(&row.id) {
            return Ok(cached);
        }
        let graph = self.graph_with(&row.id, &row.definition, &row.functions).await?;
        let functions = Arc::new(row.functions);
        self.graphs.set_created_with(&row.id, functions.clone());
        Ok((graph, functions))
    }

    /// Checks a stored graph again, with what its functions resolve to now.
    async fn check_stored(&self, row: &GraphRow) -> Result<(Arc<Graph>, Arc<Functions>), StartError> {
        let text = row.definition.clone();
        let parse = move || Definition::parse(&text);
        let definition = self.checks.of_run(&row.definition, parse).await;
        let checked = self.check(definition.map_err(StartError::Broken)?).await?;
        let (graph, _) = checked.map_err(|found| StartError::Broken(found.into_shown()))?;
        let functions = self.resolve_functions(&graph);
        let graph = Arc::new(graph);
        self.graphs.put(graph.clone(), &functions);
        Ok((graph, Arc::new(functions)))
    }

    /// Pins a new run of this graph to exact graphs and functions. If the graph and a subgraph name the same function,
    /// the one that the graph was created with is used.
    pub(crate) async fn pin(&self, id_or_name: &str) -> Result<PinnedGraphs, StartError> {
        let (graph, found) = self.graph_to_run(id_or_name).await?;
        let mut functions = (*found).clone();
        let mut graphs = Graphs::new();
        let mut open = vec![graph.clone()];
        while let Some(of) = open.pop() {
            for name in of.graphs() {
                if graphs.contains_key(name) {
                    continue;
                }
                // A graph that names itself means itself, and no newer graph of that name.
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
        self.pin_functions(graph, graphs, functions).await
    }

    /// Pins an existing run to these graphs, and to the newest matching versions of its plugins.
    pub(crate) async fn repin(
        &self,
        graph: &GraphId,
        graphs: &BTreeMap<Arc<str>, GraphId>,
    ) -> Result<PinnedGraphs, StartError> {
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
        self.pin_functions(graph, named, functions).await
    }

    /// Makes sure that every pinned function is registered, and checks the graphs with these functions.
    async fn pin_functions(
        &self,
        graph: Arc<Graph>,
        mut graphs: Graphs,
        mut functions: Functions,
    ) -> Result<PinnedGraphs, StartError> {
        for (uses, function) in &mut functions {
            if !self.ports.functions.has(&function.digest)
                && let Some(error) = self.register_exact(function).await?
            {
                return Err(broken("", function_missing(uses, function, &error)));
            }
            function.granted = self.ports.functions.is_granted(function);
        }
        let graph = self.graph_with(&graph.id, &graph.definition, &functions).await?;
        for named in graphs.values_mut() {
            *named = self.graph_with(&named.id, &named.definition, &functions).await?;
        }
        Ok(PinnedGraphs {
            graph,
            graphs: Arc::new(graphs),
            functions,
        })
    }

    /// A stored graph as checked with these functions.
    async fn graph_with(
        &self,
        id: &GraphId,
        definition: &Arc<str>,
        functions: &Functions,
    ) -> Result<Arc<Graph>, StartError> {
        if let Some(graph) = self.graphs.get(id, functions) {
            return Ok(graph);
        }
        let graph = self.rebuild(id, definition, functions).await;
        graph.map_err(StartError::Broken)
    }

    /// Checks a stored graph with these functions, and caches the result.
    pub(crate) async fn rebuild(
        &self,
        id: &GraphId,
        definition: &Arc<str>,
        functions: &Functions,
    ) -> Result<Arc<Graph>, Vec<Diagnostic>> {
        let (id, text, found) = (id.clone(), definition.clone(), functions.clone());
        let rebuild = move || {
            let pins = Pins {
                graph: &id,
                graphs: &BTreeMap::new(),
                functions: &found,
            };
            pins.rebuild(&text)
        };
        let graph = Arc::new(self.checks.of_run(definition, rebuild).await?);
        self.graphs.put(graph.clone(), functions);
        Ok(graph)
    }
}

/// Why a definition was not checked.
pub(crate) enum CheckError {
    Busy(ChecksBusy),
    Store(StoreError),
}

impl From<ChecksBusy> for CheckError {
    fn from(busy: ChecksBusy) -> Self {
        Self::Busy(busy)
    }
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CheckError> for CreateGraphError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Busy(busy) => busy.into(),
            CheckError::Store(error) => error.into(),
        }
    }
}

impl From<CheckError> for StartError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Busy(busy) => busy.into(),
            CheckError::Store(error) => error.into(),
        }
    }
}

/// A function's description, as far as a check needs it.
fn function(functions: &dyn FunctionsPort, uses: &str) -> Result<Function, String> {
    match functions.resolve(uses) {
        Ok(found) => Ok(Function {
            kind: found.info.kind,
            routes: found.info.routes,
            input: serde_json::from_str(found.info.input.get()).unwrap_or_default(),
            output: serde_json::from_str(found.info.output.get()).unwrap_or_default(),
        }),
        Err(error) => Err(error.to_string()),
    }
}

/// The errors in how nodes narrow the limits and grants of their functions. Those of a stored graph were checked when it
/// was created, by the rules of that time.
fn check_bounds(functions: &dyn FunctionsPort, definition: &Definition) -> Findings {
    if definition.origin == Origin::Stored {
        return Findings::default();
    }
    let mut found = Vec::new();
    for (node, uses, bounds) in definition.narrowed() {
        if found.len() > MAX_FINDINGS {
            break;
        }
        let (limits, grants) = (bounds.limits.as_ref(), bounds.grants.as_ref());
        if let Err(problems) = functions.check_bounds(uses, limits, grants) {
            found.extend(problems.into_iter().map(|(pointer, message)| Diagnostic {
                severity: Severity::Error,
                pointer: format!("{node}{pointer}"),
                message,
            }));
        }
    }
    found.into()
}

/// The message for a run whose graph was created with a function that is no longer available.
fn function_missing(uses: &str, function: &FunctionRef, error: &str) -> String {
    let FunctionRef {
        digest,
        plugin,
        version,
        ..
    } = function;
    format!(
        "the graph was created with `{uses}` of {plugin}@{version} (sha256 {digest}), and {error}: \
         create the graph again with an available version"
    )
}

fn broken(pointer: &str, message: String) -> StartError {
    StartError::Broken(vec![Diagnostic {
        severity: Severity::Error,
        pointer: pointer.to_owned(),
        message,
    }])
}
