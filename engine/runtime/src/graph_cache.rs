//! Checked graphs in memory, so that a run starts without reading and checking its graph again.
//!
//! The cache has a limit in bytes. Past it the graphs that were used longest ago are dropped; they are read from the
//! store and checked again when a run needs them. Runs under way hold their graphs themselves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use heddle_kernel::{Graph, GraphId, event::FunctionRef};

/// For each function that a graph names, the exact one.
pub(crate) type Functions = BTreeMap<Arc<str>, FunctionRef>;

/// For each function that a graph names, the routes that it may take.
type Routes = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// What a function takes in a cached graph's tables, besides its routes.
const FUNCTION_BYTES: usize = 400;
/// What a route takes there, besides its text.
const ROUTE_BYTES: usize = 32;

/// Checked graphs, each with the routes of the functions that it was checked with: a check depends on them, and a run
/// keeps to them.
pub(crate) struct GraphCache {
    max_bytes: usize,
    // A std lock: nothing awaits while it is held.
    cached: RwLock<Cached>,
    /// Counts the uses, so that each has a number higher than those before.
    uses: AtomicU64,
}

#[derive(Default)]
struct Cached {
    graphs: HashMap<GraphId, Entry>,
    /// How many bytes the graphs take together.
    bytes: usize,
}

struct Entry {
    graph: Arc<Graph>,
    routes: Routes,
    /// What the functions of the graph were found to be when it was created last, where that is known.
    created_with: Option<Arc<Functions>>,
    bytes: usize,
    /// The number of the last use.
    used: AtomicU64,
}

impl GraphCache {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            cached: RwLock::default(),
            uses: AtomicU64::new(0),
        }
    }

    /// The graph as these functions make it.
    pub(crate) fn get(&self, id: &GraphId, functions: &Functions) -> Option<Arc<Graph>> {
        let cached = self.cached.read().expect("no panic under this lock");
        let entry = cached.graphs.get(id)?;
        self.use_with(entry, functions)
    }

    /// A graph as it was created last.
    pub(crate) fn as_created(&self, id: &GraphId) -> Option<(Arc<Graph>, Arc<Functions>)> {
        let cached = self.cached.read().expect("no panic under this lock");
        let entry = cached.graphs.get(id)?;
        let functions = entry.created_with.clone()?;
        Some((self.use_with(entry, &functions)?, functions))
    }

    fn use_with(&self, entry: &Entry, functions: &Functions) -> Option<Arc<Graph>> {
        let same = |(uses, known): (&Arc<str>, &Vec<Arc<str>>)| {
            functions.get(uses).is_some_and(|found| found.routes == *known)
        };
        entry.routes.iter().all(same).then(|| {
            let now = self.uses.fetch_add(1, Ordering::Relaxed);
            entry.used.store(now, Ordering::Relaxed);
            entry.graph.clone()
        })
    }

    /// Caches a graph as these functions make it, instead of what is cached under its id.
    pub(crate) fn keep(&self, graph: Arc<Graph>, functions: &Functions) {
        let routes = |uses: &Arc<str>| Some((uses.clone(), functions.get(uses)?.routes.clone()));
        let routes: Routes = graph.functions().filter_map(routes).collect();
        let of_routes = |routes: &Vec<Arc<str>>| {
            routes
                .iter()
                .map(|route| route.len() + ROUTE_BYTES)
                .sum::<usize>()
        };
        // The routes are there twice: in this table, and in what the graph was created with.
        let of_functions: usize = routes
            .values()
            .map(|routes| FUNCTION_BYTES + 2 * of_routes(routes))
            .sum();
        let entry = Entry {
            bytes: graph.memory() + of_functions,
            graph,
            routes,
            created_with: None,
            used: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)),
        };
        let mut cached = self.cached.write().expect("no panic under this lock");
        cached.put(entry);
        if cached.bytes > self.max_bytes {
            cached.shrink(self.max_bytes);
        }
    }

    /// Drops a graph.
    pub(crate) fn remove(&self, id: &GraphId) {
        let mut cached = self.cached.write().expect("no panic under this lock");
        let removed = cached.graphs.remove(id);
        cached.bytes -= removed.map_or(0, |entry| entry.bytes);
    }

    /// Says what the functions of a cached graph were found to be when it was created last.
    pub(crate) fn created(&self, id: &GraphId, with: Arc<Functions>) {
        let mut cached = self.cached.write().expect("no panic under this lock");
        if let Some(entry) = cached.graphs.get_mut(id) {
            entry.created_with = Some(with);
        }
    }
}

impl Cached {
    fn put(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        let id = entry.graph.id.clone();
        let before = self.graphs.remove(&id);
        self.bytes -= before.as_ref().map_or(0, |before| before.bytes);
        let created_with = before.and_then(|before| before.created_with);
        self.graphs.insert(
            id,
            Entry {
                created_with,
                ..entry
            },
        );
    }

    /// Drops what was used longest ago until the rest takes seven eighths of the limit, so that not every further graph
    /// has all of them sorted.
    fn shrink(&mut self, max_bytes: usize) {
        let mut by_use: Vec<(u64, GraphId)> = self
            .graphs
            .iter()
            .map(|(id, entry)| (entry.used.load(Ordering::Relaxed), id.clone()))
            .collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, id) in by_use {
            if self.bytes <= max_bytes / 8 * 7 {
                break;
            }
            self.bytes -= self.graphs.remove(&id).map_or(0, |entry| entry.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use heddle_kernel::{Definition, Function, FunctionKind, graph};

    use super::*;

    fn graph(name: &str) -> Arc<Graph> {
        let text = format!(r#"{{"name": "{name}", "nodes": {{"pause": {{"sleep": "1s"}}}}}}"#);
        let any = |_: &str| {
            Ok(Function {
                kind: FunctionKind::Node,
                routes: Vec::new(),
                input: serde_json::Value::Null,
                output: serde_json::Value::Null,
            })
        };
        let definition = Definition::parse(&text).expect("a definition");
        Arc::new(graph::check(&definition, any, |_| Ok(None)).expect("a graph").0)
    }

    #[test]
    fn the_graphs_that_were_used_longest_ago_go_when_the_bytes_are_used_up() {
        let graphs: Vec<_> = (10..50).map(|n| graph(&format!("graph-{n}"))).collect();
        let one = graphs[0].memory();
        let cache = GraphCache::new(16 * one);
        let none = Functions::new();
        cache.keep(graphs[0].clone(), &none);
        cache.created(&graphs[0].id, Arc::new(Functions::new()));
        for graph in &graphs {
            cache.keep(graph.clone(), &none);
            assert!(
                cache.as_created(&graphs[0].id).is_some(),
                "it is used all the time"
            );
            assert!(cache.cached.read().unwrap().bytes <= 16 * one);
        }
        let there = graphs
            .iter()
            .filter(|graph| cache.get(&graph.id, &none).is_some());
        assert!((12..=16).contains(&there.count()));
        assert!(cache.get(&graphs[39].id, &none).is_some());
        assert!(cache.get(&graphs[1].id, &none).is_none());
    }

    #[test]
    fn a_graph_that_takes_more_than_the_cache_may_is_not_cached() {
        let (small, cache) = (graph("small"), GraphCache::new(8));
        cache.keep(small.clone(), &Functions::new());
        assert!(cache.get(&small.id, &Functions::new()).is_none());
        assert_eq!(cache.cached.read().unwrap().bytes, 0);
    }
}
