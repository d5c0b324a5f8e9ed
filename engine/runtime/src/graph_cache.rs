//! A cache of checked graphs, so that most runs start without reading and checking their graphs again.
//!
//! The cache has a limit in bytes. Above it the least recently used graphs are dropped; they are read from the store and
//! checked again when a run needs them. Active runs hold their own graphs.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use heddle_kernel::{Graph, GraphId, event::FunctionRef};

/// For each function that a graph names, the exact function.
pub(crate) type Functions = BTreeMap<Arc<str>, FunctionRef>;

/// For each function that a graph names, its routes.
type Routes = BTreeMap<Arc<str>, Vec<Arc<str>>>;

/// The bytes of a function in a cached graph's tables, without its routes.
const FUNCTION_BYTES: usize = 400;
/// The bytes of a route there, without its text.
const ROUTE_BYTES: usize = 32;

/// Checked graphs, each with the routes of the functions that it was checked with, since the result of a check depends on
/// them.
pub(crate) struct GraphCache {
    max_bytes: usize,
    // A std lock: nothing awaits while it is held.
    cached: RwLock<Cached>,
    /// Counts the uses of all graphs.
    uses: AtomicU64,
}

#[derive(Default)]
struct Cached {
    graphs: HashMap<GraphId, Entry>,
    /// The bytes of all graphs.
    bytes: usize,
}

struct Entry {
    graph: Arc<Graph>,
    routes: Routes,
    /// What the graph's functions resolved to when the graph was last created, if that is known.
    created_with: Option<Arc<Functions>>,
    bytes: usize,
    /// The number of the graph's last use.
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

    /// The graph as checked with these functions.
    pub(crate) fn get(&self, id: &GraphId, functions: &Functions) -> Option<Arc<Graph>> {
        let cached = self.cached.read().expect("no panic under this lock");
        let entry = cached.graphs.get(id)?;
        self.use_with(entry, functions)
    }

    /// The graph as it was last created, and its functions then.
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

    /// Caches a graph that was checked with these functions, replacing the one with its id.
    pub(crate) fn put(&self, graph: Arc<Graph>, functions: &Functions) {
        let routes = |uses: &Arc<str>| Some((uses.clone(), functions.get(uses)?.routes.clone()));
        let routes: Routes = graph.functions().filter_map(routes).collect();
        let of_routes = |routes: &Vec<Arc<str>>| {
            routes
                .iter()
                .map(|route| route.len() + ROUTE_BYTES)
                .sum::<usize>()
        };
        // The routes are stored twice: in this table and in `created_with`.
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

    /// Removes a graph.
    pub(crate) fn remove(&self, id: &GraphId) {
        let mut cached = self.cached.write().expect("no panic under this lock");
        let removed = cached.graphs.remove(id);
        cached.bytes -= removed.map_or(0, |entry| entry.bytes);
    }

    /// Records what the functions of a cached graph resolved to when the graph was last created.
    pub(crate) fn set_created_with(&self, id: &GraphId, functions: Arc<Functions>) {
        let mut cached = self.cached.write().expect("no panic under this lock");
        if let Some(entry) = cached.graphs.get_mut(id) {
            entry.created_with = Some(functions);
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

    /// Drops the least recently used graphs until the rest takes seven eighths of the limit, so that not every further
    /// graph causes a sort.
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
    fn the_least_recently_used_graphs_are_dropped_above_the_limit() {
        let graphs: Vec<_> = (10..50).map(|n| graph(&format!("graph-{n}"))).collect();
        let one = graphs[0].memory();
        let cache = GraphCache::new(16 * one);
        let none = Functions::new();
        cache.put(graphs[0].clone(), &none);
        cache.set_created_with(&graphs[0].id, Arc::new(Functions::new()));
        for graph in &graphs {
            cache.put(graph.clone(), &none);
            assert!(
                cache.as_created(&graphs[0].id).is_some(),
                "the graph was used last"
            );
            assert!(cache.cached.read().unwrap().bytes <= 16 * one);
        }
        let cached = graphs
            .iter()
            .filter(|graph| cache.get(&graph.id, &none).is_some());
        assert!((12..=16).contains(&cached.count()));
        assert!(cache.get(&graphs[39].id, &none).is_some());
        assert!(cache.get(&graphs[1].id, &none).is_none());
    }

    #[test]
    fn a_graph_larger_than_the_cache_is_not_cached() {
        let (small, cache) = (graph("small"), GraphCache::new(8));
        cache.put(small.clone(), &Functions::new());
        assert!(cache.get(&small.id, &Functions::new()).is_none());
        assert_eq!(cache.cached.read().unwrap().bytes, 0);
    }
}
