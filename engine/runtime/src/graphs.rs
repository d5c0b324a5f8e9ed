//! The graphs of runs: checked ones, and those that a run keeps to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use heddle_kernel::{
    Definition, Diagnostic, Function, Graph, GraphId, RunId, Severity,
    event::FunctionRef,
    graph::{self, Findings, MAX_FINDINGS, Pins},
    run::Graphs,
};

use crate::{
    answer::{CreateGraphError, ReadError, StartError, summary},
    checks::ChecksBusy,
    graph_cache::Functions,
    inner::Inner,
    ports::{Functions as FunctionsPort, GraphRow, StoreError},
};

/// The most graphs that a graph and its subgraphs may name.
const MAX_GRAPHS: usize = 1_000;

/// How many bytes the definitions may have together that a check looks into beside its own, for warnings.
const MAX_INNER_BYTES: usize = 16 << 20;

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
        definition: Definition,
    ) -> Result<Result<(Graph, Findings), Findings>, CheckError> {
        let (inner, problem) = self.graphs_below(&definition).await?;
        let functions = self.ports.functions.clone();
        let text = definition.text.clone();
        let check = move || {
            let find_graph = |name: &str| match inner.get(name) {
                Some(inner) => Ok(inner.as_ref()),
                None => Err(format!(
                    "there is no graph `{name}`: create it first; `GET /v1/graphs` lists what there is"
                )),
            };
            let checked = graph::check(&definition, |uses| function(&*functions, uses), find_graph);
            let mut form = check_bounds(&*functions, &definition);
            form.extend(problem.into_iter().collect::<Vec<_>>().into());
            graph::with_form(form, checked)
        };
        Ok(self.checks.on_request(&text, check).await?)
    }

    /// The graphs that a graph names, and those that these name, as far as there are some: without a definition where
    /// they are too large together to be looked into. With them the problem where the graph names too many.
    async fn graphs_below(
        &self,
        definition: &Definition,
    ) -> Result<(HashMap<Arc<str>, Option<Definition>>, Option<Diagnostic>), CheckError> {
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
        let (mut known, mut left) = (HashMap::new(), MAX_INNER_BYTES);
        // Those that a check leaves out are looked at when a run starts.
        while let Some(name) = open.pop().filter(|_| known.len() < MAX_GRAPHS) {
            if known.contains_key(&name) {
                continue;
            }
            let Some(row) = self.graph_row(&name).await? else {
                continue;
            };
            let mut inner = None;
            if let Some(rest) = left.checked_sub(row.definition.len()) {
                left = rest;
                let text = row.definition.clone();
                let parse = move || Definition::parse(&text).ok();
                inner = self.checks.on_request(&row.definition, parse).await?;
            }
            open.extend(inner.iter().flat_map(names));
            known.insert(name, inner);
        }
        Ok((known, None))
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
        let graph = self.made_of(&row.id, &row.definition, &row.functions).await?;
        let functions = Arc::new(row.functions);
        self.graphs.created(&row.id, functions.clone());
        Ok((graph, functions))
    }

    /// A graph with what its functions are found to be at this moment.
    async fn as_found(&self, row: &GraphRow) -> Result<(Arc<Graph>, Arc<Functions>), StartError> {
        let text = row.definition.clone();
        let parse = move || Definition::parse(&text);
        let definition = self.checks.of_run(&row.definition, parse).await;
        let checked = self.check(definition.map_err(StartError::Broken)?).await?;
        let (graph, _) = checked.map_err(|found| StartError::Broken(found.into_shown()))?;
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
        let graph = self.made_of(&graph.id, &graph.definition, &functions).await?;
        for named in graphs.values_mut() {
            *named = self.made_of(&named.id, &named.definition, &functions).await?;
        }
        Ok(Pinned {
            graph,
            graphs: Arc::new(graphs),
            functions,
        })
    }

    /// A graph that was checked when it was created, as these functions make it.
    async fn made_of(
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

    /// A graph as it was created, made again and kept at hand.
    async fn rebuild(
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
        let graph = self.rebuild(id, &kept.definition, pins.functions).await;
        graph.map_err(|found| damaged(summary(&found)))
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

/// What a function is found to be, as far as a check needs it.
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

/// What is wrong with how nodes narrow their functions.
fn check_bounds(functions: &dyn FunctionsPort, definition: &Definition) -> Findings {
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
